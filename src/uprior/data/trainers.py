"""What the Hugging Face Trainer needs to read a stream: its rows in order, and a seek when it resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from uprior.errors import SpecError
from uprior.rng import digest

if TYPE_CHECKING:
    from uprior.data.stream import BatchStream


class SeekCallback(TrainerCallback):  # type: ignore[misc]
    """Gives a ``transformers.Trainer`` the batches of a stream, step s of the trainer being batch ``start + s``.

        seek = SeekCallback(stream)
        Trainer(model, arguments, train_dataset=seek.rows, callbacks=[seek])

    ``arguments`` need ``max_steps`` (the stream has no end), ``ignore_data_skip=True`` (the trainer would otherwise read all that
    was read before, once more) and per_device_train_batch_size * gradient_accumulation_steps * processes equal to the
    stream's batch size; SpecError if not. Resuming is exact and costs nothing: the trainer restores weights, optimiser and step,
    and the rows are sought from there. Needs the extra ``accelerate``.

    Dropout of a step becomes a function of (arguments.seed, step, process): opening a loader draws from torch's generator, so
    that a resumed trainer would otherwise go on from another random state than the one it saved.
    """

    def __init__(self, stream: BatchStream, start: int = 0) -> None:
        self.stream, self.start = stream, start
        self.rows = stream.torch_dataset(start, rows=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        if rows != self.stream.batch_size:
            raise SpecError(
                f"Trainer: per_device_train_batch_size * gradient_accumulation_steps * processes = {rows} is not allowed; "
                f"allowed: {self.stream.batch_size}, the stream's batch size"
            )
        if not args.ignore_data_skip:
            raise SpecError("Trainer: ignore_data_skip = False would skip twice; allowed: ignore_data_skip=True")
        if args.dataloader_num_workers:
            raise SpecError(
                f"Trainer: dataloader_num_workers = {args.dataloader_num_workers} is not allowed; allowed: 0 (a thread "
                "computes ahead)"
            )
        self.rows.seek(self.start + state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        key = digest("dropout", args.seed, self.start + state.global_step, args.process_index)
        torch.manual_seed(int.from_bytes(key[:7], "little"))
