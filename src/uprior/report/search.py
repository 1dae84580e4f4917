"""The search for a mixture as a page: the verdict on sets it never saw, the best mixture, and all rungs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.drawing import COLOURS, drawn
from uprior.report.origin import origin_blocks, verdict_of, with_interval
from uprior.report.words import quantity

TITLE = "Search: which mixture of random computation is the best prior"


def search_pages(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """File name -> content: search.md with its figure, report.html, and best.json, a source for ``--source``."""
    best = json.dumps(summary["specs"][summary["best"]], indent=2) + "\n"
    return {"best.json": best.encode(), **pages("search", TITLE, _blocks(summary, records))}


def _blocks(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Block]:
    development, rungs = ", ".join(summary["development"]), summary["study"]["rungs"]
    tokens = ", ".join(quantity(budget) for budget in rungs)
    return [
        f"{len(summary['rankings'][0])} mixtures, in rungs of {tokens} tokens per run. Between rungs the best "
        f"1/{summary['study']['keep']} by the mean of (bits per byte − in-context Markov line) over "
        f"{len(summary['development'])} development sets ({development}) went on. The {len(summary['real'])} real sets below "
        "were looked at after the last rung, for this page and no decision.",
        Heading("The verdict"),
        _claim(summary),
        _verdict_table(summary),
        Heading("The best mixture"),
        _composition(summary["specs"][summary["best"]]),
        "As a source: `uprior pretrain --source best.json`.",
        Heading("On real sets"),
        _real_table(summary, records),
        Heading("All rungs"),
        _picture(summary),
        *(_rung_table(summary, rung) for rung in range(len(rungs))),
        Heading("How it was made"),
        *origin_blocks(summary, records),
    ]


def _claim(summary: Mapping[str, Any]) -> str:
    best = summary["best"]
    if best == "base":
        return "**Nothing beat the mixture that the search began with** on the development sets in the last rung."
    real = summary["verdict"][best]["real"]
    said = {
        "better": "is better on the real sets, which the search never saw",
        "worse": "is worse on the real sets: it was fitted to the development sets",
        "not told apart": "cannot be told from the base on the real sets by these seeds",
    }.get(verdict_of(real), "ran on one seed in the last rung, which gives no interval")
    return (
        f"**{best}** {said}: {with_interval(real)} bits per byte against the base, better on "
        f"{len(real['per_set']) - real['worse_sets']} of {len(real['per_set'])} sets."
    )


def _verdict_table(summary: Mapping[str, Any]) -> Table:
    rows = []
    for one in summary["rankings"][-1]:
        name = one["candidate"]
        seeds = ", ".join(f"{value:+.3f}" for value in one["per_seed"]).replace("-", "−")
        row = [name, f"{one['objective']:+.3f}".replace("-", "−"), seeds]
        if name == "base":
            rows.append([*row, "–", "–", "–"])
            continue
        found = summary["verdict"][name]
        real = found["real"]
        better = f"{len(real['per_set']) - real['worse_sets']} of {len(real['per_set'])}"
        rows.append([*row, with_interval(found["development"]), with_interval(real), better])
    head = ["mixture", "development, to Markov", "each seed", "development − base", "real − base", "better on"]
    caption = "Last rung, mean bits per byte over the sets; differences paired by seed with 95 % intervals over seeds."
    return Table(head, rows, caption)


def _composition(spec: Mapping[str, Any]) -> Table:
    outer = []
    while "sources" not in spec:
        outer.append(str(spec["name"]))
        spec = spec["source"]
    shares = spec["shares"] or [1] * len(spec["sources"])
    rows = [[_spec_text(part), f"{share}", f"{100 * share / sum(shares):.0f} %"]
            for part, share in zip(spec["sources"], shares, strict=True)]  # fmt: skip
    caption = f"All of it inside: {', '.join(outer)}." if outer else ""
    return Table(["part", "rows per cycle", "share"], rows, caption)


def _spec_text(spec: Mapping[str, Any]) -> str:
    inner = spec.get("source")
    return f"{spec['name']} of {_spec_text(inner)}" if isinstance(inner, Mapping) else str(spec["name"])


def _real_table(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Table:
    last = [r for r in records if r["rung"] == len(summary["rankings"]) - 1]
    names = list(dict.fromkeys([summary["best"], "base"]))

    def mean(name: str, file: str) -> float:
        bits = [r["bits_mean"] for r in last if (r["arm"], r["file"]) == (name, file)]
        return float(sum(bits) / len(bits))

    rows = []
    for file in summary["real"]:
        lines = summary["lines"][file]
        bits = [mean(name, file) for name in names]
        gap = [f"{bits[0] - bits[1]:+.3f}".replace("-", "−")] if len(bits) == 2 else []
        rows.append([file, f"{lines['markov']:.3f}", f"{lines['markov-mix']:.3f}", *(f"{b:.3f}" for b in bits), *gap])
    head = ["set", "Markov, best order", "Markov, orders mixed", *names, *(["difference"] if len(names) == 2 else [])]
    return Table(head, rows, "Bits per byte after the last rung, mean over seeds and over all bytes of the windows.")


def _rung_table(summary: Mapping[str, Any], rung: int) -> Table:
    ranking = summary["rankings"][rung]
    rows = [
        [str(place), one["candidate"], f"{one['objective']:+.4f}".replace("-", "−"), _parts(summary, one["candidate"])]
        for place, one in enumerate(ranking, start=1)
    ]
    caption = f"Rung {rung + 1}: {quantity(summary['study']['rungs'][rung])} tokens per run."
    return Table(["place", "mixture", "development, to Markov", "parts (rows per cycle)"], rows, caption, texts=2)


def _parts(summary: Mapping[str, Any], name: str) -> str:
    spec = summary["specs"][name]
    while "sources" not in spec:
        spec = spec["source"]
    shares = spec["shares"] or [1] * len(spec["sources"])
    return ", ".join(f"{_spec_text(part)} {share}" for part, share in zip(spec["sources"], shares, strict=True))


def _picture(summary: Mapping[str, Any]) -> Picture:
    rankings, budgets = summary["rankings"], summary["study"]["rungs"]
    best = summary["best"]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for name in summary["specs"]:
            known = [
                (budget, one["objective"])
                for budget, ranking in zip(budgets, rankings, strict=True)
                for one in ranking
                if one["candidate"] == name
            ]
            chosen = {best: COLOURS[0], "base": COLOURS[1]}.get(name)
            style = {"color": chosen or "#9aa0a6", "linewidth": 2 if chosen else 0.9, "zorder": 3 if chosen else 2}
            label = f"best: {name}" if name == best else name
            axes.plot(*zip(*known, strict=True), marker="o", markersize=4, label=label if chosen else None, **style)
        axes.set(xscale="log", xlabel="tokens per run", ylabel="bits per byte − Markov line, development sets")
        axes.grid(True, linewidth=0.4, alpha=0.6)
        axes.legend(frameon=False)

    caption = "A line a mixture; it ends where the mixture was left behind. The last rung: mean over its own seeds."
    return Picture("search.svg", drawn(paint, (7, 4), "search"), "the objective of every mixture by rung", caption)
