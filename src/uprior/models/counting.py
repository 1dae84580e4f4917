"""First weights of a Llama that predicts by counting: what followed similar contexts, softly weighed, and its logarithm.

The starts of ``matching`` look up what followed the longest match, with heads that each carry a part of what they find. Two
things cost them more than all else (docs/LOG.md): logits that are linear in what was found, where they ought to be its
logarithm, and noise, which hides what was seen once. Here one pattern of attention carries all of a symbol, rare long matches
and frequent short ones are weighed in two sums, and an MLP bends what was found. Ids are numbers of so many bits, and whoever
hands out codes puts like beside like: contexts agree a little where only the kinds of their symbols do, and what was found
speaks a little for all symbols that share leading bits with it, as context tree weighting of bytes assumes as well.

Codes of symbols are rows of a Hadamard matrix in its natural order, so what all symbols with the same leading bits share are
single coordinates. Numbers of a block are plus or minus one number, which bfloat16 rounds alike: files of two bytes a weight
say the same. Nothing here knows any data; the numbers below were fitted to random computation (``code_page``), as the study
counting-fit does and judges. The bends cancel one another to a thousandth of their size, so layers are computed in float32, and
steps of a usual size drown them: Muon wants rates of 1e-8 to 1e-7 here (docs/LOG.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uprior.errors import SpecError
from uprior.models.matching import COMMON_SIZE

# What presets and configurations call this start.
COUNTING = "counting"
# Two sums over all places before: logits in each for agreement with the last symbol, the one before, and so on. The first goes
# by what is near and frequent, the second by what agrees for long.
MATCH_LOGITS = ((4.708, 1.329, 0.6029, 0.4095, 0.4549, 0.5386), (3.311, 2.957, 1.847, 1.707, 1.238, 1.723))
# Symbols in the same block of so many ids are of one kind; logits for agreement in kind with the last symbol and the one before,
# also where these agree themselves.
KIND_SIZE, KIND_LOGITS = 32, ((1.608, 0.666), (2.918, 0.3919))
# What the first sum is of both.
FIRST_SHARE = 0.6
# Symbols back that the first layer fetches, one head each.
LAGS = len(MATCH_LOGITS[0])
# Symbols back that count by their kind, too.
KIND_LAGS = len(KIND_LOGITS[0])
# What was found speaks for all symbols of its block of ids, for each size of blocks with this part of its share in all.
SPREAD = {2: 0.002383, 4: 0.002603, 8: 0.01775, 16: 0.0004206, 32: 0.000387, 64: 0.001061, 128: 0.003204}
# Logits as a function of a symbol's share of what was found: nothing below the first share, up by the first height until the
# second, and so on, beside SLOPE times the share. Close to a logarithm.
SHARES, HEIGHTS, SLOPE = (0.000003763, 0.0001149, 0.004785, 0.1132), (5.243, 2.651, 1.439), 4.235
# Width of a bend, over the share that it lies at.
BEND_WIDTH = 0.3
# Length of what the last layer writes where all it found is one symbol, over that of the symbol read, which every logit hears.
FOUND_SIZE = 65536.0
# Length of the constant beside it, over that: RMSNorm then divides by nearly the same whatever was found.
CONSTANT_SIZE = 4.0
# And of the one that the last MLP adds: what it writes itself does not change the last norm.
LAST_CONSTANT_SIZE = 30.0
# Units of the last MLP that write that constant.
CONSTANT_UNITS = 4
# Share of a head's dimensions that turn with position; at this base the first of the others turns by 0.003 a token, so content
# can be compared over hundreds of tokens.
TURNING_SHARE, ROPE_BASE = 0.125, 1e20
# Logit that each turning pair adds at the lag a head looks at: 13 nats of the sum are lost one token beside.
LAG_LOGIT = 14.0
# Of the random weights beside all this: none is zero, so everything gets a gradient.
QUIET_SIZE = 1e-5


@dataclass(frozen=True)
class _Space:
    """How the coordinates of the residual stream are divided, and the codes of symbols.

    Coordinate 0 is what all symbols share, d = 1 to D dimension d of the symbol read, the rest what the first layer fetched.

    codes  [V, D]   rows of a Hadamard matrix of D + 1 without its constant column, signs of columns flipped at random, over the
                    square root of D + 1: any two overlap by -1 / (D + 1). In dimension d symbols are alike whose ids differ in
                    none of the bits of d: where d is a multiple of m, so are all symbols of a block of m ids
    kinds  [K]      dimensions that tell a symbol's kind
    slots  [LAGS]   dimensions that are kept of the symbol 1, 2, ... tokens back, kinds first where these count
    heard  [D]      coordinate at which the readout listens for a code's dimension: others than it is read at, in random order
    """

    codes: torch.Tensor
    kinds: torch.Tensor
    slots: tuple[torch.Tensor, ...]
    heard: torch.Tensor
    width: int

    @property
    def read(self) -> torch.Tensor:
        return torch.arange(1, self.codes.shape[1] + 1)

    @property
    def spoken(self) -> torch.Tensor:
        """[V, W] codes where the readout listens."""
        spoken = torch.zeros(len(self.codes), self.width)
        spoken[:, self.heard] = self.codes
        return spoken

    def kept(self, lag: int) -> torch.Tensor:
        """Coordinates of the stream that hold what is kept of the symbol ``lag`` tokens back, 1 or more."""
        begin = 1 + len(self.read) + sum(len(slot) for slot in self.slots[: lag - 1])
        return begin + torch.arange(len(self.slots[lag - 1]))

    def longer(self, lag: int) -> float:
        """What is kept of a symbol is multiplied by this, which makes it as long as a whole one."""
        return math.sqrt(len(self.read) / len(self.slots[lag - 1])) if lag else 1.0

    def holding(self, lag: int, dimensions: torch.Tensor) -> torch.Tensor:
        """Coordinates that hold these dimensions, which are kept, of the symbol ``lag`` tokens back; 0: the one read."""
        if not lag:
            return dimensions
        where = torch.zeros(len(self.read) + 1, dtype=torch.long)
        where[self.slots[lag - 1]] = self.kept(lag)
        return where[dimensions]


def counting_config(config: Any) -> None:
    """Set what ``begin_as_counter_`` needs in a Llama's configuration, before the model is made. SpecError: sizes too small."""
    size = _code_size(config.vocab_size)
    needed = {
        "hidden_size": size + 2 * LAGS,
        "head_dim": size,
        "intermediate_size": len(SHARES) * config.vocab_size + CONSTANT_UNITS,
        "num_attention_heads": LAGS,
        "num_hidden_layers": 2,
    }
    for name, least in needed.items():
        if getattr(config, name) < least:
            raise SpecError(
                f"{COUNTING}: {name} = {getattr(config, name)} is not allowed with {config.vocab_size} ids; "
                f"allowed: {least} or more"
            )
    config.tie_word_embeddings = False
    config.num_key_value_heads = 1
    config.rope_parameters = {"rope_type": "default", "rope_theta": ROPE_BASE}
    config.first_weights = COUNTING  # kept with the configuration, so a fresh model like it begins alike


