"""The study procedural-probes as a page: accuracies by source, part and task, beside the published ones, and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.arms import Records, carry_table, curves_picture, laboratory_origin, p_text, power_note, seeds_table
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.probe_verdicts import PUBLISHED_SHUFFLED, control_verdict, left_out, points, verdict_table
from uprior.statistics import Array

TITLE = "Algorithmic probes: which source teaches what, and where it lives"
SCRATCH_BAR, BEST_BAR = 0.20, 0.90
PUBLISHED_STEPS, PUBLISHED_ROWS = 10_000, 1000


def procedural_probes_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: procedural-probes.md with its figure, and report.html."""
    return pages("procedural-probes", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    level = float(np.mean(list(summary["scratch"].values()))) or 1.0
    return [
        sizes_text(summary),
        Heading("The verdict"),
        _bar(summary),
        verdict_table(summary),
        *left_out(summary),
        Heading("Which source teaches what, and where it lives"),
        *_where(summary),
        *(_matrix(summary, part) for part in summary["study"]["parts"]),
        _curves(summary, records),
        Heading("How well the warm-ups have learnt"),
        learnt_table(summary["learnt"]),
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
        *laboratory_origin(summary, records, HOW),
    ]


HOW = (
    "Accuracy: answer tokens under teacher forcing, on problems that training cannot see. Tasks: AdamW, weight decay 0.001, "
    "cosine to 0. Warm-ups: AdamW, weight decay 0.01, cosine to a tenth. Where one learning rate stands for all arms, none was "
    "tuned, for scratch neither."
)


def sizes_text(summary: Mapping[str, Any]) -> str:
    """What was done, and what a study of this size can and cannot show."""
    sizes = summary["sizes"]
    done = (
        f"`{summary['model']}` is warmed up for {sizes['warm_steps']:,} steps on a source; parts of it go into a fresh model, "
        f"which is trained for {sizes['steps']:,} steps of {sizes['rows']:,} rows on a task. "
    )
    if sizes["steps"] >= PUBLISHED_STEPS and sizes["rows"] >= PUBLISHED_ROWS:
        return done + "These are the published sizes, and sizes of gains may be compared."
    return done + (
        f"Published are {PUBLISHED_STEPS:,} steps of {PUBLISHED_ROWS:,} rows, on larger problems. So signs may be compared, "
        "sizes of gains may not; and that a gain is not seen here says nothing of what comes later in training."
    )


def learnt_table(learnt: Records) -> Table:
    """A row per source: what its warm-ups cost on rows that they were not trained on, between guessing and the floor."""
    rows = [
        [
            one["source"],
            f"{one['nats']:.3f}",
            "–" if one["floor"] is None else f"{one['floor']:.3f}",
            "–" if one["share"] is None else f"{100 * one['share']:.0f} %",
        ]
        for one in learnt
    ]
    caption = (
        "Nats per token that counts, mean over seeds, on validation rows. Learnt: the way from all ids alike to the floor. A "
        "source that was not learnt teaches nothing about what it could teach."
    )
    return Table(["source", "nats", "floor", "learnt"], rows, caption)


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


def _where(summary: Mapping[str, Any]) -> list[Block]:
    """Per task: the best source, and what each of its parts brings; and how many gains of the grid are sure."""
    parts, differences = summary["study"]["parts"], summary["differences"]
    rows = []
    for task in summary["tasks"]:
        of_task = {one["arm"]: one for one in differences if one["stage"] == task}
        source, part = max(of_task, key=lambda arm: float(of_task[arm]["difference"])).split(", ")
        gains = [points(of_task[f"{source}, {other}"]) for other in parts]
        rows.append([task, f"{100 * summary['scratch'][task]:.1f}", source, part, *gains])
    sure = [one for one in differences if one["p_adjusted"] < 0.05]
    gained = sum(one["difference"] > 0 for one in sure)
    caption = (
        "The source with the largest gain on each task, in which part, and the points that each of its parts brings."
    )
    return [
        f"Of {len(differences)} differences to scratch, {gained} are gains and {len(sure) - gained} losses with Holm's p over "
        "the whole grid below 0.05.",
        Table(["task", "scratch, %", "best source", "best part", *parts], rows, caption),
    ]


def _matrix(summary: Mapping[str, Any], part: str) -> Table:
    tasks = list(summary["tasks"])
    rows = [["scratch", *(f"{100 * summary['scratch'][task]:.1f}" for task in tasks)]]
    arms = dict.fromkeys(one["arm"] for one in summary["differences"] if one["arm"].endswith(f", {part}"))
    rows += [_row(summary["differences"], arm, tasks, arm.removesuffix(f", {part}")) for arm in arms]
    caption = (
        f"**{part[0].upper()}{part[1:]}** carried: accuracy in per cent, and the points over scratch with Student's 95 % "
        "interval over seeds; bold: Holm's p over the whole grid below 0.05."
    )
    return Table(["source", *tasks], rows, caption)


def _row(differences: Records, arm: str, tasks: Sequence[str], name: str) -> list[str]:
    cells = []
    for one in (one for task in tasks for one in differences if (one["arm"], one["stage"]) == (arm, task)):
        text = f"{100 * one['value']:.1f}: {points(one)}, p {p_text(one['p_adjusted'])}"
        cells.append(f"**{text}**" if one["p_adjusted"] < 0.05 else text)
    return [name, *cells]


def _controls(summary: Mapping[str, Any]) -> list[Block]:
    if not summary["controls"]:
        return ["Not run."]
    tasks, arms = list(summary["tasks"]), dict.fromkeys(one["arm"] for one in summary["controls"])
    best = float(np.mean([one["value"] for one in summary["differences"] if one["arm"] == summary["best"]]))
    verdict = control_verdict(
        _gains(summary["differences"], summary["best"]), {arm: _gains(summary["controls"], arm) for arm in arms}
    )
    rows = [_row(summary["differences"], summary["best"], tasks, summary["best"])]
    rows += [_row(summary["controls"], arm, tasks, arm) for arm in arms]
    shuffled = [f"{task} {value:.1f}" for task, value in PUBLISHED_SHUFFLED.items() if task in tasks]
    return [
        f"The arm with the largest mean gain is {summary['best']}, {100 * best:.1f} % in the mean over tasks; {verdict} The arm "
        "was chosen by these same runs, its controls were not."
        + (f" Published, weights of the best source shuffled, per cent: {', '.join(shuffled)}." if shuffled else ""),
        Table(["arm", *tasks], rows, "As above; p of controls: Holm's over the tasks."),
    ]


def _gains(differences: Records, arm: str) -> Array:
    """What an arm has over scratch, per seed, in the mean over tasks."""
    gains: Array = np.mean([one["per_seed"] for one in differences if one["arm"] == arm], axis=0)
    return gains


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
