"""Uniform noise: the control that teaches nothing but the alphabet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uprior.sources._base import Draw, Source
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Uniform(Source):
    """Independent uniform tokens: a control with nothing to learn.

    Machine: there is one. Floor: exact, ln(alphabet_size) at every position. Cost: about 4 ns per token.
    Bloem 2025 (arXiv 2506.20057) uses it as an ablation and as the noise that chains start from.
    """

    name: ClassVar[str] = "uniform"
    family: ClassVar[str] = "statistical"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 20)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        tokens = draw("rows").integers(0, self.alphabet_size, (rows, length), dtype=np.uint32)
        return Block(
            tokens=tokens.astype(self.token_dtype),
            machine=draw.machine_ids(np.zeros(rows, dtype=np.int64)),
            floor_nats=np.full((rows, length), np.log(self.alphabet_size), dtype=np.float32),
        )
