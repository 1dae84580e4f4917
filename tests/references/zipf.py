"""Zipf's law in plain Python."""

import numpy as np

from uprior.sources import Zipf
from uprior.sources._exact import exp
from uprior.types import Block

GOLDEN = (1, "23c88fb269a69415")
SPECS = [
    Zipf(),
    Zipf(alphabet_size=5, min_symbols=2, max_symbols=5, min_exponent=0.0, max_exponent=8.0, rows_per_machine=1),
    Zipf(alphabet_size=65_000, min_symbols=300, max_symbols=1000, rows_per_machine=3),
]


def alias_table(weight):
    """Vose's algorithm: ([S] keep, [S] other)."""
    size = len(weight)
    keep, other = [w * size for w in weight], list(range(size))
    small = [i for i in range(size) if keep[i] < 1]
    large = [i for i in range(size) if keep[i] >= 1]
    while small and large:
        light, heavy = small.pop(), large[-1]
        other[light] = heavy
        keep[heavy] -= 1.0 - keep[light]
        if keep[heavy] < 1:
            small.append(large.pop())
    return keep, other


def take(uniform, keep, other):
    column = min(int(uniform * len(keep)), len(keep) - 1)
    return column if uniform * len(keep) - column < keep[column] else other[column]


def shuffle_first(rng, items, count):
    for i in range(count):
        j = i + int(rng.random() * (len(items) - i))
        items[i], items[j] = items[j], items[i]


def reference(source, draw, rows, length):
    machines = -(-rows // source.rows_per_machine)
    machine_rng, row_rng = draw("machines"), draw("rows")
    ratio = (source.max_symbols + 1) / source.min_symbols
    sizes = np.minimum((source.min_symbols * ratio ** machine_rng.random(machines)).astype(int), source.max_symbols)
    exponents = source.min_exponent + (source.max_exponent - source.min_exponent) * machine_rng.random(machines)
    log_rank = np.log(np.arange(1, source.max_symbols + 1)).astype(np.float32)
    identities = list(range(source.alphabet_size))
    tokens, floor = [[]] * rows, [[]] * rows
    for m in range(machines):
        shuffle_first(machine_rng, identities, sizes[m])
        exponent = np.float32(exponents[m])
        weight = [float(exp(-exponent * log_rank[i])) for i in range(sizes[m])]
        total = 0.0
        for w in weight:
            total += w
        weight = [w / total for w in weight]
        table = alias_table(weight)
        for row in range(m, rows, machines):
            ranks = [take(row_rng.random(), *table) for _ in range(length)]
            tokens[row] = [identities[r] for r in ranks]
            floor[row] = [-np.log(weight[r]) for r in ranks]
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows) % machines),
        floor_nats=np.array(floor),
    )


def validate(source, block):
    """The probability of every token written is that of some rank of the exact law, and rarer tokens have larger floors."""
    for row, floor, symbols, exponent in zip(
        block.tokens, block.floor_nats, block.info["symbols"], block.info["exponent"], strict=True
    ):
        law = np.arange(1, symbols + 1) ** -float(exponent)
        nats = -np.log(law / law.sum())
        assert np.abs(nats[:, None] - floor).min(axis=0).max() < 1e-3
        written = np.unique(row)
        assert len(written) <= symbols
        by_symbol = [np.unique(floor[row == symbol]) for symbol in written]
        assert all(len(values) == 1 for values in by_symbol)
        assert np.exp(-np.concatenate(by_symbol)).sum() < 1 + 1e-5
