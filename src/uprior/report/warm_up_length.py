"""The warm-up-length study as a page: what each length brought, where the best lies, and what rules without real data cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.arms import (
    carry_table,
    curves_picture,
    difference_table,
    laboratory_origin,
    p_text,
    power_note,
    signed,
)
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.drawing import COLOURS, drawn
from uprior.report.origin import with_interval
from uprior.report.words import quantity

TITLE = "How long should a warm-up be"
REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced", "not reproduced", "not testable at this size"
# An improvement under this share of scratch's bits is none.
WORTH = 0.01
Named = Mapping[str, Any]


def warm_up_length_pages(summary: Named, records: Sequence[Named]) -> dict[str, bytes]:
    """File name -> content: warm-up-length.md with its figures, and report.html."""
    return pages("warm-up-length", TITLE, _blocks(summary, records))


def _blocks(summary: Named, records: Sequence[Named]) -> list[Block]:
    blocks: list[Block] = [_can_show(summary), Heading("The verdict"), _verdict_table(summary["models"])]
    for model in summary["models"]:
        blocks += [Heading(f"Model {model['model']}"), _turn_text(model), _length_picture(model), _length_table(model)]
        blocks += [_saving_table(model), _choice_table(model), _signal_table(model), _control_table(model)]
        blocks.append(_curve_picture(model, records))
        blocks.append(power_note(model["differences"], model["scratch"]["final"], "bits"))
    table = carry_table(summary["models"][0]["carried"], "What goes into a fresh model, at every length:")
    return [*blocks, Heading("How it was made"), table, *laboratory_origin(summary, records)]


def _can_show(summary: Named) -> str:
    sizes, study = summary["sizes"], summary["study"]
    tokens = summary["models"][0]["tokens"]
    different = f", of {quantity(sizes['limit_bytes'])} different bytes" if sizes["limit_bytes"] else ""
    return (
        f"One warm-up on `{study['source']['name']}` per seed, at a constant rate of {study['warm_rate']:g}, is "
        f"carried as a whole at lengths of {quantity(tokens[0])} to {quantity(tokens[-1])} tokens, each twice the one "
        f"before; then follow {quantity(sizes['real_tokens'])} tokens of real data{different}, on each of "
        f"{', '.join(summary['sets'])}, with a rate of its own for every length. This can show whether the best length "
        "lies inside this range for models this small and real data this scarce. It cannot show where it lies for "
        "large models: published best lengths belong to steps of 65,536 tokens and 160 million parameters. Warm-ups "
        "whose rate decays may turn elsewhere."
    )


# ------------------------------------------------------------------ verdicts


def verdicts(model: Named) -> list[list[str]]:
    """Claim, published, here, verdict: of one model."""
    longest = next(one for one in model["choices"] if one["name"] == "always the longest")["cost"]
    best = next(one for one in model["final"] if one["arm"] == model["best_arm"])
    rows = [
        ["some length helps", "yes (Hu et al. 2025; Jiang, Shinnick et al. 2026)", f"{with_interval(best)} bits at {best['arm']}",
         helps(model["final"], model["scratch"]["final"])],
    ]  # fmt: skip
    for measure, cost, words in (
        ("final", longest, "at the end"),
        ("area", model["longest_area"], "mean of the curve"),
    ):
        found = f"longest − best: {with_interval(cost)} bits, {words}"
        published = "best after 500 steps (shuffle-Dyck) or 1,000 (Dyck), longer is worse (Hu et al. 2025)"
        rows.append(
            [
                f"too long hurts, {words}",
                published,
                found,
                hurts(cost, model["turn"][measure], model["scratch"][measure]),
            ]
        )
    for one in model["choices"]:
        if one["name"].startswith("stop by"):
            found = f"{with_interval(one['cost'])} bits above the best length"
            rows.append([f"{one['name']} is enough", "none", found, enough(one, best["difference"])])
    if model["controls"]:
        rows.append(["it is more than its controls", "yes, all", _least_lead(model), beats(model["against_best"])])
    return [[model["model"], *row] for row in rows]


def helps(lengths: Sequence[Named], level: float) -> str:
    """Whether some length ends below scratch (Holm over the lengths); not, where each excludes ``WORTH`` of scratch's bits."""
    if any(one["p_adjusted"] < 0.05 and one["difference"] < 0 for one in lengths):
        return REPRODUCED
    if all(one["low"] is not None and one["low"] > -WORTH * level for one in lengths):
        return NOT_REPRODUCED
    alone = any(one["high"] is not None and one["high"] < 0 for one in lengths)
    many = ", when it is counted how many lengths were tried (Holm)" if alone else ""
    return f"{NOT_TESTABLE}: the seeds do not tell it from none{many}"


def hurts(cost: Named, turn: Named, level: float) -> str:
    """Whether the longest is worse than the best, by the interval; not, where it excludes ``WORTH`` of scratch's bits."""
    if cost["low"] is not None and cost["low"] > 0:
        return REPRODUCED
    if turn["at_longest"] >= 0.5:
        return f"{NOT_TESTABLE}: the best is the longest tried, {quantity(turn['best'])} tokens"
    if cost["high"] is not None and cost["high"] < WORTH * level:
        return f"{NOT_REPRODUCED}: the longest costs less than {100 * WORTH:g} %"
    return f"{NOT_TESTABLE}: the seeds do not tell the longest from the best"


