"""Context tree weighting: all tree-shaped models of the last bytes at once, made fresh in every window."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.evals._base import Predictor, Windows
from uprior.evals._kernels import compiled, find, table_slots

MAX_DEPTH = 16
DEPTHS = (0, 1, 2, 3, 4, 6, 8, 12)
SMOOTHINGS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
BEFORE = 256  # the symbol that stands before a window: contexts of its first bytes reach there
# Ratios are kept between 2^-256 and 2^256 by taking out powers of 2^512, which are counted. Where one was taken out, one of the
# two sides weighs less than 2^-256 of the other: nothing that a float64 could hold.
_LARGE, _STEP = 2.0**256, 2.0**512


class ContextTreeWeighting(Predictor):
    """The Bayes mixture of all context trees of at most ``depth`` bytes (Willems, Shtarkov and Tjalkens 1995).

    A byte is eight binary decisions, highest bit first (Tjalkens, Willems and Shtarkov 1997): each of the 255 places where
    decisions are made has a tree of its own over the *bytes* before, nearest first. A node of a tree counts the zeros and ones
    decided in its context and estimates

        p(bit) = (times that bit came + smoothing) / (times either came + 2 * smoothing)

    by the prior Beta(smoothing, smoothing): 1/2 is the estimator of Krichevsky and Trofimov, less is better where contexts
    tend to decide (text, anything with few symbols after each context). With P_e for the probability of all its decisions so far,

        P(node) = P_e / 2 + (product of P over its children) / 2, and P = P_e at the full depth,

    which gives a tree with n nodes above the full depth the weight 2^-n. The cost of a bit is how much P at the root shrinks.
    Exact: nothing is pruned, forgotten or rounded off. In a window's first bytes contexts reach back before it, where a 257th
    symbol stands. Cost: 0.25 microseconds a byte at depth 4, 0.5 at depth 8; memory for one window, 250 bytes per byte of it and
    length of context.
    """

    name: str = "ctw"

    def __init__(self, depth: int, smoothing: float = 1 / 2) -> None:
        if not 0 <= depth <= MAX_DEPTH:
            raise SpecError(f"ctw: depth = {depth} is not allowed; allowed: 0 to {MAX_DEPTH}")
        if not (math.isfinite(smoothing) and smoothing >= 1e-6):
            raise SpecError(f"ctw: smoothing = {smoothing} is not allowed; allowed: 1e-06 or more")
        self.depth, self.smoothing = depth, smoothing
        self.settings = {"depth": depth, "smoothing": smoothing}

    def nats(self, windows: Windows) -> NDArray[np.float64]:
        count, length = windows.shape
        out = np.empty((count, length - 1))
        trees = _room(length, self.depth)
        _weigh(np.ascontiguousarray(windows), self.depth, self.smoothing, trees, out)
        return out


def fit_ctw(windows: Windows) -> ContextTreeWeighting:
    """The tree predictor whose depth and smoothing cost least on the second half of these windows' positions; give it others
    than those it is judged on."""

    def cost(predictor: ContextTreeWeighting) -> float:
        nats = predictor.nats(windows)
        return float(nats[:, nats.shape[1] // 2 :].mean())

    return min((ContextTreeWeighting(depth, smoothing) for depth in DEPTHS for smoothing in SMOOTHINGS), key=cost)


class _Trees(NamedTuple):
    """Room for the trees of one window, used again for the next. K nodes: one per decision and length of context.

    seen      [K, 2] how often each bit was decided in this node
    follow    [K, 2] the node of the next decision of the byte in the same context, after each bit; -1 where none is yet
    ratio     [K] P_e / (product of P over the children), less the powers of 2^512 in ``powers``
    powers    [K] how many were taken out
    keys      [slots] (first node of a context, byte further back) of each context that came, -1 where free
    contexts  [slots] the first node of that longer context
    """

    seen: NDArray[np.int32]
    follow: NDArray[np.int32]
    ratio: NDArray[np.float64]
    powers: NDArray[np.int32]
    keys: NDArray[np.int64]
    contexts: NDArray[np.int32]


def _room(length: int, depth: int) -> _Trees:
    nodes, slots = 8 * length * (depth + 1), table_slots(length * depth)
    return _Trees(
        seen=np.empty((nodes, 2), np.int32),
        follow=np.empty((nodes, 2), np.int32),
        ratio=np.empty(nodes),
        powers=np.empty(nodes, np.int32),
        keys=np.empty(slots, np.int64),
        contexts=np.empty(slots, np.int32),
    )


@compiled
def _weigh(windows: Windows, depth: int, smoothing: float, trees: _Trees, out: NDArray[np.float64]) -> None:
    """Fills [W, T-1] -ln p."""
    at = np.empty(depth + 1, np.int32)  # the node of the decision to come, per length of context
    for w in range(windows.shape[0]):
        trees.keys[:] = -1
        used = 0
        for t in range(windows.shape[1]):
            used = _enter(windows[w], t, trees, at, used)
            byte, p = windows[w, t], 1.0
            for place in range(7, -1, -1):
                bit = (byte >> place) & 1
                p *= _decide(bit, smoothing, trees, at)
                if place > 0:
                    used = _descend(bit, trees, at, used)
            if t > 0:
                out[w, t - 1] = -math.log(p)


@compiled
def _enter(window: NDArray[np.uint8], t: int, trees: _Trees, at: NDArray[np.int32], used: int) -> int:
    """Sets ``at`` to the first nodes of the contexts of byte t, new ones where they have not come before."""
    if t == 0:
        used = _new_node(trees, used)
    at[0] = 0
    for d in range(1, at.size):
        symbol = np.int64(window[t - d]) if d <= t else np.int64(BEFORE)
        key = np.int64(at[d - 1]) * 257 + symbol
        slot = find(trees.keys, key)
        if trees.keys[slot] == -1:
            trees.keys[slot], trees.contexts[slot] = key, used
            used = _new_node(trees, used)
        at[d] = trees.contexts[slot]
    return used


@compiled
def _descend(bit: int, trees: _Trees, at: NDArray[np.int32], used: int) -> int:
    """Moves ``at`` to the next decision, in every context."""
    for d in range(at.size):
        node = at[d]
        if trees.follow[node, bit] == -1:
            trees.follow[node, bit] = used
            used = _new_node(trees, used)
        at[d] = trees.follow[node, bit]
    return used


@compiled
def _new_node(trees: _Trees, used: int) -> int:
    trees.seen[used, 0] = trees.seen[used, 1] = 0
    trees.follow[used, 0] = trees.follow[used, 1] = -1
    trees.ratio[used], trees.powers[used] = 1.0, 0
    return used + 1


@compiled
def _decide(bit: int, smoothing: float, trees: _Trees, at: NDArray[np.int32]) -> float:
    """The probability of a bit by the weighted tree; the nodes on its path, from the deepest up, learn that it came."""
    p = 0.0
    for d in range(at.size - 1, -1, -1):
        node = at[d]
        same, other = trees.seen[node, bit], trees.seen[node, 1 - bit]
        estimate = (same + smoothing) / (same + other + 2 * smoothing)
        trees.seen[node, bit] = same + 1
        if d == at.size - 1:
            p = estimate
            continue
        ratio, below = trees.ratio[node], p
        if trees.powers[node] == 0:
            p = (ratio * estimate + below) / (ratio + 1)
        elif trees.powers[node] > 0:
            p = estimate
        ratio *= estimate / below
        if ratio > _LARGE:
            ratio /= _STEP
            trees.powers[node] += 1
        elif ratio < 1 / _LARGE:
            ratio *= _STEP
            trees.powers[node] -= 1
        trees.ratio[node] = ratio
    return p
