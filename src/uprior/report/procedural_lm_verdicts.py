"""Verdicts on published numbers of procedural warm-ups before language: the number, what was found here, and what that allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uprior.report.arms import signed
from uprior.report.origin import with_interval
from uprior.statistics import paired_difference

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced", "not reproduced", "not testable at this size"
Named = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A published number: perplexities of scratch and of the warmed model, or the share of real tokens saved."""

    source: str
    set: str
    corpus: str
    paper: str
    scratch: float = 0.0
    warmed: float = 0.0
    saved: float = 0.0

    @property
    def relative(self) -> float:
        """The change of the loss as a share of scratch's."""
        return math.log(self.warmed) / math.log(self.scratch) - 1


_PP, _NCA = "arXiv 2601.21725, GPT-2 small", "arXiv 2603.10055, 1.6 B"
ADDITIVE = (
    Published("sort", "english", "C4", _PP, 62.03, 58.82),
    Published("set", "english", "C4", _PP, 62.03, 59.85),
    Published("union", "english", "C4", _PP, 62.03, 59.90),
    Published("set", "python", "CodeParrot", _PP, 5.47, 5.15),
    Published("union", "python", "CodeParrot", _PP, 5.47, 5.13),
    Published("nca", "english", "OpenWebText", _NCA, 14.66, 13.82),
    Published("dyck", "english", "OpenWebText", _NCA, 14.66, 14.35),
    Published("nca", "maths", "OpenWebMath", _NCA, 8.11, 7.70),
    Published("dyck", "maths", "OpenWebMath", _NCA, 8.11, 7.91),
    Published("nca", "python", "CodeParrot", _NCA, 1.92, 1.84),
    Published("dyck", "python", "CodeParrot", _NCA, 1.92, 1.85),
)
SUBSTITUTIVE = (
    Published("sort", "english", "C4", _PP, saved=0.45),
    Published("union", "english", "C4", _PP, saved=0.44),
    Published("set", "python", "CodeParrot", _PP, saved=0.325),
    Published("set", "maths", "DeepMind-Math, by accuracy", _PP, saved=0.14),
    Published("union", "maths", "DeepMind-Math, by accuracy", _PP, saved=0.12),
    # 7.15 tokens for each of 500 steps of warm-up, of 10,000.
    Published("shuffle_dyck", "english", "C4", "arXiv 2502.19249, 160 M", saved=0.3575),
)
# Marginal rates of substitution of Hu et al. 2025 at 160 M and at 1 B parameters.
PUBLISHED_RATES = (7.15, 17.3)


# ------------------------------------------------------------------ verdicts


def additive_verdict(relative: Named, published: float) -> str:
    """Of a relative change of the loss (negative: better) beside the published one."""
    if relative["low"] is None:
        return f"{NOT_TESTABLE}: one seed"
    if relative["high"] < 0:
        return f"{REPRODUCED}: its sign; the size is {relative['difference'] / published:.1f} times the published one"
    if relative["low"] > published:
        return f"{NOT_REPRODUCED}: an effect of the published size is excluded"
    return f"{NOT_TESTABLE}: the interval holds both no effect and the published one"


def saving_verdict(saving: Named, published: float) -> str:
    """Of a share of real tokens saved beside the published one."""
    if saving["low"] > 0:
        return REPRODUCED if saving["high"] >= published else f"{REPRODUCED}, but smaller"
    if saving["high"] < published:
        return f"{NOT_REPRODUCED}: a saving of the published size is excluded"
    return f"{NOT_TESTABLE}: the interval holds both no saving and the published one"


def rate_verdict(saving: Named, rate_of: float) -> str:
    """Of a marginal rate of substitution beside the published ones, above 1: a warm-up token is worth more than a real one."""
    published = next(one.saved for one in SUBSTITUTIVE if one.source == "shuffle_dyck") * rate_of
    if published <= 1:
        return f"{NOT_TESTABLE}: beside so long a warm-up the published saving would be a rate of {published:.2g}"
    if saving["low"] * rate_of > 1:
        return f"{REPRODUCED}: above 1"
    if saving["high"] * rate_of < 1:
        return f"{NOT_REPRODUCED}: below 1"
    return f"{NOT_TESTABLE}: the interval holds 1"


def harm_verdict(relative: Named) -> str:
    """Of "random tokens are harmful" (Hu et al. 2025)."""
    if relative["low"] is None:
        return f"{NOT_TESTABLE}: one seed"
    if relative["low"] > 0:
        return REPRODUCED
    return f"{NOT_REPRODUCED}: they help" if relative["high"] < 0 else f"{NOT_TESTABLE}: not told from no effect"


def both_ways(crossing: str, matched: str) -> str:
    """One verdict of two ways to count, where they agree; else both.

    >>> both_ways("reproduced", "reproduced, but smaller"), both_ways("reproduced", "not reproduced: x")
    ('reproduced', 'reproduced; by a matched schedule not reproduced: x')
    """
    kinds = [text.partition(":")[0].partition(",")[0] for text in (crossing, matched)]
    return crossing if kinds[0] == kinds[1] else f"{crossing}; by a matched schedule {matched}"