def begin_as_counter_(model: Any) -> None:
    """Overwrite fresh weights of an untied Llama so that it predicts by counts; uses torch's generator.

    The first layer fetches the last symbols into slots. The last one adds up, over all places before, e to the MATCH_LOGITS and
    KIND_LOGITS of what agrees there, in two sums; writes each symbol's share of them, spreads a little of it over its neighbours
    (SPREAD), and bends it into logits (SHARES, HEIGHTS, SLOPE). Heads share keys and values, so each carries all of a symbol.
    Layers between begin near silence.
    """
    layers = model.model.layers
    with torch.no_grad():
        space = _divide(model.config.hidden_size, model.config.vocab_size, _content(layers[-1].self_attn.head_dim))
        table = model.get_input_embeddings().weight.zero_()
        table[:, 0] = COMMON_SIZE
        table[:, space.read] = space.codes
        for layer in layers:
            attention = layer.self_attn
            for matrix in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, layer.mlp.down_proj):
                matrix.weight *= QUIET_SIZE
        _fetch_(layers[0].self_attn, space)
        _match_(layers[-1].self_attn, space)
        _report_(layers[-1].self_attn, space)
        _bend_(layers[-1].mlp, space)
        size = FOUND_SIZE * (LAST_CONSTANT_SIZE + CONSTANT_SIZE) + COMMON_SIZE
        model.get_output_embeddings().weight.copy_(SLOPE * size / (FOUND_SIZE * math.sqrt(space.width)) * space.spoken)


