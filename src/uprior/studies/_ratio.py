"""How much compute one arm needs for another's bits: per set, with intervals, and as a product of steps between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.fits import Bounded, compute_to_reach
from uprior.rng import generator

Record = dict[str, Any]
DRAWS = 500
LEVELS = 24


@dataclass(frozen=True)
class Curve:
    """An arm on a set: total compute [P], rising, and bits per byte [S, P, W] of every seed, point and window."""

    compute: NDArray[np.float64]
    bits: NDArray[np.float64]

    def mean(self) -> NDArray[np.float64]:
        """[P] the mean over seeds and windows."""
        found: NDArray[np.float64] = self.bits.mean((0, 2))
        return found


def curve_of(records: Sequence[Record], file: str) -> Curve:
    """The curve of one arm's records on a set: evaluations of all its runs, whatever their budgets, ordered by compute.

    Of points with equal compute (a short run's end, a longer one's evaluation) that of the shorter budget stays: it is the one
    that was trained to end there. What cost nothing is no point. Every seed must have the same points.
    """
    points: dict[tuple[int, float], Record] = {}
    for record in records:
        key = (record["seed"], record["train_flops"] + record["generation_flops"])
        shortest = key not in points or record["budget"] < points[key]["budget"]
        if record["file"] == file and key[1] and shortest:
            points[key] = record
    seeds, compute = sorted({seed for seed, _ in points}), sorted({c for _, c in points})
    bits = [[points[seed, c]["window_bits"] for c in compute] for seed in seeds]
    return Curve(np.array(compute), np.array(bits, dtype=np.float64))


def compare_on(curves: Mapping[str, Curve], key: str) -> Record:
    """What the first arm, the rival, needs over what the others need, at the lowest mean bits that the rival reached.

    {level, needed: {arm: ...}, ratio, steps: [one per neighbouring pair, whose product is the ratio], curve: ratio by level}.
    The interval of the ratio is a percentile bootstrap over windows, and over seeds where there are two or more; the level is
    taken anew in each draw. One seed: other seeds may lie outside of it.
    """
    arms = list(curves)
    level, needed = _needed({arm: curve.mean() for arm, curve in curves.items()}, curves)
    ratio = needed[arms[0]].over(needed[arms[-1]])
    low, high = _interval(curves, key)
    rival = curves[arms[0]]
    levels = np.linspace(float(rival.mean().max()), level, LEVELS)
    ends = {arm: curves[arm] for arm in (arms[0], arms[-1])}
    by_level = []
    for at in levels:
        first, last = (compute_to_reach(curve.compute, curve.mean(), float(at)) for curve in ends.values())
        by_level.append({"level": float(at), **_told(first.over(last))})
    return {
        "level": level,
        "needed": {arm: _told(value) for arm, value in needed.items()},
        "ratio": _told(ratio) | {"low": low, "high": high},
        "steps": [_told(needed[a].over(needed[b])) for a, b in itertools.pairwise(arms)],
        "curve": by_level,
    }


def _needed(means: Mapping[str, NDArray[np.float64]], curves: Mapping[str, Curve]) -> tuple[float, dict[str, Bounded]]:
    """The rival's lowest mean bits, and the compute of every arm to reach them."""
    level = float(means[next(iter(means))].min())
    return level, {arm: compute_to_reach(curves[arm].compute, mean, level) for arm, mean in means.items()}


def _interval(curves: Mapping[str, Curve], key: str) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the ratio; what is known from one side only counts as that bound."""
    arms = list(curves)
    ends = {arm: curves[arm] for arm in (arms[0], arms[-1])}
    seeds = min(curve.bits.shape[0] for curve in ends.values())
    windows = ends[arms[0]].bits.shape[2]
    rng = generator("compute ratio", key, seeds, windows)
    logs = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = rng.integers(0, seeds, seeds)
        weight = np.bincount(rng.integers(0, windows, windows), minlength=windows) / windows
        means = {arm: (curve.bits[chosen] @ weight).mean(0) for arm, curve in ends.items()}
        _, needed = _needed(means, ends)
        logs[draw] = math.log(needed[arms[0]].over(needed[arms[-1]]).value)
    low, high = np.exp(np.quantile(logs, (0.025, 0.975)))
    return float(low), float(high)


def _told(number: Bounded) -> Record:
    return {"value": number.value, "bound": number.bound}


def overall(numbers: Sequence[Record]) -> Record:
    """{geometric_mean, smallest} of ratios {value, bound}; bounds count as their value."""
    logs = [math.log(number["value"]) for number in numbers]
    smallest = min(numbers, key=lambda number: float(number["value"]))
    return {"geometric_mean": math.exp(sum(logs) / len(logs)), "smallest": smallest}
