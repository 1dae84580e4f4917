"""Batches made of the rows of other batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.types import Batch


def share(batch: Batch, rank: int, world_size: int) -> Batch:
    """The rows of a global batch [B, T] that process ``rank`` of ``world_size`` works on: a view, in order, none twice.

    Which samples are in a step never depends on the number of processes, only who works on them. Where ``world_size`` does
    not divide B, shares differ by one row (some are empty where it exceeds B), so a loss is to be divided by what the
    *global* batch scores, never by the share's own count. SpecError unless 0 <= rank < world_size.

    >>> whole = Batch(np.arange(10).reshape(5, 2), np.ones((5, 2), dtype=np.bool_))
    >>> [share(whole, rank, 2).tokens[:, 0].tolist() for rank in range(2)]
    [[0, 2], [4, 6, 8]]
    """
    if not 0 <= rank < world_size:
        raise SpecError(f"share: rank = {rank} of {world_size} is not allowed; allowed: 0 <= rank < world_size")
    rows = batch.tokens.shape[0]
    return take(batch, slice(rank * rows // world_size, (rank + 1) * rows // world_size))


def gather(
    numbers: NDArray[np.integer[Any]], size: int, read: Callable[[int, NDArray[np.integer[Any]]], Batch]
) -> Batch:
    """Rows by number, group by group: ``read(g, places)`` gives rows ``g * size + places``."""
    groups = numbers // size
    batch = join([read(int(g), numbers[groups == g] % size) for g in np.unique(groups)])
    order = np.argsort(groups, kind="stable")  # how the parts stand now
    return batch if (np.diff(groups) >= 0).all() else take(batch, np.argsort(order))


def take(batch: Batch, which: slice | NDArray[np.integer[Any]]) -> Batch:
    """These rows of a batch, in this order."""
    floors = None if batch.floor_nats is None else batch.floor_nats[which]
    return Batch(batch.tokens[which], batch.scored[which], floors)


def join(parts: list[Batch]) -> Batch:
    """The rows of all parts; floors that a part does not know are NaN."""
    if len(parts) == 1:
        return parts[0]
    floors = [
        np.full(p.tokens.shape, np.nan, dtype=np.float32) if p.floor_nats is None else p.floor_nats for p in parts
    ]
    known = any(p.floor_nats is not None for p in parts)
    return Batch(
        np.concatenate([p.tokens for p in parts]),
        np.concatenate([p.scored for p in parts]),
        np.concatenate(floors) if known else None,
    )
