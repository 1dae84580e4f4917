"""Dyck languages: brackets of several types that close in the reverse order of their opening."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._exact import kernel
from uprior.sources._formal import Brackets
from uprior.spec import parameter
from uprior.types import Block

_WORDS: dict[str, Any] = {"rule": "words", "p_open": 0.5, "min_depth": 1, "max_depth": 16, "word_cap": 510}
_64: dict[str, Any] = {"k": 64, "min_types": 64}


@dataclass(frozen=True)
class Dyck(Brackets):
    """Dyck language: brackets of k types, nested and closed last opened first.

    Machine: the number of types in use, n in min_types..max_types with probability proportional to 1/n; so there are
    max_types - min_types + 1. Tokens 0..k-1 open a type, k..2k-1 close it; a machine uses the first n types of each half.

    A bracket opens where nothing is open, else with probability ``p_open`` unless at max_depth; its type is uniform. Closing
    takes the type last opened. Until a word first reaches min_depth, it only opens. By the rule *exact*, a row is balanced:
    it closes as soon as only enough tokens are left to close all (an odd row is an even one and an opener that nothing
    closes). By the rule *words*, independent words follow each other; a word ends when nothing is open, is closed in the same
    way at word_cap tokens, and the last one is cut at the end of the row.

    Floor: exact; the stack is visible. Zero where closing is forced. Cost: about 16 ns per token. ``info``: types, and the
    greatest and the mean of the depth after each token.

    Presets: ``procedural`` (Jiang, Shinnick et al., arXiv 2601.21725: k=64, exact, p_open 0.5 as in the runs they ship, while
    the function's own default is 0.49; no depth limit); ``hu`` (Hu et al., arXiv 2502.19249: words of depth 1..16 and at most
    510 tokens, p_open 0.5, and the generator's default k=30); ``nca`` (the baseline of arXiv 2603.10055: the same with k=64);
    ``vit`` (arXiv 2511.13945: 64 types, open_prob 0.6, depth at most 16, at least one pair. Only the configuration is public,
    so the exact rule is our reading; their ids are ours + 2, below them PAD 0 and MASK 1, which no row contains).
    """

    name: ClassVar[str] = "dyck"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "procedural": {**_64, "rule": "exact", "p_open": 0.5, "min_depth": 1, "max_depth": 0},
        "hu": {**_WORDS, "k": 30, "min_types": 30},
        "nca": {**_WORDS, **_64},
        "vit": {**_64, "rule": "exact", "p_open": 0.6, "min_depth": 1, "max_depth": 16},
    }
    rule: str = parameter("exact", "rows balanced as a whole, or independent words", choices=("exact", "words"))
    p_open: float = parameter(0.5, "chance to open where both are possible", low=0.01, high=0.99)
    min_depth: int = parameter(1, "depth that every word reaches before it closes, if the row allows", low=1, high=4096)
    max_depth: int = parameter(0, "greatest depth; 0 for no limit", low=0, high=1 << 20)
    word_cap: int = parameter(510, "longest word of the rule 'words', tokens", low=2, high=1 << 20)

    def validate(self) -> None:
        super().validate()
        if 0 < self.max_depth < self.min_depth:
            self.reject("max_depth", f"0, or from min_depth = {self.min_depth}")
        if self.rule == "words" and self.word_cap < 2 * self.min_depth:
            self.reject("word_cap", f"at least 2 * min_depth = {2 * self.min_depth}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        types = self._types(draw, rows)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        floor = np.empty((rows, length), dtype=np.float32)
        deepest, total = _write(
            draw("rows"), types, self.k, self.p_open, self.min_depth, self.max_depth or length,
            self.rule == "words", self.word_cap, tokens, floor,
        )  # fmt: skip
        info = {"types": types, "max_depth": deepest, "mean_depth": total / length}
        return Block(tokens=tokens, machine=draw.machine_ids(types), floor_nats=floor, info=info)


@kernel
def _write(
    rng: np.random.Generator,
    types: NDArray[np.int64],
    k: int,
    p_open: float,
    min_depth: int,
    max_depth: int,
    words: bool,
    word_cap: int,
    tokens: NDArray[Any],
    floor: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill tokens and floor [N, T]; return the greatest depth and the sum of the depths of each row [N]."""
    rows, length = tokens.shape
    deepest, total = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    stack = np.empty(length, dtype=np.int64)
    for row in range(rows):
        n = types[row]
        nats_opening, nats_closing, nats_type = -np.log(p_open), -np.log(1.0 - p_open), np.log(n)
        depth, left, climbing = 0, length, True
        for t in range(length):
            if depth == 0:
                climbing, p = True, 1.0
                if words:
                    left = word_cap
            elif depth >= left - 1 or depth == max_depth:
                p = 0.0
            else:
                p = 1.0 if climbing else p_open
            u = rng.random()
            if u < p:
                kind = min(int(u / p * n), n - 1)
                stack[depth] = kind
                depth += 1
                climbing = climbing and depth < min_depth
                tokens[row, t] = kind
                floor[row, t] = nats_type if p == 1.0 else nats_opening + nats_type
            else:
                depth -= 1
                tokens[row, t] = k + stack[depth]
                floor[row, t] = 0.0 if p == 0.0 else nats_closing
            left -= 1
            deepest[row] = max(deepest[row], depth)
            total[row] += depth
    return deepest, total
