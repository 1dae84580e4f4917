"""One-dimensional cellular automata with random rules: any number of colours, any radius, any share of quiet cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._exact import kernel
from uprior.sources._ring import RingSource, sparse_colours
from uprior.spec import parameter


@dataclass(frozen=True)
class CellularAutomaton(RingSource):
    """Cellular automata with random rules: each cell's next colour is a random function of the cells around it, on a ring.

    Machine: a number of colours k, uniform in min_colours..max_colours, a radius r, uniform in min_radius..max_radius, and a
    random rule: a table with an entry for every neighbourhood of 2r + 1 cells, k^(2r+1) of them, or, if ``totalistic``, for
    every sum of a neighbourhood's colours, (2r+1)(k-1) + 1 of them. The radius is cut where a table would have more than
    ``max_entries``. So k^entries rules; with k = 4 and r = 1, 10^38. Alphabet: the colours, 0 is the quiescent one.

    An entry is live, that is one of the colours 1..k-1, with probability lambda, uniform in min_lambda..max_lambda: Langton's
    parameter (1990), with his "random table" method. Near 0 everything dies, at 1 - 1/k entries are uniform, and between the
    two lies his edge of chaos. Other than his, neighbourhoods of quiescent cells only may come alive too.

    The layout, the start and what counts are ``RingSource``'s: time steps of ``width`` cells one after the other, every
    ``steps_ahead``-th. Floor: exact, given the rule: 0 but in the first step, where a cell costs -ln of its colour's chance
    (ln k if uniform); None where it cannot be known, just as in ``elementary_ca``.
    ``info``: colours, radius, entries, lambda (share of live entries in the rule), density, burn_in. Cost: 6 to 12 ns per token.
    """

    name: ClassVar[str] = "cellular_automaton"
    min_colours: int = parameter(2, "fewest colours of a rule", low=2, high=256)
    max_colours: int = parameter(4, "most colours of a rule, and the alphabet", low=2, high=256)
    min_radius: int = parameter(1, "least radius: cells looked at to either side", low=0, high=16)
    max_radius: int = parameter(2, "largest radius; cut where the table would not fit", low=0, high=16)
    max_entries: int = parameter(256, "most entries of a rule", low=2, high=1 << 20)
    min_lambda: float = parameter(0.2, "least chance that an entry is not quiescent", low=0.0, high=1.0)
    max_lambda: float = parameter(0.9, "largest chance that an entry is not quiescent", low=0.0, high=1.0)
    totalistic: bool = parameter(False, "rules see only the sum of the colours around")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.max_colours

    @property
    def _reach(self) -> int:
        return self.steps_ahead * self.max_radius

    def validate(self) -> None:
        if self.min_colours > self.max_colours:
            self.reject("min_colours", f"2 to max_colours = {self.max_colours}")
        if self.min_radius > self.max_radius:
            self.reject("min_radius", f"0 to max_radius = {self.max_radius}")
        if self.min_lambda > self.max_lambda:
            self.reject("min_lambda", f"0 to max_lambda = {self.max_lambda:g}")
        least = int(self._entries(self.max_colours, self.min_radius))
        if least > self.max_entries:
            self.reject("max_entries", f"from {least}, for {self.max_colours} colours and radius {self.min_radius}")
        super().validate()

    def _entries(self, colours: int, radius: int) -> int:
        span = 2 * radius + 1
        return int(span * (colours - 1) + 1 if self.totalistic else colours**span)

    def _rules(self, draw: Draw, count: int) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], Any]:
        rng = draw("machines")
        colours = rng.integers(self.min_colours, self.max_colours, count, endpoint=True)
        radius = rng.integers(self.min_radius, self.max_radius, count, endpoint=True)
        chance = self.min_lambda + (self.max_lambda - self.min_lambda) * rng.random(count)
        fits = np.zeros(self.max_colours + 1, dtype=np.int64)
        for k in range(self.min_colours, self.max_colours + 1):
            radii = range(self.min_radius, self.max_radius + 1)
            fits[k] = max(r for r in radii if self._entries(k, r) <= self.max_entries)
        radius = np.minimum(radius, fits[colours])
        span = 2 * radius + 1
        # Powers of whole numbers up to max_entries, hence exact.
        entries = span * (colours - 1) + 1 if self.totalistic else colours**span
        uniform = rng.random(int(entries.sum()))
        table = sparse_colours(uniform, np.repeat(chance, entries), np.repeat(colours, entries))
        first = np.cumsum(entries) - entries
        live = np.add.reduceat(table != 0, first, dtype=np.int64) / entries
        info = {"colours": colours, "radius": radius, "entries": entries, "lambda": live}
        return colours, info, (table, first, radius, np.ones_like(colours) if self.totalistic else colours)

    def _write(
        self,
        rules: Any,
        machine: NDArray[np.int64],
        skipped: NDArray[np.int64],
        start: NDArray[np.uint8],
        tokens: NDArray[np.unsignedinteger[Any]],
    ) -> None:
        table, first, radius, factor = rules
        _run(
            table, first[machine], radius[machine], factor[machine], skipped[machine], start, self.width,
            self.steps_ahead, tokens,
        )  # fmt: skip


@kernel
def _run(
    table: NDArray[np.uint8],
    first: NDArray[np.int64],
    radius: NDArray[np.int64],
    factor: NDArray[np.int64],
    skipped: NDArray[np.int64],
    start: NDArray[np.uint8],
    width: int,
    stride: int,
    tokens: NDArray[np.uint16],
) -> None:
    """Fill tokens [N, T] from start [N, C]. Row n's rule begins at table[first[n]].

    A neighbourhood's entry is read like a number of 2r + 1 digits from left to right, in base ``factor``: the number of
    colours, or 1, which makes it the sum.
    """
    rows, length = tokens.shape
    size = start.shape[1]
    most = 0
    for row in range(rows):
        most = max(most, radius[row])
    ring = np.empty(size + 2 * most, dtype=np.uint8)  # with r cells more at either end, where the ring closes
    entry = np.empty(size, dtype=np.int32)
    for row in range(rows):
        r, base = radius[row], np.int32(factor[row])
        for i in range(size):
            ring[r + i] = start[row, i]
        steps = skipped[row]
        for at in range(0, length, width):
            for _ in range(steps):
                for i in range(r):
                    ring[i] = ring[r + (size - r + i) % size]
                    ring[r + size + i] = ring[r + i % size]
                for i in range(size):
                    entry[i] = ring[i]
                for shift in range(1, 2 * r + 1):
                    for i in range(size):
                        entry[i] = entry[i] * base + np.int32(ring[i + shift])
                for i in range(size):
                    ring[r + i] = table[first[row] + entry[i]]
            for i in range(min(width, length - at)):
                tokens[row, at + i] = ring[r + i]
            steps = stride
