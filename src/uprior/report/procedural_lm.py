"""The procedural-lm study as a page: what a warm-up adds, what it replaces, and whether published numbers hold at this size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.arms import carry_table, curves_picture, laboratory_origin, p_text, power_note, signed
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.origin import with_interval
from uprior.report.procedural_lm_verdicts import rate_text, relative_text, saved_text, verdict_rows, withdrawn
from uprior.report.words import quantity

TITLE = "Procedural data before language"
Named = Mapping[str, Any]


def procedural_lm_pages(summary: Named, records: Sequence[Named]) -> dict[str, bytes]:
    """File name -> content: procedural-lm.md with its figures, and report.html."""
    return pages("procedural-lm", TITLE, _blocks(summary, records))


def _blocks(summary: Named, records: Sequence[Named]) -> list[Block]:
    differences = [one for one in summary["additive"] if one["stage"] != "all"]
    level = float(np.mean([one["value"] - one["difference"] for one in differences]))
    carried = [carry_table(table, f"{arm}:") for arm, table in summary["carried"].items()]
    return [
        _can_show(summary),
        Heading("The verdict"),
        *_verdict_blocks(summary),
        Heading("Additive: the same real data, after a warm-up"),
        _additive_table(summary),
        _curve_picture(summary, records),
        power_note(differences, level, "bits"),
        Heading("Substitutive: how much real data is replaced"),
        _saving_table(summary),
        _crossing_text(summary),
        Heading("Had the warm-ups learnt their task"),
        _learnt_table(summary),
        Heading("How it was made"),
        "What goes into a fresh model:",
        *carried,
        *laboratory_origin(summary, records),
    ]


def _can_show(summary: Named) -> str:
    sizes = summary["sizes"]
    share = sizes["warm_tokens"] / sizes["real_tokens"]
    return (
        f"A `{summary['model']}` is warmed up on {quantity(sizes['warm_tokens'])} procedural tokens and then trained "
        f"on {quantity(sizes['real_tokens'])} bytes of real text, seen once; published runs have 125 million "
        "parameters and more, text in tokens of a few bytes, 0.5 to 10 billion of them, and a warm-up of 0.1 to 5 % "
        f"of that, where ours is {100 * share:.0f} %. What can be seen here is the sign of an effect on scarce data, "
        "its size as a share of the loss, and whether controls have it too. What cannot is how large it is in a model "
        "that has learnt most of what a language is; independent work reports none below some 10 million parameters "
        "on small corpora."
    )


def _verdict_blocks(summary: Named) -> list[Block]:
    caption = (
        "The change of the loss is a share of scratch's loss: cross-entropies of bytes and of tokens are the same "
        "bits in other units, so these shares can be compared where perplexities cannot. Beside ours stands what it "
        "would make of the published perplexity. Intervals: 95 %, Student's over paired seeds, or a bootstrap over "
        "seeds and windows for tokens saved."
    )
    head = ["claim", "published", "as a share of the loss", "here", "verdict"]
    return [Table(head, verdict_rows(summary), caption, texts=5), withdrawn(summary)]


# ------------------------------------------------------------------ tables and pictures


def _additive_table(summary: Named) -> Table:
    found = {(one["arm"], one["stage"]): one for one in summary["additive"]}
    rows = []
    for arm in (*summary["arms"], *summary["controls"]):
        cells = []
        for set_ in summary["sets"]:
            one = found[arm, set_]
            text = f"{with_interval(one)}, p {p_text(one['p_adjusted'])}"
            cells += [f"**{text}**" if one["p_adjusted"] < 0.05 else text, relative_text(one["relative"])]
        rows.append([arm, *cells, relative_text(found[arm, "all"]["relative"])])
    head = ["arm", *(text for set_ in summary["sets"] for text in (f"{set_}, bits", "share")), "all, share"]
    scratch = ", ".join(
        f"{found[summary['arms'][0], set_]['value'] - found[summary['arms'][0], set_]['difference']:.3f} on {set_}"
        for set_ in summary["sets"]
    )
    caption = (
        f"Bits per byte minus scratch's at the end of the full budget (scratch: {scratch}), and as a share of "
        "scratch's. Bold: Holm's p over all arms and sets below 0.05. The last rows are the controls of "
        f"{summary['strongest']}."
    )
    return Table(head, rows, caption)


def _saving_table(summary: Named) -> Table:
    rows = [
        [
            one["arm"],
            one["stage"],
            saved_text(one["crossing"]),
            saved_text(one["matched"], bounded=one["bounded"]),
            ", ".join(f"{100 * value:.0f}".replace("-", "−") for value in one["matched"]["per_seed"]),
            rate_text(one),
            f"{100 * one['total_saving']:.0f} %".replace("-", "−"),
            signed(one["area_difference"]),
        ]
        for one in summary["substitutive"]
    ]
    ladder = next(iter(summary["budgets"].values()))
    caption = (
        "Real tokens that the arm does without to scratch's final loss (negative: that scratch does without to the "
        "arm's). `crossing`: where the full run first comes down to it, as published, in the middle of a schedule. "
        f"`matched`: by runs of {', '.join(quantity(tokens) for tokens, _ in ladder)} tokens, each with its own "
        "cosine, interpolated over log tokens; `at least`: the least budget was enough. `rate`: real tokens saved per "
        "token of warm-up, by crossing. `all charged`: what is left of the matched saving when warm-up tokens count "
        "as real ones. `area`: mean of the curve, bits minus scratch's."
    )
    head = ["arm", "set", "crossing", "matched", "matched, each seed", "rate", "all charged", "area"]
    return Table(head, rows, caption, texts=2)


def _crossing_text(summary: Named) -> str:
    lost = [
        f"{one['arm']} on {one['stage']} at {quantity(cross['at'])} tokens"
        for one in summary["substitutive"]
        for cross in one["crossings"]
        if cross["then_ahead"] == "baseline"
    ]
    if not lost:
        return "No arm that was ahead of scratch fell behind it later."
    return f"Ahead at first and then overtaken by scratch: {'; '.join(lost)}."


def _learnt_table(summary: Named) -> Table:
    def nats(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = [
        [one["arm"], f"{one['tokens']:,}", *(nats(one[key]) for key in ("first_nats", "last_nats", "above_floor_nats"))]
        for one in summary["warm_ups"]
    ]
    caption = (
        "Seed 0: nats per scored token over the first and the last tenth of the warm-up, and how far the last is "
        "above the floor, where the source knows it. A warm-up that is far above has not learnt its task, and cannot "
        "teach it."
    )
    return Table(["arm", "tokens", "at first", "at last", "above the floor"], rows, caption)


def _curve_picture(summary: Named, records: Sequence[Named]) -> Picture:
    panels: dict[str, dict[str, tuple[Any, Any]]] = {}
    for set_ in summary["sets"]:
        for arm in ("scratch", *summary["arms"], *summary["controls"]):
            runs: dict[int, list[tuple[int, float]]] = {}
            for record in records:
                if (record["stage"], record["arm"]) == (set_, arm):
                    runs.setdefault(record["seed"], []).append((record["tokens"], record["bits_mean"]))
            points = np.array([sorted(run) for run in runs.values()])
            panels.setdefault(set_, {})[arm] = (points[0, 1:, 0], points[:, 1:, 1])
    caption = "The full budget, without the point before training; thin lines are the seeds."
    return curves_picture(
        "procedural-lm.svg", "bits per byte while training on real text", caption, panels, "bits per byte"
    )
