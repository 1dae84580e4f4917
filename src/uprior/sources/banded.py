"""Machines of chosen complexity, by rejection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.sources._base import Draw, Source
from uprior.sources._complexity import deflate_ratio, entropy_bits, lempel_ziv_bits
from uprior.sources._wrappers import can_share_machines, join_alike, rows_of_machines
from uprior.sources.context_tree import ContextTree
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Banded(Source):
    """Machines of another source whose complexity lies in a band, found by rejection: neither trivial nor noise.

    ``measure`` says what complexity is, always in bits per token, averaged over the rows that are judged:

    lempel-ziv  phrases * log2(T) / T of the 1976 parsing: grows with period, disorder and alphabet; integers decide
    entropy     empirical entropy of single tokens, blind to order
    deflate     size after raw deflate, level 9: depends on the zlib library Python was built with, so rows do too
    floor       mean floor, for a source that knows it

    All but the floor depend on the length of rows (lempel-ziv overestimates in short ones), so a band belongs to a length.
    Candidate machines are drawn until the block is full, at most ``max_tries`` times as many as are wanted; then comes
    an error that says what was found.

    A machine is kept or left as a whole, and the source decides how. If it has a field rows_per_machine, each candidate writes
    ``probe_rows`` more rows, which decide and are not emitted; the rest are ordinary rows of an accepted machine, and the floor
    stays what it was, exact where that is. Otherwise the emitted rows themselves decide, all rows of a machine in
    a block together; they no longer follow their machine's law but that law cut to the band, so there is no floor.

    Machine: a machine of the source within the band. Cost: the source's own, (1 + probe_rows / rows_per_machine) / share
    accepted times, and per judged token about 60 ns (256 tokens) to 200 ns (1,024) for lempel-ziv, whose time grows as the square
    of the row. ``info``: complexity, in bits per token (of the rows that decided).

    Zhang et al. 2024 ("Intelligence at the edge of chaos", arXiv 2410.02536) find that automata of middle complexity make
    the best teachers; this is their axis for any source.
    """

    name: ClassVar[str] = "banded"
    family: ClassVar[str] = "wrapper"
    source: Source = field(default=ContextTree(), metadata={"text": "the source whose machines are chosen"})
    measure: str = parameter("lempel-ziv", "what complexity is", choices=("lempel-ziv", "entropy", "deflate", "floor"))
    low: float = parameter(1.0, "least complexity, bits per token", low=0.0, high=64.0)
    high: float = parameter(3.0, "largest complexity, bits per token", low=0.0, high=64.0)
    probe_rows: int = parameter(1, "rows that decide about a machine and are not emitted", low=1, high=1 << 16)
    max_tries: int = parameter(100, "candidate machines per machine wanted before giving up", low=1, high=1_000_000)

    def validate(self) -> None:
        if self.low > self.high:
            self.reject("low", f"0 to high = {self.high:g}")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.source.alphabet_size

    @property
    def row_space(self) -> int | None:  # type: ignore[override]  # one number per class elsewhere
        return self.source.row_space

    @property
    def shortest_row(self) -> int:
        return max(16, self.source.shortest_row)  # below that every row is as complex as every other

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        each = int(getattr(self.source, "rows_per_machine", 1)) if can_share_machines(self.source) else 1
        wanted = -(-rows // each)
        kept: list[Block] = []
        found: list[NDArray[np.float64]] = []
        accepted = tried = 0
        while accepted < wanted:
            if tried >= self.max_tries * wanted:
                raise SpecError(self._nothing_found(np.concatenate(found), accepted, wanted))
            # About as many as will be needed, so that the last round is not a whole block for one machine.
            asked = min(wanted, (wanted - accepted) * max(tried, 1) // max(accepted, 1) + 1)
            block, complexity = self._candidates(draw.child("candidates", len(found)), asked, each, length)
            inside = (complexity >= self.low) & (complexity <= self.high)
            block.info["complexity"] = np.repeat(complexity, each)
            kept.append(block.take(np.flatnonzero(np.repeat(inside, each))))
            found.append(complexity)
            accepted, tried = accepted + int(inside.sum()), tried + asked
        dealt = np.arange(wanted * each).reshape(wanted, each).T.ravel()[:rows]  # neighbours are of different machines
        return join_alike(kept).take(dealt)

    def _candidates(self, draw: Draw, machines: int, each: int, length: int) -> tuple[Block, NDArray[np.float64]]:
        """Rows that may be emitted, ``each`` per machine and one machine after the other, and the machines' complexity."""
        if not can_share_machines(self.source):
            block = self.source._generate(draw, machines, length)
            _, group = np.unique(block.machine, return_inverse=True)
            measured = np.bincount(group, self._measure(block)) / np.bincount(group)
            return Block(block.tokens, block.machine, block.scored, None, dict(block.info)), measured[group]
        block = rows_of_machines(self.source, draw, machines, each + self.probe_rows, length)
        place = np.arange(machines * (each + self.probe_rows)).reshape(machines, -1)
        measured = self._measure(block.take(place[:, each:].ravel())).reshape(machines, self.probe_rows).mean(axis=1)
        return block.take(place[:, :each].ravel()), measured

    def _measure(self, block: Block) -> NDArray[np.float64]:
        """[N] complexity of each row, bits per token."""
        if self.measure == "floor":
            if block.floor_nats is None or np.isnan(block.floor_nats).any():
                self.reject("measure", f"lempel-ziv, entropy or deflate, as {self.source.name} does not know its floor")
            return np.asarray(block.floor_nats.mean(axis=1, dtype=np.float64) / np.log(2))
        if self.measure == "deflate":
            width = 8 if self.alphabet_size <= 1 << 8 else 16 if self.alphabet_size <= 1 << 16 else 32
            return np.array([width * deflate_ratio(row, self.alphabet_size) for row in block.tokens])
        one: Any = lempel_ziv_bits if self.measure == "lempel-ziv" else entropy_bits
        return np.array([one(row) for row in block.tokens])

    def _nothing_found(self, complexity: NDArray[np.float64], accepted: int, wanted: int) -> str:
        least, middle, most = np.quantile(complexity, [0.0, 0.5, 1.0])
        low, high = (
            np.floor(np.quantile(complexity, 0.25) * 100) / 100,
            np.ceil(np.quantile(complexity, 0.75) * 100) / 100,
        )
        return (
            f"banded: {accepted} of {len(complexity)} machines of {self.source.name} have {self.measure} within "
            f"{self.low:g} to {self.high:g} bits per token, {wanted} are wanted; found {least:.3g} to {most:.3g}, "
            f"half below {middle:.3g}; type low={low:g},high={high:g} for about half of them, or a larger max_tries"
        )