def enough(choice: Named, gain: float) -> str:
    """What a rule's cost against the best length is worth, beside the best length's gain over scratch (negative: better)."""
    cost = choice["cost"]
    if choice["not_stopped"] == len(choice["tokens"]):
        return f"{NOT_TESTABLE}: it never stopped"
    if cost["low"] is None:
        return f"{NOT_TESTABLE}: one seed"
    if cost["low"] > 0:
        return "no: it costs"
    if gain < 0 and cost["high"] <= -gain / 2:
        return "yes: at most half of the gain is lost"
    return f"{NOT_TESTABLE}: as good as the best length, or half of its gain lost"


def beats(controls: Sequence[Named]) -> str:
    """Whether every control ends above the best length, by its interval; the claim is withdrawn where one is not worse at all."""
    if all(one["low"] is not None and one["low"] > 0 for one in controls):
        return REPRODUCED
    if any(one["difference"] <= 0 for one in controls):
        return f"{NOT_REPRODUCED}: {min(controls, key=lambda one: float(one['difference']))['arm']} is as good"
    return f"{NOT_TESTABLE}: the seeds do not tell it from every control"


def _least_lead(model: Named) -> str:
    nearest = min(model["against_best"], key=lambda one: float(one["difference"]))
    return f"{nearest['arm']} − best: {with_interval(nearest)} bits"


def _verdict_table(models: Sequence[Named]) -> Table:
    rows = [row for model in models for row in verdicts(model)]
    caption = (
        "Differences are means over seeds and sets with Student's 95 % interval over paired seeds. The best length of "
        "a seed is that of the other seeds, where something is compared with it."
    )
    return Table(["model", "claim", "published", "here", "verdict"], rows, caption, texts=5)


def _turn_text(model: Named) -> str:
    parts = []
    for measure, words in (("final", "the bits at the end"), ("area", "the mean of the curve")):
        turn = model["turn"][measure]
        ends = [
            f"{100 * turn[f'at_{end}']:.0f} % of the draws find it at the {end}"
            for end in ("shortest", "longest") if turn[f"at_{end}"] > 0
        ]  # fmt: skip
        where = {model["tokens"][0]: ", the shortest tried", model["tokens"][-1]: ", the longest tried"}
        parts.append(
            f"By {words} the best length is {quantity(turn['best'])} tokens{where.get(turn['best'], '')} (bootstrap "
            f"over seeds, 95 %: {quantity(turn['low'])} to "
            f"{quantity(turn['high'])}{'; ' + ', '.join(ends) if ends else ''})."
        )
    return (
        " ".join(parts)
        + " Between lengths a parabola over the logarithm of tokens is laid through the lowest and its neighbours."
    )


# ------------------------------------------------------------------ tables


def _length_table(model: Named) -> Table:
    areas = {one["arm"]: one for one in model["area"]}
    per_stage = {(one["arm"], one["stage"]): one for one in model["differences"]}
    rows = [
        [
            one["arm"],
            f"{_bold(one)}, p {p_text(one['p_adjusted'])}",
            *(with_interval(per_stage[one["arm"], stage]) for stage in model["stages"]),
            ", ".join(signed(value) for value in one["per_seed"]),
            _bold(areas[one["arm"]]),
        ]
        for one in model["final"]
    ]
    caption = (
        f"Bits per byte minus scratch's, which ends at {model['scratch']['final']:.3f} in the mean over sets: at the "
        "end (bold: Holm's p over the lengths below 0.05), on each set, each seed's mean over sets, and the mean of "
        "the whole curve."
    )
    return Table(["warm-up", "at the end", *model["stages"], "each seed", "mean of the curve"], rows, caption)


def _bold(one: Named) -> str:
    text = with_interval(one)
    return f"**{text}**" if one["p_adjusted"] < 0.05 else text


def _saving_table(model: Named) -> Table:
    found = {(one["arm"], one["stage"]): one for one in model["savings"]}
    arms = [*model["arms"], *model["controls"]]

    def cell(one: Named) -> str:
        value, low, high = (f"{100 * one[key]:.0f}".replace("-", "−") for key in ("difference", "low", "high"))
        return f"{value} % ({low} to {high})"

    rows = [[arm, *(cell(found[arm, stage]) for stage in model["stages"])] for arm in arms]
    caption = (
        "Real tokens saved: how many fewer the arm needs to where scratch ends (negative: scratch to where the arm "
        "ends), first crossing of the mean curves, bootstrap over seeds and windows."
    )
    return Table(["warm-up", *model["stages"]], rows, caption)


