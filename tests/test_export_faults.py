"""Exports under faults: killed, interrupted, damaged, written twice, on a full disk, on a cluster that loses a worker."""

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from export_tools import COMMAND, ENVIRONMENT, LENGTH, contents, make, run

import uprior
from uprior.data.stream import BatchStream
from uprior.errors import CorpusError, RunDirectoryError, SpecError
from uprior.types import Batch


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in set(os.environ) - set(ENVIRONMENT):
        monkeypatch.delenv(name)


# ------------------------------------------------------------------ faults


def damage_one_bit(folder):
    path = folder / "train-00001.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 4
    path.write_bytes(data)


def truncate(folder):
    os.truncate(folder / "train-00001.bin", 30)


def truncate_sidecar(folder):
    os.truncate(folder / "train-00001.json", 30)


def lose_the_mask(folder):
    (folder / "train-00001.mask").unlink()


@pytest.mark.parametrize("damage", [damage_one_bit, truncate, truncate_sidecar, lose_the_mask])
def test_a_damaged_shard_is_told_and_made_anew(tmp_path, damage):
    def go(say):
        return uprior.export(make("keyed_recall"), tmp_path, tokens=2000, shard_tokens=32 * LENGTH, say=say)

    go(print)
    before, said = contents(tmp_path), []
    damage(tmp_path)
    with pytest.raises(CorpusError, match=r"train-00001 is damaged, of 4 shards; type the export command again"):
        uprior.read_shards(tmp_path, checksums=True)
    done = go(said.append)
    assert (done.made, done.kept, done.damaged) == (1, 3, 1)
    assert "train-00001 is damaged" in said[0] and contents(tmp_path) == before


def test_what_a_kill_leaves_half_written_is_written_again(tmp_path):
    stream = make()
    uprior.export(stream, tmp_path, tokens=2000, shard_tokens=32 * LENGTH)
    before = contents(tmp_path)
    (tmp_path / "train-00002.json").unlink()  # killed between the data's name and the sidecar's
    (tmp_path / "train-00003.json").unlink()  # killed within the data
    (tmp_path / "train-00003.bin").unlink()
    (tmp_path / ".train-00003.bin.tmp").write_bytes(b"x" * 999)
    (tmp_path / "manifest.json").write_text('{"format"')
    done = uprior.export(stream, tmp_path, tokens=2000, shard_tokens=32 * LENGTH)
    assert (done.made, done.kept, done.damaged) == (2, 2, 0) and contents(tmp_path) == before


def test_kill_9_and_the_same_command_makes_only_what_is_missing(capsys, tmp_path):
    words = [
        "dyck",
        "--tokens",
        "480k",
        "--context",
        "16",
        "--shard-tokens",
        "4096",
        "--quiet",
        "--out",
        tmp_path / "killed",
    ]
    for enough in (3, 12):
        process = subprocess.Popen([*COMMAND, *map(str, words)], env=ENVIRONMENT)
        while len(list((tmp_path / "killed").glob("train-*.json"))) < enough and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not json.loads((tmp_path / "killed" / "manifest.json").read_text())["complete"]
    there = len(list((tmp_path / "killed").glob("train-*.json")))
    assert 12 <= there < 118
    status, out, err = run(capsys, *words, "--json")
    record = json.loads(out)
    assert status == 0 and (record["made"], record["kept"], record["damaged"]) == (118 - there, there, 0)
    assert record["complete"] and f"{there} of 118 shards are there; {118 - there} to make" in err
    run(capsys, *words[:-1], tmp_path / "whole")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(tmp_path):
    words = [
        "dyck",
        "--tokens",
        "40M",
        "--context",
        "16",
        "--shard-tokens",
        "4096",
        "--workers",
        "2",
        "--quiet",
        "--out",
        tmp_path,
    ]

    def heard():  # a script that put these tests in the background has them, and so this process, ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen([*COMMAND, *map(str, words)], env=ENVIRONMENT, stderr=-1, text=True, preexec_fn=heard)
    while len(list(tmp_path.glob("train-*.json"))) < 2 and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[1]
    assert (
        process.returncode == 130 and told == "interrupted; what was saved is intact: type the same command to go on\n"
    )
    assert not list(tmp_path.glob(".*.tmp"))
    states = [shard["state"] for shard in json.loads((tmp_path / "manifest.json").read_text())["shards"]]
    assert states.count("complete") == len(list(tmp_path.glob("train-*.json"))) < len(states)


