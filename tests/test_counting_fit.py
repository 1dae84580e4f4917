"""What the counting start computes, by hand and against its weights; its fit; and the study of it."""

import json

import numpy as np
import pytest
import torch
from study_tools import DEVELOPMENT, write_data

import uprior
from uprior import studies
from uprior.evals.model import ModelPredictor
from uprior.files import read_lines
from uprior.models.counting import FIRST_SHARE, HEIGHTS, KIND_LAGS, KIND_SIZE, LAGS, SHARES, SLOPE, SPREAD
from uprior.rng import generator
from uprior.sources import PitmanYor
from uprior.studies import _counts
from uprior.studies._counts import Numbers, bits, fit_flops, fitted, mean_bits, places_in

PACKAGE = Numbers.in_the_package()
NO_KINDS = [[0.0] * KIND_LAGS] * 2


def rows_of(seed, count=24, length=256):
    return (
        uprior.Stream(PitmanYor(), seed=seed, batch_size=count, length=length, vocab=256)
        .batch(0)
        .tokens.astype(np.uint8)
    )


def test_what_agrees_by_hand():
    other = KIND_SIZE + 2  # of another kind
    row = np.array([[1, other, 3, 1, other, 3, 1, other]], np.uint8)
    places, where = places_in(row, 6, 1, generator("places"))
    assert where.tolist() == [[0, 6]] and places.came.tolist() == [other]
    assert places.follows.tolist() == [[other, 3, 1, other, 3, 1, other]]
    last, before = 1 << LAGS, 2 << LAGS  # of one kind with the last symbol, 1, and with the one before, 3
    later = 1 << (LAGS + KIND_LAGS)
    assert places.agrees.tolist() == [[1 | last, before, last, 0b1111 | last | before, before, last, later]]


def test_one_symbol_alone_costs_what_the_bends_say():
    """All that was found is one symbol: its logit is the slope and all heights, that of the 255 others next to nothing."""
    alone = Numbers.of([[1.0] * LAGS] * 2, NO_KINDS, SHARES, HEIGHTS, SLOPE, [1e-9] * len(SPREAD))
    places, _ = places_in(np.full((1, 64), 9, np.uint8), 40, 8, generator("places"))
    score = SLOPE + sum(HEIGHTS)
    assert bits(alone, places).tolist() == pytest.approx(
        [np.log2(1 + 255 * np.exp(-score))] * 8, rel=0.3
    )  # bends are soft


def test_what_is_spread_favours_neighbours():
    """After 9 alone, what came is new: it costs less in the block of 9 than elsewhere."""
    spread = Numbers.of([[1.0] * LAGS] * 2, NO_KINDS, SHARES, HEIGHTS, SLOPE, [0.01] * len(SPREAD))
    row = np.full((3, 64), 9, np.uint8)
    row[:, -1] = (8, 15, 200)
    places, _ = places_in(row, 62, 1, generator("places"))
    near, less, far = bits(spread, places).tolist()
    assert near < less - 0.2 < far - 1


def test_two_sums_are_mixed():
    """Where one sum sees the last symbol alone and the other all places alike, shares lie between theirs."""
    row = np.array([[1, 2, 1, 2, 1, 3, 3, 3, 3, 1, 2]], np.uint8)  # after 1: 2, 2, 3; all in all 3 of 9 are 2
    places, _ = places_in(row, 9, 1, generator("places"))
    flat, sharp = [0.0] * LAGS, [20.0] + [0.0] * (LAGS - 1)
    one = [Numbers.of(logits, NO_KINDS, SHARES, HEIGHTS, SLOPE, [1e-9] * len(SPREAD)) for logits in (
        [sharp, sharp], [sharp, flat], [flat, flat]
    )]  # fmt: skip
    cost = [bits(numbers, places).item() for numbers in one]
    assert 0.5 < FIRST_SHARE < 1 and cost[0] < cost[1] < cost[2]


