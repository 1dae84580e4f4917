"""Shuffle-Dyck languages: brackets of several types, each balanced by itself, crossing each other freely."""

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

_64: dict[str, Any] = {"k": 64, "min_types": 64, "min_depth": 1}


@dataclass(frozen=True)
class ShuffleDyck(Brackets):
    """Shuffle-Dyck language: brackets of k types that may cross, one counter per type.

    Machine: the number of types in use, n in min_types..max_types with probability proportional to 1/n; so there are
    max_types - min_types + 1. Tokens 0..k-1 open a type, k..2k-1 close it; a machine uses the first n types of each half.

    The depth is the number of brackets open in all types. At depth 0 and for the first min_depth tokens of a row, a bracket
    opens; at max_depth one closes; else one opens with probability ``p_open``. An opening bracket's type is uniform over the
    n types, a closing one's is uniform over the *types* of which some are open, however many. A row is cut where it ends,
    brackets open.

    Floor: exact; the counters are visible. Cost: about 30 ns per token. ``info``: types, the mean of the depth after each
    token, and the depth at the end.

    Presets: ``procedural`` (Jiang, Shinnick et al., arXiv 2601.21725: k=64, depth at most 16, p_open 0.5); ``hu`` (Hu et al.,
    arXiv 2502.19249: k=64, depth 8, p_open 0.51; "cross-serial" in their file names); ``nca`` (the baseline of arXiv
    2603.10055: as procedural, but the code draws types below an upper bound that it takes to be included, so that the last of
    its 64 types never occurs).
    """

    name: ClassVar[str] = "shuffle_dyck"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "procedural": {**_64, "p_open": 0.5, "max_depth": 16},
        "hu": {**_64, "p_open": 0.51, "max_depth": 8},
        "nca": {**_64, "p_open": 0.5, "max_depth": 16, "min_types": 63, "max_types": 63},
    }
    p_open: float = parameter(0.5, "chance to open where both are possible", low=0.01, high=0.99)
    min_depth: int = parameter(1, "brackets that a row opens before it closes any", low=1, high=1 << 15)
    max_depth: int = parameter(16, "most brackets open at a time", low=1, high=1 << 15)

    def validate(self) -> None:
        super().validate()
        if self.min_depth > self.max_depth:
            self.reject("min_depth", f"1 to max_depth = {self.max_depth}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        types = self._types(draw, rows)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        floor = np.empty((rows, length), dtype=np.float32)
        total, last = _write(
            draw("rows"), types, self.k, self.p_open, self.min_depth, self.max_depth, tokens, floor
        )  # fmt: skip
        info = {"types": types, "mean_depth": total / length, "last_depth": last}
        return Block(tokens=tokens, machine=draw.machine_ids(types), floor_nats=floor, info=info)


@kernel
def _write(
    rng: np.random.Generator,
    types: NDArray[np.int64],
    k: int,
    p_open: float,
    min_depth: int,
    max_depth: int,
    tokens: NDArray[Any],
    floor: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill tokens and floor [N, T]; return the sum of the depths and the last depth of each row [N]."""
    rows, length = tokens.shape
    total, last = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    nats_opening, nats_closing = -np.log(p_open), -np.log(1.0 - p_open)
    nats_of = np.log(np.arange(1.0, k + 1))  # [k] of one type among 1, 2, ...
    count = np.empty(k, dtype=np.int64)
    is_open, place = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.int64)  # types open in any order; where each is
    for row in range(rows):
        n, depth, kinds = types[row], 0, 0
        count[:n] = 0
        for t in range(length):
            p = 1.0 if depth == 0 or t < min_depth else 0.0 if depth == max_depth else p_open
            u = rng.random()
            if u < p:
                kind = min(int(u / p * n), n - 1)
                if count[kind] == 0:
                    is_open[kinds], place[kind] = kind, kinds
                    kinds += 1
                count[kind] += 1
                depth += 1
                tokens[row, t] = kind
                floor[row, t] = nats_of[n - 1] + (0.0 if p == 1.0 else nats_opening)
            else:
                floor[row, t] = nats_of[kinds - 1] + (0.0 if p == 0.0 else nats_closing)
                kind = is_open[min(int((u - p) / (1.0 - p) * kinds), kinds - 1)]
                count[kind] -= 1
                if count[kind] == 0:
                    kinds -= 1
                    is_open[place[kind]], place[is_open[kinds]] = is_open[kinds], place[kind]
                depth -= 1
                tokens[row, t] = k + kind
            total[row] += depth
        last[row] = depth
    return total, last
