"""The study procedural-probes as a page: accuracies by source, part and task, beside the published ones, and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.arms import Records, carry_table, curves_picture, laboratory_origin, p_text, power_note, seeds_table
from uprior.report.document import Block, Heading, Picture, Table, markdown, page

TITLE = "Algorithmic probes: which source teaches what, and where it lives"
# Accuracies in per cent of two layers of width 16 after 10,000 steps (Jiang, Shinnick et al. 2026, arXiv 2601.21725, and their
# project page): scratch, and (source, part).
PUBLISHED_SCRATCH = {"haystack": 11.3, "addition": 59.1, "reversed addition": 76.4, "sorting": 82.7}
PUBLISHED = {
    ("set", "attention"): {"haystack": 88.9, "addition": 81.1, "reversed addition": 54.4, "sorting": 98.1},
    ("set", "everything"): {"haystack": 18.9},
    ("elementary_ca", "everything"): {"haystack": 10.5, "addition": 69.6, "reversed addition": 91.0, "sorting": 76.9},
    ("identity", "everything"): {"haystack": 18.8},
    ("identity", "attention"): {"haystack": 99.0},
    ("dyck", "everything"): {"haystack": 96.9},
}
LARGE_GAIN = 5.0
SCRATCH_BAR, BEST_BAR = 0.20, 0.90


def procedural_probes_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: procedural-probes.md with its figure, and report.html."""
    blocks = _blocks(summary, records)
    pictures = {block.file: block.svg for block in blocks if isinstance(block, Picture)}
    return {
        **pictures,
        "procedural-probes.md": markdown(TITLE, blocks).encode(),
        "report.html": page(TITLE, blocks).encode(),
    }


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    sizes = summary["sizes"]
    level = float(np.mean(list(summary["scratch"].values()))) or 1.0
    return [
        f"`{summary['model']}` is warmed up for {sizes['warm_steps']:,} steps on a source; parts of it go into a fresh "
        "model, which is "
        f"trained for {sizes['steps']:,} steps of {sizes['rows']:,} rows on a task. Published: two layers of width 16 and "
        "10,000 steps of "
        "1,000 rows, on larger problems; where tasks or budget differ from that, signs may be compared, sizes may not.",
        Heading("The verdict"),
        _bar(summary),
        *_verdicts(summary),
        Heading("Accuracy, and what was gained over scratch"),
        *(_matrix(summary, part) for part in summary["study"]["parts"]),
        _curves(summary, records),
        Heading("Controls"),
        *_controls(summary),
        Heading("Seeds and power"),
        power_note(summary["differences"], level, "of accuracy"),
        seeds_table(summary["differences"], ""),
        Heading("Tasks"),
        Table(["task", "source"], [[name, f"`{text}`"] for name, text in summary["tasks"].items()], texts=2),
        Heading("What was carried"),
        *(carry_table(table, f"{family}:") for family, table in summary["families"].items()),
        Heading("How it was made"),
        *laboratory_origin(
            summary, records,
            "Accuracy: answer tokens under teacher forcing, on problems that training cannot see. Tasks: AdamW, weight "
            "decay 0.001, "
            "cosine to 0; warm-ups: AdamW, constant 0.0005, weight decay 0.1, as published.",
        ),
    ]  # fmt: skip


def _bar(summary: Mapping[str, Any]) -> str:
    if "haystack" not in summary["tasks"]:
        return "Haystack was not run."
    scratch = summary["scratch"]["haystack"]
    best = max(
        (one for one in summary["differences"] if one["stage"] == "haystack"), key=lambda one: float(one["value"])
    )
    held = scratch <= SCRATCH_BAR and best["value"] >= BEST_BAR
    return (
        f"Asked of Haystack: scratch at most {100 * SCRATCH_BAR:.0f} %, the best source at least {100 * BEST_BAR:.0f} %. "
        f"**{'Yes' if held else 'No'}**: scratch {100 * scratch:.1f} %, best {100 * best['value']:.1f} % ({best['arm']})."
    )


