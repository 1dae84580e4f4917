"""A feed-forward network on the last tokens, one row at a time."""

import numpy as np

from references import _autoregressive as common
from references._autoregressive import product, tanh_of
from uprior.sources import RandomMLP

GOLDEN = (1, "8ebf33a33c35c652")
SPECS = [
    RandomMLP(),
    RandomMLP(window=3, layers=3, hidden=9, embedding_width=5, alphabet_size=19, temperature=0.8, seed_tokens=2),
    RandomMLP(window=20, hidden=16, temperature=0.0, multiplier_high=4.0, head_multiplier=2.0, rows_per_machine=2),
]


def network(source, rng, multiplier, length):
    window = 1 + int(rng.random() * source.window)
    w = source._weights(rng, multiplier, window)
    nothing = np.zeros(source.embedding_width, dtype=np.float32)

    def step(tokens, beside):
        recent = [w.embedding[token] for token in tokens[-window:][::-1]]
        state = np.concatenate([w.embedding[beside], *recent, *[nothing] * (window - len(recent))])
        for layer in range(source.layers):
            state = tanh_of(product(w.bias[layer], state, w.inputs if layer == 0 else w.up[layer - 1]))
        return product(w.head_bias, state, w.head)

    return lambda: step, {"window": window}


def reference(source, draw, rows, length):
    return common.write(source, draw, rows, length, network)


def validate(source, block):
    common.validate(source, block)
    assert 1 <= block.info["window"].min() <= block.info["window"].max() <= source.window
    one_successor(source, block)


def one_successor(source, block):
    """At temperature 0, one window of one machine has one successor where the conditioning row is constant."""
    if source.temperature > 0:
        return
    for row, window in zip(block.tokens.tolist(), block.info["window"], strict=True):
        successors = {}
        for t in range(max(window, source.seed_tokens), len(row)):
            successors.setdefault(tuple(row[t - window : t]), set()).add(row[t])
        if all(len(found) == 1 for found in successors.values()):
            return
    assert len(block.tokens) < 5, "some rows have constant parents"
