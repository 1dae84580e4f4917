"""Replay: real batches in which a share of the rows still comes from random computation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.data.batches import gather, join, take
from uprior.data.stream import BatchStream
from uprior.data.vocabulary import Vocabulary
from uprior.errors import SpecError
from uprior.types import Batch

# Batches that are kept of streams that make whole batches only: two per step, and those of a neighbouring thread.
KEPT = 8


class Replay(BatchStream):
    """Batches as large as those of ``real``, of which ``share`` of all rows are those of ``synthetic``, in order, none twice.

    Which rows of a batch are replayed is spread evenly over steps: after n rows, floor(n * share) have been, so shares that are
    no whole number of rows come out right in the long run. A pure function of the step, like the streams it reads. Its seed and
    split are those of ``real``, its vocabulary the larger of the two. The parts of both streams are prepared ahead as each alone
    would have them. Raises SpecError for shares outside 0..1 and for rows of different lengths.
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
        self.vocabulary = Vocabulary(size=max(real.vocabulary.size, synthetic.vocabulary.size))
        self.patience = max(real.patience, synthetic.patience)
        self._recent: dict[tuple[bool, int], Batch] = {}

    def describe(self) -> dict[str, Any]:
        return {"real": self.real.describe(), "synthetic": self.synthetic.describe(), "share": self.share}

    def batch(self, step: int) -> Batch:
        first = self.rows_before(step)
        numbers = self._replayed(np.arange(first, first + self.batch_size + 1))
        replayed = np.diff(numbers) > 0
        places = np.arange(first, first + self.batch_size)
        parts = [
            self._rows(stream, rows)
            for stream, rows in (
                (self.synthetic, numbers[:-1][replayed]),
                (self.real, (places - numbers[:-1])[~replayed]),
            )
            if len(rows)
        ]
        order = np.argsort(np.concatenate([np.flatnonzero(replayed), np.flatnonzero(~replayed)]))
        return take(join(parts), order)

    def _replayed(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the first n rows are replayed, for every n in ``rows``."""
        numbers: NDArray[np.int64] = np.floor(rows * self.share + 1e-9).astype(np.int64)
        return numbers

    def _rows(self, stream: BatchStream, numbers: NDArray[np.int64]) -> Batch:
        """Rows of a stream, each of whose batches is made once although neighbouring steps want different rows of it."""
        if type(stream).rows is not BatchStream.rows:
            return stream.rows(numbers)  # knows a way to single rows
        return gather(numbers, stream.batch_size, lambda step, places: take(self._recent_batch(stream, step), places))

    def _recent_batch(self, stream: BatchStream, step: int) -> Batch:
        key = (stream is self.real, step)
        found = self._recent.get(key)
        if found is None:  # threads that are here at the same time make the same batch: no need for a lock
            found = self._recent[key] = stream.batch(step)
            for old in list(self._recent)[:-KEPT]:
                self._recent.pop(old, None)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """A worker process gets the stream without the batches it keeps."""
        return {**self.__dict__, "_recent": {}}

    # ------------------------------------------------------------------ parts of both streams, written at the same time

    @property
    def steps_per_part(self) -> float:
        """As if all rows came from the stream with the longest parts: each is begun as early as it would be on its own."""
        return max(s.steps_per_part * s.batch_size / self.batch_size for s in (self.real, self.synthetic))

    @property
    def _pieces(self) -> int:
        """How many threads may work at one step: as many as it needs parts of the stream with the shortest."""
        per_part = [s.steps_per_part * s.batch_size for s in (self.real, self.synthetic) if s.steps_per_part]
        return math.ceil(self.batch_size / min(per_part)) if per_part else 0

    def parts(self, step: int) -> range:
        return range(step * self._pieces, (step + 1) * self._pieces)

    def prepare(self, part: int) -> None:
        """Parts that no earlier step needs: a thread never waits for what another one writes, but goes on to the next."""
        step, piece = divmod(part, self._pieces)
        for stream, needed in self._new_parts(step)[piece :: self._pieces]:
            stream.prepare(needed)

    def _new_parts(self, step: int) -> list[tuple[BatchStream, int]]:
        rows = np.array([self.rows_before(step), self.rows_before(step + 1)])
        replayed = self._replayed(rows)
        found = []
        for stream, (first, stop) in ((self.real, (rows - replayed).tolist()), (self.synthetic, replayed.tolist())):
            if first < stop:
                begun = stream.parts_of_rows(first - 1, first).stop if first else 0
                parts = stream.parts_of_rows(first, stop)
                found += [(stream, part) for part in range(max(begun, parts.start), parts.stop)]
        return found

    def hold(self, parts: int) -> None:
        rows = math.ceil(parts / self._pieces) * self.batch_size
        for stream, share in ((self.real, 1 - self.share), (self.synthetic, self.share)):
            if stream.steps_per_part:
                # One more at either end, of which only some rows are in these steps.
                stream.hold(math.ceil(rows * share / (stream.steps_per_part * stream.batch_size)) + 2)

    def progress(self) -> int:
        return self.real.progress() + self.synthetic.progress()

    def at_work(self) -> str:
        return f"replay of {self.synthetic.at_work()} among {self.real.at_work()}"
