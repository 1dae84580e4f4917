"""What two learning curves say about each other: differences, data saving, crossings, with intervals.

Letters: S seeds, E evaluations along a curve, W test windows (the same in every arm, seed and evaluation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.rng import generator

Array = NDArray[np.float64]

# Up to so many seeds every pattern of signs is tried, 4,096 of them; of more seeds, as many random ones.
ENUMERATED_SEEDS = 12


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
    """Data saving of the mean curves, with a percentile bootstrap over seeds and test windows (``paired_bootstrap``)."""

    def saving(first: Array, second: Array) -> float:
        return data_saving(tokens, first, second)

    return paired_bootstrap(saving, scratch, warm, key=key, draws=draws)


def paired_bootstrap(
    measure: Callable[[Array, Array], float], scratch: Array, warm: Array, *, key: str, draws: int = 2000
) -> Interval:
    """What ``measure`` says of two mean curves [E], with a percentile bootstrap over seeds and test windows.

    scratch, warm   [S, E, W] bits per byte, paired: same seeds, same windows, same real tokens
    Seeds are resampled in pairs, windows once for all arms and evaluations; draws without a value (NaN) are left out. With few
    seeds the interval is too narrow to stand for new seeds (a bootstrap of two knows three outcomes); the report prints the
    seeds' own values beside it.
    """
    seeds, _, windows = scratch.shape
    rng = generator("bootstrap", key, seeds, windows)
    value = measure(scratch.mean((0, 2)), warm.mean((0, 2)))
    found = np.empty(draws)
    for draw in range(draws):
        s = rng.integers(0, seeds, seeds)
        weight = np.bincount(rng.integers(0, windows, windows), minlength=windows) / windows
        found[draw] = measure((scratch[s] @ weight).mean(0), (warm[s] @ weight).mean(0))
    known = found[np.isfinite(found)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (math.nan, math.nan)
    return Interval(value, float(low), float(high))


def substitution_rate(tokens: Array, scratch: Array, warm: Array, warmup_tokens: float) -> float:
    """Marginal rate of substitution (Hu et al. 2025, arXiv 2502.19249): real tokens saved per token of warm-up; above 1 it pays.

    (N0 - N1) / F with F = ``warmup_tokens``, N0 all of scratch's real tokens, and N1 those after which the warmed arm is where
    scratch ends; negative where ``data_saving`` is. Curves [E] over real ``tokens`` [E].

    Their larger model: F = 500, N0 = 25,000 and N1 = 16,350 steps.

    >>> curve = np.array([3.0, 2.0, 1.0])
    >>> substitution_rate(np.array([0.0, 16_350, 25_000]), curve, np.array([3.0, 1.0, 0.5]), 500)
    17.3
    """
    return data_saving(tokens, scratch, warm) * float(tokens[-1]) / warmup_tokens


def area_under_curve(tokens: Array, bits: Array) -> float:
    """Mean of a curve over real tokens, in bits: the trapezoids' area over the tokens' range. What a start is worth all along.

    >>> area_under_curve(np.array([0.0, 1.0, 3.0]), np.array([4.0, 2.0, 2.0]))
    2.3333333333333335
    """
    return float(np.trapezoid(bits, tokens) / (tokens[-1] - tokens[0]))


def matched_saving(budgets: Array, scratch: Array, warm: Array) -> float:
    """Data saving by matched schedules, from runs of real-token budgets [B], ascending, each with a schedule of its own.

    scratch, warm: final losses [B], interpolated over the logarithm of tokens. Signs as in ``data_saving``; NaN where the least
    budget is already enough.

    >>> matched_saving(np.array([1.0, 2.0, 4.0]), np.array([4.0, 3.0, 2.0]), np.array([3.0, 2.0, 1.5]))
    0.5
    """
    behind = warm[-1] > scratch[-1]
    curve, target = (scratch, warm[-1]) if behind else (warm, scratch[-1])
    if curve[0] <= target:
        return math.nan
    needed = math.exp(tokens_to_reach(np.log(budgets), curve, float(target)))
    saving = 1.0 - needed / float(budgets[-1])
    return round(-saving if behind else saving, 12)


def retention(start: float, scratch_start: float, end: float, scratch_end: float) -> float:
    """Share of an arm's zero-shot advantage (bits, on data that is not trained on) that training on something else leaves.

    1: all of it, 0: it is gone, below 0: it has turned. NaN where there was none to lose.

    >>> retention(5.0, 8.0, 4.0, 5.5)
    0.5
    """
    before = scratch_start - start
    return (scratch_end - end) / before if before > 0 else math.nan


def forgetting(before: Array, after: Array) -> Interval:
    """What training on something else costs on data that it does not see: bits after less bits before, paired seeds [S].

    Above 0: forgotten; below 0: what was learned helps here too. Student's 95 % interval, as in ``paired_difference``.
    """
    return paired_difference(after, before)


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


def paired_p_value(first: Array, second: Array) -> float:
    """Two-sided p of a mean paired difference [S] of zero, by Student's t; NaN for one seed."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, spread = len(difference), float(difference.std(ddof=1)) if len(difference) > 1 else math.nan
    if n < 2:
        return math.nan
    if spread == 0:
        return 0.0 if difference[0] else 1.0
    from scipy.stats import t

    return float(2 * t.sf(abs(float(difference.mean())) / (spread / math.sqrt(n)), n - 1))


