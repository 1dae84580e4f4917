"""The copy language; the floor by summing over all divisions of a row into words, in tokens of 1/symbols each."""

import math

import numpy as np

from references._brackets import sizes
from uprior.sources.ww import WW
from uprior.types import Block

GOLDEN = (1, "36195dfe625b6f17")
SPECS = [
    WW(),
    WW.preset("hu"),
    WW.preset("vit"),
    WW(alphabet_size=2, min_symbols=2, max_symbols=2, min_length=1, max_length=7),
    WW(alphabet_size=3, min_symbols=2, max_symbols=3, min_length=2, max_length=2),
]


def reference(source, draw, rows, length):
    symbols = sizes(draw("machines"), source.min_symbols, source.max_symbols, rows)
    rng = draw("rows")
    tokens = [write_row(source, rng, n, length) for n in symbols]
    return Block(
        tokens=np.array(tokens, dtype=source.token_dtype),
        machine=draw.machine_ids(np.array(symbols)),
        floor_nats=np.array([floor_of(source, row, n) for row, n in zip(tokens, symbols, strict=True)], np.float32),
    )


def write_row(source, rng, n, length):
    row = []
    while len(row) < length:
        size = source.min_length + int(rng.random() * (source.max_length - source.min_length + 1))
        word = [int(rng.random() * n) for _ in range(min(size, length - len(row)))]
        row += word + word
    return row[:length]


def floor_of(source, row, n):
    """-ln of the ratio of the probabilities of neighbouring prefixes; all n times larger per token, for their exponents."""
    likely = prefix_odds(source, row, n)
    return [math.log(n) - math.log(likely[t + 1] / likely[t]) for t in range(len(row))]


def prefix_odds(source, row, n):
    """[T + 1] the probability of each prefix, times n^length."""
    lengths = range(source.min_length, source.max_length + 1)
    begins = [1.0] + [0.0] * len(row)  # the same, and that a word begins there
    likely = [0.0] * (len(row) + 1)
    for start in range(len(row) + 1):
        chance = begins[start] / len(lengths)
        if not chance:
            continue
        for size in lengths:
            odds = chance
            for t in range(start, min(start + 2 * size, len(row) + 1)):
                if t > start + size:
                    if row[t - 1] != row[t - 1 - size]:
                        break
                    odds *= n
                likely[t] += odds
            else:
                stop = start + 2 * size
                if stop <= len(row) and row[stop - 1] == row[stop - 1 - size]:
                    begins[stop] += odds * n
    return likely


def validate(source, block):
    for row, symbols, words in zip(block.tokens.tolist(), block.info["symbols"], block.info["words"], strict=True):
        assert max(row) < symbols
        assert words - 1 in divisions(source, row)
    first = np.broadcast_to(np.log(block.info["symbols"])[:, None], (len(block.tokens), source.min_length))
    length = block.tokens.shape[1]
    np.testing.assert_allclose(block.floor_nats[:, : source.min_length], first[:, :length], rtol=1e-6)


def divisions(source, row):
    """Every number of complete words after which the rest of the row can be one more, cut off."""
    reached, found = {(0, 0)}, set()
    for start in range(len(row) + 1):
        for words in [w for at, w in reached if at == start]:
            for size in range(source.min_length, source.max_length + 1):
                rest = row[start : start + 2 * size]
                if rest[size:] == rest[: max(len(rest) - size, 0)]:
                    if len(rest) == 2 * size:
                        reached.add((start + 2 * size, words + 1))
                    if rest and start + 2 * size >= len(row):
                        found.add(words)
    return found
