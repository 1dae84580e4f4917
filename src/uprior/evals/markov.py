"""In-context Markov predictors: counts made fresh in every window, as a model's context is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.evals._base import Predictor, Windows
from uprior.evals._kernels import compiled, find, table_slots

MAX_ORDER = 5
SMOOTHINGS = (1.0, 0.1, 0.01, 1e-4, 1e-6)
DISCOUNTS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
# Windows are counted this many bytes at a time: the counts of all orders at once are some twenty times as large.
GROUP_BYTES = 1 << 18

Counts = NDArray[np.int32]


class Markov(Predictor):
    """Order-k counts of the window so far, add-lambda smoothing.

        p(byte | last k bytes) = (times seen after them + smoothing) / (times they were seen + smoothing * alphabet_size)

    The first k bytes of a window have no full context: uniform. ``alphabet_size`` is 256, since the network is not told the
    alphabet either; the published baseline (Bloem 2025, arXiv 2506.20057) used the data set's true alphabet, for which pass
    the number of different bytes in it. Published: orders 0-5, lambda from 1, .1, .01, 1e-4, 1e-6.
    """

    def __init__(
        self, order: int, smoothing: float, *, alphabet_size: int = 256, name: str | None = None, **more: Any
    ) -> None:
        if not 0 <= order <= MAX_ORDER:
            raise SpecError(f"markov: order = {order} is not allowed; allowed: 0 to {MAX_ORDER}")
        if not (math.isfinite(smoothing) and smoothing > 0):
            raise SpecError(f"markov: smoothing = {smoothing} is not allowed; allowed: more than 0")
        if not 1 <= alphabet_size <= 256:
            raise SpecError(f"markov: alphabet_size = {alphabet_size} is not allowed; allowed: 1 to 256")
        self.order, self.smoothing, self.alphabet_size = order, smoothing, alphabet_size
        self.name = name or f"markov-{order}"
        self.settings = {"order": order, "smoothing": smoothing, "alphabet_size": alphabet_size, **more}

    def nats(self, windows: Windows) -> NDArray[np.float64]:
        out = np.empty((windows.shape[0], windows.shape[1] - 1))
        for part in _groups(windows):
            same, context, _ = context_counts(windows[part], self.order)
            out[part] = smoothed_nats(same, context, self.smoothing, self.alphabet_size)
        return out


class MarkovMix(Predictor):
    """Counts of orders 0 to k at once: each order gives a share of its probability to the next lower one.

        p_k(byte) = (max(times seen - d, 0) + d * (different bytes seen) * p_(k-1)(byte)) / (times the context was seen)

    and p_k = p_(k-1) where the context is new, p_(-1) = 1/256: interpolated absolute discounting as Kneser and Ney 1995 have
    it, where orders below k count only what was new to the order above ("update exclusion" in prediction by partial
    matching). Far stronger than one order on windows of a few hundred bytes.
    """

    def __init__(self, order: int, discount: float, *, name: str = "markov-mix") -> None:
        if not 0 <= order <= MAX_ORDER:
            raise SpecError(f"markov-mix: order = {order} is not allowed; allowed: 0 to {MAX_ORDER}")
        if not 0 < discount < 1:
            raise SpecError(f"markov-mix: discount = {discount} is not allowed; allowed: between 0 and 1")
        self.order, self.discount, self.name = order, discount, name
        self.settings = {"order": order, "smoothing": discount, "alphabet_size": 256}

    def nats(self, windows: Windows) -> NDArray[np.float64]:
        out = np.empty((windows.shape[0], windows.shape[1] - 1))
        for part in _groups(windows):
            out[part] = blended_nats(blended_counts(windows[part], self.order), self.discount)
        return out


def fit_markov(
    windows: Windows, *, orders: Sequence[int] = range(MAX_ORDER + 1), alphabet_size: int = 256, name: str = "markov"
) -> Markov:
    """The Markov predictor whose order and smoothing cost least on these windows; give it others than those it is judged on.

    What counts is the second half of a window's positions: nearer to the last one, which is the headline, than the mean over
    all, and with less noise than the last alone. Published: one lambda per order (``orders`` of one) by the last position only.
    """
    costs = {(order, smoothing): 0.0 for order in orders for smoothing in SMOOTHINGS}
    for part in _groups(windows):
        for order in orders:
            same, context = (_later(counts) for counts in context_counts(windows[part], order)[:2])
            for smoothing in SMOOTHINGS:
                costs[order, smoothing] += float(smoothed_nats(same, context, smoothing, alphabet_size).sum())
    order, smoothing = min(costs, key=lambda tried: (costs[tried], tried))
    return Markov(order, smoothing, alphabet_size=alphabet_size, name=name)


def fit_markov_mix(windows: Windows) -> MarkovMix:
    """The blended predictor whose order and discount cost least on the second half of these windows' positions."""
    costs = {(order, discount): 0.0 for order in range(MAX_ORDER + 1) for discount in DISCOUNTS}
    for part in _groups(windows):
        for order in range(MAX_ORDER + 1):
            counts = [(_later(s), _later(c), _later(d)) for s, c, d in blended_counts(windows[part], order)]
            for discount in DISCOUNTS:
                costs[order, discount] += float(blended_nats(counts, discount).sum())
    return MarkovMix(*min(costs, key=lambda tried: (costs[tried], tried)))


