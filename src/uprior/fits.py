"""Learning curves over compute, and power laws in parameters and tokens.

Letters: P points (runs or evaluations), S seeds, W test windows (the same for every point).
"""

from __future__ import annotations

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
