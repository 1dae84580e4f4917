"""The loops that ``uprior bench train`` compares. Each trains the same model on the same batches until it is told to stop."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uprior import sources
from uprior.bench.turns import Turn
from uprior.data.stream import BatchStream, Stream
from uprior.files import read_lines
from uprior.types import Batch

# More steps than any bench takes: what pays in long runs alone, such as compiling, is done.
ENDLESS = 1_000_000


@dataclass(frozen=True)
class Job:
    """What all contestants are given. ``source`` is a text that ``sources.get`` reads, ``model`` the name of a preset,
    ``threads`` a number of processor threads that was asked for."""

    model: str
    source: str
    batch_size: int
    length: int
    seed: int = 0
    threads: int | None = None

    def build(self) -> Any:
        """The fresh model, on the CPU, in float32; the same weights for all."""
        from uprior.models.sizes import build

        return build(self.model, vocab=256, context=self.length, seed=self.seed)

    def stream(self) -> Stream:
        """The batches, as ``uprior pretrain`` makes them."""
        return Stream(
            sources.get(self.source), seed=self.seed, batch_size=self.batch_size, length=self.length, vocab=256
        )

    def stream_by_turns(self, turn: Turn) -> BatchStream:
        """The same for loops that ask for a batch when a step begins."""
        return _ByTurns(turn, self.stream())


class _ByTurns(BatchStream):
    """A stream for loops that ask for one batch per step: asking for the next one says that a step is done.

    So a loop takes its turns without knowing of them, and a step is all that lies between: the wait for its data too.
    """

    def __init__(self, turn: Turn, stream: Stream) -> None:
        super().__init__(seed=stream.seed, batch_size=stream.batch_size, length=stream.length, split=stream.split)
        self.turn, self.stream = turn, stream

    def batches(self, start: int = 0, stop: int | None = None, **options: Any) -> Generator[Batch, None, None]:
        with contextlib.closing(self.stream.batches(start, stop, **options)) as inner:
            while True:
                with self.turn.waiting():
                    batch = next(inner, None)
                if batch is None:
                    return
                yield batch
                self.turn.step_done()


def uprior(job: Job, turn: Turn) -> None:
    """What ``uprior pretrain`` runs with its defaults, but for evaluations and all checkpoints after the first."""
    from uprior.train import Training, fit
    from uprior.train.threads import settle

    model, stream = job.build(), job.stream_by_turns(turn)
    with tempfile.TemporaryDirectory() as folder:
        turn.begin()
        settle(job.threads, tokens=job.batch_size * job.length, width=model.config.hidden_size)
        try:
            fit(model, stream, Training(steps=ENDLESS, checkpoint_every=ENDLESS), Path(folder), show=False)
        finally:
            lines = read_lines(Path(folder) / "log.jsonl")
            turn.losses = [line["loss_nats"] for line in lines if line["event"] == "train"]


def trainer(job: Job, turn: Turn, **options: Any) -> None:
    """Hugging Face's Trainer on the rows of the stream; ``options`` are TrainingArguments on top of the defaults."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Turns(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            turn.step_done()

    class Observed(Trainer):  # type: ignore[misc]
        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            with turn.waiting():
                return super().get_batch_samples(*args, **kwargs)

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            turn.losses.append(loss)
            return loss

    model, rows = job.build(), job.stream().torch_dataset(rows=True)
    if not torch.cuda.is_available():
        options["use_cpu"] = True  # without saying so, no bfloat16 there
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=ENDLESS,
            per_device_train_batch_size=job.batch_size,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            **options,
        )
        turn.begin()
        Observed(model, arguments, train_dataset=rows, callbacks=[Turns()]).train()


def trainer_bf16_compiled(job: Job, turn: Turn) -> None:
    """The Trainer as its users make it fast."""
    trainer(job, turn, bf16=True, torch_compile=True)


def plain(job: Job, turn: Turn) -> None:
    """The loop in ``plain.py``."""
    from uprior.bench.plain import train
    from uprior.train.hardware import device

    model, stream = job.build(), job.stream_by_turns(turn)
    turn.begin()
    for loss in train(model, stream.batches(), device()):
        turn.losses.append(loss)


def matmul(job: Job, turn: Turn) -> None:
    """Matrix products instead of training: the yardstick that takes its turns with the others."""
    from uprior.bench.arithmetic import multiply

    multiply(turn)


@dataclass(frozen=True)
class Contestant:
    """``run`` trains; ``needs`` is the package, and the extra of ours that brings it, without which it cannot."""

    run: Callable[[Job, Turn], None]
    summary: str
    needs: str | None = None

    def missing(self) -> str | None:
        """What to type where a package is missing."""
        if self.needs is None or importlib.util.find_spec(self.needs) is not None:
            return None
        return f"{self.needs} is not installed; type: pip install 'uprior[{self.needs}]'"


CONTESTANTS = {
    "uprior": Contestant(uprior, "uprior pretrain"),
    "trainer": Contestant(trainer, "Hugging Face Trainer, its defaults", "accelerate"),
    "trainer-bf16-compiled": Contestant(
        trainer_bf16_compiled, "Trainer with bf16=True, torch_compile=True", "accelerate"
    ),
    "plain": Contestant(plain, "a 40-line PyTorch loop, eager float32"),
}
YARDSTICK = "matmul"
