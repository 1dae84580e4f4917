"""Chains of random machines, each reading what the one before wrote: the heart of universal pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._machines import MachineSource, Tokens, join, seed_slices, share_of, start_block
from uprior.sources.random_lstm import RandomLSTM
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Iterated(Source):
    """Chains of machines: each pass rewrites the rows of the one before with fresh machines; all passes are emitted.

    Machine: a machine of ``source`` with its parents. Pass 0 is constant rows and uniform noise, pass d has
    fresh machines reading a permutation of pass d-1 (and, for those that take a seed, a slice at a random
    offset of another of its rows). A row's depth is the number of passes behind it, ``info["depth"]``. The law
    of depth, on 1..max_depth:

    uniform     every depth alike
    fixed       max_depth only
    geometric   falling by 1 - 1/mean_depth each step; the mean is ``mean_depth`` but for the cut at max_depth
    table       in proportion to ``table``, its first number for depth 1

    and ``start_share`` of the rows are of depth 0. In a block of N rows each depth has N times its probability,
    exactly where these are whole numbers; otherwise rounded by one systematic draw, so that small blocks are
    right on average too. Rows come in random order. Floor: the source's own; at depth 0, ln(alphabet_size) in
    noise and 0 in constant rows. Cost: one pass per emitted row where the law never rises with depth (uniform,
    geometric); more for laws that want deep rows only (fixed: max_depth).

    Bloem 2025, arXiv 2506.20057; his class-universal m^n is depth n here. He samples chains from a buffer
    (``Buffered``), where depth is implicit, most rows are thrown away and rows share machines.
    """

    name: ClassVar[str] = "iterated"
    family: ClassVar[str] = "wrapper"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "deep": {"depth": "geometric", "mean_depth": 16.0, "max_depth": 64}
    }

    source: MachineSource = field(default=RandomLSTM(), metadata={"text": "the machines"})
    depth: str = parameter("uniform", "law of depth", choices=("uniform", "fixed", "geometric", "table"))
    max_depth: int = parameter(4, "largest depth (table: its length counts instead)", low=1, high=1000)
    mean_depth: float = parameter(2.0, "mean of the geometric law before the cut", low=1.0, high=1000.0)
    table: tuple[float, ...] = parameter((), "weights of depth 1, 2, ... for depth=table", low=0.0, high=1e9)
    start_share: float = parameter(0.0, "share of emitted rows that no machine wrote", low=0.0, high=1.0)
    constant_fraction: float = parameter(0.5, "share of constant rows among those chains start from", low=0.0, high=1.0)

    def validate(self) -> None:
        if (self.depth == "table") != bool(sum(self.table)):
            self.reject("table", "weights with a positive sum if depth=table, as in table=1/2/1; else nothing")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.source.alphabet_size

    @property
    def law(self) -> NDArray[np.float64]:
        """[1 + largest depth] probability of each depth."""
        weights: NDArray[np.float64] = np.ones(self.max_depth)
        if self.depth == "fixed":
            weights[:-1] = 0
        elif self.depth == "geometric":
            weights = np.power(1 - 1 / self.mean_depth, np.arange(self.max_depth))
        elif self.depth == "table":
            weights = np.array(self.table)
        return np.concatenate([[self.start_share], (1 - self.start_share) * weights / weights.sum()])

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        emitted = systematic_counts(self.law, rows, draw("depths").random())
        # A pass writes what is emitted of it and a distinct parent for every row of the next.
        written = np.maximum.accumulate(emitted[::-1])[::-1]
        constant = share_of(draw("constant starts"), int(written[0]), self.constant_fraction)
        block = start_block(draw.child("start"), constant, length, self.alphabet_size, emitted=emitted[0] > 0)
        parts = [block.take(np.arange(emitted[0]))]
        for depth in range(1, len(written)):
            if written[depth] == 0:
                break
            here = draw.child("pass", depth)
            condition, seeds = parents(here, block.tokens, int(written[depth]), self.source.seed_length)
            block = self.source._write(here, condition, seeds)
            parts.append(block.take(np.arange(emitted[depth])))
        depths = np.repeat(np.arange(len(parts)), [len(part.machine) for part in parts])
        return join(parts, {"depth": depths}).take(draw("order").permutation(rows))


def parents(draw: Draw, before: Tokens, rows: int, seed_length: int) -> tuple[Tokens, Tokens]:
    """(conditions [N, T], seeds [N, S]): distinct rows of the pass before, and slices of others of its rows.

    The seed row is never the condition's own row, unless there is only one.
    """
    total, length = before.shape
    order = draw("parents").permutation(total)
    shift = int(draw("shift").integers(1, max(total, 2)))
    seeds = before[np.roll(order, -shift)[:rows]]
    return before[order[:rows]], seed_slices(draw("offsets"), seeds, min(seed_length, length))


def systematic_counts(law: NDArray[np.float64], rows: int, offset: float) -> NDArray[np.int64]:
    """[len(law)] whole numbers that sum to ``rows``: rows * law rounded up or down, exact on average over ``offset``.

    Rounding the same way in every block would never show the depths that get less than half a row of a small
    block.

    >>> systematic_counts(np.array([0.0, 0.5, 0.25, 0.25]), 8, 0.3).tolist()
    [0, 4, 2, 2]
    """
    # The tiny amount keeps whole numbers whole when their sum is off by rounding.
    edges = np.floor(np.cumsum(law) * rows + np.clip(offset, 1e-6, 1 - 1e-6)).astype(np.int64)
    edges[-1] = rows
    counts: NDArray[np.int64] = np.diff(edges, prepend=0)
    return counts
