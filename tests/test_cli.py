"""The command line as a user meets it: help, JSON for programs, and one clear line for every mistake."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uprior import sources, studies
from uprior.cli import main
from uprior.files import locked
from uprior.models import build, load_model, save_model

COMMANDS = (
    "sources",
    "show",
    "check",
    "bench",
    "gallery",
    "export",
    "build",
    "pretrain",
    "eval",
    "bits",
    "pairs",
    "compare",
    "run",
    "ship",
    "report",
    "doctor",
)


def run(capsys, *argv):
    """(exit status, stdout, stderr) of a command."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in argv])
    shown = capsys.readouterr()
    return caught.value.code, shown.out, shown.err


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "counting.txt"
    path.write_text(" ".join(str(n) for n in range(3000)))
    return path


@pytest.fixture(scope="module")
def warm(tmp_path_factory, text):
    out = tmp_path_factory.mktemp("runs") / "warm"
    small = [
        "--context",
        "32",
        "--batch-size",
        "4",
        "--steps",
        "4",
        "--evaluations",
        "2",
        "--positions",
        "8",
        "--quiet",
    ]
    command = [
        "pretrain",
        "--source",
        "pointwise",
        "--model",
        "llama-tiny",
        *small,
        "--eval",
        str(text),
        "--out",
        str(out),
    ]
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code in (0, None)
    return out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_answers_without_importing_anything_heavy(command):
    code = (
        "import sys\nfrom uprior.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    status = end.code\n"
        "heavy = [m for m in ('torch', 'numba', 'transformers', 'matplotlib', 'scipy') if m in sys.modules]\n"
        "print('STATUS', status, heavy)"
    )
    argv = [command, "--help"] if command else ["--help"]
    shown = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("usage: uprior")
    assert shown.stdout.strip().endswith("STATUS 0 []")


def test_sources_lists_the_folder(capsys):
    status, out, _ = run(capsys, "sources", "--json")
    listed = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and {line["source"] for line in listed} == set(sources.entries())
    assert all(line["summary"].endswith((".", "?")) for line in listed)
    assert "random_lstm" in run(capsys, "sources")[1]


def test_show_measures_a_source_with_options_of_its_own(capsys):
    status, out, _ = run(capsys, "show", "uniform", "--alphabet-size", "4", "--rows", "64", "--length", "256", "--json")
    record = json.loads(out)
    assert status == 0 and {"source", "rows", "entropy_bits", "deflate_ratio", "floor_bits", "scored_share"} <= set(
        record
    )
    assert record["floor_bits"] == pytest.approx(2.0) and record["entropy_bits"] == pytest.approx(2.0, abs=0.02)
    assert record["scored_share"] == 1.0


def test_show_draws_rows_for_people(capsys):
    status, out, _ = run(capsys, "show", "constant", "--rows", "3", "--length", "20")
    assert status == 0 and "constant" in out and len(out.splitlines()) >= 4


def test_check_passes_and_fails_with_its_status(capsys):
    status, out, _ = run(capsys, "check", "uniform", "--json")
    record = json.loads(out)
    assert status == 0 and set(record) == {"source", "passed", "failures"} and record["failures"] == []
    status, out, _ = run(capsys, "check", "broken_sources:IgnoresSplit", "--json")
    assert status == 1 and json.loads(out)["failures"]


