"""Another source in fresh symbols: structure without identity."""

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
class Relabelled(Source):
    """Another source in fresh symbols per row or machine: structure without identity, to be worked out in context.

    Each row (``per=row``) or each machine (``per=machine``) draws a uniform random injection of the wrapped source's symbols
    into ``alphabet_size``. Symbols in ``fixed`` (separators, blanks) keep their ids, and no other symbol takes these.

    Machine: a machine of the source with its injection. Floor: the source's own, exact where that is, for the predictor that
    knows the injection too. Masks and ``info`` are the source's. Cost: about 5 ns per token and the source's own; symbols
    get their ids when a row first uses them, so large alphabets cost no more.

    The same as the mapping ``per_row`` of a stream's vocabulary, with two differences: that one maps whatever is streamed, a
    whole mixture, into a model's ids, while this one is a source, can stand inside other wrappers (one part of a mixture;
    packed rows whose episodes differ in symbols) and may spare symbols or keep them for a machine. Symbols without identity
    are what Huang et al. 2023 (arXiv 2305.16349, "lexinvariant" models) train on, with random embeddings in place of ids.
    """

    name: ClassVar[str] = "relabelled"
    family: ClassVar[str] = "wrapper"
    source: Source = field(default=ContextTree(), metadata={"text": "the source whose symbols are replaced"})
    alphabet_size: int = parameter(256, "number of symbols to draw from", low=2, high=1 << 20)
    per: str = parameter("row", "what draws an injection of its own", choices=("row", "machine"))
    fixed: tuple[int, ...] = parameter((), "symbols that keep their ids", low=0, high=(1 << 20) - 1)

    def validate(self) -> None:
        if self.alphabet_size < self.source.alphabet_size:
            self.reject("alphabet_size", f"at least the source's own {self.source.alphabet_size}")
        if len(set(self.fixed)) < len(self.fixed) or any(symbol >= self.source.alphabet_size for symbol in self.fixed):
            self.reject("fixed", f"different symbols of the source, 0 to {self.source.alphabet_size - 1}")

    @property
    def shortest_row(self) -> int:
        return self.source.shortest_row

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        block = self.source._generate(draw.child("source"), rows, length)
        group = np.arange(rows) if self.per == "row" else np.unique(block.machine, return_inverse=True)[1].reshape(rows)
        fixed = np.array(self.fixed, dtype=np.int64)
        image = np.full(self.source.alphabet_size, -1, dtype=np.int64)
        image[fixed] = fixed
        free = np.setdiff1d(np.arange(self.alphabet_size), fixed, assume_unique=True)
        tokens = block.tokens.astype(np.uint32)
        _relabel(draw("injections"), np.argsort(group, kind="stable"), group, free, image, tokens)
        return Block(
            tokens=tokens.astype(self.token_dtype),
            machine=draw.machine_ids(group),
            scored=block.scored,
            floor_nats=block.floor_nats,
            info=block.info,
        )


@kernel
def _relabel(
    rng: np.random.Generator,
    order: NDArray[np.int64],
    group: NDArray[np.int64],
    free: NDArray[np.int64],
    image: NDArray[np.int64],
    tokens: NDArray[np.unsignedinteger[Any]],
) -> None:
    """Replace the tokens in place.

    order   [N] rows such that those of one group follow each other
    group   [N] rows of the same group share an injection
    free    ids to draw from; shuffled as far as needed, whatever their order was before
    image   [A] the id of each symbol, -1 where it has none yet
    """
    drawn, given = np.empty(len(image), dtype=np.int64), 0
    for i in range(len(order)):
        row = order[i]
        if i > 0 and group[row] != group[order[i - 1]]:
            for k in range(given):
                image[drawn[k]] = -1
            given = 0
        for t in range(tokens.shape[1]):
            symbol = tokens[row, t]
            if image[symbol] < 0:
                k = given + int(rng.random() * (len(free) - given))
                image[symbol] = free[k]
                free[k] = free[given]
                free[given] = image[symbol]
                drawn[given] = symbol
                given += 1
            tokens[row, t] = image[symbol]
