"""The study universal-finetune as a page: what the prior saves on scarce real data, whether it survives, and the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from uprior.report.arms import (
    Records,
    carry_table,
    curves_picture,
    difference_table,
    laboratory_origin,
    power_note,
    power_over_stages,
    seeds_table,
    signed,
)
from uprior.report.document import Block, Heading, Picture, Table, markdown, page
from uprior.report.universal_finetune_verdicts import (
    SCRATCH,
    control_claims,
    elsewhere_claims,
    gaps_elsewhere,
    main_arm,
    percent,
    published_rows,
    saving_claims,
    scratches,
    stronger,
    tuning,
)
from uprior.statistics import retention

TITLE = "Fine-tuning the universal prior where real data is scarce"


def universal_finetune_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: universal-finetune.md with its figure, and report.html."""
    blocks = [block for block in _blocks(summary, records) if block]
    pictures = {block.file: block.svg for block in blocks if isinstance(block, Picture)}
    return {
        **pictures,
        "universal-finetune.md": markdown(TITLE, blocks).encode(),
        "report.html": page(TITLE, blocks).encode(),
    }


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    study, sizes, main = summary["study"], summary["sizes"], main_arm(summary)
    tokens = sizes["steps"] * study["rows"] * study["length"]
    rates = {record["arm"]: float(record["learning_rate"]) for record in records}
    published = f"Of the {main}. His curves of fine-tuning could not be read, so sizes are not compared."
    return [
        f"`{summary['model']}` is trained on the first {sizes['limit_bytes']:,} bytes of each corpus, {tokens:,} tokens in all "
        f"(so every byte {tokens / sizes['limit_bytes']:.1f} times), and measured in bits per byte on its test split. Models of "
        "this size and so little data can show whether a prior helps where data is scarce; they cannot show what is left of it "
        "with large data.",
        scratches(summary),
        Heading("The verdict"),
        *saving_claims(summary),
        *elsewhere_claims(summary),
        Table(["Bloem 2025 (arXiv 2506.20057)", "here", "verdict"], published_rows(summary), published, texts=3),
        Heading("Bits per byte at the end, minus scratch"),
        *_differences(summary),
        _curves(summary, records),
        Heading("Real data saved"),
        _savings(summary),
        _charged(summary),
        Heading("On data it was not trained on"),
        _elsewhere_table(summary),
        _matrix(summary, main),
        *_controls(summary),
        Heading("Seeds and power"),
        *_power(summary, main),
        seeds_table(summary["differences"], ""),
        Heading("What was carried"),
        carry_table(
            next(table for table in summary["carried"].values() if table), "Of the first arm that carries something."
        ),
        Heading("How it was made"),
        tuning(summary, rates),
        *laboratory_origin(
            summary,
            records,
            "The given prior is the same for every seed, so its intervals cover batches and fresh weights of the others, not "
            "another prior; the short warm-up is made anew for each.",
        ),
    ]


def _differences(summary: Mapping[str, Any]) -> list[Block]:
    stages = list(summary["study"]["corpora"])
    caption = (
        "Mean over seeds with Student's 95 % interval; p adjusted by Holm over the corpora; bold: p below 0.05. Below zero: "
        "ahead of scratch."
    )
    random = "The same against scratch with all weights random, which is what published comparisons call scratch."
    return [
        difference_table(summary["differences"], stages, caption),
        difference_table(summary["against_random"], stages, random),
    ]


def _controls(summary: Mapping[str, Any]) -> list[Block]:
    if not summary["control_differences"]:
        return []
    stages = list(summary["study"]["control_corpora"])
    caption = "Bits per byte at the end, minus scratch, as above. A control that is as far ahead takes the claim back."
    return [
        Heading("Controls"),
        *control_claims(summary),
        difference_table(summary["control_differences"], stages, caption),
    ]


def _power(summary: Mapping[str, Any], main: str) -> list[Block]:
    level = float(np.mean([one["value"] - one["difference"] for one in summary["differences"]]))
    mine = [one for one in summary["differences"] if one["arm"] == main]
    return [
        power_note(summary["differences"], level, "bits"),
        f"The {main}: {power_over_stages(mine, level, 'bits')}",
        "Intervals of savings are a bootstrap over seeds and windows, which is too narrow with few seeds; each seed's own saving "
        "stands beside them.",
    ]


def _curves(summary: Mapping[str, Any], records: Records) -> Picture:
    panels: dict[str, dict[str, tuple[Any, Any]]] = {}
    for stage in summary["study"]["corpora"]:
        for arm in summary["arms"]:
            mine = [r for r in records if (r["stage"], r["arm"], r["file"]) == (stage, arm, stage)]
            runs = [
                sorted((r for r in mine if r["seed"] == seed), key=lambda r: int(r["step"]))
                for seed in summary["seeds"]
            ]
            x = np.array([r["tokens"] for r in runs[0]])
            panels.setdefault(stage, {})[arm] = (x, np.array([[r["bits_mean"] for r in run] for run in runs]))
    caption = "Bits per byte on the test split over real tokens; lines: mean over seeds, thin: each seed."
    return curves_picture(
        "universal-finetune.svg", "learning curves, a panel per corpus", caption, panels, "bits per byte"
    )


