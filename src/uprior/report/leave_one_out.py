"""The leave-one-out study as a page: what each part of a mixture contributes, and which settings matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.drawing import COLOURS, drawn
from uprior.report.origin import origin_blocks, verdict_of, with_interval
from uprior.report.words import quantity

TITLE = "Leave one out: what each source of the mixture contributes"
HEADINGS = {
    "without": "Without each part",
    "alone": "Each part alone",
    "depth": "Depth of iteration",
    "machines": "Rows per machine",
    "relabelled": "Relabelling",
    "packed": "Packing",
    "noisy": "Noise",
    "length": "Row length",
}


def leave_one_out_pages(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """File name -> content: leave-one-out.md with its figure, and report.html."""
    return pages("leave-one-out", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Block]:
    study = summary["study"]
    arms = summary["arms"]
    groups = [group for group in HEADINGS if any(arm["group"] == group for arm in arms)]
    blocks: list[Block] = [
        f"Every arm trains the same model by the same recipe on {quantity(study['tokens'])} tokens with {study['seeds']} seeds. "
        "Shown: bits per byte of the arm minus those of the whole mixture, mean over sets, with 95 % intervals over seeds, from "
        f"the spread that all {len(arms)} arms show together; one arm in twenty falls outside by chance. **Above zero: what was "
        "left out or changed is missed.** Decisions are made on the development sets.",
        Heading("The verdict"),
        *_claims(arms, study["seeds"]),
        _picture(arms),
    ]
    for group in groups:
        blocks += [Heading(HEADINGS[group]), _table([arm for arm in arms if arm["group"] == group])]
        if group == "length":
            blocks.append(
                f"Measured on the same windows of {study['length']} bytes: models of shorter rows read beyond the length they "
                "were trained on, models of longer ones saw fewer rows."
            )
    return [
        *blocks,
        Heading("On each set"),
        _sets(summary, arms),
        Heading("How it was made"),
        *origin_blocks(summary, records),
    ]


def _claims(arms: Sequence[Mapping[str, Any]], seeds: int) -> list[str]:
    if seeds < 2:
        return ["One seed: differences are shown, but nothing can be said about how far another seed would move them."]
    by_verdict: dict[str, list[str]] = {"worse": [], "better": [], "not told apart": []}
    for arm in arms:
        by_verdict[verdict_of(arm["development"])].append(arm["name"])
    said = {
        "worse": "Worse on the development sets (all of the interval is above zero)",
        "better": "Better on the development sets (all of it is below zero)",
        "not told apart": "Not told apart from the whole mixture",
    }
    return [f"{said[verdict]}: {', '.join(names) or 'none'}." for verdict, names in by_verdict.items()]


def _table(arms: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for arm in sorted(arms, key=lambda arm: -float(arm["development"]["difference"])):
        development, real = arm["development"], arm["real"]
        each = ", ".join(f"{value:+.3f}" for value in development["per_seed"]).replace("-", "−")
        rows.append(
            [
                arm["name"],
                with_interval(development),
                each,
                f"{development['worse_sets']} of {len(development['per_set'])}",
                with_interval(real),
                f"{real['worse_sets']} of {len(real['per_set'])}",
            ]
        )
    return Table(["arm", "development", "each seed", "worse on", "real", "worse on"], rows)


def _sets(summary: Mapping[str, Any], arms: Sequence[Mapping[str, Any]]) -> Table:
    names = [*summary["development"], *summary["real"]]
    rows = []
    for arm in arms:
        found = arm["development"]["per_set"] | arm["real"]["per_set"]
        rows.append([arm["name"], *(f"{found[name]:+.2f}".replace("-", "−") for name in names)])
    return Table(["arm", *names], rows, "Bits per byte minus those of the whole mixture, mean over seeds.")


def _picture(arms: Sequence[Mapping[str, Any]]) -> Picture:
    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color="#111111", linewidth=0.8)
        for kind, colour, shift in (("development", COLOURS[1], 0.14), ("real", COLOURS[0], -0.14)):
            places = [-n + shift for n in range(len(arms))]
            axes.plot([arm[kind]["difference"] for arm in arms], places, "o", color=colour, label=f"{kind} sets")
            for place, arm in zip(places, arms, strict=True):
                axes.plot(arm[kind]["per_seed"], [place] * len(arm[kind]["per_seed"]), "|", color=colour, markersize=7)
        axes.set_yticks([-n for n in range(len(arms))], [arm["name"] for arm in arms])
        axes.set_xlabel("bits per byte − those of the whole mixture")
        axes.grid(True, linewidth=0.4, alpha=0.6)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    caption = "Dots: mean over seeds and sets; strokes: each seed. To the right: worse than the whole mixture."
    name = "differences to the whole mixture, by arm"
    return Picture(
        "leave-one-out.svg", drawn(paint, (8, 0.8 + 0.27 * max(4, len(arms))), "leave-one-out"), name, caption
    )
