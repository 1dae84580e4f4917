"""What pages of transfer studies share: tables of arms, their curves, what they cost, and the carry table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.document import Block, Picture, Table
from uprior.report.drawing import COLOURS, drawn
from uprior.report.origin import portable, with_interval
from uprior.report.words import quantity
from uprior.statistics import detectable_effect, seeds_needed

Records = Sequence[Mapping[str, Any]]


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, the minus as typographers want it.

    >>> signed(-0.25, 2)
    '−0.25'
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def p_text(p: float) -> str:
    """A p-value, or a dash where one seed gives none.

    >>> p_text(0.0004), p_text(float("nan"))
    ('<0.001', '–')
    """
    return "–" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def difference_table(differences: Records, stages: Sequence[str], caption: str, *, digits: int = 3) -> Table:
    """A row per arm, a column per stage: the difference to the baseline and its interval, bold where Holm's p is below 0.05."""
    arms = list(dict.fromkeys(one["arm"] for one in differences))
    by_place = {(one["arm"], one["stage"]): one for one in differences}

    def cell(arm: str, stage: str) -> str:
        one = by_place.get((arm, stage))
        if one is None:
            return ""
        text = f"{with_interval(one, digits)}, p {p_text(one['p_adjusted'])}"
        return f"**{text}**" if one["p_adjusted"] < 0.05 else text

    return Table(["arm", *stages], [[arm, *(cell(arm, stage) for stage in stages)] for arm in arms], caption)


def seeds_table(differences: Records, caption: str) -> Table:
    """A row per arm and stage: each seed's own difference, and how many seeds would have found it."""
    rows = []
    for one in differences:
        spread = float(np.std(one["per_seed"], ddof=1)) if len(one["per_seed"]) > 1 else math.nan
        needed = "–" if math.isnan(spread) or not one["difference"] else str(seeds_needed(one["difference"], spread))
        rows.append([one["arm"], one["stage"], ", ".join(signed(value) for value in one["per_seed"]), needed])
    return Table(["arm", "data", "each seed", "seeds for 80 % power"], rows, caption, texts=2)


def power_note(differences: Records, level: float, what: str) -> str:
    """Which effect the seeds could find, from the spread of paired differences over seeds, pooled over arms and stages.

    level   the baseline's value: a share of it is said too
    """
    variances = [float(np.var(one["per_seed"], ddof=1)) for one in differences if len(one["per_seed"]) > 1]
    if not variances:
        return "One seed: nothing is known about the spread between seeds, so nothing about power."
    seeds = len(differences[0]["per_seed"])
    spread = math.sqrt(float(np.mean(variances)))
    least, two_percent = detectable_effect(spread, seeds), seeds_needed(0.02 * level, spread)
    return (
        f"Power: paired differences between seeds spread by {spread:.3f} {what} (pooled over arms and data). With {seeds} "
        "seeds a "
        f"paired t-test finds {least:.3f} {what} ({100 * least / level:.1f} % of {level:.2f}) in four of five "
        "repetitions; an effect of 2 % "
        f"needs {two_percent} seeds."
    )


def power_over_stages(differences: Records, level: float, what: str) -> str:
    """Which mean effect so many stages could find, where each is one observation: its mean over seeds."""
    values = [float(one["difference"]) for one in differences]
    if len(values) < 2:
        return "one stage, so nothing is known about the spread between them."
    spread = float(np.std(values, ddof=1))
    least, two_percent = detectable_effect(spread, len(values)), seeds_needed(0.02 * level, spread)
    return (
        f"over data, {len(values)} mean differences lie at {signed(float(np.mean(values)))} {what} and spread by {spread:.3f}; "
        f"so many find a mean effect of {least:.3f} {what} ({100 * least / level:.1f} %) in four of five repetitions, and one of "
        f"2 % needs {two_percent}."
    )


