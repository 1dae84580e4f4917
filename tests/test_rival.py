"""The rival: ratios of compute by hand, the published recipe at a budget, and the study end to end."""

import json
import math

import numpy as np
import pytest
from study_tools import REAL, refuse_to_train, write_data

from uprior import studies
from uprior.errors import SpecError
from uprior.files import read_lines
from uprior.fits import Bounded, compute_to_reach
from uprior.studies._ratio import Curve, compare_on, curve_of, overall
from uprior.studies.rival import ROLES, VARIANTS, Rival

# ------------------------------------------------------------------ ratios


def test_compute_to_reach_interpolates_in_log_compute_and_tells_its_bounds():
    compute, bits = np.array([1e3, 1e5, 1e6]), np.array([6.0, 4.0, 3.0])
    assert compute_to_reach(compute, bits, 5.0) == Bounded(1e4)
    assert compute_to_reach(compute, bits, 4.0) == Bounded(1e5)
    assert compute_to_reach(compute, bits, 6.5) == Bounded(1e3, "<=")
    assert compute_to_reach(compute, bits, 6.0) == Bounded(1e3)
    assert compute_to_reach(compute, bits, 2.0) == Bounded(1e6, ">=")
    assert compute_to_reach(compute, np.array([6.0, 4.0, 5.0]), 4.5).value == pytest.approx(10**4.5)  # the first time


def test_bounds_of_a_ratio():
    assert Bounded(8.0).over(Bounded(2.0)) == Bounded(4.0)
    assert Bounded(8.0, ">=").over(Bounded(2.0, "<=")) == Bounded(4.0, ">=")
    assert Bounded(8.0).over(Bounded(2.0, ">=")) == Bounded(4.0, "<=")
    assert Bounded(8.0, ">=").over(Bounded(2.0, ">=")).bound == "?"


def falling(first, *, seeds=1, windows=50, noise=0.0):
    """Bits that fall by one for every tenfold compute, to 3 at 1e6 times ``first``: an arm that needs ``first`` times as much."""
    compute = first * 10.0 ** np.arange(1, 7)
    rng = np.random.default_rng(0)
    base = 9.0 - np.arange(1, 7)[None, :, None] + noise * rng.standard_normal((seeds, 1, windows))
    return Curve(compute, np.broadcast_to(base, (seeds, 6, windows)))


def test_the_ratio_of_shifted_curves_is_the_shift_and_its_steps_multiply_to_it():
    curves = {"rival": falling(24.0), "b": falling(12.0), "c": falling(3.0), "ours": falling(1.0)}
    found = compare_on(curves, "test")
    assert found["level"] == 3.0 and found["ratio"]["value"] == pytest.approx(24) and found["ratio"]["bound"] == "="
    assert [step["value"] for step in found["steps"]] == pytest.approx([2, 4, 3])
    assert math.prod(step["value"] for step in found["steps"]) == pytest.approx(found["ratio"]["value"])
    assert found["ratio"]["low"] == pytest.approx(24) and found["ratio"]["high"] == pytest.approx(24)
    assert [point["value"] for point in found["curve"]] == pytest.approx([24] * len(found["curve"]))


def test_intervals_widen_with_windows_that_differ_and_bounds_are_told():
    rival, ours = falling(10.0), falling(1.0)
    apart = Curve(ours.compute, ours.bits - 0.5 + np.linspace(-1, 1, 50))
    found = compare_on({"rival": rival, "ours": apart}, "test")["ratio"]
    assert found["value"] == pytest.approx(10**1.5) and 20 < found["low"] < 28 < 36 < found["high"] < 50
    short = Curve(ours.compute[:3], ours.bits[:, :3])  # never comes down to 3
    assert compare_on({"rival": rival, "ours": short}, "test")["ratio"] == {
        "value": pytest.approx(1e4), "bound": "<=", "low": pytest.approx(1e4), "high": pytest.approx(1e4)
    }  # fmt: skip
    ahead = Curve(ours.compute, ours.bits - 6)
    assert compare_on({"rival": rival, "ours": ahead}, "test")["ratio"]["bound"] == ">="
    assert overall([{"value": 2.0, "bound": "="}, {"value": 8.0, "bound": ">="}]) == {
        "geometric_mean": pytest.approx(4.0), "smallest": {"value": 2.0, "bound": "="}
    }  # fmt: skip


def test_a_curve_joins_runs_of_all_budgets_and_leaves_out_step_0():
    def record(budget, tokens, bits, seed=0):
        return {"file": "a", "seed": seed, "budget": budget, "tokens": tokens, "train_flops": 5 * tokens,
                "generation_flops": tokens, "window_bits": [bits, bits + 1]}  # fmt: skip

    records = [
        record(20, 0, 9.0),
        record(20, 10, 7.5),
        record(20, 20, 6.0),
        record(10, 10, 7.0),
        {**record(5, 5, 1), "file": "b"},
    ]
    curve = curve_of(records, "a")
    assert curve.compute.tolist() == [60, 120] and curve.mean().tolist() == [7.5, 6.5]


# ------------------------------------------------------------------ the published recipe


