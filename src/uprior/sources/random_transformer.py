"""Random causal transformers that rewrite a row in one parallel pass: Bloem's draft source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.rng import generator
from uprior.sources._autoregressive import copy_rows
from uprior.sources._base import Draw, machine_of_row
from uprior.sources._exact import (
    Floats,
    add_product,
    chance_of,
    choose,
    exp,
    internal,
    kernel,
    normal_quantiles,
    random_words,
    sigmoid,
)
from uprior.sources._machines import MachineSource, Tokens
from uprior.spec import parameter
from uprior.types import Block

# Shape letters: R rows of one machine, T positions, W width, D = W / heads, L layers, A alphabet.

# torch's float32 sigmoid is exactly 0 below this logit and positive above: exp(88.73) is no longer a float32.
_UNDERFLOW = np.float32(-88.722839)


@dataclass(frozen=True)
class RandomTransformer(MachineSource):
    """Random causal transformers that rewrite another row, every position at once.

    Machine: the weights of one transformer together with the row it reads; a continuum of them. Post-norm,
    learned absolute positions, no biases in attention's inner projections, ReLU MLP four times as wide, no
    dropout. Position t of the conditioning row gives logits of a new token, sampled at ``temperature``, and a
    mask logit that says whether the old token is kept instead. Initial weights: embeddings N(0, 1), matrices
    N(0, 1/fan_in), attention and MLP times ``hidden_multiplier``, output times ``output_multiplier``, biases
    N(0, bias_deviation²). ``mask``: "chance" keeps the old token with probability sigmoid(logit), "off" never.

    Floor: exact for the predictor that knows the weights and the conditioning row: -log p of the token written,
    by either way, p = keep [token = old] + (1 - keep) softmax. Cost: about 10 µs per token at the defaults and
    256 positions (attention grows with length), and the same bytes on every machine (``_exact``).

    Bloem, draft of 2024 for arXiv 2506.20057; ours is small where his has the size of the target. Preset
    "published" has the scaling of his runs: hidden 4, output standard deviation 1/width times 2^layers (the
    multiplier sits inside the loop over layers), zero masks whose rate is U(0, 1) per matrix, biases N(0, 1)
    whatever is asked for, embeddings never drawn again (one pair per spec here; one per run there), and a mask
    that is true unless the sigmoid underflows to exactly 0. Which of the two tokens a true mask took in
    training is not recorded; here it keeps the old one. His dropout of 0.1 is left out.
    """

    name: ClassVar[str] = "random_transformer"
    family: ClassVar[str] = "neural"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {
            "layers": 16,
            "hidden_multiplier": 4.0,
            "output_multiplier": 2.0,
            "published_output": True,
            "temperature": 1.0,
            "zero_masks": True,
            "bias_deviation": 1.0,
            "fixed_embeddings": True,
            "mask": "underflow",
        }
    }

    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    width: int = parameter(64, "width of the network, a multiple of heads", low=1, high=4096)
    layers: int = parameter(2, "transformer blocks", low=1, high=64)
    heads: int = parameter(4, "attention heads", low=1, high=256)
    hidden_multiplier: float = parameter(4.0, "multiplier of attention and MLP matrices", low=0.0, high=1000.0)
    output_multiplier: float = parameter(16.0, "multiplier of the output matrix", low=0.0, high=1e6)
    published_output: bool = parameter(
        False, "output deviation 1/width and multiplier to the power of layers, as published"
    )
    bias_deviation: float = parameter(1.0, "standard deviation of biases", low=0.0, high=1000.0)
    zero_masks: bool = parameter(False, "zero a random share of each matrix, the share uniform per matrix")
    fixed_embeddings: bool = parameter(False, "the same embeddings for all machines, as published")
    mask: str = parameter("chance", "how the mask logit keeps old tokens", choices=("chance", "underflow", "off"))
    temperature: float = parameter(1.0, "sampling temperature; 0 takes the likeliest token", low=0.0, high=100.0)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)
    constant_fraction: float = parameter(0.5, "share of constant parents, when used alone", low=0.0, high=1.0)

    def validate(self) -> None:
        if self.width % self.heads:
            self.reject("width", f"a multiple of heads = {self.heads}")

    def _write(self, draw: Draw, condition: Tokens, seeds: Tokens) -> Block:
        rows, length = condition.shape
        tokens, chance = np.empty((rows, length), dtype=self.token_dtype), np.empty((rows, length), dtype=np.float64)
        local = machine_of_row(rows, self.rows_per_machine)
        machines = int(local.max()) + 1
        uniform = draw("tokens").random((2, rows, length))
        rng, mask = draw("weights"), ("off", "chance", "underflow").index(self.mask)
        for m in range(machines):
            mine = slice(m, rows, machines)  # as machine_of_row deals them
            # Contiguous whatever the number of machines: one layout, one compilation.
            parents, own_uniform = np.ascontiguousarray(condition[mine]), np.ascontiguousarray(uniform[:, mine])
            logits = _forward(self._weights(rng, length), parents, self.heads)
            temperature = np.float32(self.temperature)
            tokens[mine], chance[mine] = _emit(logits, parents, own_uniform, temperature, mask)
        floor = np.maximum(-np.log(chance), 0).astype(np.float32)
        return Block(tokens=tokens, machine=draw.machine_ids(local), floor_nats=floor)

    def _weights(self, rng: np.random.Generator, length: int) -> Weights:
        """A fresh machine for rows of this length."""
        w, layers, size = self.width, self.layers, self.alphabet_size
        hidden, biases = self.hidden_multiplier, self.bias_deviation
        output = self.output_multiplier * w**-0.5
        if self.published_output:
            output = self.output_multiplier**layers / w
        embeddings = generator(self.fingerprint, "fixed embeddings") if self.fixed_embeddings else rng
        return Weights(
            tokens=normal(embeddings, (size, w), 1.0),
            positions=normal(embeddings, (length, w), 1.0),
            qkv=self._matrices(rng, (layers, 3, w, w), hidden * w**-0.5)
            .transpose(0, 2, 1, 3)
            .reshape(layers, w, 3 * w),
            unify=self._matrices(rng, (layers, w, w), hidden * w**-0.5),
            unify_bias=normal(rng, (layers, w), biases),
            up=self._matrices(rng, (layers, w, 4 * w), hidden * w**-0.5),
            up_bias=normal(rng, (layers, 4 * w), biases),
            down=self._matrices(rng, (layers, 4 * w, w), hidden * (4 * w) ** -0.5),
            down_bias=normal(rng, (layers, w), biases),
            output=self._matrices(rng, (w, size + 1), output),
            output_bias=normal(rng, (1, size + 1), biases),
        )

    def _matrices(self, rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
        """Normal matrices (the last two axes), each with its own share of zeros if ``zero_masks``."""
        values = normal(rng, shape, deviation)
        if self.zero_masks:
            threshold = rng.random(shape[:-2])[..., None, None] * 65536
            values[random_words(rng, values.size).reshape(shape) < threshold] = 0
        return values


class Weights(NamedTuple):
    """One machine. Matrices are stored input first; the output's last column is the mask logit."""

    tokens: Floats  # [A, W]
    positions: Floats  # [T, W]
    qkv: Floats  # [L, W, 3 W] queries, keys, values, each with its heads side by side
    unify: Floats  # [L, W, W]
    unify_bias: Floats  # [L, W]
    up: Floats  # [L, W, 4 W]
    up_bias: Floats  # [L, 4 W]
    down: Floats  # [L, 4 W, W]
    down_bias: Floats  # [L, W]
    output: Floats  # [W, A + 1]
    output_bias: Floats  # [1, A + 1]


