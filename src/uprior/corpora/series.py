"""A series of numbers as a corpus: one byte per value, by levels that the training part alone decides."""

from __future__ import annotations

import csv
from dataclasses import KW_ONLY, dataclass
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
    last one is read. Level k holds the values between quantiles k / levels and (k + 1) / levels of the *training* split, so
    that all levels are about as frequent there and nothing of the other splits has a say; values beyond its range get the
    outermost levels. Raises CorpusError for a column that is not there, and for a value that is no number (the line is named).
    """

    name: ClassVar[str] = "series"
    _: KW_ONLY
    column: str = parameter("", "name of the column; empty: the last")
    levels: int = parameter(256, "levels that values are quantised to", low=2, high=256)

    def values(self) -> NDArray[np.float64]:
        """[n] the numbers themselves."""
        lines = read_bytes(self.path).tobytes().decode("utf-8", "replace").splitlines()
        rows = csv.reader(lines)
        head = next(rows, [])
        if not head or (self.column and self.column not in head):
            raise CorpusError(
                f"'{self.path}': {unknown_name('column', self.column, head)}" if head else f"{self.label} is empty"
            )
        place = head.index(self.column) if self.column else len(head) - 1
        found = []
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            try:
                found.append(float(row[place]))
            except (ValueError, IndexError):
                raise CorpusError(
                    f"'{self.path}', line {number}: {head[place]} is no number: {row[place] if place < len(row) else ''!r}; "
                    "give another column=NAME, or file:PATH for the text as it is"
                ) from None
        return np.array(found, dtype=np.float64)

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
