"""What can be told of a claimed floor from data alone.

A floor f is a claim about a probability: f = -ln p(token | prefix, machine). Three consequences are tested.

1. *Nothing beats it on average*: the code length of any predictor of the same rows is at least the floor, but for sampling
   error. Ours is an in-context mixture of orders 0 to 2. Sees floors that are too large where a row soon shows its own
   statistics; cannot see one that is too large by less than what the predictor pays for learning (about one token's cost per new
   symbol and context), nor anything where structure lies beyond two tokens of context.
2. *The mean of 1/p is the mean number of possible tokens*, so at most the size of the alphabet. Sees floors beyond
   ln(alphabet); blind to anything below.
3. *Probabilities of different tokens after one prefix add up to at most 1, and equal events have equal floors.* Exact, no
   sampling error. Sees floors that are too small, a false 0 included, but only where a machine writes several rows: with
   one row per machine a random row that claims floor 0 is, for every test on data, a deterministic machine whose program
   is the row. Not asked of sources whose rows have parents of their own (``MachineSource``) that the floor knows too.

Nothing here can prove a floor right; a source's own tests compare it with a reference computation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._check_process import Broken
from uprior.types import Block

_UNCLAIMED = "no floor claimed"
_ORDERS = (0, 1, 2)
# One-sided, in standard errors; with 32 rows a true floor fails by chance about once in 5000 checks, in practice never, as
# the predictor also pays for learning.
_STANDARD_ERRORS = 4.0
_TOLERANCE = 1e-3  # float32 sums, and floors rounded to float32


def is_a_code_length(blocks: list[tuple[tuple[int, int], Block]]) -> str:
    """Type, shape and range of the floors of blocks, each given with the (rows, length) it was asked for."""
    known = rows = 0
    for rows_length, block in blocks:
        floor: Any = block.floor_nats
        if floor is None:
            continue
        if floor.dtype != np.float32 or floor.shape != rows_length:
            raise Broken(f"floor_nats is {floor.dtype} {floor.shape}; allowed: float32 {rows_length}, or None")
        if np.isinf(floor).any():
            raise Broken("floor_nats is infinite: the source calls a token that it wrote impossible")
        if (floor < 0).any():
            raise Broken(f"floor_nats is negative ({floor[floor < 0].min():.3g}): a probability above 1")
        unknown = np.isnan(floor)
        if (unknown.any(axis=1) != unknown.all(axis=1)).any():
            raise Broken("floor_nats is NaN in parts of a row; allowed: whole rows, where the source cannot know it")
        known, rows = known + int((~unknown[:, 0]).sum()), rows + len(floor)
    return f"finite and not negative in {known} of {rows} rows" if rows else _UNCLAIMED


def is_not_beaten(block: Block, alphabet_size: int) -> str:
    """Consequence 1: the adaptive predictor must not do better, but for sampling error over rows."""
    floor, counted = _claimed(block)
    if floor is None:
        return _UNCLAIMED
    rows = counted.any(axis=1)
    floor, counted = floor[rows], counted[rows]
    adaptive = adaptive_nats(block.tokens[rows], alphabet_size)
    excess = np.where(counted, floor - adaptive, 0.0).sum(axis=1) / counted.sum(axis=1).mean()
    mean_floor, mean_adaptive = floor[counted].mean(), adaptive[counted].mean()
    tolerance = _STANDARD_ERRORS * _standard_error(excess) + _TOLERANCE
    found = f"floor {mean_floor:.3f} nats, in-context predictor of orders 0 to 2 {mean_adaptive:.3f} nats per token"
    if mean_floor > mean_adaptive + tolerance:
        raise Broken(f"{found}: nothing can do better than a floor (tolerance {tolerance:.3f})")
    return found


def fits_the_alphabet(block: Block, alphabet_size: int) -> str:
    """Consequence 2: the mean of 1/p must not exceed the alphabet, but for sampling error over rows."""
    floor, counted = _claimed(block)
    if floor is None:
        return _UNCLAIMED
    # Beyond exp(300) a float64 mean is meaningless, and wrong enough.
    support = np.where(counted, np.exp(np.minimum(floor, 300.0)), 0.0)
    rows = counted.any(axis=1)
    per_row = support[rows].sum(axis=1) / counted[rows].sum(axis=1)
    mean = float(per_row.mean())
    if mean > alphabet_size + _STANDARD_ERRORS * _standard_error(per_row) + _TOLERANCE * mean:
        raise Broken(f"mean of 1/p is {mean:.4g} possible tokens, in an alphabet of {alphabet_size}")
    return f"mean of 1/p is {mean:.4g} possible tokens of {alphabet_size}"


def is_a_distribution(block: Block) -> str:
    """Consequence 3: after one prefix of one machine, probabilities must be consistent."""
    if _claimed(block)[0] is None:
        return _UNCLAIMED
    compared, wrong = impossible_probabilities(block)
    if wrong:
        raise Broken(wrong)
    return f"{compared} prefixes shared by rows of one machine compared"


def _claimed(block: Block) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """The floor, None where nothing that counts is claimed, and [N, T] True where it is claimed and counts."""
    if block.floor_nats is None:
        return None, np.zeros(block.tokens.shape, dtype=np.bool_)
    counted = np.isfinite(block.floor_nats)
    if block.scored is not None:
        counted &= block.scored
    return (block.floor_nats.astype(np.float64) if counted.any() else None), counted


def _standard_error(per_row: NDArray[np.float64]) -> float:
    return float(per_row.std(ddof=1)) / math.sqrt(len(per_row)) if len(per_row) > 1 else math.inf


def impossible_probabilities(block: Block) -> tuple[int, str]:
    """(number of prefixes that several rows of one machine share, what is wrong at one of them or "")."""
    floor, counted = _claimed(block)
    assert floor is not None
    probability, compared = np.exp(-floor), 0
    for machine in np.unique(block.machine):
        groups = [np.flatnonzero(block.machine == machine)]
        for t in range(block.tokens.shape[1]):
            groups = [group for group in groups if len(group) > 1]
            if not groups:
                break
            for group in groups:
                compared += 1
                wrong = _wrong_at(block.tokens[group, t], probability[group, t], counted[group, t])
                if wrong:
                    return compared, f"position {t} of machine {machine}: {wrong}"
            groups = [g[block.tokens[g, t] == symbol] for g in groups for symbol in np.unique(block.tokens[g, t])]
    return compared, ""


def _wrong_at(tokens: NDArray[np.unsignedinteger], probability: NDArray[np.float64], counted: NDArray[np.bool_]) -> str:
    """What is wrong with the probabilities claimed for the tokens that follow one prefix of one machine."""
    if not counted.all():
        return ""
    total = 0.0
    for symbol in np.unique(tokens):
        claimed = probability[tokens == symbol]
        if claimed.max() - claimed.min() > _TOLERANCE:
            return f"token {symbol} after one prefix has probability {claimed.min():.3g} and {claimed.max():.3g}"
        total += float(claimed.max())
    return f"the tokens seen after one prefix have probabilities that add up to {total:.3g}" if total > 1.001 else ""


def adaptive_nats(tokens: NDArray[np.unsignedinteger], alphabet_size: int) -> NDArray[np.float64]:
    """[N, T] code length in nats of each token by an in-context predictor that starts afresh in every row.

    The predictor of order k blends its counts after the last k tokens with the predictor of order k - 1, weighted as one
    observation; below order 0 is the uniform distribution. The four are mixed by how well they did so far in the row.
    """
    logs = np.empty((len(_ORDERS) + 1, *tokens.shape))
    logs[0] = -math.log(alphabet_size)
    for n, row in enumerate(tokens.tolist()):
        counts: dict[tuple[int, ...], int] = {}
        for t, token in enumerate(row):
            p = 1.0 / alphabet_size
            for order in _ORDERS:
                if order <= t:
                    context = (order, *row[t - order : t])
                    seen, total = counts.get((*context, token), 0), counts.get(context, 0)
                    p = (seen + p) / (total + 1.0)
                    counts[(*context, token)], counts[context] = seen + 1, total + 1
                logs[order + 1, n, t] = math.log(p)
    joint = np.logaddexp.reduce(logs.cumsum(axis=2), axis=0) - math.log(len(logs))
    nats: NDArray[np.float64] = -np.diff(joint, axis=1, prepend=0.0)
    return nats
