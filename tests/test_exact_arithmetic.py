"""Arithmetic that gives the same bits everywhere: near the true functions, sums in a stated order, choices by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprior.sources._base import Draw
from uprior.sources._exact import (
    add_product,
    chance_of,
    choose,
    exp,
    kernel,
    normal_quantiles,
    random_words,
    scaled_uniform,
    sigmoid,
    tanh,
)

DRAW = Draw(("test",), "train", 0)


@kernel
def evaluate(x, tanhs, sigmoids, exps):
    for i in range(x.shape[0]):
        tanhs[i], sigmoids[i], exps[i] = tanh(x[i]), sigmoid(x[i]), exp(x[i])


def test_functions_are_near_the_true_ones():
    x = np.linspace(-20, 20, 40001, dtype=np.float32)
    tanhs, sigmoids, exps = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    evaluate(x, tanhs, sigmoids, exps)
    true = x.astype(np.float64)
    assert np.abs(tanhs - np.tanh(true)).max() < 4e-7
    assert np.abs(sigmoids - 1 / (1 + np.exp(-true))).max() < 3e-7
    assert np.abs(exps / np.exp(true) - 1).max() < 3e-7
    assert np.abs(tanhs).max() <= 1
    assert sigmoids.min() >= 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 11), st.integers(1, 40), st.integers(0, 2**32))
def test_product_is_the_product_and_no_row_depends_on_the_others(rows, inner, outer, seed):
    rng = np.random.default_rng(seed)
    left, right, start = (rng.standard_normal(s).astype("f4") for s in ((rows, inner), (inner, outer), (rows, outer)))
    together, alone = start.copy(), start.copy()
    add_product(together, left, right, rows)
    for row in range(rows):
        add_product(alone[row : row + 1], left[row : row + 1], right, 1)
    assert np.array_equal(together, alone)
    # The order of the sum is part of the promise: k = 0, 1, 2, ... onto what was there.
    slow = start.copy()
    for k in range(inner):
        slow = slow + left[:, k : k + 1] * right[k]
    assert np.array_equal(together, slow)


def test_choice_by_hand():
    """Weights 1, 2, 1 at temperature 1; squared, 1, 4, 1, at temperature 1/2."""
    logits = np.log(np.array([1, 2, 1], dtype=np.float32))
    near, weight = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.float32)
    for temperature, uniform, token, probability in (
        (1.0, 0.24, 0, 1 / 4),
        (1.0, 0.26, 1, 1 / 2),
        (1.0, 0.74, 1, 1 / 2),
        (1.0, 0.76, 2, 1 / 4),
        (0.5, 0.16, 0, 1 / 6),
        (0.5, 0.84, 2, 1 / 6),
        (0.0, 0.99, 1, 1.0),
    ):
        found = choose(logits, np.float32(temperature), uniform, near, weight)
        assert found == (token, pytest.approx(probability, rel=1e-6))
        assert chance_of(logits, np.float32(temperature), token) == pytest.approx(probability, rel=1e-6)


def test_tokens_far_below_the_likeliest_are_never_chosen():
    logits = np.array([0, -18, -1], dtype=np.float32)
    near, weight = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.float32)
    assert choose(logits, np.float32(1), 1 - 1e-16, near, weight)[0] == 2
    assert chance_of(logits, np.float32(1), 1) == 0
    assert chance_of(logits, np.float32(1), 0) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-6)
    assert choose(logits, np.float32(0.01), 1 - 1e-16, near, weight) == (0, 1.0)


def test_weights_have_the_moments_they_should():
    table = normal_quantiles().astype(np.float64)
    assert table.shape == (65536,)
    assert np.all(np.diff(table) > 0)
    assert np.array_equal(table, -table[::-1])
    assert np.mean(table**2) == pytest.approx(1, abs=1e-4)
    assert np.mean(table**4) == pytest.approx(3, abs=5e-3)
    words = random_words(DRAW("words"), 100_001)
    assert words.shape == (100_001,)
    spread = scaled_uniform(words, 0.5)
    assert np.abs(spread).max() < 0.5
    assert np.mean(spread.astype(float) ** 2) == pytest.approx(0.5**2 / 3, rel=0.01)
    assert scaled_uniform(np.array([0, 65535], dtype=np.uint16), 1.0).tolist() == [-65535 / 65536, 65535 / 65536]
