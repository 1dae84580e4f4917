"""Nested parentheses with a list as a stack."""

import math

import numpy as np

from references._laws import zipf_laws
from uprior.sources._base import machine_of_row
from uprior.sources.parentheses import Nesting
from uprior.types import Block

GOLDEN = (1, "6e668ecbf38976bc")
SPECS = [
    Nesting(),
    Nesting.preset("chiang"),
    Nesting(alphabet_size=2, exponent=0.0, p_open=0.7),
    Nesting(alphabet_size=3, exponent=2.0, rows_per_machine=1),
    Nesting(alphabet_size=5, exponent=0.5, shuffled=False, p_open=0.05),
]


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    laws, which = zipf_laws(source, draw, source.alphabet_size, int(machine.max()) + 1)
    rng = draw("rows")
    written = [write_row(source, rng, laws[m], length) for m in machine]
    return Block(
        tokens=np.array([tokens for tokens, _ in written], dtype=source.token_dtype),
        machine=draw.machine_ids(which[machine]),
        floor_nats=np.array([floor for _, floor in written], dtype=np.float32),
    )


def write_row(source, rng, law, length):
    tokens, floor, stack = [], [], []
    for _ in range(length):
        if stack and rng.random() >= source.p_open:
            tokens.append(stack.pop())
            floor.append(-math.log(1 - source.p_open))
        elif stack:
            kind = law.draw(rng, stack[-1:])
            floor.append(-math.log(source.p_open * law.chance[kind] / (1 - law.chance[stack[-1]])))
            tokens.append(kind)
            stack.append(kind)
        else:
            kind = law.draw(rng)
            floor.append(-math.log(law.chance[kind]))
            tokens.append(kind)
            stack.append(kind)
    return tokens, floor


def depths(row):
    """The depth after each token: equal neighbours on the stack cancel."""
    stack, found = [], []
    for token in row:
        if stack[-1:] == [token]:
            stack.pop()
        else:
            stack.append(token)
        found.append(len(stack))
    return found


def validate(source, block):
    for row, deepest, mean in zip(
        block.tokens.tolist(), block.info["max_depth"], block.info["mean_depth"], strict=True
    ):
        found = depths(row)
        assert max(found) == deepest
        assert abs(np.mean(found) - mean) < 1e-9
