"""The study composition as a page: children of two warm-ups against both parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uprior.report.arms import Records, carry_table, difference_table, laboratory_origin
from uprior.report.document import Block, Heading, Table, markdown, page

TITLE = "Composition: attention from one source, MLPs from another"
# Means over Haystack, addition, reversed addition and sorting, in per cent (Jiang, Shinnick et al. 2026, arXiv 2601.21725).
PUBLISHED_CHILD = "set attention + elementary_ca MLPs"
PUBLISHED = {"scratch": 57.4, "set, attention": 80.6, "elementary_ca, everything": 62.0, PUBLISHED_CHILD: 89.3}


def composition_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: composition.md and report.html."""
    blocks = _blocks(summary, records)
    return {"composition.md": markdown(TITLE, blocks).encode(), "report.html": page(TITLE, blocks).encode()}


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    sizes = summary["sizes"]
    return [
        f"`{summary['model']}`, {sizes['warm_steps']:,} steps of warm-up, {sizes['steps']:,} steps of {sizes['rows']:,} rows on "
        f"each of {len(summary['tasks'])} tasks. Published: two layers of width 16, 10,000 steps of 1,000 rows on larger "
        "problems; signs may be "
        "compared, sizes may not.",
        Heading("The verdict"),
        *(_verdict(child) for child in summary["children"]),
        Heading("Mean accuracy over the tasks"),
        _means(summary),
        Heading("On each task, minus scratch"),
        difference_table(
            summary["differences"],
            list(summary["tasks"]),
            "Accuracy at the end minus scratch, as a share; Student's 95 % interval over seeds; p adjusted by Holm over tasks.",
        ),
        Heading("What was carried"),
        carry_table(next(iter(summary["carried"].values())), f"{next(iter(summary['carried']))}:"),
        Heading("How it was made"),
        *laboratory_origin(summary, records),
    ]


def _verdict(child: Mapping[str, Any]) -> str:
    """Above both parents, below one, or not told apart; by intervals where there are some."""
    against = child["against"]
    values = [one["difference"] for one in against.values()]
    clear = all(one["low"] is not None and one["low"] > 0 for one in against.values())
    above = min(values) > 0
    said = "above both parents" if above else "not above both parents"
    sure = ", both intervals clear of zero" if clear else ", but not beyond what seeds differ by" if above else ""
    each = "; ".join(f"{name} {_points(one)}" for name, one in against.items())
    word = ""
    if child["arm"] == PUBLISHED_CHILD:
        found = "Reproduced" if clear else "Not reproduced" if max(values) < 0 else "Not testable at this size"
        word = f" Published: 89.3 against 80.6 and 62.0. **{found}.**"
    return f"{child['arm']}: **{said}**{sure} (points of mean accuracy against {each}).{word}"


def _points(one: Mapping[str, Any]) -> str:
    ends = "" if one["low"] is None else f" ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
    return f"{100 * one['difference']:+.1f}{ends}".replace("-", "−")


def _means(summary: Mapping[str, Any]) -> Table:
    chosen = set(summary["parents"].values())
    rows = []
    for arm, values in sorted(summary["means"].items(), key=lambda item: -float(np.mean(item[1]))):
        each = ", ".join(f"{100 * value:.1f}" for value in values)
        published = f"{PUBLISHED[arm]:.1f}" if arm in PUBLISHED else "–"
        name = f"{arm} (the parent)" if arm in chosen else arm
        rows.append([name, f"{100 * float(np.mean(values)):.1f}", each, published])
    caption = "Best first. A parent is the best of its source's three ways."
    return Table(["arm", "mean, %", "each seed", "published"], rows, caption)