def verdict_rows(summary: Named) -> list[list[str]]:
    """Claim, published, here, verdict: of every published number whose source and kind of text were run."""
    of_arm = {(one["arm"], one["stage"]): one for one in summary["additive"]}
    saved = {(one["arm"], one["stage"]): one for one in summary["substitutive"]}
    arms = summary["sources"].items()
    rows = []
    for one in ADDITIVE:
        for arm in [arm for arm, source in arms if source == one.source and (arm, one.set) in of_arm]:
            relative = of_arm[arm, one.set]["relative"]
            rows.append([
                f"{arm}: lower loss, {one.set}", f"perplexity {one.scratch:g} → {one.warmed:g} on {one.corpus} ({one.paper})",
                _percent(one.relative), f"{relative_text(relative)}, as {_as_perplexity(one, relative['difference'])}",
                additive_verdict(relative, one.relative),
            ])  # fmt: skip
    for one in SUBSTITUTIVE:
        for arm in [arm for arm, source in arms if source == one.source and (arm, one.set) in saved]:
            found = saved[arm, one.set]
            rows.append([
                f"{arm}: real tokens saved, {one.set}", f"{100 * one.saved:.0f} % on {one.corpus} ({one.paper})", "",
                f"{saved_text(found['crossing'])}; matched {saved_text(found['matched'], bounded=found['bounded'])}",
                both_ways(saving_verdict(found["crossing"], one.saved), saving_verdict(found["matched"], one.saved)),
            ])  # fmt: skip
    for (arm, set_), found in saved.items():
        if summary["sources"][arm] == "shuffle_dyck":
            rates = " and ".join(f"{rate:g}" for rate in PUBLISHED_RATES)
            rows.append([
                f"{arm}: a warm-up token is worth more than a real one, {set_}", f"{rates} on C4 (arXiv 2502.19249)", "",
                f"{rate_text(found)}", rate_verdict(found["crossing"], found["rate_of"]),
            ])  # fmt: skip
    return rows + _control_rows(summary, of_arm)


def _control_rows(summary: Named, of_arm: Mapping[tuple[str, str], Named]) -> list[list[str]]:
    rows = []
    if "random tokens" in summary["controls"]:
        relative = of_arm["random tokens", "all"]["relative"]
        published = "random strings are harmful (arXiv 2502.19249)"
        rows.append(
            ["random tokens are harmful, all sets", published, "", relative_text(relative), harm_verdict(relative)]
        )
    for control in summary["controls"]:
        lead = _lead(summary, of_arm, control)
        claim = f"{summary['strongest']} beats {control}, all sets"
        rows.append([claim, "yes, all papers", "", relative_text(lead), _lead_verdict(lead)])
    return rows


def withdrawn(summary: Named) -> str:
    """The sentence that must stand below the verdicts: whether what the strongest arm gains is more than its controls gain."""
    of_arm = {(one["arm"], one["stage"]): one for one in summary["additive"]}
    equals = [name for name in summary["controls"] if _lead_verdict(_lead(summary, of_arm, name)) != REPRODUCED]
    if not equals:
        return f"What {summary['strongest']} gains over scratch is more than each of its controls gains."
    return (
        f"**Withdrawn**: {summary['strongest']}, the strongest arm, is not clearly ahead of {' and '.join(equals)}. So no line "
        "above says that the structure of procedural data helps here: a gain of any arm may be what training on anything gives."
    )


def _lead(summary: Named, of_arm: Mapping[tuple[str, str], Named], control: str) -> dict[str, Any]:
    """The strongest arm minus a control, shares of scratch's loss, mean over sets, paired by seed."""
    first, second = (of_arm[arm, "all"]["relative"]["per_seed"] for arm in (summary["strongest"], control))
    return paired(first, second)


def paired(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """``first - second`` with Student's interval, as the other differences of the summary."""
    found = paired_difference(np.array(first), np.array(second))
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return {"difference": found.value, "low": low, "high": high}


def _lead_verdict(lead: Named) -> str:
    if lead["low"] is None:
        return f"{NOT_TESTABLE}: one seed"
    if lead["high"] < 0:
        return REPRODUCED
    if lead["difference"] >= 0:
        return f"{NOT_REPRODUCED}: the control is as good"
    return f"{NOT_TESTABLE}: the seeds do not tell them apart"


# ------------------------------------------------------------------ texts of numbers


def _percent(share: float, digits: int = 1) -> str:
    return f"{signed(100 * share, digits)} %"


def relative_text(found: Named) -> str:
    """
    >>> relative_text({"difference": -0.0125, "low": -0.02, "high": -0.005})
    '−1.25 % (−2.00 to −0.50)'
    """
    hundred = {key: None if found[key] is None else 100 * found[key] for key in ("difference", "low", "high")}
    head, _, tail = with_interval(hundred, 2).partition(" ")
    return f"{head} % {tail}".rstrip()


def saved_text(found: Named, *, bounded: bool = False) -> str:
    value, low, high = (f"{100 * found[key]:.0f}".replace("-", "−") for key in ("difference", "low", "high"))
    return f"{'at least ' if bounded and found['difference'] > 0 else ''}{value} % ({low} to {high})"


def rate_text(found: Named) -> str:
    value, low, high = (
        f"{found['crossing'][key] * found['rate_of']:.2f}".replace("-", "−") for key in ("difference", "low", "high")
    )
    return f"{value} ({low} to {high})"


def _as_perplexity(one: Published, relative: float) -> str:
    return f"{one.scratch:g} → {one.scratch ** (1 + relative):.4g}"