def _savings(summary: Mapping[str, Any]) -> Table:
    rows = []
    for one in summary["savings"]:
        low, high = (_number(end) for end in (one["low"], one["high"]))
        saving = f"{_number(one['difference'])} ({low} to {high})"
        each = ", ".join(_number(value) for value in one["per_seed"])
        rate = "–" if one["substitution_rate"] is None else signed(one["substitution_rate"], 2)
        crossing = _crossings(one["crossings"], ",.0f")
        rows.append(
            [one["arm"], one["baseline"], one["stage"], saving, each, rate, signed(one["area_difference"]), crossing]
        )
    caption = (
        "Saving: share of the real tokens that the arm does without to reach the baseline's last bits (first crossing; 95 % "
        "bootstrap over seeds and windows; negative where it ends behind). Substitution: real tokens saved per token of warm-up "
        "(pays for itself in tokens above 1; Hu et al. 2025). Area: mean of the curve minus the baseline's."
    )
    head = [
        "arm",
        "against",
        "data",
        "saving, %",
        "each seed",
        "substitution",
        "area, bits",
        "crossings at real tokens",
    ]
    return Table(head, rows, caption, texts=3)


def _charged(summary: Mapping[str, Any]) -> Table:
    rows = []
    for one in summary["charged"]:
        if one["baseline"] != stronger(summary, one["stage"]):
            continue
        uses = "–" if one["uses"] is None else f"{one['uses']:,}"
        crossing = _crossings(one["crossings"], ".2g")
        spent = f"{one['warmup_stages']:,.2f}"
        rows.append([one["arm"], one["baseline"], one["stage"], spent, _number(one["saving"]), uses, crossing])
    caption = (
        "Against the stronger scratch of each corpus, over FLOPs, warm-up and the writing of its data included. Warm-up: over "
        "the baseline's whole stage. Saving: of the baseline's FLOPs, on one corpus that pays for all (far below zero: it costs "
        "so many times more). Uses: stages like this one that it must serve to pay for itself."
    )
    head = ["arm", "against", "data", "warm-up, stages", "compute saved, %", "uses", "crossings at FLOPs"]
    return Table(head, rows, caption, texts=3)


def _number(share: float | None) -> str:
    """Percent without the sign of it; a dash where there is none."""
    return "–" if share is None else percent(share)[:-2]


def _crossings(found: Any, form: str) -> str:
    return "; ".join(f"{c['at']:{form}}: then {c['then_ahead']}" for c in found) or "none"


def _elsewhere_table(summary: Mapping[str, Any]) -> Table:
    rows = []
    for stage in summary["study"]["corpora"]:
        scratch = _means_elsewhere(summary, stage, SCRATCH)
        for arm in summary["arms"]:
            means = _means_elsewhere(summary, stage, arm)
            kept = retention(means[0], scratch[0], means[-1], scratch[-1])
            middle = means[len(means) // 2]
            bits = [f"{value:.3f}" for value in (means[0], middle, means[-1])]
            left = "–" if math.isnan(kept) else percent(kept)
            rows.append([stage, arm, *bits, signed(means[-1] - means[0]), left])
    caption = (
        "Mean bits per byte over the sets that were not trained on: before, halfway, after; what training on something else cost "
        "there (below zero: it helped there too); and the share of the advantage over scratch that is left of the one before."
    )
    head = ["trained on", "arm", "before", "halfway", "after", "forgotten", "advantage kept"]
    return Table(head, rows, caption, texts=2)


def _means_elsewhere(summary: Mapping[str, Any], stage: str, arm: str) -> list[float]:
    """Mean bits over the other sets at each full evaluation."""
    of_arm = [one["bits"] for one in summary["elsewhere"] if (one["stage"], one["arm"]) == (stage, arm)]
    return [float(mean) for mean in np.mean(of_arm, axis=0)]


def _matrix(summary: Mapping[str, Any], main: str) -> Table:
    """Trained on (rows) by measured on (columns)."""
    sets = list(summary["sets"])
    rows = []
    for stage in summary["study"]["corpora"]:
        gaps = gaps_elsewhere(summary, main, stage)
        rows.append([stage, *(signed(gaps[file], 2) if file in gaps else "" for file in sets)])
    caption = (
        f"After fine-tuning on a row's corpus, on a column's test split: bits per byte of the {main} minus those of whichever "
        "scratch is lower there, mean over seeds."
    )
    return Table(["trained on", *sets], rows, caption)
