"""Independent tokens by inverse distribution functions, written as a loop."""

import math
from itertools import accumulate

import numpy as np

from uprior.sources import Pointwise
from uprior.types import Block

GOLDEN = (1, "fbc6c21001b63266")
SPECS = [
    Pointwise(),
    Pointwise(alphabet_size=5, max_symbols=5, rows_per_machine=2),
    Pointwise(alphabet_size=1 << 16, max_symbols=300, concentration=5.0),
    Pointwise(alphabet_size=2, max_symbols=2, concentration=0.001, rows_per_machine=100),
]


def reference(source, draw, rows, length):
    machines, widest = -(-rows // source.rows_per_machine), source.max_symbols
    rng = draw("machines")
    sizes = rng.integers(2, widest + 1, machines).tolist()
    keys = [rng.random(source.alphabet_size, dtype=np.float32) for _ in range(machines)]
    whole = widest == source.alphabet_size
    symbols = [k.argsort() if whole else np.argpartition(k, widest - 1)[:widest] for k in keys]
    laws = []
    for size in sizes:
        weights = [rng.standard_gamma(source.concentration) + 1e-30 for _ in range(widest)][:size]
        laws.append([weight / sum(weights) for weight in weights])
    rng, tokens, floor = draw("rows"), [], []
    for n in range(rows):
        m = n % machines
        edges = list(accumulate(laws[m]))
        edges[-1] = 2.0
        chosen = []
        for _ in range(length):
            u = rng.random()
            chosen.append(next(k for k, edge in enumerate(edges) if u < edge))
        tokens.append([symbols[m][k] for k in chosen])
        floor.append([max(-math.log(laws[m][k]), 0.0) for k in chosen])
    machine = [n % machines for n in range(rows)]
    return Block(np.array(tokens), draw.machine_ids(np.array(machine)), floor_nats=np.array(floor))


def validate(source, block):
    """A machine has at most as many symbols as it says, and each symbol one probability; together at most 1."""
    for machine in np.unique(block.machine):
        mine = block.machine == machine
        stated = {}
        for token, nats in zip(
            block.tokens[mine].ravel().tolist(), block.floor_nats[mine].ravel().tolist(), strict=True
        ):
            assert stated.setdefault(token, nats) == nats
        assert len(stated) <= block.info["symbols"][mine][0] <= source.max_symbols
        assert sum(math.exp(-nats) for nats in stated.values()) < 1 + 1e-5
