"""``compare`` of a shipped model: what its arms begin with, what it claims, and that it says what its intervals leave out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import uprior
from uprior.errors import SpecError
from uprior.models import build, load_model
from uprior.report.records import gather
from uprior.report.words import compare_claims
from uprior.shipping import ship
from uprior.sources import Pointwise
from uprior.terminal import print_comparison

SIZES = {
    "seeds": 2,
    "steps": 4,
    "batch_size": 2,
    "context": 16,
    "evaluations": 3,
    "positions": 8,
    "show": False,
    "learning_rates": (1e-3, 3e-3),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder that ``ship`` wrote: a small model that began by matching contexts."""
    folder = tmp_path_factory.mktemp("shipped")
    stream = uprior.Stream(Pointwise(), seed=3, batch_size=4, length=32)
    uprior.pretrain(build("64x2-matching", context=32), stream, steps=3, out=folder / "run", show=False)
    return ship(folder / "run", folder / "mine")


@pytest.fixture(scope="module")
def study(given, text, tmp_path_factory):
    return uprior.compare(given, text, out=tmp_path_factory.mktemp("compared") / "c", **SIZES)


def started(study, arm, seed):
    return load_model(study.run / f"seed-{seed}" / f"start-{arm}")


def test_every_arm_and_seed_is_run_and_the_shipped_compute_is_charged(study):
    arms = {
        arm: [line for line in study.records if line["arm"] == arm]
        for arm in ("scratch", "random", "warmed", "shuffled")
    }
    assert sum(map(len, arms.values())) == len(study.records)
    flops = study.summary["flops_per_token"]
    for arm, lines in arms.items():
        spent = 3 * 4 * 32 if arm in ("warmed", "shuffled") else 0
        assert {line["seed"] for line in lines} == {0, 1}
        assert {line["total_flops"] for line in lines if line["step"] == 4} == {(4 * 2 * 16 + spent) * flops}


def test_the_shipped_weights_are_the_same_for_every_seed_and_scratch_is_not(study, given):
    first = {
        arm: [line["bits_mean"] for line in study.records if line["arm"] == arm and line["step"] == 0]
        for arm in ("warmed", "scratch", "random", "shuffled")
    }
    assert len(set(first.pop("warmed"))) == 1
    assert all(len(set(values)) == 2 for values in first.values())
    matching = build("64x2-matching", context=32, seed=0).config
    assert started(study, "scratch", 0).config.first_weights == matching.first_weights
    kept, moved = load_model(given).state_dict(), started(study, "shuffled", 0).state_dict()
    for name, tensor in kept.items():
        inside = "attn" in name or "mlp" in name
        assert torch.equal(tensor.float().flatten().sort()[0], moved[name].float().flatten().sort()[0]), name
        assert torch.equal(tensor, moved[name]) is not inside, name


def test_each_baseline_without_a_warm_up_has_its_saving(study):
    savings = study.summary["savings"]
    assert [one["baseline"] for one in savings] == ["scratch", "random"]
    assert study.summary["data_saving"] == savings[0]["value"]
    assert all(one["low"] <= one["value"] <= one["high"] and len(one["per_seed"]) == 2 for one in savings)
    pairs = {(pair["arm"], pair["baseline"]): pair for pair in study.summary["pairs"]}
    assert set(pairs) == {("warmed", "scratch"), ("warmed", "random"), ("scratch", "random"), ("warmed", "shuffled")}
    ends = {
        arm: np.mean([line["bits_mean"] for line in study.records if line["arm"] == arm and line["step"] == 4])
        for arm in ("warmed", "shuffled")
    }
    assert pairs["warmed", "shuffled"]["difference_bits"] == pytest.approx(ends["warmed"] - ends["shuffled"])


def test_page_and_table_say_what_the_intervals_leave_out(study, capsys):
    runs, _ = gather(study.run)
    claims = compare_claims(runs[0])
    assert sum("random weights" in claim for claim in claims) == 2 and sum("shuffled" in claim for claim in claims) == 1
    assert "384 tokens, 3 times the real ones here" in claims[-1] and "do not cover other models" in claims[-1]
    page = study.report().read_text()
    assert claims[-1] in page and "over total compute" not in page
    print_comparison(study.summary)
    shown = capsys.readouterr().out
    assert "data saving, warmed against random:" in shown and "384 tokens, 3 times the real ones" in shown
    assert "matched" not in shown


def test_again_it_is_the_same_and_a_copy_is_the_same_model(study, given, text, tmp_path):
    shutil.copytree(given, tmp_path / "elsewhere")
    shutil.copytree(study.run, tmp_path / "c")
    again = uprior.compare(tmp_path / "elsewhere", text, out=tmp_path / "c", **SIZES)
    assert again.records == study.records and again.summary == study.summary


def test_a_model_without_a_start_of_its_own_has_no_random_arm(text, tmp_path):
    stream = uprior.Stream(Pointwise(), seed=3, batch_size=4, length=32)
    uprior.pretrain(build("llama-tiny", context=32), stream, steps=2, out=tmp_path / "run", show=False)
    study = uprior.compare(
        ship(tmp_path / "run", tmp_path / "mine"), text, out=tmp_path / "c", **SIZES | {"learning_rates": (1e-3,)}
    )
    assert list(study.summary["final_bits"]) == ["scratch", "warmed", "shuffled"]


def test_sizes_are_its_own_unless_given(given, text, tmp_path, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("uprior.comparing._Runner.lines", stopped)
    with pytest.raises(KeyboardInterrupt):
        uprior.compare(given, text, out=tmp_path / "c", positions=2, show=False)
    config = json.loads((Path(tmp_path) / "c" / "config.json").read_text())
    assert (config["steps"], config["batch_size"], config["length"], config["schedule"]) == (60, 4, 32, "cosine")
    assert len(config["learning_rates"]) == 4 and config["evaluations"] == 6


def test_contexts_that_cannot_be_are_told(given, text, tmp_path):
    with pytest.raises(SpecError, match="context = 33 is not allowed; allowed: 2 to 32"):
        uprior.compare(given, text, out=tmp_path / "c", **SIZES | {"context": 33})
    with pytest.raises(SpecError, match="in rows as long as its own; leave --context out"):
        uprior.compare(given.parent / "run", text, out=tmp_path / "c", **SIZES)
    assert not (tmp_path / "c").exists()
