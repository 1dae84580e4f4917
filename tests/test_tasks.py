"""Tasks: published figures, hand-worked floors, and what cannot be asked for."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references._set_tasks import draw_symbols

from uprior.errors import SpecError
from uprior.sources import Delete, Identity, Reverse, Set, Sort, Stack, Union, get

ROWS = 4000


def published(name, length):
    return get(f"{name}@procedural").block(1, 0, rows=ROWS, length=length)


def near(values, expected, errors=4.5):
    """Whether the mean of independent values is within ``errors`` standard errors of what it should be."""
    values = np.asarray(values, dtype=float)
    return abs(values.mean() - expected) <= errors * values.std(ddof=1) / math.sqrt(len(values)) + 1e-9


class Listed:
    """A stand-in for a generator: gives the numbers of a list."""

    def __init__(self, numbers):
        self.numbers = iter(numbers)

    def random(self):
        return next(self.numbers)


# ------------------------------------------------------------------ identity, reverse, sort, set, union, delete, stack


@pytest.mark.parametrize(
    ("name", "length", "begin"),
    [
        ("identity", 129, 65),
        ("reverse", 129, 65),
        ("sort", 129, 65),
        ("set", 129, 65),
        ("union", 130, 66),
        ("delete", 131, 67),
    ],
)
def test_published_layout(name, length, begin):
    """V = 100, L = 64: contents 1..99, separator 100, blank 101; the loss on the output tokens and nothing else."""
    block = published(name, length)
    spec = get(f"{name}@procedural")
    assert (spec.alphabet_size, spec.shortest_row) == (102, length)
    separators = {"union": [32, 65], "delete": [64, 66]}.get(name, [64])
    at_separator = np.zeros(length, dtype=bool)
    at_separator[separators] = True
    assert (block.tokens[:, at_separator] == 100).all()
    assert not block.scored[:, :begin].any()
    content = (block.tokens >= 1) & (block.tokens <= 99)
    assert (content[:, :begin] == ~at_separator[:begin]).all()
    np.testing.assert_array_equal(block.scored[:, begin:], content[:, begin:])
    assert (block.tokens[:, begin:][~content[:, begin:]] == 101).all()
    assert (block.floor_nats[block.scored] == 0).all()
    np.testing.assert_allclose(block.floor_nats[:, : separators[0]], math.log(99), rtol=1e-6)


@pytest.mark.parametrize(("name", "length"), [("set", 129), ("union", 130)])
def test_published_number_of_different_symbols(name, length):
    """47.2 of 64 (38-56 in some thousand examples): 99 (1 - (98/99)^64)."""
    counts = published(name, length).scored.sum(1)
    exact = 99 * (1 - (98 / 99) ** 64)
    assert abs(exact - 47.3) < 0.2 and near(counts, exact)
    assert 34 <= counts.min() <= 41 and 53 <= counts.max() <= 60


def test_published_delete():
    """63.5 scored tokens; the symbol is absent in 52 % of examples."""
    block = published("delete", 131)
    absent = block.scored.sum(1) == 64
    assert near(absent, (98 / 99) ** 64) and abs((98 / 99) ** 64 - 0.527) < 0.01
    assert near(block.scored.sum(1), 63.52, errors=6)
    np.testing.assert_array_equal(absent, [row[65] not in row[:64] for row in block.tokens])


def test_published_stack():
    """10.9 scored tokens (2-32), 41 % blanks in rows of 128; the exact law of the height by its recursion."""
    block = published("stack", 128)
    scored = block.scored.sum(1)
    law = np.zeros(66)
    law[0] = 1.0
    for step in range(64):
        up = np.full(66, 0.75 if step < 42 else 0.25)
        up[2:] = 0.0 if step == 63 else up[2:]
        up[:2] = 1.0
        law = np.concatenate([[0.0], (law * up)[:-1]]) + np.concatenate([(law * (1 - up))[1:], [0.0]])
    exact = float(law @ np.arange(66))
    assert abs(exact - 10.9) < 0.2 and near(scored, exact)  # 10.9 was measured on examples that spread by 6
    assert abs((block.tokens == 101).mean() - 0.41) < 0.005
    assert scored.min() == 2 and 26 <= scored.max() <= 40
    assert (block.tokens[:, 64] == 100).all() and not block.scored[:, :65].any()


def test_stack_asks_for_every_symbol_pushed():
    block = Stack(min_items=64).block(0, 0, rows=300, length=2000)
    episodes = (block.tokens == 101).sum()
    pushes = ((block.tokens < 100) & (block.tokens > 0) & ~block.scored).sum()
    answers = block.scored.sum() - episodes
    assert abs(pushes - answers) < 300 * 20  # all but those of the episodes cut at the row's end
    assert abs(block.scored.mean() - 0.37) < 0.01


def test_stack_picture_is_its_height():
    spec = Stack(min_items=20, max_items=20)
    picture = spec.picture(seed=3, length=60)
    height = (picture >= 0).sum(0)
    tokens, scored = (getattr(spec.block(3, 0, rows=1, length=60), name)[0] for name in ("tokens", "scored"))
    assert picture.shape[1] == 60
    pushes = np.flatnonzero((tokens > 0) & (tokens < 100) & ~scored)
    assert (height[pushes[1:]] - height[pushes[1:] - 1] == 1).all()
    assert (height[(tokens == 101)] == 0).all()


@pytest.mark.parametrize(("pool", "symbols"), [(1, 3), (2, 3), (2, 5), (3, 4), (4, 4)])
def test_floor_of_a_string_is_the_mixture_over_all_pools(pool, symbols):
    """By brute force: the mean over every pool of that size of the probability of the string."""
    pools = list(itertools.combinations(range(symbols), pool))
    rng = np.random.default_rng(5)
    for _ in range(20):
        tokens, nats = draw_symbols(rng, 5, pool, 0, symbols, [])
        exact = np.mean([pool ** -len(tokens) if set(tokens) <= set(some) else 0.0 for some in pools])
        assert math.isclose(math.exp(-sum(nats)), exact, rel_tol=1e-9)


def test_variety_sets_the_share_of_different_symbols():
    for variety, share in ((0.5, 0.5 * (1 - math.exp(-2))), (0.25, 0.25)):
        spec = Set(variety=variety, min_items=64, packed=False, end_token=False)
        assert abs(spec.block(0, 0, rows=500, length=130).scored.sum(1).mean() / 64 - share) < 0.01


def test_delete_asks_for_a_symbol_that_is_there():
    block = Delete(packed=False, end_token=False, min_items=2).block(0, 0, rows=500, length=140)
    np.testing.assert_array_equal(block.scored.sum(1), block.info["items"] - 1)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("delete:end_token=false", "2 or more without end_token"),
        ("union:min_items=1", "2 to 65536"),
        ("reverse:min_items=9,max_items=8", "1 to max_items = 8"),
        ("stack:readout=top", "one of every, final"),
    ],
)
def test_wrong_fields_of_the_seven(text, allowed):
    with pytest.raises(SpecError, match=allowed):
        get(text)


@settings(max_examples=25, deadline=None)
@given(
    cls=st.sampled_from([Identity, Reverse, Sort, Set, Union, Delete, Stack]),
    least=st.integers(2, 20),
    more=st.integers(0, 20),
    symbols=st.integers(3, 60),
    end=st.booleans(),
    extra=st.integers(0, 30),
)
def test_every_row_holds_a_whole_episode_of_what_fits(cls, least, more, symbols, end, extra):
    spec = cls(min_items=least, max_items=least + more, symbols=symbols, end_token=end, packed=False)
    block = spec.block(0, 0, rows=20, length=spec.shortest_row + extra)
    assert block.info["items"].min() >= least and block.info["items"].max() <= least + more
    assert block.scored.any(1).all()
    if end:
        ends = block.scored & (block.tokens == symbols + 1)
        assert (ends.sum(1) == 1).all()
