"""A file seen through a model, in words: for the terminal as rows and lines, and as a page with the text coloured by surprise."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from uprior.evals.surprise import Place, Surprise
from uprior.files import write_text
from uprior.report.figures import Curve, draw
from uprior.report.visible import pieces, visible_name

# The page shows so many windows as text: beyond a megabyte of coloured letters nobody reads on.
SHOWN_WINDOWS = 32
# A byte of so many bits has the deepest colour; LEVELS steps from none to it.
DEEPEST_BITS, LEVELS = 12.0, 10
# Characters on either side of a surprising one, of which a terminal shows what fits.
AROUND = 120


@dataclass(frozen=True)
class Spot:
    """A surprising place in words: what came, what was expected instead, and the characters around it, all of it escaped."""

    offset: int
    came: str
    expected: str
    before: list[str]
    mark: str
    after: list[str]


def reading(found: Surprise) -> str:
    """What was read, and how."""
    count, context = found.windows.shape
    windows = f"{count} windows of {context} bytes" if count > 1 else f"one window of {context} bytes"
    how = (
        f"read whole in {windows}"
        if found.is_whole
        else f"{found.windows.size:,} of them read, in {windows} all over it"
    )
    afresh = ". Every predictor starts each window afresh." if count > 1 else "."
    return f"{visible_name(found.file)}: {found.size:,} bytes, {how}{afresh}"


def ranking_table(found: Surprise) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the cheapest predictor first, with standard errors where only a part of the file was read."""
    last = found.ranking[0]["last_bytes"]
    head = ["predictor", "bits per byte", f"last {last} bytes" if last > 1 else "last byte", "bytes in total", "share"]
    names = {found.model: f"{found.model} (the model)", "uniform": "uniform (chance)"}
    rows = []
    for record in found.ranking:
        error = record["se_mean"]
        spread = f" ± {error:.2f}" if error is not None and not found.is_whole else ""
        rows.append([
            names.get(record["predictor"], record["predictor"]), f"{record['bits_mean']:.2f}{spread}",
            f"{record['bits_last']:.2f}", f"{record['estimated_bytes']:,}", percent(record["share"]),
        ])  # fmt: skip
    return head, rows


def whole_file(found: Surprise) -> str:
    """What the file comes to without windows, or nothing where that is not known or there is only one window."""
    if found.whole is None or len(found.starts) == 1:
        return ""
    return f"xz, which reads the whole file at once: {found.whole:,} bytes ({percent(found.whole / found.size)})."


def explanation(found: Sequence[Surprise]) -> str:
    """What to know when reading the tables."""
    text = (
        "In total: the windows' mean times the file's size. A window's first byte counts 8 bits where a predictor is given it. "
        "Predictors with settings have what suits the file best."
    )
    if any(record["predictor"] == "brotli" for one in found for record in one.ranking):
        text += " brotli brings a dictionary of words; the other compressors know nothing when a window begins."
    return text


def spots(found: Surprise) -> list[Spot]:
    """The surprising places, the dearest first."""
    return [_spot(found, place) for place in found.places]


def _spot(found: Surprise, place: Place) -> Spot:
    """The whole character around the byte is marked; the text around it is the window's, which is all that the model saw."""
    window = found.windows[place.window].tobytes()
    parts = pieces(window)
    texts, sizes = [text for text, _ in parts], [size for _, size in parts]
    ends = np.cumsum(sizes)
    hit = int(np.searchsorted(ends, place.position, side="right"))
    nth = place.position - int(ends[hit]) + sizes[hit] + 1
    inside = f", byte {nth} of {sizes[hit]} of {texts[hit]}," if sizes[hit] > 1 else ""
    return Spot(
        place.offset,
        f"{byte_name(window[place.position])}{inside} cost {place.bits:.1f} bits",
        ", ".join(f"{byte_name(byte)} {percent(p)}" for byte, p in place.expected),
        texts[max(0, hit - AROUND) : hit],
        texts[hit],
        texts[hit + 1 : hit + 1 + AROUND],
    )


def byte_name(byte: int) -> str:
    """A byte as a character in quotes if it is a printable one of ASCII, else by its escape.

    >>> byte_name(101), byte_name(10), byte_name(0xD0)
    ("'e'", '\\\\n', '\\\\xd0')
    """
    ((text, _),) = pieces(bytes([byte]))
    return f"'{text}'" if 32 <= byte < 127 else text


def percent(probability: float) -> str:
    """A probability for people.

    >>> percent(0.614), percent(0.0321), percent(0.0004)
    ('61 %', '3.2 %', '0.04 %')
    """
    share = 100 * probability
    return f"{share:.0f} %" if share >= 9.95 else f"{share:.2g} %"


# ------------------------------------------------------------------ the page


