"""A causal transformer that writes one row at a time and keeps the keys and values of what it has read."""

import numpy as np

from references import _autoregressive as common
from references._autoregressive import exp_of, product
from uprior.sources import AutoregressiveTransformer

GOLDEN = (1, "9656fa9f8f07c77b")
SPECS = [
    AutoregressiveTransformer(),
    AutoregressiveTransformer(
        hidden=9, heads=3, layers=3, alphabet_size=19, temperature=0.8, seed_tokens=2, bias_deviation=1.0
    ),
    AutoregressiveTransformer(hidden=10, layers=1, temperature=0.0, position_multiplier=0.0, head_multiplier=2.0),
]


def network(source, rng, multiplier, length):
    w = source._weights(rng, multiplier, length)
    width, heads = source.hidden, source.heads
    wide = width // heads

    def start():
        keys, values = ([[[] for _ in range(heads)] for _ in range(source.layers)] for _ in range(2))

        def step(tokens, beside):
            x = w.own[tokens[-1]] + w.beside[beside] + w.positions[len(tokens)]
            for layer in range(source.layers):
                qkv = product(np.zeros(3 * width, dtype=np.float32), x, w.qkv[layer])
                seen = []
                for head in range(heads):
                    query, key, value = (qkv[i * width :][head * wide : (head + 1) * wide] for i in range(3))
                    keys[layer][head].append(key)
                    values[layer][head].append(value)
                    seen.append(attend(query, np.array(keys[layer][head]), np.array(values[layer][head])))
                x = normalise(product(x + w.unify_bias[layer], np.concatenate(seen), w.unify[layer]))
                inner = np.maximum(product(w.up_bias[layer], x, w.up[layer]), np.float32(0))
                x = normalise(product(x + w.down_bias[layer], inner, w.down[layer]))
            return product(w.head_bias[0], x, w.head)

        return step

    return start, {}


def attend(query, keys, values):
    scores = product(np.zeros(len(keys), dtype=np.float32), query / np.sqrt(np.float32(len(query))), keys.T)
    share = exp_of(scores - scores.max())
    share[share <= np.float32(1e-12)] = 0
    return product(np.zeros(len(query), dtype=np.float32), share, values) / in_order(share)


def normalise(x):
    width = np.float32(len(x))
    mean = in_order(x) / width
    variance = in_order((x - mean) * (x - mean)) / width
    return (x - mean) * (np.float32(1) / np.sqrt(variance + np.float32(1e-5)))


def in_order(values):
    """The sum from left to right; numpy's own adds in pairs."""
    total = np.float32(0)
    for value in values:
        total += value
    return total


def reference(source, draw, rows, length):
    return common.write(source, draw, rows, length, network)


def validate(source, block):
    common.validate(source, block)