def slot_sizes(room: int, logits: Sequence[float]) -> list[int]:
    """How many of ``room`` dimensions each lag has: more where logits weigh more, and none more than the one before."""
    sizes = [max(1, int(room * logit / sum(logits))) for logit in logits]
    return [min(sizes[: i + 1]) for i in range(len(sizes))]


def _code_size(vocab: int) -> int:
    """The least power of two that is not below."""
    return 1 << (vocab - 1).bit_length()


def _turning_pairs(head_size: int) -> int:
    return max(1, round(TURNING_SHARE * head_size / 2))


def _content(head_size: int) -> list[int]:
    """Dimensions of a head that do not turn."""
    return [i for i in range(head_size) if i % (head_size // 2) >= _turning_pairs(head_size)]


def _divide(width: int, vocab: int, content: Sequence[int]) -> _Space:
    size = _code_size(vocab)
    hadamard = torch.ones(1, 1)
    while len(hadamard) < size:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    signs = 2.0 * torch.randint(2, (size - 1,)) - 1
    order = 1 + torch.randperm(size - 1)
    kinds, others = order[order % KIND_SIZE == 0], order[order % KIND_SIZE != 0]
    room = min(width - size, len(content)) - KIND_LAGS * len(kinds)
    slots = tuple(
        torch.cat([kinds[: len(kinds) * (lag < KIND_LAGS)], others[:kept]])
        for lag, kept in enumerate(slot_sizes(room, np.mean(MATCH_LOGITS, axis=0).tolist()))
    )
    codes = hadamard[:vocab, 1:] * signs / math.sqrt(size)
    return _Space(codes, kinds, slots, width - 1 - torch.randperm(size - 1), width)


def _fetch_(attention: Any, space: _Space) -> None:
    """Head i of the first layer copies dimensions of the symbol i + 1 tokens back into slot i; one set of keys and values."""
    size, half, pairs = attention.head_dim, attention.head_dim // 2, _turning_pairs(attention.head_dim)
    symbol = math.sqrt(space.width / (1 + COMMON_SIZE**2))  # length of a symbol's own part after the norm
    gain = math.sqrt(LAG_LOGIT * math.sqrt(size)) / (COMMON_SIZE * symbol)
    turns = ROPE_BASE ** (-torch.arange(pairs, dtype=torch.float64) / half)
    for target, lag in ((attention.k_proj.weight, 0), *((attention.q_proj.weight, i + 1) for i in range(LAGS))):
        start = max(lag - 1, 0) * size
        target[start : start + pairs, 0] += gain * torch.cos(-lag * turns).float()
        target[start + half : start + half + pairs, 0] += gain * torch.sin(-lag * turns).float()
    attention.v_proj.weight[space.read - 1, space.read] += 1 / symbol
    for i, slot in enumerate(space.slots):
        attention.o_proj.weight[space.kept(i + 1), i * size + slot - 1] += space.longer(i + 1)


def _stream_size(space: _Space) -> float:
    """Length of the stream before the last layer, over the square root of the width: what RMSNorm divides by."""
    return math.sqrt((1 + COMMON_SIZE**2 + LAGS) / space.width)


def _match_(attention: Any, space: _Space) -> None:
    """Logits of heads: agreement of the last symbols with those before each earlier token, and of their kinds."""
    size, heads = attention.head_dim, len(attention.q_proj.weight) // attention.head_dim
    content, used = torch.tensor(_content(size)), 0
    for lag, slot in enumerate(space.slots):
        dimensions = content[used : used + len(slot)]
        used += len(slot)
        worth = [_worth(space, lag, which) * math.sqrt(size) * _stream_size(space) ** 2 for which in (0, 1)]
        keys = worth[0].abs().sqrt()
        attention.k_proj.weight[dimensions, space.kept(lag + 1)] += keys / space.longer(lag + 1)
        for head in range(heads):
            asked = head * size + dimensions, space.holding(lag, slot)
            attention.q_proj.weight[asked] += worth[_sum_of(head, heads)] / keys / space.longer(lag)


def _worth(space: _Space, lag: int, which: int) -> torch.Tensor:
    """[n] what each dimension that is kept of a symbol has to add where it agrees, for the logits of one of the sums."""
    slot, codes = space.slots[lag], len(space.read) + 1
    kinds = len(space.kinds) if lag < KIND_LAGS else 0
    worth = torch.full((len(slot),), MATCH_LOGITS[which][lag] / (len(slot) - kinds))
    if kinds:
        worth[:kinds] = KIND_LOGITS[which][lag] / (kinds + 1)  # other kinds overlap by -1 of these
    return worth * codes


def _sum_of(head: int, heads: int) -> int:
    """Which of the sums a head of the last layer is of; the last head, which spreads what it found, of the first."""
    return int(round(FIRST_SHARE * (heads - 1)) <= head < heads - 1)


def _report_(attention: Any, space: _Space) -> None:
    """Heads write the symbols that they look at where the readout listens, the last one SPREAD, and all a constant."""
    size, heads, dimensions = attention.head_dim, len(attention.q_proj.weight) // attention.head_dim, len(space.read)
    attention.v_proj.weight[torch.arange(dimensions), space.read] += _stream_size(space)
    attention.v_proj.weight[dimensions, 0] += _stream_size(space) / COMMON_SIZE
    spread = sum(part * (space.read % block == 0) for block, part in SPREAD.items())
    for head in range(heads):
        told = spread if head == heads - 1 else torch.ones(dimensions) / (heads - 1)
        attention.o_proj.weight[space.heard, head * size + torch.arange(dimensions)] += FOUND_SIZE * told
        attention.o_proj.weight[0, head * size + dimensions] += CONSTANT_SIZE * FOUND_SIZE / heads


def _bend_(mlp: Any, space: _Space) -> None:
    """For each of SHARES a unit a symbol, silent below it; together the heights of HEIGHTS over what the readout adds.

    Slopes before and after a bend are thousands of times what is left of them at the end: each unit makes up for what rounding
    to bfloat16 did to those before it.
    """
    vocab, dimensions = space.codes.shape
    part = 1 / math.sqrt(dimensions + 1)  # each coordinate of a code, but for its sign
    signs = space.spoken / part
    one = 1 / (CONSTANT_SIZE * FOUND_SIZE + COMMON_SIZE)  # times coordinate 0
    norm = math.sqrt(space.width) * one  # RMSNorm multiplies by about this
    # Codes meet the stream as their share of what was found, less this.
    overlap = (1 + sum(SPREAD.values())) / (dimensions + 1)
    slopes = [height / (end - begin) for height, begin, end in zip(HEIGHTS, SHARES, SHARES[1:], strict=False)]
    slope = 0.0  # so far, as rounded
    up = _rounded(one / norm)
    for number, (share, wanted) in enumerate(zip(SHARES, [*slopes, 0.0], strict=True)):
        units = slice(number * vocab, (number + 1) * vocab)
        gate = _rounded(part / (BEND_WIDTH * min(share, SHARES[1] - SHARES[0]) * norm * FOUND_SIZE))
        mlp.gate_proj.weight[units] = gate * signs
        mlp.gate_proj.weight[units, 0] = gate / part * FOUND_SIZE * (overlap - share) * one
        mlp.up_proj.weight[units] *= QUIET_SIZE
        mlp.up_proj.weight[units, 0] = up
        passed = gate / part**2 * norm * up * norm / one * SLOPE  # slope of a logit, per weight that writes
        down = _rounded((wanted - slope) / passed)
        slope += down * passed
        mlp.down_proj.weight[:, units] += down * signs.t()
    units, sure = slice(len(SHARES) * vocab, len(SHARES) * vocab + CONSTANT_UNITS), 8.0  # where a gate passes all
    mlp.gate_proj.weight[units, 0] = sure * one / norm
    mlp.up_proj.weight[units, 0] = one / norm
    mlp.down_proj.weight[0, units] += LAST_CONSTANT_SIZE * FOUND_SIZE / sure / CONSTANT_UNITS


def _rounded(value: float) -> float:
    """To bfloat16."""
    return float(torch.tensor(value, dtype=torch.bfloat16))
