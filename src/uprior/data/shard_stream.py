"""Reading an export back: the same rows, as a stream to train from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.data import formats, shards
from uprior.data.batches import gather
from uprior.data.stream import BatchStream
from uprior.data.vocabulary import Vocabulary
from uprior.errors import CorpusError, SpecError
from uprior.types import Batch


class ShardStream(BatchStream):
    """The rows of an export, in order, as batches of any size; after the last row comes the first again.

    Equal to the stream that was exported, but for floors, which files do not hold.
    """

    def __init__(self, plan: shards.Plan, *, batch_size: int) -> None:
        super().__init__(seed=0, batch_size=batch_size, length=plan.length, split=plan.split)
        self.plan, self.vocabulary = plan, Vocabulary(size=max(2, plan.vocab))

    def __len__(self) -> int:
        """Rows on disk."""
        return self.plan.rows

    def describe(self) -> dict[str, Any]:
        plan = {key: value for key, value in self.plan.to_dict().items() if key in ("fingerprint", "rows", "stream")}
        return {"shards": plan, "batch_size": self.batch_size, "length": self.length, "split": self.split}

    def batch(self, step: int) -> Batch:
        if step < 0:
            raise SpecError(f"stream: step = {step} is not allowed; allowed: a whole number from 0")
        return self.rows(np.arange(step * self.batch_size, (step + 1) * self.batch_size))

    def rows(self, numbers: NDArray[np.integer[Any]]) -> Batch:
        return gather(numbers % self.plan.rows, self.plan.shard_rows, self._read)

    def _read(self, shard: int, places: NDArray[np.integer[Any]]) -> Batch:
        plan = self.plan
        return Batch(*formats.read_rows(plan.stem(shard), plan.format, plan.dtype, plan.length, places))


def read_shards(
    folder: str | Path, *, batch_size: int = 64, split: str = "train", checksums: bool = False
) -> ShardStream:
    """The rows of a finished export as a stream. ``checksums`` reads every file once to see that nothing has changed.

    Raises CorpusError when shards are missing or damaged, and says which; MissingExtraError for Parquet without pyarrow.
    """
    plan = shards.read_plan(Path(folder), split)
    bad = [
        f"{plan.stem(shard).name} is {state}"
        for shard in range(plan.shards)
        if (state := shards.examine(plan, shard, checksums=checksums)[0]) != "complete"
    ]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise CorpusError(
            f"{folder}: {bad[0]}{more}, of {plan.shards} shards; type the export command again to make them"
        )
    return ShardStream(plan, batch_size=batch_size)
