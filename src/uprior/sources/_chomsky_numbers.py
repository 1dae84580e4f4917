"""Binary numbers of any length as arrays of bits: random ones with the law of their bits, and arithmetic on them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel

LN2 = math.log(2.0)
LARGE = 60  # 2^-LARGE is nothing beside 1 in float64

Symbols = NDArray[np.uint8]
Floats = NDArray[np.float64]
Nats = NDArray[np.float32]


@kernel
def write_number(uniform: Floats, first: int, end: int, episode: Symbols, nats: Nats) -> None:
    """A uniform number of 1..2^size - 1 as the bits at first..end-1, in either order of bits, and their floors.

    While all bits are zero and r are left, a one has probability 2^(r-1) / (2^r - 1); after a one, bits are fair.
    """
    zeros = True
    for i in range(first, end):
        chance = 0.5
        if zeros and end - i < LARGE:
            chance = 0.5 / (1.0 - 0.5 ** (end - i))
        one = uniform[i] < chance
        episode[i] = 1 if one else 0
        nats[i] = -math.log(chance if one else 1.0 - chance)
        zeros = zeros and not one


@kernel
def prepare_sizes(largest: int, prefix: Floats) -> None:
    """Weights of prefixes of a first number whose size is uniform in 1..largest, up to a factor 2^-i; prefix [2, largest + 2].

    prefix[0, i]  i bits that are not all zero: the sum over sizes a >= i of 1 / (1 - 2^-a)
    prefix[1, i]  i zeros: the sum over sizes a >= i of (1 - 2^(i - a)) / (1 - 2^-a)
    """
    some = tail = 0.0
    prefix[0, largest + 1] = prefix[1, largest + 1] = 0.0
    for i in range(largest, 0, -1):
        term = 1.0 / (1.0 - 0.5**i) if i < LARGE else 1.0
        some += term
        tail = term + 0.5 * tail
        prefix[0, i] = some
        prefix[1, i] = some - tail
    prefix[0, 0] = prefix[1, 0] = largest


@kernel
def write_two_numbers(
    uniform: Floats, place: float, items: int, operator: int, episode: Symbols, nats: Nats, prefix: Floats
) -> int:
    """Two positive numbers, an operator between them, ``items`` symbols in all; the size of the first, uniform.

    The floor of the first number knows ``items`` but not its size, so every bit also says that the operator is not yet due.
    """
    size = 1 + int(place * (items - 2))
    write_number(uniform, 0, size, episode, nats)
    zeros = 1
    for i in range(size):
        before = prefix[zeros, i]
        if episode[i] == 1:
            zeros = 0
        nats[i] = -math.log(0.5 * prefix[zeros, i + 1] / before)
    episode[size] = operator
    nats[size] = -math.log(1.0 - prefix[0, size + 1] / prefix[0, size])
    write_number(uniform, size + 1, items, episode, nats)
    return size


@kernel
def combine(items: int, size: int, product: bool, episode: Symbols, columns: NDArray[np.int64]) -> int:
    """Sum or product of the numbers at 0..size-1 and size+1..items-1, lowest bit first, written from items + 1 on.

    The number of bits without leading zeros. ``columns`` is working space: the column sums of the school methods.
    """
    width = items - 1 if product else max(size, items - 1 - size) + 1
    for i in range(width):
        columns[i] = 0
    for i in range(size):
        if not product:
            columns[i] += episode[i]
        elif episode[i] == 1:
            for j in range(items - 1 - size):
                columns[i + j] += episode[size + 1 + j]
    if not product:
        for j in range(items - 1 - size):
            columns[j] += episode[size + 1 + j]
    carry, bits = 0, 0
    for i in range(width):
        carry += columns[i]
        episode[items + 1 + i] = carry & 1
        if carry & 1:
            bits = i + 1
        carry >>= 1
    return bits


@kernel
def square_root(items: int, episode: Symbols, rest: NDArray[np.int64]) -> int:
    """The integer square root of the number at 0..items-1, highest bit first, from items + 1 on; its number of bits.

    The school method by pairs of bits: bit j is one if the rest, up to pair j, holds root * 4 + 1. ``rest`` is working space.
    """
    size = (items + 1) // 2
    root = items + 1
    rest[0] = 0
    for i in range(items):
        rest[2 * size - items + i] = episode[i]
    for j in range(size):
        # The trial is root bits 0..j-1, then 0, 1 at positions j..2j+1; the rest begins at j-1 or later.
        episode[root + j], episode[root + j + 1] = 0, 1
        holds = 1
        if j == 0 or rest[j - 1] == 0:
            for i in range(j + 2):
                if rest[j + i] != episode[root + i]:
                    holds = 1 if rest[j + i] > episode[root + i] else 0
                    break
        if holds:
            borrow = 0
            for i in range(j + 1, -1, -1):
                difference = rest[j + i] - episode[root + i] - borrow
                rest[j + i] = difference & 1
                borrow = 1 if difference < 0 else 0
            if j > 0:
                rest[j - 1] -= borrow
        episode[root + j] = holds
    return size
