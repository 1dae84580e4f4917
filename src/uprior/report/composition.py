"""The study composition as a page: children of two warm-ups against both parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uprior.report.arms import Records, carry_table, difference_table, laboratory_origin, power_note, seeds_table
from uprior.report.document import Block, Heading, Table, pages
from uprior.report.probe_verdicts import control_verdict, points
from uprior.report.procedural_probes import HOW, learnt_table, sizes_text

TITLE = "Composition: attention from one source, MLPs from another"
# Means over the four, in per cent (Jiang, Shinnick et al. 2026, arXiv 2601.21725).
PUBLISHED_TASKS = {"haystack", "addition", "reversed addition", "sorting"}
PUBLISHED_CHILD = "set attention + elementary_ca MLPs"
PUBLISHED = {"scratch": 57.4, "set, attention": 80.6, "elementary_ca, everything": 62.0, PUBLISHED_CHILD: 89.3}


def composition_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: composition.md and report.html."""
    return pages("composition", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    against = [
        {"arm": child["arm"], "stage": f"minus {summary['parents'][name]}", **one}
        for child in summary["children"]
        for name, one in child["against"].items()
    ]
    return [
        sizes_text(summary),
        Heading("The verdict"),
        *(_verdict(child, _as_published(summary)) for child in summary["children"]),
        *_controls(summary),
        Heading("Mean accuracy over the tasks"),
        _means(summary),
        Heading("On each task, minus scratch"),
        difference_table(
            summary["differences"],
            list(summary["tasks"]),
            "Accuracy at the end minus scratch, as a share; Student's 95 % interval over seeds; p adjusted by Holm over tasks.",
        ),
        Heading("How well the warm-ups have learnt"),
        learnt_table(summary["learnt"]),
        Heading("Seeds and power"),
        power_note(against, float(np.mean(summary["means"]["scratch"])) or 1.0, "of mean accuracy"),
        seeds_table(against, "Children against their parents, in mean accuracy over the tasks."),
        Heading("What was carried"),
        carry_table(next(iter(summary["carried"].values())), f"{next(iter(summary['carried']))}:"),
        Heading("How it was made"),
        *laboratory_origin(summary, records, HOW),
    ]


def _controls(summary: Mapping[str, Any]) -> list[str]:
    """The first child beside the strongest of its controls."""
    if not summary["controls"]:
        return []
    means, child = {arm: np.array(values) for arm, values in summary["means"].items()}, summary["children"][0]["arm"]
    gains = {arm: means[arm] - means["scratch"] for arm in (child, *summary["controls"])}
    verdict = control_verdict(gains.pop(child), gains)
    return [f"Controls of {child}: in the mean over tasks, {verdict}"]


def _as_published(summary: Mapping[str, Any]) -> bool:
    """Whether the means are over the tasks that the published ones are over."""
    return set(summary["tasks"]) == PUBLISHED_TASKS


def _verdict(child: Mapping[str, Any], published: bool) -> str:
    """Above both parents, or not, and how sure that is; for the published pair also a word on what was published."""
    against = child["against"]
    clear = all(one["low"] is not None and one["low"] > 0 for one in against.values())
    below = any(one["high"] is not None and one["high"] < 0 for one in against.values())
    above = all(one["difference"] > 0 for one in against.values())
    said = "above both parents" if above else "not above both parents"
    sure = ", both intervals clear of zero" if clear else ", but not beyond what seeds differ by" if above else ""
    each = "; ".join(f"{name} {points(one)}" for name, one in against.items())
    word = ""
    if published and child["arm"] == PUBLISHED_CHILD:
        found = "Reproduced" if clear else "Not reproduced" if below else "Not testable at this size"
        reason = "" if clear or below else " (an interval holds zero)"
        word = f" Published: 89.3 against 80.6 and 62.0. **{found}**{reason}."
    return f"{child['arm']}: **{said}**{sure} (points of mean accuracy against {each}).{word}"


def _means(summary: Mapping[str, Any]) -> Table:
    chosen = set(summary["parents"].values())
    rows = []
    for arm, values in sorted(summary["means"].items(), key=lambda item: -float(np.mean(item[1]))):
        each = ", ".join(f"{100 * value:.1f}" for value in values)
        published = f"{PUBLISHED[arm]:.1f}" if arm in PUBLISHED and _as_published(summary) else "–"
        name = f"{arm} (the parent)" if arm in chosen else arm
        rows.append([name, f"{100 * float(np.mean(values)):.1f}", each, published])
    caption = "Best first. A parent is the best of its source's three ways."
    return Table(["arm", "mean, %", "each seed", "published"], rows, caption)
