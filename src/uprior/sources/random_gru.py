"""Random GRU networks that read two parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._autoregressive import Autoregressive, copy_rows
from uprior.sources._exact import ONE, Floats, add_product, choose, internal, kernel, sigmoid, tanh
from uprior.sources._machines import Tokens
from uprior.sources.random_lstm import draw_weights, tabulate
from uprior.spec import parameter

# Shape letters: R rows of one machine, H hidden, L layers, A alphabet, J = 3 H gates in PyTorch's order (reset, update, new).


@dataclass(frozen=True)
class RandomGRU(Autoregressive):
    """Random GRUs that write near-deterministically, reading a seed and, position by position, another row.

    Machine: the weights of one GRU with embedding and output layer, together with the parents of the row; a continuum of
    them. At position t the input is the embedding of its own token t-1 beside that of token t of the conditioning row (one
    table); the first ``seed_tokens`` tokens are a slice of the seed row. Equations and initial weights are PyTorch's:
    embedding N(0, 1), the rest U(-1/√hidden, 1/√hidden); then GRU weights and biases are multiplied by
    m ~ U(multiplier_low, multiplier_high), drawn once per machine, ``info["multiplier"]``. Rows of
    a GRU are a little more regular than an LSTM's at the same multiplier; the law is wider here.

    Floor: exact for the predictor that knows weights and both parents: 0 at the seed, which is given, then -log p at the
    sampling temperature. Cost: about 1.5 µs per token at the defaults, and the same bytes on every machine (``_exact``).

    The other recurrent network of Bloem 2025, arXiv 2506.20057: his paper has the LSTM; a port written from it
    (x-transformers) takes either, but scales the output layer only. Weights have 16 random bits each.
    """

    name: ClassVar[str] = "random_gru"
    family: ClassVar[str] = "neural"

    multiplier_high: float = parameter(2.0, "largest multiplier of the inner weights and biases", low=0.0, high=100.0)
    layers: int = parameter(1, "GRU layers", low=1, high=4)

    def _rows(
        self,
        rng: np.random.Generator,
        multiplier: float,
        condition: Tokens,
        seeds: Tokens,
        uniform: NDArray[np.float64],
    ) -> Any:
        weights = self._weights(rng, multiplier)
        return *_run(weights, condition, seeds, uniform, np.float32(self.temperature)), {}

    def _weights(self, rng: np.random.Generator, multiplier: float) -> Weights:
        """A fresh machine."""
        embedding, inputs, up, recurrent, biases, head, head_bias = draw_weights(self, self.layers, 3, rng, multiplier)
        return Weights(embedding, inputs, up, recurrent, biases[0], biases[1], head, head_bias)


class Weights(NamedTuple):
    """One machine. Matrices are stored input first, so that a product runs along the outputs."""

    embedding: Floats  # [A, H]
    inputs: Floats  # [2, H, J] of the first layer: from the token before, from the conditioning token
    up: Floats  # [L-1, H, J] from the layer below
    recurrent: Floats  # [L, H, J]
    input_bias: Floats  # [L, J]
    recurrent_bias: Floats  # [L, J] apart, as the reset gate acts on the recurrent part of the new state alone
    head: Floats  # [H, A]
    head_bias: Floats  # [A]


@kernel
def _run(weights: Weights, condition: Tokens, seeds: Tokens, uniform: NDArray[np.float64], temperature: Any) -> Any:
    """(tokens [R, T], probability of each [R, T]): one machine writes the rows of its parents, in step."""
    rows, length = condition.shape
    layers, hidden, wide = weights.recurrent.shape
    size = weights.embedding.shape[0]
    given = seeds.shape[1]
    tokens = np.empty((rows, length), dtype=condition.dtype)
    chance = np.ones((rows, length), dtype=np.float32)
    copy_rows(tokens, seeds)
    of_condition, slot_of_condition = tabulate(weights.embedding, weights.inputs[1], condition)
    # What a token of its own adds to the gates is computed when it is first written: regular machines use few.
    of_token = np.empty((min(size, rows * length), wide), dtype=np.float32)
    slot_of_token = np.empty(size, dtype=np.int64)
    for token in range(size):
        slot_of_token[token] = -1
    used = 0
    state = np.zeros((layers, rows, hidden), dtype=np.float32)
    enter, again = np.empty((rows, wide), dtype=np.float32), np.empty((rows, wide), dtype=np.float32)
    logits = np.empty((rows, size), dtype=np.float32)
    near, weight = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.float32)
    for t in range(1, length):
        for row in range(rows):
            before = tokens[row, t - 1]
            if slot_of_token[before] < 0:
                slot_of_token[before] = used
                for j in range(wide):
                    of_token[used, j] = 0
                add_product(of_token[used : used + 1], weights.embedding[before : before + 1], weights.inputs[0], ONE)
                used += 1
            own, other = of_token[slot_of_token[before]], of_condition[slot_of_condition[condition[row, t]]]
            gate, bias = enter[row], weights.input_bias[0]
            for j in range(wide):
                gate[j] = bias[j] + own[j] + other[j]
        for layer in range(layers):
            if layer > 0:
                copy_rows(enter, weights.input_bias[layer : layer + 1])
                add_product(enter, state[layer - 1], weights.up[layer - 1], rows)
            copy_rows(again, weights.recurrent_bias[layer : layer + 1])
            add_product(again, state[layer], weights.recurrent[layer], rows)
            _activate(enter, again, state[layer])
        if t >= given:
            copy_rows(logits, weights.head_bias.reshape(1, size))
            add_product(logits, state[layers - 1], weights.head, rows)
            for row in range(rows):
                tokens[row, t], chance[row, t] = choose(logits[row], temperature, uniform[row, t], near, weight)
    return tokens, chance


@internal
def _activate(enter: Floats, again: Floats, state: Floats) -> None:
    """The GRU's step from gate sums of the input and of the state before [R, J] to the state [R, H]."""
    rows, hidden = state.shape
    for row in range(rows):
        x, y, h = enter[row], again[row], state[row]
        # Slices from 0 on: with x[hidden + j] the compiler cannot work on several j at once.
        reset_x, update_x, new_x = x[:hidden], x[hidden : 2 * hidden], x[2 * hidden :]
        reset_y, update_y, new_y = y[:hidden], y[hidden : 2 * hidden], y[2 * hidden :]
        for j in range(hidden):
            new = tanh(new_x[j] + sigmoid(reset_x[j] + reset_y[j]) * new_y[j])
            keep = sigmoid(update_x[j] + update_y[j])
            value = (np.float32(1) - keep) * new + keep * h[j]
            # Denormal numbers would cost a hundred cycles each; nothing can tell 1e-20 from 0 here.
            h[j] = value if abs(value) > np.float32(1e-20) else np.float32(0)
