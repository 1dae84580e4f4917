"""The width study as two pictures and a page: activations against width, and loss against learning rate."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

PARAMETRISATIONS = {"standard": "one learning rate for all", "mup": "muP"}


def coordinates_picture(records: Sequence[dict[str, Any]]) -> bytes:
    """An SVG: how far the outputs of blocks and the logits have moved after the last step, against the width."""
    last = max(record["step"] for record in records)
    places = list(dict.fromkeys(record["where"] for record in records))

    def panel(axes: Any, parametrisation: str) -> None:
        for number, where in enumerate(places):
            points: dict[int, list[float]] = {}
            for r in records:
                if (r["parametrisation"], r["where"], r["step"]) == (parametrisation, where, last):
                    points.setdefault(r["width"], []).append(r["change"])
            means = [sum(values) / len(values) for values in points.values()]
            axes.plot(list(points), means, marker="o", ms=4, color=f"C{number}", label=where)
            for width, values in points.items():
                axes.plot([width] * len(values), values, ".", ms=3, color=f"C{number}", alpha=0.5)
        widths = sorted({r["width"] for r in records})
        axes.set(xscale="log", yscale="log", xlabel="width")
        axes.set_xticks(widths, [str(w) for w in widths])
        axes.minorticks_off()

    return _two_panels(panel, f"mean absolute change after {last} steps", "width-coordinates")


def sweep_picture(records: Sequence[dict[str, Any]]) -> bytes:
    """An SVG: final loss against learning rate, a line per width (mean over seeds, dots for each), the best rate ringed."""
    base = min(record["width"] for record in records)

    def panel(axes: Any, parametrisation: str) -> None:
        rates = sorted({r["learning_rate"] for r in records})
        for number, width in enumerate(sorted({r["width"] for r in records})):
            cells = [r for r in records if r["width"] == width and r["parametrisation"] in (parametrisation, "both")]
            means = [_mean([r["loss_nats"] for r in cells if r["learning_rate"] == rate]) for rate in rates]
            label = f"width {width}" + (" (base)" if width == base else "")
            axes.plot(rates, means, color=f"C{number}", label=label)
            axes.plot(
                [r["learning_rate"] for r in cells], [r["loss_nats"] for r in cells], ".", ms=4, color=f"C{number}"
            )
            best = min(range(len(rates)), key=means.__getitem__)
            axes.plot(rates[best], means[best], "o", ms=10, mfc="none", color=f"C{number}")
        axes.set(xscale="log", xlabel="learning rate")
        axes.set_xticks(rates, [f"{rate:.2g}" for rate in rates], fontsize=8, rotation=45)
        axes.minorticks_off()

    return _two_panels(panel, "training loss, nats, last quarter of the steps", "width-sweep")


def width_page(facts: Sequence[str], pictures: dict[str, bytes]) -> str:
    """One self-contained HTML page: the findings as sentences, then the pictures by title."""
    images = "".join(
        f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" style="max-width:100%" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'
        for title, svg in pictures.items()
    )
    sentences = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>uprior: width transfer</title>'
        '<body style="font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem">'
        f"<h1>Does a learning rate carry over to a wider model?</h1><ul>{sentences}</ul>{images}</body></html>\n"
    )


def _two_panels(panel: Any, y_label: str, name: str) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        FigureCanvasSVG(figure)
        both = figure.subplots(1, 2, sharey=True)
        for axes, (parametrisation, title) in zip(both, PARAMETRISATIONS.items(), strict=True):
            panel(axes, parametrisation)
            axes.set_title(title, fontsize=10)
            axes.grid(True, linewidth=0.4, alpha=0.5)
        both[0].set_ylabel(y_label)
        both[1].legend(frameon=False)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
