"""Rows that random machines rewrite again and again: the depths of chains, and the published buffer."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprior.sources import Buffered, Iterated, RandomLSTM, get
from uprior.sources._base import Draw
from uprior.sources._machines import MachineSource, start_block
from uprior.sources.iterated import parents, systematic_counts
from uprior.types import Block

DRAW = Draw(("test",), "train", 0)


@dataclass(frozen=True)
class Successor(MachineSource):
    """Adds one to every token of its parent; so a row tells its depth. The seed is remembered in ``info``."""

    name: ClassVar[str] = "successor"
    alphabet_size: int = 1000
    constant_fraction: float = 0.5

    @property
    def seed_length(self):
        return 3

    def _write(self, draw, condition, seeds):
        rows = len(condition)
        return Block(
            tokens=(condition + 1).astype(np.uint16),
            machine=draw.machine_ids(np.arange(rows)),
            floor_nats=np.full(condition.shape, 0.25, dtype=np.float32),
            info={"seed": seeds[:, 0].astype(np.float64)},
        )


@pytest.mark.parametrize(
    ("text", "rows", "histogram"),
    [
        ("iterated:max_depth=4", 40, [0, 10, 10, 10, 10]),
        ("iterated:depth=fixed,max_depth=3", 7, [0, 0, 0, 7]),
        ("iterated:depth=geometric,mean_depth=2,max_depth=3", 70, [0, 40, 20, 10]),
        ("iterated:depth=table,table=1/0/3", 8, [0, 2, 0, 6]),
        ("iterated:depth=table,table=1/1,start_share=0.5", 16, [8, 4, 4]),
        ("iterated:start_share=1", 5, [5]),
    ],
)
def test_depths_are_exactly_as_asked(text, rows, histogram):
    source = get(text).replace(source=RandomLSTM(hidden=4, alphabet_size=16))
    for index in range(3):
        depth = source.block(0, index, rows=rows, length=8).info["depth"]
        assert np.bincount(depth).tolist() == histogram


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(sum),
    st.integers(1, 300),
    st.floats(0, 1, exclude_max=True),
)
def test_counts_are_rounded_up_or_down_and_sum_to_the_rows(weights, rows, offset):
    law = np.array(weights) / sum(weights)
    counts = systematic_counts(law, rows, offset)
    assert counts.sum() == rows
    assert counts.min() >= 0
    assert np.abs(counts - rows * law).max() < 1 + 1e-4


def test_small_blocks_have_the_law_on_average():
    law = np.array([0, 0.5, 0.3, 0.2])
    mean = np.mean([systematic_counts(law, 1, (i + 0.5) / 100) for i in range(100)], axis=0)
    assert mean == pytest.approx(law)


def test_chain_reads_distinct_parents_and_counts_its_passes():
    source = Iterated(source=Successor(), max_depth=3, depth="table", table=(1.0, 1.0, 2.0), start_share=0.2)
    block = source.block(0, 0, rows=50, length=6)
    depth = block.info["depth"].astype(int)
    assert np.bincount(depth).tolist() == [10, 10, 10, 20]
    starts = block.tokens.astype(int) - depth[:, None]
    # Distinct parents: no two rows of a depth come from the same start, and a chain's rows share theirs.
    for d in range(4):
        assert len(np.unique(starts[depth == d], axis=0)) >= (depth == d).sum() - 2  # equal constants may meet
    deepest = {row.tobytes() for row in starts[depth == 3]}
    assert all(row.tobytes() in deepest for row in starts)
    assert not np.array_equal(depth, np.sort(depth))
    constant = (starts == starts[:, :1]).all(axis=1)
    assert 0.3 < constant.mean() < 0.7
    assert np.isnan(block.info["seed"]).tolist() == (depth == 0).tolist()
    expected = np.where(depth > 0, 0.25, np.where(constant, 0, math.log(1000)))
    assert block.floor_nats == pytest.approx(np.repeat(expected[:, None], 6, axis=1))


def test_parents_are_distinct_and_never_their_own_seed():
    before = np.repeat(np.arange(20, dtype=np.uint16)[:, None], 5, axis=1)
    condition, seeds = parents(DRAW, before, 15, 3)
    assert len(np.unique(condition[:, 0])) == 15
    assert seeds.shape == (15, 3)
    assert np.all(seeds[:, 0] != condition[:, 0])
    assert len(np.unique(seeds[:, 0])) == 15


def test_seeds_are_cut_at_offsets_of_their_own():
    before = np.tile(np.arange(50, dtype=np.uint16), (40, 1))
    _, seeds = parents(DRAW, before, 40, 4)
    assert np.all(np.diff(seeds.astype(int), axis=1) == 1)
    assert len(np.unique(seeds[:, 0])) > 15


def test_emitted_constant_rows_keep_to_their_split():
    symbols = {}
    for split in ("train", "validation", "test"):
        draw = Draw(("x", split), split, 0)
        block = start_block(draw, np.ones(600, dtype=bool), 4, 64, emitted=True)
        assert np.array_equal(block.machine, block.tokens[:, 0])
        symbols[split] = set(block.tokens[:, 0].tolist())
    assert {k: len(v) for k, v in symbols.items()} == {"train": 48, "validation": 8, "test": 8}
    assert len(set.union(*symbols.values())) == 64


# ------------------------------------------------------------------ the buffer


def test_buffer_counts_passes_along_the_conditioning_line():
    block = Buffered(source=Successor(), spin_up=5).block(0, 0, rows=80, length=6)
    depth = block.info["depth"].astype(int)
    starts = block.tokens.astype(int) - depth[:, None]
    assert starts.min() >= 0  # a start is a token 0..999 before the passes
    written = depth > 0
    assert np.all(block.floor_nats[written] == 0.25)
    assert np.isnan(block.info["seed"]).tolist() == (~written).tolist()
    constant = (starts == starts[:, :1]).all(axis=1)
    assert block.floor_nats[~written & ~constant] == pytest.approx(math.log(1000))
    assert np.all(block.floor_nats[~written & constant] == 0)


def test_buffer_has_the_depths_of_the_closed_form():
    """A share r/(r+n) of rows at depth 0 and mean depth n/r, for the defaults of 2024-12-29 (sheet: 48 %, 1.05)."""
    source = Buffered.preset("repository", source=Successor(), spin_up=150)
    depth = source.block(0, 0, rows=52 * 150, length=6).info["depth"]
    assert (depth == 0).mean() == pytest.approx(100 / 204, abs=0.03)
    assert depth.mean() == pytest.approx(104 / 100, abs=0.06)
