"""The bench of training: contestants take turns without noticing, what they report is right, and failures are rows."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from uprior.bench import contestants, plain, train
from uprior.bench.arithmetic import flops_per_token
from uprior.bench.contestants import CONTESTANTS, Contestant, Job
from uprior.bench.turns import ContestantError
from uprior.cli import main
from uprior.errors import SpecError, UnknownNameError
from uprior.files import read_lines
from uprior.models import build
from uprior.train import Training, fit

JOB = Job("llama-tiny", "uniform", batch_size=4, length=32, threads=1)
ROUNDS, STEPS = 2, 3


# ------------------------------------------------------------------ one match


@pytest.fixture(scope="module")
def records():
    """Everyone but the compiled one (a minute), one whose package is missing, and one that its process knows nothing of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONTESTANTS, "absent", Contestant(contestants.plain, "", needs="no_such_package"))
        patch.setitem(CONTESTANTS, "unheard_of", Contestant(contestants.plain, ""))
        only = ["uprior", "absent", "trainer", "unheard_of", "plain"]
        options = {"batch_size": JOB.batch_size, "length": JOB.length, "source": JOB.source, "threads": 1}
        return {
            record["contestant"]: record
            for record in train.bench_training(JOB.model, only=only, rounds=ROUNDS, steps=STEPS, **options)
        }


@pytest.fixture(scope="module")
def done(records):
    return {name: record for name, record in records.items() if record["error"] is None}


def test_who_cannot_take_part_is_a_row_and_the_others_go_on(records):
    assert list(records) == ["uprior", "absent", "trainer", "unheard_of", "plain"]
    assert records["absent"]["error"] == "no_such_package is not installed; type: pip install 'uprior[no_such_package]'"
    assert records["unheard_of"]["error"] == "KeyError: 'unheard_of'"
    assert records["uprior"]["error"] is None and records["plain"]["error"] is None


def test_all_train_the_same_model_on_the_same_batches(done):
    first = [record["first_loss"] for record in done.values()]
    assert first == pytest.approx([first[0]] * len(first), rel=0.01)  # one of them in bfloat16
    assert all(record["last_step"] == train.WARMUP_STEPS + ROUNDS * STEPS for record in done.values())


def test_the_trainer_took_part(records):
    pytest.importorskip("accelerate", reason="pip install 'uprior[accelerate]'")
    assert records["trainer"]["error"] is None


def test_ratios_and_shares_follow_from_the_rounds(done):
    rounds = {name: record["tokens_per_second_by_round"] for name, record in done.items()}
    for name, record in done.items():
        assert len(rounds[name]) == ROUNDS
        assert record["tokens_per_second"] == pytest.approx(statistics.median(rounds[name]), rel=1e-3)
        ratios = [own / plain for own, plain in zip(rounds[name], rounds["plain"], strict=True)]
        assert record["ratio_to_plain"] == pytest.approx(statistics.median(ratios), rel=0.01)
        others = {other: statistics.median(rounds[other]) for other in rounds if other != name}
        assert record["best_other"] == max(others, key=others.get)
        flops = record["flops_per_token"]
        assert record["flops_per_second"] == pytest.approx(record["tokens_per_second"] * flops["causal"], rel=1e-3)
        assert 0 < record["matmul_share_weights"] < record["matmul_share"] < record["matmul_share_whole_attention"] < 1
        assert 0 <= record["data_wait_share"] < 1 and record["first_step_s"] > 0
        assert record["peak_resident_bytes"] > 1e8
        assert record["matmul_bfloat16_flops"] > 1e7 and record["matmul_float32_flops"] > 1e9
        assert record["machine"]["versions"]["torch"] == torch.__version__
    assert done["plain"]["ratio_to_plain"] == 1


def test_turns_change_nothing_of_what_our_loop_computes(done, tmp_path):
    record = done["uprior"]
    fit(JOB.build(), JOB.stream(), Training(steps=record["last_step"]), tmp_path / "run", show=False)
    losses = [line["loss_nats"] for line in read_lines(tmp_path / "run" / "log.jsonl")]
    assert [record["first_loss"], record["last_loss"]] == pytest.approx([losses[0], losses[-1]], rel=1e-3)


def test_table_and_json(records, done, capsys, monkeypatch):
    monkeypatch.setattr(train, "bench_training", lambda *_, **__: list(records.values()))
    for options, lines in (([], 2 + 1 + len(records) + 1), (["--json"], len(records))):
        with pytest.raises(SystemExit) as caught:
            main(["bench", "train", "--model", "llama-tiny", "--quiet", *options])
        shown = capsys.readouterr().out.splitlines()
        assert caught.value.code == 0 and len(shown) == lines
    assert [json.loads(line)["contestant"] for line in shown] == list(records)
    monkeypatch.setattr(train, "bench_training", lambda *_, **__: [records["absent"]])
    with pytest.raises(SystemExit) as caught:
        main(["bench", "train", "--model", "llama-tiny", "--quiet"])
    assert caught.value.code == 1 and "pip install 'uprior[no_such_package]'" in capsys.readouterr().out


