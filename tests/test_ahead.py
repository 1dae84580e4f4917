"""Batches ahead of their use: begun at once and early enough, by several threads on several blocks, each block once."""

import dataclasses
import threading
from typing import ClassVar

import numpy as np
import pytest

from uprior import Stream
from uprior.corpora import get as corpus
from uprior.data import Replay, ahead
from uprior.data.stream import CorpusStream
from uprior.errors import SourceError
from uprior.sources import Source, Uniform
from uprior.spec import parameter
from uprior.types import Block

PATIENT = 60  # seconds before a test that would hang fails


class Trace:
    """Which blocks were begun, and doors that they wait at."""

    def __init__(self):
        self.begun, self.changed = [], threading.Condition()
        self.door = None  # what a block waits for before it is written
        self.broken = set()

    def note(self, index):
        with self.changed:
            self.begun.append(index)
            self.changed.notify_all()

    def wait_for(self, *blocks):
        with self.changed:
            assert self.changed.wait_for(lambda: set(blocks) <= set(self.begun), PATIENT), self.begun


@dataclasses.dataclass(frozen=True)
class Traced(Source):
    """Rows of their own number; tells the trace.

    Machine: none. Floor: none. Cost: nothing.
    """

    name: ClassVar[str] = "traced"
    trace: ClassVar[Trace]
    alphabet_size: int = parameter(256, "symbols", low=256, high=256)

    def block(self, seed, index, *, rows, length, split="train"):
        self.trace.note(index)
        if self.trace.door is not None:
            self.trace.door(index)
        if index in self.trace.broken:
            raise ValueError("broken")
        tokens = np.broadcast_to((index * rows + np.arange(rows))[:, None] % 256, (rows, length)).astype(np.uint16)
        return Block(tokens=tokens, machine=np.arange(rows))


@pytest.fixture
def trace(monkeypatch):
    found = Trace()
    monkeypatch.setattr(Traced, "trace", found, raising=False)
    return found


def stream(batch_size=4, block_rows=16):
    return Stream(Traced(), batch_size=batch_size, length=3, block_rows=block_rows)


def test_work_begins_before_the_first_batch_is_asked_for(trace):
    batches = stream().batches()
    trace.wait_for(0, 1)  # and does not stop at the first block
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("uprior-data")]


def test_the_next_block_is_begun_as_soon_as_one_is_in_use(trace):
    batches = stream(batch_size=1).batches()
    next(batches)
    trace.wait_for(0, 1, 2)  # with 15 steps of block 0 still to be taken
    batches.close()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_write_different_blocks_at_the_same_time(trace, threads):
    meeting = threading.Barrier(threads)
    trace.door = lambda index: meeting.wait(PATIENT) if index < threads else None  # breaks unless all are in it
    batches = list(stream().batches(0, 4 * threads, threads=threads))
    assert len(batches) == 4 * threads and sorted(trace.begun) == list(range(threads))


