"""The few values that cross room boundaries: Block, Batch, Score.

Shape letters used across the package: N rows of a block, B rows of a batch, T positions in a row, V vocabulary entries,
H hidden width, M machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Block:
    """Many rows written by many machines: the unit of generation.

    tokens      [N, T] uint16 or uint32, symbols 0..alphabet_size-1, never padding
    scored      [N, T] bool, True where predicting this token counts in the loss; None means everywhere
    floor_nats  [N, T] float32, -log p of each token given its prefix and the machine; None if the source
                cannot know, NaN in whole rows of a mixture whose source cannot
    machine     [N] int64, which machine wrote the row (unique across blocks but for hash collisions)
    info        name -> [N], what is worth knowing per row: depth, difficulty, multiplier
    """

    tokens: NDArray[np.unsignedinteger[Any]]
    machine: NDArray[np.int64]
    scored: NDArray[np.bool_] | None = None
    floor_nats: NDArray[np.float32] | None = None
    info: dict[str, NDArray[Any]] = field(default_factory=dict)

    def take(self, rows: NDArray[np.integer[Any]]) -> Block:
        """The block made of these rows, in this order."""
        return Block(
            tokens=self.tokens[rows],
            machine=self.machine[rows],
            scored=None if self.scored is None else self.scored[rows],
            floor_nats=None if self.floor_nats is None else self.floor_nats[rows],
            info={name: values[rows] for name, values in self.info.items()},
        )


@dataclass(frozen=True)
class Batch:
    """What a training step sees.

    tokens      [B, T] int64, ids in the model's vocabulary; position t is predicted from positions < t, so the first
                token of a row is given, never predicted
    scored      [B, T] bool, True where predicting this token counts in the loss
    floor_nats  [B, T] float32, NaN where unknown; None when unknown everywhere
    """

    tokens: NDArray[np.int64]
    scored: NDArray[np.bool_]
    floor_nats: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Score:
    """A measured value: never reported without its standard error, its sample size and its unit."""

    name: str
    value: float
    standard_error: float
    n: int
    unit: str
    version: int = 1
