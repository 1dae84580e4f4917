"""First weights of a Llama that predicts by matching contexts: what in-context learning needs is there, and training refines it.

Random computation has to teach a model two skills before anything else pays: to look up what followed earlier occurrences of the
last few symbols ("induction", Olsson et al. 2022, arXiv 2209.11895), and to count. From random weights small models spend tens
of millions of tokens on counting and learn to copy only on rows that do nothing else (docs/LOG.md). Both are a few matrix
products, so they can be written down. Nothing here knows any data: symbols are random vectors, every other matrix is a random
rotation of one, and all of it is trained like any other weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

# What presets and configurations call this start, and its second version.
MATCHING, MATCHING_2 = "matching", "matching-2"
# How many symbols back the first layer looks, at most; heads permitting.
LAGS = 4
# Share of a head's dimensions that turn with position, a quarter of its pairs; the others carry content, whatever the distance.
TURNING_SHARE = 0.25
# Base of rotations: the first pairs tell neighbours apart, and the first of the others (pair 4 of 16 in heads of 32, 8 of 32 in
# heads of 64) turns by 0.003 per token, so content can be compared over hundreds of tokens.
ROPE_BASE = 1e10
# Length of what all symbols share over that of a symbol's own part: heads that look at positions alone read it.
COMMON_SIZE = 2.0
# Logit that each turning pair adds at the lag a head looks at: 6 or 7 nats of the sum are lost one token beside.
LAG_LOGIT = 12.0
# Logits for agreement with the last symbol, the one before, and the third: a longer match outweighs many shorter ones.
MATCH_LOGITS = (9.0, 8.0, 7.0)
# Length of what a head writes that found one symbol: all together outweigh what was read, none disturbs a later layer.
FOUND_SIZE = 0.3
# The same in the last layer of the second version: none comes after it, so what is found may drown what was read, whose share
# of every logit is noise.
LAST_FOUND_SIZE = 1.2
# And there the logit of a symbol, if all that the stream holds is that symbol.
SURE_LOGIT = 9.0
# Of the random weights below and beside all this: small, or the later layers do not find what they look for; none is zero, so
# everything gets a gradient.
RANDOM_SIZE = 0.03
# Of what MLPs write, over that of random weights.
MLP_SIZE = 0.02


def begin_as_matcher_(model: Any) -> None:
    """Overwrite fresh weights of an untied Llama so that it predicts what followed similar contexts; uses torch's generator.

    Half of the residual stream holds the symbol read, the other half what stood 1 to LAGS tokens before. Heads of the first layer
    fetch the latter (by position, through the vector that all symbols share). Heads of later layers compare the last 1, 2, 3 or 0
    symbols with those before every earlier token, add up the agreements as logits (so longer matches win, and nothing found falls
    back to shorter ones; none at all: a histogram), and write the token that followed where the readout listens. The readout's
    table is a rotation of the embedding's, so what was read is not taken for a prediction. MLPs begin near silence.

    In the second version heads that look for the same pass on different dimensions of what they find (in the first each chooses
    at random, and symbols that stand nowhere near take a share of the probability), and the last layer writes LAST_FOUND_SIZE
    for a readout scaled by SURE_LOGIT. docs/LOG.md has what it is worth, and for how long.

    For configurations that ``matching_config`` was applied to, with heads of 16 or more dimensions that share no keys or values.
    """
    config = model.config
    second = config.first_weights == MATCHING_2
    width, heads = config.hidden_size, config.num_attention_heads
    head_size = model.model.layers[0].self_attn.head_dim
    lags = min(heads, LAGS)
    with torch.no_grad():
        basis = orthonormal(width, width)
        common, symbols, lag_space = basis[0], basis[1 : width // 2], basis[width // 2 :]
        slots = lag_space[: len(lag_space) // lags * lags].reshape(lags, -1, width)  # [lags, size, width]
        codes = _codes(config.vocab_size, len(symbols))
        heard = orthonormal(len(symbols), width - 1) @ basis[1:]
        model.get_input_embeddings().weight.copy_(codes @ symbols + COMMON_SIZE * common)
        model.get_output_embeddings().weight.copy_(codes @ heard * (SURE_LOGIT / math.sqrt(width) if second else 1))
        for layer in model.model.layers:
            attention = layer.self_attn
            for matrix in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
                matrix.weight *= RANDOM_SIZE
            layer.mlp.down_proj.weight *= MLP_SIZE
        # A slot keeps a projection of a symbol; this makes it as long as the symbol.
        stretch = math.sqrt(len(symbols) / slots.shape[1])
        kept = orthonormal(slots.shape[1], len(symbols)) @ symbols * stretch  # [size, width]
        _fetch_(model.model.layers[0].self_attn, common, kept, slots)
        orders = [min((head + 1) % LAGS, lags) for head in range(heads)]
        for depth, layer in enumerate(list(model.model.layers)[1:]):
            # RMSNorm divides by the stream's size: a symbol, what all share, the slots, and half of what heads can have found.
            found = FOUND_SIZE * heads * depth / 2
            shrunk = math.sqrt((1 + COMMON_SIZE**2 + lags + found**2) / width)
            last = second and layer is model.model.layers[-1]
            parts = _parts(orders, head_size, len(symbols), apart=second)
            for head, order in enumerate(orders):
                rows = slice(head * head_size, (head + 1) * head_size)
                _match_(layer.self_attn, rows, order, kept, slots, shrunk)
                written = LAST_FOUND_SIZE if last else FOUND_SIZE
                _report_(layer.self_attn, rows, next(parts), symbols, heard, shrunk, written)


def matching_config(config: Any, version: str) -> None:
    """Set what ``begin_as_matcher_`` needs in a Llama's configuration, before the model is made; MATCHING or MATCHING_2."""
    config.tie_word_embeddings = False
    config.rope_parameters = {"rope_type": "default", "rope_theta": ROPE_BASE}
    config.first_weights = version  # kept with the configuration, so a fresh model like it begins alike


