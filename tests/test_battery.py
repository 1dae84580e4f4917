"""The zero-shot battery: its sets, the same windows for everyone, costs of single windows, going on, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from uprior import corpora, evals
from uprior.cli import main
from uprior.errors import CheckpointError, CorpusError, SpecError, UnknownNameError
from uprior.models import build, save_model
from uprior.studies import _measuring
from uprior.studies import get as get_study
from uprior.studies._battery import DEVELOPMENT, REAL, SYNTHETIC, development_sets, present, real_sets
from uprior.studies._measuring import Beginning, Task, Watched, costs_of, load_models, measure
from uprior.studies.zero_shot import ZeroShot

ARABIC = "text_ar_xquad.txt"
SMALL = {"positions": 12, "context": 32, "long_context": 128, "long_positions": 4, "brotli_windows": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with one of the real sets' files (its content is not that set's)."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    words = [bytes(rng.integers(97, 123, rng.integers(2, 7)).astype(np.uint8)) for _ in range(30)]
    (folder / ARABIC).write_bytes(b" ".join(words[i] for i in rng.integers(0, 30, 3000)))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two untrained models: one reads all of the long windows, one only the short ones."""
    folder = tmp_path_factory.mktemp("models")
    for name, context, seed in (("long", 128, 0), ("short", 32, 1)):
        save_model(build("llama-tiny", context=context, seed=seed), folder / name)
    return folder


def study_of(data, models, **changes):
    given = tuple(str(models / name) for name in changes.pop("given", ("long",)))
    fields = {**SMALL, "data": str(data), "model": given, "sets": ("arabic", "bitsflip"), **changes}
    return ZeroShot(**fields)


# ------------------------------------------------------------------ the sets


def test_the_catalogue_holds_what_the_protocol_asks_for():
    assert (len(REAL), len(SYNTHETIC), len(DEVELOPMENT)) == (11, 9, 6)
    files = [file for one in (*REAL, *DEVELOPMENT) for file in one.files]
    assert len(set(files)) == len(files)  # nothing that is decided on is reported
    kinds = {one.name: corpora.get(one.corpus("nowhere")).name for one in (*REAL, *DEVELOPMENT)}
    assert kinds["wikitext2"] == kinds["gsm8k"] == "separate"
    assert (kinds["protein"], kinds["images"], kinds["german"]) == ("fasta", "idx", "file")
    gsm8k = corpora.get(next(one for one in REAL if one.name == "gsm8k").corpus("nowhere"))
    assert gsm8k.test.fields == ("question", "answer") and gsm8k.test.path == "nowhere/math_gsm8k_test.jsonl"
    for one in SYNTHETIC:
        assert corpora.get(one.corpus()).set == one.name


def test_missing_files_are_told_in_one_line_with_what_goes_on(data, tmp_path, capsys):
    assert real_sets(data) == {"arabic": f"file:{data / ARABIC}"}
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "text_de_frauenfrage.txt (german)" in told
    assert told.endswith("going on with arabic\n")
    assert real_sets(data, ["arabic"]) and capsys.readouterr().err == ""
    with pytest.raises(CorpusError, match=r"lacks all of text_en_mobydick.txt \(moby_dick\).*give --data FOLDER"):
        development_sets(data)
    with pytest.raises(UnknownNameError, match="did you mean 'arabic'"):
        real_sets(data, ["arabian"])
    with pytest.raises(SpecError, match="no ( ) , or = in its path".replace("(", r"\(").replace(")", r"\)")):
        present(REAL, tmp_path / "a,b")


# ------------------------------------------------------------------ windows and costs


def test_a_beginning_gives_the_first_of_the_windows_that_others_see(data):
    corpus = corpora.get(str(data / ARABIC))
    whole = corpus.windows("test", 20, 64, "evaluate", 0)
    part = Beginning(corpus, 20, 64).windows("test", 7, 48, "evaluate", 0)
    assert np.array_equal(part, whole[:7, :48])
    uniform = evals.evaluate([evals.Uniform()], Beginning(corpus, 20, 64), context=48, positions=7)[0]
    assert (uniform["positions"], uniform["context"], uniform["bits_last"]) == (7, 48, 8.0)


def test_costs_are_those_of_the_stretches_by_hand():
    bits = np.arange(1.0, 64.0)[None].repeat(2, axis=0)  # byte t of 64 costs t bits
    found = costs_of(evals.PositionBits(np.arange(1, 65), bits))
    assert found[0].tolist() == [63.0, (32 + 63) / 2, (48 + 55) / 2, (56 + 63) / 2] and found.shape == (2, 4)
    around = costs_of(evals.PositionBits(np.arange(1, 65), bits), at=32)
    assert around[0, 2] == (28 + 35) / 2 and around[0, 3] == (56 + 63) / 2


