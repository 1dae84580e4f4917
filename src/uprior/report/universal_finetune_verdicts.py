"""What the study universal-finetune found, in sentences: the bars, the controls, and the published claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.origin import with_interval
from uprior.train.settings import rising_steps

Named = Mapping[str, Any]
SCRATCH, PLAIN, PRIOR = "scratch", "scratch, all weights random", "universal prior"
SAVING_BAR, CORPORA_BAR, ELSEWHERE_BAR = 0.30, 4, 8
# Bits on other data may rise by so much of what they were before a level counts as lost.
KEPT = 0.05
# Rows of the head start that summaries of Bloem 2025 report.
HEAD_START_ROWS = 1_000_000


def percent(share: float) -> str:
    """A share as a whole number of percent.

    >>> percent(-0.186)
    '−19 %'
    """
    return f"{100 * share:.0f} %".replace("-", "−")


def main_arm(summary: Named) -> str:
    """The arm that the bars are about: the given prior, or the short warm-up where there is none."""
    return PRIOR if PRIOR in summary["arms"] else str(summary["arms"][-1])


def stronger(summary: Named, stage: str) -> str:
    """Of the two lines called scratch the one that ends lower on a corpus."""
    plain = [one for one in summary["differences"] if (one["arm"], one["stage"]) == (PLAIN, stage)]
    return PLAIN if plain and plain[0]["difference"] < 0 else SCRATCH


def scratches(summary: Named) -> str:
    """What the two baselines are, and which counts where."""
    if PLAIN not in summary["arms"]:
        return ""
    random = [stage for stage in summary["study"]["corpora"] if stronger(summary, stage) == PLAIN]
    return (
        "Two lines are called scratch: the model's own first weights, and random ones. They are the same where its first weights "
        "are random; where it begins by matching contexts, that is itself a prior. Verdicts compare with whichever ends lower on "
        f"a corpus: random weights on {_listed(random)}, its own first weights on "
        f"{_listed(stage for stage in summary['study']['corpora'] if stage not in random)}."
    )


def tuning(summary: Named, rates: Mapping[str, float]) -> str:
    """How learning rates were chosen; ``rates``: arm -> what it got."""
    study = summary["study"]
    tried = sorted(study["rates"])
    controls = (
        "controls take the rate of the arm that they are a control of"
        if study["budget"] == "minutes"
        else "controls have trials of their own"
    )
    edge = [arm for arm in summary["arms"] if len(tried) > 1 and rates[arm] in (tried[0], tried[-1])]
    at_edge = f" At an end of what was tried, so perhaps not the best there is: {_listed(edge)}." if edge else ""
    chosen_on = " and ".join(summary["trial_corpora"])
    return (
        f"Rates: {', '.join(f'{rate:g}' for rate in tried)} for every arm, each for the whole stage, on a seed of its own; "
        f"chosen on the validation splits of {chosen_on}, in the mean, and used on all corpora, to save "
        f"trials; {controls}.{at_edge} "
        f"A rate rises over {rising_steps(summary['sizes']['steps'])} of {summary['sizes']['steps']} steps, then a cosine takes "
        "it down to a tenth."
    )


# ------------------------------------------------------------------ the bar on savings


def saving_claims(summary: Named) -> list[str]:
    """Is real data saved, and what is left of it when compute is charged?"""
    main = main_arm(summary)
    found = [_against_stronger(summary["savings"], summary, main, stage) for stage in summary["study"]["corpora"]]
    clear = [one["stage"] for one in found if one["low"] is not None and one["low"] > 0]
    median = float(np.median([one["difference"] for one in found]))
    met = len(clear) >= CORPORA_BAR and median >= SAVING_BAR
    first = (
        f"Asked: data saving with an interval clear of zero on at least {CORPORA_BAR} of {len(found)} corpora, and a median of "
        f"{percent(SAVING_BAR)} or more. **{_yes(met)}**: the {main} is clear of zero on {len(clear)} ({_listed(clear)}), with a "
        f"median of {percent(median)}, against the stronger scratch of each corpus. {_each_baseline(summary, main)}"
    )
    return [first, _curve_claim(found, main), _compute_claim(summary, main)]


def _curve_claim(found: Sequence[Named], main: str) -> str:
    """Where along the curves the arm is ahead: a saving only asks about their ends."""
    below = [one["stage"] for one in found if one["area_difference"] < 0]
    lost = [one["crossings"][-1]["at"] for one in found if one["difference"] < 0 and one["crossings"]]
    overtaken = (
        f"; where it ends behind, scratch overtakes it for good after {_range(lost)} real tokens" if lost else ""
    )
    return (
        f"Along the curves, the mean over all real tokens lies below the stronger scratch's on {len(below)} of {len(found)} "
        f"corpora ({_listed(below)}){overtaken}."
    )


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _each_baseline(summary: Named, main: str) -> str:
    parts = []
    for base in (SCRATCH, PLAIN):
        mine = [one for one in summary["savings"] if (one["arm"], one["baseline"]) == (main, base)]
        clear = sum(one["low"] is not None and one["low"] > 0 for one in mine)
        median = percent(float(np.median([one["difference"] for one in mine])))
        parts.append(f"against {base} clear of zero on {clear} of {len(mine)}, median {median}")
    return f"By baseline: {'; '.join(parts)}."


def _compute_claim(summary: Named, main: str) -> str:
    charged = [_against_stronger(summary["charged"], summary, main, stage) for stage in summary["study"]["corpora"]]
    saved = [one["stage"] for one in charged if one["saving"] is not None and one["saving"] > 0]
    uses = sorted(one["uses"] for one in charged if one["uses"] is not None)
    pays = (
        f"spread over many uses it pays for itself after {_range(uses)} stages like these (on the {len(uses)} corpora where it "
        "saves any)"
        if uses
        else "and it saves nothing that many uses could pay back"
    )
    times = float(np.mean([one["warmup_stages"] for one in charged]))
    return (
        f"With compute charged: the {main} took {times:,.1f} times the FLOPs of a whole stage. Charged in full to one corpus it "
        f"saves compute on {len(saved)} of {len(charged)} ({_listed(saved)}); {pays}. "
        "What the same compute does on the real data itself is the control matched compute, of the short warm-up."
    )


def _against_stronger(found: Iterable[Named], summary: Named, arm: str, stage: str) -> Named:
    key = (arm, stage, stronger(summary, stage))
    return next(one for one in found if (one["arm"], one["stage"], one["baseline"]) == key)


# ------------------------------------------------------------------ other data


def elsewhere_claims(summary: Named) -> list[str]:
    """Is the warmed arm still ahead on what it was not fine-tuned on?"""
    main, lines, held = main_arm(summary), [], 0
    for stage in summary["study"]["corpora"]:
        gaps = gaps_elsewhere(summary, main, stage)
        behind = [file for file, gap in gaps.items() if gap >= 0]
        ahead = len(gaps) - len(behind)
        held += ahead >= ELSEWHERE_BAR
        lines.append(f"{stage} {ahead} of {len(gaps)}" + (f" (not {', '.join(behind)})" if behind else ""))
    total = len(summary["study"]["corpora"])
    return [
        f"Asked: after fine-tuning on one corpus, ahead of scratch on at least {ELSEWHERE_BAR} of the others. "
        f"**{_yes(held == total)}**: so after {held} of {total} corpora. The {main} is below both lines of scratch after "
        f"{'; '.join(lines)}."
    ]


def gaps_elsewhere(summary: Named, arm: str, stage: str) -> dict[str, float]:
    """Other set -> bits of the arm after fine-tuning on ``stage``, minus those of the lower scratch there."""
    ends = {(o["arm"], o["file"]): float(o["bits"][-1]) for o in summary["elsewhere"] if o["stage"] == stage}
    lines = [name for name in (SCRATCH, PLAIN) if name in summary["arms"]]
    files = [file for name, file in ends if name == arm]
    return {file: ends[arm, file] - min(ends[line, file] for line in lines) for file in files}


# ------------------------------------------------------------------ controls


def control_claims(summary: Named) -> list[str]:
    """Does the best warmed arm beat every control where it wins?"""
    sentences = []
    for stage in summary["study"]["control_corpora"]:
        of_stage = [one for one in summary["differences"] if one["stage"] == stage]
        best = min((one for one in of_stage if one["arm"] != PLAIN), key=_value)
        controls = [one for one in summary["control_differences"] if one["stage"] == stage and "only" not in one["arm"]]
        strongest = min(controls, key=_value)
        gap = next(
            one
            for one in summary["control_gaps"]
            if (one["arm"], one["baseline"], one["stage"]) == (best["arm"], strongest["arm"], stage)
        )
        level = min([best["value"] - best["difference"], *(one["value"] for one in of_stage if one["arm"] == PLAIN)])
        sentences.append(
            f"{stage}: the best arm, {best['arm']}, ends at {best['value']:.3f} bits, the stronger scratch at {level:.3f}, the "
            f"strongest control, {strongest['arm']}, at {strongest['value']:.3f}; best minus strongest control "
            f"{with_interval(gap)}. {_control_verdict(best['value'] < level, gap)}"
        )
    return sentences


def _control_verdict(wins: bool, gap: Named) -> str:
    if not wins:
        return "**It is not ahead of scratch here: there is no claim to take back.**"
    if gap["difference"] >= 0:
        return "**It does not beat every control: the claim is withdrawn here.**"
    if gap["high"] is None or gap["high"] >= 0:
        return "**It is below every control, by less than the seeds can tell from nothing.**"
    return "**It beats every control.**"


def _value(one: Named) -> float:
    return float(one["value"])


# ------------------------------------------------------------------ published


def published_rows(summary: Named) -> list[list[str]]:
    """Claim of Bloem 2025, what was found here, verdict."""
    main = main_arm(summary)
    base = PLAIN if PLAIN in summary["arms"] else SCRATCH
    savings = [one for one in summary["savings"] if (one["arm"], one["baseline"]) == (main, base)]
    clear = sum(one["low"] is not None and one["low"] > 0 for one in savings)
    pairs = [one for one in summary["elsewhere"] if one["arm"] == main]
    ends = {(o["stage"], o["file"]): float(o["bits"][-1]) for o in summary["elsewhere"] if o["arm"] == base}
    kept = sum(one["bits"][-1] <= (1 + KEPT) * one["bits"][0] for one in pairs)
    below = sum(one["bits"][-1] < ends[one["stage"], one["file"]] for one in pairs)
    rows = summary["sizes"]["steps"] * summary["study"]["rows"]
    return [
        [
            "fine-tuning from the prior converges faster than from random weights",
            f"saving clear of zero on {clear} of {len(savings)} corpora",
            _most(clear, len(savings)),
        ],
        [
            "the head start is worth about a million rows",
            f"the whole stage has {rows:,} rows",
            "not testable at this size: the stage is shorter" if rows < HEAD_START_ROWS else _head_start(savings, rows),
        ],
        [
            "it keeps its level on other data while fine-tuned",
            f"bits there rise by less than {percent(KEPT)} on {kept} of {len(pairs)} pairs of training and other data",
            _most(kept, len(pairs)),
        ],
        [
            "unlike scratch",
            f"below {base} on {below} of {len(pairs)} pairs, after",
            _most(below, len(pairs)),
        ],
    ]


def _most(found: int, total: int) -> str:
    return "reproduced" if found > total / 2 else "not reproduced"


def _head_start(savings: Sequence[Named], rows: int) -> str:
    return _most(sum(one["difference"] * rows >= HEAD_START_ROWS for one in savings), len(savings))


def _yes(answer: bool) -> str:
    return "Yes" if answer else "No"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
