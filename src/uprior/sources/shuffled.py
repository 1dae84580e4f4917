"""The control: the tokens of another source without their order."""

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
class Shuffled(Source):
    """The tokens of each row of another source in random order: the control that keeps counts and destroys structure.

    Shuffled are whole rows, or the windows of ``window`` tokens that a row is cut into (the last one may be shorter), so that
    structure coarser than a window survives; a window of 1 shuffles nothing.

    Machine: the counts of the tokens in each window of the row, so every row is a machine of its own. Floor: exact given these
    counts, the law of drawing without replacement: ln(tokens left in the window) - ln(how many of them are this token). It says
    nothing about the wrapped source's floor, which a shuffled row has no use for. Everything is scored, blanks and separators
    too: a mask that means "answers only" means nothing once the order is gone. ``info`` is the wrapped source's.
    Cost: about 10 ns per token and the wrapped source's own.

    The idea is that of Sinha et al. 2021 (arXiv 2104.06644), who pre-train on sentences with shuffled words and find that
    much of what masked language models gain on downstream tasks does not need word order.
    """

    name: ClassVar[str] = "shuffled"
    family: ClassVar[str] = "wrapper"
    source: Source = field(default=ContextTree(), metadata={"text": "the source whose rows are shuffled"})
    window: int = parameter(0, "tokens per shuffled window; 0 is the whole row", low=0, high=1 << 30)

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.source.alphabet_size

    @property
    def row_space(self) -> int | None:  # type: ignore[override]  # one number per class elsewhere
        return self.source.row_space

    @property
    def shortest_row(self) -> int:
        return self.source.shortest_row

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        block = self.source._generate(draw.child("source"), rows, length)
        window = min(self.window or length, length)
        tokens = block.tokens.astype(np.uint32)
        floor = np.empty((rows, length), dtype=np.float32)
        logarithm = np.log(np.maximum(np.arange(window + 1), 1))
        _shuffle(draw("order"), window, np.zeros(self.alphabet_size, dtype=np.int64), logarithm, tokens, floor)
        return Block(
            tokens=tokens.astype(self.token_dtype),
            machine=draw.machine_ids(np.arange(rows)),
            floor_nats=floor,
            info=block.info,
        )


@kernel
def _shuffle(
    rng: np.random.Generator,
    window: int,
    left: NDArray[np.int64],
    logarithm: NDArray[np.float64],
    tokens: NDArray[np.unsignedinteger[Any]],
    floor: NDArray[np.float32],
) -> None:
    """Shuffle the windows of every row in place and write the floor; ``left`` [A] is all 0 before and after."""
    rows, length = tokens.shape
    for row in range(rows):
        for first in range(0, length, window):
            end = min(first + window, length)
            for t in range(first, end):
                left[tokens[row, t]] += 1
            for t in range(first, end):
                other = t + int(rng.random() * (end - t))
                token = tokens[row, other]
                tokens[row, other] = tokens[row, t]
                tokens[row, t] = token
                floor[row, t] = logarithm[end - t] - logarithm[left[token]]
                left[token] -= 1