def test_a_compressor_tells_only_its_last_bytes():
    cost = evals.PositionBits(np.array([0, 32, 64, 96, 128]), np.array([[320.0, 64.0, 32.0, 96.0]]))
    last, tail, before, end = costs_of(cost)[0]
    assert tail == 3.0 and np.isnan([last, before, end]).all()


def test_watched_costs_are_the_same_and_tell_how_far_they_are(data):
    windows = corpora.get(str(data / ARABIC)).windows("test", 10, 32, "x")
    told = []
    watched = Watched(evals.Markov(1, 0.1), 4, told.append)
    expected = evals.Markov(1, 0.1).bits(windows)
    found = watched.bits(windows)
    assert np.array_equal(found.bits, expected.bits) and np.array_equal(found.edges, expected.edges)
    assert told == [0.4, 0.8, 1.0] and watched.cost is found


# ------------------------------------------------------------------ measuring


def test_models_have_names_and_what_is_recorded_of_their_training(models, tmp_path):
    save_model(build("llama-tiny", context=64), tmp_path / "run" / "model")
    config = {"kind": "pretrain", "tokens": 640, "training": {"steps": 5}}
    config["stream"] = {"seed": 3, "source": {"name": "dyck"}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    first, second = load_models([str(tmp_path / "run"), str(models / "short")], "float32")
    assert first.trained == {"source": "dyck", "tokens": 640, "steps": 5, "seed": 3} and second.trained == {}
    assert (first.label, second.label, second.context, second.precision) == ("run", "short", 32, "float32")
    assert first.sha256 != second.sha256 and first.parameters > 10_000
    with pytest.raises(CheckpointError, match="does not exist"):
        load_models([str(tmp_path / "nowhere")], "auto")


def test_what_is_measured_once_is_read_until_data_or_weights_change(data, models, tmp_path, monkeypatch):
    text = f"file:{data / ARABIC}"
    tasks = [Task("arabic", text, name, 32, 12, 12, 32, 0) for name in ("markov-1", "short")]
    loaded = load_models([str(models / "short")], "float32")
    first = measure(tasks, loaded, _measuring.Measured(tmp_path), title="t", show=False)
    assert [r["predictor"] for r in first] == ["markov-1", "short"] and first[0]["order"] == 1
    done = []
    once = _measuring._measure
    monkeypatch.setattr(_measuring, "_measure", lambda task, *rest: done.append(task.predictor) or once(task, *rest))
    again = measure(tasks, loaded, _measuring.Measured(tmp_path), title="t", show=False)
    assert again == first and done == []
    save_model(build("llama-tiny", context=32, seed=5), tmp_path / "other" / "short")
    other = measure(
        tasks,
        load_models([str(tmp_path / "other" / "short")], "float32"),
        _measuring.Measured(tmp_path),
        title="t",
        show=False,
    )
    assert done == ["short"] and other[1]["bits_last"] != first[1]["bits_last"]


def test_the_model_is_measured_as_evaluate_measures_it(data, models, tmp_path):
    from uprior import evaluate

    task = Task("arabic", f"file:{data / ARABIC}", "short", 32, 12, 12, 32, 0)
    loaded = load_models([str(models / "short")], "float32")
    measured = _measuring.Measured(tmp_path)
    mine = measure([task], loaded, measured, title="t", show=False)[0]
    theirs = evaluate(str(models / "short"), str(data / ARABIC), context=32, positions=12, baselines=False)[0]
    for field in ("bits_last", "se_last", "bits_tail", "bits_mean"):
        assert mine[field] == pytest.approx(theirs[field], abs=1e-6), field
    costs = measured.costs(mine["key"])
    assert costs.shape == (12, 4) and costs[:, 0].mean() == pytest.approx(mine["bits_last"], abs=1e-4)


# ------------------------------------------------------------------ the study


TIMES = ("seconds", "bytes_per_second", "peak_bytes")


def numbers(out: Path):
    """All of zero-shot.json that is the same whenever it is made."""
    summary = json.loads((out / "zero-shot.json").read_text())
    records = [{k: v for k, v in record.items() if k not in TIMES} for record in summary["records"]]
    return records, summary["differences"], summary["falls"]


def test_killed_anywhere_it_goes_on_to_the_same_numbers(data, models, tmp_path, monkeypatch):
    study = study_of(data, models, given=("long", "short"), precision="float32")
    study.run(tmp_path / "whole")
    add, left = _measuring.Measured.add, [11]

    def killed(self, record, costs):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        add(self, record, costs)

    monkeypatch.setattr(_measuring.Measured, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        study.run(tmp_path / "killed")
    kept = (tmp_path / "killed" / "records.jsonl").read_text()
    (tmp_path / "killed" / "records.jsonl").write_text(kept + '{"key": "cut sho')
    monkeypatch.setattr(_measuring.Measured, "add", add)
    study.run(tmp_path / "killed")
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    assert (tmp_path / "killed" / "records.jsonl").read_text().startswith(kept)


def test_the_command_leaves_the_pages_and_no_path_of_this_machine(data, models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    command = ["run", "zero-shot", "--data", str(data), "--model", str(models / "long"), str(models / "short"),
               "--sets", "arabic", "bitsflip", *words, "--docs", "docs/results", "--out", str(tmp_path / "out")]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0, capsys.readouterr().err
    made = {path.name for path in (tmp_path / "docs" / "results").iterdir()}
    assert made == {"zero-shot.md", "zero-shot-bits.svg", "zero-shot-curves.svg"}
    text = (tmp_path / "docs" / "results" / "zero-shot.md").read_text()
    assert str(tmp_path) not in text and str(models) not in text and str(data) not in text
    assert f"uprior run zero-shot --data {data.name} --model long short" in text
    assert "--docs docs/results --out out" in text
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2 and "below in-context Markov on german" in page
    records, differences, falls = numbers(tmp_path / "out")
    lengths = {(r["predictor"], r["positions"], r["context"]) for r in records if r["set"] == "arabic"}
    assert {
        ("markov-0", 12, 32),
        ("long", 12, 32),
        ("brotli", 5, 32),
        ("ppmd", 12, 32),
        ("long", 4, 128),
        ("ctw", 4, 128),
    } <= lengths
    assert not any(r["predictor"] == "short" and r["long"] for r in records)  # it reads no further
    assert {f["context"] for f in falls if f["model"] == "long" and f["long"]} == {128}
    tails = {d["baseline"]: d["windows"] for d in differences if (d["set"], d["where"]) == ("arabic", "tail")}
    assert tails["ctw"] == 12 and tails["brotli"] == 5


def test_differences_are_window_by_window(data, models, tmp_path):
    study = study_of(data, models, sets=("arabic",), precision="float32")
    study.run(tmp_path)
    records, differences, _ = numbers(tmp_path)
    bits = {r["predictor"]: r["bits_last"] for r in records if not r["long"]}
    orders = [f"markov-{order}" for order in range(6)]
    best = min(orders, key=bits.__getitem__)
    mine = [d for d in differences if d["where"] == "last"]
    assert {d["baseline"] for d in mine} == {best, "markov-mix", "ctw"}  # compressors do not tell single bytes
    for d in mine:
        assert d["difference"] == pytest.approx(bits["long"] - bits[d["baseline"]], abs=1e-5)
        assert d["low"] < d["difference"] < d["high"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sets", "arabik"], "did you mean 'arabic'"),
        (["--context", "64"], "short reads at most 32 tokens; given: windows of 64; give --context 32"),
        (["--context", "64", "--long-context", "100"], "long_context = 100 is not allowed; allowed: 128 or more"),
        (["--positions", "1"], "positions = 1 is not allowed; allowed: 2 to"),
        (["--modl", "x"], "did you mean 'model'"),
        (["--seed", "1", "2"], "seed takes one value"),
        (["--precision", "half"], "one of auto, bfloat16, float32"),
    ],
)
def test_mistakes_end_in_one_line(data, models, tmp_path, capsys, words, told):
    given = ["--data", str(data), "--model", str(models / "short"), "--sets", "arabic"]
    given = [word for word in given if "--sets" not in words or word not in ("--sets", "arabic")]
    with pytest.raises(SystemExit) as ended:
        main(["run", "zero-shot", *given, *words, "--out", str(tmp_path / "out")])
    shown = capsys.readouterr()
    assert ended.value.code == 2 and told in shown.err and len(shown.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_study_takes_its_fields_from_text():
    assert get_study("width", {"rates": ["0.1", "0.2"], "check-steps": "3"}).rates == (0.1, 0.2)
    assert get_study("width:steps=7,rates=(0.1,0.3)").rates == (0.1, 0.3)
    made = get_study("zero-shot", {"model": "runs/a,b/model", "positions": "20k", "data": "x/y"})
    assert (made.model, made.positions, made.data) == (("runs/a,b/model",), 20_000, "x/y")
    assert get_study("demo", {"eval": ["a/b.txt", "file:path=c,test_bytes=5"]}).eval == (
        "a/b.txt",
        "file:path=c,test_bytes=5",
    )
    with pytest.raises(SpecError, match="allowed: each of them once"):
        get_study("zero-shot", {"model": ["a", "a"]})
