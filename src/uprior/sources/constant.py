"""Constant rows: one token, repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uprior.sources._base import Draw, Source
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Constant(Source):
    """One token repeated over the whole row: the most regular data there is.

    Machine: the token, so there are ``alphabet_size`` of them, and as many rows; they are divided between the splits
    (six eighths train, one validation, one test) because independent streams would repeat them. Floor: exact, 0, as the
    machine knows its token. Cost: about 1 ns per token. Bloem 2025 (arXiv 2506.20057) starts half of his chains from such rows.
    """

    name: ClassVar[str] = "constant"
    family: ClassVar[str] = "statistical"
    row_space: ClassVar[int | None] = 1 << 20
    alphabet_size: int = parameter(256, "number of symbols", low=8, high=1 << 20)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        own = draw.own_machines(f"constant/{self.alphabet_size}", self.alphabet_size)
        symbols = own[draw("rows").integers(0, len(own), rows)]
        return Block(
            tokens=np.repeat(symbols[:, None], length, axis=1).astype(self.token_dtype),
            machine=symbols,
            floor_nats=np.zeros((rows, length), dtype=np.float32),
        )
