"""Walks on automata in plain Python: a machine is {"edges": [[(symbol, target, weight), ...], ...], "names": [...], ...}."""

import itertools
import math

import numpy as np

from uprior.types import Block


def write(source, draw, rows, length, machines):
    """The block of rows that these machines write; machine["starts"] states are where a row may begin."""
    rng, tokens, floor = draw("rows"), [None] * rows, [None] * rows
    for m, machine in enumerate(machines):
        for n in range(m, rows, len(machines)):
            tokens[n], floor[n] = walk(rng, machine, length)
    machine = np.arange(rows) % len(machines)
    return Block(
        tokens=np.array(tokens, dtype=source.token_dtype),
        machine=draw.machine_ids(machine),
        floor_nats=np.array(floor, dtype=np.float32),
    )


def walk(rng, machine, length):
    edges, starts = machine["edges"], machine["starts"]
    belief = dict.fromkeys(range(starts), 1 / starts)
    state = int(rng.random() * starts)
    row, nats = [], []
    for _ in range(length):
        symbol, state = choose(rng.random(), edges[state], machine["even"])
        after = {}
        for s, chance in belief.items():
            for x, target, weight in edges[s]:
                if x == symbol and chance * weight > 0:
                    after[target] = after.get(target, 0.0) + chance * weight
        total = sum(after.values())
        belief = {s: chance / total for s, chance in after.items()}
        row.append(machine["names"][symbol])
        nats.append(max(-math.log(total), 0.0))
    return row, nats


def choose(uniform, edges, even):
    if even:
        return edges[int(uniform * len(edges))][:2]
    below = 0.0
    for symbol, target, weight in edges:
        below += weight
        if below > uniform:
            return symbol, target
    raise AssertionError("weights do not add up to 1")


def probability(machine, word):
    """The chance that a row begins with this word: the sum over all paths of hidden states, one by one."""
    edges, total = machine["edges"], 0.0
    indices = [machine["names"].index(token) if token in machine["names"] else -1 for token in word]
    for path in itertools.product(range(len(edges)), repeat=len(word) + 1):
        if path[0] < machine["starts"]:
            chance = 1 / machine["starts"]
            for s, x, target in zip(path, indices, path[1:], strict=False):
                chance *= sum(w for symbol, to, w in edges[s] if symbol == x and to == target)
            total += chance
    return total


def shuffle_first(rng, pool, count):
    """A random choice of ``count`` entries, moved to the front of the list."""
    for i in range(count):
        j = i + int(rng.random() * (len(pool) - i))
        pool[i], pool[j] = pool[j], pool[i]
    return pool[:count]


def check(source, block):
    """What rows of any such automaton must be."""
    assert (block.floor_nats >= 0).all()
    for machine in np.unique(block.machine):
        rows = block.machine == machine
        used = len(np.unique(block.tokens[rows]))
        assert used <= block.info["symbols"][rows][0]
        if used == 1 and block.info["symbols"][rows][0] == 1:
            assert not block.floor_nats[rows].any()
    # A floor is a code length: rows are not, on average, likelier than their own frequencies allow after the fact.
    nats = block.floor_nats.sum()
    alphabet = math.log(max(block.info["symbols"].max(), 2))
    assert nats <= block.tokens.size * alphabet + 10 * len(block.tokens)
