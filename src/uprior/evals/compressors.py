"""General compressors as predictors: what they add for a window, container removed. PPMd has a file of its own."""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import MissingExtraError
from uprior.evals._base import LAST_BYTES, PositionBits, Predictor, Windows, last_bytes

EXTRAS = {"ppmd": "pyppmd", "brotli": "brotli"}  # predictors that an extra of the same name installs, and its package


class Compressor(Predictor):
    """A compressor run afresh on every window.

    The cost of a prefix is its compressed length minus that of the empty message, so that headers, checksums and end marks of
    the format do not count. It is known for whole prefixes and in whole bytes only: stretches lie between prefixes of 32, 64,
    128, ... bytes, T - 32 and T. The last one, 32 bytes (half the window if that is shorter), stands for the last position.
    In one window it can be negative (a longer message may happen to compress to fewer bytes); cutting it off at 0 would
    make the mean too large.
    Unlike models, which are given the first byte, a compressor pays for it.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name, self.settings = name, settings

    def lengths(self, windows: Windows, edges: Sequence[int]) -> NDArray[np.int64]:
        """[W, len(edges)] how many bytes the first ``edges`` bytes of each window compress to, all of the format included."""
        raise NotImplementedError(f"{type(self).__name__} does not write lengths")

    def bits(self, windows: Windows) -> PositionBits:
        edges = prefix_lengths(windows.shape[1])
        return PositionBits(np.array(edges), 8.0 * np.diff(self.lengths(windows, edges), axis=1))

    def bytes_read(self, windows: Windows) -> int:
        return len(windows) * sum(prefix_lengths(windows.shape[1]))


class InProcess(Compressor):
    """A compressor that is a function from a message to what it compresses to."""

    def __init__(self, name: str, compress: Callable[[bytes], bytes]) -> None:
        super().__init__(name, {})
        self.compress = compress

    def lengths(self, windows: Windows, edges: Sequence[int]) -> NDArray[np.int64]:
        texts = (window.tobytes() for window in windows)
        return np.array([[len(self.compress(text[:end])) for end in edges] for text in texts], dtype=np.int64)


def prefix_lengths(context: int) -> list[int]:
    """The prefixes that are compressed: the empty one, 32, 64, 128, ... as far as they fit, T - 32 and T.

    >>> prefix_lengths(256)
    [0, 32, 64, 128, 224, 256]
    """
    last = context - last_bytes(context)
    doubling = [LAST_BYTES << k for k in range(context.bit_length()) if LAST_BYTES << k <= last - LAST_BYTES]
    return [0, *doubling, last, context]


def deflate() -> InProcess:
    """Raw deflate (RFC 1951), level 9: no gzip or zlib wrapper."""

    def compress(text: bytes) -> bytes:
        stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        return stream.compress(text) + stream.flush()

    return InProcess("deflate", compress)


def bzip2() -> InProcess:
    """bz2 with blocks of 100 kB: on windows shorter than that the larger blocks give the same bytes and cost more memory."""
    return InProcess("bz2", lambda text: bz2.compress(text, 1))


def lzma_raw() -> InProcess:
    """LZMA, raw, preset 9 extreme, dictionary of 64 KiB (any window fits).

    LZMA and not LZMA2: the latter wraps each message in a chunk whose 6 bytes of header the empty message does not have
    (measured on 256-byte windows of English: 6.17 against 6.51 bits per byte after subtracting the empty message).
    """
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 16}]
    return InProcess("lzma", lambda text: lzma.compress(text, lzma.FORMAT_RAW, filters=filters))


def brotli() -> InProcess:
    """Brotli (RFC 7932), quality 11, window of 64 KiB (whose header is the shortest: one bit).

    It comes with a dictionary of 13,504 words and phrases (English, Spanish, Chinese, Russian, Hindi, Arabic, HTML, JavaScript):
    of all baselines it alone knows something of the world before it reads. Raises MissingExtraError when it is not installed.
    """
    module = _module("brotli")
    return InProcess("brotli", lambda text: module.compress(text, quality=11, lgwin=16))


def installed(name: str) -> bool:
    """Whether a baseline of this name can be had here: it needs no extra, or the extra's package can be imported."""
    try:
        return name not in EXTRAS or bool(_module(name))
    except MissingExtraError:
        return False


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(EXTRAS[name])
    except ImportError:
        raise MissingExtraError(EXTRAS[name], name) from None
