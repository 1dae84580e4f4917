"""A series of numbers as a corpus: one byte per value, by levels that the training part alone decides."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.corpora._base import Bytes
from uprior.corpora.file import OneFile, read_bytes
from uprior.errors import CorpusError, unknown_name
from uprior.spec import parameter


@dataclass(frozen=True)
class Series(OneFile):
    """A column of a CSV file as quantised values, one byte each.

    Write ``series:PATH``, or ``series:path=PATH,column=OT,levels=64``. The first line names the columns; without ``column`` the
    last one is read. A first line of nothing but numbers and ISO dates is data: the file has no header, and ``column`` cannot be
    given. Level k holds the values between quantiles k / levels and (k + 1) / levels of the *training* split, so that all levels
    are about as frequent there and nothing of the other splits has a say; values beyond its range get the outermost levels.
    Raises CorpusError for a column that is not there, and for a value that is no number (the line is named).
    """

    name: ClassVar[str] = "series"
    _: KW_ONLY
    column: str = parameter("", "name of the column; empty: the last")
    levels: int = parameter(256, "levels that values are quantised to", low=2, high=256)

    def values(self) -> NDArray[np.float64]:
        """[n] the numbers themselves. CorpusError."""
        try:
            return self._read_values()
        except csv.Error as error:
            raise CorpusError(f"'{self.path}' is no CSV file ({error}); give file:PATH for the text as it is") from None

    def _read_values(self) -> NDArray[np.float64]:
        text = read_bytes(self.path).tobytes().decode("utf-8-sig", "replace")  # a byte-order mark is no part of a name
        reader = csv.reader(io.StringIO(text, newline=""))
        rows = ((reader.line_num, row) for row in reader if row)
        first = next(rows, None)
        if first is None:
            raise CorpusError(f"{self.label} is empty; give a CSV file with a column of numbers")
        headless = all(map(_is_value, first[1]))
        place, title = self._column_of(first[1], headless)
        found = []
        for line, row in itertools.chain([first] if headless else [], rows):
            try:
                found.append(float(row[place]))
            except (ValueError, IndexError):
                raise CorpusError(
                    f"'{self.path}', line {line}: {title} is no number: {row[place] if place < len(row) else ''!r}; "
                    "give another column=NAME, or file:PATH for the text as it is"
                ) from None
        return np.array(found, dtype=np.float64)

    def _column_of(self, head: list[str], headless: bool) -> tuple[int, str]:
        """Place and name of the column that is read. CorpusError where there is none of the given name."""
        last = len(head) - 1
        if headless and self.column:
            raise CorpusError(
                f"'{self.path}' has no header (its first line is all numbers or dates), so no column '{self.column}'; "
                f"leave column=... away for the last of {len(head)}, or write a line of names before it"
            )
        if headless:
            return last, f"column {len(head)}"
        if self.column and self.column not in head:
            raise CorpusError(f"'{self.path}': {unknown_name('column', self.column, head)}")
        place = head.index(self.column) if self.column else last
        return place, head[place]

    def _read(self) -> Bytes:
        values = self.values()
        if not np.isfinite(values).all():
            raise CorpusError(
                f"'{self.path}': {int((~np.isfinite(values)).sum())} values are NaN or infinite; leave them out"
            )
        training = values[: self._bounds(values.size)["train"][1]]
        if not training.size:
            raise CorpusError(f"{self.label} has {values.size} values, too few to quantise; give a longer series")
        edges = np.quantile(training, np.arange(1, self.levels) / self.levels)
        return np.searchsorted(edges, values, side="right").astype(np.uint8)


def _is_value(text: str) -> bool:
    """Whether a cell is a number or a date, and so names no column."""
    for read in (float, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            read(text)
            return True
    return False