def test_two_processes_share_an_export(capsys, tmp_path):
    words = ["uniform", "--tokens", "40k", "--context", "16", "--shard-tokens", "4096", "--json", "--out"]
    both = [
        subprocess.Popen(
            [*COMMAND, *words, tmp_path / "two", *extra], env=ENVIRONMENT | more, stdout=-1, stderr=-1, text=True
        )
        for extra, more in (
            (["--shard", "0/2"], {}),
            ([], {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}),
        )
    ]
    (first, quiet), (second, told) = (process.communicate() for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert (json.loads(first)["made"], json.loads(second)["made"]) == (5, 5)
    assert "SLURM_PROCID=1: this process makes shards 1, 3, ... (1/2)" in told and "SLURM" not in quiet
    run(capsys, *words, tmp_path / "one")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


HOLD = """
import sys, uprior
from uprior import sources
stream = uprior.Stream(sources.get("uniform"), seed=1, batch_size=8, length=20, block_rows=16)
class Waiting(type(stream)):
    def batch(self, step):
        print("writing", flush=True)
        sys.stdin.readline()
        return super().batch(step)
stream.__class__ = Waiting
uprior.export(stream, sys.argv[1], tokens=2000, shard_tokens=640, part=(0, 2))
"""


def test_two_writers_of_one_shard_are_refused(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], env=ENVIRONMENT, stdin=-1, stdout=-1, text=True)
    assert holder.stdout.readline() == "writing\n"
    options = {"tokens": 2000, "shard_tokens": 640}
    with pytest.raises(
        RunDirectoryError, match=r"train-00000 is being written by another process; wait for it, or share"
    ):
        uprior.export(make(), tmp_path, **options)
    done = uprior.export(make(), tmp_path, **options, part=(1, 2))  # the other half is free
    assert (done.made, done.missing) == (2, 2)
    with pytest.raises(CorpusError, match=r"train-00000 is missing and 1 more, of 4 shards"):
        uprior.read_shards(tmp_path)
    holder.kill()
    holder.communicate()
    done = uprior.export(make(), tmp_path, **options)  # the lock died with its holder
    assert (done.made, done.kept, done.missing) == (2, 2, 0)


def test_within_a_process_the_second_export_is_refused(tmp_path):
    class Inside(BatchStream):
        def describe(self):
            return {"name": "inside"}

        def batch(self, step):
            with pytest.raises(RunDirectoryError, match="being written by this process already; use workers=n"):
                uprior.export(make(), tmp_path, tokens=100)
            return Batch(np.zeros((4, 8), np.int64), np.ones((4, 8), bool))

    uprior.export(Inside(seed=0, batch_size=4, length=8, split="train"), tmp_path, tokens=64)


@pytest.mark.parametrize("other", [{"seed": 2}, {"vocab": 300}, {"length": 24}])
def test_another_export_in_the_folder_is_refused(tmp_path, other):
    uprior.export(make(), tmp_path, tokens=100)
    before = contents(tmp_path)
    for options in ({}, {"split": "validation"}):  # the other split of another stream too
        with pytest.raises(
            RunDirectoryError, match=r"holds another export: its .* is .*, not .*; choose another --out"
        ):
            uprior.export(make(**other, **options), tmp_path, tokens=100)
    with pytest.raises(RunDirectoryError, match="its rows is 5, not 10"):
        uprior.export(make(), tmp_path, tokens=200)
    assert contents(tmp_path) == before


def test_a_full_disk_is_one_line_and_keeps_what_is_there(capsys, tmp_path):
    words = ["uniform", "--tokens", "64k", "--context", "16", "--shard-tokens", "8192", "--out", tmp_path, "--quiet"]
    run(capsys, *words[:-1], "--shard", "0/8")
    # The system refuses the 6000th byte of any file, as a full disk does; the last and smallest shard has 6656.
    shown = subprocess.run(
        [*COMMAND, *map(str, words)], env=ENVIRONMENT, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
    )  # fmt: skip
    message = shown.stderr.strip().splitlines()[-1]
    assert shown.returncode == 2 and message.startswith(f"uprior: error: cannot write {tmp_path}")
    assert message.endswith("then type the same command to go on") and "Traceback" not in shown.stderr
    assert not list(tmp_path.glob(".*.tmp"))
    status, out, _ = run(capsys, *words, "--json")
    assert status == 0 and (json.loads(out)["made"], json.loads(out)["kept"]) == (7, 1)


def test_a_source_that_raises_stops_all_threads_and_leaves_no_scraps(tmp_path):
    stream = make("fatal_sources:Raising")
    with pytest.raises(Exception, match="the sky fell"):
        uprior.export(stream, tmp_path, tokens=50_000, shard_tokens=32 * LENGTH, workers=3)
    states = [shard["state"] for shard in json.loads((tmp_path / "manifest.json").read_text())["shards"]]
    assert set(states) == {"complete", "missing"} or set(states) == {"missing"}
    assert not list(tmp_path.glob(".*.tmp"))


def test_ids_beyond_the_vocabulary_are_never_wrapped(tmp_path):
    class Liar(BatchStream):
        def describe(self):
            return {"name": "liar"}

        def batch(self, step):
            return Batch(np.full((4, 8), 256), np.ones((4, 8), bool))

    with pytest.raises(SpecError, match="ids beyond its vocabulary of 256"):
        uprior.export(Liar(seed=0, batch_size=4, length=8, split="train"), tmp_path, tokens=100)


# ------------------------------------------------------------------ Ray


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed; type: pip install 'uprior[ray]'"
)
def test_ray_makes_the_shards_of_a_killed_worker_again(tmp_path, capsys, monkeypatch):
    """A local cluster of two workers, one of which is killed while it writes a shard."""
    monkeypatch.setenv("FATAL_MARKER", str(tmp_path / "killed"))
    words = ["fatal_sources:Fatal", "--tokens", "100k", "--context", "16", "--shard-tokens", "16k", "--json", "--quiet"]
    ray = [sys.executable, "-W", "error", *COMMAND[1:], *words, "--ray", "--workers", "2", "--out", tmp_path / "ray"]
    shown = subprocess.run(ray, env=ENVIRONMENT | os.environ, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    record = json.loads(shown.stdout)
    assert (tmp_path / "killed").exists() and record["complete"] and record["made"] == record["shards"] == 7
    assert "Warning" not in shown.stderr and "Traceback" not in shown.stderr
    run(capsys, *words, "--out", tmp_path / "threads")
    assert contents(tmp_path / "ray") == contents(tmp_path / "threads")
