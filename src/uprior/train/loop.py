"""The training loop: one stage, from a model and a stream to a finished run directory. Read it top to bottom.

A run directory holds config.json (the resolved run), log.jsonl (every step's loss and every evaluation: a pure function of
the run), timing.jsonl, checkpoints/ while it runs, start/ (the step-0 weights) and model/ at the end.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uprior.data.stream import BatchStream
from uprior.errors import TrainingError
from uprior.files import read_lines
from uprior.models.folder import load_model, save_model
from uprior.progress import Reporter
from uprior.train import checkpoint
from uprior.train.hardware import autocast, device, resolve_precision
from uprior.train.log import RunLog
from uprior.train.loss import scored_sum
from uprior.train.optimizer import make_optimizer, set_rate
from uprior.train.settings import Training
from uprior.types import Batch

Evaluate = Callable[[Any, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Result:
    """What a stage came to: steps done, last loss in nats, and whether it reached its end."""

    steps: int
    loss_nats: float
    finished: bool


@dataclass(frozen=True)
class StepRecord:
    """What one step computed."""

    loss_nats: float
    above_floor_nats: float | None
    gradient_norm: float


def fit(
    model: Any,
    stream: BatchStream,
    training: Training,
    run: Path,
    *,
    evaluate: Evaluate | None = None,
    evaluate_at: frozenset[int] = frozenset(),
    title: str = "train",
    show: bool = True,
    first_batch: int = 0,
) -> Result:
    """Train ``model`` in place on batches ``first_batch, first_batch + 1, ...`` of ``stream``, recording into ``run``.

    Goes on from the newest good checkpoint in ``run``, bit for bit as if never interrupted (same machine, same number of
    threads); of a finished run it only loads the weights. ``evaluate(model, step)`` is called at the steps of
    ``evaluate_at`` (0 is before training) and its records are logged. SIGINT and SIGTERM end the run after the current
    step with a checkpoint, and ``Result.finished`` is False. Raises TrainingError when a loss or gradient is not finite:
    the last good checkpoint stays.
    """
    if (run / "model").exists():
        losses = [line["loss_nats"] for line in read_lines(run / "log.jsonl") if line["event"] == "train"]
        model.load_state_dict(load_model(run).state_dict())
        return Result(training.steps, losses[-1], finished=True)
    where = device()
    model.to(where).train()
    optimizer = make_optimizer(model, training)
    torch.manual_seed(training.seed)
    state = checkpoint.restore(run, model, optimizer)
    step = 0 if state is None else state.step
    precision = resolve_precision(training.precision, where)
    last = StepRecord(math.nan, None, math.nan)
    with (
        RunLog(run, -1 if state is None else step) as log,
        Reporter(title, training.steps, step, show=show) as reporter,
        _stop_requested() as stop,
        contextlib.closing(stream.batches(first_batch + step, first_batch + training.steps)) as batches,
    ):
        for line in [] if state is None else state.passed_over:
            reporter.say(f"passed over a checkpoint: {line}")
        if state is None:
            _evaluate(evaluate, evaluate_at, model, 0, stream, log, reporter)
            checkpoint.save(run, 0, model, optimizer, keep=training.keep)
        elif step < training.steps:
            reporter.say(f"going on from step {step}")
        while step < training.steps:
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            rate = training.rate(step)
            last = _step(model, optimizer, batch, training, precision, rate, where)
            if not (math.isfinite(last.loss_nats) and math.isfinite(last.gradient_norm)):
                raise TrainingError(
                    f"{run}: the loss became {last.loss_nats} (gradient norm {last.gradient_norm}) at step {step + 1}; "
                    f"the checkpoint of step {_newest_step(run)} is good: lower --learning-rate and use another --out"
                )
            step += 1
            seconds = time.perf_counter() - started
            _record(log, reporter, step, stream, last, rate, seconds, waited)
            _evaluate(evaluate, evaluate_at, model, step, stream, log, reporter)
            if step % training.checkpoint_every == 0 or step == training.steps or stop.is_set():
                log.sync()
                checkpoint.save(run, step, model, optimizer, keep=training.keep)
            if stop.is_set() and step < training.steps:
                reporter.say(f"stopped after step {step} of {training.steps}, saved; type the same command to go on")
                return Result(step, last.loss_nats, finished=False)
    model.eval()
    save_model(model, run / "model")
    return Result(step, last.loss_nats, finished=True)


def _step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    training: Training,
    precision: str,
    rate: float,
    where: torch.device,
) -> StepRecord:
    """One optimiser step. Micro-batches change memory, not the gradient's definition: one mean over all scored tokens."""
    rows = batch.tokens.shape[0]
    micro = training.micro_batch or rows
    total = max(1, int(batch.scored[:, 1:].sum()))
    loss_sum, nats = 0.0, []
    for begin in range(0, rows, micro):
        tokens = torch.from_numpy(batch.tokens[begin : begin + micro]).to(where)
        scored = torch.from_numpy(batch.scored[begin : begin + micro]).to(where)
        with autocast(precision, where):
            logits = model(input_ids=tokens, use_cache=False).logits
        loss, token_nats = scored_sum(logits, tokens, scored)
        torch.autograd.backward(loss / total)
        loss_sum += loss.item()
        nats.append(token_nats)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
    if math.isfinite(loss_sum) and bool(torch.isfinite(norm)):
        set_rate(optimizer, rate)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepRecord(loss_sum / total, _above_floor(batch, torch.cat(nats).cpu().numpy()), float(norm))


