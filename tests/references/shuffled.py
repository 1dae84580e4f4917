"""Shuffled: the same draws, taking tokens out of a list one by one."""

import math
from collections import Counter

import numpy as np

from references._inner import written
from uprior.sources import Pointwise, Uniform
from uprior.sources.shuffled import Shuffled
from uprior.types import Block

GOLDEN = (1, "f6856832570ab11a")
SPECS = [
    Shuffled(),
    Shuffled(window=10),
    Shuffled(source=Uniform(alphabet_size=100_000), window=1),
    Shuffled(source=Pointwise(alphabet_size=5, max_symbols=5)),
]


def reference(source, draw, rows, length):
    block = written(source.source, draw.child("source"), rows, length)
    rng = draw("order")
    window = source.window or length
    tokens, floor = [], []
    for row in block.tokens.tolist():
        for first in range(0, length, window):
            bag = row[first : first + window]
            counts = Counter(bag)
            for t in range(len(bag)):
                left = len(bag) - t
                other = t + int(rng.random() * left)
                bag[t], bag[other] = bag[other], bag[t]
                floor.append(math.log(left) - math.log(counts[bag[t]]))
                counts[bag[t]] -= 1
            tokens += bag
    return Block(
        tokens=np.array(tokens).reshape(rows, length),
        machine=draw.machine_ids(np.arange(rows)),
        floor_nats=np.array(floor).reshape(rows, length),
    )


def validate(source, block):
    """exp(-sum of the floor) is one over the number of different orders of each window: a multinomial coefficient."""
    assert len(np.unique(block.machine)) == len(block.machine)
    length = block.tokens.shape[1]
    window = source.window or length
    for row, floor in zip(block.tokens, block.floor_nats, strict=True):
        orders = 0.0
        for first in range(0, length, window):
            counts = np.unique(row[first : first + window], return_counts=True)[1]
            orders += math.lgamma(counts.sum() + 1) - sum(math.lgamma(c + 1) for c in counts)
        assert abs(floor.sum() - orders) < 1e-3 * max(1.0, orders)
