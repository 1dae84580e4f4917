"""Pictures of studies as SVG: one style, deterministic bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

# Colours that the colour-blind can tell apart, for lines that are compared.
COLOURS = ("#c2410c", "#1d5fbf", "#15803d", "#7e3fb5", "#0e8390", "#be2d6b", "#6b7280", "#a16207")


def drawn(paint: Callable[[Any], None], size: tuple[float, float], name: str) -> bytes:
    """The SVG of what ``paint`` draws into a matplotlib figure of ``size`` inches; ``name`` salts the ids in it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
