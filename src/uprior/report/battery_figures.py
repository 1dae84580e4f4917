"""The zero-shot study as two pictures: bits by set and predictor, and bits against the position in the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uprior.report.battery_records import Battery
from uprior.report.drawing import drawn

# (name in the legend, colour, marker) of the baselines; models take the colours below, which the colour-blind can tell apart too.
BASELINES = {
    "markov": ("Markov, best order", "#6b7280", "s"),
    "markov-mix": ("Markov mix", "#a8adb5", "v"),
    "ctw": ("CTW", "#1d5fbf", "^"),
    "ppmd": ("PPMd", "#7e3fb5", "D"),
}
MODELS = ("#c2410c", "#0e8390", "#15803d", "#be2d6b")
PUBLISHED = ("428 M", "published, 428 M", "*")
COLUMNS = 4
HIGHEST = 9.0  # bits that a panel shows: wrong first guesses may cost more


def bits_picture(battery: Battery) -> bytes:
    """An SVG: a row a set, a mark a predictor, real sets above synthetic ones."""
    real = [one for one in battery.sets if one["real"]]
    synthetic = [one for one in battery.sets if not one["real"]]
    rows = [*real, *([None] if real and synthetic else []), *synthetic]  # a gap between the two
    places = {one["name"]: -n for n, one in enumerate(rows) if one is not None}

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for predictor, (label, colour, marker) in BASELINES.items():
            _marks(axes, battery, predictor, places, label=label, color=colour, marker=marker, markersize=5)
        for number, model in enumerate(battery.labels):
            colour = MODELS[number % len(MODELS)]
            _marks(axes, battery, model, places, label=model, color=colour, marker="o", markersize=7, zorder=5)
        stars = [
            (one["published"][PUBLISHED[0]], places[one["name"]])
            for one in battery.sets
            if PUBLISHED[0] in one["published"]
        ]
        if stars:
            axes.plot(
                *zip(*stars, strict=True), PUBLISHED[2], color="#111111", markersize=8, mfc="none", label=PUBLISHED[1]
            )
        axes.axvline(8, color="#6b7280", linewidth=0.8, linestyle=":", label="knowing nothing")
        axes.set_yticks(list(places.values()), list(places))
        axes.set(
            xlabel=f"bits at byte {battery.study['context']} (PPMd: per byte, over the last 32)",
            xlim=(0, None),
            ylim=(0.6 - len(rows), 0.6),
        )
        axes.grid(True, axis="both", linewidth=0.4, alpha=0.6)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    return drawn(paint, (9, 0.6 + 0.27 * max(6, len(rows))), "zero-shot-bits")


def _marks(axes: Any, battery: Battery, predictor: str, places: Mapping[str, int], **style: Any) -> None:
    where = "tail" if predictor == "ppmd" else "last"
    records = {name: battery.record(name, predictor) for name in places}
    known = {name: record for name, record in records.items() if record is not None}
    bits = [record[f"bits_{where}"] for record in known.values()]
    half = [1.96 * record[f"se_{where}"] if predictor in battery.labels else 0.0 for record in known.values()]
    axes.errorbar(bits, [places[name] for name in known], xerr=half, linestyle="", linewidth=1.2, **style)


def curves_picture(battery: Battery, names: Sequence[str]) -> bytes:
    """An SVG: a panel a set, bits per byte against the bytes already read."""
    lines = -(-len(names) // COLUMNS)

    def paint(figure: Any) -> None:
        panels = np.atleast_1d(figure.subplots(lines, COLUMNS, sharex=True)).reshape(-1)
        for axes, name in zip(panels, names, strict=False):
            _panel(axes, battery, name)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        for axes in panels[max(0, len(names) - COLUMNS) : len(names)]:
            axes.set_xlabel("bytes already read")
            axes.tick_params(labelbottom=True)
        for axes in panels[::COLUMNS]:
            axes.set_ylabel("bits per byte")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels))

    return drawn(paint, (10.8, 2.1 * lines + 0.5), "zero-shot-curves")


def _panel(axes: Any, battery: Battery, name: str) -> None:
    lowest, highest = 8.0, 8.0
    for predictor, (label, colour, _) in BASELINES.items():
        x, y, _, _ = curve(battery, name, predictor)
        axes.plot(x, y, color=colour, linewidth=1.1, label=label)
        lowest = min([lowest, *y])
    for number, model in enumerate(battery.labels):
        colour = MODELS[number % len(MODELS)]
        x, y, low, high = curve(battery, name, model)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, y, color=colour, linewidth=1.8, label=model)
        lowest, highest = min([lowest, *y]), max([highest, *y])
    axes.set_title(name, fontsize=9)
    axes.set_xscale("log", base=2)
    axes.set_ylim(max(0.0, lowest - 0.4), min(highest, HIGHEST) + 0.4)
    axes.grid(True, linewidth=0.4, alpha=0.6)
    ticks = [x for x in (1, 8, 64, 512, 4096) if x <= battery.study["long_context"]]
    axes.set_xticks(ticks, [str(x) for x in ticks])
    axes.minorticks_off()


def curve(battery: Battery, name: str, predictor: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """Positions, bits, and the ends of their intervals: of the short windows, then of the long ones beyond those."""
    points: list[tuple[float, float, float, float]] = []
    for long in (False, True):
        records = (
            battery.orders(name, long=long) if predictor == "markov" else [battery.record(name, predictor, long=long)]
        )
        curves = [_points(record) for record in records if record is not None]
        best = [min(at_position, key=lambda point: point[1]) for at_position in zip(*curves, strict=True)]
        beyond = points[-1][0] if points else 0.0
        points += [point for point in best if point[0] > beyond]
    columns = [[point[n] for point in points] for n in range(4)]
    return columns[0], columns[1], columns[2], columns[3]


def _points(record: Mapping[str, Any]) -> list[tuple[float, float, float, float]]:
    return list(zip(*(record[f"curve_{key}"] for key in ("positions", "bits", "low", "high")), strict=True))