def _above_floor(batch: Batch, nats: np.ndarray[Any, np.dtype[np.float32]]) -> float | None:
    """Mean nats above the floor, over scored tokens whose floor is known; None if none is."""
    if batch.floor_nats is None:
        return None
    known = batch.scored[:, 1:] & np.isfinite(batch.floor_nats[:, 1:])
    if not known.any():
        return None
    return float((nats - batch.floor_nats[:, 1:])[known].mean(dtype=np.float64))


def _record(
    log: RunLog,
    reporter: Reporter,
    step: int,
    stream: BatchStream,
    last: StepRecord,
    rate: float,
    seconds: float,
    waited: float,
) -> None:
    log.write(
        event="train",
        step=step,
        tokens=step * stream.tokens_per_step,
        loss_nats=last.loss_nats,
        above_floor_nats=last.above_floor_nats,
        learning_rate=rate,
        gradient_norm=last.gradient_norm,
    )
    speed = stream.tokens_per_step / seconds
    log.write_timing(step=step, tokens_per_second=round(speed), seconds=round(seconds, 4), data_wait=round(waited, 5))
    floor = "" if last.above_floor_nats is None else f"  {last.above_floor_nats:.3f} nats above floor"
    reporter.update(step, f"loss {last.loss_nats:.3f} nats{floor}  {speed:,.0f} tokens/s")


def _evaluate(
    evaluate: Evaluate | None,
    evaluate_at: frozenset[int],
    model: Any,
    step: int,
    stream: BatchStream,
    log: RunLog,
    reporter: Reporter,
) -> None:
    if evaluate is None or step not in evaluate_at:
        return
    records = evaluate(model, step)
    for record in records:
        log.write(event="eval", step=step, tokens=step * stream.tokens_per_step, **record)
    model.train()
    text = ", ".join(f"{record['file']} {record['bits_mean']:.3f}" for record in records)
    reporter.say(f"step {step}: bits per byte, mean over the window: {text}")


def _newest_step(run: Path) -> int:
    return int(checkpoint.folders(run)[-1].name.removeprefix("step-"))


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event set by SIGINT or SIGTERM. A second signal acts as usual. Only the main thread can listen to signals."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: object) -> None:
        event.set()
        signal.signal(number, old[signal.Signals(number)])

    for number in old:
        signal.signal(number, on_signal)
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def remove_checkpoints(run: Path) -> None:
    """Free the disk of a finished run: its model and its log stay."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
