"""What the weights of ``models/counting.py`` compute, from agreement of symbols: a function of few numbers, and its fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uprior.models.counting import (
    BEND_WIDTH,
    FIRST_SHARE,
    HEIGHTS,
    KIND_LAGS,
    KIND_LOGITS,
    KIND_SIZE,
    LAGS,
    MATCH_LOGITS,
    SHARES,
    SLOPE,
    SPREAD,
    slot_sizes,
)
from uprior.rng import generator

# The number of symbols that is added up over.
VOCABULARY = 256
_TOLD = LAGS + KIND_LAGS
_AGREES = ((torch.arange(1 << _TOLD)[:, None] >> torch.arange(_TOLD)) & 1).float()  # [2^TOLD, TOLD]
# [sizes of blocks, V, V] how a symbol's share in all is spread over its block.
_BLOCKS = torch.stack(
    [(torch.arange(VOCABULARY)[:, None] // size == torch.arange(VOCABULARY) // size).float() / size for size in SPREAD]
)


@dataclass(frozen=True)
class Places:
    """Places [P] to predict at, each with the N places that come before it or may not.

    agrees   [P, N] int16  bit i: the symbols i back of here and there are the same; bit LAGS + i: they are of one kind;
                           2^(LAGS + KIND_LAGS): that place does not come before
    follows  [P, N] uint8  the symbol after each of them
    came     [P]    int64  the symbol to predict
    """

    agrees: torch.Tensor
    follows: torch.Tensor
    came: torch.Tensor

    def __len__(self) -> int:
        return len(self.came)

    def some(self, index: torch.Tensor | slice) -> Places:
        return Places(self.agrees[index], self.follows[index], self.came[index])


@dataclass(frozen=True)
class Numbers:
    """The numbers of models/counting.py; those that are above zero as logarithms.

    logits [2, LAGS], kinds [2, KIND_LAGS] of the two sums; shares [K], heights [K - 1], slope [] of the bends; spread [sizes].
    """

    logits: torch.Tensor
    kinds: torch.Tensor
    shares: torch.Tensor
    heights: torch.Tensor
    slope: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, logits: Any, kinds: Any, shares: Any, heights: Any, slope: Any, spread: Any) -> Numbers:
        first, second, *others = (
            torch.tensor(value, dtype=torch.float32) for value in (logits, kinds, shares, heights, slope, spread)
        )
        return cls(first, second, *(value.log() for value in others))

    @classmethod
    def in_the_package(cls) -> Numbers:
        return cls.of(MATCH_LOGITS, KIND_LOGITS, SHARES, HEIGHTS, SLOPE, [*SPREAD.values()])

    def fields(self) -> list[torch.Tensor]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def plain(self) -> dict[str, Any]:
        """The numbers as they stand in models/counting.py."""
        logs = {"shares", "heights", "slope", "spread"}
        return {
            field.name: _short((value.exp() if field.name in logs else value).tolist())
            for field, value in zip(dataclasses.fields(self), self.fields(), strict=True)
        }


def _short(value: Any) -> Any:
    """Lists of numbers, and lists of them, with four figures."""
    return [_short(one) for one in value] if isinstance(value, list) else float(f"{value:.4g}")


def places_in(
    rows: NDArray[np.uint8], first: int, each: int, draws: np.random.Generator
) -> tuple[Places, NDArray[np.int64]]:
    """``each`` places of every row [R, T] of bytes from position ``first`` on; and which, as (row, position) [P, 2]."""
    length = rows.shape[1]
    before = np.arange(length - 1)
    agrees, follows, where = [], [], []
    for number, row in enumerate(rows):
        for last in np.sort(draws.choice(np.arange(first, length - 1), each, replace=False)):
            code = np.zeros(length - 1, np.int16)
            for lag in range(LAGS):
                there = before - lag
                known = (there >= 0) & (before < last)
                code[known] |= (row[there[known]] == row[last - lag]).astype(np.int16) << lag
                if lag < KIND_LAGS:
                    alike = row[there[known]] // KIND_SIZE == row[last - lag] // KIND_SIZE
                    code[known] |= alike.astype(np.int16) << (LAGS + lag)
            code[before >= last] = 1 << _TOLD
            agrees.append(code)
            follows.append(row[1:])
            where.append((number, last))
    found = np.array(where)
    came = rows[found[:, 0], found[:, 1] + 1].astype(np.int64)
    places = Places(
        *(torch.from_numpy(np.ascontiguousarray(part)) for part in (np.array(agrees), np.array(follows), came))
    )
    return places, found


def bits(numbers: Numbers, places: Places, room: int = 0, draws: np.random.Generator | None = None) -> torch.Tensor:
    """[P] bits of what came. ``room``: with the noise that codes of so many dimensions bring to places that do not agree."""
    first, second = (
        torch.zeros(len(places), VOCABULARY).scatter_add(1, places.follows.long(), weights)
        for weights in _weights(numbers, places, room, draws)
    )
    spread = torch.einsum("s,sxy->xy", numbers.spread.exp(), _BLOCKS)
    scores = _bent(numbers, FIRST_SHARE * first + (1 - FIRST_SHARE) * second + first @ spread)
    came = scores.gather(1, places.came[:, None])[:, 0]
    return (torch.logsumexp(scores, 1) - came) / math.log(2)


def _weights(numbers: Numbers, places: Places, room: int, draws: np.random.Generator | None) -> Iterator[torch.Tensor]:
    """[P, N] what each place weighs, in either sum."""
    code, nothing = places.agrees.long(), torch.zeros(1)
    sizes = torch.tensor(slot_sizes(room, numbers.logits.detach().clamp(min=0.01).mean(0).tolist()))
    for logits, kinds in zip(numbers.logits, numbers.kinds, strict=True):
        logit = torch.cat([_AGREES @ torch.cat([logits, kinds]), nothing - 1e9])[code]
        if room and draws is not None:
            noise = ((1 - _AGREES[:, :LAGS]) @ (logits**2 / sizes)).clamp(min=1e-12).sqrt()
            drawn = draws.standard_normal(logit.shape, dtype=np.float32)
            logit = logit + torch.cat([noise, nothing])[code] * torch.from_numpy(drawn)
        yield torch.softmax(logit, 1)


def _bent(numbers: Numbers, share: torch.Tensor) -> torch.Tensor:
    """Logits [P, V] of shares, with the bends of the last MLP."""
    knees, heights = numbers.shares.exp(), numbers.heights.exp()
    slopes = torch.cat([torch.zeros(1), heights / (knees[1:] - knees[:-1]), torch.zeros(1)])
    scores = numbers.slope.exp() * share
    for number, knee in enumerate(knees):
        sharp = 1 / (BEND_WIDTH * torch.minimum(knee, knees[1] - knees[0]))
        bend = torch.nn.functional.silu(sharp * (share - knee)) / sharp
        scores = scores + (slopes[number + 1] - slopes[number]) * bend
    return scores


def fitted(
    begin: Numbers,
    parts: Sequence[tuple[float, int, Places]],
    *,
    steps: int,
    rate: float = 0.04,
    room: int = 0,
    seed: int = 0,
) -> Numbers:
    """The numbers that Adam finds for the weighted mean of bits; a part is (weight, places per step, places)."""
    fields = [value.clone().requires_grad_() for value in begin.fields()]
    optimizer = torch.optim.Adam(fields, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draws = generator("counting-fit", seed)
    for _ in range(steps):
        loss = torch.zeros(())
        for weight, count, places in parts:
            some = places.some(torch.from_numpy(draws.permutation(len(places))[:count]))
            loss = loss + weight * bits(Numbers(*fields), some, room, draws).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return Numbers(*(value.detach() for value in fields))


def fit_flops(parts: Sequence[tuple[float, int, Places]], steps: int) -> float:
    """What ``fitted`` takes, in floating-point operations: a backward pass counts as two forward ones.

    A place: for each of both sums ten for every place before (looking up, noise, exponential, division, adding up); the
    spread, a product with a matrix; and ten for every symbol and bend.
    """
    forward = 0.0
    for _, count, places in parts:
        count = min(count, len(places))
        forward += count * (2 * 10 * places.agrees.shape[1] + 2 * VOCABULARY**2 + 10 * len(SHARES) * VOCABULARY)
    return 3 * steps * forward


def mean_bits(numbers: Numbers, places: Places, room: int = 0, seed: int = 0) -> float:
    """Over all places, a few at a time."""
    draws = generator("counting-fit judged", seed)
    with torch.no_grad():
        parts = [bits(numbers, places.some(slice(i, i + 64)), room, draws) for i in range(0, len(places), 64)]
    return float(torch.cat(parts).mean())
