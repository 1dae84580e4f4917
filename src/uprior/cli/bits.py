"""``uprior bits``: a model against compressors on any file, the curve over position, and where the model was surprised."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uprior.terminal import plot_lines, print_json, print_table

if TYPE_CHECKING:
    from uprior.evals.surprise import Surprise
    from uprior.report.surprise import Spot

# Attention's work grows with the square of the window; of models that read more, so much is used.
MOST_CONTEXT = 2048
PLOT_ROWS, MOST_COLUMNS = 9, 120


def add_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The command's options; ``count`` reads numbers such as 64k."""
    sub.add_argument("data", nargs="+", metavar="FILE", help="files of any kind; folders and names of corpora too")
    sub.add_argument(
        "--model", default="universal", help="shipped model, run directory or checkpoint folder (universal)"
    )
    sub.add_argument("--context", type=count, help=f"bytes per window (the model's own, at most {MOST_CONTEXT})")
    sub.add_argument("--bytes", type=count, default=1 << 15, help="read so much of a longer file, all over it (32,768)")
    sub.add_argument("--places", type=count, default=5, help="surprising places to show (5)")
    sub.add_argument("--html", type=Path, metavar="PAGE", help="write a page too, with the text coloured by surprise")


def bits(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import corpora
    from uprior.models.folder import find_model

    folder = find_model(arguments.model)
    files = [corpora.get(name) for name in arguments.data]
    for corpus in files:  # one that cannot be read is told before torch is imported
        corpus.content  # noqa: B018
    from uprior.evals.surprise import surprise
    from uprior.models.folder import load_model
    from uprior.models.presets import context_of
    from uprior.report.surprise import explanation, write_page
    from uprior.report.visible import visible_name
    from uprior.train.threads import settle

    settle(arguments.threads)
    model = load_model(arguments.model)
    context = arguments.context or min(MOST_CONTEXT, context_of(model) or MOST_CONTEXT)
    if not arguments.quiet:
        sys.stderr.write("bits: some seconds a file; on a new machine kernels are compiled once, about half a minute\n")
    name = visible_name(folder.parent.name if folder.name == "model" else folder.name)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without Unicode gets escapes, not an exception
        sys.stdout.reconfigure(errors="backslashreplace")
    found = []
    for corpus in files:
        found.append(
            surprise(model, corpus, context=context, most_bytes=arguments.bytes, places=arguments.places, name=name)
        )
        if arguments.json:
            print_json([*found[-1].ranking, *_place_records(found[-1])])
        else:
            _print(found[-1])
    if arguments.html:
        write_page(found, arguments.html)
    if not arguments.json:
        _wrapped([explanation(found)], _width())
        if arguments.html:
            print(f"\npage: {arguments.html}")
    return 0


def _print(found: Surprise) -> None:
    """Everything about one file, in as many columns as the terminal has, at most MOST_COLUMNS."""
    from uprior.report.surprise import ranking_table, reading, spots, whole_file

    width = _width()
    _wrapped([reading(found)], width)
    print()
    print_table(*ranking_table(found))
    if whole_file(found):
        _wrapped(["", whole_file(found)], width)
    other = found.best_other
    print(f"\nbits per byte by bytes of the window read:  * {found.model}  - {other}")
    records = [("-", found.record(other)), ("*", found.record(found.model))]
    curves = [(mark, record["curve_positions"], record["curve_bits"]) for mark, record in records]
    print("\n".join(plot_lines(curves, width=min(width, 80), rows=PLOT_ROWS, x_end=found.windows.shape[1])))
    told = spots(found)
    print(f"\nwhere {found.model} was most surprised{'' if told else ': nowhere by 4 bits or more'}")
    for number, spot in enumerate(told, start=1):
        _wrapped([f"{number:2}. byte {spot.offset:,}: {spot.came}; expected {spot.expected}"], width, "    ")
        print(f"    {_excerpt(spot, width - 4)}")
    print()


def _width() -> int:
    return max(40, min(MOST_COLUMNS, shutil.get_terminal_size().columns))


def _wrapped(lines: list[str], width: int, indent: str = "") -> None:
    for line in lines:
        print(textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def _excerpt(spot: Spot, width: int) -> str:
    """The text around a place in so many columns, the mark two thirds of the way."""
    from uprior.report.visible import columns

    mark = f"»{spot.mark}«"
    before, after, room = list(spot.before), list(spot.after), width - columns(mark)
    while before and columns("".join(before)) > room * 2 // 3:
        del before[0]
    while after and columns("".join(before + after)) > room:
        del after[-1]
    return "".join(before) + mark + "".join(after)


def _place_records(found: Surprise) -> list[dict[str, Any]]:
    from uprior.report.surprise import spots

    return [
        {"file": found.file, "place": number, "offset": place.offset, "byte": int(found.windows[place.window, place.position]),
         "bits": place.bits, "expected": [{"byte": byte, "probability": p} for byte, p in place.expected],
         "before": "".join(spot.before), "mark": spot.mark, "after": "".join(spot.after)}
        for number, (place, spot) in enumerate(zip(found.places, spots(found), strict=True), start=1)
    ]  # fmt: skip
