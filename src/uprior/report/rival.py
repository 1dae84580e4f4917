"""The rival study as a page: the compute that the published prior needs over ours, per set, and what each step contributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.drawing import COLOURS, drawn
from uprior.report.origin import origin_blocks
from uprior.report.words import quantity

TITLE = "The rival: how much compute the published prior needs for our bits"
BAR = 20
COLUMNS = 4
SIGNS = {"=": "", ">=": "≥ ", "<=": "≤ "}


def rival_pages(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """File name -> content: rival.md with its figures, and report.html."""
    return pages("rival", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Block]:
    study = summary["study"]
    return [
        "Four arms train the same architecture: the published source and buffer with the published recipe and random "
        "first weights (the rival); the same source with our recipe and the model's own first weights; the same random "
        f"LSTMs as independent staged chains, and our mixture, with both; {quantity(study['tokens'])} tokens at most "
        f"each{_shorter(study)}. Compute is 6 × parameters × tokens, and the writing of the data{_fitted(study)}. A ratio of 20 "
        "means: the rival spent twenty times our compute when he reached these bits.",
        Heading("The verdict"),
        _claim(summary),
        Heading("On each real set"),
        _table(summary),
        _ratios(summary),
        _curves(summary),
        Heading("Which rival"),
        _tuning(summary),
        *_faithful(summary),
        Heading("How it was made"),
        *origin_blocks(summary, records),
    ]


def _shorter(study: Mapping[str, Any]) -> str:
    """Where arms of our recipe have a smaller budget than the rival."""
    return f", with our recipe {quantity(study['our_tokens'])}" if study.get("our_tokens") else ""


def _fitted(study: Mapping[str, Any]) -> str:
    """Where first weights were fitted to something."""
    flops = study.get("first_weights_flops")
    if not flops:
        return ""
    charged = f"runs that begin with first weights of our own are charged {flops:.1e} FLOPs for their fit"
    return f"; {charged}, and are looked at untrained, too"


def bounded(number: Mapping[str, Any], *, power: bool = False) -> str:
    """A number of which perhaps only one side is known, or neither.

    >>> bounded({"value": 21.7, "bound": ">="}), bounded({"value": 3.25e14, "bound": "="}, power=True)
    ('≥ 22', '3.2e+14')
    """
    value = number["value"]
    if number["bound"] == "?":
        return "–"
    return SIGNS[number["bound"]] + (f"{value:.1e}" if power else f"{value:.2f}" if value < 10 else f"{value:,.0f}")


def _claim(summary: Mapping[str, Any]) -> str:
    sets = summary["sets"]
    held = [one["file"] for one in sets if one["ratio"]["bound"] in "=>=" and one["ratio"]["value"] >= BAR]
    smallest = min(sets, key=lambda one: float(one["ratio"]["value"]))
    answer = "Yes" if len(held) == len(sets) else "No"
    seeds = summary["study"]["seeds"]
    covered = "windows" if seeds == 1 else f"windows and {seeds} seeds"
    alone = " With one seed they say nothing about other seeds." if seeds == 1 else ""
    mean, worst = f"{summary['geometric_mean']:.1f}", f"{bounded(smallest['ratio'])} ({smallest['file']})"
    return (
        f"Asked: the same bits with at most 1/{BAR} of the rival's compute on every real set. **{answer}**: on {len(held)} of "
        f"{len(sets)}. The ratio is {mean} in the geometric mean over the sets; the smallest is {worst}. "
        f"Bounds count as their value. Intervals cover {covered}.{alone}"
    )


def _table(summary: Mapping[str, Any]) -> Table:
    rows = []
    for one in summary["sets"]:
        needed, ratio = one["needed"], one["ratio"]
        first, *_, last = summary["roles"]
        rows.append(
            [
                one["file"],
                f"{summary['lines'][one['file']]['markov']:.3f}",
                f"{one['level']:.3f}",
                bounded(needed[first], power=True),
                bounded(needed[last], power=True),
                f"**{bounded(ratio)}** ({ratio['low']:.3g} to {ratio['high']:.3g})",
                *(bounded(step) for step in one["steps"]),
            ]
        )
    head = ["set", "Markov", "rival's lowest bits", "rival, FLOPs", "ours, FLOPs", "ratio (95 %)"]
    caption = (
        "At the lowest mean bits per byte that the rival reached on a set: the compute until a curve first came down to "
        "them, interpolated in log compute. ≥ and ≤: the curve of one of the two begins below these bits, or never "
        "comes down to them. The last three columns multiply to the ratio: what our recipe, independent chains and our "
        "source contribute."
    )
    return Table([*head, "recipe", "independence and depth", "source"], rows, caption)


def _tuning(summary: Mapping[str, Any]) -> Table:
    rows = [
        [
            one["arm"] + (" (the rival)" if one["arm"] == summary["chosen"] else ""),
            f"{one['objective']:+.3f}".replace("-", "−"),
            f"{one['geometric_mean']:.3g}",
            bounded(one["smallest"]),
        ]
        for one in summary["tuning"]
    ]
    caption = (
        "The published recipe in every variant that was run, one seed: bits per byte minus the Markov line at the end, "
        f"mean over the development sets ({', '.join(summary['development'])}), of which the best is the rival above; and "
        "the ratios on the real sets against each."
    )
    head = ["recipe", "development, to Markov", "ratio, geometric mean", "smallest"]
    return Table(head, rows, caption)


def _faithful(summary: Mapping[str, Any]) -> list[str]:
    return [
        "Faithful: the machines, buffer, resets, number of rows rewritten and emitted of the published source (preset "
        "`fork`); AdamW (0.9, 0.999) without weight decay, constant rate 3e-4 × 640 / width after a linear warm-up, "
        "gradient clipping at 1. Published ramps: the rate rises over 1 M of 16 M rows, batches grow from 50 to 500 "
        "rows between 0.5 M and 1.5 M. **published batches** scales the three to the budget and keeps 50 to 500 rows; "
        "**batches as ours** scales them too and grows tenfold to our rows per step, since at small budgets 500 rows "
        "per step leave few steps; **ramps as published** scales nothing, so that a small budget ends within the "
        "warm-up.",
        "Not as published: the target is our Llama (pre-norm, rotary positions, no dropout), as in all "
        "arms; one rate in all tensors, where the published one is lower in embeddings and norms; rows of "
        f"{summary['study']['length']} tokens in place of 512; a buffer begins anew in every block of up to 8,192 rows, "
        "with a spin-up of 300 steps that is not charged; rows of a block are shuffled, so batches are nearer to "
        "independent than the published ones. Our arms were run once per budget, because their rate falls with the "
        "budget; only ends of runs count there. The rival's constant rate makes every point of a run the end of a "
        "shorter one.",
    ]


# ------------------------------------------------------------------ pictures


def _curves(summary: Mapping[str, Any]) -> Picture:
    sets, roles = summary["sets"], summary["roles"]
    lines = -(-len(sets) // COLUMNS)

    def paint(figure: Any) -> None:
        panels = figure.subplots(lines, min(COLUMNS, len(sets)), sharex=True, squeeze=False).reshape(-1)
        for axes, one in zip(panels, sets, strict=False):
            for number, role in enumerate(roles):
                compute, bits = one["curves"][role]
                axes.plot(compute, bits, color=COLOURS[number], marker="o", markersize=2.5, linewidth=1.4, label=role)
            axes.axhline(
                summary["lines"][one["file"]]["markov"], color="#6b7280", linewidth=0.9, linestyle=":", label="Markov"
            )
            axes.set(xscale="log")
            axes.set_title(one["file"], fontsize=9)
            axes.grid(True, linewidth=0.4, alpha=0.6)
        for axes in panels[len(sets) :]:
            axes.set_visible(False)
        figure.supxlabel("total compute, FLOPs", fontsize=8.5)
        figure.supylabel("bits per byte", fontsize=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels))

    size = (2.6 * min(COLUMNS, len(sets)) + 0.6, 2.0 * lines + 0.7)
    caption = (
        "Mean over windows and seeds. Arms of our recipe: the ends of runs of different budgets. Where it fits: Markov."
    )
    return Picture(
        "rival-curves.svg", drawn(paint, size, "rival-curves"), "bits per byte against compute, by set and arm", caption
    )


def _ratios(summary: Mapping[str, Any]) -> Picture:
    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for number, one in enumerate(summary["sets"]):
            points = [(p["level"] - one["level"], p["value"]) for p in one["curve"] if p["bound"] != "?"]
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": ("-", "--")[number // len(COLOURS) % 2]}
            if points:
                axes.plot(*zip(*points, strict=True), linewidth=1.3, label=one["file"], **style)
        axes.axhline(BAR, color="#111111", linewidth=0.8, linestyle=":")
        axes.axhline(1, color="#111111", linewidth=0.8)
        axes.set(yscale="log", xlabel="bits above the rival's lowest", ylabel="rival's compute / ours")
        axes.invert_xaxis()
        axes.grid(True, linewidth=0.4, alpha=0.6)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    caption = "At every level of bits that the rival passed, to his lowest at the right. Dotted: 20. Bounds count as their value."
    return Picture(
        "rival-ratio.svg", drawn(paint, (7.5, 3.8), "rival-ratio"), "compute ratio by level and set", caption
    )