def test_the_table_of_records(records, tmp_path):
    path = tmp_path / "30m.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records.values()))
    shown = subprocess.run(
        [sys.executable, Path(__file__).parent.parent / "benchmarks" / "table.py", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith("30m: llama-tiny") and "no_such_package is not installed" in shown.stdout


# ------------------------------------------------------------------ a match of stand-ins

SECONDS_PER_STEP = {"uprior": 0.125, "trainer": 0.5, "trainer-bf16-compiled": 0.25, "plain": 0.5, "matmul": 1.0}


class Scripted:
    """In the place of a Worker: steps take what SECONDS_PER_STEP says, a tenth of it waiting; ``dies_in`` {name: turn}."""

    dies_in: ClassVar = {}
    taken: ClassVar = []

    def __init__(self, task, environment, patience):
        self.name, self.turns = task["name"], 0

    def start(self):
        return {}

    def turn(self, steps, *, untimed=0):
        self.turns += 1
        if self.turns == self.dies_in.get(self.name):
            raise ContestantError("died")
        self.taken.append((self.name, steps, untimed))
        seconds = steps * SECONDS_PER_STEP[self.name]
        return {"seconds": seconds, "waited": seconds / 10, "bfloat16": 1e12, "float32": 1e11}

    def finish(self):
        machine = {"accelerator": "NVIDIA H200", "threads": 16}
        return {"losses": [5.0, 4.0], "peak_resident_bytes": 1, "peak_cuda_bytes": 2, "machine": machine}

    def kill(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(train, "Worker", Scripted)
    monkeypatch.setattr(Scripted, "dies_in", {})
    monkeypatch.setattr(Scripted, "taken", [])
    monkeypatch.setattr(Contestant, "missing", lambda self: None)
    return Scripted


def match(**options):
    found = train.bench_training("llama-tiny", batch_size=8, length=64, source="uniform", **options)
    return {record["contestant"]: record for record in found}


def test_the_numbers_of_a_match(scripted):
    records = match(rounds=2)
    speeds = {name: record["tokens_per_second"] for name, record in records.items()}
    assert speeds == {"uprior": 4096, "trainer": 1024, "trainer-bf16-compiled": 2048, "plain": 1024}
    ours = records["uprior"]
    assert ours["steps_per_turn"] == 4  # the slowest takes two seconds for them
    assert ours["ratio_to_plain"] == 4 and ours["ratio_to_best_other"] == 2
    assert ours["best_other"] == "trainer-bf16-compiled" and records["plain"]["ratio_to_best_other"] == 0.25
    flops = flops_per_token(build("llama-tiny", context=64), 64)
    assert ours["flops_per_token"] == flops and ours["flops_per_second"] == round(4096 * flops["causal"])
    assert ours["matmul_share"] == round(4096 * flops["causal"] / 1e12, 4)  # of bfloat16, which is the faster here
    assert ours["matmul_share_whole_attention"] == round(4096 * flops["whole"] / 1e12, 4)
    assert ours["nominal_share"] == round(4096 * flops["causal"] / 989e12, 4)
    assert ours["data_wait_share"] == 0.1 and ours["first_step_s"] == 0.125
    assert (ours["first_loss"], ours["last_loss"], ours["peak_cuda_bytes"]) == (5.0, 4.0, 2)


def test_turns_go_round(scripted, monkeypatch):
    monkeypatch.setattr(train, "_cuda_gib", lambda: 139)  # where the first step of a turn is not timed
    match(only=["uprior", "plain"], rounds=3, steps=5)
    us, yardstick, them = ("uprior", 5, 1), ("matmul", 1, 0), ("plain", 5, 1)
    rounds = [us, yardstick, them, yardstick, them, us, them, us, yardstick]
    assert scripted.taken == [("uprior", 1, 0), yardstick, ("plain", 1, 0)] * train.WARMUP_STEPS + rounds


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5])
def test_a_contestant_that_dies_half_way_is_a_row(scripted, turn):
    scripted.dies_in = {"plain": turn}
    records = match(only=["uprior", "plain", "trainer"], rounds=2)
    assert records["plain"]["error"] == "died" and "tokens_per_second" not in records["plain"]
    assert records["uprior"]["ratio_to_plain"] is None and records["uprior"]["best_other"] == "trainer"


def test_without_the_yardstick_there_are_no_shares_but_all_else(scripted):
    scripted.dies_in = {"matmul": 4}
    records = match(only=["uprior", "plain"], rounds=2)
    assert records["uprior"]["matmul_share"] is None and records["uprior"]["ratio_to_plain"] == 4
    assert len(train.cells(records["uprior"])) == len(train.COLUMNS)
    assert "matrix products: ? TFLOP/s" in "\n".join(train.headline(list(records.values())))


# ------------------------------------------------------------------ the plain loop


def test_the_plain_loop_is_ours_in_float32(tmp_path):
    steps = 4
    batches = (JOB.stream().batch(step) for step in range(steps))
    theirs = [float(loss) for loss in plain.train(JOB.build(), batches, torch.device("cpu"))]
    fit(JOB.build(), JOB.stream(), Training(steps=steps, precision="float32"), tmp_path / "run", show=False)
    ours = [line["loss_nats"] for line in read_lines(tmp_path / "run" / "log.jsonl")]
    assert theirs == pytest.approx(ours, rel=1e-5)


# ------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("name", ["llama-tiny", "gpt-neox-5m"])
def test_flops_are_those_that_torch_counts(name):
    model, length = build(name, context=64), 64
    model.set_attn_implementation("eager")  # both products of attention, for all positions
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros(2, length, dtype=torch.int64))
    flops = flops_per_token(model, length)
    assert flops["whole"] == pytest.approx(3 * counter.get_total_flops() / (2 * length), rel=0.01)
    assert flops["causal"] - flops["weights"] == pytest.approx(
        (flops["whole"] - flops["weights"]) * (length + 1) / (2 * length)
    )


