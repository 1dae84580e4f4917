"""Noisy: the channel run on lists from their ends."""

import numpy as np

from references._inner import written
from uprior.sources import ContextTree, Pointwise, RandomLanguage, Uniform
from uprior.sources.noisy import Noisy
from uprior.types import Block

GOLDEN = (1, "9c5af62c15672653")
SPECS = [
    Noisy(),
    Noisy(substitution=0.0, deletion=0.0, insertion=0.0),
    Noisy(source=Pointwise(), substitution=0.0, deletion=0.6, insertion=0.0),
    Noisy(source=ContextTree.preset("ctw"), substitution=0.3, deletion=0.2, insertion=0.5),
    Noisy(source=Uniform(alphabet_size=1 << 17), substitution=1.0, deletion=0.0, insertion=0.0),
    Noisy(source=RandomLanguage(), deletion=0.1),
]


def reference(source, draw, rows, length):
    rng = draw("channel")
    plans, needed = [], 0
    for _ in range(rows):
        plan, taken = [], 0
        while len(plan) < length:
            u = rng.random()
            if u < source.deletion:
                taken += 1
                continue
            u -= source.deletion
            fresh = int(rng.random() * source.alphabet_size) if u < source.insertion + source.substitution else None
            if u < source.insertion:
                plan.append((None, fresh))
            else:
                plan.append((taken, fresh))
                taken += 1
        plans.append(plan[::-1])
        needed = max(needed, taken)
    block = written(source.source, draw.child("source"), rows, max(needed, source.shortest_row))
    tokens, marks = [], []
    for n, plan in enumerate(plans):
        backwards = block.tokens[n].tolist()[::-1]
        tokens.append([backwards[back] if fresh is None else fresh for back, fresh in plan])
        if block.scored is not None:
            scored = block.scored[n].tolist()[::-1]
            marks.append([back is not None and scored[back] for back, _ in plan])
            if not any(marks[-1][1:]):
                marks[-1][-1] = True
    clean = source.substitution == source.deletion == source.insertion == 0
    return Block(
        tokens=np.array(tokens),
        machine=block.machine,
        scored=np.array(marks) if marks else None,
        floor_nats=block.floor_nats if clean else None,
    )


def validate(source, block):
    """A token that comes out follows a geometric number of deletions, and is itself the channel's with the other rates."""
    length = block.tokens.shape[1]
    expected = length * (source.substitution + source.insertion + source.deletion) / (1 - source.deletion)
    spread = 6 * np.sqrt(max(expected, 1.0)) / (1 - source.deletion)
    assert (abs(block.info["mutations"] - expected) <= spread).all()
