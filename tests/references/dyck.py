"""Dyck languages with Python lists as stacks."""

import math

import numpy as np

from references._brackets import dyck_reference
from uprior.sources.dyck import Dyck

GOLDEN = (1, "d5607922373d2689")
SPECS = [
    Dyck(),
    Dyck.preset("procedural"),
    Dyck.preset("hu"),
    Dyck.preset("vit"),
    Dyck(k=2, min_types=1, max_types=2, rule="words", min_depth=2, max_depth=3, word_cap=7, p_open=0.7),
    Dyck(k=1, min_types=1, max_types=1, min_depth=4, max_depth=5, p_open=0.9),
]


def write_row(source, rng, n, length):
    tokens, floor, stack, reached, left = [], [], [], False, length
    while len(tokens) < length:
        if not stack:
            reached = False
            if source.rule == "words":
                left = source.word_cap
        reached = reached or len(stack) >= source.min_depth
        if not stack:
            chance = 1
        elif len(stack) >= left - 1 or len(stack) == source.max_depth:
            chance = 0
        else:
            chance = source.p_open if reached else 1
        u = rng.random()
        if u < chance:
            kind = int(u / chance * n)
            stack.append(kind)
            tokens.append(kind)
            floor.append(-math.log(chance / n))
        else:
            tokens.append(source.k + stack.pop())
            floor.append(-math.log(1 - chance))
        left -= 1
    return tokens, floor


reference = dyck_reference(write_row)


def validate(source, block):
    for row, types, deepest in zip(block.tokens.tolist(), block.info["types"], block.info["max_depth"], strict=True):
        assert {token % source.k for token in row} <= set(range(types))
        if len(row) % 2 and source.rule == "exact":
            assert row.pop() < source.k
        depths = cancelled(row, source.k)
        assert max(depths) <= deepest <= max(depths) + 1
        assert source.rule == "words" or depths[-1] == 0
        assert not source.max_depth or deepest <= source.max_depth
        if source.rule == "words":
            ends = [-1, *(t for t, depth in enumerate(depths) if depth == 0), len(row) - 1]
            assert max(np.diff(ends)) <= source.word_cap


def cancelled(row, k):
    """The depth after each token; raises where the row is no prefix of a Dyck word."""
    depths, open_types = [], []
    for token in row:
        if token < k:
            open_types.append(token)
        else:
            assert open_types.pop() == token - k
        depths.append(len(open_types))
    return depths