def normal(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
    values = normal_quantiles()[random_words(rng, int(np.prod(shape)))] * np.float32(deviation)
    return values.reshape(shape)


@kernel
def _forward(weights: Weights, condition: Tokens, heads: int) -> Any:
    """[R * T, A + 1] float32 logits of one machine for all positions of its rows."""
    rows, length = condition.shape
    width = weights.tokens.shape[1]
    count = rows * length
    x = np.empty((count, width), dtype=np.float32)
    for row in range(rows):
        for t in range(length):
            line, token, position = x[row * length + t], weights.tokens[condition[row, t]], weights.positions[t]
            for j in range(width):
                line[j] = token[j] + position[j]
    qkv, inner = np.empty((count, 3 * width), dtype=np.float32), np.empty((count, 4 * width), dtype=np.float32)
    seen = np.empty((count, width), dtype=np.float32)
    for layer in range(weights.unify.shape[0]):
        for i in range(count):
            for j in range(3 * width):
                qkv[i, j] = 0
        add_product(qkv, x, weights.qkv[layer], count)
        for row in range(rows):
            here = slice(row * length, (row + 1) * length)
            for head in range(heads):
                _attend(qkv[here], seen[here], head, width // heads)
        add_line(x, weights.unify_bias[layer])
        add_product(x, seen, weights.unify[layer], count)
        normalise(x)
        copy_rows(inner, weights.up_bias[layer : layer + 1])
        add_product(inner, x, weights.up[layer], count)
        for i in range(count):
            line = inner[i]
            for j in range(line.shape[0]):
                line[j] = line[j] if line[j] > 0 else np.float32(0)
        add_line(x, weights.down_bias[layer])
        add_product(x, inner, weights.down[layer], count)
        normalise(x)
    logits = np.empty((count, weights.output.shape[1]), dtype=np.float32)
    copy_rows(logits, weights.output_bias)
    add_product(logits, x, weights.output, count)
    return logits


@internal
def add_line(x: Floats, bias: Floats) -> None:
    """Add bias [W] to each line of x [N, W]."""
    for i in range(x.shape[0]):
        line = x[i]
        for j in range(line.shape[0]):
            line[j] += bias[j]


@internal
def _attend(qkv: Floats, seen: Floats, head: int, wide: int) -> None:
    """Causal attention of one head over one row: from qkv [T, 3 W] into this head's part of seen [T, W].

    Everything is laid out [key position, query position], so that all loops run along the queries, whose sums
    are independent.
    """
    length, width = seen.shape
    first = head * wide
    root = np.sqrt(np.float32(wide))
    query, keys, values = (
        np.empty((wide, length), dtype=np.float32),
        np.empty((length, wide), dtype=np.float32),
        np.empty((wide, length), dtype=np.float32),
    )
    for t in range(length):
        line, key = qkv[t], keys[t]
        for j in range(wide):
            query[j, t] = line[first + j] / root
            key[j] = line[width + first + j]
            values[j, t] = line[2 * width + first + j]
    share = np.zeros((length, length), dtype=np.float32)
    add_product(share, keys, query, length)
    top, total = np.empty(length, dtype=np.float32), np.empty(length, dtype=np.float32)
    for t in range(length):
        top[t], total[t] = share[0, t], 0
    for s in range(1, length):
        line, best = share[s, s:], top[s:]
        for t in range(line.shape[0]):
            best[t] = line[t] if line[t] > best[t] else best[t]
    for s in range(length):
        for t in range(s):
            share[s, t] = 0
        line, best, whole = share[s, s:], top[s:], total[s:]
        for t in range(line.shape[0]):
            line[t] = exp(line[t] - best[t])
        for t in range(line.shape[0]):
            # Shares too small to count are dropped: as denormal products they would cost a hundred cycles each.
            part = line[t] if line[t] > np.float32(1e-12) else np.float32(0)
            line[t] = part
            whole[t] += part
    mixed = np.zeros((wide, length), dtype=np.float32)
    add_product(mixed, values, share, wide)
    for j in range(wide):
        for t in range(length):
            seen[t, first + j] = mixed[j, t] / total[t]


@internal
def normalise(x: Floats) -> None:
    """Layer normalisation of each line of x [N, W], in place, without weights."""
    width = np.float32(x.shape[1])
    for i in range(x.shape[0]):
        line = x[i]
        mean, variance = np.float32(0), np.float32(0)
        for j in range(line.shape[0]):
            mean += line[j]
        mean /= width
        for j in range(line.shape[0]):
            variance += (line[j] - mean) * (line[j] - mean)
        scale = np.float32(1) / np.sqrt(variance / width + np.float32(1e-5))
        for j in range(line.shape[0]):
            line[j] = (line[j] - mean) * scale


@kernel
def _emit(logits: Floats, condition: Tokens, uniform: NDArray[np.float64], temperature: Any, mask: int) -> Any:
    """(tokens [R, T], probability of each [R, T]) from logits [R * T, A + 1]; mask: 0 off, 1 chance, 2 underflow."""
    rows, length = condition.shape
    size = logits.shape[1] - 1
    tokens, chance = np.empty((rows, length), dtype=condition.dtype), np.empty((rows, length), dtype=np.float64)
    near, weight = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.float32)
    for row in range(rows):
        for t in range(length):
            line, old = logits[row * length + t], condition[row, t]
            keep = 0.0
            if mask == 1:
                keep = np.float64(sigmoid(line[size]))
            elif mask == 2 and line[size] > _UNDERFLOW:
                keep = 1.0
            token, probability = choose(line[:size], temperature, uniform[0, row, t], near, weight)
            if uniform[1, row, t] < keep:
                if token != old:
                    probability = chance_of(line[:size], temperature, old)
                token = old
            tokens[row, t] = token
            chance[row, t] = (1.0 - keep) * probability + (keep if token == old else 0.0)
    return tokens, chance
