"""What two learning curves say about each other: differences, data saving, crossings, with intervals.

Letters: S seeds, E evaluations along a curve, W test windows (the same in every arm, seed and evaluation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.rng import generator

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def tokens_to_reach(tokens: Array, bits: Array, target: float) -> float:
    """Where a curve first comes down to ``target``, interpolated between evaluations; NaN if it never does.

    >>> float(tokens_to_reach(np.array([0.0, 10.0, 20.0]), np.array([8.0, 4.0, 2.0]), 3.0))
    15.0
    """
    below = np.flatnonzero(bits <= target)
    if len(below) == 0:
        return math.nan
    first = int(below[0])
    if first == 0:
        return float(tokens[0])
    share = (bits[first - 1] - target) / (bits[first - 1] - bits[first])
    return float(tokens[first - 1] + share * (tokens[first] - tokens[first - 1]))


def data_saving(tokens: Array, scratch: Array, warm: Array) -> float:
    """Share of the real tokens that the warmed arm does without: 1 - (its tokens to scratch's final loss) / (all tokens).

    Where the warmed arm ends above scratch, the roles turn and the value is negative: -(share of scratch's tokens that scratch
    did not need to reach the warmed arm's final loss). So it lies in -1..1, and 0 is no difference.

    >>> float(data_saving(np.array([0.0, 10.0, 20.0]), np.array([8.0, 4.0, 3.0]), np.array([8.0, 3.0, 2.0])))
    0.5
    """
    total = float(tokens[-1])
    if warm[-1] <= scratch[-1]:
        return 1.0 - tokens_to_reach(tokens, warm, float(scratch[-1])) / total
    return tokens_to_reach(tokens, scratch, float(warm[-1])) / total - 1.0


def saving_interval(
    tokens: Array, scratch: Array, warm: Array, *, key: str = "data saving", draws: int = 2000
) -> Interval:
    """Data saving of the mean curves, with a percentile bootstrap over seeds and test windows.

    scratch, warm   [S, E, W] bits per byte, paired: same seeds, same windows, same real tokens
    Seeds are resampled in pairs, windows once for all arms and evaluations. With few seeds the interval is too narrow to
    stand for new seeds (a bootstrap of two knows three outcomes); the report prints the seeds' own values beside it.
    """
    seeds, _, windows = scratch.shape
    rng = generator("bootstrap", key, seeds, windows)
    value = data_saving(tokens, scratch.mean((0, 2)), warm.mean((0, 2)))
    found = np.empty(draws)
    for draw in range(draws):
        s = rng.integers(0, seeds, seeds)
        weight = np.bincount(rng.integers(0, windows, windows), minlength=windows) / windows
        found[draw] = data_saving(tokens, (scratch[s] @ weight).mean(0), (warm[s] @ weight).mean(0))
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def paired_difference(first: Array, second: Array) -> Interval:
    """Mean of ``first - second`` over paired seeds [S], with Student's 95 % interval; NaN ends for one seed."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    mean, n = float(difference.mean()), len(difference)
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    from scipy.stats import t

    half = float(t.ppf(0.975, n - 1)) * float(difference.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def crossings(x: Array, difference: Array) -> list[dict[str, Any]]:
    """Where a difference of curves changes sign, interpolated, and who is ahead after it.

    >>> crossings(np.array([0.0, 10.0]), np.array([-1.0, 1.0]))
    [{'at': 5.0, 'then_ahead': 'baseline'}]
    """
    found = []
    for i in range(len(x) - 1):
        a, b = float(difference[i]), float(difference[i + 1])
        if a * b < 0:
            at = float(x[i]) + a / (a - b) * float(x[i + 1] - x[i])
            found.append({"at": at, "then_ahead": "baseline" if b > 0 else "arm"})
    return found