def test_without_logits_it_is_a_function_of_frequencies():
    flat = Numbers.of([[0.0] * LAGS] * 2, NO_KINDS, SHARES, HEIGHTS, SLOPE, [0.01] * len(SPREAD))
    one = np.array([[3, 3, 3, 5, 3, 3, 5, 3, 3, 3, 5]], np.uint8)  # 3, 3, 5, 3, 3, 5, 3, 3, 3 followed something
    mixed, _ = places_in(one, 9, 1, generator("places"))
    other, _ = places_in(np.ascontiguousarray(one[:, [0, 3, 6, 1, 2, 4, 5, 7, 8, 9, 10]]), 9, 1, generator("places"))
    assert bits(flat, mixed) == pytest.approx(bits(flat, other).item())


def test_the_weights_compute_this_function():
    rows = rows_of(0, 12)
    places, where = places_in(rows, 192, 16, generator("places"))
    costs = ModelPredictor(uprior.build("llama-6m-counting", context=256)).bits(rows).bits[where[:, 0], where[:, 1]]
    exact = bits(PACKAGE, places).numpy()
    assert np.corrcoef(costs, exact)[0, 1] > 0.97
    assert abs(costs.mean() - exact.mean()) < 0.15


def test_a_fit_is_a_pure_function_and_helps_on_rows_it_never_saw():
    seen, unseen = (places_in(rows_of(seed), 192, 8, generator("places", seed))[0] for seed in (1, 2))
    begin = Numbers.of([[1.0] * LAGS] * 2, NO_KINDS, (1e-4, 1e-3, 1e-2, 0.1), [2.0] * 3, 3.0, [0.01] * len(SPREAD))
    first, again = (fitted(begin, [(1.0, 64, seen)], steps=25, rate=0.1, room=170) for _ in range(2))
    assert torch.equal(first.logits, again.logits) and torch.equal(first.slope, again.slope)
    assert mean_bits(first, unseen) < mean_bits(begin, unseen) - 0.02
    assert mean_bits(first, unseen, room=40) > mean_bits(first, unseen)  # few dimensions are noise


def test_what_a_fit_takes_is_counted():
    places, _ = places_in(rows_of(0, 2), 192, 4, generator("places"))
    one = 20 * 255 + 2 * 256**2 + 40 * 256  # sums over 255 places, the spread, four bends
    assert fit_flops([(1.0, 5, places)], 2) == 3 * 2 * 5 * one
    assert fit_flops([(1.0, 100, places), (0.5, 1, places)], 1) == 3 * 9 * one  # there are eight places


def test_the_study_fits_each_part_once_and_tells_what_it_found(tmp_path, monkeypatch):
    options = {
        "data": write_data(tmp_path / "data"), "source": "code_page", "rows": "8",
        "against": "mixture:sources=(pitman_yor,dyck),shares=(2,1)",
        "context": "128", "long_context": "160", "steps": "3", "windows": "3", "model": "", "docs": str(tmp_path / "docs"),
    }  # fmt: skip
    study, out = studies.get("counting-fit", options), tmp_path / "out"
    study.run(out)
    summary = json.loads((out / "counting-fit.json").read_text())
    assert [record["fit"] for record in summary["records"]] == [
        "the source", "mixture", "pitman_yor", "dyck", "development sets",
    ]  # fmt: skip
    rows = 500 * 8 * 128 + 500 * 2 * 160
    assert summary["records"][2]["flops"] > rows  # which cost as much, whatever simple source writes them
    assert summary["records"][2]["flops"] == summary["records"][3]["flops"]
    assert set(summary["records"][0]["bits"]) == set(DEVELOPMENT) == set(summary["beside"]["ctw"])
    page = (tmp_path / "docs" / "counting-fit.md").read_text()
    assert "fitted to dyck" in page and "in the package" in page and str(tmp_path) not in page
    records = read_lines(out / "records.jsonl")
    monkeypatch.setattr(_counts, "fitted", lambda *_, **__: pytest.fail("what is there was fitted again"))
    study.run(out)
    assert read_lines(out / "records.jsonl") == records
