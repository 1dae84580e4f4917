"""Random causal transformers that write their own continuation token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._autoregressive import Autoregressive, copy_rows
from uprior.sources._exact import Floats, add_product, choose, exp, kernel, largest
from uprior.sources._machines import Tokens
from uprior.sources.random_transformer import add_line, normal, normalise
from uprior.spec import parameter

# Shape letters: R rows of one machine, T positions, W hidden width, D = W / heads, L layers, A alphabet.


@dataclass(frozen=True)
class AutoregressiveTransformer(Autoregressive):
    """Random causal transformers that write token by token, reading a seed and, position by position, another row.

    Machine: the weights of one transformer together with the parents of the row; a continuum of them. Post-norm, no biases in
    attention's inner projections, ReLU MLP four times as wide, no dropout. At position t the input is the sum of the embeddings
    of its own token t-1 and of token t of the conditioning row (a table each) and of the position; the first ``seed_tokens``
    tokens are a slice of the seed row. Initial weights: embeddings N(0, 1), matrices N(0, 1/fan_in), biases
    N(0, bias_deviation^2); matrices and biases of attention and MLP are multiplied by m ~ U(multiplier_low, multiplier_high),
    drawn once per machine, ``info["multiplier"]``; embeddings of positions by ``position_multiplier``: with 0 nearly all rows
    soon repeat one token, with 1 few ever repeat themselves, and biases as large as those of ``random_transformer`` silence
    the attention.

    Floor: exact for the predictor that knows weights and both parents: 0 at the seed, which is given, then -log p at the
    sampling temperature. Keys and values are kept from one token to the next. Cost: about 7 µs per token at the defaults and
    256 positions (attention grows with length), and the same bytes on every machine (``_exact``).

    Bloem 2025, arXiv 2506.20057, whose repository has such a source beside the parallel one (``random_transformer`` here):
    cross-attention to the conditioning row, the last 64 tokens read again for every token, and a defect that embeds the row's
    own tokens in place of the conditioning row. Ours reads the conditioning row as his LSTM does and has no window.
    """

    name: ClassVar[str] = "autoregressive_transformer"
    family: ClassVar[str] = "neural"

    hidden: int = parameter(32, "hidden width, also of the embedding, a multiple of heads", low=1, high=4096)
    multiplier_high: float = parameter(4.0, "largest multiplier of the inner weights and biases", low=0.0, high=100.0)
    layers: int = parameter(2, "transformer blocks", low=1, high=64)
    heads: int = parameter(2, "attention heads", low=1, high=256)
    bias_deviation: float = parameter(0.0, "standard deviation of biases before multipliers", low=0.0, high=1000.0)
    position_multiplier: float = parameter(0.3, "multiplier of the embeddings of positions", low=0.0, high=100.0)

    def validate(self) -> None:
        super().validate()
        if self.hidden % self.heads:
            self.reject("hidden", f"a multiple of heads = {self.heads}")

    def _rows(
        self,
        rng: np.random.Generator,
        multiplier: float,
        condition: Tokens,
        seeds: Tokens,
        uniform: NDArray[np.float64],
    ) -> Any:
        weights = self._weights(rng, multiplier, condition.shape[1])
        return *_run(weights, condition, seeds, uniform, np.float32(self.temperature), self.heads), {}

    def _weights(self, rng: np.random.Generator, m: float, length: int) -> Weights:
        """A fresh machine for rows of this length."""
        w, layers, size = self.hidden, self.layers, self.alphabet_size
        bias = m * self.bias_deviation
        return Weights(
            own=normal(rng, (size, w), self.embedding_multiplier),
            beside=normal(rng, (size, w), self.embedding_multiplier),
            positions=normal(rng, (length, w), self.position_multiplier),
            qkv=normal(rng, (layers, w, 3 * w), m * w**-0.5),
            unify=normal(rng, (layers, w, w), m * w**-0.5),
            unify_bias=normal(rng, (layers, w), bias),
            up=normal(rng, (layers, w, 4 * w), m * w**-0.5),
            up_bias=normal(rng, (layers, 4 * w), bias),
            down=normal(rng, (layers, 4 * w, w), m * (4 * w) ** -0.5),
            down_bias=normal(rng, (layers, w), bias),
            head=normal(rng, (w, size), self.head_multiplier * w**-0.5),
            head_bias=normal(rng, (1, size), self.head_multiplier * self.bias_deviation),
        )


class Weights(NamedTuple):
    """One machine. Matrices are stored input first, so that a product runs along the outputs."""

    own: Floats  # [A, W]
    beside: Floats  # [A, W]
    positions: Floats  # [T, W]
    qkv: Floats  # [L, W, 3 W] queries, keys, values, each with its heads side by side
    unify: Floats  # [L, W, W]
    unify_bias: Floats  # [L, W]
    up: Floats  # [L, W, 4 W]
    up_bias: Floats  # [L, 4 W]
    down: Floats  # [L, 4 W, W]
    down_bias: Floats  # [L, W]
    head: Floats  # [W, A]
    head_bias: Floats  # [1, A]


@kernel
def _run(
    weights: Weights, condition: Tokens, seeds: Tokens, uniform: NDArray[np.float64], temperature: Any, heads: int
) -> Any:
    """(tokens [R, T], probability of each [R, T]): one machine writes the rows of its parents, in step."""
    rows, length = condition.shape
    layers, width = weights.unify_bias.shape
    size, given, wide = weights.own.shape[0], seeds.shape[1], width // heads
    tokens = np.empty((rows, length), dtype=condition.dtype)
    chance = np.ones((rows, length), dtype=np.float32)
    copy_rows(tokens, seeds)
    keys = np.empty((layers, rows, width, length), dtype=np.float32)
    values = np.empty((layers, rows, heads, length, wide), dtype=np.float32)
    x, seen = np.empty((rows, width), dtype=np.float32), np.empty((rows, width), dtype=np.float32)
    qkv, inner = np.empty((rows, 3 * width), dtype=np.float32), np.empty((rows, 4 * width), dtype=np.float32)
    share, logits = np.empty(length, dtype=np.float32), np.empty((rows, size), dtype=np.float32)
    near, weight = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.float32)
    for t in range(1, length):
        for row in range(rows):
            line, own, beside = x[row], weights.own[tokens[row, t - 1]], weights.beside[condition[row, t]]
            position = weights.positions[t]
            for j in range(width):
                line[j] = own[j] + beside[j] + position[j]
        for layer in range(layers):
            qkv[:] = 0
            add_product(qkv, x, weights.qkv[layer], rows)
            for row in range(rows):
                key, value = keys[layer, row], values[layer, row]
                for j in range(width):
                    key[j, t - 1] = qkv[row, width + j]
                    value[j // wide, t - 1, j % wide] = qkv[row, 2 * width + j]
                _attend(qkv[row], key, value, seen[row], share[:t].reshape(1, t))
            add_line(x, weights.unify_bias[layer])
            add_product(x, seen, weights.unify[layer], rows)
            normalise(x)
            copy_rows(inner, weights.up_bias[layer : layer + 1])
            add_product(inner, x, weights.up[layer], rows)
            for row in range(rows):
                line = inner[row]
                for j in range(line.shape[0]):
                    line[j] = line[j] if line[j] > 0 else np.float32(0)
            add_line(x, weights.down_bias[layer])
            add_product(x, inner, weights.down[layer], rows)
            normalise(x)
        if t >= given:
            copy_rows(logits, weights.head_bias)
            add_product(logits, x, weights.head, rows)
            for row in range(rows):
                tokens[row, t], chance[row, t] = choose(logits[row], temperature, uniform[row, t], near, weight)
    return tokens, chance


@kernel
def _attend(qkv: Floats, keys: Floats, values: Floats, seen: Floats, share: Floats) -> None:
    """Attention of the query in qkv [3 W] over the first n positions of keys [W, T] and values [H, T, D], into seen [W].

    share [1, n] is working space. Scores are sums in the order of the D features, results in the order of positions.
    """
    heads, _, wide = values.shape
    scores, count = share[0], share.shape[1]
    scale = np.sqrt(np.float32(wide))
    out = np.empty((1, wide), dtype=np.float32)
    for head in range(heads):
        first = head * wide
        scores[:] = 0
        _add_scores(scores, qkv[first : first + wide] / scale, keys[first : first + wide])
        top, total = largest(scores), np.float32(0)
        for s in range(count):
            part = exp(scores[s] - top)
            # Shares too small to count are dropped: as denormal products they would cost a hundred cycles each.
            scores[s] = part if part > np.float32(1e-12) else np.float32(0)
        for s in range(count):
            total += scores[s]
        out[:] = 0
        add_product(out, share, values[head, :count], 1)
        for j in range(wide):
            seen[first + j] = out[0, j] / total


@kernel
def _add_scores(scores: Floats, query: Floats, keys: Floats) -> None:
    """scores [n] += query [D] @ the first n columns of keys [D, T], each sum in the order of D."""
    wide, count = query.shape[0], scores.shape[0]
    for j in range(0, wide - 3, 4):
        p, q, r, s = query[j], query[j + 1], query[j + 2], query[j + 3]
        a, b, c, d = keys[j], keys[j + 1], keys[j + 2], keys[j + 3]
        for t in range(count):
            scores[t] = scores[t] + p * a[t] + q * b[t] + r * c[t] + s * d[t]
    for j in range(wide - wide % 4, wide):
        p, a = query[j], keys[j]
        for t in range(count):
            scores[t] = scores[t] + p * a[t]
