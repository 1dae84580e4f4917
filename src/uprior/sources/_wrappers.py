"""What sources that wrap another source share."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np

from uprior.errors import SpecError
from uprior.sources._base import Draw, Source
from uprior.types import Block


def can_share_machines(source: Source) -> bool:
    """Whether a source has a field that says how many rows each of its machines writes."""
    return any(field.name == "rows_per_machine" for field in dataclasses.fields(cast(Any, source)))


def rows_of_machines(source: Source, draw: Draw, machines: int, each: int, length: int) -> Block:
    """``each`` rows of each of ``machines`` machines, the rows of one machine one after the other."""
    block = source.replace(rows_per_machine=each)._generate(draw, machines * each, length)
    order = np.argsort(block.machine, kind="stable").reshape(machines, each)
    if (block.machine[order] != block.machine[order[:, :1]]).any():
        raise SpecError(f"{source.name}: rows_per_machine = {each} did not give {each} rows of each machine")
    return block.take(order.ravel())


def join_alike(parts: list[Block]) -> Block:
    """The rows of several blocks of one source, one block after the other."""
    floors = [part.floor_nats for part in parts if part.floor_nats is not None]
    scored = [part.scored for part in parts if part.scored is not None]
    return Block(
        tokens=np.concatenate([part.tokens for part in parts]),
        machine=np.concatenate([part.machine for part in parts]),
        scored=np.concatenate(scored) if len(scored) == len(parts) else None,
        floor_nats=np.concatenate(floors) if len(floors) == len(parts) else None,
        info={name: np.concatenate([part.info[name] for part in parts]) for name in parts[0].info},
    )
