"""Uniform noise, one token at a time."""

import math

import numpy as np

from uprior.sources import Uniform
from uprior.types import Block

GOLDEN = (1, "f5bc2bb107ae39dc")
SPECS = [Uniform(), Uniform(alphabet_size=2), Uniform(alphabet_size=1 << 16), Uniform(alphabet_size=1_000_003)]


def reference(source, draw, rows, length):
    rng = draw("rows")
    tokens = [[int(rng.integers(source.alphabet_size, dtype=np.uint32)) for _ in range(length)] for _ in range(rows)]
    floor = [[math.log(source.alphabet_size)] * length] * rows
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.zeros(rows, dtype=int)),
        floor_nats=np.array(floor),
    )


def validate(source, block):
    """The mean of uniform tokens, within six standard errors."""
    middle, spread = (source.alphabet_size - 1) / 2, source.alphabet_size / math.sqrt(12 * block.tokens.size)
    assert abs(block.tokens.mean() - middle) < 6 * spread
    np.testing.assert_allclose(np.exp(block.floor_nats.astype(float)), source.alphabet_size, rtol=1e-5)
