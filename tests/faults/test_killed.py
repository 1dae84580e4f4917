"""Runs that are ended by force, and runs that are asked to end: nothing is lost, and the end is bit for bit the same."""

import random
import signal
from fnmatch import fnmatch
from pathlib import Path

import pytest
from fault_harness import (
    Kill,
    KillAfter,
    KillAtByte,
    Send,
    Victim,
    checkpoints,
    finish,
    last_step,
    pretrain,
    repeats,
    run,
    trace,
)

from uprior.files import read_lines, verify_folder


def intact(folder):
    """Whatever bears a checkpoint's name is complete."""
    for checkpoint in (folder / "checkpoints").glob("step-*"):
        verify_folder(checkpoint)
        assert (checkpoint / "checksums.json").exists()


# ------------------------------------------------------------------ SIGKILL


def moments(kind, count):
    """Seeded: the same moments in every session."""
    rng = random.Random(f"moments of {kind}")
    return [pytest.param(rng.random(), rng.random(), id=f"{kind}-{n}") for n in range(count)]


def numbered(events):
    """Every disk event of the uninterrupted run as (event, path, how many of that kind and path came before)."""
    seen = {}
    for event, path in events:
        seen[event, path] = seen.get((event, path), -1) + 1
        yield event, path, seen[event, path]


def choose(whole, share, folder, only="*"):
    """The disk event at a share of the run (of the events whose path matches ``only``), as an injury's words."""
    events = [found for found in numbered(whole.events) if fnmatch(found[1], only) and found[1] != str(whole.folder)]
    event, path, at = events[int(share * len(events))]
    return {"run": str(folder), "event": event, "path": path.removeprefix(str(whole.folder)), "at": at}


def soon_after(share):
    """The moment that one of the checkpoints 0, 3, 6, 9 is there, from which processor time is counted."""
    return {"event": "os.rename", "path": f"/.step-{(0, 3, 6, 9)[int(4 * share)]:08d}.tmp"}


def killed(words, folder, number, injury):
    """The run dies of the injury, by the signal ``number``."""
    ended = run(words, folder.parent, injury)
    assert ended.status == -number, ended.err


def ends_as_if_nothing_had_happened(words, folder, whole):
    intact(folder)
    finish(words, folder.parent)
    assert trace(folder) == whole.trace


@pytest.mark.fault("SIGKILL at any disk operation")
@pytest.mark.parametrize(("share", "_"), moments("anywhere", repeats(1)))
def test_killed_before_a_disk_operation(tmp_path, data, whole, share, _):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    killed(words, folder, signal.SIGKILL, Kill(**choose(whole, share, folder)))
    ends_as_if_nothing_had_happened(words, folder, whole)


@pytest.mark.fault("SIGKILL between the files of a checkpoint")
@pytest.mark.parametrize(("share", "_"), moments("between", repeats(1)))
def test_killed_between_the_files_of_a_checkpoint(tmp_path, data, whole, share, _):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    killed(words, folder, signal.SIGKILL, Kill(**choose(whole, share, folder, only="*/checkpoints/.step-*.tmp/*")))
    assert list((folder / "checkpoints").glob(".step-*.tmp"))  # it did die inside
    ends_as_if_nothing_had_happened(words, folder, whole)


