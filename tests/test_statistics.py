"""Statistics of learning curves, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior.statistics import crossings, data_saving, paired_difference, saving_interval, tokens_to_reach

TOKENS = np.array([0.0, 100.0, 200.0, 400.0])
SCRATCH = np.array([8.0, 6.0, 5.0, 4.0])


def test_where_a_curve_comes_down_to_a_target():
    assert tokens_to_reach(TOKENS, SCRATCH, 5.5) == 150
    assert tokens_to_reach(TOKENS, SCRATCH, 9.0) == 0
    assert tokens_to_reach(TOKENS, SCRATCH, 4.0) == 400
    assert math.isnan(tokens_to_reach(TOKENS, SCRATCH, 3.9))


def test_saving_by_hand():
    ahead = np.array([8.0, 5.0, 4.0, 3.0])  # reaches 4.0 at 200 of 400
    assert data_saving(TOKENS, SCRATCH, ahead) == 0.5
    assert data_saving(TOKENS, ahead, SCRATCH) == -0.5  # turned round, the sign turns
    assert data_saving(TOKENS, SCRATCH, SCRATCH) == 0.0


falling = st.lists(st.floats(0.01, 2), min_size=4, max_size=4).map(lambda d: 10 - np.cumsum(d))


@given(falling, falling)
def test_saving_is_antisymmetric_and_bounded(a, b):
    there, back = data_saving(TOKENS, a, b), data_saving(TOKENS, b, a)
    assert -1 <= there <= 1
    assert there == pytest.approx(-back)
    assert (there > 0) == (b[-1] < a[-1]) or there == pytest.approx(0)


def test_student_interval_by_hand():
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975; 2) = 4.302653.
    found = paired_difference(np.array([3.0, 4.0, 5.0]), np.array([2.0, 2.0, 2.0]))
    assert (found.value, found.high) == (2.0, pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6))
    assert math.isnan(paired_difference(np.array([1.0]), np.array([0.0])).low)


def noisy(curve, shift, rng):
    return (curve + shift)[None, :, None] + rng.normal(0, 0.3, (2, 1, 40))


def test_the_saving_interval_holds_its_value_and_shrinks_with_windows():
    rng = np.random.default_rng(0)
    scratch = noisy(SCRATCH, 0.0, rng)
    warm = scratch - 0.5 + rng.normal(0, 0.5, scratch.shape)
    found = saving_interval(TOKENS, scratch, warm, draws=300)
    assert found.low < found.value < found.high
    wide = np.tile(scratch, (1, 1, 25)), np.tile(warm, (1, 1, 25))
    more = saving_interval(TOKENS, *wide, draws=300)
    assert more.value == pytest.approx(found.value)
    assert more.high - more.low < found.high - found.low
    assert saving_interval(TOKENS, scratch, warm, draws=300) == found


def test_crossings_by_hand():
    found = crossings(TOKENS, np.array([-1.0, -1.0, 1.0, -3.0]))
    assert found == [{"at": 150.0, "then_ahead": "baseline"}, {"at": 250.0, "then_ahead": "arm"}]
    assert crossings(TOKENS, np.ones(4)) == []
