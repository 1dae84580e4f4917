"""A stream whose batches grow, as the published recipe accumulates gradients over more and more rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from uprior.data.stream import Stream
from uprior.sources import Source


class GrowingStream(Stream):
    """``Stream`` with ``first_rows`` rows per batch until ``grow_from`` rows were seen, ``batch_size`` from ``grow_to`` rows on.

    In between a batch has as many rows as a straight line over the rows seen before it says. Which rows come does not depend
    on it: they are those of the plain stream, in the same order.
    """

    def __init__(
        self, source: Source, *, first_rows: int, grow_from: int, grow_to: int, batch_size: int, **options: Any
    ) -> None:
        super().__init__(source, batch_size=batch_size, **options)
        self.first_rows, self.grow_from, self.grow_to = first_rows, grow_from, grow_to
        self._starts = batch_starts(first_rows, batch_size, grow_from, grow_to)

    def rows_before(self, step: int) -> int:
        beyond = step - (len(self._starts) - 1)
        return self._starts[step] if beyond <= 0 else self._starts[-1] + beyond * self.batch_size

    def describe(self) -> dict[str, Any]:
        growth = {name: getattr(self, name) for name in ("first_rows", "grow_from", "grow_to")}
        return super().describe() | growth


def batch_starts(first_rows: int, last_rows: int, grow_from: int, grow_to: int) -> list[int]:
    """The row at which each batch begins, up to the first that has ``last_rows`` rows.

    >>> batch_starts(2, 6, 4, 12)  # batches of 2, 2, 2, 3, 4, 6, 6, ... rows
    [0, 2, 4, 6, 9, 13]
    """
    starts = [0]
    while starts[-1] < grow_to:
        grown = np.clip((starts[-1] - grow_from) / max(1, grow_to - grow_from), 0.0, 1.0)
        starts.append(starts[-1] + max(1, int(first_rows + grown * (last_rows - first_rows))))
    return starts


def steps_for(stream: Stream, rows: int) -> int:
    """The fewest steps that show at least so many rows; 1 or more.

    >>> from uprior.sources import Uniform
    >>> steps_for(Stream(Uniform(), batch_size=8), 17)
    3
    """
    steps = max(1, -(-rows // stream.batch_size))  # no batch is larger
    while stream.rows_before(steps) < rows:
        steps += 1
    return steps
