"""The training loop: one stage, from a model and a stream to a finished run directory. Read it top to bottom.

A run directory holds config.json (the resolved run), log.jsonl (every step's loss and every evaluation: a pure function of
the run), timing.jsonl, checkpoints/ while it runs, start/ (the step-0 weights) and model/ at the end.

Several processes run this same code in step, each on its share of the rows of the same batches (``uprior.train.distributed``).
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uprior.data.stream import BatchStream, share
from uprior.errors import TrainingError
from uprior.models.folder import load_model, save_model
from uprior.progress import Reporter
from uprior.train import checkpoint
from uprior.train.distributed import ALONE, Group, micro_batches
from uprior.train.enough import has_had_enough, training_losses
from uprior.train.hardware import device, keep_freed_memory, resolve_precision
from uprior.train.journal import Journal, StepRecord, last_loss, last_step, skipped_steps
from uprior.train.log import RunLog
from uprior.train.optimizer import make_optimizer, set_rate
from uprior.train.parallel import Spread, resolve, spread_over
from uprior.train.plan import compiles, recompute_activations, recomputes
from uprior.train.settings import Training
from uprior.train.stopping import stop_requested
from uprior.types import Batch

Evaluate = Callable[[Any, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Result:
    """What a stage came to: steps done, last loss in nats, whether it reached its end, and whether it was asked to stop.

    Both may be: a stop that was asked for in the last step is still meant for what would come next.
    """

    steps: int
    loss_nats: float
    finished: bool
    stopped: bool = False


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
    optimizer_from: Path | None = None,
    stop_when_enough: bool = False,
) -> Result:
    """Train ``model`` in place on batches ``first_batch, first_batch + 1, ...`` of ``stream``, recording into ``run``.

    Goes on from the newest good checkpoint in ``run``, bit for bit as if never interrupted (same machine, same number of
    threads); of a finished run it only loads the weights. ``evaluate(model, step)`` is called at the steps of
    ``evaluate_at`` (0 is before training) and its records are logged. SIGINT, SIGTERM and SIGUSR1 (SLURM's
    ``--signal=USR1@60``) end the run after the current step with a checkpoint, and ``Result.stopped`` is True. A step whose
    loss or gradient is not finite changes no weight; after ``training.skip_nonfinite`` of them TrainingError is raised, and the
    last good checkpoint stays.

    All processes of ``group`` call this alike; ``parallel`` is "ddp", "fsdp" or "auto". Which samples are in a step does not
    depend on their number, which may change when a run goes on: losses are then equal to float rounding.

    ``optimizer_from`` is the run of an earlier stage whose optimiser's state this one begins with, parameter by parameter of the
    same name; without it the state is new. CheckpointError where the parameters or the kind of optimiser are not the same.
    ``stop_when_enough`` ends the run when a doubling of its length has brought little (``uprior.train.enough``).
    """
    if group.first(lambda: (run / "model").exists()):
        model.load_state_dict(load_model(run).state_dict())
        return Result(group.first(lambda: last_step(run)), group.first(lambda: last_loss(run)), finished=True)
    spread = _prepare(model, stream, training, group, parallel)
    optimizer = make_optimizer(model, training)
    torch.manual_seed(group.seed(training.seed, 0))
    state = checkpoint.restore(run, model, optimizer, group=group, seed=training.seed)
    if state is None and optimizer_from is not None:
        checkpoint.take_optimizer(optimizer_from, model, optimizer)
    step = 0 if state is None else state.step
    last = StepRecord(math.nan, None, math.nan)
    with (
        RunLog(run, -1 if state is None else step, writes=group.is_first) as log,
        Reporter(title, training.steps, step, show=show and group.is_first) as reporter,
        stop_requested(patient=group.size > 1) as stop,
        contextlib.closing(stream.batches(first_batch + step, first_batch + training.steps)) as batches,
    ):
        journal = Journal(log, reporter, lambda steps: stream.rows_before(steps) * stream.length)

        def evaluate_now(last: bool = False) -> None:
            if evaluate is not None and (step in evaluate_at or (last and evaluate_at)):
                journal.evaluated(step, spread.evaluate(evaluate, step))

        for line in [] if state is None else state.passed_over:
            reporter.say(f"passed over a checkpoint: {line}")
        if state is None:
            evaluate_now()
            checkpoint.save(run, 0, model, optimizer, keep=training.keep, group=group)
        elif step < training.steps:
            reporter.say(f"going on from step {step}")
        skipped = group.first(lambda: skipped_steps(run))
        losses = group.first(lambda: training_losses(run)) if stop_when_enough else []
        enough = stop_when_enough and has_had_enough(losses)
        while step < training.steps and not enough:
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            rate = training.rate(step)
            record = _step(spread, optimizer, batch, training, rate)
            step += 1
            if record.is_finite:
                last, seconds = record, time.perf_counter() - started
                journal.taken(step, record, rate=rate, seconds=seconds, waited=waited)
                if stop_when_enough:
                    losses.append(record.loss_nats)
            else:
                skipped += 1
                what = f"the loss became {record.loss_nats} (gradient norm {record.gradient_norm}) at step {step}"
                _tolerate(run, what, skipped, training.skip_nonfinite)
                journal.skipped(step, what, skipped, training.skip_nonfinite)
            enough = stop_when_enough and has_had_enough(losses)
            evaluate_now(last=enough)
            stopping = group.any(stop.is_set())
            if step % training.checkpoint_every == 0 or step == training.steps or stopping or enough:
                log.sync()
                checkpoint.save(run, step, model, optimizer, keep=training.keep, group=group)
            if enough:
                reporter.say(f"enough after step {step} of {training.steps}: the last doubling brought a tenth or less")
            elif stopping and step < training.steps:
                reporter.say(f"stopped after step {step} of {training.steps}, saved; type the same command to go on")
                return Result(step, last.loss_nats, finished=False, stopped=True)
        stopped = group.any(stop.is_set())
    model.eval()
    if spread.way == "fsdp":
        from uprior.train.sharded import save_sharded_model

        save_sharded_model(model, run / "model", group)
    else:
        group.first(lambda: save_model(model, run / "model"))
    return Result(step, group.first(lambda: last_loss(run)), finished=True, stopped=stopped)


def _prepare(model: Any, stream: BatchStream, training: Training, group: Group, parallel: str) -> Spread:
    """Put the model where and how this run trains it, in place."""
    where = device()
    if where.type == "cpu":
        keep_freed_memory()
    way, rows = resolve(parallel, model, group, where), stream.tokens_per_step // stream.length
    rows_per_pass, _ = micro_batches(rows, group.size, training.micro_batch)
    recomputing = recomputes(training, model, rows_per_pass, stream.length, where)
    if recomputing:
        recompute_activations(model)
    compiled = compiles(training, model, training.steps * stream.tokens_per_step, way, where)
    precision = resolve_precision(training.precision, where, model)
    return spread_over(model, group, parallel, where, precision, compiled=compiled, fused=not recomputing)


def _tolerate(run: Path, what: str, skipped: int, most: int) -> None:
    """TrainingError if a step that could not be taken is one too many."""
    if skipped > most:
        newest = int(checkpoint.folders(run)[-1].name.removeprefix("step-"))
        raise TrainingError(
            f"{run}: {what}{f' after {most} skipped' if most else ''}; the checkpoint of step {newest} is good: "
            "lower --learning-rate and use another --out"
        )


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


def close_run(result: Result, run: Path) -> None:
    """What a study does after each run: a finished one keeps no checkpoints. KeyboardInterrupt where a stop was asked for."""
    if result.finished:
        remove_checkpoints(run)
    if result.stopped or not result.finished:
        raise KeyboardInterrupt  # what there is was saved; the same command goes on


def remove_checkpoints(run: Path) -> None:
    """Free the disk of a finished run: its model and its log stay."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