@pytest.mark.parametrize("batch_size, block_rows", [(4, 16), (6, 16), (16, 16), (40, 16), (1, 16), (7, 5)])
def test_every_block_is_written_once_and_batches_are_what_they_are(trace, batch_size, block_rows):
    steps = -(-20 * block_rows // batch_size)
    for threads, far in ((1, None), (3, None), (2, 1), (1, 9), (None, None)):
        trace.begun.clear()
        found = [b.tokens for b in stream(batch_size, block_rows).batches(0, steps, threads=threads, ahead=far)]
        blocks = -(-steps * batch_size // block_rows)
        assert sorted(trace.begun) == list(range(blocks)), (threads, far)
        direct = stream(batch_size, block_rows)
        assert all(np.array_equal(a, direct.batch(step).tokens) for step, a in enumerate(found))
        assert len(found) == steps


def test_nothing_is_begun_beyond_the_end(trace):
    assert len(list(stream().batches(2, 6, threads=3))) == 4
    assert sorted(trace.begun) == [0, 1]
    assert list(stream().batches(5, 5)) == [] and sorted(trace.begun) == [0, 1]


def test_while_batches_come_late_threads_are_added_up_to_the_processors(trace, monkeypatch):
    monkeypatch.setattr(ahead, "cores", lambda: (3, 3))
    monkeypatch.setattr(ahead.Ahead, "LATE", -1.0)  # every batch is
    with ahead.Ahead(stream(), 0, 40, None, None) as batches:
        counts = [sum(t.name.startswith("uprior-data") for t in threading.enumerate()) for _ in batches]
    assert counts[0] == 1 and sorted(counts) == counts and counts[-1] == 3
    with ahead.Ahead(stream(), 0, 40, 2, None) as batches:  # a number that was asked for stays
        assert {sum(t.name.startswith("uprior-data") for t in threading.enumerate()) for _ in batches} == {2}


def test_batches_in_time_need_no_second_thread(trace, monkeypatch):
    monkeypatch.setattr(ahead, "cores", lambda: (3, 3))
    monkeypatch.setattr(ahead.Ahead, "LATE", 1e9)
    with ahead.Ahead(stream(), 0, 40, None, None) as batches:
        assert {sum(t.name.startswith("uprior-data") for t in threading.enumerate()) for _ in batches} == {1}


def test_an_error_comes_at_its_step_and_its_block_is_not_tried_again(trace):
    trace.broken = {2}
    found = []
    with pytest.raises(SourceError, match=r"block 2 .* broken"):
        found.extend(stream().batches(threads=2))
    assert trace.begun.count(2) == 1
    trace.begun.clear()
    batches = stream().batches(threads=1)
    assert [next(batches).tokens.shape for _ in range(8)] == [(4, 3)] * 8
    with pytest.raises(SourceError, match=r"block 2 .* broken"):
        next(batches)
    assert trace.begun.count(2) == 1


def test_real_data_has_no_parts_and_is_read_ahead_too(tmp_path):
    path = tmp_path / "digits.txt"
    path.write_text("0123456789" * 400)
    real = CorpusStream(corpus(str(path)), batch_size=4, length=8)
    assert list(real.parts(3)) == [] and real.steps_per_part == 0
    found = [batch.tokens for batch in real.batches(3, 20, threads=2)]
    assert len(found) == 17 and all(np.array_equal(a, real.batch(3 + k).tokens) for k, a in enumerate(found))


# ------------------------------------------------------------------ a stream of two streams


def replay(traced_share=0.5, batch_size=4, block_rows=16, swapped=False):
    """Traced rows, a share of all, and others."""
    others = Stream(Uniform(), batch_size=8, length=3, block_rows=24)
    real, synthetic = (stream(batch_size, block_rows), others) if swapped else (others, stream(batch_size, block_rows))
    return Replay(real, synthetic, share=1 - traced_share if swapped else traced_share)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_write_different_blocks_of_a_replayed_stream_at_the_same_time(trace, threads, swapped):
    meeting = threading.Barrier(threads)
    trace.door = lambda index: meeting.wait(PATIENT) if index < threads else None
    mixed = replay(swapped=swapped)
    steps = threads * 2 * 16 // mixed.batch_size
    batches = list(mixed.batches(0, steps, threads=threads))
    assert len(batches) == steps and sorted(trace.begun) == list(range(threads))


@pytest.mark.parametrize(
    "share, batch_size, block_rows", [(0.5, 4, 16), (0.07, 4, 16), (0.9, 6, 5), (1.0, 16, 2), (0.25, 1, 7)]
)
def test_every_replayed_block_is_written_once_and_batches_are_what_they_are(trace, share, batch_size, block_rows):
    for threads, far, swapped in ((1, None, False), (3, None, True), (2, 1, False), (1, 9, True), (None, None, False)):
        trace.begun.clear()
        made = lambda: replay(share, batch_size, block_rows, swapped)  # noqa: B023, E731
        steps = 60 // made().batch_size
        found = [b.tokens for b in made().batches(0, steps, threads=threads, ahead=far)]
        begun = sorted(trace.begun)
        direct = made()
        assert all(np.array_equal(a, direct.batch(step).tokens) for step, a in enumerate(found)) and len(found) == steps
        rows = steps * direct.batch_size
        replayed = int(direct._replayed(np.array(rows)))
        assert begun == list(range(-(-(rows - replayed if swapped else replayed) // block_rows)))


def test_a_replayed_error_comes_at_its_step_and_work_in_the_middle_begins_there(trace):
    trace.broken = {2}
    found = []
    with pytest.raises(SourceError, match=r"block 2 .* broken"):
        found.extend(replay(batch_size=8).batches(threads=1))
    assert len(found) == 2 * 16 * 2 // 8
    trace.begun.clear()
    assert len(list(replay(batch_size=8).batches(14, 16, threads=2))) == 2 and trace.begun == [3]


def test_a_replay_that_hangs_says_what_does(trace, monkeypatch):
    monkeypatch.setattr(ahead.Ahead, "GRACE", 0.0)
    mixed = replay()
    mixed.patience = 0.05
    opened = threading.Event()
    trace.door = lambda index: opened.wait(PATIENT)
    with pytest.raises(SourceError, match=r"replay of source traced, .* block 0 among source uniform.* hangs"):
        list(mixed.batches(0, 1))
    opened.set()
