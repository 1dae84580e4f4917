"""Many questions, few seeds: corrections, power, and the numbers that stand beside data saving."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior.statistics import (
    detectable_effect,
    holm,
    matched_saving,
    paired_bootstrap,
    paired_difference,
    paired_p_value,
    power,
    retention,
    seeds_needed,
    substitution_rate,
)

P = st.floats(0, 1)


@given(st.lists(P, min_size=1, max_size=8))
def test_holm_is_between_raw_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, found in zip(p, adjusted, strict=True):
        assert raw <= found <= min(1.0, raw * len(p)) + 1e-12
    assert [adjusted[i] for i in np.argsort(p)] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1.0, min(p) * len(p)))


def test_an_unknown_p_is_no_question() -> None:
    found = holm([0.02, math.nan, 0.5])
    assert found[0] == 0.04 and math.isnan(found[1]) and found[2] == 0.5


def test_p_and_interval_agree() -> None:
    first, second = np.array([1.0, 1.4, 0.9]), np.array([0.2, 0.9, 0.5])
    difference = paired_difference(first, second)
    assert paired_p_value(first, second) < 0.05 and difference.low > 0
    wide = first + np.array([0.0, -1.0, 0.6])
    assert paired_p_value(wide, second) > 0.05 and paired_difference(wide, second).low < 0
    assert paired_p_value(first, first) == 1.0 and math.isnan(paired_p_value(first[:1], second[:1]))


@given(st.floats(0.05, 3), st.floats(0.05, 3), st.integers(2, 40))
def test_more_seeds_and_larger_effects_have_more_power(effect: float, spread: float, seeds: int) -> None:
    found = power(effect, spread, seeds)
    assert 0.05 - 1e-9 <= found <= 1 + 1e-9
    assert power(effect, spread, seeds + 5) >= found - 1e-9
    assert power(2 * effect, spread, seeds) >= found - 1e-9


def test_seeds_and_effects_are_each_other_s_inverse() -> None:
    assert seeds_needed(1.0, 1.0) == 10 and seeds_needed(-1.0, 1.0) == 10 and seeds_needed(0.1, 0.0) == 2
    for seeds in (3, 8, 30):
        effect = detectable_effect(0.2, seeds)
        assert seeds_needed(effect + 1e-4, 0.2) == seeds and seeds_needed(effect - 1e-3, 0.2) > seeds
    assert math.isnan(detectable_effect(0.2, 1)) and seeds_needed(1e-6, 1.0) == 10_000


def test_a_warm_up_that_costs_what_it_saves_substitutes_one_for_one() -> None:
    tokens, scratch = np.array([0.0, 50.0, 100.0]), np.array([8.0, 4.0, 2.0])
    warm = np.array([6.0, 2.0, 1.5])  # at scratch's end after 50
    assert substitution_rate(tokens, scratch, warm, 50) == 1.0
    assert substitution_rate(tokens, warm, scratch, 50) == -1.0


def test_matched_schedules() -> None:
    budgets = np.array([1.0, 4.0, 16.0])
    scratch = np.array([5.0, 4.0, 3.0])
    assert matched_saving(budgets, scratch, scratch - 0.5) == pytest.approx(0.5)  # half a step of factor four earlier
    assert matched_saving(budgets, scratch, scratch + 0.5) == pytest.approx(-0.5)
    assert matched_saving(budgets, scratch, scratch) == 0.0
    assert math.isnan(matched_saving(budgets, scratch, scratch - 3.0))


def test_retention() -> None:
    assert retention(5.0, 8.0, 4.0, 4.0) == 0.0 and retention(5.0, 8.0, 5.0, 4.0) == pytest.approx(-1 / 3)
    assert math.isnan(retention(8.0, 8.0, 4.0, 5.0))


def test_bootstrap_leaves_out_what_has_no_value() -> None:
    curves = np.random.Generator(np.random.Philox(1)).normal(4, 1, (3, 2, 10))
    found = paired_bootstrap(
        lambda a, b: math.nan if a[0] > 4 else float(b[0] - a[0]), curves, curves + 1, key="test", draws=200
    )
    assert found.low == pytest.approx(1) and found.high == pytest.approx(1)
    assert math.isnan(paired_bootstrap(lambda a, b: math.nan, curves, curves, key="test", draws=5).low)
