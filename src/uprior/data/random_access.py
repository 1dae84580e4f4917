"""A stream's rows by number, as NumPy arrays: what Grain reads, and what map-style datasets stand on."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.types import Batch

if TYPE_CHECKING:
    from uprior.data.stream import BatchStream

IGNORED = -100  # the label that torch's cross-entropy, and with it every Hugging Face model, leaves out


def fields(batch: Batch) -> dict[str, NDArray[np.int64]]:
    """{input_ids [B, T], labels [B, T]}: labels are -100 where nothing is scored, and at the first position, which is given.

    ``labels`` are not shifted: a Hugging Face model shifts them itself. Models divide by the labels that count, the first
    one included if it were left in: hence -100 there.
    """
    labels = np.where(batch.scored, batch.tokens, IGNORED)
    labels[:, 0] = IGNORED
    return {"input_ids": batch.tokens, "labels": labels}


class RowSource:
    """The first ``steps * batch_size`` rows of a stream; row j is row ``j % batch_size`` of batch ``j // batch_size``.

    Items are dicts {input_ids [T], labels [T]}. This is a Grain ``RandomAccessDataSource``, with Grain not needed. Read it in
    order: rows are independent draws, so a shuffle adds nothing, and makes one block be computed for every row.
    """

    def __init__(self, stream: BatchStream, steps: int) -> None:
        if steps < 1:
            raise SpecError(f"random access: steps = {steps!r} is not allowed; allowed: a whole number from 1")
        self.stream, self.steps = stream, steps

    def __len__(self) -> int:
        return self.steps * self.stream.batch_size

    def __getitem__(self, number: SupportsIndex) -> dict[str, NDArray[np.int64]]:
        return self.__getitems__([operator.index(number)])[0]

    def __getitems__(self, numbers: list[int]) -> list[dict[str, NDArray[np.int64]]]:
        """Several rows in one call (torch's DataLoader asks for a batch so). IndexError outside the source."""
        wanted = np.asarray(numbers, dtype=np.int64)
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        if ((wanted < 0) | (wanted >= len(self))).any():
            raise IndexError(f"row {numbers} is not one of {len(self)}")
        rows = fields(self.stream.rows(wanted))
        return [{name: values[i] for name, values in rows.items()} for i in range(len(wanted))]

    def __repr__(self) -> str:
        # Grain records this beside its checkpoints, to tell that a source is still the same.
        return f"RowSource(stream={self.stream.fingerprint}, steps={self.steps})"
