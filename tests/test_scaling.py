"""Power laws: known exponents are found again, a held-out size is predicted, and the study end to end."""

import json

import numpy as np
import pytest
from study_tools import REAL, refuse_to_train, write_data

from uprior import studies
from uprior.errors import SpecError
from uprior.files import read_lines
from uprior.fits import Law, fit_law, per_doubling
from uprior.studies import _laws
from uprior.studies._laws import Points, laws

TRUTH = Law(floor=2.0, size=1.5, alpha=0.35, data=1.0, beta=0.25, n0=4e5, d0=2e6)
SIZES, BUDGETS = np.array([3e4, 1.3e5, 8e5, 2e6, 5e6]), 8e6 / 2.0 ** np.arange(5)
PARAMETERS, TOKENS = (grid.ravel() for grid in np.meshgrid(SIZES, BUDGETS, indexing="ij"))


def test_the_law_by_hand():
    assert TRUTH.at(4e5, 2e6) == pytest.approx(4.5)
    assert TRUTH.at(4e5 * 2**10, 2e6) == pytest.approx(3.0 + 1.5 * 2**-3.5)


def test_known_exponents_are_found_again():
    found = fit_law(PARAMETERS, TOKENS, TRUTH.at(PARAMETERS, TOKENS))
    assert (found.floor, found.alpha, found.beta) == pytest.approx((2.0, 0.35, 0.25), abs=1e-3)
    assert np.allclose(found.at(PARAMETERS, TOKENS), TRUTH.at(PARAMETERS, TOKENS), rtol=1e-6)


def test_a_few_wild_points_move_a_huber_fit_little():
    bits = TRUTH.at(PARAMETERS, TOKENS)
    bits[[3, 11]] *= 1.2
    found = fit_law(PARAMETERS, TOKENS, bits)
    kept = np.delete(np.arange(len(bits)), [3, 11])
    assert np.allclose(found.at(PARAMETERS, TOKENS)[kept], TRUTH.at(PARAMETERS, TOKENS)[kept], rtol=0.01)


def points(noise=0.004, windows=60):
    rng = np.random.default_rng(1)
    truth = TRUTH.at(PARAMETERS, TOKENS) * np.exp(noise * rng.standard_normal(len(PARAMETERS)))
    easy = rng.standard_normal(windows)  # some windows are easier than others, for every run
    return Points(PARAMETERS, TOKENS, [truth[:, None] + 0.3 * (easy - easy.mean())])


def test_the_largest_size_is_held_out_and_predicted(monkeypatch):
    monkeypatch.setattr(_laws, "DRAWS", 40)
    found = laws(points(), "test")
    assert len(found["held_out"]) == 5 and {point["parameters"] for point in found["held_out"]} == {5e6}
    for point in found["held_out"]:
        truth = float(TRUTH.at(point["parameters"], point["tokens"]))
        assert point["predicted"] == pytest.approx(truth, abs=0.08)
        assert point["low"] < point["predicted"] < point["high"]
    assert found["error"] < found["error_of_next_size"] / 2  # the next size is 0.14 bits above
    for name in ("floor", "alpha", "beta"):
        low, high = found["intervals"][name]
        assert low <= getattr(TRUTH, name) <= high, name
    size_slope = found["parameters_doubled"]
    top = TRUTH.at(SIZES, BUDGETS[0])
    assert size_slope["value"] == pytest.approx(per_doubling(SIZES, top), abs=0.03)
    assert size_slope["low"] < size_slope["value"] < size_slope["high"] < 0 and found["tokens_doubled"]["high"] < 0
    assert found == laws(points(), "test")


def test_the_mean_of_sets_weighs_sets_alike():
    two = Points(np.array([1.0]), np.array([1.0]), [np.array([[1.0, 3.0]]), np.array([[4.0]])])
    assert two.bits().tolist() == [3.0]


def test_the_study_end_to_end_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_laws, "DRAWS", 5)
    options = {"data": write_data(tmp_path / "data"), "sizes": ["32x1", "32x2", "64x1", "64x2"], "length": "32", "positions": "6",
               "rows": "4", "show": "false", "tokens": "1k", "ladder": "3", "source": "dyck", "base_width": "64",
               "optimizer": "adamw"}  # fmt: skip
    study = studies.get("scaling", options)
    out = tmp_path / "out"
    study.run(out)
    summary = json.loads((out / "scaling.json").read_text())
    records = read_lines(out / "records.jsonl")
    assert len(records) == 4 * 3 * len(REAL)
    assert {one["file"] for one in summary["sets"]} == set(REAL)
    largest = max(r["parameters"] for r in records)
    held = summary["sets"][0]["held_out"]
    name = summary["sets"][0]["file"]
    measured = [r["bits_mean"] for r in records if (r["parameters"], r["file"]) == (largest, name)]
    assert [point["bits"] for point in held] == pytest.approx(measured, abs=1e-3)
    page = (out / "scaling.md").read_text()
    assert "mean of all sets" in page and "scaling.svg" in page and "width 64" in page
    assert "<svg" in (out / "scaling.svg").read_text() and (out / "report.html").exists()
    config = json.loads(next((out / "runs").glob("64x2-*/config.json")).read_text())
    assert config["training"]["base_width"] == 64
    refuse_to_train(monkeypatch)
    study.run(out)
    assert read_lines(out / "records.jsonl") == records


def test_too_few_or_wrong_sizes_are_told():
    with pytest.raises(SpecError, match="four different models"):
        studies.get("scaling", {"sizes": ["32x1", "64x1", "96x1"]})
    with pytest.raises(SpecError, match="WIDTHxLAYERS"):
        studies.get("scaling", {"sizes": ["32x1", "64x1", "96x1", "100x1"]})