# ------------------------------------------------------------------ defaults and mistakes


def test_defaults_follow_the_machine(monkeypatch):
    for memory, models, shape in (
        (0, train.MODELS_CPU, (32, 256)),
        (139, train.MODELS_CUDA, (16, 1024)),
        (80, train.MODELS_CUDA, (8, 1024)),
    ):
        monkeypatch.setattr(train, "_cuda_gib", lambda memory=memory: memory)
        assert train.default_models() == models and train.default_shape("llama-350m") == shape


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"only": ["plan"]}, UnknownNameError, "unknown contestant 'plan'; did you mean 'plain'"),
        ({"model": "llama-2m"}, UnknownNameError, "unknown model 'llama-2m'; did you mean"),
        ({"source": "unifrm"}, UnknownNameError, "unknown source 'unifrm'; did you mean 'uniform'"),
        ({"rounds": 0}, SpecError, "--rounds 0 is not allowed; allowed: a whole number from 1"),
        ({"steps": 0}, SpecError, "--steps 0 is not allowed"),
        ({"length": 1}, SpecError, "length = 1 is not allowed"),
        ({"source": "uniform:alphabet_size=300"}, SpecError, "300"),
    ],
)
def test_mistakes_are_told_before_anything_starts(changes, error, message, monkeypatch):
    monkeypatch.setattr(train, "Worker", SimpleNamespace)
    with pytest.raises(error, match=message):
        train.bench_training(**({"model": "llama-tiny", "batch_size": 2, "length": 16} | changes))


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--help"], 0, "bench sources NAME"),
        (["train", "--help"], 0, "trainer-bf16-compiled"),
        (["sources", "--help"], 0, "--first-calls"),
        (["train", "--model", "llama-tiny", "llama-9z"], 2, "unknown model 'llama-9z'"),
        (["train", "--bogus"], 2, "unknown option of uprior bench train '--bogus'"),
    ],
)
def test_the_command_line(words, status, text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", *words])
    shown = capsys.readouterr()
    assert caught.value.code == status and text in shown.out + shown.err


def test_a_name_after_bench_is_a_source(capsys):
    for words in (["uniform"], ["sources", "uniform"], ["--seconds", "0.01", "sources", "uniform"]):
        with pytest.raises(SystemExit) as caught:
            main(["bench", *words, "--rows", "8", "--length", "16", "--seconds", "0.01", "--json"])
        assert caught.value.code == 0
        assert [json.loads(line).get("name") for line in capsys.readouterr().out.splitlines()] == [None, "uniform"]


def test_a_bench_that_does_not_exist_is_told_from_a_source_that_does_not(capsys):
    for word, message in (
        ("trian", "unknown bench 'trian'; did you mean 'train'"),
        ("unifrm", "unknown source 'unifrm'"),
    ):
        with pytest.raises(SystemExit):
            main(["bench", word])
        assert message in capsys.readouterr().err
