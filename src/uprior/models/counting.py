"""First weights of a Llama that predicts by counting: what followed similar contexts, softly weighed, and its logarithm.

The starts of ``matching`` look up what followed the longest match, with heads that each carry a part of what they find. Two
things cost them more than all else (docs/LOG.md): logits that are linear in what was found, where they ought to be its logarithm,
and noise, which hides what was seen once. Here one pattern of attention carries all of a symbol, rare short matches and frequent
ones are weighed in one sum, and an MLP bends what was found. Nothing here knows any data: symbols are corners of a simplex,
turned at random, and the constants are near what fits random computation best (``universal``). All of it can be trained, but
steps of a usual size drown it: the units that bend cancel one another (how to train it on is open).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from uprior.errors import SpecError
from uprior.models.matching import COMMON_SIZE, LAG_LOGIT, ROPE_BASE, orthonormal, turning_pairs

# What presets and configurations call this start.
COUNTING = "counting"
# Logits for agreement with the last symbol, the one before, and so on: small, so that many places after a short match outvote
# a few after a long one. Near what fits universal best.
MATCH_LOGITS = (3.3, 1.5, 1.8, 1.0)
# Symbols back that the first layer fetches, one head each.
LAGS = len(MATCH_LOGITS)
# Length of what the last layer writes where all it found is one symbol, over that of the symbol read, which every logit hears.
FOUND_SIZE = 300.0
# Length of the constant beside it, over that: RMSNorm then divides by the same whatever was found.
CONSTANT_SIZE = 4.0
# And of the one that the last MLP adds: what it writes itself does not change the last norm.
LAST_CONSTANT_SIZE = 30.0
# Logits as a function of a symbol's share of what was found: nothing below the first share, up by the first height until the
# second, by the second until the third, then in proportion. Close to log(1 + share / 0.0001), as universal wants it.
SHARES, HEIGHTS, SLOPE = (0.0005, 0.0022, 0.09), (4.0, 2.4), 3.4
# Width of a bend, over the share that it lies at: as sharp as noise allows.
BEND_WIDTH = 0.3
# Units of the last MLP that write the constant.
CONSTANT_UNITS = 16
# Of the random weights below and beside all this: of attention's logits, and of all else. None is zero, so everything gets a
# gradient.
RANDOM_SIZE, QUIET_SIZE = 0.01, 1e-4


@dataclass(frozen=True)
class _Space:
    """How the residual stream [W] is divided: one coordinate that all share, symbols, and a slot for each lag.

    common   [W]          the first axis: rounded weights of other directions hear nothing of its large values
    symbols  [D, W]       D = V - 1 orthonormal rows
    slots    [LAGS, S, W] orthonormal rows
    codes    [V, D]       unit vectors, all equally far apart
    heard    [D, W]       where the readout listens: orthonormal rows, across symbols and slots
    kept     [S, W]       what of a symbol goes into a slot, as long as the symbol
    """

    common: torch.Tensor
    symbols: torch.Tensor
    slots: torch.Tensor
    codes: torch.Tensor
    heard: torch.Tensor
    kept: torch.Tensor

    @property
    def read_size(self) -> float:
        """Length of the stream before the last layer, over the square root of the width: what RMSNorm divides by."""
        return math.sqrt((1 + COMMON_SIZE**2 + LAGS) / len(self.common))


def counting_config(config: Any) -> None:
    """Set what ``begin_as_counter_`` needs in a Llama's configuration, before the model is made. SpecError: sizes too small."""
    vocab = config.vocab_size
    needed = {
        "hidden_size": 2 * vocab, "head_dim": vocab, "intermediate_size": 3 * vocab + CONSTANT_UNITS,
        "num_attention_heads": LAGS, "num_hidden_layers": 2,
    }  # fmt: skip
    for name, least in needed.items():
        if getattr(config, name) < least:
            raise SpecError(
                f"{COUNTING}: {name} = {getattr(config, name)} is not allowed with {vocab} ids; allowed: {least} or more"
            )
    config.tie_word_embeddings = False
    config.num_key_value_heads = 1
    config.rope_parameters = {"rope_type": "default", "rope_theta": ROPE_BASE}
    config.first_weights = COUNTING  # kept with the configuration, so a fresh model like it begins alike


def begin_as_counter_(model: Any) -> None:
    """Overwrite fresh weights of an untied Llama so that it predicts by counts; uses torch's generator.

    The first layer fetches the last symbols into slots. The last one adds up, over all places before, e to the MATCH_LOGITS of
    what agrees there, writes each symbol's share of the sum, and bends it into logits (SHARES, HEIGHTS, SLOPE). Heads share keys
    and values, so each carries all of a symbol; they begin alike. Layers between begin near silence.
    """
    layers, vocab = model.model.layers, model.config.vocab_size
    with torch.no_grad():
        space = _divide(model.config.hidden_size, vocab)
        model.get_input_embeddings().weight.copy_(space.codes @ space.symbols + COMMON_SIZE * space.common)
        for layer in layers:
            attention = layer.self_attn
            for matrix in (attention.q_proj, attention.k_proj):
                matrix.weight *= RANDOM_SIZE
            for matrix in (attention.v_proj, attention.o_proj, layer.mlp.down_proj):
                matrix.weight *= QUIET_SIZE
        _fetch_(layers[0].self_attn, space)
        _match_(layers[-1].self_attn, space)
        _report_(layers[-1].self_attn, space)
        _bend_(layers[-1].mlp, space)
        size = FOUND_SIZE * (LAST_CONSTANT_SIZE + CONSTANT_SIZE) + COMMON_SIZE
        readout = SLOPE * size / (FOUND_SIZE * math.sqrt(model.config.hidden_size))
        model.get_output_embeddings().weight.copy_(readout * space.codes @ space.heard)


