"""Random LSTM networks that read two parents: Bloem's final source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._autoregressive import Autoregressive, copy_rows
from uprior.sources._exact import (
    NONE,
    ONE,
    Floats,
    add_product,
    choose,
    internal,
    kernel,
    normal_quantiles,
    random_words,
    scaled_uniform,
    sigmoid,
    tanh,
)
from uprior.sources._machines import Tokens
from uprior.spec import parameter

# Shape letters: R rows of one machine, H hidden, L layers, A alphabet, J = 4 H gates in PyTorch's
# order (input, forget, cell, output), S seed tokens.


@dataclass(frozen=True)
class RandomLSTM(Autoregressive):
    """Random LSTMs that write near-deterministically, reading a seed and, position by position, another row.

    Machine: the weights of one LSTM with embedding and output layer, together with the parents of the row; a
    continuum of them. At position t the input is the embedding of its own token t-1 beside that of token t of
    the conditioning row (one table); the first ``seed_tokens`` tokens are a slice of the seed row. Initial
    weights are PyTorch's: embedding N(0, 1), the rest U(-1/√hidden, 1/√hidden); then LSTM weights and biases
    are multiplied by m ~ U(multiplier_low, multiplier_high), drawn once per machine. Small m writes regular
    rows, large m chaotic ones; ``info["multiplier"]``.

    Floor: exact for the predictor that knows weights and both parents: 0 at the seed, which is given, then -log
    p at the sampling temperature; hence on average a lower bound for any other, far below what it can reach
    where the conditioning row is noise. Cost: about 1.5 µs per token at the defaults, and the same bytes on
    every machine (``_exact``).

    Bloem 2025, arXiv 2506.20057; ``hidden`` is his emb. Of preset "final-paper" the multiplier, temperature,
    seed and layer are well attested (his later fork and a port written from the paper agree), the width 64 is
    likely (the fork alone). Preset "repository" has the defaults of his repository since 2024-12-29, including
    the defect ``compound_multiplier``: the loop that scaled the weights ran once per layer over all layers, so
    m^layers was applied. Weights have 16 random bits each. We use many machines per block (he: one per step);
    whether he aligned conditioning token t or t-1 is not recorded. Alone, this is his ablation without
    iteration; wrap it in ``Iterated`` for the published idea.
    """

    name: ClassVar[str] = "random_lstm"
    family: ClassVar[str] = "neural"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "final-paper": {"hidden": 64, "layers": 1, "multiplier_high": 1.1, "temperature": 1e-4, "seed_tokens": 8},
        "repository": {
            "hidden": 128,
            "layers": 4,
            "multiplier_low": 1.0,
            "multiplier_high": 3.5,
            "temperature": 0.0,
            "embedding_multiplier": 1e-8,
            "compound_multiplier": True,
        },
    }

    layers: int = parameter(1, "LSTM layers", low=1, high=4)
    compound_multiplier: bool = parameter(False, "apply the multiplier once per layer to all layers, as published")

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
        times = self.layers if self.compound_multiplier else 1
        embedding, inputs, up, recurrent, biases, *head = draw_weights(self, self.layers, 4, rng, multiplier**times)
        return Weights(embedding, inputs, up, recurrent, biases[0] + biases[1], *head)


def draw_weights(
    source: Autoregressive, layers: int, gates: int, rng: np.random.Generator, multiplier: float
) -> Iterator[Floats]:
    """Embedding, inputs, up, recurrent, PyTorch's two biases [2, L, J], head and its bias, as in ``Weights``; J = gates * H."""
    h, a = source.hidden, source.alphabet_size
    j = gates * h
    shapes = [(a, h), (2, h, j), (layers - 1, h, j), (layers, h, j), (2, layers, j), (h, a), (a,)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    raw = np.split(random_words(rng, sum(sizes)), np.cumsum(sizes)[:-1])
    inner, outer = h**-0.5 * multiplier, h**-0.5 * source.head_multiplier
    yield normal_quantiles()[raw[0]].reshape(a, h) * np.float32(source.embedding_multiplier)
    for words, bound, shape in zip(raw[1:], [inner] * 4 + [outer] * 2, shapes[1:], strict=True):
        yield scaled_uniform(words, bound).reshape(shape)


class Weights(NamedTuple):
    """One machine. Matrices are stored input first, so that a product runs along the outputs."""

    embedding: Floats  # [A, H]
    inputs: Floats  # [2, H, J] of the first layer: from the token before, from the conditioning token
    up: Floats  # [L-1, H, J] from the layer below
    recurrent: Floats  # [L, H, J]
    bias: Floats  # [L, J] the sum of PyTorch's two
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
    state, cell = np.zeros((layers, rows, hidden), dtype=np.float32), np.zeros((layers, rows, hidden), dtype=np.float32)
    gates, logits = np.empty((rows, wide), dtype=np.float32), np.empty((rows, size), dtype=np.float32)
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
            gate, bias = gates[row], weights.bias[0]
            for j in range(wide):
                gate[j] = bias[j] + own[j] + other[j]
        for layer in range(layers):
            if layer > 0:
                copy_rows(gates, weights.bias[layer : layer + 1])
                add_product(gates, state[layer - 1], weights.up[layer - 1], rows)
            add_product(gates, state[layer], weights.recurrent[layer], rows)
            _activate(gates, cell[layer], state[layer])
        if t >= given:
            copy_rows(logits, weights.head_bias.reshape(1, size))
            add_product(logits, state[layers - 1], weights.head, rows)
            for row in range(rows):
                tokens[row, t], chance[row, t] = choose(logits[row], temperature, uniform[row, t], near, weight)
    return tokens, chance


@internal
def tabulate(embedding: Floats, inputs: Floats, condition: Tokens) -> Any:
    """(table [n, J], slot [A]): what each of the n tokens that occur adds to the gates, and which line is whose."""
    slot = np.empty(embedding.shape[0], dtype=np.int64)
    for token in range(embedding.shape[0]):
        slot[token] = -1
    found = np.empty((min(embedding.shape[0], condition.size), embedding.shape[1]), dtype=np.float32)
    used = NONE
    for row in range(condition.shape[0]):
        for t in range(condition.shape[1]):
            token = condition[row, t]
            if slot[token] < 0:
                slot[token] = used
                for j in range(embedding.shape[1]):
                    found[used, j] = embedding[token, j]
                used += 1
    table = np.zeros((used, inputs.shape[1]), dtype=np.float32)
    add_product(table, found, inputs, used)
    return table, slot


@internal
def _activate(gates: Floats, cell: Floats, state: Floats) -> None:
    """The LSTM's step from gate sums [R, J] to cell and state [R, H]."""
    rows, hidden = cell.shape
    for row in range(rows):
        g, c, h = gates[row], cell[row], state[row]
        # Slices from 0 on: with g[hidden + j] the compiler cannot work on several j at once.
        enter, forget, new, leave = g[:hidden], g[hidden : 2 * hidden], g[2 * hidden : 3 * hidden], g[3 * hidden :]
        for j in range(hidden):
            value = sigmoid(forget[j]) * c[j] + sigmoid(enter[j]) * tanh(new[j])
            # Denormal numbers would cost a hundred cycles each; nothing can tell 1e-20 from 0 here.
            c[j] = value if abs(value) > np.float32(1e-20) else np.float32(0)
            h[j] = sigmoid(leave[j]) * tanh(c[j])
