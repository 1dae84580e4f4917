"""What the records of a transfer study say: differences between arms, paired by seed, and what must stand beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.statistics import (
    Interval,
    area_under_curve,
    crossings,
    data_saving,
    holm,
    paired_bootstrap,
    paired_difference,
    paired_p_value,
    tokens_to_reach,
)
from uprior.studies._arms import Record

Floats = NDArray[np.float64]


def of_run(records: Sequence[Record], stage: str, arm: str, seed: int, file: str | None = None) -> list[Record]:
    """The evaluations of one run in order, of one measured file where a stage measures several."""
    found = [
        record
        for record in records
        if (record["stage"], record["arm"], record["seed"]) == (stage, arm, seed)
        and (file is None or record["file"] == file)
    ]
    return sorted(found, key=lambda record: int(record["step"]))


def seeds_of(records: Sequence[Record]) -> list[int]:
    return sorted({int(record["seed"]) for record in records})


def at_common_end(
    records: Sequence[Record], stage: str, arm: str, seed: int, metric: str, file: str | None = None
) -> float:
    """The metric at the last evaluation."""
    return float(of_run(records, stage, arm, seed, file)[-1][metric])


def compared(
    records: Sequence[Record], stages: Sequence[str], arms: Sequence[str], baseline: str, metric: str = "bits_mean"
) -> list[dict[str, Any]]:
    """Every arm's last value against the baseline's, per stage: mean difference over seeds with Student's 95 % interval.

    p_adjusted is Holm's over all stages of the same arm, so an arm is asked as many questions as there are stages. A stage's own
    records are those with its name in ``file`` (or without a file).
    """
    seeds = seeds_of(records)
    found = []
    for arm in arms:
        of_arm = []
        for stage in stages:
            first, second = (
                np.array([at_common_end(own(records, stage), stage, name, seed, metric) for seed in seeds])
                for name in (arm, baseline)
            )
            difference = paired_difference(first, second)
            of_arm.append({
                "arm": arm, "stage": stage, "baseline": baseline, "value": float(first.mean()),
                **interval_record(difference), "per_seed": (first - second).tolist(), "p": paired_p_value(first, second),
            })  # fmt: skip
        adjusted = holm([one["p"] for one in of_arm])
        found += [one | {"p_adjusted": p} for one, p in zip(of_arm, adjusted, strict=True)]
    return found


def own(records: Sequence[Record], stage: str) -> list[Record]:
    """The records of a stage about its own data."""
    return [record for record in records if record["stage"] == stage and record.get("file", stage) == stage]


def savings(
    records: Sequence[Record], stages: Sequence[str], arms: Sequence[str], baseline: str
) -> list[dict[str, Any]]:
    """Data saving, rate of substitution, area and crossings of every arm against the baseline, per stage, from whole curves.

    Intervals: bootstrap over seeds and test windows; ``per_seed`` are the seeds' own savings.
    """
    found = []
    for arm in arms:
        for stage in stages:
            mine = own(records, stage)
            tokens, scratch, warm = curves(mine, stage, baseline, arm)
            spent = of_run(mine, stage, arm, seeds_of(mine)[0])[0]["warmup_tokens"]
            saving = _bootstrap(tokens, scratch, warm, f"{stage}/{arm}")
            by_seed = [data_saving(tokens, s.mean(-1), w.mean(-1)) for s, w in zip(scratch, warm, strict=True)]
            area = [area_under_curve(tokens, curve) for curve in (warm.mean((0, 2)), scratch.mean((0, 2)))]
            found.append({
                "arm": arm, "stage": stage, "baseline": baseline, **interval_record(saving), "per_seed": by_seed,
                "substitution_rate": saving.value * float(tokens[-1]) / spent if spent else None,
                "area_difference": area[0] - area[1],
                "crossings": crossings(tokens, (warm - scratch).mean((0, 2))),
            })  # fmt: skip
    return found


def charged(
    records: Sequence[Record], stages: Sequence[str], arms: Sequence[str], baseline: str
) -> list[dict[str, Any]]:
    """The same arms with all their compute counted: what warm-up and its data took, beside what the shared stage takes.

    warmup_stages   warm-up over the baseline's whole stage, in FLOPs
    saving          1 - (FLOPs until the arm is where the baseline ends, warm-up included) / (the baseline's FLOPs): negative
                    where the arm costs more, None where it never gets there
    uses            stages like this one that the warm-up must serve until it has paid for itself; None where it saves nothing
    crossings       of the curves over FLOPs, where both have been looked at
    """
    found = []
    for arm in arms:
        for stage in stages:
            mine = own(records, stage)
            (spent, bits), (budget, level) = (_over_compute(mine, stage, name) for name in (arm, baseline))
            total, warm_up = float(budget[-1]), float(spent[0])
            reached = tokens_to_reach(spent, bits, float(level[-1]))
            saved = total - (reached - warm_up)
            both = np.union1d(spent, budget)
            both = both[(both >= max(spent[0], budget[0])) & (both <= min(spent[-1], budget[-1]))]
            found.append({
                "arm": arm, "stage": stage, "baseline": baseline, "warmup_stages": warm_up / total,
                "saving": None if math.isnan(reached) else 1 - reached / total,
                "uses": math.ceil(warm_up / saved) if saved > 0 else None,
                "crossings": crossings(both, np.interp(both, spent, bits) - np.interp(both, budget, level)),
            })  # fmt: skip
    return found


def _over_compute(records: Sequence[Record], stage: str, arm: str) -> tuple[Floats, Floats]:
    """(FLOPs of the whole arm [E], bits [E]), mean over seeds."""
    runs = [of_run(records, stage, arm, seed) for seed in seeds_of(records)]
    flops = [[total_flops(record) for record in run] for run in runs]
    return np.mean(flops, axis=0), np.mean([[record["bits_mean"] for record in run] for run in runs], axis=0)


def _bootstrap(tokens: Floats, scratch: Floats, warm: Floats, key: str) -> Interval:
    return paired_bootstrap(lambda a, b: data_saving(tokens, a, b), scratch, warm, key=key, draws=1000)


def curves(records: Sequence[Record], stage: str, baseline: str, arm: str) -> tuple[Floats, Floats, Floats]:
    """(real tokens [E], baseline and arm [S, E, W] bits per window) at the evaluations that both have."""
    seeds = seeds_of(records)
    runs = {name: [of_run(records, stage, name, seed) for seed in seeds] for name in (baseline, arm)}
    common = sorted({r["tokens"] for r in runs[baseline][0]} & {r["tokens"] for r in runs[arm][0]})

    def stacked(name: str) -> Floats:
        return np.array(
            [[r["window_bits"] for r in run if r["tokens"] in common] for run in runs[name]], dtype=np.float64
        )

    return np.array(common, dtype=np.float64), stacked(baseline), stacked(arm)


def elsewhere(
    records: Sequence[Record], stages: Sequence[str], sets: Sequence[str], arms: Sequence[str]
) -> list[dict[str, Any]]:
    """Bits on the other sets before, halfway and after training on each corpus: mean over seeds, and each seed at the end."""
    found = []
    for stage in stages:
        for arm in arms:
            for file in sets:
                if file == stage:
                    continue
                runs = [of_run(records, stage, arm, seed, file) for seed in seeds_of(records)]
                found.append({
                    "stage": stage, "arm": arm, "file": file,
                    "bits": [sum(run[k]["bits_mean"] for run in runs) / len(runs) for k in range(len(runs[0]))],
                    "last_per_seed": [run[-1]["bits_mean"] for run in runs],
                })  # fmt: skip
    return found


def interval_record(found: Interval) -> dict[str, Any]:
    """{"difference", "low", "high"}, None where there is no end: what ``report.origin.with_interval`` shows."""
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return {"difference": found.value, "low": low, "high": high}


def total_flops(record: Mapping[str, Any]) -> float:
    """What an arm has spent by this evaluation: warm-up, writing its data, and the shared stage."""
    return float(record["warmup_flops"] + record["generation_flops"] + record["train_flops"])
