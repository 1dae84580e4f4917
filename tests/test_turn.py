"""Where values over lengths turn, with an interval, and what other choices cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior.rng import generator
from uprior.studies._turn import best_length, cost_of_choice, turn_of

LENGTHS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def parabola(best: float) -> np.ndarray:
    return np.log2(LENGTHS / best) ** 2


@given(st.floats(1.5, 11.0))
def test_the_vertex_of_a_parabola_over_the_logarithm_is_found(best: float) -> None:
    assert best_length(LENGTHS, 3.0 + 0.1 * parabola(best)) == pytest.approx(best, rel=1e-6)


@given(st.lists(st.floats(0.0, 8.0), min_size=5, max_size=5))
def test_the_best_lies_between_the_neighbours_of_the_lowest(values: list[float]) -> None:
    k = int(np.argmin(values))
    assert LENGTHS[max(0, k - 1)] <= best_length(LENGTHS, np.array(values)) <= LENGTHS[min(4, k + 1)]


def test_at_an_end_it_says_so() -> None:
    falling = np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 4.1, 3.0, 2.0, 1.0]])
    turn = turn_of(LENGTHS, falling, key="t")
    assert (turn.best, turn.low, turn.high, turn.at_shortest, turn.at_longest) == (16.0, 16.0, 16.0, 0.0, 1.0)
    assert turn_of(LENGTHS, falling[:, ::-1], key="t").at_shortest == 1.0


def test_the_interval_covers_the_true_turn_and_narrows_with_seeds() -> None:
    def seen(seeds: int) -> tuple[float, float]:
        noise = generator("test turn", seeds).normal(0.0, 0.3, (seeds, 5))
        turn = turn_of(LENGTHS, parabola(5.0) + noise, key="t")
        return turn.low, turn.high

    few, many = seen(4), seen(40)
    assert few[0] < 5.0 < few[1] and many[0] < 5.0 < many[1]
    assert many[1] / many[0] < few[1] / few[0]


def test_a_choice_is_compared_with_what_is_best_on_the_other_seeds() -> None:
    values = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [9.0, 2.0, 3.0]])
    # Without the first or the second seed length 1 is best (means 2, 3 against 5); without the third it is length 0.
    cost = cost_of_choice(values, [0, 0, 0])
    assert cost.value == pytest.approx(((1 - 2) + (1 - 2) + (9 - 9)) / 3) and cost.low < cost.value < cost.high
    alone = cost_of_choice(values[:1], [2])
    assert alone.value == 2.0 and np.isnan(alone.low)
