"""A GRU by PyTorch's equations, one row at a time."""

import numpy as np

from references import _autoregressive as common
from references._autoregressive import flush, product, sigmoid_of, tanh_of
from uprior.sources import RandomGRU

GOLDEN = (1, "e632d008cb464c0f")
SPECS = [
    RandomGRU(),
    RandomGRU(hidden=7, layers=3, alphabet_size=19, temperature=0.8, seed_tokens=2, rows_per_machine=2),
    RandomGRU(hidden=16, layers=2, temperature=0.0, multiplier_high=4.0, embedding_multiplier=0.5, head_multiplier=2.0),
]


def network(source, rng, multiplier, length):
    w = source._weights(rng, multiplier)
    h = source.hidden

    def start():
        state = [np.zeros(h, dtype=np.float32) for _ in range(source.layers)]

        def step(tokens, beside):
            none = np.zeros(3 * h, dtype=np.float32)
            own, other = (
                product(none, w.embedding[token], w.inputs[i]) for i, token in enumerate((tokens[-1], beside))
            )
            for layer in range(source.layers):
                if layer == 0:
                    x = w.input_bias[0] + own + other
                else:
                    x = product(w.input_bias[layer], state[layer - 1], w.up[layer - 1])
                y = product(w.recurrent_bias[layer], state[layer], w.recurrent[layer])
                reset, update = sigmoid_of(x[:h] + y[:h]), sigmoid_of(x[h : 2 * h] + y[h : 2 * h])
                new = tanh_of(x[2 * h :] + reset * y[2 * h :])
                state[layer] = flush((np.float32(1) - update) * new + update * state[layer])
            return product(w.head_bias, state[-1], w.head)

        return step

    return start, {}


def reference(source, draw, rows, length):
    return common.write(source, draw, rows, length, network)


def validate(source, block):
    common.validate(source, block)
