"""The sentences of the report, which say what the numbers say; mixtures and curves as the page shows them."""

import math

import numpy as np
from report_tools import SOURCE, make_compare, make_pretrain

from uprior.report.figures import MAX_POINTS, Curve, decimate, draw
from uprior.report.records import gather
from uprior.report.samples import components
from uprior.report.words import compare_claims, pretrain_claim
from uprior.sources import get


def claim_of(tmp_path, **numbers):
    (run,), _ = gather(make_pretrain(tmp_path / "run", **numbers))
    return pretrain_claim(run, "stdlib")


def test_claim_of_a_run_that_helped(tmp_path):
    text = claim_of(tmp_path, start=8.05, end=5.8)
    assert "After 3.28 million tokens" in text and "5.800 ± 0.030" in text and "down from 8.050" in text
    assert "the best baseline, ppmd, needs 4.900, behind" not in text
    assert "the best baseline, ppmd, needs 4.900, better than the model" in text


def test_claim_of_a_run_that_beats_every_baseline(tmp_path):
    assert "ppmd, needs 4.900, behind the model" in claim_of(tmp_path, end=3.0)


def test_claim_of_a_run_that_did_not_help(tmp_path):
    text = claim_of(tmp_path, start=8.05, end=8.3)
    assert "did not help on stdlib" in text and "no better than guessing uniformly" in text


def test_claim_within_the_error_is_no_claim(tmp_path):
    assert "did not help" in claim_of(tmp_path, start=7.05, end=7.0)  # 0.05 bits, and two standard errors are 0.06


def comparison(tmp_path, **numbers):
    (run,), _ = gather(make_compare(tmp_path / "run", **numbers))
    return compare_claims(run)


def test_claims_of_a_warm_up_that_helped(tmp_path):
    saving, end = comparison(tmp_path, lead=0.3, saving=(0.31, 0.2, 0.4))
    assert "with 31 % fewer real tokens (95 % interval 20 to 40 %)" in saving
    assert "the warmed model is better than scratch by 0.075 bits per byte" in end


def test_claims_of_a_warm_up_that_hurt(tmp_path):
    saving, end = comparison(tmp_path, lead=-0.3, saving=(-0.25, -0.4, -0.1))
    assert "did not help" in saving and "with 25 % fewer real tokens (95 % interval 10 to 40 %)" in saving
    assert "the warmed model is worse than scratch by 0.075 bits per byte" in end


def test_claims_that_the_seeds_cannot_decide(tmp_path):
    saving, end = comparison(tmp_path, lead=0.04, saving=(0.05, -0.1, 0.2))
    assert "cannot tell whether the warm-up saves" in saving and "−10 to 20 %" in saving
    assert "cannot tell from none" in end and "better" not in end


def test_claims_without_numbers(tmp_path):
    saving, _ = comparison(tmp_path, saving=(None, None, None))
    assert "no data saving can be told" in saving
    saving, _ = comparison(tmp_path / "other", saving=(0.2, None, None))
    assert "no interval: too few seeds" in saving


# ------------------------------------------------------------------ parts


def test_components_of_nested_mixtures():
    inner = f"({SOURCE})"
    found = list(components(get(f"mixture:sources=(uniform,{inner}),shares=(1,3)").to_dict()))
    assert [(spec["name"], share) for spec, share in found] == [
        ("uniform", "1 of 4 rows"),
        ("pointwise", "4 of 6 rows of 3 of 4 rows"),
        ("constant", "1 of 6 rows of 3 of 4 rows"),
        ("uniform", "1 of 6 rows of 3 of 4 rows"),
    ]
    assert [share for _, share in components(get("uniform").to_dict())] == [""]


def test_decimation_averages_neighbours_and_drops_what_is_no_number():
    curve = decimate(Curve("c", [0.0, 1.0, 2.0], [1.0, math.nan, 3.0]))
    assert (curve.x, curve.y) == ([0.0, 2.0], [1.0, 3.0])
    long = decimate(Curve("c", np.arange(1000.0).tolist(), np.arange(1000.0).tolist()))
    assert len(long.x) <= MAX_POINTS and long.y[:2] == [1.0, 4.0]  # means of 0, 1, 2 and of 3, 4, 5
    assert decimate(Curve("c", [1.0], [math.nan])) is None
    assert draw("n", "t", [Curve("c", [1.0], [math.inf])], x_label="x", y_label="y") is None
