"""What the compiled predictors share: how a kernel is compiled, and a hash table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """A kernel: compiled once per machine, and other threads run beside it."""
    return cast(Function, njit(cache=True, nogil=True)(function))


def table_slots(keys: int) -> int:
    """How many slots a table for this many keys gets: a power of two, at most half full.

    >>> table_slots(5), table_slots(8), table_slots(1000)
    (16, 32, 2048)
    """
    return 1 << max(4, (2 * keys).bit_length())


@compiled
def find(keys: NDArray[np.int64], key: np.int64) -> int:
    """The slot of a key in an open-addressing table, or the free slot where it belongs (-1 marks free)."""
    mask = keys.size - 1
    slot = int((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot
