"""Does the warm-up help on this data? The warmed model against scratch and controls, paired, tuned, compute charged.

Arms, all of one architecture, each seed from one step-0 weights file, on the same real batches in the same order:

    scratch   real data from the step-0 weights
    warmed    real data from the warmed-up weights
    noise     the same warm-up spent on uniform noise: what the optimiser does without anything to learn
    matched   scratch, with the warm-up's compute spent on more real steps

Seed 0 takes the given run. Every further seed draws new step-0 weights and warms them up anew by the run's own recipe, so that
intervals cover the whole procedure and not just the real stage.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uprior import corpora, evals, sources
from uprior.data.stream import CorpusStream, Stream
from uprior.errors import CheckpointError, SpecError
from uprior.experiment import evaluation_steps, open_run
from uprior.files import locked, read_lines, write_text
from uprior.models.folder import find_model, load_model, save_model
from uprior.models.presets import flops_per_token, fresh_like
from uprior.rng import digest
from uprior.sources.uniform import Uniform
from uprior.summary import summarise
from uprior.train.enough import as_it_ended
from uprior.train.loop import close_run, fit
from uprior.train.settings import Training, rising_steps
from uprior.train.threads import recorded_threads, threads_of_run

DESCRIPTIONS = {
    "scratch": "real data from random weights",
    "warmed": "real data from weights warmed up on the source",
    "noise": "real data from weights warmed up on uniform noise",
    "matched": "scratch, with the warm-up's compute spent on more real steps",
}


@dataclass(frozen=True)
class Arm:
    """One way of training: where seed s starts, what its warm-up cost, and for how many real steps it runs."""

    name: str
    warmup_tokens: int
    steps: int


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
    steps: int = 200,
    batch_size: int = 16,
    learning_rates: Sequence[float] = (1e-3, 3e-3),
    trial_steps: int | None = None,
    schedule: str = "constant",
    evaluations: int = 10,
    positions: int = 256,
    limit_bytes: int | None = None,
    show: bool = True,
) -> Comparison:
    """Train the warmed model and its rivals on real data and say what the warm-up bought. Called again, it goes on.

    warm            the --out of a finished ``pretrain`` run
    data            a corpus: name or path. Trained on its first 80 %, rates chosen on the next 10 %, reported on the last 10 %
    seeds           2 or more; each is a whole new pair (see above)
    steps           real optimiser steps per arm, of ``batch_size`` rows as long as the warm-up's
    learning_rates  tried for ``trial_steps`` steps (default: all of ``steps``) in every arm alike; the best on validation
                    data is used. Shorter trials are cheaper but favour rates that are too high (docs/LOG.md)
    limit_bytes     train on only so much of the data
    """
    warm = Path(warm)
    plan = _Plan(
        _recipe(warm),
        corpora.get(data),
        data,
        seeds,
        steps,
        batch_size,
        tuple(learning_rates),
        steps if trial_steps is None else trial_steps,
        schedule,
        evaluations,
        positions,
        limit_bytes,
        show,
    )
    run = Path(out) if out is not None else warm.parent / f"{warm.name}-on-{plan.corpus.label.replace('/', '_')}"
    with locked(run):
        open_run(run, plan.config(), warm=str(warm))  # a moved folder is the same run: its fingerprint is checked
        with threads_of_run(recorded_threads(run), speak=show):
            lines, summary = _Runner(plan, warm, run).lines()
        write_text(run / "compare.jsonl", "".join(json.dumps(line) + "\n" for line in [*lines, summary]))
    return Comparison(run, lines, summary)


class _Plan:
    """Everything decided before the first step."""

    def __init__(
        self, recipe: dict[str, Any], corpus: Any, data: str, seeds: int, steps: int, batch_size: int,
        learning_rates: tuple[float, ...], trial_steps: int, schedule: str, evaluations: int, positions: int,
        limit_bytes: int | None, show: bool,
    ) -> None:  # fmt: skip
        for name, value, low in (("seeds", seeds, 2), ("steps", steps, 1), ("trial_steps", trial_steps, 1),
                                 ("evaluations", evaluations, 3), ("positions", positions, 2)):  # fmt: skip
            if value < low:
                raise SpecError(f"compare: {name} = {value} is not allowed; allowed: a whole number from {low}")
        if not learning_rates:
            raise SpecError("compare: learning_rates is empty; give at least one, as in --learning-rates 0.001,0.003")
        self.recipe, self.corpus, self.data, self.seeds, self.steps = recipe, corpus, data, seeds, steps
        self.batch_size, self.learning_rates, self.trial_steps = batch_size, learning_rates, trial_steps
        self.schedule, self.evaluations, self.positions = schedule, evaluations, positions
        self.limit_bytes, self.show = limit_bytes, show
        self.length = int(recipe["stream"]["length"])
        self.warmup_tokens = int(recipe["tokens"])
        self.stream(0)  # too short a file is told before anything is written
        self.test = corpus.windows("test", positions, self.length, "compare")
        self.validation = corpus.windows("validation", positions, self.length, "compare")
        extra = -(-self.warmup_tokens // (batch_size * self.length))
        self.arms = [
            Arm("scratch", 0, steps),
            Arm("warmed", self.warmup_tokens, steps),
            Arm("noise", self.warmup_tokens, steps),
            Arm("matched", 0, steps + extra),
        ]

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
            "warm_fingerprint": digest(json.dumps(self.recipe, sort_keys=True)).hex(),
            "data": self.data,
            "corpus": self.corpus.label,
            "model": self.recipe["model"],
            "source": self.recipe["stream"]["source"],
            "warmup": self.recipe["training"],
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
            "arms": [asdict(arm) | {"description": DESCRIPTIONS[arm.name]} for arm in self.arms],
        }


class _Runner:
    """Runs what the plan says, one training run after the other; each is resumable, finished ones are read back."""

    def __init__(self, plan: _Plan, warm: Path, run: Path) -> None:
        self.plan, self.warm, self.run = plan, warm, run
        self.flops = flops_per_token(load_model(warm / "start"))

    def lines(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        rates = {name: self._tune(name) for name in ("scratch", "warmed", "noise")}
        rates["matched"] = rates["scratch"]
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
        return lines, summarise(self.plan, curves, rates, self.flops)

    # -------------------------------------------------------------- where an arm starts

    def _start(self, arm: str, seed: int) -> Path:
        """The folder with the weights that an arm of a seed starts from, made if need be."""
        if arm in ("scratch", "matched"):
            return self._step0(seed)
        if arm == "warmed" and seed == 0:
            return find_model(self.warm)
        folder = self.run / f"seed-{seed}" / f"warmup-{arm}"
        self._warm_up(folder, noise=arm == "noise", seed=seed)
        return folder / "model"

    def _step0(self, seed: int) -> Path:
        if seed == 0:
            return self.warm / "start"
        folder = self.run / f"seed-{seed}" / "start"
        if not folder.exists():
            save_model(fresh_like(load_model(self.warm / "start"), seed=self._derived("weights", seed)), folder)
        return folder

    def _warm_up(self, folder: Path, *, noise: bool, seed: int) -> None:
        if (folder / "model").exists():
            return
        described = self.plan.recipe["stream"]
        stream = Stream.from_description(described)
        if noise:
            stream.source = Uniform(alphabet_size=stream.source.alphabet_size)
        stream = Stream(
            stream.source, seed=described["seed"] if seed == 0 else self._derived("stream", seed),
            batch_size=stream.batch_size, length=stream.length, vocab=stream.vocabulary, block_rows=stream.block_rows,
        )  # fmt: skip
        fields = {k: v for k, v in self.plan.recipe["training"].items() if k not in ("name", "version")}
        model = load_model(self._step0(seed))
        title = f"seed {seed}, warm-up on {stream.source.name}"
        self._fit(model, stream, Training(**fields), folder, title=title)

    def _derived(self, purpose: str, seed: int) -> int:
        return int.from_bytes(digest("compare", purpose, seed)[:6], "little")

    # -------------------------------------------------------------- runs on real data

    def _tune(self, arm: str) -> float:
        """The learning rate with the lowest validation loss after the trial; the data's own batches, on no reported seed."""
        if len(self.plan.learning_rates) == 1:
            return self.plan.learning_rates[0]
        found = {}
        for rate in self.plan.learning_rates:
            folder = self.run / "tuning" / f"{arm}-{rate:g}"
            steps = self.plan.trial_steps
            stream = self.plan.stream(self._derived("tuning", 0))
            self._real(folder, self._start(arm, 0), stream, steps, rate, frozenset({steps}), self.plan.validation,
                       f"tuning {arm}, rate {rate:g}")  # fmt: skip
            found[rate] = _evals(folder)[-1]["bits_mean"]
        return min(found, key=found.__getitem__)

    def _curve(self, arm: Arm, seed: int, rate: float) -> list[dict[str, Any]]:
        """The evaluations of an arm. At a constant rate, scratch is the beginning of matched: trained once, used twice."""
        shared = self.plan.schedule == "constant" and arm.name == "scratch"
        longest = self.plan.arms[-1] if shared else arm
        folder = self.run / f"seed-{seed}" / longest.name
        self._real(folder, self._start(arm.name, seed), self.plan.stream(seed), longest.steps, rate,
                   self.plan.evaluate_at(longest.steps), self.plan.test, f"seed {seed}, {longest.name}")  # fmt: skip
        return [line for line in _evals(folder) if line["step"] <= arm.steps]

    def _real(
        self, folder: Path, start: Path, stream: CorpusStream, steps: int, rate: float,
        evaluate_at: frozenset[int], windows: Any, title: str,
    ) -> None:  # fmt: skip
        if (folder / "model").exists():
            return
        model = load_model(start)
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
                "total_flops": (arm.warmup_tokens + line["tokens"]) * self.flops,
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


def _recipe(warm: Path) -> dict[str, Any]:
    """The record of a finished pretrain run on a synthetic stream; CheckpointError if it is not one."""
    find_model(warm)
    if not warm.exists():  # yet a model was found
        raise CheckpointError(
            f"{warm} is a shipped model, without the step-0 weights and the run that each seed repeats; "
            "give the --out of a pretrain run, or try it as it is: uprior eval or uprior bits"
        )
    try:
        recipe: dict[str, Any] = json.loads((warm / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {warm / 'config.json'}: {error}; give the --out of a pretrain run"
        ) from error
    if recipe.get("kind") != "pretrain" or "source" not in recipe.get("stream", {}) or not (warm / "start").exists():
        raise CheckpointError(
            f"{warm} is not a uprior pretrain run (it needs config.json with the recipe, start/ and model/), so neither its "
            "step-0 weights nor its cost are known; give the --out of a pretrain run"
        )
    sources.revive(recipe["stream"]["source"])  # a source this version cannot rebuild is told now
    return as_it_ended(recipe, warm)
