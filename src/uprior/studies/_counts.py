"""What the weights of ``models/counting.py`` compute, from exact agreement of symbols: a function of few numbers, and its fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from uprior.models.counting import BEND_WIDTH, LAGS, slot_sizes
from uprior.rng import generator

# The number of symbols that is added up over.
VOCABULARY = 256
_AGREES = (torch.arange(1 << LAGS)[:, None] >> torch.arange(LAGS)) & 1  # [2^LAGS, LAGS]


@dataclass(frozen=True)
class Places:
    """Places [P] to predict at, each with the N places that come before it or may not.

    agrees   [P, N] int16  bit i: the symbols i back of here and there are the same; 2^LAGS: that place does not come before
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
    """The numbers of models/counting.py; shares, heights and slope as logarithms."""

    logits: torch.Tensor
    shares: torch.Tensor
    heights: torch.Tensor
    slope: torch.Tensor

    @classmethod
    def of(cls, logits: Sequence[float], shares: Sequence[float], heights: Sequence[float], slope: float) -> Numbers:
        made = (torch.tensor(value, dtype=torch.float32) for value in (logits, shares, heights, slope))
        first, *others = made
        return cls(first, *(value.log() for value in others))

    def plain(self) -> dict[str, list[float]]:
        """The numbers as they stand in models/counting.py."""
        named = {"logits": self.logits, "shares": self.shares.exp(), "heights": self.heights.exp()}
        return {name: [float(f"{float(n):.4g}") for n in value] for name, value in named.items()} | {
            "slope": [float(f"{float(self.slope.exp()):.4g}")]
        }


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
            code[before >= last] = 1 << LAGS
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
    agrees = _AGREES.float()
    logit = torch.cat([agrees @ numbers.logits, torch.tensor([-1e9])])[places.agrees.long()]
    if room and draws is not None:
        sizes = torch.tensor(slot_sizes(room, numbers.logits.detach().clamp(min=0.01).tolist()))
        noise = ((1 - agrees) @ (numbers.logits**2 / sizes)).clamp(min=1e-12).sqrt()
        noise = torch.cat([noise, torch.zeros(1)])[places.agrees.long()]
        logit = logit + noise * torch.from_numpy(draws.standard_normal(logit.shape, dtype=np.float32))
    share = torch.zeros(len(places), VOCABULARY).scatter_add(1, places.follows.long(), torch.softmax(logit, 1))
    scores = _bent(numbers, share)
    came = scores.gather(1, places.came[:, None])[:, 0]
    return (torch.logsumexp(scores, 1) - came) / math.log(2)


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
    fields = [value.clone().requires_grad_() for value in (begin.logits, begin.shares, begin.heights, begin.slope)]
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


def mean_bits(numbers: Numbers, places: Places, room: int = 0, seed: int = 0) -> float:
    """Over all places, a few at a time."""
    draws = generator("counting-fit judged", seed)
    with torch.no_grad():
        parts = [bits(numbers, places.some(slice(i, i + 64)), room, draws) for i in range(0, len(places), 64)]
    return float(torch.cat(parts).mean())