def write_page(found: Sequence[Surprise], target: Path) -> None:
    """One self-contained HTML page about the files; it appears whole or not at all. Raises RunDirectoryError."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names and bytes come from outside; only our own drawings and letters are Markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("surprise.html.j2").render(
        title=f"uprior bits: {', '.join(visible_name(one.file) for one in found)}",
        files=[_section(one, f"f{number}") for number, one in enumerate(found)],
        explanation=explanation(found),
        levels=[_level_alpha(level) for level in range(LEVELS)],
        scale=[f"{DEEPEST_BITS * level / (LEVELS - 1):.0f}" for level in range(LEVELS)],
    )
    write_text(target, page)


def _section(found: Surprise, name: str) -> dict[str, Any]:
    head, rows = ranking_table(found)
    shown = _shown_windows(found)
    figure = _figure(found, name)
    return {
        "name": name,
        "file": visible_name(found.file),
        "claim": _claim(found),
        "reading": reading(found),
        "head": head,
        "rows": rows,
        "own": next(n for n, record in enumerate(found.ranking) if record["predictor"] == found.model),
        "whole_file": whole_file(found),
        "figure": figure and {**vars(figure), "svg": Markup(figure.svg)},
        "strip": _strip(found),
        "spots": spots(found),
        "model": found.model,
        "windows": [(f"{int(found.starts[w]):,}", Markup(_letters(found, w))) for w in shown],
        "left_out": len(found.starts) - len(shown),
    }


def _claim(found: Surprise) -> str:
    """The ranking in a sentence."""
    own, other = found.record(found.model), found.record(found.best_other)
    verdict = "fewer than" if own["bits_mean"] < other["bits_mean"] else "more than"
    return (
        f"{found.model} pays {own['bits_mean']:.2f} bits for a byte of {visible_name(found.file)}, {verdict} the best other "
        f"predictor, {other['predictor']}, with {other['bits_mean']:.2f}. Chance pays 8."
    )


def _figure(found: Surprise, name: str) -> Any:
    curves = [
        Curve(
            predictor,
            record["curve_positions"],
            record["curve_bits"],
            colour=colour,
            dash=colour,
            value=f"{record['curve_bits'][-1]:.2f}",
        )
        for colour, predictor in enumerate((found.model, found.best_other))
        for record in [found.record(predictor)]
    ]
    x = [p for curve in curves for p in curve.x]
    return draw(
        f"{name}curve",
        "What a byte costs, by how much of the window has been read",
        curves,
        x_label="bytes of the window already read",
        y_label="bits per byte",
        log_x=min(x) > 0 and max(x) / min(x) >= 16,
        caption="Mean over windows. A compressor's cost is known for stretches of 32 bytes and more.",
    )


def _strip(found: Surprise) -> dict[str, Any]:
    """A cell per window, in the order of the file: where it lies, in per cent of the file, and a colour between the extremes."""
    means, size, context = found.bits.mean(axis=1), found.size, found.windows.shape[1]
    low, high = float(means.min()), float(means.max())
    ends = np.minimum(found.starts + context, np.append(found.starts[1:], size))
    cells = [
        {
            "left": f"{100 * start / size:.3f}",
            "width": f"{max(0.15, 100 * (end - start) / size):.3f}",
            "level": round((LEVELS - 1) * (bits - low) / (high - low)) if high > low else 0,
            "title": f"bytes {start:,} to {start + context - 1:,}: {bits:.2f} bits per byte",
        }
        for start, end, bits in zip(found.starts.tolist(), ends.tolist(), means.tolist(), strict=True)
    ]
    return {"cells": cells, "low": f"{low:.2f}", "high": f"{high:.2f}"}


def _shown_windows(found: Surprise) -> list[int]:
    """The windows with surprising places, and others spread evenly, at most SHOWN_WINDOWS in all."""
    count = len(found.starts)
    if count <= SHOWN_WINDOWS:
        return list(range(count))
    own = {place.window for place in found.places[:SHOWN_WINDOWS]}
    spread = np.linspace(0, count - 1, SHOWN_WINDOWS - len(own)).round().astype(int).tolist()
    return sorted(own | set(spread))


def _letters(found: Surprise, w: int) -> str:
    """A window's characters as spans coloured by what they cost; where a line ends in the file, it does here."""
    return "".join(_spans(found.windows[w].tobytes(), found.bits[w], int(found.starts[w])))


def _spans(window: bytes, bits: Any, start: int) -> Iterator[str]:
    at = 0
    for text, size in pieces(window):
        cost, where = float(bits[at : at + size].sum()), start + at
        offset = f"{where:,}" if size == 1 else f"{where:,} to {where + size - 1:,}"
        shown = {"\\n": "↵\n", "\\t": "⇥"}.get(text, html.escape(text))
        level = f' class="h{_level(cost)}"' if at else ""
        title = f"{offset}: {cost:.1f} bits" if at else f"{offset}: given"
        yield f'<s{level} title="{title}">{shown}</s>'
        at += size


def _level(bits: float) -> int:
    return int(min(LEVELS - 1, max(0, math.floor(bits / DEEPEST_BITS * (LEVELS - 1)))))


def _level_alpha(level: int) -> str:
    return f"{0.85 * level / (LEVELS - 1):.2f}"
