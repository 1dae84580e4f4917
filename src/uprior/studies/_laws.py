"""Power laws of bits in parameters and tokens, with bootstrap intervals, and what the smaller models say of the largest.

Letters: P points (runs), W windows of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.fits import Law, fit_law, per_doubling
from uprior.rng import generator

Array = NDArray[np.float64]
DRAWS = 200


@dataclass(frozen=True)
class Points:
    """Runs: parameters [P], tokens [P], and bits per byte [P, W] of each set whose mean over windows and sets is fitted."""

    parameters: Array
    tokens: Array
    window_bits: Sequence[Array]

    def bits(self) -> Array:
        """[P] the mean over windows, then over sets."""
        return np.mean([bits.mean(1) for bits in self.window_bits], axis=0)  # type: ignore[no-any-return]

    def resampled(self, rng: np.random.Generator) -> Array:
        """[P] the same with windows drawn anew, the same ones for every run."""
        drawn = [bits[:, rng.integers(0, bits.shape[1], bits.shape[1])].mean(1) for bits in self.window_bits]
        return np.mean(drawn, axis=0)  # type: ignore[no-any-return]

    def where(self, chosen: NDArray[np.bool_]) -> Points:
        return Points(self.parameters[chosen], self.tokens[chosen], [bits[chosen] for bits in self.window_bits])


def laws(points: Points, key: str) -> dict[str, Any]:
    """The law of all runs and what the runs without the largest model predict of it, with 95 % intervals.

    {law: {floor, size, alpha, data, beta, n0, d0}, law_of_smaller, intervals: {alpha: [low, high], ...}, held_out: [{parameters,
    tokens, bits, predicted, low, high}], error, error_of_next_size, parameters_doubled, tokens_doubled: {value, low, high}}.
    Draws resample windows, common to all runs, and the residuals in log bits, widened for the five fitted numbers; an interval
    of a prediction holds a residual more. What another seed would do beyond the residuals is in none of them.
    """
    law, draws = _bootstrap(points, key)
    largest = points.parameters == points.parameters.max()
    small, held = points.where(~largest), points.where(largest)
    small_law, small_draws = _bootstrap(small, f"{key}, held out")
    predicted = small_law.at(held.parameters, held.tokens)
    spread = generator("laws", "prediction", key)
    residuals = _residuals(small_law, small)
    told = np.array([
        one.at(held.parameters, held.tokens) * np.exp(spread.choice(residuals, len(predicted))) for one in small_draws
    ])  # fmt: skip
    bits = held.bits()
    next_size = small.parameters == small.parameters.max()
    order = [int(np.flatnonzero(next_size & (small.tokens == tokens))[0]) for tokens in held.tokens]
    return {
        "law": vars(law),
        "law_of_smaller": vars(small_law),
        "intervals": {name: _quantiles([getattr(one, name) for one in draws]) for name in ("floor", "alpha", "beta")},
        "held_out": [
            {
                "parameters": float(n),
                "tokens": float(d),
                "bits": float(b),
                "predicted": float(p),
                "low": low,
                "high": high,
            }
            for n, d, b, p, (low, high) in zip(
                held.parameters, held.tokens, bits, predicted, map(_quantiles, told.T), strict=True
            )
        ],
        "error": float(np.abs(predicted - bits).mean()),
        "error_of_next_size": float(np.abs(small.bits()[order] - bits).mean()),
        "parameters_doubled": _slope(points, key, points.tokens == points.tokens.max(), lambda p: p.parameters),
        "tokens_doubled": _slope(points, key, largest, lambda p: p.tokens),
    }


def _residuals(law: Law, points: Points) -> Array:
    """[P] of log bits, widened for the numbers that were fitted."""
    found: Array = np.log(points.bits()) - np.log(law.at(points.parameters, points.tokens))
    return found * np.sqrt(len(found) / max(1, len(found) - 5))  # type: ignore[no-any-return]


def _bootstrap(points: Points, key: str) -> tuple[Law, list[Law]]:
    law = fit_law(points.parameters, points.tokens, points.bits())
    return law, list(_drawn(law, points, generator("laws", key)))


def _drawn(law: Law, points: Points, rng: np.random.Generator) -> Iterator[Law]:
    fitted, residuals, bits = law.at(points.parameters, points.tokens), _residuals(law, points), points.bits()
    for _ in range(DRAWS):
        noise = np.exp(rng.choice(residuals, len(residuals))) * points.resampled(rng) / bits
        yield fit_law(points.parameters, points.tokens, fitted * noise, start=law)


def _slope(points: Points, key: str, chosen: NDArray[np.bool_], of: Callable[[Points], Array]) -> dict[str, float]:
    """Bits per doubling along the chosen runs; the interval resamples windows and the straight line's residuals."""
    line = points.where(chosen)
    x, bits, rng = of(line), line.bits(), generator("laws", "slope", key)
    slope = per_doubling(x, bits)
    straight = bits.mean() + slope * (np.log2(x) - np.log2(x).mean())
    residuals = (bits - straight) * np.sqrt(len(x) / max(1, len(x) - 2))
    drawn = [
        per_doubling(x, straight + rng.choice(residuals, len(x)) + line.resampled(rng) - bits) for _ in range(DRAWS)
    ]
    low, high = _quantiles(drawn)
    return {"value": slope, "low": low, "high": high}


def _quantiles(values: Sequence[float] | Array) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