def curves_picture(
    file: str, name: str, caption: str, panels: Mapping[str, Mapping[str, tuple[Any, Any]]], label: str
) -> Picture:
    """One panel per stage: arm -> (x [E], y [S, E]); the line is the mean over seeds, thin lines are the seeds."""
    arms = list(dict.fromkeys(arm for curves in panels.values() for arm in curves))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)

    def paint(figure: Any) -> None:
        from matplotlib.ticker import EngFormatter, MaxNLocator

        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        for place, (stage, curves) in zip(axes, panels.items(), strict=False):
            for arm, (x, y) in curves.items():
                colour = COLOURS[arms.index(arm) % len(COLOURS)]
                place.plot(x, np.mean(y, axis=0), color=colour, label=arm, linewidth=1.6)
                for seed in y:
                    place.plot(x, seed, color=colour, linewidth=0.5, alpha=0.5)
            place.set_title(stage, fontsize=9)
            place.xaxis.set_major_locator(MaxNLocator(4))
            place.xaxis.set_major_formatter(EngFormatter(sep=""))
            place.grid(True, linewidth=0.4, alpha=0.6)
        for place in axes[len(panels) :]:
            place.set_visible(False)
        lines_of = {line.get_label(): line for place in axes for line in place.get_legend_handles_labels()[0]}
        shown = [arm for arm in arms if arm in lines_of]
        figure.legend(
            [lines_of[arm] for arm in shown], shown, frameon=False, loc="outside upper center",
            ncols=min(columns + 1, len(shown)),
        )  # fmt: skip
        figure.supxlabel("tokens of the shared stage", fontsize=8.5)
        figure.supylabel(label, fontsize=8.5)

    return Picture(
        file,
        drawn(paint, (max(5.0, 3.1 * columns), 2.3 * lines + 0.6 + 0.2 * -(-len(arms) // (columns + 1))), file),
        name,
        caption,
    )


def carry_table(records: Records, caption: str) -> Table:
    """The table of ``uprior.carry``, as its ``records()`` were kept."""
    rows = []
    for one in records:
        training = "" if one["start"] == "none" else "frozen" if one["frozen"] else "trained"
        layers = f"{one['layers'][0]}–{one['layers'][-1]}" if one["layers"] else ""
        rows.append([one["role"], layers, one["start"], training, one["note"], f"{one['parameters']:,}"])
    return Table(["role", "layers", "weights", "training", "", "parameters"], rows, caption, texts=5)


def laboratory_origin(summary: Mapping[str, Any], records: Records, *notes: str) -> list[Block]:
    """The closing section: command, commit, versions, compute with warm-ups counted once per seed, and wall time."""
    origin, study = summary["origin"], summary["study"]
    last = {(r["stage"], r["arm"], r["seed"]): r for r in records}
    training = sum(r["train_flops"] for r in last.values())
    warming = sum({(r["arm"], r["seed"]): r["warmup_flops"] + r["generation_flops"] for r in last.values()}.values())
    rates = {arm: rate for (_, arm, _), rate in ((key, r["learning_rate"]) for key, r in last.items())}
    sizes = sorted({r["parameters"] for r in last.values()})
    rows = [
        ["command", f"`{portable(origin['command'])}`"],
        ["commit", origin["commit"] or "unknown"],
        ["versions", ", ".join(f"{name} {version}" for name, version in origin["versions"].items())],
        [
            "budget",
            study["budget"] + ", " + ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in summary["sizes"].items()),
        ],
        ["models", ", ".join(f"{quantity(size)} parameters" for size in sizes)],
        ["seeds", ", ".join(map(str, sorted({r["seed"] for r in last.values()})))],
        ["rates", ", ".join(f"{arm} {rate:g}" for arm, rate in rates.items())],
        [
            "compute",
            f"{len(last)} runs: {training:.3g} FLOPs of the shared stage, {warming:.3g} of warm-ups and their data",
        ],
        ["time", f"{summary['run_seconds'] / 60:.0f} minutes of training in all runs, trials of rates included"],
    ]
    counted = (
        "FLOPs are 6 per multiplied parameter and token; writing a source's rows is what its networks multiply plus 500 "
        "operations a token. What several arms share is counted for each of them. Evaluations are charged to nobody."
    )
    return [Table(["", ""], rows, texts=2), counted, *notes]
