"""Where a curve over lengths of warm-up turns, how sure that is, and what other choices of a length cost.

Letters: S seeds, L lengths, ascending; values are what is to be low (bits), paired by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uprior.rng import generator
from uprior.statistics import Interval, paired_difference

Floats = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Turn:
    """The best length with the ends of its 95 % interval, in the unit of the lengths.

    at_shortest, at_longest   share of the bootstrap's draws in which no length of the ladder lies before, or after, the best
    """

    best: float
    low: float
    high: float
    at_shortest: float
    at_longest: float


def best_length(lengths: Floats, values: Floats) -> float:
    """Where values [L] are lowest: of a parabola over the logarithm through the lowest and its neighbours; at an end, that end.

    >>> best_length(np.array([1.0, 2.0, 4.0]), np.array([2.0, 1.0, 2.0]))
    2.0
    """
    k = int(np.argmin(values))
    if k in (0, len(lengths) - 1):
        return float(lengths[k])
    x, y = np.log(lengths[k - 1 : k + 2] / lengths[k]), values[k - 1 : k + 2] - values[k]
    curvature, slope, _ = np.polyfit(x, y, 2)
    return float(lengths[k] * np.exp(-slope / (2 * curvature))) if curvature > 0 else float(lengths[k])


def turn_of(lengths: Floats, values: Floats, *, key: str) -> Turn:
    """The best length of the mean over seeds of values [S, L], with a percentile bootstrap over seeds.

    With few seeds the bootstrap has few different draws, and the interval is too narrow to stand for new seeds.
    """
    seeds = len(values)
    rng = generator("turn", key, seeds, len(lengths))
    drawn = np.array([best_length(lengths, values[rng.integers(0, seeds, seeds)].mean(0)) for _ in range(DRAWS)])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Turn(
        best_length(lengths, values.mean(0)),
        float(low),
        float(high),
        float(np.mean(drawn == lengths[0])),
        float(np.mean(drawn == lengths[-1])),
    )


def cost_of_choice(values: Floats, chosen: Sequence[int]) -> Interval:
    """What it costs that seed s takes length ``chosen[s]``: values [S, L] there, minus those at the best length.

    The best of a seed is the one that is best in the mean over the others, so that no seed's own luck chooses what it is compared
    with; a choice may then cost less than nothing. One seed has no others: its own best, and no interval.
    """
    seeds = len(values)
    others = [np.delete(values, seed, axis=0) if seeds > 1 else values for seed in range(seeds)]
    best = [int(np.argmin(rest.mean(0))) for rest in others]
    mine, theirs = (np.array([values[s, k] for s, k in enumerate(places)]) for places in (chosen, best))
    return paired_difference(mine, theirs)