def _divide(width: int, vocab: int) -> _Space:
    axes = torch.zeros(width, width)
    axes[0, 0], axes[1:, 1:] = 1, orthonormal(width - 1, width - 1)
    symbols, rest = axes[1:vocab], axes[vocab:]
    slots = rest[: len(rest) // LAGS * LAGS].reshape(LAGS, -1, width)
    size, dimensions = slots.shape[1], vocab - 1
    # Corners of a simplex: any two overlap by the same -1 / (V - 1), which shifts all logits alike.
    centred = torch.eye(vocab) - 1 / vocab
    corners = centred @ torch.linalg.svd(centred)[2][:dimensions].t()
    codes = torch.nn.functional.normalize(corners, dim=1) @ orthonormal(dimensions, dimensions)
    heard = orthonormal(dimensions, width - 1) @ axes[1:]
    kept = math.sqrt(dimensions / min(size, dimensions)) * orthonormal(min(size, dimensions), dimensions) @ symbols
    return _Space(axes[0], symbols, slots[:, : len(kept)], codes, heard, kept)


def _fetch_(attention: Any, space: _Space) -> None:
    """Head i of the first layer copies a projection of the symbol i + 1 tokens back into slot i; one set of keys and values."""
    size, half, pairs = attention.head_dim, attention.head_dim // 2, turning_pairs(attention.head_dim)
    read = math.sqrt(len(space.common) / (1 + COMMON_SIZE**2))  # of a symbol's own part after the norm
    gain = math.sqrt(LAG_LOGIT * math.sqrt(size)) / (COMMON_SIZE * read)
    turns = ROPE_BASE ** (-torch.arange(pairs) / half)
    for target, lag in ((attention.k_proj.weight, 0), *((attention.q_proj.weight, i + 1) for i in range(LAGS))):
        start = max(lag - 1, 0) * size
        target[start : start + pairs] += gain * torch.outer(torch.cos(-lag * turns), space.common)
        target[start + half : start + half + pairs] += gain * torch.outer(torch.sin(-lag * turns), space.common)
    attention.v_proj.weight[: len(space.kept)] += space.kept / read
    for i, slot in enumerate(space.slots):
        attention.o_proj.weight[:, i * size : i * size + len(slot)] += slot.t()


def _match_(attention: Any, space: _Space) -> None:
    """Logits of every head: agreement of the last symbols with those before each earlier token."""
    size, heads = attention.head_dim, len(attention.q_proj.weight) // attention.head_dim
    content = [i for i in range(size) if i % (size // 2) >= turning_pairs(size)]
    share = min(len(content) // LAGS, len(space.kept))
    for back, logit in enumerate(MATCH_LOGITS):
        dimensions = torch.tensor(content[back * (len(content) // LAGS) :][:share])
        mix = orthonormal(share, len(space.kept))
        gain = space.read_size * math.sqrt(logit * math.sqrt(size) * len(space.kept) / share)
        attention.k_proj.weight[dimensions] += gain * mix @ space.slots[back]
        for head in range(heads):
            attention.q_proj.weight[head * size + dimensions] += (
                gain * mix @ (space.kept if back == 0 else space.slots[back - 1])
            )


def _report_(attention: Any, space: _Space) -> None:
    """Heads write the symbols that they look at where the readout listens, and a constant."""
    size, heads = attention.head_dim, len(attention.q_proj.weight) // attention.head_dim
    dimensions = len(space.heard)
    turned = orthonormal(dimensions, dimensions)
    attention.v_proj.weight[:dimensions] += space.read_size * turned @ space.symbols
    attention.v_proj.weight[dimensions] += space.read_size / COMMON_SIZE * space.common
    for start in range(0, heads * size, size):
        attention.o_proj.weight[:, start : start + dimensions] += FOUND_SIZE / heads * (turned @ space.heard).t()
        attention.o_proj.weight[:, start + dimensions] += CONSTANT_SIZE * FOUND_SIZE / heads * space.common


def _bend_(mlp: Any, space: _Space) -> None:
    """Three units a symbol, each silent below a share of its own; together the heights of HEIGHTS over what the readout adds."""
    size = CONSTANT_SIZE * FOUND_SIZE + COMMON_SIZE
    norm, one = math.sqrt(len(space.common)) / size, space.common / size  # one times the stream is 1
    spoken, vocab = space.codes @ space.heard, len(space.codes)
    shift = 1 / len(space.heard)  # codes overlap by this much
    slopes = (0.0, HEIGHTS[0] / (SHARES[1] - SHARES[0]), HEIGHTS[1] / SHARES[2], 0.0)
    for number, share in enumerate(SHARES):
        units = slice(number * vocab, (number + 1) * vocab)
        sharp = 1 / (BEND_WIDTH * min(share, SHARES[1] - SHARES[0]))
        seen = spoken / (FOUND_SIZE * (1 + shift)) + (shift / (1 + shift) - share) * one
        mlp.gate_proj.weight[units] = sharp / norm * seen
        mlp.up_proj.weight[units] = one / norm
        change = slopes[number + 1] - slopes[number]
        mlp.down_proj.weight[:, units] = (change / sharp * FOUND_SIZE / SLOPE * spoken).t()
    units, sure = slice(3 * vocab, 3 * vocab + CONSTANT_UNITS), 8.0  # where a gate passes all of what comes
    mlp.gate_proj.weight[units] = sure / norm * one
    mlp.up_proj.weight[units] = one / norm
    written = LAST_CONSTANT_SIZE * FOUND_SIZE / sure / CONSTANT_UNITS * space.common
    mlp.down_proj.weight[:, units] = written[:, None].expand(-1, CONSTANT_UNITS)
