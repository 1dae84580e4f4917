"""Replay: real batches in which a share of the rows still comes from random computation."""

from __future__ import annotations

from typing import Any

import numpy as np

from uprior.data.batches import join, take
from uprior.data.stream import BatchStream
from uprior.errors import SpecError
from uprior.types import Batch


class Replay(BatchStream):
    """Batches as large as those of ``real``, of which ``share`` of all rows are those of ``synthetic``, in order, none twice.

    Which rows of a batch are replayed is spread evenly over steps: after n rows, floor(n * share) have been, so shares that are
    no whole number of rows come out right in the long run. A pure function of the step, like the streams it reads. Its seed and
    split are those of ``real``. Raises SpecError for shares outside 0..1 and for rows of different lengths.
    """

    def __init__(self, real: BatchStream, synthetic: BatchStream, *, share: float) -> None:
        if not 0 <= share <= 1:
            raise SpecError(f"replay: share = {share!r} is not allowed; allowed: 0 to 1")
        if real.length != synthetic.length:
            raise SpecError(
                f"replay: real rows have {real.length} tokens, synthetic ones {synthetic.length}; give both one length"
            )
        super().__init__(seed=real.seed, batch_size=real.batch_size, length=real.length, split=real.split)
        self.real, self.synthetic, self.share = real, synthetic, float(share)

    def describe(self) -> dict[str, Any]:
        return {"real": self.real.describe(), "synthetic": self.synthetic.describe(), "share": self.share}

    def batch(self, step: int) -> Batch:
        first = self.rows_before(step)
        # numbers[k]: how many of the rows before row first + k were replayed.
        numbers = np.floor(np.arange(first, first + self.batch_size + 1) * self.share + 1e-9).astype(np.int64)
        replayed = np.diff(numbers) > 0
        places = np.arange(first, first + self.batch_size)
        parts = [
            stream.rows(rows)
            for stream, rows in (
                (self.synthetic, numbers[:-1][replayed]),
                (self.real, (places - numbers[:-1])[~replayed]),
            )
            if len(rows)
        ]
        order = np.argsort(np.concatenate([np.flatnonzero(replayed), np.flatnonzero(~replayed)]))
        return take(join(parts), order)
