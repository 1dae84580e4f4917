"""What predicts, and what comes of it: Predictor and PositionBits.

Shape letters: W windows, T bytes in a window, P measured stretches of a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.errors import UpriorError

Windows = NDArray[np.uint8]

# The stretch at a window's end that all predictors can be compared on. A compressor knows what it costs only over so many bytes:
# one byte moves a compressed length by whole bytes or not at all.
LAST_BYTES = 32


def last_bytes(context: int) -> int:
    """How many bytes the last stretch of a window has: LAST_BYTES, half the window if that is shorter.

    >>> last_bytes(512), last_bytes(40)
    (32, 20)
    """
    return min(LAST_BYTES, context // 2)


@dataclass(frozen=True)
class PositionBits:
    """What the bytes of each window cost, per stretch of consecutive positions.

    edges  [P+1] int64, increasing; stretch p covers positions edges[p]..edges[p+1]-1 (from 0) and the last ends at T
    bits   [W, P] float64, the cost of a whole stretch in bits

    A model predicts byte by byte: stretches of one position, from position 1 on. A compressor only tells what a prefix
    costs: its stretches lie between the prefixes that were compressed.
    """

    edges: NDArray[np.int64]
    bits: NDArray[np.float64]


class Predictor:
    """Something that assigns a cost to every byte of a window, knowing only the bytes before it in the same window.

    A subclass sets ``name`` and writes ``nats``; one that has no cost per position writes ``bits`` instead. ``settings`` go into
    the result line.
    """

    name: str
    settings: Mapping[str, Any] = {}

    def nats(self, windows: Windows) -> NDArray[np.float64]:
        """[W, T-1] -ln p of bytes 1..T-1 of each window given the bytes before; never NaN. Windows are independent."""
        raise NotImplementedError(f"{type(self).__name__} writes neither nats nor bits")

    def bits(self, windows: Windows) -> PositionBits:
        """The cost of each window's bytes in bits, per stretch."""
        nats = self.nats(windows)
        assert nats.shape == (windows.shape[0], windows.shape[1] - 1), f"{self.name}: {nats.shape} for {windows.shape}"
        if not np.isfinite(nats).all():
            bad = int((~np.isfinite(nats)).sum())
            raise UpriorError(
                f"predictor {self.name}: {bad:,} of {nats.size:,} costs are NaN or infinite; nothing to report"
            )
        return PositionBits(np.arange(1, windows.shape[1] + 1), nats / math.log(2))

    def bytes_read(self, windows: Windows) -> int:
        """How many bytes ``bits`` goes through: what its speed is counted in."""
        return windows.size


class Uniform(Predictor):
    """Every byte equally likely: 8 bits, always. What a model that knows nothing pays."""

    name: str = "uniform"
    alphabet_size: ClassVar[int] = 256

    def bits(self, windows: Windows) -> PositionBits:
        count, context = windows.shape
        return PositionBits(np.arange(1, context + 1), np.full((count, context - 1), math.log2(self.alphabet_size)))