@pytest.mark.fault("killed by the kernel in the middle of a checkpoint's bytes")
@pytest.mark.parametrize(("share", "which"), moments("bytes", repeats(2)))
def test_killed_in_the_middle_of_a_checkpoints_bytes(tmp_path, data, whole, share, which):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    step = (0, 3, 6, 9)[int(4 * which)]
    largest = 139_000  # bytes, about those of model.safetensors
    path = f"/.step-{step:08d}.tmp"
    killed(
        words, folder, signal.SIGXFSZ, KillAtByte(str(folder), event="os.mkdir", path=path, size=int(share * largest))
    )
    assert checkpoints(folder) == [0, 3, 6, 9][: step // 3][-3:]
    ends_as_if_nothing_had_happened(words, folder, whole)


@pytest.mark.fault("killed by the kernel in the middle of a line of the log")
@pytest.mark.parametrize(("share", "_"), moments("log", repeats(1)))
def test_killed_in_the_middle_of_a_line_of_the_log(tmp_path, data, whole, share, _):
    folder = tmp_path / "run"
    words = pretrain(folder, data, "--checkpoint-every", 100)
    log = whole.trace["log.jsonl"]
    there = log.index(b"\n") + 1  # the evaluation at step 0, written before the limit is set
    size = there + 1 + int(share * (len(log) - there - 2))
    killed(
        words, folder, signal.SIGXFSZ, KillAtByte(str(folder), event="os.rename", path="/.step-00000000.tmp", size=size)
    )
    assert (folder / "log.jsonl").stat().st_size == size
    ends_as_if_nothing_had_happened(words, folder, whole)


@pytest.mark.fault("killed by the kernel anywhere in a step")
@pytest.mark.parametrize(("share", "which"), moments("step", repeats(2)))
def test_killed_anywhere_in_a_step(tmp_path, data, whole, share, which):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    killed(
        words,
        folder,
        signal.SIGVTALRM,
        KillAfter(str(folder), **soon_after(0.999 * which), seconds=1e-4 + 0.01 * share),
    )
    ends_as_if_nothing_had_happened(words, folder, whole)


@pytest.mark.fault("SIGKILL from outside while a checkpoint is written")
@pytest.mark.parametrize(("share", "_"), moments("outside", repeats(1)))
def test_killed_from_outside_while_a_checkpoint_is_written(tmp_path, data, whole, share, _):
    folder = tmp_path / "run"
    words = pretrain(folder, data, "--checkpoint-every", 1)
    victim = Victim(words, tmp_path)
    after = int(share * 6)

    def writing():
        return last_step(folder) > after and next((folder / "checkpoints").glob(".step-*.tmp"), None)

    assert victim.kill_when(writing), "the run was too quick"
    assert victim.end().status == -signal.SIGKILL
    ends_as_if_nothing_had_happened(words, folder, whole)


@pytest.mark.fault("SIGKILL again and again, until the run is through")
@pytest.mark.parametrize("gap", [70, *range(20, 19 + repeats(1))])
def test_killed_again_and_again(tmp_path, data, whole, gap):
    """Every process dies at its disk operation number ``gap`` or later: also while it takes up what the last one left."""
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    deaths = 0
    while (ended := run(words, tmp_path, Kill(str(folder), at=gap + deaths))).killed:
        intact(folder)
        deaths += 1
        assert deaths < 200, "no progress"
    assert ended.status == 0 and deaths >= 2
    assert trace(folder) == whole.trace


# ------------------------------------------------------------------ asked to end

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")


@pytest.mark.fault("SIGTERM, Ctrl-C, SLURM's USR1: saved within 5 s, status 130, told how to go on")
@pytest.mark.parametrize(
    ("name", "share"),
    [pytest.param(name, (n + 0.5) / repeats(1), id=f"{name}-{n}") for name in SIGNALS for n in range(repeats(1))],
)
def test_asked_to_end(tmp_path, data, whole, name, share):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    # A step takes some milliseconds, and six of them are left.
    injury = Send(str(folder), **soon_after(0.7 * share), number=getattr(signal, name), seconds=1e-4 + 0.004 * share)
    ended = run(words, tmp_path, injury)
    assert ended.status == 130, ended.err
    assert ended.at - float(Path(folder).with_suffix(".sent").read_text()) < 5.0
    step = last_step(folder)
    assert 0 < step < 12 and checkpoints(folder)[-1] == step  # not a step is lost
    assert not (folder / "model").exists()
    said = ended.err.splitlines()[-1]
    assert said == f"stopped after step {step} of 12, saved; type the same command to go on"
    going_on = finish(words, tmp_path)
    assert f"going on from step {step}" in going_on.err
    assert trace(folder) == whole.trace
    assert [line["step"] for line in read_lines(folder / "timing.jsonl")] == list(range(1, 13))
