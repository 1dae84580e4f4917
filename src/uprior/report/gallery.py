"""The gallery: one picture and a few measures of every source and preset, and a map of where each lives.

    write_gallery(Path("docs"))     # -> docs/GALLERY.md and docs/gallery/*

The same bytes every time, but for the version of the zlib library in the pictures (their pixels are the same) and of
matplotlib in the map; a test compares what is in docs/ with what the sources write now.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.files import write_bytes, write_text
from uprior.sources import entries, find, get
from uprior.sources._base import FAMILIES
from uprior.sources._look import look, png

_ROWS, _LENGTH = 32, 512  # what is measured
_SHOWN = (24, 192)  # what is shown of rows: rows, tokens
_PICTURE = (64, 192)  # the most that is shown of a source's own pictures
_SCALE = 4
_INTRODUCTION = """# Gallery

Every source of the catalogue, drawn and measured by `uprior gallery`. Rows run to the right, one colour per symbol. Sources
that draw themselves show one machine at work: automata and tapes with time downwards, brackets by their depth. Measures are
means over {rows} rows of {length} tokens of seed 0: *entropy* of single tokens, *Lempel-Ziv* complexity, and the *floor*,
the loss of the predictor that knows the machine, all in bits per token; *scored* is the share of tokens that count in the
loss.

![Map: floor to the right, compressed size upwards, both as shares of the alphabet's bits](gallery/map.svg)

*Where each source lives between trivial (bottom left) and random (top right); defaults in full colour, presets paler. The
further above the diagonal, the more there is that a predictor must find out about the machine.*
"""


def texts_of(name: str) -> list[str]:
    """The source and its presets, as texts that ``sources.get`` reads."""
    return [name, *(f"{name}@{preset}" for preset in find(name).presets)]


def measures(text: str) -> dict[str, Any]:
    """What ``look`` measures of a source, without its rows."""
    seen = look(get(text), _ROWS, _LENGTH, 0)
    return {key: value for key, value in seen.items() if key != "rows"}


def picture(name: str) -> NDArray[np.integer[Any]]:
    """[height, width] what the gallery shows of a source: its own pictures of as many machines as there is room for, or rows."""
    source = get(name)
    height, width = _PICTURE
    first = source.picture(length=width)
    if first is None:
        rows, length = _SHOWN
        return source.block(0, 0, rows=rows, length=max(length, source.shortest_row)).tokens.astype(np.int64)[
            :, :length
        ]
    if first.shape[1] >= width:  # a column per token
        return first[-height:, :width]
    shown = np.full((height, width), -1, dtype=np.int64)
    left = 0
    for seed in range(20):
        own = source.picture(seed=seed, length=height * first.shape[1])
        assert own is not None
        own = own[:height]
        if left + own.shape[1] > width and seed > 0:
            continue
        own = own[:, :width]
        shown[: len(own), left : left + own.shape[1]] = own
        left += own.shape[1] + 2
    return shown[(shown >= 0).any(axis=1)]


def section(name: str, measured: dict[str, dict[str, Any]]) -> str:
    """A source's part of the page; ``measured`` holds ``measures`` of its texts."""
    lines = [
        f"### {name}", "", entries()[name].summary, "", f"![{name}](gallery/{name}.png)", "",
        "| spec | symbols | entropy | Lempel-Ziv | floor | scored |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for text in texts_of(name):
        seen = measured[text]
        floor = "" if seen["floor_bits"] is None else f"{seen['floor_bits']:.2f}"
        lines.append(
            f"| `{text}` | {seen['alphabet_size']} | {seen['entropy_bits']:.2f} | {seen['lempel_ziv_bits']:.2f} "
            f"| {floor} | {seen['scored_share']:.0%} |"
        )
    return "\n".join(lines) + "\n"


def by_family() -> Iterator[tuple[str, list[str]]]:
    """(heading, names) of every family, in the gallery's order."""
    names: dict[str, list[str]] = {}
    for name in entries():
        names.setdefault(find(name).family, []).append(name)
    for family, heading in FAMILIES.items():
        yield heading, names[family]


def write_gallery(folder: Path, told: Callable[[str], None] = lambda name: None) -> Path:
    """Write GALLERY.md and gallery/ below a folder; ``told`` hears the name of each source when it is done."""
    measured: dict[str, dict[str, Any]] = {}
    page = [_INTRODUCTION.format(rows=_ROWS, length=_LENGTH)]
    for heading, names in by_family():
        page.append(f"## {heading}\n")
        for name in names:
            measured |= {text: measures(text) for text in texts_of(name)}
            write_bytes(folder / "gallery" / f"{name}.png", png(picture(name), scale=_SCALE))
            page.append(section(name, measured))
            told(name)
    write_bytes(folder / "gallery" / "map.svg", map_of(measured))
    write_text(folder / "GALLERY.md", "\n".join(page))
    return folder / "GALLERY.md"


def map_of(measured: dict[str, dict[str, Any]]) -> bytes:
    """The catalogue as an SVG: floor against compressed size, as shares of log2(alphabet); one dot per text.

    Sources that know no floor stand in a strip of their own at the left.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "uprior", "svg.fonttype": "none", "font.size": 8}):
        figure, axes = pyplot.subplots(figsize=(11, 7.5))
        colours = dict(zip(FAMILIES, pyplot.get_cmap("tab10").colors, strict=False))
        placed: list[tuple[float, float, float]] = []
        for text, seen in measured.items():
            bits = float(np.log2(seen["alphabet_size"]))
            x = -0.06 if seen["floor_bits"] is None else seen["floor_bits"] / bits
            bytes_per_token = 1 if bits <= 8 else 2 if bits <= 16 else 4
            y = min(8 * bytes_per_token * seen["deflate_ratio"] / bits, 1.1)
            name, _, preset = text.partition("@")
            colour = colours[find(name).family]
            axes.scatter([x], [y], s=16 if preset else 40, color=colour, alpha=0.4 if preset else 1.0, linewidths=0)
            if not preset:
                at = _free_place(placed, x, y, 0.0088 * len(name))
                axes.annotate(
                    name, (x, y), at, va="center", color=colour,
                    arrowprops={"arrowstyle": "-", "lw": 0.4, "color": colour, "alpha": 0.6},
                )  # fmt: skip
        axes.plot([0, 1], [0, 1], color="0.8", lw=0.8, zorder=0)
        axes.axvline(-0.03, color="0.8", lw=0.8)
        axes.set(
            xlim=(-0.1, 1.15), ylim=(-0.03, 1.2), xlabel="floor, share of the alphabet's bits (left strip: not known)",
            ylabel=f"rows of {_LENGTH} after deflate, share of the alphabet's bits (1.1: or more)",
        )  # fmt: skip
        axes.spines[["top", "right"]].set_visible(False)
        for family, heading in FAMILIES.items():
            axes.scatter([], [], s=40, color=colours[family], label=heading, linewidths=0)
        axes.legend(frameon=False, loc="lower right")
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
        pyplot.close(figure)
    return out.getvalue()


def _free_place(placed: list[tuple[float, float, float]], x: float, y: float, width: float) -> tuple[float, float]:
    """Where a name can stand beside its dot without covering another (left, height, width): the nearest such height."""
    step, left = 0.022, x + 0.012
    for ring in range(100):
        height = y + (ring // 2) * step / 2 * (1 if ring % 2 else -1)
        beside = [h for from_, h, w in placed if from_ < left + width and left < from_ + w]
        if -0.02 < height < 1.18 and all(abs(height - h) >= step for h in beside):
            break
    placed.append((left, height, width))
    return left, height
