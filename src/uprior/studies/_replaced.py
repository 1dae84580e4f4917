"""What a warm-up adds to a full real budget, and how many real tokens it replaces: effects of arms, paired by seed.

Letters: S seeds, B real budgets, ascending, W test windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.statistics import holm, matched_saving, paired_bootstrap, paired_difference
from uprior.studies._arms import SCRATCH, Record
from uprior.studies._effects import compared, interval_record, of_run, savings, seeds_of

Floats = NDArray[np.float64]


def additive(records: Sequence[Record], sets: Sequence[str], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Every arm against scratch at the end of the full budget, per set and ("all") in the mean over sets.

    ``difference`` in bits, ``relative`` as a share of scratch's bits: cross-entropies of other tokenizers are the same bits in
    other units, so shares can be compared with published ones. p_adjusted is Holm's over all arms and sets.
    """
    found = compared(records, sets, arms, SCRATCH.name)
    for one, p in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p_adjusted"] = p
    last = {(set_, arm): _last(records, set_, arm).mean(1) for set_ in sets for arm in (SCRATCH.name, *arms)}
    relative = {(set_, arm): last[set_, arm] / last[set_, SCRATCH.name] - 1 for set_ in sets for arm in arms}
    found = [one | {"relative": _interval(relative[one["stage"], one["arm"]])} for one in found]
    means = [(arm, np.mean([relative[set_, arm] for set_ in sets], axis=0)) for arm in arms]
    return found + [{"arm": arm, "stage": "all", "relative": _interval(mean)} for arm, mean in means]


def strongest_arm(records: Sequence[Record], sets: Sequence[str], arms: Sequence[str]) -> str:
    """The arm with the lowest bits at the end of the full budget, mean over sets and seeds."""
    return min(arms, key=lambda arm: float(np.mean([_last(records, set_, arm).mean() for set_ in sets])))


def substitutive(
    records: Sequence[Record], budgets: Mapping[str, Sequence[tuple[int, str]]], arms: Sequence[str]
) -> list[dict[str, Any]]:
    """Real tokens saved by every arm on every set, two ways: {arm, stage, crossing, matched, bounded, rate_of, ...}.

    budgets    set -> (real tokens, stage), ascending; the last is the full one, named as the set
    crossing   of the full run's curve with scratch's last loss, as published; ``matched``: by runs of shorter budgets with
               schedules of their own, where ``bounded`` says that the least budget was already enough: it is that or more
    rate_of    a saving of 1 as marginal rate of substitution (Hu et al. 2025): real tokens saved per token of warm-up
    total_saving   what is left of the matched saving when the warm-up's tokens are charged as if they were real
    """
    found = []
    for one in savings(records, list(budgets), arms, SCRATCH.name):
        set_, arm = one["stage"], one["arm"]
        ladder = budgets[set_]
        tokens, full = np.array([tokens for tokens, _ in ladder], dtype=np.float64), float(ladder[-1][0])
        scratch, warm = (
            np.stack([_last(records, stage, name) for _, stage in ladder], axis=1) for name in (SCRATCH.name, arm)
        )
        matched = paired_bootstrap(
            partial(least_saving, tokens), scratch, warm, key=f"matched/{set_}/{arm}", draws=1000
        )
        per_seed = [least_saving(tokens, s.mean(1), w.mean(1)) for s, w in zip(scratch, warm, strict=True)]
        spent = of_run(records, set_, arm, seeds_of(records)[0])[-1]["warmup_tokens"]
        found.append({
            "arm": arm,
            "stage": set_,
            "crossing": {key: one[key] for key in ("difference", "low", "high", "per_seed")},
            "matched": interval_record(matched) | {"per_seed": per_seed},
            "bounded": bool(math.isnan(matched_saving(tokens, scratch.mean((0, 2)), warm.mean((0, 2))))),
            "rate_of": full / spent,
            "total_saving": matched.value - spent / full,
            "area_difference": one["area_difference"],
            "crossings": one["crossings"],
        })  # fmt: skip
    return found


def least_saving(budgets: Floats, scratch: Floats, warm: Floats) -> float:
    """Data saving by matched schedules, final losses [B]; where the least budget is already enough, what is known: that or more.

    >>> least_saving(np.array([1.0, 2.0]), np.array([4.0, 3.0]), np.array([2.9, 2.0]))
    0.5
    """
    saving = matched_saving(budgets, scratch, warm)
    if not math.isnan(saving):
        return saving
    known = 1.0 - float(budgets[0] / budgets[-1])
    return known if warm[-1] <= scratch[-1] else -known


def _last(records: Sequence[Record], stage: str, arm: str) -> Floats:
    """[S, W] bits of test windows at a stage's end."""
    return np.array(
        [of_run(records, stage, arm, seed)[-1]["window_bits"] for seed in seeds_of(records)], dtype=np.float64
    )


def _interval(per_seed: Floats) -> dict[str, Any]:
    return interval_record(paired_difference(per_seed, np.zeros_like(per_seed))) | {"per_seed": per_seed.tolist()}
