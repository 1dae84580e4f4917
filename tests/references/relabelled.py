"""Relabelled: the same draws, with one dictionary per row or machine."""

import numpy as np

from references._inner import written
from uprior.sources import ContextTree, Pointwise, Uniform
from uprior.sources.relabelled import Relabelled
from uprior.types import Block

GOLDEN = (1, "525bf807c38a140f")
SPECS = [
    Relabelled(),
    Relabelled(per="machine", alphabet_size=300),
    Relabelled(source=ContextTree.preset("ctw"), alphabet_size=2),
    Relabelled(source=Pointwise(alphabet_size=16, max_symbols=16), alphabet_size=16, fixed=(3, 0, 15)),
    Relabelled(source=Uniform(alphabet_size=70_000), alphabet_size=100_000, per="machine"),
]


def reference(source, draw, rows, length):
    block = written(source.source, draw.child("source"), rows, length)
    rng = draw("injections")
    machines = sorted(set(block.machine.tolist()))
    group = list(range(rows)) if source.per == "row" else [machines.index(m) for m in block.machine.tolist()]
    free = [symbol for symbol in range(source.alphabet_size) if symbol not in source.fixed]
    tokens = [[] for _ in range(rows)]
    for g in sorted(set(group)):
        image, given = {symbol: symbol for symbol in source.fixed}, 0
        for row in range(rows):
            if group[row] != g:
                continue
            for symbol in block.tokens[row].tolist():
                if symbol not in image:
                    k = given + int(rng.random() * (len(free) - given))
                    free[given], free[k] = free[k], free[given]
                    image[symbol] = free[given]
                    given += 1
                tokens[row].append(image[symbol])
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.array(group)),
        scored=block.scored,
        floor_nats=block.floor_nats,
    )


def validate(source, block):
    assert block.tokens.max() < source.alphabet_size
    assert len(np.unique(block.machine)) == len(block.machine) or source.per == "machine"
    for machine in np.unique(block.machine):
        used = np.unique(block.tokens[block.machine == machine])
        assert len(used) <= source.source.alphabet_size
