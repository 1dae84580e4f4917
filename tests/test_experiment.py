"""The public verbs together, small: pretrain, evaluate, compare; what they refuse; what a kill leaves."""

import json
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from process_server import start

import uprior
from uprior.comparing import _Plan
from uprior.errors import CheckpointError, CorpusError, RunDirectoryError, SpecError, UnknownNameError
from uprior.experiment import evaluation_steps
from uprior.files import read_lines
from uprior.models import lengthened, load_model
from uprior.sources import Mixture, Pointwise, Uniform
from uprior.warm_starts import warm_start

SMALL = {"steps": 6, "evaluations": 2, "positions": 8, "show": False}


def stream(**options):
    source = Mixture(sources=(Pointwise(max_symbols=4), Uniform()), shares=(3, 1))
    return uprior.Stream(source, **({"seed": 0, "batch_size": 4, "length": 32, "block_rows": 64} | options))


@pytest.fixture(scope="module")
def warm(tmp_path_factory, text):
    out = tmp_path_factory.mktemp("runs") / "warm"
    model = uprior.build("llama-tiny", context=32)
    assert uprior.pretrain(model, stream(), out=out, evaluate_on=[text], **SMALL).finished
    return out


def compare_small(warm, text, out=None):
    return uprior.compare(
        warm, text, out=out, seeds=2, steps=8, batch_size=4, trial_steps=3, evaluations=3, positions=8, show=False
    )


@pytest.fixture(scope="module")
def study(warm, text):
    return compare_small(warm, text)


def test_a_run_directory_tells_all(warm):
    config = json.loads((warm / "config.json").read_text())
    assert config["kind"] == "pretrain" and config["tokens"] == 6 * 4 * 32
    assert config["stream"]["source"]["name"] == "mixture"
    assert config["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {line["predictor"] for line in read_lines(warm / "baselines.jsonl")} >= {
        "uniform",
        "markov",
        "deflate",
        "lzma",
    }
    evaluated = [line for line in read_lines(warm / "log.jsonl") if line["event"] == "eval"]
    assert [line["step"] for line in evaluated] == [0, 6]
    assert not (warm / "checkpoints").exists()


def test_done_is_done(warm, text):
    before = (warm / "log.jsonl").read_bytes()
    result = uprior.pretrain(uprior.build("llama-tiny", context=32), stream(), out=warm, evaluate_on=[text], **SMALL)
    assert result.finished and (warm / "log.jsonl").read_bytes() == before


def test_another_run_is_refused_with_the_difference(warm, text):
    with pytest.raises(
        RunDirectoryError, match=r"holds another run: training.learning_rate is 0.001 there, 0.002 here"
    ):
        uprior.pretrain(
            uprior.build("llama-tiny", context=32), stream(), out=warm, evaluate_on=[text], learning_rate=0.002, **SMALL
        )


