"""Rows of the sources that a run was trained on, drawn anew from the recorded spec, so that a person sees the structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from uprior.report.records import Run

ROWS, LENGTH, SPELLED = 12, 192, 3  # rows in a picture, tokens in a row, rows shown as characters too


@dataclass(frozen=True)
class Sample:
    """A few rows of one component."""

    spec: str
    share: str
    facts: list[tuple[str, str]]
    picture: str
    cells: str
    summary: str


def samples(run: Run) -> tuple[list[Sample], list[str]]:
    """Rows of every component of a run's source, and notes on those that cannot be drawn."""
    found, notes = [], []
    length = min(run.length or LENGTH, LENGTH)
    for spec, share in components(run.source or {}):
        name = str(spec.get("name"))
        try:
            found.append(_sample(spec, share, length))
        except Exception as error:  # a source of another version, or of somebody else: the page is written without it
            notes.append(f"rows of source {name} cannot be shown: {error}")
    return found, notes


def components(spec: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """(spec, share) of every part of a mixture, of mixtures within it too; of another source, the source itself."""
    parts = spec.get("sources")
    if not isinstance(parts, list) or not parts:
        if spec:
            yield spec, ""
        return
    shares = spec.get("shares") or [1] * len(parts)
    for part, share in zip(parts, shares, strict=False):
        for inner, inner_share in components(part):
            own = f"{share} of {sum(shares)} rows"
            yield inner, f"{inner_share} of {own}" if inner_share else own


def _sample(spec: Mapping[str, Any], share: str, length: int) -> Sample:
    # Imported here: a report of runs that show no rows needs no source, no numba.
    from uprior import sources
    from uprior.sources import _look

    if any(":" in name for name in _names(spec)):
        raise ValueError("it is no source of uprior's own, and writing a page runs nobody's code")
    source = sources.revive(spec)
    tokens = source.block(0, 0, rows=ROWS, length=length).tokens
    seen = _look.look(source, ROWS, length, 0)
    facts = [
        ("entropy of single tokens", f"{seen['entropy_bits']:.2f} bits"),
        ("deflate shrinks a row to", f"{100 * seen['deflate_ratio']:.0f} %"),
        ("floor", "not known" if seen["floor_bits"] is None else f"{seen['floor_bits']:.2f} bits"),
        ("symbols", f"{source.alphabet_size}"),
    ]
    lines = (type(source).__doc__ or "").strip().splitlines()
    cells = _look.html_lines(tokens[_telling(tokens)], source.alphabet_size)
    return Sample(_look.describe(source), share, facts, _look.png_data_url(tokens), cells, lines[0] if lines else "")


def _telling(tokens: Any) -> Any:
    """Which rows to spell out: neither the simplest nor the most random, by their number of different tokens."""
    different = np.array([len(np.unique(row)) for row in tokens])
    middle = np.argsort(different, kind="stable")
    return np.sort(middle[np.linspace(len(middle) // 4, 3 * len(middle) // 4, SPELLED).astype(int)])


def _names(spec: Any) -> Iterator[str]:
    if isinstance(spec, Mapping):
        yield str(spec.get("name", ""))
        for value in spec.values():
            yield from _names(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _names(value)
