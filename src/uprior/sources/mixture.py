"""Mixtures of sources in exact proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, interleave
from uprior.sources.constant import Constant
from uprior.sources.pointwise import Pointwise
from uprior.sources.uniform import Uniform
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Mixture(Source):
    """Rows of several sources in exact proportions.

    ``shares`` are whole numbers: among any sum(shares) consecutive rows of a stream, source i writes exactly shares[i].
    Machine: a machine of one of the sources. Floor: the sources' own; NaN in the rows of a source that does not know it.
    ``info["component"]`` says which source wrote a row, beside what the sources record (NaN in rows of one that does not).
    Cost: the sources' own.
    """

    name: ClassVar[str] = "mixture"
    family: ClassVar[str] = "wrapper"
    sources: tuple[Source, ...] = parameter((Uniform(), Constant(), Pointwise()), "the sources")
    shares: tuple[int, ...] = parameter((), "rows of each source per cycle; empty means equal", low=1, high=10_000)

    def validate(self) -> None:
        if not self.sources:
            self.reject("sources", "at least one source, as in mixture:sources=(uniform,constant)")
        if self.shares and len(self.shares) != len(self.sources):
            self.reject("shares", f"one whole number for each of the {len(self.sources)} sources")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return max(source.alphabet_size for source in self.sources)

    @property
    def shortest_row(self) -> int:
        return max(source.shortest_row for source in self.sources)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        cycle = interleave(self.shares or (1,) * len(self.sources))
        component = cycle[(draw.index * rows + np.arange(rows)) % len(cycle)]
        parts = {
            i: self.sources[i]._generate(draw.child("component", int(i)), int((component == i).sum()), length)
            for i in np.unique(component)
        }
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        machine = np.empty(rows, dtype=np.int64)
        scored = np.ones((rows, length), dtype=np.bool_)
        floor = np.full((rows, length), np.nan, dtype=np.float32)
        for i, part in parts.items():
            here = component == i
            tokens[here], machine[here] = part.tokens, part.machine
            if part.scored is not None:
                scored[here] = part.scored
            if part.floor_nats is not None:
                floor[here] = part.floor_nats
        return Block(
            tokens=tokens,
            machine=machine,
            scored=None if all(part.scored is None for part in parts.values()) else scored,
            floor_nats=None if np.isnan(floor).all() else floor,
            info=_info(parts, component) | {"component": component},
        )


def _info(parts: dict[int, Block], component: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What the sources record per row; NaN in rows of a source that does not record it."""
    joined: dict[str, NDArray[Any]] = {}
    for i, part in parts.items():
        for name, values in part.info.items():
            if values.dtype.kind in "biuf":
                joined.setdefault(name, np.full(len(component), np.nan))[component == i] = values
    return joined