def test_eval_gives_a_line_per_file_and_predictor(capsys, warm, text):
    status, out, _ = run(capsys, "eval", warm, text, "--positions", "8", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    fields = {"file", "predictor", "context", "positions", "bits_last", "se_last", "bits_mean", "se_mean"}
    assert status == 0 and all(fields <= set(line) for line in lines)
    assert [line["predictor"] for line in lines][:3] == ["model", "uniform", "markov"]
    table = run(capsys, "eval", warm, text, "--positions", "8")[1]
    assert table.startswith("bits per byte") and "lzma" in table


def pairs_file(path: Path) -> Path:
    pairs = [("I am.", "I is.", "person"), ("We are.", "We is.", "number"), ("They do.", "They does.", "number")]
    lines = [json.dumps({"sentence_good": good, "sentence_bad": bad, "UID": uid}) for good, bad, uid in pairs]
    path.write_text("\n".join(lines))
    return path


def test_pairs_gives_a_line_per_paradigm_and_one_for_all(capsys, warm, tmp_path):
    file = pairs_file(tmp_path / "pairs.jsonl")
    status, out, _ = run(capsys, "pairs", warm, file, "--json", "--quiet")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [(r["name"], r["pairs"]) for r in lines] == [("person", 1), ("number", 2), ("all", 3)]
    assert set(lines[0]) == {"level", "name", "accuracy", "se_accuracy", "pairs"}
    status, out, err = run(capsys, "pairs", warm, file, "--limit", "1")
    assert status == 0 and out.splitlines()[-1].split()[-1] == "2" and err.startswith("pairs: 2;")


def test_compare_gives_lines_and_a_summary(capsys, warm, text, tmp_path):
    command = ("compare", warm, "--data", text, "--steps", 3, "--trial-steps", 2, "--batch-size", 2, "--evaluations", 3,
               "--positions", 4, "--out", tmp_path / "c", "--quiet")  # fmt: skip
    status, out, _ = run(capsys, *command, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and all({"arm", "seed", "step", "tokens", "bits_mean"} <= set(line) for line in lines[:-1])
    assert lines[-1]["summary"] is True and {"data_saving", "low", "high", "seeds"} <= set(lines[-1])
    status, out, _ = run(capsys, *command)
    assert status == 0 and "data saving" in out and (tmp_path / "c" / "report.html").exists()
    status, out, _ = run(capsys, "report", tmp_path / "c", "--out", tmp_path / "page.html")
    assert status == 0 and out.strip() == str(tmp_path / "page.html")


def test_doctor_and_studies(capsys):
    status, out, _ = run(capsys, "doctor", "--json")
    record = json.loads(out)
    assert status == 0 and record["versions"]["torch"] and record["cores"] == os.cpu_count()
    assert "demo" in run(capsys, "run")[1]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("show", "random_lstm@repository", "--help"), ("--compound-multiplier", "as published (True)", "@NAME: final-paper")),
        (("show", "random_lstm", "-h"), ("as published (False)", "arXiv 2506.20057")),
        (("show", "broken_sources:WrongType", "--help"), ("broken_sources:WrongType", "--png FILE")),
        (("run", "search", "--help"), ("--rungs", "(1000000,3000000,9000000)", "Candidates are ``base``")),
    ],
)  # fmt: skip
def test_help_after_a_name_tells_what_it_is_and_its_options(capsys, command, told):
    status, out, _ = run(capsys, *command)
    assert status == 0 and out.startswith(f"usage: uprior {command[0]}")
    assert all(words in out for words in told)
    fields = dataclasses.fields((studies if command[0] == "run" else sources).find(command[1].partition("@")[0]))
    assert all(f"--{field.name.replace('_', '-')} " in out for field in fields)


# ------------------------------------------------------------------ bad input: one line, status 2, nothing written


def mistakes(tmp_path: Path, warm: Path, text: Path):
    """(what, command, what the line must say)"""
    empty, short, locked_file = tmp_path / "empty.txt", tmp_path / "short.txt", tmp_path / "secret.txt"
    empty.write_bytes(b"")
    short.write_text("abc")
    locked_file.write_text("x" * 9999)
    broken = tmp_path / "broken"
    save_model(build("llama-tiny", context=32), broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"sentence_good": "It is."}')
    long, short_pairs = pairs_file(tmp_path / "long.jsonl"), pairs_file(tmp_path / "short.jsonl")
    long.write_text(long.read_text().replace("I am", "I, who am called by many names, am"))
    narrow = tmp_path / "narrow"
    save_model(build("llama-tiny", vocab=100, context=32), narrow)
    out = ("--out", tmp_path / "new")
    steps = ("--steps", 2)
    return [
        ("command", ("pretrian",), "did you mean 'pretrain'"),
        ("source", ("pretrain", "--source", "randm_lstm", *steps, *out), "did you mean 'random_lstm'"),
        ("preset to ask about", ("show", "random_lstm@final", "--help"), "did you mean 'final-paper'"),
        ("study to ask about", ("run", "serch", "--help"), "did you mean 'search'"),
        ("source to show", ("show", "unifrm"), "did you mean 'uniform'"),
        ("source to check", ("check", "no.such.module:Name"), "cannot import source"),
        ("model", ("pretrain", "--model", "lama-5m", *steps, *out), "did you mean 'llama-5m'"),
        ("corpus", ("eval", warm, "python_stdlb"), "did you mean 'python_stdlib'"),
        ("option", ("pretrain", "--leaning-rate", "1", *out), "did you mean '--learning-rate'"),
        ("source option", ("show", "uniform", "--alphabet", "4"), "did you mean 'alphabet_size'"),
        ("spec value", ("show", "random_lstm", "--layers", "9"), "layers = 9 is not allowed; allowed: 1 to 4"),
        ("spec value kind", ("show", "random_lstm", "--layers", "two"), "allowed: a whole number"),
        ("number", ("pretrain", "--steps", "many", *out), "is not a whole number such as 200, 3.3M"),
        ("schedule", ("pretrain", "--schedule", "linear", *steps, *out), "allowed: one of constant, cosine, wsd"),
        ("no budget", ("pretrain", *out), "give exactly one"),
        ("missing file", ("eval", warm, tmp_path / "none.txt"), "none.txt"),
        ("empty file", ("eval", warm, empty), "empty.txt"),
        ("short file", ("eval", warm, short), "short.txt has 3 bytes"),
        ("not a checkpoint", ("eval", tmp_path, text), "is not a checkpoint"),
        ("no folder", ("eval", tmp_path / "nowhere", text), "does not exist"),
        ("a preset", ("eval", "llama-tiny", text), "type: uprior build llama-tiny --out FOLDER"),
        ("truncated checkpoint", ("eval", broken, text), "model.safetensors is damaged"),
        ("vocabulary", ("eval", narrow, text), "vocabulary of 100; bytes need 256"),
        ("context", ("eval", warm, text, "--context", 64), "reads at most 32 tokens"),
        ("missing pairs", ("pairs", warm, tmp_path / "none.jsonl"), "none.jsonl"),
        ("text as pairs", ("pairs", warm, text), "give JSON lines with sentence_good, sentence_bad, UID"),
        ("half a pair", ("pairs", warm, lines), "line 1: unknown field 'sentence_bad'"),
        ("long pairs", ("pairs", warm, long, "--quiet"), "reads at most 32 tokens; the longest sentence has 35"),
        (
            "vocabulary of pairs",
            ("pairs", narrow, short_pairs, "--quiet"),
            "vocabulary of 100; a sentence has the id 121",
        ),
        ("learning rates", ("compare", warm, "--data", text, "--learning-rates", "fast"), "numbers between commas"),
        ("seeds", ("compare", warm, "--data", text, "--seeds", 1, *out), "seeds = 1 is not allowed"),
        ("study", ("run", "dmo"), "did you mean 'demo'"),
        ("report", ("report", tmp_path / "nowhere"), "nowhere"),
    ]


