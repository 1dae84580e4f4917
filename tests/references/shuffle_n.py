"""Shuffled runs; the floor with the range of the starts that are still possible."""

import math

import numpy as np

from references._brackets import sizes
from references._laws import zipf_laws
from uprior.sources._base import machine_of_row
from uprior.sources.shuffle_n import ShuffleN
from uprior.types import Block

GOLDEN = (1, "a46d5e7c4be3ada7")
SPECS = [
    ShuffleN(),
    ShuffleN.preset("chiang-4"),
    ShuffleN.preset("chiang-64"),
    ShuffleN(alphabet_size=6, min_block=2, max_block=6, exponent=2.0, rows_per_machine=1),
    ShuffleN(alphabet_size=9, min_block=3, max_block=4, exponent=0.0),
]


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    count = int(machine.max()) + 1
    laws, _ = zipf_laws(source, draw, source.alphabet_size, count)
    block = sizes(draw("sizes"), source.min_block, source.max_block, count)
    rng = draw("rows")
    written = [write_row(rng, laws[m], block[m], length) for m in machine]
    return Block(
        tokens=np.array([tokens for tokens, _ in written], dtype=source.token_dtype),
        machine=draw.machine_ids(machine),
        floor_nats=np.array([floor for _, floor in written], dtype=np.float32),
    )


def write_row(rng, law, size, length):
    tokens, floor = [], []
    top = len(law.chance) - size
    starts = [*law.chance[:top], sum(law.chance[top:])]
    while len(tokens) < length:
        start = min(law.draw(rng), top)
        order = list(range(start, start + size))
        possible, total = range(top + 1), 1.0
        for i in range(min(size, length - len(tokens))):
            j = i + int(rng.random() * (size - i))
            order[i], order[j] = order[j], order[i]
            possible = range(max(possible.start, order[i] - size + 1), min(possible.stop, order[i] + 1))
            now = sum(starts[s] for s in possible)
            floor.append(-math.log(now / total / (size - i)))
            total = now
        tokens += order
    return tokens[:length], floor


def validate(source, block):
    assert source.min_block <= block.info["block"].min() <= block.info["block"].max() <= source.max_block
    for row, size in zip(block.tokens.tolist(), block.info["block"], strict=True):
        for begin in range(0, len(row), size):
            run = sorted(row[begin : begin + size])
            assert len(set(run)) == len(run)
            assert run[-1] - run[0] < size
