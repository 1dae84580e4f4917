"""Models that come with the package: how their names are found, and how a run becomes such a folder."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import uprior
from uprior.cli import main
from uprior.errors import CheckpointError, RunDirectoryError, SpecError
from uprior.files import CHECKSUMS, read_lines, verify_folder
from uprior.models import build, load_model, save_model, shipped
from uprior.models.folder import find_model
from uprior.report import write_report
from uprior.shipping import CARD, MOST_BYTES, RECIPE, ship
from uprior.sources import Pointwise
from uprior.studies.demo import Demo


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder of shipped models: one, ``universal``, of random weights stored in bfloat16, and what is none."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_model(build("llama-tiny", context=64, seed=5).to(torch.bfloat16), folder / "universal")
    shutil.copytree(folder / "universal", folder / ".half-written.tmp")
    (folder / "notes").mkdir()
    return folder


@pytest.fixture
def home(checkpoints, tmp_path, monkeypatch):
    """The package ships what is in ``checkpoints``; we are in an empty folder."""
    monkeypatch.setattr(shipped, "FOLDER", checkpoints)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "warm"
    stream = uprior.Stream(Pointwise(), seed=3, batch_size=4, length=32)
    uprior.pretrain(build("llama-tiny", context=64), stream, steps=3, out=out, show=False)
    return out


def same_weights(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name].float(), b[name].float()) for name in a)


def command(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


# ------------------------------------------------------------------ names


def test_the_listing_is_what_is_shipped(checkpoints):
    assert shipped.shipped(checkpoints) == {"universal": checkpoints / "universal"}
    assert shipped.shipped(checkpoints / "nowhere") == {}
    assert Path(uprior.__file__).parent / "checkpoints" == shipped.FOLDER


def test_a_shipped_model_goes_by_its_name_and_is_computed_in_float32(home, checkpoints):
    model = uprior.load("universal")
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training
    assert load_file(checkpoints / "universal/model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    assert same_weights(model, build("llama-tiny", context=64, seed=5).to(torch.bfloat16))


def test_a_path_that_exists_comes_first(home):
    save_model(build("llama-tiny", context=64, seed=6), home / "universal")
    assert same_weights(load_model("universal"), build("llama-tiny", context=64, seed=6))
    shutil.rmtree(home / "universal")
    with pytest.raises(CheckpointError, match=r"^\./universal does not exist; did you mean 'universal'\?"):
        find_model("./universal")
    (home / "universal").mkdir()
    with pytest.raises(CheckpointError, match="the shipped model of that name is hidden by it"):
        find_model("universal")


def test_an_unknown_name_is_told_the_nearest(home):
    with pytest.raises(
        CheckpointError, match=r"did you mean 'universal'\? .* the name of a shipped model \(universal\)"
    ):
        find_model("univresal")


def test_commands_take_the_name(home, capsys):
    (home / "text").write_text("abc " * 300)
    status, out, _ = command(
        capsys, "eval", "universal", "text", "--context", 32, "--positions", 4, "--no-baselines", "--json"
    )
    assert status == 0 and json.loads(out)["predictor"] == "model"
    small = ("--steps", 1, "--context", 32, "--batch-size", 2, "--evaluations", 0, "--quiet")
    assert command(capsys, "pretrain", "--model", "universal", "--source", "pointwise", "--out", "on", *small)[0] == 0
    assert same_weights(load_model("on/start"), load_model("universal"))


def test_mistakes_are_told_in_a_line(home, capsys):
    (home / "text").write_text("abc " * 300)
    status, _, told = command(capsys, "pretrain", "--model", "univresal", "--steps", 1, "--out", "on")
    assert status == 2 and "did you mean 'universal'" in told
    status, _, told = command(capsys, "compare", "universal", "--data", "text", "--out", "compared")
    assert status == 2 and "has no recipe that says what it took" in told
    assert sorted(path.name for path in home.iterdir()) == ["text"]


# ------------------------------------------------------------------ from a run to a folder


def test_a_run_becomes_a_folder_to_give_away(run, tmp_path):
    out = ship(run, tmp_path / "mine", command="make it", machine="a pocket calculator")
    verify_folder(out)
    assert {file.name for file in out.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        CARD,
        RECIPE,
        CHECKSUMS,
    }
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in out.iterdir() if file.name != CHECKSUMS)
    weights, original = load_file(out / "model.safetensors"), load_file(run / "model/model.safetensors")
    assert weights.keys() == original.keys() and "lm_head.weight" not in weights  # tied: stored once
    assert all(torch.equal(weights[name], original[name].to(torch.bfloat16)) for name in weights)
    assert same_weights(load_model(out), load_model(run).to(torch.bfloat16))
    recipe = json.loads((out / RECIPE).read_text())
    assert recipe["name"] == "mine" and recipe["command"] == "make it"
    assert recipe["run"]["stream"]["seed"] == 3 and recipe["run"]["stream"]["source"]["name"] == "pointwise"
    # 6 x (two layers of 4 x 32 x 32 attention and 3 x 32 x 96 MLP, and the 256 x 32 readout) x 384 tokens
    assert recipe["compute"]["tokens"] == 3 * 4 * 32
    assert recipe["compute"]["training_flops"] == 6 * (2 * (4 * 32 * 32 + 3 * 32 * 96) + 256 * 32) * 384


def test_the_card_says_what_it_is(run, tmp_path):
    card = (ship(run, tmp_path / "mine", machine="a pocket calculator") / CARD).read_text()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert "has seen **no real data**" in text
    assert "license: apache-2.0" in front.splitlines()
    assert text.startswith("\n# mine\n") and 'uprior.load("mine")' in text
    rows = ("source | `pointwise` ", "seed | 3 (data), 0 (training), 0 (step-0 weights) |", "tokens | 384 in 3 steps |")
    lines = ("a pocket calculator", "uprior ship runs/mine --out mine", "Apache-2.0", "None recorded.")
    for told in (*(f"| {row}" for row in rows), *lines):
        assert told in text, told
    digest = json.loads((tmp_path / "mine" / CHECKSUMS).read_text())["model.safetensors"]
    assert f"| `model.safetensors` | `{digest}` |" in text


def test_the_recorded_command_loses_the_folder_it_was_made_in(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    config = json.loads((other / "config.json").read_text())
    config |= {"command": "uprior pretrain --out /home/me/warm --steps 3", "evaluate_on": ["/home/me/text.txt"]}
    (other / "config.json").write_text(json.dumps(config))
    out = ship(other, tmp_path / "mine")
    assert "\nuprior pretrain --out runs/mine --steps 3\n" in (out / CARD).read_text()
    assert "/home/me" not in (out / RECIPE).read_text() + (out / CARD).read_text()


def test_shipping_again_gives_the_same_bytes_in_place_of_the_old(run, tmp_path):
    first = {file.name: file.read_bytes() for file in ship(run, tmp_path / "mine").iterdir()}
    assert {file.name: file.read_bytes() for file in ship(run, tmp_path / "mine").iterdir()} == first


def test_only_a_model_that_began_fresh_is_said_to_have_seen_no_real_data(home, tmp_path):
    uprior.pretrain(
        uprior.load("universal"),
        uprior.Stream(Pointwise(), seed=3, batch_size=4, length=32),
        steps=1,
        out="on",
        show=False,
    )
    card = (ship("on", tmp_path / "mine") / CARD).read_text()
    assert "no real data" not in card and "what they had seen before is not recorded" in card
    assert "| seed | 3 (data), 0 (training) |" in card


def test_a_run_that_went_on_from_a_shipped_model_carries_its_recipe(run, home, capsys, monkeypatch):
    ship(run, home / "mine", command="uprior pretrain --steps 3 --out runs/mine")
    words = "pretrain --model mine --source pointwise --out on --steps 2 --context 128 --batch-size 2 --evaluations 0 --quiet"
    monkeypatch.setattr(sys, "argv", ["uprior", *words.split()])  # what is recorded
    assert command(capsys, *words.split())[0] == 0
    out = ship("on", home / "longer" / "mine")
    recipe, card = json.loads((out / RECIPE).read_text()), (out / CARD).read_text()
    assert load_model(out).config.max_position_embeddings == 128
    assert recipe["before"]["name"] == "mine-start" and recipe["before"]["run"]["stream"]["length"] == 32
    assert recipe["compute"]["tokens"] == 3 * 4 * 32 + 2 * 2 * 128
    assert recipe["compute"]["training_flops"] == 6 * (2 * (4 * 32 * 32 + 3 * 32 * 96) + 256 * 32) * (384 + 512)
    assert "has seen **no real data**" in card and "| tokens | 512 in 2 steps |" in card
    assert "| began as | `mine-start`, 384 tokens of `pointwise" in card and "FLOPs (6 per parameter that" in card
    making = card.split("## Making it again")[1].split("```")[1].splitlines()[1:]
    assert making[:2] == [
        "uprior pretrain --steps 3 --out runs/mine-start",
        "uprior ship runs/mine-start --out mine-start",
    ]
    assert making[2].startswith("uprior pretrain --model mine-start ") and "--out runs/mine --steps 2" in making[2]
    assert making[3] == "uprior ship runs/mine --out mine"
    shutil.rmtree(home / "mine")  # what it began as is gone: known from the time before
    assert json.loads((ship("on", out) / RECIPE).read_text()) == recipe
    # weights that are not the named model's: nothing is known of them
    damaged = json.loads((home / "on/config.json").read_text())
    damaged["command"] = damaged["command"].replace("--model mine", "--model universal")
    (home / "on/config.json").write_text(json.dumps(damaged))
    assert "before" not in json.loads((ship("on", home / "other") / RECIPE).read_text())


def records(name, **bits):
    return [{"file": name, "predictor": p, "context": 64, "bits_mean": b, "se_mean": 0.01} for p, b in bits.items()]


def test_scores_become_a_table_with_the_least_in_bold(run, tmp_path):
    long = [record | {"context": 512, "bits_mean": 1.0} for record in records("a.txt", model=1.0)]
    lines = [
        *records("a.txt", model=5.5, ppmd=4.25, uniform=8.0, **{"markov-3": 6.0}),
        *records("b.txt", model=3.0),
        *long,
    ]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = (ship(run, tmp_path / "mine", scores=[tmp_path / "scores.jsonl"]) / CARD).read_text()
    assert "| mean over the window | model | ppmd |" in card
    assert "| a.txt | 5.50 ± 0.01 | **4.25 ± 0.01** |\n| b.txt | **3.00 ± 0.01** |  |" in card
    assert "windows of 64 bytes" in card and "last 32 bytes" not in card


@pytest.mark.parametrize(
    ("prepare", "options", "error", "told"),
    [
        (lambda run, out: None, {"most_bytes": 1000}, SpecError, r"allowed: 1,000; give --most-bytes"),
        (lambda run, out: (run / "config.json").unlink(), {}, RunDirectoryError, "is not a finished run"),
        (lambda run, out: shutil.rmtree(run / "model"), {}, RunDirectoryError, "is a run that has not finished"),
        (lambda run, out: (out.mkdir(), (out / "thesis.tex").touch()), {}, RunDirectoryError, "holds no shipped model"),
        (lambda run, out: None, {"scores": ["none.jsonl"]}, SpecError, "none.jsonl has no evaluation records"),
    ],
    ids=["too large", "no run", "unfinished", "something else there", "no scores"],
)
def test_what_cannot_be_shipped_leaves_no_trace(run, tmp_path, prepare, options, error, told):
    copy, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(run, copy)
    prepare(copy, out)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=told):
        ship(copy, out, **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_prints_where_and_how_large(run, tmp_path, capsys):
    status, out, _ = command(capsys, "ship", run, "--out", tmp_path / "mine")
    size = sum(file.stat().st_size for file in (tmp_path / "mine").iterdir())
    assert status == 0 and out == f"{tmp_path / 'mine'}: {size:,} bytes; card: {tmp_path / 'mine' / CARD}\n"


def test_what_the_package_ships_is_whole_small_and_told():
    for name, folder in shipped.shipped().items():
        model = load_model(name if not Path(name).exists() else folder)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES
        assert all(tensor.dtype == torch.bfloat16 for tensor in load_file(folder / "model.safetensors").values())
        assert model.config.vocab_size == 256
        recipe, card = json.loads((folder / RECIPE).read_text()), (folder / CARD).read_text()
        assert recipe["name"] == name and recipe["command"] and recipe["command"] in card
        assert json.loads((folder / CHECKSUMS).read_text()).keys() == {file.name for file in folder.iterdir()} - {
            CHECKSUMS
        }
        assert "None recorded." not in card and read_lines(folder / "log.jsonl") == []


# ------------------------------------------------------------------ beside a model of one's own


def test_a_shipped_model_is_evaluated_once_beside_a_run(home, checkpoints):
    (home / "text").write_text(" ".join(str(n) for n in range(3000)))
    stream = uprior.Stream(Pointwise(), seed=3, batch_size=4, length=32)
    options = {"steps": 2, "out": "run", "show": False, "evaluate_on": ["text"], "evaluations": 2, "positions": 8}
    uprior.pretrain(build("llama-tiny", context=32), stream, beside=[str(checkpoints / "universal")], **options)
    beside = [line for line in read_lines(Path("run/baselines.jsonl")) if line["predictor"] == "universal (a model)"]
    alone = uprior.evaluate("universal", "text", context=32, positions=8, baselines=False)
    assert [line["bits_mean"] for line in beside] == [alone[0]["bits_mean"]]  # on the same windows
    page = (write_report(Path("run"))).read_text()
    assert "<td>universal (a model)</td>" in page and "<td>the model, at the end</td>" in page


def test_the_demo_shows_what_is_shipped(home, checkpoints, monkeypatch):
    given = {}

    def pretrain(*_, **options):
        given.update(options)
        return type("Stopped", (), {"finished": False, "stopped": True})

    monkeypatch.setattr("uprior.studies.demo.pretrain", pretrain)
    with pytest.raises(KeyboardInterrupt):
        Demo().run(home / "demo")
    assert given["beside"] == [str(checkpoints / "universal")]
