"""What samples are compared with, and a small sample of text."""

import math

import numpy as np

from uprior import corpora


def close(values, expected, errors=4.0, bias=0.0):
    """The mean of independent values is the expected one, within some standard errors (and a known bias)."""
    return abs(np.mean(values) - expected) < errors * np.std(values) / math.sqrt(len(values)) + bias + 1e-9


def entropy_bits(law):
    return float(-(law * np.log2(law)).sum())


def bits(p):
    return entropy_bits(np.array([p, 1 - p]))


def random_words(folder):
    """A small corpus with some structure: random words of a random lexicon."""
    rng = np.random.default_rng(7)
    lexicon = [bytes(rng.integers(97, 123, rng.integers(2, 7)).astype(np.uint8)) for _ in range(40)]
    path = folder / "words.txt"
    path.write_bytes(b" ".join(lexicon[i] for i in rng.zipf(1.5, 20_000) % 40))
    return corpora.get(str(path))
