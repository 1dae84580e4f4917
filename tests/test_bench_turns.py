"""How contestants of a bench take turns, each in a process of its own; and the script that runs the bench on a GPU."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from uprior.bench.contestants import Job
from uprior.bench.turns import ContestantError, Finished, Turn, Worker

JOB = Job("llama-tiny", "uniform", batch_size=4, length=32, threads=1)


def task(**changes):
    return {"name": "plain", "job": vars(JOB) | changes}


# ------------------------------------------------------------------ turns


def test_a_turn_counts_its_steps_and_leaves_out_the_untimed():
    here, there = Pipe()
    for order in ({"steps": 1, "untimed": 0}, {"steps": 2, "untimed": 1}, {"end": True}):
        here.send_bytes(json.dumps(order).encode())
    turn = Turn(there, cuda=False)
    turn.begin()
    with turn.waiting():
        time.sleep(0.01)
    turn.step_done()  # the first turn
    with turn.waiting():
        time.sleep(0.05)
    turn.step_done()  # untimed
    turn.notes = {"note": 7}
    turn.step_done()
    with pytest.raises(Finished):
        turn.step_done()
    ready, first, second = (json.loads(here.recv_bytes()) for _ in range(3))
    assert ready["seconds"] == 0 and first["seconds"] >= first["waited"] >= 0.01
    assert second["waited"] == 0 and second["note"] == 7 and not here.poll()


def state(pid):
    """The letter that Linux gives a process: T where it is stopped; None where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_who_waits_is_stopped_and_who_is_killed_is_named():
    with Worker(task(), {"OMP_NUM_THREADS": "1"}) as worker:
        worker.start()
        assert worker.turn(2)["seconds"] > 0 and state(worker.process.pid) == "T"
        worker.process.kill()
        with pytest.raises(
            ContestantError, match=r"killed \(SIGKILL\): the machine ran out of memory\? Give a smaller"
        ):
            worker.turn(1)


def test_errors_of_a_contestant_are_one_line():
    with Worker(task(model="llama-9z"), {}) as worker, pytest.raises(ContestantError) as caught:
        worker.start()
    assert str(caught.value).startswith("UnknownNameError: unknown model 'llama-9z'; did you mean")
    with (
        Worker(task(), {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}) as worker,
        pytest.raises(ContestantError) as caught,
    ):
        worker.start()
    assert str(caught.value).startswith("died (status 1); last it printed: ")
    with Worker(task(), {}, patience=0) as worker, pytest.raises(ContestantError) as caught:
        worker.start()
    assert str(caught.value) == "said nothing for 0 seconds; last it printed: nothing"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process that its parent died")
def test_a_killed_bench_leaves_no_stopped_process():
    code = (
        "import json, sys, time; from uprior.bench.turns import Worker\n"
        "worker = Worker(json.loads(sys.argv[1]), {}); worker.start(); print(worker.process.pid, flush=True); time.sleep(20)"
    )
    with subprocess.Popen([sys.executable, "-c", code, json.dumps(task())], stdout=subprocess.PIPE, text=True) as bench:
        worker = int(bench.stdout.readline())
        stopped = state(worker)
        os.kill(bench.pid, signal.SIGKILL)
    assert stopped == "T"
    deadline = time.monotonic() + 20
    while state(worker) not in (None, "Z") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state(worker) in (None, "Z")


# ------------------------------------------------------------------ the script for GPUs

ROOT = Path(__file__).parent.parent


def shell(folder, *words, **environment):
    """The script of a repository of which only the list of packages is there."""
    (folder / "benchmarks").mkdir(exist_ok=True)
    for name in ("gpu.sh", "table.py"):
        shutil.copy(ROOT / "benchmarks" / name, folder / "benchmarks" / name)
    command = ["bash", folder / "benchmarks" / "gpu.sh", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


STUB = """#!/bin/sh
echo "$0 $*" >> {log}
case "$1 $2" in
    "-m venv") mkdir -p .venv-gpu/bin; cp {ready} .venv-gpu/bin/python ;;
    "-c import"*) exit {status} ;;
    "-m uprior.cli") echo {record} ;;
esac
"""


def test_the_script_says_what_it_takes(tmp_path):
    for words in ([], ["30b"]):
        shown = shell(tmp_path, *words)
        assert shown.returncode == 2 and "benchmarks/gpu.sh PART" in shown.stderr and "set -e" not in shown.stderr


def test_the_script_sets_itself_up_where_nothing_is(tmp_path):
    """Stand-ins for python3: one without packages, and the one that its virtual environment then has."""
    log, bare, ready = tmp_path / "log", tmp_path / "python3", tmp_path / "ready"
    bare.write_text(STUB.format(log=log, ready=ready, status=1, record=""))
    ready.write_text(STUB.format(log=log, ready=ready, status=0, record="{}"))
    for stub in (bare, ready):
        stub.chmod(0o755)
    shown = shell(tmp_path, "1.3b-pair", "--rounds", "3", PYTHON=str(bare), OUT=str(tmp_path / "out"))
    assert shown.returncode == 0, shown.stderr
    told = [line.removeprefix(f"{tmp_path}/") for line in log.read_text().splitlines()]
    made = told.index("python3 -m venv .venv-gpu")
    assert told[made + 1].startswith(".venv-gpu/bin/python -m pip install") and told[made + 1].endswith(
        "-e .[accelerate]"
    )
    bench = "-m uprior.cli bench train --model llama-1.3b --only uprior,trainer-bf16-compiled --batch-size 16 --json --rounds 3"
    assert f".venv-gpu/bin/python {bench}" in told
    assert (tmp_path / "out" / "1.3b-pair.jsonl").read_text() == "{}\n"
