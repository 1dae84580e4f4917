"""Every code block of the README is run, with budgets made small and nothing else changed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from uprior.cli import main
from uprior.models import build, save_model, shipped

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)

# What is written for people on the left, what fits into a test on the right: budgets only.
SMALLER = {
    "tokens=20_000_000": "tokens=500, evaluations=2, positions=4",
    '"llama-5m"': '"llama-tiny"',
    "batch_size=64, length=512": "batch_size=2, length=64",
    "context=512": "context=64",
    '"mydata.txt")  ': '"mydata.txt", positions=8)  ',
    "uprior bench uniform pointwise": "uprior bench uniform pointwise --seconds 0.05",
    "seeds=3)": "seeds=2, steps=2, trial_steps=1, evaluations=3, positions=4, batch_size=2)",
    "--model llama-1m --tokens 1.4M": "--model llama-tiny --tokens 500 --context 64 --batch-size 2 --positions 8 --evaluations 2",
    "uprior eval runs/warm mydata.txt": "uprior eval runs/warm mydata.txt --positions 8",
    "uprior eval universal mydata.txt": "uprior eval universal mydata.txt --positions 8",
    "uprior bits mydata.txt": "uprior bits mydata.txt --bytes 256",
    "--file mydata.txt": "--file mydata.txt --model 32x1 --length 32 --rows 2 --sources dyck pcfg --default zipf --first-warm 64 "
    "--first-real 64 --warm-tokens 64 --real-tokens 64 --seeds 2 --positions 2 --rates 0.001",
    "--tokens 1B": "--tokens 20k",
    "--data mydata.txt": "--data mydata.txt --steps 2 --learning-rates 0.001 --evaluations 3 --positions 4 --batch-size 2",
}


def smaller(text):
    for written, small in SMALLER.items():
        text = text.replace(written, small)
    return text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the reader of the README has it, and the one that we are in; a small model goes by the shipped one's name."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "checkpoints")
    save_model(build("llama-tiny", context=64), tmp_path / "checkpoints/universal")
    took = {
        "compute": {"tokens": 64, "training_flops": 1, "generation_flops": 0},
        "sha256": {"model.safetensors": "0" * 64},
    }
    (tmp_path / "checkpoints/universal/recipe.json").write_text(json.dumps(took))
    (tmp_path / "mydata.txt").write_text(" ".join(str(n * n) for n in range(3000)))
    pair = {"sentence_good": "She sleeps.", "sentence_bad": "She sleep.", "UID": "agreement"}
    (tmp_path / "blimp.jsonl").write_text(json.dumps(pair))
    for language, text in BLOCKS:
        if language == "python" and "class Countdown" in text:
            (tmp_path / "countdown.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_replacement_is_still_in_the_readme():
    assert [written for written in SMALLER if written not in README] == []


def test_the_python_example(folder):
    example = next(text for language, text in BLOCKS if language == "python" and "import uprior\n" in text)
    exec(compile(smaller(example), "README.md", "exec"), {"__name__": "__main__"})
    assert (folder / "report.html").exists() and (folder / "runs/warm/model/model.safetensors").exists()


COMMANDS = [shlex.split(smaller(line), comments=True) for language, text in BLOCKS if language == "sh"
            for line in text.splitlines() if line.startswith("uprior ")]  # fmt: skip


def test_the_commands(folder, capsys):
    """In this process, for most of the time of a fresh one goes into imports."""
    for _, *words in COMMANDS:
        if "countdown:Countdown" in words:
            continue
        with pytest.raises(SystemExit) as ended:
            main(words)
        shown = capsys.readouterr()
        assert ended.value.code == 0 and shown.out, (words, shown.err)


def test_the_program_is_installed_and_finds_a_source_in_the_current_folder(folder):
    (command,) = (words for words in COMMANDS if "countdown:Countdown" in words)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shown = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert shown.returncode == 0 and shown.stdout, shown.stderr


def test_make_does_what_the_lines_without_make_do(tmp_path):
    by_hand = next(text for _, text in BLOCKS if "python3 -m venv" in text)
    (tmp_path / "constraints").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints/pins.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"))
    planned = {target: subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
               for target in ("demo", "test")}  # fmt: skip
    assert "python3 -m venv .venv" in planned["demo"] and "python3 -m venv .venv" in planned["test"]
    for line in by_hand.splitlines()[1:]:
        words = shlex.split(line)
        where = planned["demo"] if "demo" in words else planned["test"]
        assert all(word in where.replace("'", "") for word in words[1:]), line


def test_every_other_block_is_known():
    kinds = {language for language, _ in BLOCKS}
    assert kinds == {"sh", "python", "text"}
    assert all(line.startswith(("uprior ", "make ", "python3 -m venv", ".venv/bin/"))
               for language, text in BLOCKS if language == "sh" for line in text.splitlines())  # fmt: skip


def test_the_tree_names_every_room():
    tree = next(text for language, text in BLOCKS if language == "text")
    rooms = {p.stem if p.is_file() else p.name for p in (ROOT / "src/uprior").iterdir()
             if p.suffix in ("", ".py") and not p.name.startswith("__")}  # fmt: skip
    assert {room for room in rooms if not re.search(rf"\b{room}\b", tree)} == set()
