"""Does the warm-up help on this data? The warmed model against scratch and controls, paired, tuned, compute charged.

What is compared, a run whose warm-up every seed repeats or a shipped model, and with which arms, is in ``warm_starts``. All arms
have one architecture, and those of a seed the same real batches in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uprior import corpora, evals
from uprior.data.stream import CorpusStream
from uprior.errors import SpecError
from uprior.experiment import evaluation_steps, open_run
from uprior.files import locked, read_lines, write_text
from uprior.models.folder import load_model
from uprior.summary import summarise
from uprior.train.loop import close_run, fit
from uprior.train.settings import Training, rising_steps
from uprior.train.threads import recorded_threads, threads_of_run
from uprior.warm_starts import Arm, WarmStart, derived_seed, warm_start


@dataclass(frozen=True)
class Comparison:
    """The finished comparison: its directory, one record per arm, seed and evaluation, and the closing summary."""

    run: Path
    records: list[dict[str, Any]]
    summary: dict[str, Any]

    def report(self, out: str | Path | None = None) -> Path:
        """Write the HTML page; returns its path."""
        from uprior.report import write_report

        return write_report(self.run, None if out is None else Path(out))


def compare(
    warm: str | Path,
    data: str,
    *,
    out: str | Path | None = None,
    seeds: int = 2,
    steps: int | None = None,
    batch_size: int | None = None,
    context: int | None = None,
    learning_rates: Sequence[float] | None = None,
    trial_steps: int | None = None,
    schedule: str | None = None,
    evaluations: int | None = None,
    positions: int | None = None,
    limit_bytes: int | None = None,
    show: bool = True,
) -> Comparison:
    """Train the warmed model and its rivals on real data and say what the warm-up bought. Called again, it goes on.

    warm            the --out of a finished ``pretrain`` run; or a shipped model's name, or a folder that ``uprior ship`` wrote
    data            a corpus: name or path. Trained on its first 80 %, rates chosen on the next 10 %, reported on the last 10 %
    seeds           2 or more; each is a whole new pair, but for the weights of a shipped model
    steps           real optimiser steps per arm (200; of a shipped model 60), of ``batch_size`` rows (16; 4)
    context         bytes in a row: a run's own, and nothing else; of a shipped model 256
    learning_rates  tried for ``trial_steps`` steps (default: all of ``steps``) in every arm alike; the best on validation data is
                    used (1e-3, 3e-3; of a shipped model 1e-4, 3e-4 too). Shorter trials are cheaper but favour rates that
                    are too high (docs/LOG.md)
    schedule        of the rate (constant; of a shipped model cosine)
    evaluations     of every curve (10; 6), on ``positions`` windows of the test split (256; 64)
    limit_bytes     train on only so much of the data
    """
    begin = warm_start(warm, context)
    given: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rates": None if learning_rates is None else tuple(learning_rates),
        "schedule": schedule,
        "evaluations": evaluations,
        "positions": positions,
    }
    sizes = replace(begin.usual, **{name: value for name, value in given.items() if value is not None})
    plan = _Plan(
        begin,
        corpora.get(data),
        data,
        seeds,
        sizes.steps,
        sizes.batch_size,
        sizes.learning_rates,
        sizes.steps if trial_steps is None else trial_steps,
        sizes.schedule,
        sizes.evaluations,
        sizes.positions,
        limit_bytes,
        show,
    )
    warm = Path(warm)
    run = Path(out) if out is not None else warm.parent / f"{warm.name}-on-{plan.corpus.label.replace('/', '_')}"
    with locked(run):
        open_run(run, plan.config(), warm=str(warm))  # a moved folder is the same run: its fingerprint is checked
        with threads_of_run(recorded_threads(run), speak=show):
            lines, summary = _Runner(plan, run).lines()
        write_text(run / "compare.jsonl", "".join(json.dumps(line) + "\n" for line in [*lines, summary]))
    return Comparison(run, lines, summary)


class _Plan:
    """Everything decided before the first step."""

    def __init__(
        self, begin: WarmStart, corpus: Any, data: str, seeds: int, steps: int, batch_size: int,
        learning_rates: tuple[float, ...], trial_steps: int, schedule: str, evaluations: int, positions: int,
        limit_bytes: int | None, show: bool,
    ) -> None:  # fmt: skip
        for name, value, low in (("seeds", seeds, 2), ("steps", steps, 1), ("trial_steps", trial_steps, 1),
                                 ("evaluations", evaluations, 3), ("positions", positions, 2)):  # fmt: skip
            if value < low:
                raise SpecError(f"compare: {name} = {value} is not allowed; allowed: a whole number from {low}")
        if not learning_rates:
            raise SpecError("compare: learning_rates is empty; give at least one, as in --learning-rates 0.001,0.003")
        self.begin, self.corpus, self.data, self.seeds, self.steps = begin, corpus, data, seeds, steps
        self.batch_size, self.learning_rates, self.trial_steps = batch_size, learning_rates, trial_steps
        self.schedule, self.evaluations, self.positions = schedule, evaluations, positions
        self.limit_bytes, self.show = limit_bytes, show
        self.length, self.warmup_tokens = begin.length, begin.tokens
        self.stream(0)  # too short a file is told before anything is written
        self.test = corpus.windows("test", positions, self.length, "compare")
        self.validation = corpus.windows("validation", positions, self.length, "compare")
        self.arms = begin.arms(steps, batch_size)

    def stream(self, seed: int) -> CorpusStream:
        """The real batches of a seed: the same for every arm."""
        return CorpusStream(
            self.corpus, seed=seed, batch_size=self.batch_size, length=self.length, limit_bytes=self.limit_bytes
        )

    def training(self, steps: int, learning_rate: float) -> Training:
        return Training(
            steps=steps,
            learning_rate=learning_rate,
            schedule=self.schedule,
            warmup_steps=rising_steps(self.steps),
        )

    def evaluate_at(self, steps: int) -> frozenset[int]:
        """The common points of all arms, and as many again where an arm runs longer."""
        common = evaluation_steps(self.steps, self.evaluations)
        later = np.linspace(self.steps, steps, max(2, self.evaluations // 2)).round().astype(int)
        return common | frozenset(map(int, later)) if steps > self.steps else common

    def config(self) -> dict[str, Any]:
        return {
            "kind": "compare",
            "data": self.data,
            "corpus": self.corpus.label,
            **self.begin.describe(),
            "seeds": self.seeds,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "length": self.length,
            "learning_rates": list(self.learning_rates),
            "trial_steps": self.trial_steps,
            "schedule": self.schedule,
            "evaluations": self.evaluations,
            "positions": self.positions,
            "limit_bytes": self.limit_bytes,
            "arms": [asdict(arm) for arm in self.arms],
        }


class _Runner:
    """Runs what the plan says, one training run after the other; each is resumable, finished ones are read back."""

    def __init__(self, plan: _Plan, run: Path) -> None:
        self.plan, self.run = plan, run
        trials = len(plan.learning_rates) * sum(not arm.rate_of for arm in plan.arms)
        curves = plan.seeds * len({self._longest(arm).name for arm in plan.arms})
        self.runs, self.begun = curves + (trials if len(plan.learning_rates) > 1 else 0), set[Path]()

    def lines(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        rates: dict[str, float] = {}
        for arm in self.plan.arms:  # what differs in its number of steps alone needs no trials of its own
            rates[arm.name] = rates[arm.rate_of] if arm.rate_of else self._tune(arm.name)
        curves = {
            (arm.name, seed): self._curve(arm, seed, rates[arm.name])
            for seed in range(self.plan.seeds)
            for arm in self.plan.arms
        }
        lines = [
            line
            for arm in self.plan.arms
            for s in range(self.plan.seeds)
            for line in self._public(arm, s, curves, rates)
        ]
        return lines, summarise(self.plan, curves, rates)

    def _start(self, arm: str, seed: int) -> Path:
        return self.plan.begin.start(arm, seed, self.run, self._fit)

    # -------------------------------------------------------------- runs on real data

    def _tune(self, arm: str) -> float:
        """The learning rate with the lowest validation loss after the trial; the data's own batches, on no reported seed."""
        if len(self.plan.learning_rates) == 1:
            return self.plan.learning_rates[0]
        found = {}
        for rate in self.plan.learning_rates:
            folder = self.run / "tuning" / f"{arm}-{rate:g}"
            steps = self.plan.trial_steps
            stream = self.plan.stream(derived_seed("tuning", 0))
            self._real(folder, self._start(arm, 0), stream, steps, rate, frozenset({steps}), self.plan.validation,
                       f"tuning {arm}, rate {rate:g}")  # fmt: skip
            found[rate] = _evals(folder)[-1]["bits_mean"]
        return min(found, key=found.__getitem__)

    def _curve(self, arm: Arm, seed: int, rate: float) -> list[dict[str, Any]]:
        """The evaluations of an arm. At a constant rate, scratch is the beginning of matched: trained once, used twice."""
        longest = self._longest(arm)
        folder = self.run / f"seed-{seed}" / longest.name
        self._real(folder, self._start(arm.name, seed), self.plan.stream(seed), longest.steps, rate,
                   self.plan.evaluate_at(longest.steps), self.plan.test, f"seed {seed}, {longest.name}")  # fmt: skip
        return [line for line in _evals(folder) if line["step"] <= arm.steps]

    def _longest(self, arm: Arm) -> Arm:
        """The arm whose run has this one's curve in it."""
        matched = next((one for one in self.plan.arms if one.rate_of == arm.name), arm)
        return matched if self.plan.schedule == "constant" else arm

    def _real(
        self, folder: Path, start: Path, stream: CorpusStream, steps: int, rate: float,
        evaluate_at: frozenset[int], windows: Any, title: str,
    ) -> None:  # fmt: skip
        self.begun.add(folder)
        if (folder / "model").exists():
            return
        model, title = load_model(start), f"{len(self.begun)} of {self.runs}: {title}"
        self._fit(model, stream, self.plan.training(steps, rate), folder, title=title,
                  evaluate=lambda m, step: [_measure(m, windows, self.plan.corpus.label)], evaluate_at=evaluate_at)  # fmt: skip

    def _fit(self, model: Any, stream: Any, training: Training, folder: Path, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        close_run(fit(model, stream, training, folder, show=self.plan.show, **options), folder)

    def _public(
        self, arm: Arm, seed: int, curves: dict[tuple[str, int], list[dict[str, Any]]], rates: dict[str, float]
    ) -> list[dict[str, Any]]:
        return [
            {
                "arm": arm.name,
                "seed": seed,
                "step": line["step"],
                "tokens": line["tokens"],
                "total_flops": (arm.warmup_tokens + line["tokens"]) * self.plan.begin.flops_per_token,
                "bits_mean": line["bits_mean"],
                "se_mean": line["se_mean"],
                "bits_last": line["bits_last"],
                "learning_rate": rates[arm.name],
            }
            for line in curves[arm.name, seed]
        ]


def _measure(model: Any, windows: Any, label: str) -> dict[str, Any]:
    """Bits per byte on fixed windows: mean over positions, at the last one, and per window for the bootstrap."""
    bits = evals.ModelPredictor(model).nats(windows) / np.log(2)
    per_window = bits.mean(1)
    return {
        "file": label,
        "bits_mean": float(per_window.mean()),
        "se_mean": float(per_window.std(ddof=1) / np.sqrt(len(per_window))),
        "bits_last": float(bits[:, -1].mean()),
        "window_bits": [round(float(b), 5) for b in per_window],
    }


def _evals(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_lines(folder / "log.jsonl") if line["event"] == "eval"]
