"""Does what arms describe, each run once: finished runs are read back, a stopped one goes on, so any study can be interrupted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from uprior.corpora import Corpus
from uprior.data.stream import BatchStream, CorpusStream, Stream
from uprior.experiment import open_run
from uprior.files import read_lines
from uprior.models.folder import load_model, save_model
from uprior.models.presets import flops_per_token
from uprior.models.sizes import build
from uprior.progress import clock
from uprior.rng import digest
from uprior.studies._arms import Arm, Carried, Given, Model, Record, Stage, WarmUp
from uprior.studies._compute import generation_flops_per_token
from uprior.studies._short_runs import PATIENCE, slug
from uprior.train.loop import close_run, fit
from uprior.train.settings import Training
from uprior.train.threads import recorded_threads, threads_of_run
from uprior.transfer import Table, compose, freeze, same_statistics, shuffled_weights

# The seed of trials of learning rates: no reported one.
TUNING = 1 << 20
WARM_UP = "warm-up"
# Seconds; a run that took less was read back, and says nothing about how long others take.
READ_BACK = 1.0


@dataclass(frozen=True)
class Laboratory:
    """Where runs lie, and how they are made.

    rates   learning rates tried for every arm of a stage, each for the whole stage, on a seed and data of their own
    """

    folder: Path
    rates: tuple[float, ...]
    show: bool = True

    def records(self, arms: Sequence[Arm], stages: Sequence[Stage], seeds: Sequence[int]) -> list[Record]:
        """A record per stage, arm, seed and evaluation; what is missing is run now, one seed after the other.

        {stage, arm, seed, step, tokens, learning_rate, parameters, train_flops, warmup_tokens, warmup_flops, generation_flops}
        and what the stage measures. ``train_flops`` are the shared stage's so far; an arm is charged all three.
        Raises KeyboardInterrupt when a run was asked to stop: it is saved, and the same call goes on.
        """
        records: list[Record] = []
        number, total = 0, len(arms) * len(stages) * len(seeds)
        made, spent = 0, 0.0
        for seed in seeds:
            for stage in stages:
                for arm in arms:
                    start = time.monotonic()
                    found = self.run(arm, stage, seed)
                    seconds = time.monotonic() - start
                    records += found
                    number += 1
                    value = [r for r in found if r.get("file", stage.name) == stage.name][-1][stage.metric]
                    left = ""
                    if seconds > READ_BACK:
                        made, spent = made + 1, spent + seconds
                        left = f", {clock(seconds)}; about {clock(spent / made * (total - number))} left"
                    sys.stderr.write(
                        f"{number} of {total}: {stage.name}, {arm.name}, seed {seed}: {stage.metric} {value:.4f}{left}\n"
                    )
        return records

    def run(self, arm: Arm, stage: Stage, seed: int) -> list[Record]:
        """The records of one arm on one stage with one seed."""
        rate = self.rate(arm, stage)
        folder = self._stage(arm, stage, seed, rate, stage.measure, stage.evaluate_at | {_steps(arm, stage)})
        cost = self._cost(arm, stage)
        return [
            {
                "stage": stage.name,
                "arm": arm.name,
                "seed": seed,
                "step": line["step"],
                "tokens": line["tokens"],
                "learning_rate": rate,
                **cost,
                "train_flops": cost["flops_per_token"] * line["tokens"],
                **{key: value for key, value in line.items() if key not in ("event", "step", "tokens")},
            }
            for line in read_lines(folder / "log.jsonl")
            if line["event"] == "eval"
        ]

    def rate(self, arm: Arm, stage: Stage) -> float:
        """The learning rate that ``stage.choose`` found best for this arm, each tried for the whole stage."""
        return self.rate_on(arm, (stage,))

    def rate_on(self, arm: Arm, stages: Sequence[Stage]) -> float:
        """The same over several stages, in the mean."""
        rates = arm.rates or self.rates
        if len(rates) == 1:
            return rates[0]
        found = {rate: fmean(self._tried(arm, stage, rate) for stage in stages) for rate in rates}
        return min(found, key=found.__getitem__)

    def _tried(self, arm: Arm, stage: Stage, rate: float) -> float:
        """What ``stage.choose`` says of a trial of one rate."""
        start = time.monotonic()
        folder = self._stage(
            arm, stage, TUNING, rate, lambda model, _: [{"chosen_by": stage.choose(model)}],
            frozenset({_steps(arm, stage)}),
        )  # fmt: skip
        found = next(line["chosen_by"] for line in read_lines(folder / "log.jsonl") if line["event"] == "eval")
        if time.monotonic() - start > READ_BACK:
            sys.stderr.write(f"trial: {stage.name}, {arm.name}, learning rate {rate:g}: {found:.4f}\n")
        return float(found)

    def model(self, arm: Arm, stage: Stage, seed: int) -> Any:
        """The trained model of a run that ``run`` has done."""
        rate = self.rate(arm, stage)
        return load_model(self._stage(arm, stage, seed, rate, stage.measure, stage.evaluate_at | {_steps(arm, stage)}))

    def start(self, arm: Arm, stage: Stage, seed: int) -> tuple[Any, Table | None]:
        """The model that an arm's shared stage begins with, and the table of what is copied, fresh and frozen."""
        model = self._fresh(stage.model, seed, plain=arm.plain)
        table = None
        if arm.carried:
            given = {
                f"{WARM_UP} {number}" if len(arm.carried) > 1 else "": (
                    self.warmed(one, stage.model, seed, arm.plain),
                    one.parts,
                )
                for number, one in enumerate(arm.carried, start=1)
            }
            layers = arm.carried[0].layers
            table = compose(model, given, layers, embeddings=arm.embeddings, positions=arm.positions)
        if arm.frozen:
            frozen = freeze(model, arm.frozen)
            table = frozen if table is None else table.then(frozen)
        return model, table

    def carry_table(self, arm: Arm, stage: Stage) -> list[Record]:
        """What of an arm is copied, fresh and frozen, said on stderr before anything is trained on real data; [] for scratch."""
        table = self.start(arm, stage, 0)[1]
        if table is None:
            return []
        sys.stderr.write(f"{arm.name}:\n{table}\n")
        return table.records()

    def warmed(self, carried: Carried, model: Model, seed: int, plain: bool = False) -> Any:
        """The model of a warm-up, trained now if need be, and its control's changes made."""
        warm_up = carried.warm_up
        made = load_model(warm_up.name if isinstance(warm_up, Given) else self._kept(warm_up, model, seed, plain))
        match warm_up.control:
            case "":
                return made
            case "same statistics":
                return same_statistics(made, seed=seed)
            case "shuffled":
                return shuffled_weights(made, seed=seed)
        return shuffled_weights(made, per="head", output_projections="kept" not in warm_up.control, seed=seed)

    def warm_up(self, warm_up: WarmUp, model: Model, seed: int, plain: bool = False) -> Path:
        """The folder of a warm-up's run, done now if need be: its log, its model, and those kept on the way (``kept_at``).

        Where models are kept, the log has their ``distance`` from the first weights, as a share of those weights' length.
        """
        own = replace(model, vocab=warm_up.vocab, context=warm_up.length)
        warm_up = replace(warm_up, at=0)
        config = {"kind": "warm-up", "model": vars(own), "plain": plain, "seed": seed, **warm_up.describe()}

        def keep(trained: Any, step: int) -> list[Record]:
            if not kept_at(run, step).exists():
                save_model(trained, kept_at(run, step))
            return [{"distance": _distance(trained, self._fresh(own, seed, plain=plain))}]

        title = f"{WARM_UP} {warm_up.data.name}"
        run = self._folder(title, config)
        return self._fit(
            title, config, _stream_of(warm_up, seed), warm_up.training, lambda: self._fresh(own, seed, plain=plain),
            keep, frozenset(warm_up.keep),
        )  # fmt: skip

    # ---------------------------------------------------------------- runs

    def _kept(self, warm_up: WarmUp, model: Model, seed: int, plain: bool) -> Path:
        """The folder of the model that a warm-up is carried with: its last, or one kept on the way."""
        run = self.warm_up(warm_up, model, seed, plain)
        return kept_at(run, warm_up.at) if warm_up.at else run

    def _stage(
        self, arm: Arm, stage: Stage, seed: int, rate: float, evaluate: Any, evaluate_at: frozenset[int]
    ) -> Path:
        """The folder of a finished run of the shared stage."""
        stream = stage.stream(seed)
        training: Training = stage.training.replace(learning_rate=rate, steps=_steps(arm, stage))
        config = {
            "kind": "shared stage",
            "stage": stage.name,
            "key": stage.key,
            "model": vars(stage.model),
            "arm": arm.describe(),
            "seed": seed,
            "stream": stream.describe(),
            "training": training.to_dict(),
            "evaluate_at": sorted(evaluate_at),
        }
        title = f"{stage.name} {arm.name}"
        return self._fit(
            title, config, stream, training, lambda: self.start(arm, stage, seed)[0], evaluate, evaluate_at
        )

    def _fit(
        self, title: str, config: Record, stream: BatchStream, training: Training, make: Any, evaluate: Any,
        evaluate_at: frozenset[int],
    ) -> Path:  # fmt: skip
        """The folder of a run, done now unless it was before."""
        config = json.loads(json.dumps(config))
        run = self._folder(title, config)
        if (run / "model").exists():
            return run
        start, model = time.monotonic(), make()
        stream.patience = PATIENCE
        run.mkdir(parents=True, exist_ok=True)
        open_run(run, config)
        with threads_of_run(recorded_threads(run), speak=False):
            result = fit(
                model, stream, training, run, evaluate=evaluate, evaluate_at=evaluate_at, title=title, show=self.show
            )
        close_run(result, run)
        if title.startswith(WARM_UP):
            sys.stderr.write(f"{title}, seed {config['seed']}: {clock(time.monotonic() - start)}\n")
        return run

    def _folder(self, title: str, config: Record) -> Path:
        """Where a run lies; the name holds a digest of all that it is."""
        return self.folder / f"{slug(title)}-{digest(json.dumps(config, sort_keys=True)).hex()[:12]}"

    def _fresh(self, model: Model, seed: int, *, plain: bool) -> Any:
        return build(model.name, vocab=model.vocab, context=model.context, seed=seed, plain=plain, untied=model.untied)

    # ---------------------------------------------------------------- what it costs

    def _cost(self, arm: Arm, stage: Stage) -> Record:
        """Of an arm: parameters, FLOPs per token of the shared stage, and what its warm-ups took, each counted once."""
        fresh = self._fresh(stage.model, 0, plain=True)
        tokens, training, writing = 0, 0.0, 0.0
        for warm_up in {
            json.dumps(one.warm_up.describe(), sort_keys=True): one.warm_up for one in arm.carried
        }.values():
            tokens += warm_up.tokens
            if isinstance(warm_up, Given):
                training += warm_up.flops
                continue
            own = self._fresh(replace(stage.model, vocab=warm_up.vocab), 0, plain=True)
            training += flops_per_token(own) * warm_up.tokens
            if not isinstance(warm_up.data, Corpus):
                writing += generation_flops_per_token(warm_up.data, length=warm_up.length) * warm_up.tokens
        return {
            "parameters": sum(p.numel() for p in fresh.parameters()),
            "flops_per_token": flops_per_token(fresh),
            "warmup_tokens": tokens,
            "warmup_flops": training,
            "generation_flops": writing,
        }


def kept_at(run: Path, step: int) -> Path:
    """The folder of the model that a warm-up's run kept at a step."""
    return run / "kept" / f"step-{step}"


def _distance(model: Any, start: Any) -> float:
    """How far a model's weights are from those of another, over the length of the other's."""
    moved = length = 0.0
    for trained, first in zip(model.parameters(), start.parameters(), strict=True):
        moved += float((trained.detach().cpu().double() - first.detach().double()).square().sum())
        length += float(first.detach().double().square().sum())
    return float((moved / length) ** 0.5)


def _steps(arm: Arm, stage: Stage) -> int:
    return stage.training.steps + arm.more_steps


def _stream_of(warm_up: WarmUp, seed: int) -> BatchStream:
    if isinstance(warm_up.data, Corpus):
        return CorpusStream(warm_up.data, seed=seed, batch_size=warm_up.rows, length=warm_up.length)
    return Stream(warm_up.data, seed=seed, batch_size=warm_up.rows, length=warm_up.length, vocab=warm_up.vocab)
