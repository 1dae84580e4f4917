"""LongDedup: the reference and a checker of its rows."""

import math

import numpy as np

from references._set_tasks import Episode, write_rows
from uprior.sources import LongDedup

GOLDEN = (1, "85fb19b4f3085435")
SPECS = [
    LongDedup(),
    LongDedup(stream=20, min_items=1, max_items=20, symbols=20),
    LongDedup(stream=15, max_items=6, packed=False, score="all"),
    LongDedup(end_token=False, min_items=1, max_items=9, symbols=9),
]


def reference(source, draw, rows, length):
    rng = draw("rows")
    order, streams = list(range(source.symbols)), {}

    def episode(row, items):
        made, seen = Episode(), []
        size = streams[row] = source.stream or length - items - 1 - source.end_token
        for i in range(size):
            p_new = (items - len(seen)) / (size - i) if seen else 1.0
            if rng.random() < p_new:
                at = len(seen)
                j = at + int(rng.random() * (source.symbols - at))
                order[at], order[j] = order[j], order[at]
                made.add(order[at], math.log((source.symbols - at) / p_new))
                seen.append(order[at])
            else:
                made.add(seen[int(rng.random() * len(seen))], math.log(len(seen) / (1 - p_new)))
        made.add(source.symbols)
        made.add_answer(seen)
        return made

    block = write_rows(source, draw, rows, length, source.symbols + 1, episode)
    block.info["stream"] = np.array([streams[row] for row in range(rows)])
    return block


def validate(source, block):
    for n, row in enumerate(block.tokens.tolist()):
        items, stream, at = int(block.info["items"][n]), int(block.info["stream"][n]), 0
        scored = np.zeros(len(row), dtype=bool)
        while at < len(row) and (source.packed or at == 0):
            x, rest = row[at : at + stream], row[at + stream :]
            assert max(x) < source.symbols
            if rest:
                expected = [source.symbols, *dict.fromkeys(x), *([source.symbols + 1] if source.end_token else [])]
                assert len(set(x)) == items and rest[: len(expected)] == expected[: len(rest)]
                scored[at + stream + 1 : at + stream + len(expected)] = True
            at += stream + 1 + items + source.end_token
        assert set(row[at:]) <= {source.symbols + 1}
        if source.stream == 0:
            assert at == len(row) and stream >= 2 * items
        assert block.scored is None or (block.scored[n] == scored).all()