def _groups(windows: Windows) -> Iterator[slice]:
    """All windows, GROUP_BYTES or one window at a time."""
    step = max(1, GROUP_BYTES // windows.shape[1])
    return (slice(start, start + step) for start in range(0, windows.shape[0], step))


def _later(counts: Counts) -> Counts:
    """Those of the second half of the positions."""
    return counts[:, counts.shape[1] // 2 :]


def smoothed_nats(same: Counts, context: Counts, smoothing: float, alphabet_size: int) -> NDArray[np.float64]:
    """[W, P] -ln p under add-lambda; a context that does not exist counts as never seen, which is uniform."""
    nats: NDArray[np.float64] = np.log(context + smoothing * alphabet_size) - np.log(same + smoothing)
    return nats


def blended_nats(counts: list[tuple[Counts, Counts, Counts]], discount: float) -> NDArray[np.float64]:
    """[W, P] -ln p of the bytes that came, from the counts of orders 0, 1, ..., k."""
    p: NDArray[np.float64] = np.full(counts[0][0].shape, 1 / 256)
    for same, context, different in counts:
        own = np.maximum(same - discount, 0) + discount * different * p
        p = np.where(context > 0, own / np.maximum(context, 1), p)
    nats: NDArray[np.float64] = -np.log(p)
    return nats


def blended_counts(windows: Windows, order: int) -> list[tuple[Counts, Counts, Counts]]:
    """The counts of orders 0 to ``order``; all but the highest count a byte only where the order above had not seen it there."""
    counts = [context_counts(windows, order)]
    for lower in range(order - 1, -1, -1):
        new_above = context_counts(windows, lower + 1)[0] == 0
        counts.insert(0, context_counts(windows, lower, new_above))
    return counts


def context_counts(
    windows: Windows, order: int, counted: NDArray[np.bool_] | None = None
) -> tuple[Counts, Counts, Counts]:
    """For positions 1..T-1 of each window, [W, T-1] each, counting only what came before in the same window:

    same       how often the byte that came was seen after the ``order`` bytes before it
    context    how often those bytes were seen with anything after them
    different  how many different bytes were seen after them

    All are 0 where fewer than ``order`` bytes have been read. ``counted`` [W, T-1] leaves out what came at positions where it is
    False.
    """
    count, length = windows.shape
    windows = np.ascontiguousarray(windows)
    counted = np.ones((count, length - 1), np.bool_) if counted is None else counted
    shape = (count, length - 1)
    same, context, different = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    _count(windows, order, table_slots(length), counted, same, context, different)
    return same, context, different


@compiled
def _count(
    windows: Windows,
    order: int,
    slots: int,
    counted: NDArray[np.bool_],
    same: Counts,
    context: Counts,
    different: Counts,
) -> None:
    """Fills the last three arrays; one table for contexts, one for contexts with the byte after them, cleared per window."""
    context_keys, pair_keys = np.empty(slots, np.int64), np.empty(slots, np.int64)
    context_seen, pair_seen, branches = np.empty(slots, np.int32), np.empty(slots, np.int32), np.empty(slots, np.int32)
    mask = (np.int64(1) << (8 * order)) - 1
    for w in range(windows.shape[0]):
        context_keys[:], pair_keys[:], context_seen[:], pair_seen[:], branches[:] = -1, -1, 0, 0, 0
        past = np.int64(0)
        for t in range(windows.shape[1]):
            byte = np.int64(windows[w, t])
            if t >= order:
                at = find(context_keys, past)
                pair = find(pair_keys, (past << 8) | byte)
                if t >= 1:
                    same[w, t - 1], context[w, t - 1] = pair_seen[pair], context_seen[at]
                    different[w, t - 1] = branches[at]
                if t == 0 or counted[w, t - 1]:
                    context_keys[at], pair_keys[pair] = past, (past << 8) | byte
                    branches[at] += pair_seen[pair] == 0
                    context_seen[at] += 1
                    pair_seen[pair] += 1
            past = ((past << 8) | byte) & mask