def test_every_mistake_ends_in_one_line(capsys, tmp_path, warm, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for what, command, message in mistakes(tmp_path, warm, text):
        status, out, err = run(capsys, *command)
        lines = err.strip().splitlines()
        assert (status, out, len(lines)) == (2, "", 1), (what, status, out, err)
        assert lines[0].startswith("uprior: error: ") and message in lines[0], (what, lines[0])
        assert not (tmp_path / "new" / "config.json").exists(), what


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_one_line(capsys, tmp_path, warm):
    secret = tmp_path / "secret.txt"
    secret.write_text("x" * 9999)
    secret.chmod(0)
    status, _, err = run(capsys, "eval", warm, secret)
    assert status == 2 and "secret.txt" in err and len(err.strip().splitlines()) == 1


def test_a_run_directory_in_use_is_one_line(capsys, warm, text):
    with locked(warm):
        status, _, err = run(
            capsys, "pretrain", "--source", "pointwise", "--model", "llama-tiny", "--context", "32", "--batch-size", "4",
            "--steps", "4", "--eval", text, "--evaluations", "2", "--positions", "8", "--out", warm,
        )  # fmt: skip
    assert status == 2 and f"is in use by another process (number {os.getpid()})" in err
    assert len(err.strip().splitlines()) == 1


def test_output_cut_off_by_head_is_no_error():
    command = f"{sys.executable} -m uprior.cli sources --json | head -1; exit ${{PIPESTATUS[0]}}"
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert shown.stderr == "" and len(shown.stdout.splitlines()) == 1


def test_pretrain_takes_sizes_where_no_preset_has_one(capsys, tmp_path):
    """As the advice of which-source-for-my-data has it."""
    rest = ("--context", 16, "--batch-size", 2, "--steps", 1, "--evaluations", 0, "--quiet", "--out", tmp_path / "run")
    assert run(capsys, "pretrain", "--source", "dyck", "--model", "32x1", *rest)[0] in (0, None)
    status, _, error = run(capsys, "pretrain", "--model", "33x1", *rest)
    assert status == 2 and error.count("\n") == 1 and "or a size: WIDTHxLAYERS with a width of 32, 64" in error


def test_build_writes_an_untrained_model_that_other_commands_take(capsys, tmp_path, text):
    out = tmp_path / "fresh"
    status, told, _ = run(capsys, "build", "32x1", "--out", out, "--context", 64, "--seed", 3)
    assert status == 0 and told == f"{out}: 20,832 parameters, random weights, untrained\n"
    assert torch.equal(load_model(out).lm_head.weight, build("32x1", context=64, seed=3).lm_head.weight)
    status, told, _ = run(capsys, "eval", out, text, "--context", 64, "--positions", 8, "--no-baselines", "--json")
    assert status == 0 and json.loads(told)["bits_last"] > 7
    status, _, error = run(capsys, "compare", out, "--data", text, "--out", tmp_path / "compared")
    assert status == 2 and f"error: {out} is untrained, as uprior build wrote it" in error
    for taken in (out, text):  # never written over: it may be a trained model's place
        status, told, error = run(capsys, "build", "32x1", "--out", taken)
        assert (
            status == 2
            and error == f"uprior: error: {taken} is there already; give --out a folder that is new or empty\n"
        )
