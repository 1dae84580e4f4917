"""The fit of the counting start as a page."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from uprior.report.document import Block, Heading, Table, pages
from uprior.report.origin import portable

TITLE = "First weights that count: the numbers they are made of, and what they can do"
_KINDS = ("logits", "kinds", "shares", "heights", "slope", "spread")


def counting_fit_pages(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> content: counting-fit.md, and report.html."""
    return pages("counting-fit", TITLE, _blocks(summary))


def _blocks(summary: Mapping[str, Any]) -> list[Block]:
    study, records, sets = summary["study"], summary["records"], summary["sets"]
    whole, bound = records[0], records[-1]
    ours, best = _mean(whole["bits"]), _mean(bound["bits"])
    return [
        "Bits per byte at places in the last quarter of windows of the development sets, which are never reported elsewhere. "
        f"The function is what `{study['model'] or 'the model'}` computes, from agreement of symbols; its numbers are "
        "fitted to random computation, and real data has no part in them but in the last row of fits, which is a bound and no "
        "predictor.",
        Heading("The verdict"),
        f"Fitted to the source: {ours:.3f} bits in the mean of {len(sets)} sets. Fitted to these sets themselves it "
        f"comes to {best:.3f}: **a better source could bring this function {ours - best:.3f} bits, no more.**",
        Heading("On the development sets"),
        Table(
            ["predictor", "mean", *sets],
            [
                *([f"fitted to {one['fit']}", *_cells(one["bits"], sets)] for one in records),
                ["fitted to the source, codes without noise", *_cells(whole["exact_bits"], sets)],
                *([name, *_cells(bits, sets)] for name, bits in summary["beside"].items()),
            ],
        ),
        Heading("The numbers"),
        Table(
            ["fitted to", *_KINDS],
            [
                *([one["fit"], *(_list(one["numbers"][kind]) for kind in _KINDS)] for one in records),
                ["in the package", *(_list(summary["made_of"][kind]) for kind in _KINDS)],
            ],
            "Of both sums: logits of agreement with the last symbol, the one before, and so on; and in kind alone with the last "
            "two. Shares of what was found at which the bends lie; what logits rise by between them; their slope beside that; "
            "and what is spread over blocks of 2, 4, 8 and so on symbols.",
        ),
        Heading("How it was made"),
        Table(
            ["", ""],
            [
                ["command", f"`{portable(summary['origin']['command'])}`"],
                ["commit", summary["origin"]["commit"] or "unknown"],
                ["versions", ", ".join(f"{name} {version}" for name, version in summary["origin"]["versions"].items())],
                ["seed", str(study["seed"])],
                ["compute", f"{whole['flops']:.2g} FLOPs for the fit to the source, rows included"],
            ],
            texts=2,
        ),
    ]


def _mean(bits: Mapping[str, float]) -> float:
    return fmean(bits.values())


def _cells(bits: Mapping[str, float], sets: list[str]) -> list[str]:
    return [f"{_mean(bits):.3f}", *(f"{bits[name]:.2f}" for name in sets)]


def _list(values: Any) -> str:
    if not isinstance(values, list):
        return f"{values:g}"
    return ("; " if isinstance(values[0], list) else ", ").join(_list(value) for value in values)