def _choice_table(model: Named) -> Table:
    rows = [
        [
            one["name"],
            _stops(one),
            with_interval(one["cost"]),
            with_interval(one["gain"]),
        ]
        for one in model["choices"]
    ]  # fmt: skip
    caption = (
        "Choosing the length without real data: where each seed would have stopped, in tokens; what that costs at the "
        "end against the length that is best on the other seeds; and what is left against scratch. `own loss`: stop "
        "when the last doubling brought a tenth or less of all that was learnt so far. `held-out sources`: stop when "
        "the loss on sources which the warm-up does not have, mean over "
        f"{', '.join(model['signals'][0]['by_source']) or 'none'}, did not fall over the last doubling."
    )
    return Table(
        ["choice", "tokens, each seed", "bits above the best length", "bits to scratch"], rows, caption, texts=2
    )


def _stops(choice: Named) -> str:
    never = f" ({choice['not_stopped']} never stopped)" if choice["not_stopped"] else ""
    return ", ".join(quantity(tokens) for tokens in choice["tokens"]) + never


def _signal_table(model: Named) -> Table:
    names = list(model["signals"][0]["by_source"])
    rows = [
        [
            quantity(one["tokens"]),
            f"{one['own']:.3f}",
            "–" if one["held_out"] is None else f"{one['held_out']:.3f}",
            *(f"{one['by_source'][name]:.2f}" for name in names),
            f"{one['distance']:.3f}",
        ]
        for one in model["signals"]
    ]
    caption = (
        "The warm-up seen from inside, mean over seeds: its training loss over the last half of the steps, its loss "
        "on the held-out sources (bits per token), and how far the weights are from the first ones, over those "
        "weights' length."
    )
    return Table(["tokens", "own loss", "held-out", *names, "distance"], rows, caption)


def _control_table(model: Named) -> Block:
    if not model["controls"]:
        return "No controls were run."
    controls = [one for one in model["differences"] if one["arm"] in model["controls"]]
    against = "; ".join(f"{one['arm']} {with_interval(one)}" for one in model["against_best"])
    caption = (
        f"Controls of the best length, {model['best_arm']}: bits per byte minus scratch's. Minus the best length's, mean over "
        f"sets: {against}."
    )
    return difference_table(controls, model["stages"], caption)


# ------------------------------------------------------------------ pictures


def _length_picture(model: Named) -> Picture:
    tokens = np.array(model["tokens"], dtype=float)

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, 3)
        for place, measure, title in ((axes[0], "final", "bits at the end"), (axes[1], "area", "mean of the curve")):
            mean = [one["difference"] for one in model[measure]]
            for seed in zip(*(one["per_seed"] for one in model[measure]), strict=True):
                place.plot(tokens, seed, color=COLOURS[1], linewidth=0.5, alpha=0.6)
            place.plot(tokens, mean, color=COLOURS[1], marker="o", markersize=3, linewidth=1.6)
            turn = model["turn"][measure]
            place.axvspan(turn["low"], turn["high"], color=COLOURS[0], alpha=0.12, linewidth=0)
            place.axvline(turn["best"], color=COLOURS[0], linewidth=0.9)
            place.axhline(0, color="#111111", linewidth=0.8)
            place.set_title(f"{title}, minus scratch", fontsize=9)
        before, *signals = model["signals"]
        for number, (key, label) in enumerate((("own", "own loss"), ("held_out", "held-out sources"))):
            if before[key] is not None:
                line = [one[key] for one in signals]
                axes[2].plot(
                    tokens, line, color=COLOURS[2 + number], marker="o", markersize=3, linewidth=1.6, label=label
                )
        axes[2].set_title("warm-up, bits per token", fontsize=9)
        axes[2].legend(frameon=False)
        for place in axes:
            place.set(xscale="log")
            place.set_xticks(tokens, [arm.removesuffix(" tokens") for arm in model["arms"]], fontsize=7)
            place.set_xticks([], minor=True)
            place.grid(True, linewidth=0.4, alpha=0.6)
        figure.supxlabel("tokens of warm-up", fontsize=8.5)

    file = f"warm-up-length-{model['model'].replace(':', '-')}.svg"
    caption = (
        "Mean over sets; thin lines are the seeds. The line is the best length, the band its 95 % interval over seeds."
    )
    return Picture(file, drawn(paint, (8.4, 2.7), file), "differences and losses by length of the warm-up", caption)


def _curve_picture(model: Named, records: Sequence[Named]) -> Picture:
    shown = dict.fromkeys(["scratch", model["arms"][0], model["best_arm"], model["arms"][-1]])
    panels: dict[str, dict[str, tuple[Any, Any]]] = {stage: {} for stage in model["stages"]}
    for stage, curves in panels.items():
        for arm in shown:
            runs: dict[int, list[tuple[int, float]]] = {}
            for record in records:
                if (record["stage"], record["arm"]) == (stage, arm):
                    runs.setdefault(record["seed"], []).append((record["tokens"], record["bits_mean"]))
            points = np.array([sorted(run) for run in runs.values()])
            curves[arm] = (points[0, :, 0], points[:, :, 1])
    file = f"warm-up-length-{model['model'].replace(':', '-')}-curves.svg"
    caption = "Scratch, the shortest, the best and the longest warm-up; thin lines are the seeds."
    return curves_picture(file, "bits per byte while training on real data", caption, panels, "bits per byte")
