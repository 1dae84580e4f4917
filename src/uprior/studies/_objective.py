"""What a run came to on the development sets, and differences between arms on any sets, paired by seed and set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from uprior.statistics import Interval, paired_difference

Record = dict[str, Any]


def at_the_end(records: Iterable[Record]) -> list[Record]:
    """The records of each run's last evaluation."""
    records = list(records)
    last: dict[tuple[Any, ...], int] = {}
    for record in records:
        run = (record["arm"], record["seed"], record["budget"])
        last[run] = max(last.get(run, 0), record["step"])
    return [r for r in records if r["step"] == last[r["arm"], r["seed"], r["budget"]]]


def objective(records: Sequence[Record], lines: Mapping[str, Mapping[str, float]], sets: Iterable[str]) -> float:
    """Mean over ``sets`` of a run's final bits per byte minus the in-context Markov line of the set: lower is better."""
    bits = {record["file"]: record["bits_mean"] for record in at_the_end(records)}
    return float(np.mean([bits[name] - lines[name]["markov"] for name in sets]))


def final_bits(records: Iterable[Record], arm: str, sets: Sequence[str]) -> dict[int, list[float]]:
    """seed -> bits per byte at the end on each of the sets, of one arm."""
    found: dict[int, dict[str, float]] = {}
    for record in at_the_end(r for r in records if r["arm"] == arm):
        found.setdefault(record["seed"], {})[record["file"]] = record["bits_mean"]
    return {seed: [bits[name] for name in sets] for seed, bits in sorted(found.items())}


def difference(records: Sequence[Record], arm: str, baseline: str, sets: Sequence[str]) -> dict[str, Any]:
    """``arm`` minus ``baseline``, mean bits over the sets: {difference, low, high, per_seed, per_set, worse_sets}.

    Student's 95 % interval over seeds (None for one seed), paired; the sets are the ones given, no sample of more.
    """
    first, second = final_bits(records, arm, sets), final_bits(records, baseline, sets)
    seeds = sorted(first.keys() & second.keys())
    gap = np.array([np.subtract(first[seed], second[seed]) for seed in seeds])  # [S, sets]
    found: Interval = paired_difference(gap.mean(1), np.zeros(len(seeds)))
    per_set = dict(zip(sets, gap.mean(0).tolist(), strict=True))
    return {
        "difference": found.value,
        "low": None if math.isnan(found.low) else found.low,
        "high": None if math.isnan(found.high) else found.high,
        "per_seed": gap.mean(1).tolist(),
        "per_set": per_set,
        "worse_sets": sum(value > 0 for value in per_set.values()),
    }


def with_pooled_intervals(differences: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same differences, their 95 % intervals from one spread over seeds, that of all of them together.

    Two seeds know their own spread too badly to say anything; many arms of two seeds know the common one. It takes the arms'
    spreads to be alike. For one seed the ends are None.
    """
    gaps = [np.array(one["per_seed"]) for one in differences]
    freedom = sum(len(gap) - 1 for gap in gaps)
    if freedom < 1:
        return [one | {"low": None, "high": None} for one in differences]
    from scipy.stats import t

    variance = sum(float(((gap - gap.mean()) ** 2).sum()) for gap in gaps) / freedom
    quantile = float(t.ppf(0.975, freedom))
    halves = [quantile * math.sqrt(variance / len(gap)) for gap in gaps]
    return [
        one | {"low": one["difference"] - half, "high": one["difference"] + half}
        for one, half in zip(differences, halves, strict=True)
    ]
