"""Sources that fail in a background thread: the user hears of it, with source, seed and block, and nothing hangs."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import fault_sources
import pytest
from fault_harness import DEADLINE, Patience, checkpoints, pretrain, repeats, run
from fault_sources import Exits, Hangs, Raises, TimesOut

from uprior.data import CorpusStream, Stream
from uprior.errors import SourceError, SpecError
from uprior.sources import Mixture, Uniform


def stream(source, **options):
    return Stream(source, **({"seed": 7, "batch_size": 4, "length": 8, "block_rows": 4} | options))


@pytest.fixture
def patient():
    """A hanging source lets its threads go when the test is over."""
    fault_sources.for_ever.clear()
    yield
    fault_sources.for_ever.set()


def data_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("uprior-data")]


# ------------------------------------------------------------------ in this process


@pytest.mark.fault("a source that raises in a background thread")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("source", "what"),
    [
        (Raises(), r"ZeroDivisionError: integer division or modulo by zero \(fault_sources\.py, line \d+\)"),
        (Exits(), r"SystemExit: 0 \(fault_sources\.py"),
        (TimesOut(), r"TimeoutError: no answer \(fault_sources\.py"),
    ],
)
def test_what_a_source_raises_reaches_the_user(source, what, threads):
    seen = 0
    with pytest.raises(
        SourceError, match=rf"^source {source.name} failed at seed 7, split train, block 2 \(4 x 8\): {what}"
    ):
        for _ in stream(source).batches(threads=threads):
            seen += 1
    assert seen == 2  # the batches before it are good
    assert not data_threads()


def test_a_batch_asked_for_directly_says_the_same():
    with pytest.raises(SourceError, match="source raises failed at seed 7, split test, block 2") as caught:
        stream(Raises(), split="test").batch(2)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert stream(Raises()).batch(3).tokens.shape == (4, 8)  # the others are still to be had


def test_a_source_in_a_mixture_is_found_by_its_file_and_line():
    mixture = Mixture(sources=(Uniform(), Raises()), shares=(1, 1))
    with pytest.raises(SourceError, match=r"source mixture failed .* block 2 .*\(fault_sources\.py, line"):
        list(stream(mixture).batches(0, 4))


def test_an_error_that_says_already_what_to_change_stays_as_it_is():
    with pytest.raises(SpecError, match=r"^uniform: index = -1 is not allowed"):
        stream(Uniform())._make_block(-1)


@pytest.mark.fault("a source that hangs in a background thread")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_hang_ends_in_an_error(patient, threads, monkeypatch):
    monkeypatch.setattr("uprior.data.ahead.Ahead.GRACE", 0.01)
    hanging = stream(Hangs())
    hanging.patience = 0.2
    with pytest.raises(SourceError) as caught:
        list(hanging.batches(threads=threads))
    assert str(caught.value) == (
        "source hangs, seed 7, split train, block 2: hangs; the batch of step 2 made no progress for 0.2 seconds; "
        "if it is only slow, set stream.patience to more seconds"
    )
    assert all(thread.daemon for thread in data_threads())  # they hold up no exit


def test_slow_is_not_hanging(patient):
    """A batch of many blocks may take far longer than the patience: every block is progress."""
    slow = stream(Uniform(), batch_size=8, block_rows=1)
    slow.patience, turns = 0.5, threading.Semaphore(0)
    original = slow._write_block
    slow._write_block = lambda index: (turns.acquire(timeout=0.15), original(index))[1]
    assert next(slow.batches(0, 1)).tokens.shape == (8, 8)  # 8 x 0.15 seconds


def test_patience_is_no_part_of_what_a_stream_is():
    hasty = stream(Uniform())
    hasty.patience = 1.0
    assert hasty.fingerprint == stream(Uniform()).fingerprint
    assert Stream.patience >= 600 and CorpusStream.patience >= 600


def test_streams_that_are_left_behind_leave_no_threads():
    batches = stream(Uniform()).batches(threads=2)
    next(batches)
    assert len(data_threads()) == 2
    del batches
    gc.collect()
    assert not data_threads()


# ------------------------------------------------------------------ the program

# A block has 256 rows: block 2 begins with step 16.
ROOMY = ("--batch-size", 32)


@pytest.mark.fault("a source that raises in a background thread")
@pytest.mark.parametrize("n", range(repeats(1)))
def test_the_program_says_which_block_failed(tmp_path, data, n):
    folder = tmp_path / "run"
    kind = ("Raises", "Exits", "TimesOut")[n % 3]
    ended = run(pretrain(folder, data, *ROOMY, source=f"fault_sources:{kind}", steps=20, every=14), tmp_path)
    said = ended.err.splitlines()[-1]
    assert ended.status == 2 and said.startswith("uprior: error: source "), ended.err
    assert "failed at seed 0, split train, block 2 (256 x 32)" in said
    assert checkpoints(folder)[-1] == 14


@pytest.mark.fault("a source that hangs in a background thread")
@pytest.mark.parametrize("n", range(repeats(1)))
def test_the_program_does_not_hang_with_its_source(tmp_path, data, n):
    folder = tmp_path / "run"
    words = pretrain(folder, data, *ROOMY, source="fault_sources:Hangs", steps=20, every=14)
    ended = run(words, tmp_path, Patience(str(folder), seconds=0.5))
    said = ended.err.splitlines()[-1]
    assert ended.status == 2, ended.err
    assert said.startswith("uprior: error: source hangs, seed 0, split train, block 2: hangs; the batch of step 16 ")
    assert checkpoints(folder)[-1] == 14


def test_an_interpreter_ends_although_a_thread_of_it_hangs():
    """The end of a whole interpreter, which waits for every thread that is no daemon."""
    code = (
        "from uprior.data import Stream; from fault_sources import Hangs\n"
        "stream = Stream(Hangs(), batch_size=4, length=8, block_rows=4); stream.patience = 0.2\n"
        "try:\n    list(stream.batches())\nexcept ValueError as error:\n    print(error)\n"
    )
    places = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=os.environ | {"PYTHONPATH": places},
    )
    assert shown.returncode == 0 and "block 2: hangs" in shown.stdout, shown.stderr
