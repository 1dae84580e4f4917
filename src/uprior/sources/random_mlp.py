"""Random feed-forward networks on a window of the last tokens: nonlinear shift registers that read another row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._autoregressive import Autoregressive, copy_rows
from uprior.sources._exact import Floats, add_product, choose, kernel, normal_quantiles, random_words, tanh
from uprior.sources._machines import Tokens
from uprior.spec import parameter

# Shape letters: R rows of one machine, K window, E embedding width, H hidden, L layers, A alphabet.


@dataclass(frozen=True)
class RandomMLP(Autoregressive):
    """Random feed-forward networks: each token depends on the last few tokens and on another row, through a random MLP.

    Machine: a window k uniform in 1..window, the weights of one network with ``layers`` tanh layers, and the parents of the
    row; a continuum of them. Token t is sampled from the network's output on the embeddings of token t of the conditioning row
    and of its own tokens t-1, ..., t-k (one table; zeros before the row begins); the first ``seed_tokens`` tokens are a slice of
    the seed row. Initial weights: embedding and biases N(0, 1), matrices N(0, 1/fan_in); inner matrices and biases are
    multiplied by m ~ U(multiplier_low, multiplier_high), drawn once per machine. Under a constant conditioning row and at
    temperature 0 every row ends in a cycle, the later and longer the larger k and m. ``info``: window, multiplier.

    Floor: exact for the predictor that knows weights, window and both parents: 0 at the seed, which is given, then -log p at
    the sampling temperature. Cost: about 1.5 µs per token at the defaults, and the same bytes on every machine (``_exact``).

    The stateless neighbour of the networks of Bloem 2025, arXiv 2506.20057, who has none: what it writes is a Markov source of
    order k whose table is a smooth function instead of independent rows.
    """

    name: ClassVar[str] = "random_mlp"
    family: ClassVar[str] = "neural"

    multiplier_high: float = parameter(4.0, "largest multiplier of the inner weights and biases", low=0.0, high=100.0)
    window: int = parameter(8, "most tokens of its own that a machine looks back on", low=1, high=1024)
    embedding_width: int = parameter(16, "width of the embedding", low=1, high=4096)
    layers: int = parameter(1, "tanh layers", low=1, high=16)

    def _rows(
        self,
        rng: np.random.Generator,
        multiplier: float,
        condition: Tokens,
        seeds: Tokens,
        uniform: NDArray[np.float64],
    ) -> Any:
        window = 1 + int(rng.random() * self.window)
        weights = self._weights(rng, multiplier, window)
        return *_run(weights, condition, seeds, uniform, np.float32(self.temperature)), {"window": window}

    def _weights(self, rng: np.random.Generator, multiplier: float, window: int) -> Weights:
        """A fresh machine."""
        e, h, a, layers = self.embedding_width, self.hidden, self.alphabet_size, self.layers
        heard = (window + 1) * e
        shapes = [(a, e), (heard, h), (layers - 1, h, h), (layers, h), (h, a), (a,)]
        sizes = [int(np.prod(shape)) for shape in shapes]
        normal = np.split(normal_quantiles()[random_words(rng, sum(sizes))], np.cumsum(sizes)[:-1])
        inner, outer = multiplier, self.head_multiplier
        scales = (self.embedding_multiplier, inner * heard**-0.5, inner * h**-0.5, inner, outer * h**-0.5, outer)
        return Weights(
            *(n.reshape(shape) * np.float32(scale) for n, shape, scale in zip(normal, shapes, scales, strict=True))
        )


class Weights(NamedTuple):
    """One machine. Matrices are stored input first, so that a product runs along the outputs."""

    embedding: Floats  # [A, E]
    inputs: Floats  # [(K+1) E, H] of the conditioning token, then of its own tokens, the last one first
    up: Floats  # [L-1, H, H]
    bias: Floats  # [L, H]
    head: Floats  # [H, A]
    head_bias: Floats  # [A]


@kernel
def _run(weights: Weights, condition: Tokens, seeds: Tokens, uniform: NDArray[np.float64], temperature: Any) -> Any:
    """(tokens [R, T], probability of each [R, T]): one machine writes the rows of its parents, in step."""
    rows, length = condition.shape
    layers, hidden = weights.bias.shape
    size, wide = weights.embedding.shape
    window = weights.inputs.shape[0] // wide - 1
    given = seeds.shape[1]
    tokens = np.empty((rows, length), dtype=condition.dtype)
    chance = np.ones((rows, length), dtype=np.float32)
    copy_rows(tokens, seeds)
    heard = np.zeros((rows, (window + 1) * wide), dtype=np.float32)
    state = np.empty((layers, rows, hidden), dtype=np.float32)
    logits, head_bias = np.empty((rows, size), dtype=np.float32), weights.head_bias.reshape(1, size)
    near, weight = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.float32)
    for t in range(given, length):
        for row in range(rows):
            line = heard[row]
            for back in range(min(window, t) + 1):
                token = condition[row, t] if back == 0 else tokens[row, t - back]
                embedding = weights.embedding[token]
                for j in range(wide):
                    line[back * wide + j] = embedding[j]
        for layer in range(layers):
            copy_rows(state[layer], weights.bias[layer : layer + 1])
            if layer == 0:
                add_product(state[0], heard, weights.inputs, rows)
            else:
                add_product(state[layer], state[layer - 1], weights.up[layer - 1], rows)
            for row in range(rows):
                unit = state[layer, row]
                for j in range(hidden):
                    unit[j] = tanh(unit[j])
        copy_rows(logits, head_bias)
        add_product(logits, state[layers - 1], weights.head, rows)
        for row in range(rows):
            tokens[row, t], chance[row, t] = choose(logits[row], temperature, uniform[row, t], near, weight)
    return tokens, chance
