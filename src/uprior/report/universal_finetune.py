"""The study universal-finetune as a page: what the prior saves on scarce real data, whether it survives, and the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.arms import (
    Records,
    carry_table,
    curves_picture,
    difference_table,
    laboratory_origin,
    power_note,
    seeds_table,
    signed,
)
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.origin import with_interval
from uprior.statistics import retention

TITLE = "Fine-tuning the universal prior where real data is scarce"
SCRATCH, PLAIN, PRIOR = "scratch", "scratch, all weights random", "universal prior"
SAVING_BAR, CORPORA_BAR, ELSEWHERE_BAR = 0.30, 4, 8


def universal_finetune_pages(summary: Mapping[str, Any], records: Records) -> dict[str, bytes]:
    """File name -> content: universal-finetune.md with its figure, and report.html."""
    return pages("universal-finetune", TITLE, _blocks(summary, records))


def _blocks(summary: Mapping[str, Any], records: Records) -> list[Block]:
    study, sizes = summary["study"], summary["sizes"]
    stages, arms = list(study["corpora"]), summary["arms"]
    tokens = sizes["steps"] * study["rows"] * study["length"]
    level = float(np.mean([one["value"] - one["difference"] for one in summary["differences"]]))
    main = PRIOR if PRIOR in arms else arms[-1]
    blocks: list[Block] = [
        f"`{study['model']}` is trained on the first {sizes['limit_bytes']:,} bytes of each corpus, {tokens:,} tokens in all (so "
        f"every byte {tokens / sizes['limit_bytes']:.1f} times), and measured in bits per byte on its test split. Models "
        "of this size "
        "and so little data can show whether a prior helps where data is scarce; they cannot show what is left of it with "
        f"large data. {_scratches(arms)}",
        Heading("The verdict"),
        *_claims(summary, main),
        Heading("Bits per byte at the end, minus scratch"),
        difference_table(
            summary["differences"], stages,
            "Mean over seeds with Student's 95 % interval; p adjusted by Holm over the corpora; bold: p below 0.05. "
            "Below zero: ahead "
            "of scratch.",
        ),
    ]  # fmt: skip
    if summary["against_random"]:
        caption = "The same against scratch with all weights random, which is what published comparisons call scratch."
        blocks.append(difference_table(summary["against_random"], stages, caption))
    blocks += [
        _curves(summary, records),
        Heading("Real data saved"),
        _savings(summary),
        Heading("On data it was not trained on"),
        _elsewhere_table(summary),
        *_elsewhere_claims(summary, main),
    ]
    if summary["control_differences"]:
        caption = (
            "Bits per byte at the end, minus scratch, as above. A control that is as far ahead takes the claim back."
        )
        few = list(study["control_corpora"])
        blocks += [
            Heading("Controls"),
            *_control_claims(summary),
            difference_table(summary["control_differences"], few, caption),
        ]
    blocks += [
        Heading("Seeds and power"),
        power_note(summary["differences"], level, "bits"),
        seeds_table(summary["differences"], ""),
        Heading("What was carried"),
        carry_table(
            next(table for table in summary["carried"].values() if table), "Of the first arm that carries something."
        ),
        Heading("How it was made"),
        *laboratory_origin(
            summary,
            records,
            "The given prior is the same for every seed, so its intervals cover batches and fresh weights of the others, "
            "not another "
            "prior; the short warm-up is made anew for each.",
        ),
    ]
    return blocks


def _scratches(arms: Sequence[str]) -> str:
    if PLAIN not in arms:
        return ""
    return (
        "Two lines are called scratch: the model's own first weights, which look up similar contexts before any training, and "
        "random ones. The first is the stronger baseline, and the one that counts."
    )


def _claims(summary: Mapping[str, Any], main: str) -> list[str]:
    """Each bar in a sentence, computed from the records."""
    savings = [one for one in summary["savings"] if one["arm"] == main and one["baseline"] == SCRATCH]
    clear = [one["stage"] for one in savings if one["low"] is not None and one["low"] > 0]
    median = float(np.median([one["difference"] for one in savings]))
    enough = len(clear) >= CORPORA_BAR and median >= SAVING_BAR
    sentences = [
        f"Asked: data saving with an interval clear of zero on at least {CORPORA_BAR} of {len(savings)} corpora, median "
        f"{100 * SAVING_BAR:.0f} % or more. **{'Yes' if enough else 'No'}**: the {main} is clear of zero on {len(clear)} "
        f"({', '.join(clear) or 'none'}), with a median of {_percent(median)}, against the stronger scratch."
    ]
    random = [one for one in summary["savings"] if one["arm"] == main and one["baseline"] == PLAIN]
    if random:
        ahead = sum(one["low"] is not None and one["low"] > 0 for one in random)
        sentences.append(
            f"Against scratch with random weights: clear of zero on {ahead} of {len(random)}, median "
            f"{_percent(float(np.median([one['difference'] for one in random])))}."
        )
    return [*sentences, _published(summary, main)]


def _published(summary: Mapping[str, Any], main: str) -> str:
    """Bloem's two claims, by what was found here."""
    last = [one for one in summary["elsewhere"] if one["arm"] in (main, PLAIN if PLAIN in summary["arms"] else SCRATCH)]
    base = PLAIN if PLAIN in summary["arms"] else SCRATCH
    mine, theirs = ({(o["stage"], o["file"]): o["bits"][-1] for o in last if o["arm"] == arm} for arm in (main, base))
    kept = sum(mine[key] < theirs[key] for key in mine)
    faster = [one for one in summary["savings"] if one["arm"] == main and one["baseline"] == base]
    wins = sum(one["difference"] > 0 for one in faster)
    converges = "reproduced" if wins > len(faster) / 2 else "not reproduced"
    retains = "reproduced" if kept > len(mine) / 2 else "not reproduced"
    return (
        "Bloem 2025 reports that fine-tuning from the universal prior converges faster than from random weights (here "
        f"**{converges}**: "
        f"ahead on {wins} of {len(faster)} corpora) and that the prior keeps its level on other data, unlike scratch "
        f"(here **{retains}**: "
        f"below it on {kept} of {len(mine)} pairs of training and other data). His curves could not be read, so sizes are "
        "not compared."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−")


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
        low, high = (_percent(end)[:-2] if end is not None else "–" for end in (one["low"], one["high"]))
        rate = "–" if one["substitution_rate"] is None else signed(one["substitution_rate"], 2)
        crossing = "; ".join(f"{c['at']:,.0f}: then {c['then_ahead']}" for c in one["crossings"]) or "none"
        each = ", ".join(_percent(value)[:-2] for value in one["per_seed"])
        saving = f"{_percent(one['difference'])[:-2]} ({low} to {high})"
        rows.append(
            [one["arm"], one["baseline"], one["stage"], saving, each, rate, signed(one["area_difference"]), crossing]
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
    caption = (
        "Saving: share of the real tokens that the arm does without to reach the baseline's last bits (first crossing; "
        "95 % bootstrap "
        "over seeds and windows; negative where it ends behind). Substitution: real tokens saved per token of warm-up "
        "(pays for itself in "
        "tokens above 1; Hu et al. 2025). Area: mean of the curve minus the baseline's."
    )
    return Table(head, rows, caption, texts=3)


def _elsewhere_table(summary: Mapping[str, Any]) -> Table:
    rows = []
    for stage in summary["study"]["corpora"]:
        scratch = _means_elsewhere(summary, stage, SCRATCH)
        for arm in summary["arms"]:
            means = _means_elsewhere(summary, stage, arm)
            kept = retention(means[0], scratch[0], means[-1], scratch[-1])
            middle = means[len(means) // 2]
            bits = [f"{value:.3f}" for value in (means[0], middle, means[-1])]
            left = "–" if math.isnan(kept) else _percent(kept)
            rows.append([stage, arm, *bits, signed(means[-1] - means[0]), left])
    caption = (
        "Mean bits per byte over the sets that were not trained on: before, halfway, after; what training on something else cost "
        "there (below zero: it helped there too); and the share of the advantage over scratch that is left of the one before."
    )
    return Table(
        ["trained on", "arm", "before", "halfway", "after", "forgotten", "advantage kept"], rows, caption, texts=2
    )


def _means_elsewhere(summary: Mapping[str, Any], stage: str, arm: str) -> list[float]:
    """Mean bits over the other sets at each full evaluation."""
    of_arm = [one["bits"] for one in summary["elsewhere"] if (one["stage"], one["arm"]) == (stage, arm)]
    return [float(mean) for mean in np.mean(of_arm, axis=0)]


def _elsewhere_claims(summary: Mapping[str, Any], main: str) -> list[str]:
    lines, held = [], 0
    for stage in summary["study"]["corpora"]:
        last = {
            arm: {o["file"]: o["bits"][-1] for o in summary["elsewhere"] if (o["stage"], o["arm"]) == (stage, arm)}
            for arm in (main, SCRATCH)
        }
        ahead = [file for file in last[main] if last[main][file] < last[SCRATCH][file]]
        held += len(ahead) >= ELSEWHERE_BAR
        behind = [file for file in last[main] if file not in ahead]
        lines.append(f"{stage} {len(ahead)} of {len(last[main])}" + (f" (not {', '.join(behind)})" if behind else ""))
    total = len(summary["study"]["corpora"])
    return [
        f"Asked: after fine-tuning on one corpus, ahead of scratch on at least {ELSEWHERE_BAR} of the others. "
        f"**{'Yes' if held == total else 'No'}**: on {held} of {total} corpora. The {main} is ahead after {'; '.join(lines)}."
    ]


def _control_claims(summary: Mapping[str, Any]) -> list[str]:
    """Does the best warmed arm beat every control where it wins?"""
    sentences = []
    for stage in summary["study"]["control_corpora"]:
        warmed = [one for one in summary["differences"] if one["stage"] == stage and one["arm"] != PLAIN]
        controls = [one for one in summary["control_differences"] if one["stage"] == stage and "only" not in one["arm"]]
        best, strongest = (min(group, key=lambda one: float(one["value"])) for group in (warmed, controls))
        beaten = best["value"] < strongest["value"]
        sentences.append(
            f"{stage}: the best arm, {best['arm']}, ends at {best['value']:.3f} bits; the strongest control, "
            f"{strongest['arm']}, at "
            f"{strongest['value']:.3f} ({with_interval(strongest)} to scratch). "
            + (
                "**The best arm beats every control.**"
                if beaten
                else "**It does not beat every control: the claim is withdrawn here.**"
            )
        )
    return sentences