def orthonormal(rows: int, columns: int) -> torch.Tensor:
    """[rows, columns] random orthonormal rows."""
    rotation: torch.Tensor = torch.linalg.qr(torch.randn(columns, rows))[0]
    return rotation.t().contiguous()


def _codes(count: int, size: int) -> torch.Tensor:
    """[count, size] unit vectors as far apart as can be: orthonormal, or a random tight frame where there are more.

    What stands next to a symbol in a sum of many is then as little as ``size`` dimensions allow: independent random vectors of
    95 dimensions, for 256 symbols, overlap by 0.10 in the root mean square, these by 0.08; of 255 dimensions by 0.063 and 0.004.
    """
    if size >= count:
        return orthonormal(count, size)
    return torch.nn.functional.normalize(orthonormal(size, count).t(), dim=1)


def turning_pairs(head_size: int) -> int:
    return max(1, round(TURNING_SHARE * head_size / 2))


def _fetch_(attention: Any, common: torch.Tensor, kept: torch.Tensor, slots: torch.Tensor) -> None:
    """Head i of the first layer copies a projection of the symbol i + 1 tokens back into slot i."""
    size, width = attention.head_dim, len(common)
    half = size // 2
    read = math.sqrt(width / (1 + COMMON_SIZE**2))  # of a symbol's own part after the norm
    gain = math.sqrt(LAG_LOGIT * math.sqrt(size)) / (COMMON_SIZE * read)
    pairs = turning_pairs(size)
    turns = ROPE_BASE ** (-torch.arange(pairs) / half)
    for lag, slot in enumerate(slots, start=1):
        start = (lag - 1) * size
        for target, angle in ((attention.q_proj.weight, -lag * turns), (attention.k_proj.weight, 0 * turns)):
            target[start : start + pairs] += gain * torch.outer(torch.cos(angle), common)
            target[start + half : start + half + pairs] += gain * torch.outer(torch.sin(angle), common)
        carried = min(size, len(slot))
        attention.v_proj.weight[start : start + carried] += kept[:carried] / read
        attention.o_proj.weight[:, start : start + carried] += slot[:carried].t()


def _match_(attention: Any, rows: slice, order: int, kept: torch.Tensor, slots: torch.Tensor, shrunk: float) -> None:
    """A head's logits: agreement of the last ``order`` symbols with the symbols before each earlier token."""
    size = rows.stop - rows.start
    content = [i for i in range(size) if i % (size // 2) >= turning_pairs(size)]
    queries, keys = attention.q_proj.weight[rows], attention.k_proj.weight[rows]
    share = len(content) // max(order, 1)
    for back in range(order):
        dimensions = content[back * share : (back + 1) * share][: slots.shape[1]]
        mix = orthonormal(len(dimensions), slots.shape[1])
        gain = shrunk * math.sqrt(MATCH_LOGITS[back] * math.sqrt(size) * slots.shape[1] / len(dimensions))
        queries[dimensions] += gain * mix @ (kept if back == 0 else slots[back - 1])
        keys[dimensions] += gain * mix @ slots[back]


def _parts(orders: Sequence[int], head_size: int, size: int, *, apart: bool) -> Iterator[torch.Tensor]:
    """Per head the [dimensions, size] orthonormal rows that it passes on; ``apart``: heads of one order share a rotation out."""
    count = min(head_size, size)
    left: dict[int, torch.Tensor] = {}
    for order in orders:
        if not apart or len(left.get(order, ())) < count:
            left[order] = orthonormal(size if apart else count, size)
        yield left[order][:count]
        left[order] = left[order][count:]


def _report_(
    attention: Any,
    rows: slice,
    part: torch.Tensor,
    symbols: torch.Tensor,
    heard: torch.Tensor,
    shrunk: float,
    found: float,
) -> None:
    """A head writes the symbols that it looks at where the readout listens."""
    used = slice(rows.start, rows.start + len(part))
    attention.v_proj.weight[used] += shrunk * part @ symbols
    attention.o_proj.weight[:, used] += found * len(symbols) / len(part) * (part @ heard).t()
