"""Learning curves over compute, and power laws in parameters and tokens.

Letters: P points (runs or evaluations), S seeds, W test windows (the same for every point).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


# ------------------------------------------------------------------ compute to reach a level


@dataclass(frozen=True)
class Bounded:
    """A number that may be known from one side only: ``bound`` is "=", "<=" (at most this), ">=" (at least), "?" (neither)."""

    value: float
    bound: str = "="

    def over(self, other: Bounded) -> Bounded:
        """The ratio, and what is known of it.

        >>> Bounded(8.0).over(Bounded(2.0, "<="))
        Bounded(value=4.0, bound='>=')
        """
        turned = {"<=": ">=", ">=": "<="}.get(other.bound, other.bound)
        known = {self.bound, turned} - {"="}
        return Bounded(self.value / other.value, "?" if len(known) > 1 else known.pop() if known else "=")


def compute_to_reach(compute: Array, bits: Array, level: float) -> Bounded:
    """The compute at which a curve first comes down to ``level``, interpolated in log compute; both [P], compute rising from > 0.

    "<=" the first point where that is below the level already, ">=" the last one where none is.

    >>> compute_to_reach(np.array([1e3, 1e5]), np.array([6.0, 4.0]), 5.0)
    Bounded(value=10000.0, bound='=')
    """
    below = np.flatnonzero(bits <= level)
    if len(below) == 0:
        return Bounded(float(compute[-1]), ">=")
    first = int(below[0])
    if first == 0:
        return Bounded(float(compute[0]), "<=" if bits[0] < level else "=")
    share = (bits[first - 1] - level) / (bits[first - 1] - bits[first])
    low, high = math.log(compute[first - 1]), math.log(compute[first])
    return Bounded(round(math.exp(low + float(share) * (high - low)), 6))


# ------------------------------------------------------------------ power laws


@dataclass(frozen=True)
class Law:
    """bits = floor + size * (parameters / n0)^-alpha + data * (tokens / d0)^-beta.

    Hoffmann et al. 2022, arXiv 2203.15556, equation 2. n0 and d0 are the geometric means of what was fitted, so that ``size`` and
    ``data`` are bits at the middle of it.
    """

    floor: float
    size: float
    alpha: float
    data: float
    beta: float
    n0: float
    d0: float

    def at(self, parameters: Array | float, tokens: Array | float) -> Array:
        """The law's bits, of the broadcast shape."""
        by_size = self.size * (np.asarray(parameters, dtype=np.float64) / self.n0) ** -self.alpha
        by_data = self.data * (np.asarray(tokens, dtype=np.float64) / self.d0) ** -self.beta
        found: Array = self.floor + by_size + by_data
        return found


# Residuals in log bits beyond this count linearly. Hoffmann et al. take 1e-3; ours are a few hundredths.
_HUBER = 0.01
# Exponents of published laws lie between 0.03 and 0.8; beyond 3 a term is a step between two points.
_STEEPEST = 3.0


def fit_law(parameters: Array, tokens: Array, bits: Array, *, start: Law | None = None) -> Law:
    """The law with the least Huber loss of log bits over P runs; all arguments [P].

    The best of twelve starts; with ``start``, a law of nearly the same bits, of that one and three.
    """
    from scipy.optimize import minimize

    n0, d0 = (float(np.exp(np.log(values).mean())) for values in (parameters, tokens))
    x, y, logs, lowest = np.log(parameters / n0), np.log(tokens / d0), np.log(bits), float(bits.min())

    def loss(theta: Array) -> tuple[float, Array]:
        floor, size, alpha, data, beta = theta
        by_size, by_data = np.exp(size - alpha * x), np.exp(data - beta * y)
        total = floor + by_size + by_data
        residual = logs - np.log(total)
        inside = np.abs(residual) <= _HUBER
        value = np.where(inside, residual**2 / 2, _HUBER * (np.abs(residual) - _HUBER / 2)).sum()
        pull = -np.clip(residual, -_HUBER, _HUBER) / total
        gradient = [pull.sum(), pull @ by_size, -pull @ (x * by_size), pull @ by_data, -pull @ (y * by_data)]
        return float(value) / _HUBER**2, np.array(gradient) / _HUBER**2

    starts = [
        (share * lowest, math.log((1 - share) * lowest / 2), alpha, math.log((1 - share) * lowest / 2), beta)
        for share, alpha, beta in itertools.product((0.1, 0.6, 0.9), (0.1, 0.5), (0.1, 0.5))
    ]
    if start is not None:
        logged = (math.log(max(value, 1e-5)) for value in (start.size, start.data))
        starts = [(start.floor, next(logged), start.alpha, next(logged), start.beta), *starts[1::4]]
    bounds = [(0, lowest), (-12, 5), (0, _STEEPEST), (-12, 5), (0, _STEEPEST)]
    found = [minimize(loss, np.array(begin), jac=True, method="L-BFGS-B", bounds=bounds) for begin in starts]
    floor, size, alpha, data, beta = map(float, min(found, key=lambda one: float(one.fun)).x)
    return Law(floor, math.exp(size), alpha, math.exp(data), beta, n0, d0)


def per_doubling(x: Array, bits: Array) -> float:
    """Bits per doubling of x: the slope of a straight line through bits over log2 x; both [P].

    >>> per_doubling(np.array([1.0, 2.0, 4.0]), np.array([5.0, 4.5, 4.0]))
    -0.5
    """
    doublings = np.log2(x) - np.log2(x).mean()
    return float((doublings * bits).sum() / (doublings**2).sum())
