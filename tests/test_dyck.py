"""Dyck languages and their shuffles: published depths and lengths, exact expectations."""

import math

import numpy as np
import pytest
from sampling_tools import close

from uprior.sources.dyck import Dyck
from uprior.sources.shuffle_dyck import ShuffleDyck

# ------------------------------------------------------------------ Dyck


def expected_depths(length, p):
    """Mean depth of an exact row of the Dyck language without depth limit, by the distribution of the depth."""
    depth, means = np.zeros(length + 2), []
    depth[0] = 1.0
    for left in range(length, 0, -1):
        opening = np.full(length + 2, p)
        opening[0], opening[max(left - 1, 1) :] = 1.0, 0.0
        up, down = depth * opening, depth * (1 - opening)
        depth = np.concatenate([[0.0], up[:-1]]) + np.concatenate([down[1:], [0.0]])
        means.append(float(depth @ np.arange(length + 2)))
    return float(np.mean(means))


@pytest.mark.parametrize(("p_open", "published"), [(0.5, 26.6), (0.49, 13.8)])
def test_depth_of_exact_rows(p_open, published):
    expected = expected_depths(2048, p_open)
    assert close(
        Dyck.preset("procedural", p_open=p_open).block(1, 0, rows=800, length=2048).info["mean_depth"], expected
    )
    # The published means are over few rows, which differ from each other by a half.
    assert abs(expected / published - 1) < 0.15


def test_maximum_depth_is_that_of_a_reflected_walk():
    """sqrt(pi T / 2) = 56.7; published, over few rows: 60.6."""
    info = Dyck.preset("procedural").block(2, 0, rows=800, length=2048).info
    assert close(info["max_depth"], math.sqrt(math.pi / 2 * 2048), bias=1.0)


def test_exact_rows_end_in_forced_closers_that_cost_nothing():
    block = Dyck.preset("procedural", p_open=0.49).block(0, 0, rows=400, length=2048)
    closing = (block.tokens[:, ::-1] >= 64).argmin(axis=1)
    assert 17 < closing.mean() < 26  # published: about 22
    assert all(not floor[-n:].any() for floor, n in zip(block.floor_nats, closing - 1, strict=True) if n > 0)


def test_words_have_the_published_lengths():
    tokens = Dyck.preset("hu").block(0, 0, rows=16, length=1 << 15).tokens
    depth = np.where(tokens < 30, 1, -1).cumsum(axis=1)
    length = np.concatenate([np.diff(np.flatnonzero(row == 0), prepend=-1) for row in depth])
    assert close(length, 30.0, bias=0.3)  # 32 without the cap: 1 + (2 * 16 - 1)
    assert close(length == 2, 0.5)
    assert np.median(length) in (2, 4)
    assert (length.max(), depth.max()) == (510, 16)


def test_a_hand_worked_row_of_two_pairs():
    """Rows of four tokens of one type: (()) and ()() with probability 1/2 each, decided by the second token."""
    block = Dyck(k=1, min_types=1, max_types=1).block(0, 0, rows=200, length=4)
    rows = {tuple(row): floor.tolist() for row, floor in zip(block.tokens.tolist(), block.floor_nats, strict=True)}
    assert set(rows) == {(0, 0, 1, 1), (0, 1, 0, 1)}
    for floor in rows.values():
        np.testing.assert_allclose(floor, [0, math.log(2), 0, 0], atol=1e-6)


def test_an_odd_row_is_an_even_one_and_an_opener():
    tokens = Dyck.preset("procedural").block(0, 0, rows=50, length=7).tokens
    depth = np.where(tokens < 64, 1, -1).cumsum(axis=1)
    assert (depth[:, -2] == 0).all()
    assert (depth[:, -1] == 1).all()


# ------------------------------------------------------------------ shuffle-Dyck


def test_shuffle_dyck_depths():
    """The depth is a walk between two walls; its stationary mean is half the cap, 8. Published: 7.8, and 8.7 at the end."""
    info = ShuffleDyck.preset("procedural").block(0, 0, rows=400, length=2048).info
    assert close(info["mean_depth"], 7.8, bias=0.1)
    assert close(info["last_depth"], 8.0)
    hu = ShuffleDyck.preset("hu").block(0, 0, rows=100, length=2048)
    assert hu.info["last_depth"].max() <= 8


def test_nca_never_uses_its_last_type():
    tokens = ShuffleDyck.preset("nca").block(0, 0, rows=50, length=1024).tokens
    assert set(np.unique(tokens % 64)) == set(range(63))


def test_closing_is_uniform_over_types_not_over_brackets():
    """After types 0, 0, 1 have opened, each of the two types closes equally often."""
    tokens = (
        ShuffleDyck(k=2, min_types=2, max_types=2, min_depth=3, max_depth=3).block(0, 0, rows=8000, length=4).tokens
    )
    after = tokens[(tokens[:, :3] == [0, 0, 1]).all(axis=1), 3]
    assert close(after == 2, 0.5)
    assert set(after) == {2, 3}
