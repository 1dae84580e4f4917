"""A stream as torch datasets, for trainers that are not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from uprior.data.batches import share
from uprior.data.random_access import RowSource, fields
from uprior.errors import SpecError

if TYPE_CHECKING:
    from uprior.data.stream import BatchStream

Item = dict[str, torch.Tensor]

# A shuffling sampler, the default of many trainers, first writes all row numbers into a list: about 40 bytes each.
MOST_ROWS = 1 << 26


class TorchView(IterableDataset[Item]):
    """Dicts {input_ids [B, T], labels [B, T]} from ``start`` to ``stop``; labels are -100 where nothing is scored.

    Every ``iter`` begins at ``start``, the first after ``seek`` at the step sought. Without DataLoader workers a thread
    computes ahead. With n workers, worker w yields every n-th step, so that the loader's round robin gives the steps in order,
    each once; but every worker then computes the blocks of all, so threads are the better way to be fast.
    """

    def __init__(
        self, stream: BatchStream, start: int = 0, stop: int | None = None, *, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__()
        if start < 0 or (stop is not None and stop < start):
            raise SpecError(
                f"torch dataset: start = {start}, stop = {stop} is not allowed; allowed: 0 <= start <= stop"
            )
        if not 0 <= rank < world_size:
            raise SpecError(
                f"torch dataset: rank = {rank} of {world_size} is not allowed; allowed: 0 <= rank < world_size"
            )
        self.stream, self.start, self.stop, self.rank, self.world_size = stream, start, stop, rank, world_size
        self.next_step = start
        self._sought: int | None = None
        self._workers_read = torch.zeros(1, dtype=torch.bool)
        with contextlib.suppress(RuntimeError):  # a machine without shared memory has no workers either
            self._workers_read.share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[Item]:
        self.next_step = self.start if self._sought is None else self._sought
        self._sought = None
        worker = get_worker_info()
        if worker is None:
            return self._ahead()
        self._workers_read.fill_(True)
        return self._strided(worker.id, worker.num_workers)

    def _ahead(self) -> Iterator[Item]:
        with contextlib.closing(self.stream.batches(self.next_step, self.stop)) as batches:
            for batch in batches:
                self.next_step += 1
                yield self._item(batch)

    def _strided(self, first: int, stride: int) -> Iterator[Item]:
        while self.stop is None or self.next_step + first < self.stop:
            step = self.next_step + first
            self.next_step += stride
            yield self._item(self.stream.batch(step))

    def _item(self, batch: Any) -> Item:
        mine = fields(share(batch, self.rank, self.world_size))
        return {name: torch.from_numpy(values) for name, values in mine.items()}

    def seek(self, step: int) -> None:
        """The next ``iter`` begins at this step; costs nothing. Workers that already read do not notice."""
        if step < self.start or (self.stop is not None and step > self.stop):
            raise SpecError(f"torch dataset: step {step} is not allowed; allowed: {self.start} to {self.stop or 'any'}")
        self.next_step = self._sought = step
        self._workers_read.fill_(False)

    def state_dict(self) -> dict[str, int]:
        """The whole state: the next step (in a worker: the next step of worker 0 when this one comes to its next).

        Worker processes read ahead of the trainer, and this process cannot know how far the trainer is: SpecError then.
        """
        if get_worker_info() is None and bool(self._workers_read):
            raise SpecError(
                "torch dataset: workers read ahead, so the dataset does not know where the trainer is; record the trainer's "
                "own step and resume with stream.torch_dataset(start=step), or use torchdata's StatefulDataLoader"
            )
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a recorded step, at no cost."""
        self.seek(state["next_step"])


class RowView(IterableDataset[Item]):
    """The rows of a view one by one, {input_ids [T], labels [T]}, for trainers that collate themselves.

    It refuses DataLoader workers: it cannot know how many rows a loader takes at a time, so rows would change their step.
    """

    def __init__(self, view: TorchView) -> None:
        super().__init__()
        self.view = view

    def __iter__(self) -> Iterator[Item]:
        if get_worker_info() is not None:
            raise SpecError(
                "rows of a stream: num_workers > 0 is not allowed, it would move rows between steps; allowed: num_workers=0 "
                "(a thread computes ahead), or the map-style stream.torch_rows(steps)"
            )
        for item in self.view:
            for row in zip(*item.values(), strict=True):
                yield dict(zip(item, row, strict=True))

    def seek(self, step: int) -> None:
        """The next ``iter`` begins with the first row of this step; costs nothing."""
        self.view.seek(step)


class TorchRows(RowSource):
    """The rows of the first ``steps`` steps as a map-style dataset; any number of workers, any grouping.

    ``DataLoader(rows, batch_size=B, sampler=range(step * B, len(rows)))`` reads from a step on and computes nothing before
    it. Endless streams are for ``torch_dataset``: here the length is limited to 2**26 rows, because a shuffling sampler lists
    all of them in memory (1e9 rows took 24 GB).
    """

    def __init__(self, stream: BatchStream, steps: int) -> None:
        super().__init__(stream, steps)
        if len(self) > MOST_ROWS:
            raise SpecError(
                f"torch rows: steps = {steps} gives {len(self)} rows, which a shuffling sampler would list in memory; "
                f"allowed: steps <= {MOST_ROWS // stream.batch_size}, or stream.torch_dataset(), which is endless"
            )
