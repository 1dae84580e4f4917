"""Flat parentheses; the floor with a dict of what may still come."""

import math
from fractions import Fraction

import numpy as np

from references._brackets import sizes
from references._laws import zipf_laws
from uprior.sources._base import machine_of_row
from uprior.sources.parentheses import Flat
from uprior.types import Block

GOLDEN = (1, "5f0181adb42e3d83")
SPECS = [
    Flat(),
    Flat.preset("chiang"),
    Flat.preset("chiang-2"),
    Flat.preset("chiang-6"),
    Flat(alphabet_size=8, min_pairs=1, max_pairs=4, same_size=False, exponent=0.0),
    Flat(alphabet_size=6, min_pairs=2, max_pairs=3, exponent=2.0, rows_per_machine=1),
]


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    count = int(machine.max()) + 1
    laws, _ = zipf_laws(source, draw, source.alphabet_size, count)
    ranges = [range(source.min_pairs, source.max_pairs + 1)] * count
    if source.same_size:
        ranges = [range(n, n + 1) for n in sizes(draw("sizes"), source.min_pairs, source.max_pairs, count)]
    rng = draw("rows")
    written = [write_row(rng, laws[m], ranges[m], length) for m in machine]
    return Block(
        tokens=np.array([tokens for tokens, _ in written], dtype=source.token_dtype),
        machine=draw.machine_ids(machine),
        floor_nats=np.array([floor for _, floor in written], dtype=np.float32),
    )


def write_row(rng, law, allowed, length):
    tokens, floor, opened, to_open = [], [], [], 0
    left = {0: 1.0}  # tokens that the group may still have -> probability
    for _ in range(length):
        if not opened and 0 in left:
            complete = left.pop(0)
            for n in allowed:
                left[2 * n] = left.get(2 * n, 0) + complete / len(allowed)
        if not opened and not to_open:
            to_open = allowed[int(rng.random() * len(allowed))]
        place = int(rng.random() * (2 * to_open + len(opened)))
        if place >= len(opened):
            kind = law.draw(rng, opened)
            share = law.chance[kind] / (1 - sum(law.chance[i] for i in opened))
            left = {r - 1: p * (r - len(opened)) / r for r, p in left.items() if r > len(opened)}
            opened.append(kind)
            to_open -= 1
        else:
            kind, share = opened[place], 1
            left = {r - 1: p / r for r, p in left.items()}
            opened[place] = opened[-1]
            opened.pop()
        tokens.append(kind)
        total = sum(left.values())
        floor.append(-math.log(share * total))
        left = {r: p / total for r, p in left.items()}
    return tokens, floor


def validate(source, block):
    for row, pairs, mean in zip(block.tokens.tolist(), block.info["pairs"], block.info["mean_open"], strict=True):
        opened, opens, boundaries = set(), [], {0}
        for t, token in enumerate(row):
            opened ^= {token}
            opens.append(len(opened))
            if not opened:
                sizes_here = [(t + 1 - start) // 2 for start in boundaries]
                allowed = [pairs] if pairs else range(source.min_pairs, source.max_pairs + 1)
                if any(size in allowed for size in sizes_here):
                    boundaries.add(t + 1)
        assert Fraction(sum(opens), len(row)) == Fraction(mean).limit_denominator(len(row))
        most = pairs or source.max_pairs
        assert max(opens) <= most
        assert len(row) - max(boundaries) < 2 * most
        if pairs:
            assert all(not n for n in opens[2 * pairs - 1 :: 2 * pairs])
