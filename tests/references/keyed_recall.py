"""KeyedRecall: the reference and a checker of its rows."""

import math

import numpy as np

from references._set_tasks import Episode, write_rows
from uprior.sources import KeyedRecall

GOLDEN = (1, "81369fe4dfc4d0dc")
SPECS = [
    KeyedRecall(),
    KeyedRecall(alphabet="shared", filler="distracting", symbols=7, max_items=7, queries=3, max_gap=9),
    KeyedRecall(filler="repeated", packed=False, min_gap=5, max_gap=20, min_items=2, max_items=4),
    KeyedRecall(filler="distracting", end_token=False, score="all", max_items=5, symbols=400),
    KeyedRecall(symbols=1, max_items=1, queries=1),
]


def drawn_gaps(source, rng, items, length):
    """Uniform over doublings, then inside one: first all rows draw which doubling, then all draw the rest."""
    room = []
    for load in items:
        least = 2 * load + 2 * min(load, source.queries) + 2 + source.end_token + source.min_gap
        room.append(min(source.max_gap - source.min_gap, length - least))
    doublings = [int(rng.random() * (most.bit_length() + 1)) for most in room]
    gaps = []
    for most, doubling in zip(room, doublings, strict=True):
        low = 2 ** (doubling - 1) if doubling else 0
        high = min(2**doubling - 1, most)
        gaps.append(source.min_gap + low + int(rng.random() * (high - low + 1)))
    return gaps


def reference(source, draw, rows, length):
    rng, size = draw("rows"), source.symbols
    items = draw("items").integers(source.min_items, source._most_items(length), rows, endpoint=True)
    gaps = drawn_gaps(source, draw("gaps"), items.tolist(), length)
    keys = list(range(size))

    def shuffle(i, stop):
        j = i + int(rng.random() * (stop - i))
        keys[i], keys[j] = keys[j], keys[i]
        return keys[i]

    def episode(row, load):
        made, value_of = Episode(), {}
        for i in range(load):
            key = shuffle(i, size)
            value_of[key] = (0 if source.alphabet == "shared" else size) + int(rng.random() * size)
            made.add(key, math.log(size - i))
            made.add(value_of[key], math.log(size))
        made.add(3 * size)
        for _ in range(gaps[row]):
            if source.filler == "repeated":
                made.add(2 * size)
            elif source.filler == "random":
                made.add(2 * size + int(rng.random() * size), math.log(size))
            else:
                many = size if source.alphabet == "shared" else 2 * size
                made.add(int(rng.random() * many), math.log(many))
        made.add(3 * size)
        for i in range(min(load, source.queries)):
            key = shuffle(i, load)
            made.add(key, math.log(load - i))
            made.add_answer([value_of[key]])
        return made

    known = sorted(set(zip(items.tolist(), gaps, strict=True)))
    machine = np.array([known.index(pair) for pair in zip(items.tolist(), gaps, strict=True)])
    info = {"load": items, "gap": np.array(gaps)}
    return write_rows(source, draw, rows, length, 3 * size + 1, episode, machine, info)


def validate(source, block):
    """Each scored token is the value that stands behind the query's only other appearance as a key."""
    size, length = source.symbols, block.tokens.shape[1]
    scored = block.scored if block.scored is not None else np.zeros(block.tokens.shape, dtype=bool)
    for n, row in enumerate(block.tokens):
        load, gap = int(block.info["load"][n]), int(block.info["gap"][n])
        queries = min(load, source.queries)
        whole = 2 * load + gap + 2 + 2 * queries + source.end_token
        assert load == block.info["items"][n] and source.min_gap <= gap <= source.max_gap and whole <= length
        for at in range(0, length - whole + 1 if source.packed else 1, whole):
            keys, values = row[at : at + 2 * load : 2], row[at + 1 : at + 2 * load : 2]
            assert len(np.unique(keys)) == load and keys.max() < size
            assert values.max() < (size if source.alphabet == "shared" else 2 * size)
            first = at + 2 * load + gap + 2
            assert row[at + 2 * load] == row[first - 1] == 3 * size
            filler = row[at + 2 * load + 1 : first - 1]
            low, high = {"repeated": (2, 2), "random": (2, 3), "distracting": (0, 2)}[source.filler]
            assert ((filler >= low * size) & (filler < max(high * size, low * size + 1))).all()
            asked = row[first : first + 2 * queries : 2]
            assert len(np.unique(asked)) == queries
            for i, key in enumerate(asked):
                (place,) = np.flatnonzero(keys == key)
                assert row[first + 2 * i + 1] == values[place]
                assert block.scored is None or scored[n, first + 2 * i + 1]
            counted = queries + source.end_token
            assert block.scored is None or scored[n, at : at + whole].sum() == counted
            assert not source.end_token or row[at + whole - 1] == 3 * size + 1
        if not source.packed:
            assert (row[whole:] == 3 * size + 1).all() and not scored[n, whole:].any()