def permutation_p_value(first: Array, second: Array) -> float:
    """Two-sided p of a mean paired difference [S] of zero, by flipping signs: without an effect each arm is as often ahead.

    No law of the differences is assumed but that they are symmetric. Exact up to ENUMERATED_SEEDS seeds and so never below
    2 / 2**S: five seeds that all agree give 0.0625. With more seeds by random patterns, the observed one among them. NaN for one.

    >>> permutation_p_value(np.array([3.0, 2.0, 1.0]), np.zeros(3))
    0.25
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    seeds, patterns = len(difference), 1 << min(len(difference), ENUMERATED_SEEDS)
    if seeds < 2:
        return math.nan
    if seeds <= ENUMERATED_SEEDS:
        signs = 1 - 2 * (np.arange(patterns)[:, None] >> np.arange(seeds) & 1)
    else:
        signs = generator("sign flips", seeds).choice(np.array([1, -1]), (patterns, seeds))
        signs[0] = 1
    sums = np.abs(signs @ difference)
    rounding = 1e-12 * float(np.abs(difference).sum())
    return float((sums >= sums[0] - rounding).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values [n] adjusted for n questions (Holm 1979): the k-th smallest times n + 1 - k, none below an earlier one.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    NaN stays NaN and is no question.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[place] = least
    return adjusted


def power(effect: float, spread: float, seeds: int, *, level: float = 0.05) -> float:
    """Chance that a paired t-test over so many seeds finds a mean difference of ``effect``; ``spread``: their standard deviation.

    >>> round(power(1.0, 1.0, 10), 4)
    0.8031
    """
    from scipy.stats import nct, t

    edge, shift = float(t.ppf(1 - level / 2, seeds - 1)), abs(effect) / spread * math.sqrt(seeds)
    wrong_side = float(nct.cdf(-edge, seeds - 1, shift))  # NaN where it is too small to be computed
    return float(nct.sf(edge, seeds - 1, shift)) + (0.0 if math.isnan(wrong_side) else wrong_side)


def seeds_needed(effect: float, spread: float, *, wanted: float = 0.8, level: float = 0.05, most: int = 10_000) -> int:
    """How many paired seeds find ``effect`` with the wanted power; ``most`` where even that many do not.

    >>> seeds_needed(1.0, 1.0), seeds_needed(0.5, 1.0)
    (10, 34)
    """
    if spread == 0:
        return 2
    low, high = 2, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, spread, middle, level=level) >= wanted else (middle + 1, high)
    return low


def detectable_effect(spread: float, seeds: int, *, wanted: float = 0.8, level: float = 0.05) -> float:
    """The least mean difference that so many paired seeds find with the wanted power; NaN for one seed."""
    if seeds < 2:
        return math.nan
    low, high = 0.0, 1e3
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, 1.0, seeds, level=level) >= wanted else (middle, high)
    return high * spread
