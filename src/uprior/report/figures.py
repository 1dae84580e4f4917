"""Curves as inline SVG: real text, colours from the page (light and dark), ids of their own, at most 400 points a curve."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 400
# Stand-ins that become CSS variables, so that the page's light, dark and print styles colour the figures too.
_INK, _FAINT = "#0a0b01", "#0a0b02"
COLOURS = tuple(f"#0a0c{n:02x}" for n in range(1, 9))
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--faint)"} | {c: f"var(--c{n})" for n, c in enumerate(COLOURS, start=1)}
DASHES = ("", "6 2", "2 2", "8 2 2 2", "1 2", "4 1", "10 3")


@dataclass(frozen=True)
class Curve:
    """A line of a figure: x and y [P], a band between low and high [P] or none. One x means a horizontal line.

    ``colour`` counts through the page's palette from 0, ``dash`` through DASHES; a thin curve has no entry in the legend.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int = 0
    dash: int = 0
    thin: bool = False
    value: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawn figure with the words around it."""

    name: str
    title: str
    svg: str
    legend: list[dict[str, str]]
    caption: str


def draw(
    name: str,
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    caption: str = "",
    log_x: bool = False,
    zero_line: bool = False,
    y_limits: tuple[float, float] | None = None,
) -> Figure | None:
    """The figure, or None where no curve has a finite point. ``name`` must be unique on the page."""
    curves = [thinned for curve in curves if (thinned := decimate(curve)) is not None]
    if not curves:
        return None
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8.5, "path.simplify": True}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(4.7, 3.0), layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.add_subplot()
        for order, curve in enumerate(curves):
            _plot(axes, curve, order)
        if zero_line:
            axes.axhline(0, color=_INK, linewidth=0.8)
        _dress(axes, x_label, y_label, log_x, y_limits)
        out = io.StringIO()
        canvas.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    legend = [_legend_entry(curve) for curve in curves if not curve.thin]
    return Figure(name, title, _inline(out.getvalue(), name), legend, caption)


def _plot(axes: Any, curve: Curve, order: int) -> None:
    colour = COLOURS[curve.colour % len(COLOURS)]
    dash = DASHES[curve.dash % len(DASHES)]
    style: Any = (0, tuple(map(float, dash.split()))) if dash else "-"
    if len(curve.x) == 1 and curve.dash:
        axes.axhline(curve.y[0], color=colour, linestyle=style, linewidth=1.2, zorder=1)
        return
    if len(curve.low):
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    width, alpha = (0.7, 0.45) if curve.thin else (1.8, 1.0)
    marker = "o" if len(curve.x) <= 24 and not curve.thin else ""
    line = {"color": colour, "linestyle": style, "linewidth": width, "alpha": alpha, "zorder": 2 + order}
    axes.plot(curve.x, curve.y, marker=marker, markersize=3, **line)


def _dress(axes: Any, x_label: str, y_label: str, log_x: bool, y_limits: tuple[float, float] | None) -> None:
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    if log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_formatter(lambda x, _: "")
    if y_limits is not None:
        axes.set_ylim(*y_limits)
    axes.grid(True, color=_FAINT, linewidth=0.6)
    axes.tick_params(colors=_INK, length=2.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)


def _legend_entry(curve: Curve) -> dict[str, str]:
    return {
        "label": curve.label,
        "value": curve.value,
        "colour": f"var(--c{curve.colour % len(COLOURS) + 1})",
        "dash": DASHES[curve.dash % len(DASHES)],
    }


def _inline(svg: str, name: str) -> str:
    """The drawing for use inside a page: no prolog, no addresses, ids that begin with ``name``, colours as variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    opening = rf'<svg viewBox="\1" role="img" aria-labelledby="{name}-title">'
    return re.sub(r'<svg[^>]*?viewBox="([^"]+)"[^>]*>', opening, svg, count=1)


def decimate(curve: Curve) -> Curve | None:
    """At most MAX_POINTS points, averages of neighbours, without the points that are no finite numbers; None if none is left."""
    x, y = np.asarray(curve.x, dtype=np.float64), np.asarray(curve.y, dtype=np.float64)
    has_band = len(curve.low) == len(x) and len(curve.high) == len(x)
    low, high = (np.asarray(v if has_band else y, dtype=np.float64) for v in (curve.low, curve.high))
    fine = np.isfinite(x) & np.isfinite(y)
    if not fine.any():
        return None
    columns = [
        column[fine] for column in (x, y, np.where(np.isfinite(low), low, y), np.where(np.isfinite(high), high, y))
    ]
    size = math.ceil(len(columns[0]) / MAX_POINTS)
    x, y, low, high = (_averages(column, size) for column in columns)
    band = (low.tolist(), high.tolist()) if has_band else ((), ())
    return replace(curve, x=x.tolist(), y=y.tolist(), low=band[0], high=band[1])


def _averages(column: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.array([column[i : i + size].mean() for i in range(0, len(column), size)])
