"""Context trees: a slow reference, completeness, the floor, and context-tree weighting as the exact predictor."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references.context_tree import SPECS, reference_rows

from uprior.errors import SpecError
from uprior.sources import get
from uprior.sources._alias import fill_alias
from uprior.sources._base import Draw
from uprior.sources.context_tree import ContextTree, _log_uniform_integers
from uprior.types import Block

BINARY = ContextTree.preset("ctw")


def draw_of(spec, seed, index, split="train"):
    return Draw((spec.fingerprint, seed, split, index), split, index)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"alphabet{s.alphabet_size}-depth{s.depth}")
def test_counts_the_leaves_that_rows_reach(spec):
    block = spec.block(3, 1, rows=7, length=60)
    _, _, made = reference_rows(spec, draw_of(spec, 3, 1), 7, 60)
    assert block.info["contexts"][: len(made)].tolist() == [len(machine.leaves) for machine in made]


def test_a_tiny_tree_by_hand():
    """Binary, always split, depth 1: the next token depends on the last one alone, and the first on the padding zero."""
    spec = BINARY.replace(depth=1, split_probability=1.0, rows_per_machine=64)
    block = spec.block(0, 0, rows=64, length=400)
    before = np.concatenate([np.zeros((64, 1), int), block.tokens[:, :-1]], axis=1)
    p = np.exp(-block.floor_nats.astype(float))
    p_one = np.where(block.tokens == 1, p, 1 - p)
    for last in (0, 1):
        stated = p_one[before == last]
        assert stated.max() - stated.min() < 1e-6  # one machine, one context: one probability
        wrote = block.tokens[before == last]
        assert abs(wrote.mean() - stated.mean()) < 5 * math.sqrt(0.25 / len(wrote))
    assert block.info["contexts"].tolist() == [2] * 64


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), symbols=st.integers(2, 6), depth=st.integers(0, 4))
def test_every_history_ends_in_exactly_one_leaf(seed, symbols, depth):
    """Suffix completeness (defect D1 of the published source): no history falls through, none fits two leaves."""
    spec = ContextTree(alphabet_size=symbols, min_symbols=symbols, max_symbols=symbols, depth=depth, max_contexts=6**4)
    _, _, (machine,) = reference_rows(spec, draw_of(spec, seed, 0), 1, 5)
    histories = list(itertools.product(range(symbols), repeat=machine.depth))
    for history in histories:
        machine.leaf(list(history))  # reaching a leaf draws it: afterwards the tree is whole
    for history in histories:
        fits = [p for p in machine.leaves if all(s in members for s, members in zip(history[::-1], p, strict=False))]
        assert fits == [machine.leaf(list(history))["path"]]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-3))
def test_alias_table_stands_for_its_weights(weights):
    weights = np.array(weights) / sum(weights)
    n = len(weights)
    keep, other = np.empty(n), np.empty(n, dtype=np.uint16)
    fill_alias(weights, keep, other, np.empty(n, dtype=np.int64))
    stands_for = np.zeros(n)
    for column in range(n):
        kept = min(keep[column], 1.0)
        stands_for[column] += kept / n
        stands_for[other[column]] += (1 - kept) / n
    np.testing.assert_allclose(stands_for, weights, atol=1e-12)


def test_leaves_are_dirichlet():
    """Single-leaf binary trees: the leaf is Beta(1/2, 1/2), whose quartiles are at sin^2(pi/8) and sin^2(3 pi/8)."""
    block = BINARY.replace(depth=0, rows_per_machine=1).block(0, 0, rows=4000, length=2)
    p = np.exp(-block.floor_nats[:, 0].astype(float))
    p_one = np.where(block.tokens[:, 0] == 1, p, 1 - p)
    for quantile, at in ((0.25, math.sin(math.pi / 8) ** 2), (0.5, 0.5), (0.75, math.sin(3 * math.pi / 8) ** 2)):
        assert abs((p_one < at).mean() - quantile) < 5 * math.sqrt(0.25 / 4000)


def test_shorter_contexts_tell_more_with_inheritance():
    """The more a leaf inherits, the better the empirical distribution of order 0 predicts."""
    saved = []
    for inheritance in (0.0, 1.0):
        block = ContextTree(inheritance=inheritance, max_exponent=0.0).block(0, 0, rows=400, length=400)
        order_0 = [kt_bits(row, 0, np.unique(row)) for row in block.tokens[:60].astype(int)]
        saved.append(np.mean(order_0) - block.floor_nats[:60].sum(1).mean() / math.log(2))
    assert saved[1] < saved[0]


# ------------------------------------------------------------------ context-tree weighting


def kt_bits(row, order, symbols):
    """Code length of Krichevsky-Trofimov counts in every context of ``order`` tokens, zeros before the row."""
    counts: dict[tuple, dict] = {}
    history, bits = [0] * order, 0.0
    for token in row:
        seen = counts.setdefault(tuple(history[len(history) - order :]), dict.fromkeys(map(int, symbols), 0.5))
        bits -= math.log2(seen[int(token)] / sum(seen.values()))
        seen[int(token)] += 1
        history.append(int(token))
    return bits


def ctw_bits(row, depth):
    """Code length of context-tree weighting: at each node half its KT estimate, half the product of its children."""
    log_kt: dict[tuple, float] = {}
    counts: dict[tuple, list] = {}
    history = [0] * depth
    for token in map(int, row):
        for length in range(depth + 1):
            context = tuple(history[len(history) - length :])
            seen = counts.setdefault(context, [0.5, 0.5])
            log_kt[context] = log_kt.get(context, 0.0) + math.log(seen[token] / (seen[0] + seen[1]))
            seen[token] += 1
        history.append(token)

    def log_weighted(context):
        if context not in log_kt:
            return 0.0
        if len(context) == depth:  # no split to pay for at full depth
            return log_kt[context]
        children = log_weighted((0, *context)) + log_weighted((1, *context))
        return math.log(0.5) + np.logaddexp(log_kt[context], children)

    return -log_weighted(()) / math.log(2)


def test_context_tree_weighting_is_the_bayes_predictor_of_the_ctw_preset():
    """Measured elsewhere with 300 rows (specs, 2.2): 8.8 +- 0.4 bits above the floor per 256 tokens; KT orders are worse."""
    block = BINARY.replace(rows_per_machine=1).block(0, 0, rows=100, length=256)
    floor = block.floor_nats.astype(float).sum(1) / math.log(2)
    ctw = np.array([ctw_bits(row, 5) for row in block.tokens])
    assert 6 < (ctw - floor).mean() < 12
    for order in range(4):
        kt = np.array([kt_bits(row, order, (0, 1)) for row in block.tokens])
        assert ctw.mean() < kt.mean()


# ------------------------------------------------------------------ the contract's corners


def test_pure_disjoint_and_golden():
    spec = ContextTree()
    block = spec.block(0, 0, rows=32, length=128)
    assert isinstance(block, Block)
    assert block.tokens.tobytes() == spec.block(0, 0, rows=32, length=128).tokens.tobytes()
    rows = {row.tobytes() for row in block.tokens}
    assert rows.isdisjoint(row.tobytes() for row in spec.block(1, 0, rows=32, length=128).tokens)
    assert rows.isdisjoint(row.tobytes() for row in spec.block(0, 0, rows=32, length=128, split="test").tokens)
    # A changed hash is a changed stream: it needs a new version.
    assert (spec.version, hashlib.sha256(block.tokens.tobytes()).hexdigest()[:16]) == (1, "2419044f66ab0bbe")


def test_floor_is_what_is_measured_and_symbols_stay_in_their_set():
    block = ContextTree(alphabet_size=65536, max_symbols=20).block(5, 0, rows=40, length=300)
    assert block.floor_nats.min() >= 0 and np.isfinite(block.floor_nats).all()
    assert block.tokens.max() > 1 << 15
    for machine in np.unique(block.machine):
        mine = block.machine == machine
        assert len(np.unique(block.tokens[mine])) <= block.info["symbols"][mine][0]
        assert mine.sum() == 4


def test_sizes_are_log_uniform():
    sizes = _log_uniform_integers(np.random.default_rng(0), np.full(20_000, 2), np.full(20_000, 63))
    assert (sizes.min(), sizes.max()) == (2, 63)
    assert abs((sizes < 8).mean() - math.log(8 / 2) / math.log(64 / 2)) < 0.02


@pytest.mark.parametrize(
    "text",
    [
        "context_tree:alphabet_size=10",
        "context_tree:min_symbols=65",
        "context_tree:min_concentration=8,max_concentration=1",
    ],
)
def test_impossible_specs_are_refused(text):
    with pytest.raises(SpecError, match="is not allowed; allowed:"):
        get(text)
