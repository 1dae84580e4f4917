"""Another source through a noisy channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.sources.context_tree import ContextTree
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Noisy(Source):
    """Rows of another source with random substitutions, deletions and insertions of single tokens.

    A channel works in independent steps: with these probabilities it drops the next token, writes a token of its own, or
    replaces the next token; else it copies it. What it writes is uniform over the alphabet, so one replacement in
    ``alphabet_size`` changes nothing. A row is the last ``length`` tokens that come out: of a source's row, as long as the
    channel needs in this block, the end is always there, where tasks have their answers, and where tokens are left over
    they are the first ones.

    Machine: the source's own. Floor: none, but the source's own where all rates are 0: a substitution makes
    p = (1 - e) p_source + e / alphabet_size only if p_source after a *noisy* prefix were known, a sum over everything that may
    have been written before the noise. Scored: marks move along with their tokens, replaced ones included; inserted tokens are
    not scored where the source marks what counts, else they are, as all is. A row that loses every mark is scored at its last
    token. ``info``: mutations (deletions, insertions and replacements in the row). Cost: about 20 ns per token and the
    source's own on rows longer by the balance of deletions and insertions.
    """

    name: ClassVar[str] = "noisy"
    family: ClassVar[str] = "wrapper"
    source: Source = field(default=ContextTree(), metadata={"text": "the source whose rows are disturbed"})
    substitution: float = parameter(0.05, "chance per step that a token is replaced", low=0.0, high=1.0)
    deletion: float = parameter(0.02, "chance per step that a token is dropped", low=0.0, high=0.9)
    insertion: float = parameter(0.02, "chance per step that a token is added", low=0.0, high=0.9)

    def validate(self) -> None:
        if self.substitution + self.deletion + self.insertion > 1:
            self.reject(
                "substitution", f"0 to {1 - self.deletion - self.insertion:g}: the three rates add up to 1 at most"
            )

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.source.alphabet_size

    @property
    def shortest_row(self) -> int:
        return self.source.shortest_row

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        back, written = np.empty((rows, length), dtype=np.int64), np.empty((rows, length), dtype=np.int64)
        mutations = np.empty(rows, dtype=np.int64)
        rates = (self.deletion, self.insertion, self.substitution)
        needed = _transmit(draw("channel"), *rates, self.alphabet_size, back, written, mutations)
        full = max(needed, self.shortest_row)
        block = self.source._generate(draw.child("source"), rows, full)
        place = np.arange(1, rows + 1)[:, None] * full - 1 - np.maximum(back, 0)
        tokens = np.where(written >= 0, written, np.take(block.tokens.ravel(), place))
        return Block(
            tokens=tokens.astype(self.token_dtype),
            machine=block.machine,
            scored=None if block.scored is None else _marks(np.take(block.scored.ravel(), place), back),
            floor_nats=None if any(rates) else block.floor_nats,
            info=block.info | {"mutations": mutations},
        )


def _marks(scored: NDArray[np.bool_], back: NDArray[np.int64]) -> NDArray[np.bool_]:
    scored = scored & (back >= 0)
    scored[~scored[:, 1:].any(axis=1), -1] = True
    return scored


@kernel
def _transmit(
    rng: np.random.Generator,
    deletion: float,
    insertion: float,
    substitution: float,
    alphabet_size: int,
    back: NDArray[np.int64],
    written: NDArray[np.int64],
    mutations: NDArray[np.int64],
) -> Any:
    """Run the channel over rows that are still to be written, from the end to the beginning; the tokens it needs of them.

    back       [N, T] which token stands here, counted back from the end of the source's row; -1 for an insertion
    written    [N, T] the channel's own token; -1 where it copies
    mutations  [N]
    """
    rows, length = back.shape
    most = 0
    for row in range(rows):
        taken, changed = 0, 0
        for t in range(length - 1, -1, -1):
            u = rng.random()
            while u < deletion:
                taken, changed = taken + 1, changed + 1
                u = rng.random()
            u -= deletion
            back[row, t], written[row, t] = -1, -1
            if u >= insertion:
                back[row, t] = taken
                taken += 1
            if u < insertion + substitution:
                written[row, t] = int(rng.random() * alphabet_size)
                changed += 1
        mutations[row] = changed
        most = max(most, taken)
    return most
