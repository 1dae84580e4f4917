"""What was published about algorithmic probes, and whether the records of ``procedural-probes`` say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from uprior.report.arms import signed
from uprior.report.document import Table
from uprior.statistics import Array, paired_difference

# Accuracies in per cent, of two layers of width 16 after 10,000 steps of 1,000 rows (multiplication: four of width 512), by
# Jiang, Shinnick et al. 2026 (arXiv 2601.21725) and on their project page: scratch, and (source, part); ANY: which part is not
# said.
ANY = "any part"
PUBLISHED_SCRATCH = {
    "haystack": 11.3,
    "addition": 59.1,
    "reversed addition": 76.4,
    "sorting": 82.7,
    "multiplication": 42.7,
}
PUBLISHED: dict[tuple[str, str], dict[str, float]] = {
    ("identity", "everything"): {"haystack": 18.8},
    ("identity", "attention"): {"haystack": 99.0},
    ("set", "everything"): {"haystack": 18.9, "reversed addition": 44.6},
    ("set", "attention"): {"haystack": 88.9, "addition": 81.1, "reversed addition": 54.4, "sorting": 98.1},
    ("dyck", ANY): {"haystack": 96.9},
    ("shuffle_dyck", ANY): {"reversed addition": 87.0},
    ("stack", "everything"): {"reversed addition": 34.9},
    ("elementary_ca", "everything"): {"haystack": 10.5, "addition": 69.6, "reversed addition": 91.0, "sorting": 76.9},
    ("union", ANY): {"multiplication": 63.5},
}
# The best source's weights, shuffled.
PUBLISHED_SHUFFLED = {"haystack": 10.3, "reversed addition": 65.0, "multiplication": 48.4}
# Points: what the published gains are asked for.
LARGE_GAIN = 5.0
# Accuracy of scratch that leaves no room above, and share of a source that a warm-up must have learnt to be one.
NO_ROOM, LEARNT = 0.95, 0.9


def verdict_table(summary: Mapping[str, Any]) -> Table:
    """A row per published gain or loss of LARGE_GAIN or more whose source and task were run."""
    rows = []
    for (source, part), accuracies in PUBLISHED.items():
        for task, accuracy in accuracies.items():
            gain = accuracy - PUBLISHED_SCRATCH[task]
            one = _found(summary["differences"], source, part, task)
            if abs(gain) >= LARGE_GAIN and one is not None:
                where = one["arm"].removeprefix(f"{source}, ") + (", the best here" if part == ANY else "")
                words = _verdict(gain, one, summary)
                rows.append([source, where, task, signed(gain, 1), points(one), words])
    caption = (
        f"Published gains and losses of {LARGE_GAIN:.0f} points or more. Reproduced: the same sign, and an interval clear "
        "of zero."
    )
    return Table(["source", "part", "task", "published, points", "here, points (95 %)", ""], rows, caption, texts=3)


def left_out(summary: Mapping[str, Any]) -> list[str]:
    """Which published pairs of source and task were not run; [] for none."""
    pairs = [
        f"{source} on {task}"
        for (source, part), accuracies in PUBLISHED.items()
        for task in accuracies
        if _found(summary["differences"], source, part, task) is None
    ]
    return ["Published, and not run here: " + ", ".join(dict.fromkeys(pairs)) + "."] if pairs else []


def points(one: Mapping[str, Any]) -> str:
    """A difference in points, with its interval where there is one."""
    if one["low"] is None:
        return signed(100 * one["difference"], 1)
    low, high = (signed(100 * one[end], 1) for end in ("low", "high"))
    return f"{signed(100 * one['difference'], 1)} ({low} to {high})"


def control_verdict(gains: Array, controls: Mapping[str, Array]) -> str:
    """What the controls leave of an arm: its gain over scratch in mean accuracy, per seed [S], beside each control's [S]."""
    strongest = max(controls, key=lambda arm: float(controls[arm].mean()))
    gaps = {arm: paired_difference(gains, values) for arm, values in controls.items()}
    gap = gaps[strongest]
    if gains.mean() <= 0:
        verdict = "It is not ahead of scratch: there is no claim to take back"
    elif gap.value <= 0:
        verdict = "It does not beat every control: the claim is withdrawn"
    elif all(one.low > 0 for one in gaps.values()):
        verdict = "It beats every control"
    else:
        verdict = "It is above every control by less than the seeds can tell from nothing: the claim is withdrawn"
    ends = "" if math.isnan(gap.low) else f" ({signed(100 * gap.low, 1)} to {signed(100 * gap.high, 1)})"
    return (
        f"against the strongest control, {strongest}, it has {signed(100 * gap.value, 1)} points{ends}. **{verdict}.**"
    )


def _found(differences: Sequence[Mapping[str, Any]], source: str, part: str, task: str) -> Mapping[str, Any] | None:
    """The difference of a source's part on a task; of ANY part, that of the largest gain."""
    found = [
        one
        for one in differences
        if one["stage"] == task
        and (one["arm"] == f"{source}, {part}" or (part == ANY and one["arm"].startswith(f"{source}, ")))
    ]
    return max(found, key=lambda one: float(one["difference"]), default=None)


def _verdict(gain: float, one: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The word, and where it is not "reproduced" what may be the reason."""
    if one["low"] is None:
        return "**not testable at this size**: one seed"
    clear = one["low"] > 0 or one["high"] < 0
    if clear and (one["difference"] > 0) == (gain > 0):
        return "**reproduced**"
    reasons = [] if clear else ["the interval holds zero"]
    share = {each["source"]: each["share"] for each in summary["learnt"]}.get(one["arm"].split(",")[0])
    if share is not None and share < LEARNT:
        reasons.append(f"the warm-up has learnt {100 * share:.0f} % of its source")
    if gain > 0 and summary["scratch"][one["stage"]] >= NO_ROOM:
        reasons.append("scratch leaves no room")
    return f"**{'not reproduced' if clear else 'not testable at this size'}**" + (
        ": " + "; ".join(reasons) if reasons else ""
    )
