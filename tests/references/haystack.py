"""Haystack: the reference and a checker of its rows."""

import math

from references._held_out import split_of
from references._set_tasks import Episode, write_rows
from uprior.sources import Haystack

GOLDEN = (1, "5fed26c0528dc6a2")
SPECS = [
    Haystack(),
    Haystack.preset("procedural"),
    Haystack(min_items=1, max_items=2, keys=3, values=10),
    Haystack(packed=False, end_token=True, score="all", keys=300, values=1000, max_items=9),
]


def reference(source, draw, rows, length):
    rng, keys, values = draw("rows"), list(range(source.keys)), source.values

    def episode(_, n):
        made, before, pairs = Episode(), [n], []
        for i in range(n):
            j = i + int(rng.random() * (source.keys - i))
            keys[i], keys[j] = keys[j], keys[i]
            value, many = 1 + int(rng.random() * values), values
            before.append(keys[i])
            if i == n - 1:
                while split_of(before, value) != draw.split:
                    value = 1 + int(rng.random() * values)
                many = sum(split_of(before, other) == draw.split for other in range(1, values + 1))
            before.append(value)
            pairs.append((keys[i], value))
            made.add(values + 1 + keys[i], math.log(source.keys - i))
            made.add(value, math.log(many))
        key, value = pairs[int(rng.random() * n)]
        made.add(values + 1 + source.keys + key, math.log(n))
        made.add_answer([value])
        return made

    return write_rows(source, draw, rows, length, 0, episode)


def validate(source, block):
    for number, (row, n) in enumerate(zip(block.tokens.tolist(), block.info["items"].tolist(), strict=True)):
        whole = source._longest(n)
        for at in range(0, len(row) - whole + 1 if source.packed else 1, whole):
            keys, values = row[at : at + 2 * n : 2], row[at + 1 : at + 2 * n : 2]
            assert len(set(keys)) == n and min(values) >= 1 and max(values) <= source.values
            query, answer = row[at + 2 * n], row[at + 2 * n + 1]
            assert dict(zip(keys, values, strict=True))[query - source.keys] == answer
            if block.scored is not None:
                assert block.scored[number, at : at + whole].tolist() == [False] * (2 * n + 1) + [True] * (
                    1 + source.end_token
                )
