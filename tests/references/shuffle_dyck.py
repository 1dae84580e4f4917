"""Shuffle-Dyck languages with a dict of counters; the types that are open stand in a list."""

import math

import numpy as np

from references._brackets import dyck_reference
from uprior.sources.shuffle_dyck import ShuffleDyck

GOLDEN = (1, "79d41ed5af522ec5")
SPECS = [
    ShuffleDyck(),
    ShuffleDyck.preset("procedural"),
    ShuffleDyck.preset("hu"),
    ShuffleDyck.preset("nca"),
    ShuffleDyck(k=3, min_types=1, max_types=2, min_depth=3, max_depth=4, p_open=0.7),
    ShuffleDyck(k=1, min_types=1, max_types=1, max_depth=1),
]


def write_row(source, rng, n, length):
    tokens, floor, counts, kinds = [], [], dict.fromkeys(range(n), 0), []
    for t in range(length):
        depth = sum(counts.values())
        if depth == 0 or t < source.min_depth:
            chance = 1
        else:
            chance = 0 if depth == source.max_depth else source.p_open
        u = rng.random()
        if u < chance:
            kind = int(u / chance * n)
            if not counts[kind]:
                kinds.append(kind)
            counts[kind] += 1
            tokens.append(kind)
            floor.append(-math.log(chance / n))
        else:
            floor.append(-math.log((1 - chance) / len(kinds)))
            i = int((u - chance) / (1 - chance) * len(kinds))
            kind = kinds[i]
            counts[kind] -= 1
            if not counts[kind]:  # the last of the list takes the free place
                kinds[i] = kinds[-1]
                kinds.pop()
            tokens.append(source.k + kind)
    return tokens, floor


reference = dyck_reference(write_row)


def validate(source, block):
    steps = np.where(block.tokens < source.k, 1, -1)
    depth = steps.cumsum(axis=1)
    assert depth.max() <= source.max_depth
    np.testing.assert_array_equal(depth[:, -1], block.info["last_depth"])
    np.testing.assert_allclose(depth.mean(axis=1), block.info["mean_depth"])
    assert (steps[:, : source.min_depth] == 1).all()
    for kind in range(source.k):
        of_kind = np.where(block.tokens % source.k == kind, steps, 0)
        assert of_kind.cumsum(axis=1).min() >= 0
        assert not of_kind[block.info["types"] <= kind].any()