def test_the_published_recipe_is_brought_to_the_budget():
    study = Rival(tokens=16_000 * 256, rates=(1.0, 3.0), rows=20, model="llama-1m")
    trials = {trial.arm: trial for trial in study._rivals(0)}
    assert list(trials) == [f"{v}, rate x{r}" for v in VARIANTS for r in (1, 3)][:-1]
    recipe = trials["published batches, rate x3"].recipe
    assert recipe.learning_rate == pytest.approx(3 * 3e-4 * 640 / 128)
    assert (recipe.first_rows, recipe.rows, recipe.weight_decay, recipe.beta2, recipe.schedule) == (
        50,
        500,
        0.0,
        0.999,
        "constant",
    )
    assert (recipe.warmup, recipe.grow_from, recipe.grow_to) == (1 / 16, 1 / 32, 3 / 32)
    stream = trials["published batches, rate x1"].stream()
    assert stream.rows_before(10) == 500 and stream.rows_before(11) == 550  # 16,000 rows: growth begins at row 500
    ours = trials["batches as ours, rate x1"].recipe
    assert (ours.first_rows, ours.rows) == (2, 20) and ours.grow_to == recipe.grow_to
    unscaled = trials["ramps as published, rate x1"]
    assert unscaled.recipe.warmup * 16_000 == pytest.approx(1_000_000)
    assert unscaled.stream().rows_before(320) == 16_000  # batches stay at 50
    training = unscaled.training(unscaled.stream())
    assert training.rate(319) == pytest.approx(3e-4 * 5 * 320 / training.warmup_steps) and training.warmup_steps > 2_000


def test_our_recipe_may_have_a_smaller_budget_than_the_rival():
    study = Rival(tokens=4_096_000, our_tokens=512_000, ladder=4, points=6, rates=(1.0,), variants=VARIANTS[:1])
    assert [trial.tokens for trial in study._ladder(ROLES[3], 0)] == [64_000, 128_000, 256_000, 512_000]
    (rival,) = study._rivals(0)
    assert rival.tokens == 4_096_000 and rival.evaluate_at[0] == 64_000 and rival.evaluate_at[-1] == 4_096_000
    with pytest.raises(SpecError, match=r"our_tokens = 2 is not allowed; allowed: 0 to 1 \(tokens\)"):
        Rival(tokens=1, our_tokens=2)


def test_wrong_variants_are_told():
    with pytest.raises(SpecError, match="published batches, batches as ours"):
        Rival(variants=("as published",))


# ------------------------------------------------------------------ the study


def test_the_study_end_to_end_and_once(tmp_path, monkeypatch):
    options = {
        "data": write_data(tmp_path / "data"), "model": "32x1", "length": "32", "positions": "6", "rows": "10", "show": "false",
        "tokens": "4k", "our-tokens": "2k", "ladder": "3", "points": "4", "seeds": "2", "rates": "1",
        "variants": ["batches as ours", "published batches"],
        "rival": "buffered:source=(random_lstm:hidden=8),spin_up=2", "chains": "iterated:source=(random_lstm:hidden=8)",
        "source": "dyck",
    }  # fmt: skip
    study = studies.get("rival", options)
    out = tmp_path / "out"
    study.run(out)
    summary = json.loads((out / "rival.json").read_text())
    records = read_lines(out / "records.jsonl")
    assert summary["chosen"] == summary["tuning"][0]["arm"] and len(summary["tuning"]) == 2
    assert {one["file"] for one in summary["sets"]} == set(REAL)
    for role in ROLES[1:]:
        ends = {(r["seed"], r["budget"]) for r in records if r["role"] == role}
        assert ends == {(seed, budget) for seed in (0, 1) for budget in (500, 1000, 2000)}
    rival = [r for r in records if r["role"] == "rival"]
    assert {r["arm"] for r in rival} == {summary["chosen"]} and {r["seed"] for r in rival} == {0, 1}
    assert len({r["tokens"] for r in rival}) >= 2
    one = summary["sets"][0]
    compute, bits = one["curves"]["rival"]
    assert one["level"] == pytest.approx(min(bits)) and one["needed"]["rival"]["value"] <= max(compute) * (1 + 1e-9)
    page = (out / "rival.md").read_text()
    assert (
        "4 thousand tokens at most each, with our recipe 2 thousand" in page
        and "On each real set" in page
        and "With one seed" not in page
    )
    assert all((out / name).exists() for name in ("rival-curves.svg", "rival-ratio.svg", "report.html"))
    refuse_to_train(monkeypatch)
    study.run(out)
    assert read_lines(out / "records.jsonl") == records


def test_first_weights_that_were_fitted_are_charged_for_it_and_count_untrained(tmp_path):
    options = {
        "data": write_data(tmp_path / "data"), "model": "32x1-matching", "length": "32", "positions": "6", "rows": "10",
        "show": "false", "tokens": "1k", "our-tokens": "600", "ladder": "2", "points": "2", "rates": "1",
        "variants": ["batches as ours"], "rival": "buffered:source=(random_lstm:hidden=8),spin_up=2", "chains": "dyck",
        "source": "dyck", "first-weights-flops": "1e9",
    }  # fmt: skip
    out = tmp_path / "out"
    studies.get("rival", options).run(out)
    for record in read_lines(out / "records.jsonl"):
        ours = record["role"] not in ("rival", "tuning")
        assert (record["train_flops"] > 1e9 * ours) == (record["tokens"] > 0) and (ours or record["tokens"])
    one = json.loads((out / "rival.json").read_text())["sets"][0]
    assert one["curves"]["rival"][0][0] < 1e9 == one["curves"]["ours"][0][0] < one["curves"]["ours"][0][1]
    assert "charged 1.0e+09 FLOPs for their fit" in (out / "rival.md").read_text()
