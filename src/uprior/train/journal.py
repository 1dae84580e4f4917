"""What is told of a run while it goes: to its log, for programs and for going on, and to whoever watches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uprior.files import read_lines
from uprior.progress import Reporter
from uprior.train.log import RunLog


@dataclass(frozen=True)
class StepRecord:
    """What one step computed."""

    loss_nats: float
    above_floor_nats: float | None
    gradient_norm: float

    @property
    def is_finite(self) -> bool:
        """Whether the step could be taken."""
        return math.isfinite(self.loss_nats) and math.isfinite(self.gradient_norm)


@dataclass(frozen=True)
class Journal:
    """Log and progress of one run; ``tokens_by`` tells the tokens of so many steps."""

    log: RunLog
    reporter: Reporter
    tokens_by: Callable[[int], int]

    def taken(self, step: int, record: StepRecord, *, rate: float, seconds: float, waited: float) -> None:
        """A step was taken at a learning rate; in ``seconds``, of which it ``waited`` so many for its batch."""
        self.log.write(
            event="train",
            step=step,
            tokens=self.tokens_by(step),
            loss_nats=record.loss_nats,
            above_floor_nats=record.above_floor_nats,
            learning_rate=rate,
            gradient_norm=record.gradient_norm,
        )
        speed = (self.tokens_by(step) - self.tokens_by(step - 1)) / seconds
        self.log.write_timing(
            step=step, tokens_per_second=round(speed), seconds=round(seconds, 4), data_wait=round(waited, 5)
        )
        floor = "" if record.above_floor_nats is None else f"  {record.above_floor_nats:.3f} nats above floor"
        told = f"  {speed:,.0f} tokens/s" if step > self.reporter.first + 1 else ""  # the first one loads and compiles
        self.reporter.update(step, f"loss {record.loss_nats:.3f} nats{floor}{told}")

    def skipped(self, step: int, what: str, count: int, most: int) -> None:
        """A step was not taken, the ``count``-th of at most ``most``."""
        self.log.write(event="skipped", step=step, tokens=self.tokens_by(step), skipped=count)
        self.reporter.say(f"{what}: skipped, {count} of at most {most}")

    def evaluated(self, step: int, records: list[dict[str, Any]]) -> None:
        """What an evaluation after ``step`` steps found, a record per file; of other measurements the first number is said."""
        for record in records:
            self.log.write(event="eval", step=step, tokens=self.tokens_by(step), **record)
        bits = [f"{record['file']} {record['bits_mean']:.3f}" for record in records if "bits_mean" in record]
        text = f"bits per byte, mean over the window: {', '.join(bits)}" if bits else first_number(records[0])
        self.reporter.say(f"step {step}: {text}")


def first_number(record: dict[str, Any]) -> str:
    """The first measured number of a record, with its name.

    >>> first_number({"file": "haystack", "accuracy": 0.25, "rows": 10})
    'accuracy 0.2500'
    """
    name, value = next((name, value) for name, value in record.items() if isinstance(value, float))
    return f"{name.replace('_', ' ')} {value:.4f}"


def last_loss(run: Path) -> float:
    """In nats, from the log: a run that was killed after its last step makes none when it goes on. NaN if it took no step."""
    losses = [line["loss_nats"] for line in read_lines(run / "log.jsonl") if line["event"] == "train"]
    return float(losses[-1]) if losses else math.nan


def last_step(run: Path) -> int:
    """How many steps the run has done, those that could not be taken included; from the log."""
    return max((line["step"] for line in read_lines(run / "log.jsonl") if line["event"] != "eval"), default=0)


def skipped_steps(run: Path) -> int:
    """How many steps were not taken so far."""
    return sum(line["event"] == "skipped" for line in read_lines(run / "log.jsonl"))
