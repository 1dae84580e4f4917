"""The study which-source-for-my-data as a page: what to type next, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uprior.report.arms import Records, curves_picture, laboratory_origin, p_text, seeds_table, signed
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.origin import verdict_of, with_interval
from uprior.report.words import quantity

TITLE = "Which source for this data"
NOISE = "noise"


def which_source_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: which-source.md with its figure, and report.html."""
    return pages("which-source", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    study, sizes = summary["study"], summary["sizes"]
    return [
        f"`{study['model']}` was warmed up on {len(summary['ranking']) - 1} sources and then trained on "
        f"`{summary['file']}`: a first round "
        f"of one seed ({quantity(sizes['first_warm'])} tokens of warm-up, {quantity(sizes['first_real'])} of the file) to "
        "rank, and a "
        f"second of {sizes['seeds']} fresh seeds ({quantity(sizes['warm_tokens'])} and {quantity(sizes['real_tokens'])}) "
        "on bytes that "
        "nothing before has seen. Larger models, longer warm-ups and more data may rank otherwise.",
        Heading("What to type"),
        f"**{summary['why'][0].upper()}{summary['why'][1:]}.**",
        *(f"`{line}`" for line in summary["advice"]),
        f"Differences of {summary['smallest_effect']:.3f} bits per byte or more would have been found in four of five "
        "such studies; a smaller "
        "one needs more seeds or a longer second round. Where no warm-up helps, this page advises one in at most 7.5 % of such "
        "studies.",
        Heading("Second round"),
        _second(summary),
        _curves(summary, records),
        seeds_table(summary["against"]["scratch"], "Minus scratch, each seed."),
        Heading("First round"),
        _first(summary),
        f"Do bits before any real data predict the ranking after it? Rank correlation {signed(summary['correlation'], 2)} over "
        f"{len(summary['ranking'])} arms.",
        Heading("How it was made"),
        *laboratory_origin(
            summary, records,
            f"Rates on the file: scratch {summary['rates']['scratch']:g}, all warmed arms that of the default mixture, "
            f"{summary['rates'][next(name for name in summary['rates'] if name != 'scratch')]:g}, both from equal trials "
            "on validation data.",
        ),
    ]  # fmt: skip


def _second(summary: Mapping[str, Any]) -> Table:
    default = next(name for name in summary["against"] if name not in ("scratch", NOISE))
    to_default = {one["arm"]: one for one in summary["against"][default]}
    saved = {one["arm"]: one for one in summary["savings"]}
    to_noise = {one["arm"]: one for one in summary["against"][NOISE]}
    rows = []
    for one in sorted(summary["against"]["scratch"], key=lambda one: float(one["value"])):
        arm = one["arm"]
        others = [with_interval(to[arm]) if arm in to else "–" for to in (to_default, to_noise)]
        low, high = (f"{100 * end:.0f}" if end is not None else "–" for end in (saved[arm]["low"], saved[arm]["high"]))
        saving = f"{100 * saved[arm]['difference']:.0f} % ({low} to {high})".replace("-", "−")
        word = verdict_of(one)
        rows.append(
            [arm, f"{one['value']:.3f}", f"{with_interval(one)}, p {p_text(one['p_adjusted'])}", word, *others, saving]
        )
    caption = (
        "Bits per byte on the test split at the end, mean over seeds; differences paired by seed with Student's 95 % "
        "interval; the share "
        "of the real tokens that is saved to reach scratch's last bits, with a bootstrap interval."
    )
    return Table(["arm", "bits", "minus scratch", "", f"minus {default}", f"minus {NOISE}", "saving"], rows, caption)


def _first(summary: Mapping[str, Any]) -> Table:
    rows = [[one["arm"], f"{one['bits']:.3f}", f"{one['zero_shot']:.3f}"] for one in summary["ranking"]]
    caption = "One seed, bits per byte on the validation split: after training on the file, by which arms are ranked, and before."
    return Table(["arm", "after", "before any real data"], rows, caption)


def _curves(summary: Mapping[str, Any], records: Records) -> Picture:
    curves = {}
    for arm in ("scratch", *summary["finalists"]):
        mine = [r for r in records if (r["stage"], r["arm"]) == ("second", arm)]
        seeds = sorted({r["seed"] for r in mine})
        runs = [sorted((r for r in mine if r["seed"] == seed), key=lambda r: int(r["step"])) for seed in seeds]
        curves[arm] = (
            np.array([r["tokens"] for r in runs[0]]),
            np.array([[r["bits_mean"] for r in run] for run in runs]),
        )
    caption = "Bits per byte on the test split over real tokens; thin lines: each seed."
    return curves_picture("which-source.svg", "learning curves", caption, {summary["file"]: curves}, "bits per byte")
