"""General compressors as predictors: what they add for a window, container removed."""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable
from types import ModuleType

import numpy as np

from uprior.errors import MissingExtraError
from uprior.evals._base import PositionBits, Predictor, Windows

# A compressor's cost of "the last byte" is that of the last this many bytes, per byte: one byte moves a compressed length by
# whole bytes or not at all.
LAST_BYTES = 32
PPMD_ORDERS = (2, 3, 4, 5, 6, 8, 12, 16)
PPMD_MEMORY_BYTES = 1 << 20


class Compressor(Predictor):
    """A compressor run afresh on every window.

    The cost of a prefix is its compressed length minus that of the empty message, so that headers, checksums and end marks of
    the format do not count. It is known for whole prefixes and in whole bytes only: stretches lie between prefixes of 32, 64,
    128, ... bytes, T - 32 and T. The last one, 32 bytes (half the window if that is shorter), stands for the last position.
    In one window it can be negative (a longer message may happen to compress to fewer bytes); cutting it off at 0 would
    make the mean too large.
    Unlike models, which are given the first byte, a compressor pays for it.
    """

    def __init__(self, name: str, compress: Callable[[bytes], bytes], order: int | None = None) -> None:
        self.name, self.compress = name, compress
        self.settings = {} if order is None else {"order": order}

    def bits(self, windows: Windows) -> PositionBits:
        edges = prefix_lengths(windows.shape[1])
        lengths = np.empty((windows.shape[0], len(edges)), dtype=np.float64)
        lengths[:, 0] = len(self.compress(b""))
        for row, window in enumerate(windows):
            text = window.tobytes()
            lengths[row, 1:] = [len(self.compress(text[:end])) for end in edges[1:]]
        return PositionBits(np.array(edges, dtype=np.int64), 8 * np.diff(lengths, axis=1))


def prefix_lengths(context: int) -> list[int]:
    """The prefixes that are compressed: the empty one, 32, 64, 128, ... as far as they fit, T - 32 and T.

    >>> prefix_lengths(256)
    [0, 32, 64, 128, 224, 256]
    """
    last = context - min(LAST_BYTES, context // 2)
    doubling = [LAST_BYTES << k for k in range(context.bit_length()) if LAST_BYTES << k <= last - LAST_BYTES]
    return [0, *doubling, last, context]


def deflate() -> Compressor:
    """Raw deflate (RFC 1951), level 9: no gzip or zlib wrapper."""

    def compress(text: bytes) -> bytes:
        stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        return stream.compress(text) + stream.flush()

    return Compressor("deflate", compress)


def bzip2() -> Compressor:
    """bz2 with blocks of 100 kB: on windows shorter than that the larger blocks give the same bytes and cost more memory."""
    return Compressor("bz2", lambda text: bz2.compress(text, 1))


def lzma_raw() -> Compressor:
    """LZMA, raw, preset 9 extreme, dictionary of 64 KiB (any window fits).

    LZMA and not LZMA2: the latter wraps each message in a chunk whose 6 bytes of header the empty message does not have
    (measured on 256-byte windows of English: 6.17 against 6.51 bits per byte after subtracting the empty message).
    """
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 16}]
    return Compressor("lzma", lambda text: lzma.compress(text, lzma.FORMAT_RAW, filters=filters))


def ppmd(order: int) -> Compressor:
    """PPMd variant H through the optional pyppmd. Raises MissingExtraError when it is not installed."""
    module = _pyppmd()
    return Compressor(
        "ppmd", lambda text: module.compress(text, max_order=order, mem_size=PPMD_MEMORY_BYTES, variant="H"), order
    )


def fit_ppmd(windows: Windows) -> Compressor:
    """PPMd with the order that compresses these windows best; give it others than those it is judged on."""

    def cost(order: int) -> int:
        compress = ppmd(order).compress
        return sum(len(compress(window.tobytes())) for window in windows)

    return ppmd(min(PPMD_ORDERS, key=cost))


def has_ppmd() -> bool:
    """Whether the optional pyppmd can be imported."""
    try:
        _pyppmd()
    except MissingExtraError:
        return False
    return True


def _pyppmd() -> ModuleType:
    try:
        return importlib.import_module("pyppmd")
    except ImportError:
        raise MissingExtraError("pyppmd", "ppmd") from None