def test_somebody_elses_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunDirectoryError, match=r"is not empty and holds no run \(thesis.tex\)"):
        uprior.pretrain(uprior.build("llama-tiny", context=32), stream(), out=tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["thesis.tex"]


def test_bad_arguments_leave_no_run_directory(tmp_path, text):
    model = uprior.build("llama-tiny", context=32)
    (tmp_path / "short.txt").write_text("abc")
    wrong = [
        ({"steps": None}, SpecError, "give exactly one"),
        ({"tokens": 5}, SpecError, "give exactly one"),
        ({"learning_rte": 1.0}, UnknownNameError, "did you mean 'learning_rate'"),
        ({"learning_rate": -1.0}, SpecError, "learning_rate = -1.0 is not allowed"),
        ({"evaluate_on": ["nothing.txt"]}, ValueError, "nothing.txt"),
        ({"evaluate_on": [str(tmp_path / "short.txt")]}, CorpusError, "short.txt has 3 bytes"),
    ]
    for changes, kind, message in wrong:
        with pytest.raises(kind, match=message):
            uprior.pretrain(model, stream(), out=tmp_path / "run", **(SMALL | changes))
    with pytest.raises(SpecError, match=r"rows of 64 tokens .* context of 32; build it with context=64"):
        uprior.pretrain(model, stream(length=64), out=tmp_path / "run", **SMALL)
    with pytest.raises(SpecError, match="the model has 100 ids, the stream needs 256; give --vocab 256"):
        uprior.pretrain(uprior.build("llama-tiny", vocab=100, context=32), stream(), out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_rotary_model_is_lengthened_and_says_the_same(tmp_path):
    model = uprior.build("llama-tiny", context=32, seed=3)
    longer = lengthened(model, 64)
    ids = torch.arange(32)[None] % 7
    assert longer.config.max_position_embeddings == 64 and model.config.max_position_embeddings == 32
    assert torch.equal(longer(ids).logits, model(ids).logits) and longer.training == model.training
    assert lengthened(model, 16) is model and longer(ids.repeat(1, 2)).logits.shape == (1, 64, 256)
    uprior.pretrain(longer, stream(length=64), out=tmp_path / "run", **SMALL)
    with pytest.raises(
        SpecError, match="rows of at most 32 tokens, by a table of positions; given: 64; give a context of 32"
    ):
        lengthened(uprior.build("gpt2-tiny", context=32), 64)
    longer.config.rope_parameters["rope_type"] = "dynamic"
    with pytest.raises(SpecError, match="at most 64 tokens, by rotations of kind dynamic; given: 65"):
        lengthened(longer, 65)


def test_evaluations_lie_closer_early():
    steps = sorted(evaluation_steps(1000, 6))
    assert steps[0] == 0 and steps[-1] == 1000 and len(steps) == 6
    assert all(np.diff(steps, 2) > 0)
    assert evaluation_steps(10, 0) == frozenset() and evaluation_steps(10, 1) == {10}


def test_evaluate_reports_every_predictor_on_the_same_windows(warm, text):
    records = uprior.evaluate(str(warm), text, positions=16)
    names = [record["predictor"] for record in records]
    assert names[0] == "model" and {"uniform", "markov", "deflate", "bz2", "lzma"} <= set(names)
    assert {record["context"] for record in records} == {32} and {record["positions"] for record in records} == {16}
    assert next(r for r in records if r["predictor"] == "uniform")["bits_mean"] == 8.0


# ------------------------------------------------------------------ compare


def lines_of(study, arm, seed):
    return [line for line in study.records if (line["arm"], line["seed"]) == (arm, seed)]


def test_compare_has_every_arm_and_seed_and_charges_the_warm_up(study, warm):
    assert {(line["arm"], line["seed"]) for line in study.records} == {
        (arm, seed) for arm in ("scratch", "warmed", "noise", "matched") for seed in (0, 1)
    }
    flops = study.summary["flops_per_token"]
    for seed in (0, 1):
        scratch, warmed, matched = (lines_of(study, arm, seed) for arm in ("scratch", "warmed", "matched"))
        assert scratch[-1]["total_flops"] == 8 * 4 * 32 * flops
        assert warmed[-1]["total_flops"] == (8 * 4 * 32 + 6 * 4 * 32) * flops == matched[-1]["total_flops"]
        assert warmed[-1]["tokens"] == scratch[-1]["tokens"] < matched[-1]["tokens"]
        assert [line["tokens"] for line in warmed] == [line["tokens"] for line in scratch]


def test_scratch_and_matched_begin_with_the_same_weights_and_batches(study):
    for seed in (0, 1):
        scratch, matched = lines_of(study, "scratch", seed), lines_of(study, "matched", seed)
        assert [s["bits_mean"] for s in scratch] == [m["bits_mean"] for m in matched[: len(scratch)]]


def test_seeds_differ_in_weights_and_in_batches(study, warm):
    plan = _Plan(warm_start(warm, None), _corpus(study), "", 2, 8, 4, (1e-3,), 3,
                 "constant", 3, 8, None, False)  # fmt: skip
    assert set(plan.stream(0).hashes(0)).isdisjoint(plan.stream(1).hashes(0))
    zero = load_model(warm / "start").lm_head.weight
    one = load_model(study.run / "seed-1" / "start").lm_head.weight
    assert not torch.equal(zero, one)


def _corpus(study):
    from uprior import corpora

    return corpora.get(json.loads((study.run / "config.json").read_text())["data"])


def test_the_warmed_arm_starts_from_the_warmed_weights_and_noise_does_not(study):
    start = {arm: lines_of(study, arm, 0)[0]["bits_mean"] for arm in ("scratch", "warmed", "noise")}
    assert len(set(start.values())) == 3


def test_rates_are_chosen_on_equal_trials_of_validation_data(study):
    trials = sorted(p.name for p in (study.run / "tuning").iterdir())
    assert trials == sorted(f"{arm}-{rate}" for arm in ("scratch", "warmed", "noise") for rate in ("0.001", "0.003"))
    for arm in ("scratch", "warmed", "noise"):
        bits = {
            r: read_lines(study.run / "tuning" / f"{arm}-{r:g}" / "log.jsonl")[-1]["bits_mean"] for r in (1e-3, 3e-3)
        }
        assert study.summary["learning_rates"][arm] == min(bits, key=bits.get)


def test_the_summary_follows_from_the_records(study):
    summary = study.summary
    for pair in summary["pairs"]:
        expected = [lines_of(study, pair["arm"], s)[-1]["bits_mean"] - lines_of(study, pair["baseline"], s)[-1]["bits_mean"]
                    for s in (0, 1)]  # fmt: skip
        assert pair["per_seed"] == pytest.approx(expected)
        assert pair["difference_bits"] == pytest.approx(np.mean(expected))
    assert -1 <= summary["low"] <= summary["data_saving"] <= summary["high"] <= 1
    assert read_lines(study.run / "compare.jsonl")[-1]["summary"] is True


def test_compare_again_is_the_same_and_at_once(study, warm, text):
    again = compare_small(warm, text)
    assert again.records == study.records and again.summary == study.summary


def test_a_moved_run_is_the_same_run(study, warm, text, tmp_path):
    shutil.copytree(warm, tmp_path / "elsewhere")
    shutil.copytree(study.run, tmp_path / "c")
    again = compare_small(tmp_path / "elsewhere", text, tmp_path / "c")
    assert again.records == study.records


def test_the_study_writes_its_page(study, tmp_path):
    page = study.report(tmp_path / "page.html")
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "seeds = 1 is not allowed"),
        ({"learning_rates": ()}, "learning_rates is empty"),
        ({"limit_bytes": 10}, "the train split has 10 bytes"),
    ],
)
def test_compare_refuses_the_impossible_before_it_writes(warm, text, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        uprior.compare(warm, text, out=tmp_path / "c", show=False, **({"steps": 2} | changes))
    assert not (tmp_path / "c").exists()


def test_compare_wants_a_pretrain_run(warm, text, tmp_path):
    with pytest.raises(CheckpointError, match="has no recipe that says what it took"):
        uprior.compare(warm / "model", text, out=tmp_path / "c")
    with pytest.raises(CheckpointError, match="does not exist"):
        uprior.compare(tmp_path / "none", text, out=tmp_path / "c")


def test_a_comparison_killed_half_way_ends_as_if_it_had_not_been(study, warm, text, tmp_path):
    process = start(compare_small, warm, text, tmp_path / "c")
    while process.is_alive() and not (tmp_path / "c" / "seed-0" / "warmed" / "log.jsonl").exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert compare_small(warm, text, tmp_path / "c").records == study.records
