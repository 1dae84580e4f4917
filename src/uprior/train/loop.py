"""The training loop: one stage, from a model and a stream to a finished run directory. Read it top to bottom.

A run directory holds config.json (the resolved run), log.jsonl (every step's loss and every evaluation: a pure function of
the run), timing.jsonl, checkpoints/ while it runs, start/ (the step-0 weights) and model/ at the end.

Several processes run this same code in step, each on its share of the rows of the same batches (``uprior.train.distributed``).
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

from uprior.data.stream import BatchStream, share
from uprior.errors import TrainingError
from uprior.files import read_lines
from uprior.models.folder import load_model, save_model
from uprior.progress import Reporter
from uprior.train import checkpoint
from uprior.train.distributed import ALONE, Group, micro_batches
from uprior.train.hardware import device, keep_freed_memory, resolve_precision
from uprior.train.log import RunLog
from uprior.train.optimizer import make_optimizer, set_rate
from uprior.train.parallel import Spread, resolve, spread_over
from uprior.train.plan import compiles, recompute_activations, recomputes
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

    @property
    def is_finite(self) -> bool:
        """Whether the step could be taken."""
        return math.isfinite(self.loss_nats) and math.isfinite(self.gradient_norm)


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
    group: Group = ALONE,
    parallel: str = "auto",
) -> Result:
    """Train ``model`` in place on batches ``first_batch, first_batch + 1, ...`` of ``stream``, recording into ``run``.

    Goes on from the newest good checkpoint in ``run``, bit for bit as if never interrupted (same machine, same number of
    threads); of a finished run it only loads the weights. ``evaluate(model, step)`` is called at the steps of
    ``evaluate_at`` (0 is before training) and its records are logged. SIGINT, SIGTERM and SIGUSR1 (SLURM's
    ``--signal=USR1@60``) end the run after the current step with a checkpoint, and ``Result.finished`` is False. A step whose
    loss or gradient is not finite changes no weight; after ``training.skip_nonfinite`` of them TrainingError is raised, and the
    last good checkpoint stays.

    All processes of ``group`` call this alike; ``parallel`` is "ddp", "fsdp" or "auto". Which samples are in a step does not
    depend on their number, which may change when a run goes on: losses are then equal to float rounding.
    """
    if group.first(lambda: (run / "model").exists()):
        model.load_state_dict(load_model(run).state_dict())
        return Result(training.steps, group.first(lambda: _last_loss(run)), finished=True)
    where = device()
    if where.type == "cpu":
        keep_freed_memory()
    precision = resolve_precision(training.precision, where)
    rows, way = stream.tokens_per_step // stream.length, resolve(parallel, model, group, where)
    micro, _ = micro_batches(rows, group.size, training.micro_batch)
    recomputing = recomputes(training, model, micro, stream.length, where)
    if recomputing:
        recompute_activations(model)
    compiled = compiles(training, model, training.steps * stream.tokens_per_step, way, where)
    spread = spread_over(model, group, parallel, where, precision, compiled=compiled, fused=not recomputing)
    optimizer = make_optimizer(model, training)
    torch.manual_seed(group.seed(training.seed, 0))
    state = checkpoint.restore(run, model, optimizer, group=group, seed=training.seed)
    step = 0 if state is None else state.step
    last = StepRecord(math.nan, None, math.nan)
    with (
        RunLog(run, -1 if state is None else step, writes=group.is_first) as log,
        Reporter(title, training.steps, step, show=show and group.is_first) as reporter,
        _stop_requested(patient=group.size > 1) as stop,
        contextlib.closing(stream.batches(first_batch + step, first_batch + training.steps)) as batches,
    ):
        for line in [] if state is None else state.passed_over:
            reporter.say(f"passed over a checkpoint: {line}")
        if state is None:
            _evaluate(evaluate, evaluate_at, spread, 0, stream, log, reporter)
            checkpoint.save(run, 0, model, optimizer, keep=training.keep, group=group)
        elif step < training.steps:
            reporter.say(f"going on from step {step}")
        skipped = group.first(lambda: sum(line["event"] == "skipped" for line in read_lines(run / "log.jsonl")))
        while step < training.steps:
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            rate = training.rate(step)
            record = _step(spread, optimizer, batch, training, rate)
            step += 1
            if record.is_finite:
                last = record
                _record(log, reporter, step, stream, last, rate, time.perf_counter() - started, waited)
            else:
                skipped += 1
                _skip(run, log, reporter, step, stream, record, skipped, training.skip_nonfinite)
            _evaluate(evaluate, evaluate_at, spread, step, stream, log, reporter)
            stopping = group.any(stop.is_set())
            if step % training.checkpoint_every == 0 or step == training.steps or stopping:
                log.sync()
                checkpoint.save(run, step, model, optimizer, keep=training.keep, group=group)
            if stopping and step < training.steps:
                reporter.say(f"stopped after step {step} of {training.steps}, saved; type the same command to go on")
                return Result(step, last.loss_nats, finished=False)
    model.eval()
    if spread.way == "fsdp":
        from uprior.train.sharded import save_sharded_model

        save_sharded_model(model, run / "model", group)
    else:
        group.first(lambda: save_model(model, run / "model"))
    return Result(step, group.first(lambda: _last_loss(run)), finished=True)


def _step(
    spread: Spread, optimizer: torch.optim.Optimizer, batch: Batch, training: Training, rate: float
) -> StepRecord:
    """One optimiser step. Micro-batches change memory, not the gradient's definition: one mean over all scored tokens.

    So do processes: each works on its share of the rows, and the mean is over the scored tokens of them all.
    """
    group, where = spread.group, spread.where
    total = max(1, int(batch.scored[:, 1:].sum()))
    own = share(batch, group.rank, group.size)
    micro, passes = micro_batches(batch.tokens.shape[0], group.size, training.micro_batch)
    loss_sum, nats = 0.0, []
    for number in range(passes):
        part = slice(number * micro, (number + 1) * micro)
        rows = own.tokens[part].shape[0]
        # Every process makes as many passes as the others; out of rows, it makes one over a row of which nothing counts.
        tokens = torch.from_numpy(own.tokens[part] if rows else batch.tokens[:1]).to(where)
        scored = torch.from_numpy(own.scored[part] if rows else np.zeros_like(batch.scored[:1])).to(where)
        with spread.backward(last=number == passes - 1):
            loss, token_nats = spread.score(tokens, scored)
            # Gradients are averaged over processes; what a batch wants is their sum.
            torch.autograd.backward(loss / (total / group.size))
        loss_sum += loss.item()
        nats.append(token_nats[:rows])
    above = _above_floor(own, torch.cat(nats).cpu().numpy())
    loss_sum, above_sum, known = group.sum([loss_sum, *above])
    record = StepRecord(loss_sum / total, above_sum / known if known else None, spread.clip(training.clip))
    if record.is_finite:
        set_rate(optimizer, rate)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return record


def _above_floor(batch: Batch, nats: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[float, float]:
    """(sum of nats above the floor, count), over scored tokens whose floor is known."""
    if batch.floor_nats is None:
        return 0.0, 0.0
    known = batch.scored[:, 1:] & np.isfinite(batch.floor_nats[:, 1:])
    above = (nats - batch.floor_nats[:, 1:])[known]
    return float(above.sum(dtype=np.float64)), float(above.size)


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


def _skip(
    run: Path,
    log: RunLog,
    reporter: Reporter,
    step: int,
    stream: BatchStream,
    record: StepRecord,
    skipped: int,
    most: int,
) -> None:
    """Tell of a step that was not taken, the ``skipped``-th of the run; TrainingError if that is one too many."""
    what = f"the loss became {record.loss_nats} (gradient norm {record.gradient_norm}) at step {step}"
    if skipped > most:
        before = f" after {most} skipped" if most else ""
        raise TrainingError(
            f"{run}: {what}{before}; the checkpoint of step {_newest_step(run)} is good: "
            "lower --learning-rate and use another --out"
        )
    log.write(event="skipped", step=step, tokens=step * stream.tokens_per_step, skipped=skipped)
    reporter.say(f"{what}: skipped, {skipped} of at most {most}")


def _evaluate(
    evaluate: Evaluate | None,
    evaluate_at: frozenset[int],
    spread: Spread,
    step: int,
    stream: BatchStream,
    log: RunLog,
    reporter: Reporter,
) -> None:
    if evaluate is None or step not in evaluate_at:
        return
    records = spread.evaluate(evaluate, step)
    for record in records:
        log.write(event="eval", step=step, tokens=step * stream.tokens_per_step, **record)
    text = ", ".join(f"{record['file']} {record['bits_mean']:.3f}" for record in records)
    reporter.say(f"step {step}: bits per byte, mean over the window: {text}")


def _last_loss(run: Path) -> float:
    """In nats, from the log: a run that was killed after its last step makes none when it goes on."""
    losses = [line["loss_nats"] for line in read_lines(run / "log.jsonl") if line["event"] == "train"]
    return float(losses[-1]) if losses else math.nan


def _newest_step(run: Path) -> int:
    return int(checkpoint.folders(run)[-1].name.removeprefix("step-"))


@contextlib.contextmanager
def _stop_requested(*, patient: bool = False) -> Iterator[threading.Event]:
    """An event set by SIGINT, SIGTERM or SIGUSR1. A second SIGINT or SIGTERM acts as usual. Only the main thread listens.

    ``patient``: a second SIGTERM changes nothing, for processes that hear of one wish from the scheduler and from torchrun too.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    asked = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    old = {number: signal.getsignal(number) for number in asked}
    lasting = asked[1 if patient else 2 :]  # a second USR1 would end the process while it saves

    def on_signal(number: int, _frame: object) -> None:
        event.set()
        if number not in lasting:
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
