"""What the formal languages share: sizes over several orders of magnitude, brackets, and laws that types are drawn from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import fill_alias, take
from uprior.sources._base import Draw, Source, bars
from uprior.sources._exact import inlined, kernel
from uprior.spec import parameter


def sizes(rng: np.random.Generator, low: int, high: int, count: int) -> NDArray[np.int64]:
    """[count] whole numbers low..high, n with probability proportional to 1/n: every order of magnitude alike."""
    edges = np.cumsum(1.0 / np.arange(low, high + 1))
    drawn: NDArray[np.int64] = low + np.searchsorted(edges[:-1], rng.random(count) * edges[-1], side="right")
    return drawn


@dataclass(frozen=True)
class Brackets(Source):
    """Base of the Dyck languages: 0..k-1 open a type, k..2k-1 close it, and a machine uses the first few types of each half."""

    family: ClassVar[str] = "formal"
    k: int = parameter(64, "number of bracket types in the alphabet", low=1, high=1 << 15)
    min_types: int = parameter(2, "fewest types of a machine (k, where k is less)", low=1, high=1 << 15)
    max_types: int = parameter(0, "most types of a machine; 0 for k", low=0, high=1 << 15)

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return 2 * self.k

    def validate(self) -> None:
        if self.max_types > self.k:
            self.reject("max_types", f"0 to k = {self.k}")
        if self.min_types > self.max_types > 0:
            self.reject("min_types", f"1 to max_types = {self.max_types}")

    def _types(self, draw: Draw, rows: int) -> NDArray[np.int64]:
        """[N] how many types the machine of each row uses."""
        most = self.max_types or self.k
        return sizes(draw("machines"), min(self.min_types, most), most, rows)

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        row = self._generate(draw, 1, length).tokens[0]
        return bars(np.cumsum(np.where(row < self.k, 1, -1)))


class Laws(NamedTuple):
    """One distribution over V types per machine, as an alias table (Walker 1977).

    chance  [M, V] the probabilities
    keep    [M, V] column i stands for type i with this probability,
    other   [M, V] otherwise for this type
    """

    chance: NDArray[np.float64]
    keep: NDArray[np.float64]
    other: NDArray[np.int32]


def laws_of(weights: NDArray[np.float64]) -> Laws:
    """The laws proportional to ``weights`` [M, V], all above zero."""
    return Laws(*_alias_tables(weights))


@functools.cache
def zipf(size: int, exponent: float) -> Laws:
    """The one law in which type i (from 0) has probability proportional to (i + 1)^-exponent; exponent 0 is uniform."""
    return laws_of(1.0 / np.arange(1.0, size + 1)[None] ** exponent)


def laws_of_machines(
    rng: np.random.Generator, size: int, exponent: float, shuffled: bool, machines: int
) -> tuple[Laws, NDArray[np.int64]]:
    """Zipf laws over ``size`` types, and which of them each machine uses [M]: its own order of the types, or one for all."""
    common = zipf(size, exponent)
    if shuffled and exponent:
        return laws_of(rng.permuted(np.tile(common.chance, (machines, 1)), axis=1)), np.arange(machines)
    return common, np.zeros(machines, dtype=np.int64)


@kernel
def _alias_tables(
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """chance, keep and other [M, V]."""
    size = weights.shape[1]
    chance, keep, other = np.empty_like(weights), np.empty_like(weights), np.empty(weights.shape, dtype=np.int32)
    work = np.empty(size, dtype=np.int64)
    for m in range(weights.shape[0]):
        total = 0.0
        for i in range(size):
            total += weights[m, i]
        for i in range(size):
            chance[m, i] = weights[m, i] / total
        fill_alias(chance[m], keep[m], other[m], work)
    return chance, keep, other


@inlined
def choose(uniform: float, keep: NDArray[np.float64], other: NDArray[np.int32]) -> Any:
    """A type by one uniform number in [0, 1), from the alias table [V] of its law."""
    return take(uniform, keep.shape[0], 0, keep, other)


@inlined
def sum_of(values: NDArray[np.float64]) -> Any:
    """The sum, in four chains: a single one would wait for every addition."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = values.shape[0] // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
    for i in range(whole, values.shape[0]):
        a += values[i]
    return a + b + (c + d)
