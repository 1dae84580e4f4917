"""Arms of transfer studies: each run once, paired by seed, charged for what it spent, the same after an interruption."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uprior import corpora, sources
from uprior.data.stream import CorpusStream
from uprior.files import read_lines
from uprior.models.presets import flops_per_token
from uprior.studies._arms import (
    BLOCKS,
    EVERYTHING,
    SCRATCH,
    Arm,
    Carried,
    Given,
    Model,
    Record,
    Stage,
    WarmUp,
    controls_of,
)
from uprior.studies._laboratory import TUNING, Laboratory
from uprior.studies._short_runs import Panel
from uprior.train.settings import Training

MODEL = Model("32x2", 256, 32)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "squares.txt"
    path.write_text(" ".join(str(n * n) for n in range(3000)))
    return path


@pytest.fixture(scope="module")
def stage(file: Path) -> Stage:
    corpus = corpora.get(f"file:{file}")
    panel = Panel({"squares": f"file:{file}"}, context=32, positions=8)
    return Stage(
        "squares",
        MODEL,
        lambda seed: CorpusStream(corpus, seed=seed, batch_size=4, length=32),
        Training(steps=6, warmup_steps=1, checkpoint_every=2),
        panel.measure,
        lambda model: float(panel.measure(model)[0]["bits_mean"]),
        frozenset({0, 3, 6}),
        panel.describe(),
    )


def warm_up(**changes: Any) -> WarmUp:
    made = WarmUp(sources.get("dyck:k=4"), Training(steps=3, warmup_steps=1, learning_rate=3e-3), rows=4, length=16)
    return dataclasses.replace(made, **changes)


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "window_bits"} for record in records]


def test_arms_share_weights_and_batches_of_a_seed(tmp_path: Path, stage: Stage) -> None:
    laboratory = Laboratory(tmp_path, (1e-3,), show=False)
    attention = Arm("attention", (Carried(warm_up(), ("attention",)),), frozen=("norms",))
    scratch, _ = laboratory.start(SCRATCH, stage, 3)
    started, table = laboratory.start(attention, stage, 3)
    warmed = laboratory.warmed(attention.carried[0], MODEL, 3)
    for name, weight in started.named_parameters():
        expected = warmed if "self_attn" in name else scratch
        assert torch.equal(weight, dict(expected.named_parameters())[name]), name
        assert weight.requires_grad == ("norm" not in name), name
    assert table is not None and {record["role"] for record in table.records() if record["start"] == "copied"} == {
        "attention"
    }
    assert not torch.equal(laboratory.start(SCRATCH, stage, 4)[0].lm_head.weight, scratch.lm_head.weight)


def test_warm_up_trains_and_controls_keep_statistics_only(tmp_path: Path, stage: Stage) -> None:
    laboratory = Laboratory(tmp_path, (1e-3,), show=False)
    arm = Arm("warmed", (Carried(warm_up(), EVERYTHING),))
    names = [control.name for control in controls_of(arm, other=corpora.get("python_stdlib"), more_steps=2)]
    assert len(set(names)) == len(names) == 8
    trained, _ = laboratory.start(arm, stage, 0)
    shuffled, _ = laboratory.start(next(c for c in controls_of(arm) if c.name == "weights shuffled"), stage, 0)
    one, other = (model.model.layers[1].mlp.up_proj.weight.detach() for model in (trained, shuffled))
    assert not torch.equal(one, other)
    assert torch.equal(one.flatten().sort().values, other.flatten().sort().values)
    assert torch.equal(trained.model.norm.weight, shuffled.model.norm.weight)


def test_one_warm_up_keeps_models_of_many_lengths(tmp_path: Path, stage: Stage) -> None:
    laboratory = Laboratory(tmp_path, (1e-3,), show=False)
    longest = warm_up(training=Training(steps=5, warmup_steps=1, learning_rate=3e-3), keep=(2, 3))
    arms = [Arm(f"{at} steps", (Carried(dataclasses.replace(longest, at=at), EVERYTHING),)) for at in (2, 3, 0)]
    second, third, last = (laboratory.start(arm, stage, 0)[0].state_dict() for arm in arms)
    assert len(list(tmp_path.glob("warm-up*"))) == 1
    # At a constant rate the model kept at step 3 is that of a run of 3 steps.
    alone = laboratory.start(Arm("alone", (Carried(warm_up(), EVERYTHING),)), stage, 0)[0].state_dict()
    assert all(torch.equal(third[name], alone[name]) for name in alone)
    assert not any(torch.equal(other["lm_head.weight"], third["lm_head.weight"]) for other in (second, last))
    assert [laboratory.run(arm, stage, 0)[-1]["warmup_tokens"] for arm in arms] == [2 * 64, 3 * 64, 5 * 64]

    log = read_lines(laboratory.warm_up(longest, MODEL, 0) / "log.jsonl")
    assert sum(line["event"] == "train" for line in log) == 5
    distances = [line["distance"] for line in log if line["event"] == "eval"]
    fresh = laboratory.start(SCRATCH, stage, 0)[0]
    weights = {name: weight.detach().double() for name, weight in fresh.named_parameters()}
    moved = sum(float((third[name].double() - weight).square().sum()) for name, weight in weights.items())
    length = sum(float(weight.square().sum()) for weight in weights.values())
    assert distances[1] == pytest.approx((moved / length) ** 0.5, rel=1e-6) and 0 < distances[0] < distances[1]


def test_records_pair_seeds_and_charge_compute(tmp_path: Path, stage: Stage) -> None:
    laboratory = Laboratory(tmp_path, (1e-3,), show=False)
    arms = [SCRATCH, Arm("warmed", (Carried(warm_up(), BLOCKS),)), Arm("longer", more_steps=4)]
    records = laboratory.records(arms, [stage], [0, 1])
    assert [(r["arm"], r["seed"], r["step"]) for r in records if r["seed"] == 1] == [
        (arm, 1, step)
        for arm, steps in (("scratch", (0, 3, 6)), ("warmed", (0, 3, 6)), ("longer", (0, 3, 6, 10)))
        for step in steps
    ]
    flops = flops_per_token(laboratory.start(SCRATCH, stage, 0)[0])
    last = {r["arm"]: r for r in records if r["seed"] == 0}
    assert last["warmed"]["warmup_tokens"] == 3 * 4 * 16 and last["scratch"]["warmup_tokens"] == 0
    assert last["warmed"]["warmup_flops"] == flops * 3 * 4 * 16 and last["warmed"]["generation_flops"] > 0
    assert last["longer"]["train_flops"] == flops * 10 * 4 * 32
    # At a constant rate, and with one seed, a longer run begins as the shorter one does.
    bits = {(r["arm"], r["step"]): r["bits_mean"] for r in records if r["seed"] == 0}
    assert bits["longer", 6] == bits["scratch", 6] and bits["warmed", 0] != bits["scratch", 0]


def test_stopped_and_asked_again_it_gives_the_same_digits(tmp_path: Path, stage: Stage, monkeypatch: Any) -> None:
    from uprior.studies import _laboratory
    from uprior.train.loop import Result

    arms = [SCRATCH, Arm("warmed", (Carried(warm_up(), EVERYTHING),))]
    expected = Laboratory(tmp_path / "whole", (1e-3,), show=False).records(arms, [stage], [0])

    whole = _laboratory.fit

    def interrupted(model: Any, stream: Any, training: Any, run: Path, **options: Any) -> Result:
        """The first steps, with the checkpoint that a stopped run leaves."""
        short = whole(model, stream, training.replace(steps=4), run, **options)
        for part in ("model",):
            (run / part).rename(run / f".{part}")
        return Result(short.steps, short.loss_nats, finished=False)

    again = Laboratory(tmp_path / "parts", (1e-3,), show=False)
    monkeypatch.setattr(_laboratory, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again.records(arms[:1], [stage], [0])
    monkeypatch.setattr(_laboratory, "fit", whole)
    assert again.records(arms, [stage], [0]) == expected
    untouched = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("log.jsonl")}
    assert again.records(arms, [stage], [0]) == expected
    assert untouched == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("log.jsonl")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_last_step_of_a_run_ends_the_study_all_the_same(
    tmp_path: Path, stage: Stage, number: signal.Signals
) -> None:
    def measure(model: Any, step: int) -> list[Record]:
        if step == stage.training.steps and not list(tmp_path.glob("*/model")):
            os.kill(os.getpid(), number)
        return stage.measure(model, step)

    laboratory, asked = Laboratory(tmp_path, (1e-3,), show=False), dataclasses.replace(stage, measure=measure)
    with pytest.raises(KeyboardInterrupt):
        laboratory.records([SCRATCH], [asked], [0, 1])
    (done,) = tmp_path.glob("*/model")  # the run it came in is whole, and the next did not begin
    assert not (done.parent / "checkpoints").exists() and len(list(tmp_path.iterdir())) == 1
    assert {record["seed"] for record in laboratory.records([SCRATCH], [asked], [0, 1])} == {0, 1}


def test_rates_are_chosen_by_trials_on_a_seed_of_their_own(tmp_path: Path, stage: Stage) -> None:
    laboratory = Laboratory(tmp_path, (1e-3, 3e-3), show=False)
    seen: list[int] = []
    stream = stage.stream
    tried = dataclasses.replace(stage, stream=lambda seed: (seen.append(seed), stream(seed))[1])
    rate = laboratory.rate(SCRATCH, tried)
    assert set(seen) == {TUNING} and rate == 3e-3  # of six steps from random weights the larger wins
    worse = dataclasses.replace(tried, choose=lambda model: -stage.choose(model))
    assert Laboratory(tmp_path / "other", (1e-3, 3e-3), show=False).rate(SCRATCH, worse) == 1e-3
    assert laboratory.rate(dataclasses.replace(SCRATCH, rates=(0.5,)), stage) == 0.5


def test_given_weights_are_the_same_for_every_seed(tmp_path: Path, stage: Stage) -> None:
    from uprior.models.folder import save_model

    laboratory = Laboratory(tmp_path, (1e-3,), show=False)
    save_model(laboratory.start(SCRATCH, stage, 9)[0], tmp_path / "given")
    arm = Arm("given", (Carried(Given(str(tmp_path / "given"), 100, 1e6, "0" * 64), EVERYTHING),))
    first, second = (laboratory.start(arm, stage, seed)[0].state_dict() for seed in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [c.name for c in controls_of(arm, other=corpora.get("python_stdlib"), by_head=False)] == [
        "weights shuffled", "weights same statistics",
    ]  # fmt: skip
    record = laboratory.run(arm, stage, 0)[-1]
    assert (record["warmup_tokens"], record["warmup_flops"]) == (100, 1e6) and np.isfinite(record["bits_mean"])


def test_other_data_or_measurements_are_other_runs(tmp_path: Path, stage: Stage) -> None:
    """A file that was changed in place, or more windows, must not be answered with what was measured before."""
    laboratory = Laboratory(tmp_path, (1e-3,), show=False)
    laboratory.run(SCRATCH, stage, 0)
    laboratory.run(SCRATCH, stage, 0)
    assert len(list(tmp_path.iterdir())) == 1
    laboratory.run(SCRATCH, dataclasses.replace(stage, key={"data": "another digest"}), 0)
    assert len(list(tmp_path.iterdir())) == 2
