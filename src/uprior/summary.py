"""What a finished comparison came to: the closing record of compare.jsonl."""

from __future__ import annotations

from typing import Any

import numpy as np

from uprior.experiment import evaluation_steps
from uprior.statistics import crossings, paired_difference, saving_interval

Curve = list[dict[str, Any]]


def summarise(plan: Any, curves: dict[tuple[str, int], Curve], rates: dict[str, float]) -> dict[str, Any]:
    """The closing record: data saving with interval, differences of the plan's pairs, crossings, seeds apart.

    ``savings`` has the data saving against scratch and against every other arm that begins without a warm-up and ends with it;
    the first is told apart as well.
    """
    seeds, common = range(plan.seeds), evaluation_steps(plan.steps, plan.evaluations)

    def stacked(arm: str) -> Any:
        """[S, E, W] at the steps that all arms share."""
        return np.array([[l["window_bits"] for l in curves[arm, s] if l["step"] in common] for s in seeds])

    tokens = np.array([l["tokens"] for l in curves["scratch", 0] if l["step"] in common], dtype=np.float64)
    last = {arm.name: np.array([curves[arm.name, s][-1]["bits_mean"] for s in seeds]) for arm in plan.arms}
    warmed = stacked("warmed")
    unwarmed = [arm.name for arm in plan.arms if not arm.warmup_tokens and arm.steps == plan.steps]
    savings = [_saving(name, tokens, stacked(name), warmed) for name in unwarmed]
    pairs = []
    for arm, baseline in plan.begin.pairs:
        difference = paired_difference(last[arm], last[baseline])
        pairs.append({
            "arm": arm, "baseline": baseline, "difference_bits": difference.value, "low": difference.low,
            "high": difference.high, "per_seed": [float(d) for d in last[arm] - last[baseline]],
        })  # fmt: skip
    return {
        "summary": True,
        "data_saving": savings[0]["value"],
        "low": savings[0]["low"],
        "high": savings[0]["high"],
        "seeds": plan.seeds,
        "data_saving_per_seed": savings[0]["per_seed"],
        "savings": savings,
        "real_tokens": int(tokens[-1]),
        "warmup_tokens": plan.warmup_tokens,
        "flops_per_token": plan.begin.flops_per_token,
        "final_bits": {name: float(values.mean()) for name, values in last.items()},
        "learning_rates": rates,
        "learning_rates_tried": list(plan.learning_rates),
        "pairs": pairs,
        "crossings": {
            "warmed against scratch, over real tokens": crossings(tokens, (warmed - stacked("scratch")).mean((0, 2))),
            **_compute_crossings(plan, curves),
        },
    }


def _saving(baseline: str, tokens: Any, scratch: Any, warmed: Any) -> dict[str, Any]:
    """{baseline, value, low, high, per_seed} of the warmed arm's data saving; curves are [S, E, W]."""
    found = saving_interval(tokens, scratch, warmed)
    each = [saving_interval(tokens, scratch[[s]], warmed[[s]], draws=1).value for s in range(len(scratch))]
    return {"baseline": baseline, "value": found.value, "low": found.low, "high": found.high, "per_seed": each}


def _compute_crossings(plan: Any, curves: dict[tuple[str, int], Curve]) -> dict[str, Any]:
    """Crossings of the mean curves over total FLOPs, where both have some (the warmed one starts late); {} without matched."""
    if ("matched", 0) not in curves:
        return {}
    flops = plan.begin.flops_per_token

    def mean_curve(arm: str, offset: int) -> tuple[Any, Any]:
        x = np.array([(offset + l["tokens"]) * flops for l in curves[arm, 0]], dtype=np.float64)
        return x, np.mean([[l["bits_mean"] for l in curves[arm, s]] for s in range(plan.seeds)], axis=0)

    (x_warm, y_warm), (x_matched, y_matched) = mean_curve("warmed", plan.warmup_tokens), mean_curve("matched", 0)
    inside = x_warm <= x_matched[-1]
    found = crossings(x_warm[inside], y_warm[inside] - np.interp(x_warm[inside], x_matched, y_matched))
    return {"warmed against matched, over total compute": found}