def _verdicts(summary: Mapping[str, Any]) -> list[str]:
    """Every published gain of 5 points or more, and what was found of it."""
    by_place = {(one["arm"], one["stage"]): one for one in summary["differences"]}
    rows = []
    for (source, part), accuracies in PUBLISHED.items():
        for task, accuracy in accuracies.items():
            gain = accuracy - PUBLISHED_SCRATCH[task]
            one = by_place.get((f"{source}, {part}", task))
            if abs(gain) >= LARGE_GAIN and one is not None:
                rows.append(
                    f"{source}, {part}, {task}: published {gain:+.1f} points, here {_points(one)}: **{_verdict(gain, one)}**."
                )
    return rows or ["None of the published pairs of source and part was run."]


def _verdict(gain: float, one: Mapping[str, Any]) -> str:
    """reproduced, not reproduced, or not testable at this size: where the interval holds zero, or is none."""
    if one["low"] is None or one["low"] <= 0 <= one["high"]:
        return "not testable at this size (the interval holds zero)"
    return "reproduced" if (one["difference"] > 0) == (gain > 0) else "not reproduced"


def _points(one: Mapping[str, Any]) -> str:
    if one["low"] is None:
        return f"{100 * one['difference']:+.1f}"
    return f"{100 * one['difference']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"


def _matrix(summary: Mapping[str, Any], part: str) -> Table:
    tasks = list(summary["tasks"])
    rows = [["scratch", *(f"{100 * summary['scratch'][task]:.1f}" for task in tasks)]]
    arms = dict.fromkeys(one["arm"] for one in summary["differences"] if one["arm"].endswith(f", {part}"))
    rows += [_row(summary["differences"], arm, tasks, arm.removesuffix(f", {part}")) for arm in arms]
    caption = (
        f"**{part.capitalize()}** carried: accuracy in per cent, and the points over scratch with Student's 95 % interval "
        "over seeds; bold: "
        "Holm's p over the tasks below 0.05."
    )
    return Table(["source", *tasks], rows, caption)


def _row(differences: Records, arm: str, tasks: Sequence[str], name: str) -> list[str]:
    cells = []
    for one in (one for task in tasks for one in differences if (one["arm"], one["stage"]) == (arm, task)):
        text = f"{100 * one['value']:.1f}: {_points(one)}, p {p_text(one['p_adjusted'])}"
        cells.append(f"**{text}**" if one["p_adjusted"] < 0.05 else text)
    return [name, *cells]


def _controls(summary: Mapping[str, Any]) -> list[Block]:
    if not summary["controls"]:
        return ["Not run."]
    tasks, arms = list(summary["tasks"]), dict.fromkeys(one["arm"] for one in summary["controls"])
    means = {arm: float(np.mean([one["value"] for one in summary["controls"] if one["arm"] == arm])) for arm in arms}
    best = float(np.mean([one["value"] for one in summary["differences"] if one["arm"] == summary["best"]]))
    strongest = max(means, key=means.__getitem__)
    won = (
        "It beats every control"
        if best > means[strongest]
        else "It does not beat every control: the claim is withdrawn"
    )
    rows = [_row(summary["differences"], summary["best"], tasks, summary["best"])]
    rows += [_row(summary["controls"], arm, tasks, arm) for arm in arms]
    return [
        f"The arm with the largest mean gain is {summary['best']}, {100 * best:.1f} % in the mean over tasks; the "
        "strongest control, "
        f"{strongest}, has {100 * means[strongest]:.1f} %. **{won}.**",
        Table(["arm", *tasks], rows, "As above; the best arm, and its controls."),
    ]


def _curves(summary: Mapping[str, Any], records: Records) -> Picture:
    panels: dict[str, dict[str, tuple[Any, Any]]] = {}
    for task in summary["tasks"]:
        best = max((o for o in summary["differences"] if o["stage"] == task), key=lambda o: float(o["value"]))["arm"]
        for arm in dict.fromkeys(("scratch", best, summary["best"])):
            mine = [r for r in records if (r["stage"], r["arm"]) == (task, arm)]
            seeds = sorted({r["seed"] for r in mine})
            runs = [sorted((r for r in mine if r["seed"] == seed), key=lambda r: int(r["step"])) for seed in seeds]
            x = np.array([r["tokens"] for r in runs[0]])
            panels.setdefault(task, {})[arm] = (x, np.array([[r["accuracy"] for r in run] for run in runs]))
    caption = "Accuracy over tokens of the task: scratch, the best arm of the task, and the best arm of all."
    return curves_picture(
        "procedural-probes.svg", "accuracy over training, a panel per task", caption, panels, "accuracy"
    )
