"""Sampling from tables in constant time: Walker's alias method, and random sets of symbols."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import inlined, kernel

Floats = NDArray[np.float64]


@kernel
def fill_alias(weight: Floats, keep: Floats, other: NDArray[np.integer[Any]], work: NDArray[np.int64]) -> None:
    """Alias table of ``weight`` [S], which adds up to 1, by Vose's algorithm (1991).

    Column i then stands for i with probability keep[i], else for other[i]. ``work`` [S] is working space.
    """
    size = len(weight)
    small, large = 0, size  # two stacks in one array: light columns from the left, heavy ones from the right
    for i in range(size):
        keep[i] = weight[i] * size
        other[i] = i
        if keep[i] < 1.0:
            work[small] = i
            small += 1
        else:
            large -= 1
            work[large] = i
    while small > 0 and large < size:
        small -= 1
        light, heavy = work[small], work[large]
        other[light] = heavy
        keep[heavy] -= 1.0 - keep[light]
        if keep[heavy] < 1.0:
            large += 1
            work[small] = heavy
            small += 1
    # What remains is full up to rounding; other[i] = i makes it so.


@inlined
def take(uniform: Any, size: Any, first: Any, keep: Any, other: Any) -> Any:
    """A symbol below ``size`` from the alias table that begins at ``first`` of the flat tables, by one uniform number."""
    scaled = uniform * size
    column = min(int(scaled), size - 1)  # the product may round up to ``size``
    return column if scaled - column < keep[first + column] else int(other[first + column])


@kernel
def shuffle_first(rng: np.random.Generator, items: NDArray[np.int64], count: int) -> None:
    """A partial shuffle: the first ``count`` items become a random set in random order, whatever the order was before."""
    size = len(items)
    for i in range(count):
        j = i + int(rng.random() * (size - i))
        items[i], items[j] = items[j], items[i]
