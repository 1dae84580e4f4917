"""The scaling study as a page: bits per doubling, power laws, and what the smaller sizes said of the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.fits import Law
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.drawing import COLOURS, drawn
from uprior.report.origin import origin_blocks
from uprior.report.words import quantity

TITLE = "Scaling: bits on unseen real data against parameters and tokens"
# Bloem 2025, arXiv 2506.20057: bits per doubling of parameters from 28 M to 428 M at 13 to 14 M rows, read off the figure.
PUBLISHED = {"english Wikipedia (enwik8)": -0.053, "german": -0.041, "javascript": -0.068}
COLUMNS = 4


def scaling_pages(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """File name -> content: scaling.md with its figures, and report.html."""
    return pages("scaling", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Block]:
    study = summary["study"]
    sizes = sorted({record["parameters"] for record in records})
    budgets = sorted({record["tokens"] for record in records})
    return [
        f"{len(sizes)} models of {', '.join(quantity(size) for size in sizes)} parameters, each trained on "
        f"{', '.join(quantity(budget) for budget in budgets)} tokens of the same stream of `{study['source']['name']}`, "
        "every run with a decay of its own. No model saw real data.",
        Heading("The verdict"),
        *_claims(summary),
        Heading("Bits per doubling"),
        _slopes(summary),
        _picture(summary, records),
        Heading("Power laws"),
        _laws(summary),
        Heading("The largest size, held out"),
        _held_out(summary),
        Heading("How it was made"),
        *origin_blocks(
            summary,
            records,
            f"Learning rates are those of width {study['base_width']}, carried over by muP."
            if study["base_width"]
            else "",
        ),
    ]


def _all(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [summary["mean"], *summary["sets"]]


def _signed(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})".replace("-", "−")


def _claims(summary: Mapping[str, Any]) -> list[str]:
    mean, sets = summary["mean"], summary["sets"]
    falling = [one["file"] for one in sets if one["parameters_doubled"]["high"] < 0]
    faster = [one["file"] for one in sets if one["parameters_doubled"]["value"] < min(PUBLISHED.values())]
    last = mean["held_out"][-1]
    inside = "inside" if last["low"] <= last["bits"] <= last["high"] else "outside of"
    return [
        f"A doubling of parameters brings {_signed(mean['parameters_doubled'])} bits per byte in the mean over "
        f"{len(sets)} real sets at the largest budget (published, of models 20 and more times as large: −0.04 to −0.07 "
        f"on three real sets); bits fall with all of the interval on {len(falling)} of {len(sets)} sets, faster than the "
        f"published −0.068 on {len(faster)}. A doubling of tokens brings {_signed(mean['tokens_doubled'])} at the "
        "largest size.",
        f"The law of the smaller sizes says {last['predicted']:.3f} bits ({last['low']:.3f} to {last['high']:.3f}) for "
        f"the largest model at the largest budget, in the mean over sets; measured {last['bits']:.3f}, **{inside}** the "
        "interval.",
    ]


def _slopes(summary: Mapping[str, Any]) -> Table:
    rows = [
        [one["file"], _signed(one["parameters_doubled"]), _published(one["file"]), _signed(one["tokens_doubled"])]
        for one in _all(summary)
    ]
    caption = (
        "Slope of bits per byte over log2: of parameters at the largest budget, of tokens at the largest size, 95 % "
        "intervals over windows and residuals. Published: Bloem 2025 ([arXiv "
        "2506.20057](https://arxiv.org/abs/2506.20057)), 28 M to 428 M parameters after 7 G tokens, at the last byte of "
        "512; on English Wikipedia −0.053."
    )
    return Table(["set", "per doubling of parameters", "published", "per doubling of tokens"], rows, caption)


def _published(file: str) -> str:
    return f"{PUBLISHED[file]:+.3f}".replace("-", "−") if file in PUBLISHED else "–"


def _laws(summary: Mapping[str, Any]) -> Table:
    rows = []
    for one in _all(summary):
        law, intervals = one["law"], one["intervals"]
        cells = [f"{law[name]:.2f} ({low:.2f} to {high:.2f})" for name, (low, high) in intervals.items()]
        rows.append([one["file"], *cells, f"{law['size']:.2f}", f"{law['data']:.2f}"])
    first = summary["mean"]["law"]
    caption = (
        "bits = floor + size × (N / N0)^−alpha + data × (D / D0)^−beta, fitted to all runs; N0 = "
        f"{quantity(first['n0'])} parameters, D0 = {quantity(first['d0'])} tokens. A floor or an exponent at the end of "
        "a wide interval is not known from these sizes."
    )
    return Table(["set", "floor, bits", "alpha", "beta", "size, bits", "data, bits"], rows, caption)


def _held_out(summary: Mapping[str, Any]) -> Table:
    rows = []
    for one in _all(summary):
        last = one["held_out"][-1]
        rows.append(
            [
                one["file"],
                f"{last['bits']:.3f}",
                f"{last['predicted']:.3f} ({last['low']:.3f} to {last['high']:.3f})",
                "inside" if last["low"] <= last["bits"] <= last["high"] else "outside",
                f"{one['error']:.3f}",
                f"{one['error_of_next_size']:.3f}",
            ]
        )
    caption = (
        "The law fitted without the largest size, at the largest budget, with a 95 % interval for one more run; then "
        "the mean error over all budgets, beside that of taking the next smaller size's bits."
    )
    head = ["set", "measured", "predicted", "interval", "error, all budgets", "error of the next size"]
    return Table(head, rows, caption)


def _picture(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Picture:
    everything = _all(summary)
    lines = -(-len(everything) // COLUMNS)
    budgets = sorted({record["tokens"] for record in records})

    def paint(figure: Any) -> None:
        panels = figure.subplots(lines, min(COLUMNS, len(everything)), sharex=True, squeeze=False).reshape(-1)
        for axes, one in zip(panels, everything, strict=False):
            _panel(axes, one, records, budgets)
        for axes in panels[len(everything) :]:
            axes.set_visible(False)
        figure.supxlabel("parameters", fontsize=8.5)
        figure.supylabel("bits per byte", fontsize=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels))

    size = (2.6 * min(COLUMNS, len(everything)) + 0.6, 2.0 * lines + 0.7)
    caption = "Dots: runs, mean over seeds. Lines: the law fitted without the largest size, dotted where it predicts."
    return Picture(
        "scaling.svg", drawn(paint, size, "scaling"), "bits per byte against parameters, by set and budget", caption
    )


def _panel(axes: Any, one: Mapping[str, Any], records: Sequence[Mapping[str, Any]], budgets: Sequence[int]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    law = Law(**one["law_of_smaller"])
    for number, budget in enumerate(budgets):
        colour = COLOURS[number % len(COLOURS)]
        mine = [r for r in records if r["tokens"] == budget and one["file"] in (r["file"], "mean of all sets")]
        sizes = sorted({r["parameters"] for r in mine})
        bits = [np.mean([r["bits_mean"] for r in mine if r["parameters"] == size]) for size in sizes]
        axes.plot(sizes, bits, "o", color=colour, markersize=3.5, label=f"{quantity(budget)} tokens")
        through, beyond = np.geomspace(sizes[0], sizes[-2]), np.geomspace(sizes[-2], sizes[-1])
        axes.plot(through, law.at(through, budget), color=colour, linewidth=1.1)
        axes.plot(beyond, law.at(beyond, budget), color=colour, linewidth=1.1, linestyle=":")
    axes.set(xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(one["file"], fontsize=9)
    axes.grid(True, linewidth=0.4, alpha=0.6)
