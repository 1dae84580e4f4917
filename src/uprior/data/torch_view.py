"""A stream as a torch dataset, for trainers that are not ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from uprior.data.stream import BatchStream


class TorchView(IterableDataset[dict[str, torch.Tensor]]):
    """Dicts {input_ids [B, T], labels [B, T]} from ``start`` to ``stop``; labels are -100 where nothing is scored.

    ``labels`` are not shifted: a Hugging Face model shifts them itself. With several DataLoader workers, worker w of n yields
    every n-th step, so that the loader's round robin gives the steps in order, each once.
    """

    def __init__(self, stream: BatchStream, start: int, stop: int | None) -> None:
        super().__init__()
        self.stream, self.next_step, self.stop = stream, start, stop

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        step = self.next_step + first
        while self.stop is None or step < self.stop:
            batch = self.stream.batch(step)
            if worker is None:
                self.next_step = step + 1
            tokens = torch.from_numpy(batch.tokens)
            yield {"input_ids": tokens, "labels": tokens.masked_fill(torch.from_numpy(~batch.scored), -100)}
            step += stride

    def state_dict(self) -> dict[str, int]:
        """The whole state: the next step."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a recorded step, at no cost."""
        self.next_step = state["next_step"]
