"""What warm-ups of several lengths came to: differences by length, the turn, and rules that stop without real data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.statistics import area_under_curve, holm, paired_difference, paired_p_value
from uprior.studies._arms import SCRATCH, Record
from uprior.studies._effects import compared, interval_record, of_run, savings, seeds_of
from uprior.studies._turn import cost_of_choice, turn_of
from uprior.train.enough import SHARE, first_idle_doubling

Floats = NDArray[np.float64]
# The loss on sources that the warm-up has not must not fall at all: of computation never seen, any improvement counts.
HELD_OUT_SHARE = 0.0


def outcome(
    records: Sequence[Record],
    signals: Sequence[Record],
    stages: Sequence[str],
    arms: Sequence[str],
    controls: Sequence[str],
) -> Record:
    """Everything that the page says of one model.

    arms      the lengths' names, ascending; ``controls`` of the best of them
    signals   as of the study: records of {seed, step, tokens, own, held_out, distance}, step 0 too
    """
    final, area = (_values(records, stages, arms, measure) for measure in (_final, _area))
    scratch_final, scratch_area = (
        _values(records, stages, [SCRATCH.name], measure)[:, 0] for measure in (_final, _area)
    )
    tokens = [_record(records, stages[0], arm)["warmup_tokens"] for arm in arms]
    best, lengths = best_arm(records, stages, arms), np.array(tokens, dtype=np.float64)
    return {
        "stages": list(stages),
        "arms": list(arms),
        "controls": list(controls),
        "tokens": tokens,
        "best_arm": best,
        "scratch": {"final": float(scratch_final.mean()), "area": float(scratch_area.mean())},
        "final": _pooled(arms, final, scratch_final),
        "area": _pooled(arms, area, scratch_area),
        "differences": compared(records, stages, [*arms, *controls], SCRATCH.name),
        "savings": savings(records, stages, [*arms, *controls], SCRATCH.name),
        "against_best": _pooled(controls, _values(records, stages, controls, _final), final[:, list(arms).index(best)]),
        "turn": {
            "final": asdict(turn_of(lengths, final, key="final")),
            "area": asdict(turn_of(lengths, area, key="area")),
        },
        "longest_area": interval_record(cost_of_choice(area, [len(arms) - 1] * len(area))),
        "signals": _mean_signals(signals),
        "choices": _choices(signals, final, scratch_final, tokens),
    }


def best_arm(records: Sequence[Record], stages: Sequence[str], arms: Sequence[str]) -> str:
    """The length with the lowest bits at the end, mean over stages and seeds."""
    return arms[int(np.argmin(_values(records, stages, arms, _final).mean(0)))]


def rules(signals: Sequence[Record]) -> dict[str, dict[int, int | None]]:
    """rule -> seed -> place of the length at which it stops, None where it does not."""
    found: dict[str, dict[int, int | None]] = {"own loss": {}, "held-out sources": {}}
    for seed in sorted({one["seed"] for one in signals}):
        start, *rest = sorted((one for one in signals if one["seed"] == seed), key=lambda one: int(one["step"]))
        found["own loss"][seed] = first_idle_doubling([one["own"] for one in rest], start["own"], SHARE)
        if start["held_out"]:
            before, *losses = (float(np.mean(list(one["held_out"].values()))) for one in (start, *rest))
            found["held-out sources"][seed] = first_idle_doubling(losses, before, HELD_OUT_SHARE)
    return {name: stops for name, stops in found.items() if stops}


def _choices(signals: Sequence[Record], final: Floats, scratch: Floats, tokens: Sequence[int]) -> list[Record]:
    """What each way to choose a length costs against the best on the other seeds, and gains over scratch."""
    last = final.shape[1] - 1
    stopped = {f"stop by {name}": list(stops.values()) for name, stops in rules(signals).items()}
    fixed = {"always the shortest": [0] * len(final), "always the longest": [last] * len(final)}
    found = []
    for name, stops in {**stopped, **fixed}.items():
        places = [last if stop is None else stop for stop in stops]
        taken = np.array([final[seed, place] for seed, place in enumerate(places)])
        found.append({
            "name": name,
            "tokens": [tokens[place] for place in places],
            "not_stopped": sum(stop is None for stop in stops),
            "cost": interval_record(cost_of_choice(final, places)),
            "gain": interval_record(paired_difference(taken, scratch)),
        })  # fmt: skip
    return found


def _pooled(arms: Sequence[str], values: Floats, baseline: Floats) -> list[Record]:
    """Values [S, arms] minus the baseline's [S]: a record per arm, Holm's p over all of them."""
    gaps = values - baseline[:, None]
    adjusted = holm([paired_p_value(gap, np.zeros_like(gap)) for gap in gaps.T])
    return [
        {
            "arm": arm,
            **interval_record(paired_difference(gap, np.zeros_like(gap))),
            "per_seed": gap.tolist(),
            "p_adjusted": p,
        }
        for arm, gap, p in zip(arms, gaps.T, adjusted, strict=True)
    ]


def _values(
    records: Sequence[Record], stages: Sequence[str], arms: Sequence[str], measure: Callable[[list[Record]], float]
) -> Floats:
    """[S, arms] what a measure says of each run, mean over stages."""
    return np.array([
        [np.mean([measure(of_run(records, stage, arm, seed)) for stage in stages]) for arm in arms]
        for seed in seeds_of(records)
    ]).reshape(len(seeds_of(records)), len(arms))  # fmt: skip


def _final(run: list[Record]) -> float:
    return float(run[-1]["bits_mean"])


def _area(run: list[Record]) -> float:
    return area_under_curve(np.array([r["tokens"] for r in run], float), np.array([r["bits_mean"] for r in run], float))


def _record(records: Sequence[Record], stage: str, arm: str) -> Record:
    return of_run(records, stage, arm, seeds_of(records)[0])[-1]


def _mean_signals(signals: Sequence[Record]) -> list[dict[str, Any]]:
    """Per length, the mean over seeds: {tokens, own, held_out: mean over sources, by_source, distance}."""
    found = []
    for step in sorted({one["step"] for one in signals}):
        here = [one for one in signals if one["step"] == step]
        by_source = {name: float(np.mean([one["held_out"][name] for one in here])) for name in here[0]["held_out"]}
        found.append({
            "tokens": here[0]["tokens"],
            "own": float(np.mean([one["own"] for one in here])),
            "held_out": float(np.mean(list(by_source.values()))) if by_source else None,
            "by_source": by_source,
            "distance": float(np.mean([one["distance"] for one in here])),
        })  # fmt: skip
    return found
