"""Streams: purity, order, workers, vocabulary maps, real data."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from uprior.data import CorpusStream, Stream, Vocabulary
from uprior.errors import CorpusError, SpecError
from uprior.sources import Mixture, Pointwise, Uniform

SOURCE = Mixture(sources=(Uniform(), Pointwise()), shares=(1, 2))


def make(**options):
    return Stream(SOURCE, **({"seed": 0, "batch_size": 6, "length": 16, "block_rows": 16} | options))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_a_batch_is_a_pure_function_of_its_step(steps):
    reference = {step: make().hashes(step) for step in set(steps)}
    stream = make()
    assert all(stream.hashes(step) == reference[step] for step in steps)


def test_batches_follow_the_rows_of_blocks_without_gap_or_repeat():
    # 8 batches of 6 rows are 3 blocks of 16: together exactly the blocks' rows.
    seen = sorted(h for step in range(8) for h in make().hashes(step))
    whole = sorted(h for step in range(3) for h in make(batch_size=16).hashes(step))
    assert seen == whole and len(set(seen)) == 48


def test_threads_and_how_far_ahead_do_not_matter():
    expected = [make().hashes(step) for step in range(3, 12)]
    for threads, ahead in ((1, 1), (2, 4), (4, 9)):
        stream = make()
        found = [batch.tokens for batch in stream.batches(3, 12, threads=threads, ahead=ahead)]
        assert [stream.hashes(3 + i) for i in range(9)] == expected
        assert all(np.array_equal(tokens, make().batch(3 + i).tokens) for i, tokens in enumerate(found))


def test_splits_seeds_and_steps_share_no_rows():
    def rows(**options):
        return {h for step in range(8) for h in make(**options).hashes(step)}

    train = rows()
    assert train.isdisjoint(rows(split="validation"))
    assert train.isdisjoint(rows(split="test"))
    assert train.isdisjoint(rows(seed=1))
    assert train.isdisjoint({h for step in range(8, 16) for h in make().hashes(step)})


def test_a_stream_is_made_again_from_its_description():
    stream = make(vocab=Vocabulary(size=300, mapping="per_row"))
    again = Stream.from_description(stream.describe())
    assert again.fingerprint == stream.fingerprint and again.hashes(5) == stream.hashes(5)


def test_floors_travel_with_their_rows():
    batch = make(batch_size=16).batch(0)
    uniform = np.isclose(batch.floor_nats, np.log(256)).all(1)
    assert 5 <= uniform.sum() <= 6  # a third of 16
    distinct = np.array([len(set(row)) for row in batch.tokens])
    assert distinct[uniform].min() > 10  # noise; a pointwise row of 16 tokens rarely has that many
    assert np.median(distinct[~uniform]) < 10


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_as_a_torch_dataset_every_step_comes_once_and_in_order(workers):
    loader = DataLoader(make().torch_dataset(2, 11), batch_size=None, num_workers=workers)
    found = [item["input_ids"] for item in loader]
    assert len(found) == 9
    assert all(np.array_equal(tokens.numpy(), make().batch(2 + i).tokens) for i, tokens in enumerate(found))


def test_the_torch_dataset_resumes_from_one_integer():
    dataset = make().torch_dataset(0, 6)
    iterator = iter(dataset)
    next(iterator), next(iterator)
    assert dataset.state_dict() == {"next_step": 2}
    other = make().torch_dataset(0, 6)
    other.load_state_dict({"next_step": 2})
    assert torch.equal(next(iter(other))["input_ids"], torch.from_numpy(make().batch(2).tokens))


# ------------------------------------------------------------------ vocabulary maps


def same_pattern(a, b):
    """Two rows are renamings of each other: equal exactly where the other is."""
    return np.array_equal(a[:, None] == a[None, :], b[:, None] == b[None, :])


@pytest.mark.parametrize("mapping", ["identity", "fixed", "per_row", "zipf"])
def test_maps_rename_and_nothing_else(mapping):
    symbols = Pointwise(max_symbols=6).block(0, 0, rows=20, length=32).tokens
    ids = Vocabulary(size=1000, mapping=mapping).map_rows(symbols, 256, "key", 0)
    assert ids.min() >= 0 and ids.max() < 1000
    assert all(same_pattern(a, b) for a, b in zip(symbols, ids, strict=True))


def test_what_is_fixed_stays_and_what_is_fresh_changes():
    symbols = np.tile(np.arange(8, dtype=np.uint16), (50, 1))
    fixed = Vocabulary(size=100, mapping="fixed").map_rows(symbols, 8, "key", 0)
    fresh = Vocabulary(size=100, mapping="per_row").map_rows(symbols, 8, "key", 0)
    assert len(np.unique(fixed, axis=0)) == 1 and len(np.unique(fresh, axis=0)) == 50
    assert not np.array_equal(fixed, Vocabulary(size=100, mapping="fixed").map_rows(symbols, 8, "other", 0))


def test_the_zipf_map_prefers_low_ids():
    symbols = np.tile(np.arange(4, dtype=np.uint16), (2000, 1))
    ids = Vocabulary(size=1000, mapping="zipf").map_rows(symbols, 4, "key", 0)
    # Weight 1 / (r + 1): the first ten ids hold H(10) / H(1000) = 2.93 / 7.49 = 39 % of a single draw.
    assert 0.33 < (ids < 10).mean() < 0.45


def test_a_vocabulary_too_small_is_told_with_the_number_to_type():
    with pytest.raises(SpecError, match="256 symbols, the vocabulary 100 ids; allowed: a vocabulary of at least 256"):
        Stream(Uniform(), vocab=100)


# ------------------------------------------------------------------ real data


@dataclass(frozen=True)
class Bytes:
    """A corpus of counted bytes, so that a window says where it came from."""

    size: int
    label: str = "bytes"

    def data(self, split):
        base = {"train": 0, "validation": 100, "test": 200}[split]
        return (base + np.arange(self.size) % 50).astype(np.uint8)


def test_windows_of_real_data_are_windows():
    batch = CorpusStream(Bytes(1000), seed=3, batch_size=8, length=20).batch(5)
    assert batch.tokens.shape == (8, 20) and batch.scored.all()
    assert (np.diff(batch.tokens, axis=1) % 50 == 1).all()


def test_limited_data_is_the_first_bytes():
    stream = CorpusStream(Bytes(1000), batch_size=64, length=10, limit_bytes=30)
    assert max(stream.batch(step).tokens.max() for step in range(20)) == 29


def test_too_short_a_corpus_is_one_line():
    with pytest.raises(CorpusError, match="the train split has 12 bytes, a window needs 20; give a longer file"):
        CorpusStream(Bytes(12), length=20)


@pytest.mark.parametrize(
    "option", [{"batch_size": 0}, {"length": 1}, {"seed": -1}, {"split": "dev"}, {"block_rows": 0}]
)
def test_impossible_streams_are_refused(option):
    with pytest.raises(SpecError, match=f"stream: {next(iter(option))} = "):
        make(**option)
