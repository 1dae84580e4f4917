"""Many questions, few seeds: corrections, power, and the numbers that stand beside data saving."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior.statistics import (
    area_under_curve,
    data_saving,
    detectable_effect,
    forgetting,
    holm,
    matched_saving,
    paired_bootstrap,
    paired_difference,
    paired_p_value,
    permutation_p_value,
    power,
    retention,
    saving_interval,
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


def test_student_s_p_by_hand() -> None:
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = sqrt(12); with two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    found = paired_p_value(np.array([3.0, 4.0, 5.0]), np.array([2.0, 2.0, 2.0]))
    assert found == pytest.approx(1 - math.sqrt(12 / 14))
    assert paired_p_value(np.array([2.0, 2.0]), np.array([1.0, 1.0])) == 0.0


def test_flipped_signs_by_hand() -> None:
    def p(*differences: float) -> float:
        return permutation_p_value(np.array(differences), np.zeros(len(differences)))

    assert p(1.0, 2.0) == 0.5 and p(0.1, 0.2, 0.3, 0.4, 0.5) == 2 / 32 and p(0.0, 0.0) == 1.0
    assert p(3.0, -1.0, 1.0) == 0.75  # sums 3 1 5 3 and their negatives: all but +-1 are as far as the 3 that came out
    assert math.isnan(p(1.0))


@given(st.lists(st.integers(-24, 24), min_size=2, max_size=7), st.floats(0.01, 100))
def test_flipped_signs_are_every_pattern_once_in_any_unit(differences: list[int], unit: float) -> None:
    d, none = np.array(differences) / 8, np.zeros(len(differences))
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    found = permutation_p_value(d, none)
    assert found == np.mean([one >= abs(sum(d)) for one in sums]) and found >= 2 / 2 ** len(d)
    assert found == permutation_p_value(none, d) == permutation_p_value(-unit * d, none)


def test_flipped_signs_of_many_seeds_are_sampled() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    ahead, level = rng.normal(1, 1, 20), rng.normal(0, 1, 20)
    for difference in (ahead, level - level.mean() + 0.3):
        found = permutation_p_value(difference, np.zeros(20))
        assert found == permutation_p_value(difference, np.zeros(20))
        assert found == pytest.approx(paired_p_value(difference, np.zeros(20)), abs=0.03)
    assert permutation_p_value(np.ones(40), np.zeros(40)) == 1 / 4096


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


@pytest.mark.parametrize(
    ("warm_up", "needed", "total", "rate", "saving"),
    [(500, 16_350, 25_000, 17.3, 0.326), (500, 6_425, 10_000, 7.15, 0.3075)],
)
def test_reported_rates_of_substitution(warm_up: int, needed: int, total: int, rate: float, saving: float) -> None:
    """Hu et al.: 17.3 and 33 % of 1 B parameters; 7.15 and 31 % of 160 M, which fit 500 of 10,000 steps."""
    tokens = np.array([0.0, needed, total])
    scratch, warm = np.array([9.0, 5.0, 3.0]), np.array([8.0, 3.0, 2.0])
    assert substitution_rate(tokens, scratch, warm, warm_up) == pytest.approx(rate)
    assert 1 - (warm_up + needed) / total == pytest.approx(saving)
    assert data_saving(tokens, scratch, warm) - warm_up / total == pytest.approx(saving)


def test_intervals_of_rate_and_saving_are_one_in_two_units() -> None:
    tokens = np.array([0.0, 50.0, 100.0])
    noise = np.random.Generator(np.random.Philox(3)).normal(0, 0.3, (2, 3, 3, 20))
    scratch, warm = np.array([8.0, 4.0, 2.0])[:, None] + noise[0], np.array([7.0, 3.0, 1.5])[:, None] + noise[1]
    saving = saving_interval(tokens, scratch, warm, key="same", draws=200)
    measure = partial(substitution_rate, tokens, warmup_tokens=20.0)
    rate = paired_bootstrap(measure, scratch, warm, key="same", draws=200)
    assert (rate.value, rate.low, rate.high) == pytest.approx((5 * saving.value, 5 * saving.low, 5 * saving.high))
    assert saving.low < saving.value < saving.high


def test_matched_schedules_over_seeds() -> None:
    budgets = np.array([1.0, 4.0, 16.0])
    scratch = np.array([[5.0, 4.0, 3.0], [5.2, 4.2, 3.2]])
    warm = scratch - np.array([[0.5], [0.25]])
    found = paired_bootstrap(
        partial(matched_saving, budgets), scratch[..., None], warm[..., None], key="test", draws=200
    )
    # The seeds' own savings are 1 - 4 ** -0.5 and 1 - 4 ** -0.25, and those of their mean 1 - 4 ** -0.375.
    assert (found.low, found.value, found.high) == pytest.approx([1 - 4**-x for x in (0.25, 0.375, 0.5)])


@given(st.lists(st.floats(0, 8), min_size=2, max_size=6), st.floats(0.1, 100))
def test_the_area_lies_within_its_curve_and_knows_no_unit_of_tokens(bits: list[float], unit: float) -> None:
    tokens, curve = np.arange(len(bits), dtype=np.float64) ** 2, np.array(bits)
    area = area_under_curve(tokens, curve)
    assert min(bits) - 1e-9 <= area <= max(bits) + 1e-9
    assert area_under_curve(unit * tokens + 3, curve) == pytest.approx(area, abs=1e-9)
    assert area_under_curve(tokens, curve + 1) == pytest.approx(area + 1)


def test_matched_schedules() -> None:
    budgets = np.array([1.0, 4.0, 16.0])
    scratch = np.array([5.0, 4.0, 3.0])
    assert matched_saving(budgets, scratch, scratch - 0.5) == pytest.approx(0.5)  # half a step of factor four earlier
    assert matched_saving(budgets, scratch, scratch + 0.5) == pytest.approx(-0.5)
    assert matched_saving(budgets, scratch, scratch) == 0.0
    assert math.isnan(matched_saving(budgets, scratch, scratch - 3.0))


def test_forgetting_is_what_other_data_cost_more_afterwards() -> None:
    found = forgetting(np.array([4.0, 4.0, 4.0]), np.array([5.0, 6.0, 7.0]))
    assert found.value == 2.0 and found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)


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
