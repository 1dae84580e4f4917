"""Lengths of a warm-up: from runs to page, at toy size, and what the page says of numbers made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study_tools import write_data

from uprior import studies
from uprior.errors import SpecError
from uprior.report.warm_up_length import beats, enough, helps, hurts, verdicts, warm_up_length_pages
from uprior.studies import _laboratory
from uprior.studies._lengths import best_arm, outcome, rules

ARMS = ["1 k tokens", "2 k tokens", "4 k tokens", "8 k tokens"]
STAGES = ["german", "c"]
OPTIONS = {
    "sets": "hindi", "source": "dyck:k=4", "models": "32x2", "longest": "16384", "lengths": "3", "seeds": "2",
    "real_tokens": "2048", "positions": "4", "rates": "2e-3", "held_out": ["elementary_ca", "dyck"],
}  # fmt: skip


def made(curves: dict[str, list[float]], seeds: int = 3) -> list[dict[str, Any]]:
    """Records of runs with these mean bits at three evaluations; seeds and stages lie a little apart, alike for all arms."""
    return [
        {
            "stage": stage, "arm": arm, "seed": seed, "step": 10 * step, "tokens": 1000 * step, "file": stage,
            "bits_mean": value + 0.1 * seed + 0.01 * number * (arm != "scratch"), "learning_rate": 1e-3, "parameters": 100,
            "window_bits": [value + 0.1 * seed - 0.2, value + 0.1 * seed + 0.2],
            "warmup_tokens": 1000 << ARMS.index(arm) if arm in ARMS else 0, "warmup_flops": 1e6, "generation_flops": 1e3,
            "train_flops": 1e6 * step,
        }
        for seed in range(seeds)
        for stage in STAGES
        for number, (arm, values) in enumerate(curves.items())
        for step, value in enumerate(values)
    ]  # fmt: skip


def curves(*ends: float, scratch: float = 4.0, **more: float) -> dict[str, list[float]]:
    last = {"scratch": scratch, **dict(zip(ARMS, ends, strict=True)), **more}
    return {arm: [8.0, (8.0 + end) / 2, end] for arm, end in last.items()}


def signals(own: list[float], held_out: list[float], seeds: int = 3) -> list[dict[str, Any]]:
    """Of a warm-up before its first step and at every length."""
    return [
        {"seed": seed, "step": step, "tokens": 100 * step, "own": a, "held_out": {"ca": b, "tm": b + 1}, "distance": 0.1 * step}
        for seed in range(seeds)
        for step, a, b in zip((0, 10, 20, 40, 80), own, held_out, strict=True)
    ]  # fmt: skip


FALLING = signals([8.0, 6.0, 5.0, 4.9, 4.8], [8.0, 6.0, 5.0, 4.0, 4.1])


def test_toy_run_writes_a_page_and_a_second_run_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    study = studies.get("warm-up-length", OPTIONS | {"data": data, "docs": str(tmp_path / "docs")})
    study.run(out)
    summary = json.loads((out / "warm-up-length.json").read_text())
    (model,) = summary["models"]
    assert model["tokens"] == [4096, 8192, 16384] and model["arms"] == ["4 k tokens", "8 k tokens", "16 k tokens"]
    assert summary["held_out"] == ["elementary_ca"]  # the warm-up is on dyck
    assert model["best_arm"] in model["arms"] and model["controls"] == [
        "random tokens",
        "tables alone",
        "weights same statistics",
    ]
    assert [one["distance"] for one in model["signals"]] == sorted(one["distance"] for one in model["signals"])
    warm_ups = [path for path in (out / "runs").iterdir() if path.name.startswith("warm-up-dyck")]
    assert len(warm_ups) == 2  # one per seed, for all lengths; one rate needs no trial
    page = (tmp_path / "docs" / "warm-up-length.md").read_text()
    assert "32x2" in page and (tmp_path / "docs" / "warm-up-length-32x2.svg").exists() and "copied" in page
    assert (out / "report.html").exists() and "/" + tmp_path.name not in page

    monkeypatch.setattr(_laboratory, "fit", lambda *_, **__: pytest.fail("a finished run was trained again"))
    study.run(out)
    again = json.loads((out / "warm-up-length.json").read_text())
    assert again["models"] == summary["models"]


def test_options_are_checked_and_override_the_budget() -> None:
    assert studies.get("warm-up-length", {"longest": "1M", "rates": "1e-3"}).size.longest == 1_000_000
    assert studies.get("warm-up-length", {"budget": "published"}).size.models == ("gpt-neox-125m",)
    with pytest.raises(SpecError, match="two sides"):
        studies.get("warm-up-length", {"lengths": "2"})
    with pytest.raises(SpecError, match="models"):
        studies.get("warm-up-length", {"models": "127x2"})


def test_the_best_is_the_lowest_in_the_mean_over_stages_and_everything_is_beside_it() -> None:
    records = made(curves(3.9, 3.5, 3.6, 3.8, **{"random tokens": 3.7}))
    assert best_arm(records, STAGES, ARMS) == "2 k tokens"
    found = outcome(records, FALLING, STAGES, ARMS, ["random tokens"])
    assert found["tokens"] == [1000, 2000, 4000, 8000] and found["best_arm"] == "2 k tokens"
    second = found["final"][1]
    assert second["difference"] == pytest.approx(3.52 - 4.0) and second["per_seed"] == pytest.approx([-0.48] * 3)
    assert found["scratch"]["final"] == pytest.approx(4.1)
    # The area of 8, (8 + end)/2, end at equal distances is 6 - ... = 4 + end/2: half of the difference at the end, and offsets.
    assert found["area"][1]["difference"] == pytest.approx(-0.25 + 0.02)
    assert found["against_best"][0]["difference"] == pytest.approx(3.75 - 3.52)
    assert 2000 < found["turn"]["final"]["best"] < 4000
    assert found["longest_area"]["difference"] == pytest.approx(0.15 + 0.02)


def test_rules_stop_every_seed_where_its_own_losses_say_so() -> None:
    # Own: doublings bring 1 of 3, 0.1 of 3.1: the third length. Held out: it falls, falls, rises: the fourth.
    assert rules(FALLING) == {"own loss": {0: 2, 1: 2, 2: 2}, "held-out sources": {0: 3, 1: 3, 2: 3}}
    none = [one | {"held_out": {}} for one in FALLING]
    assert list(rules(none)) == ["own loss"]
    records = made(curves(3.9, 3.5, 3.6, 3.8))
    choices = {one["name"]: one for one in outcome(records, FALLING, STAGES, ARMS, [])["choices"]}
    assert choices["stop by own loss"]["tokens"] == [4000] * 3
    assert choices["stop by own loss"]["cost"]["difference"] == pytest.approx(3.63 - 3.52)
    assert choices["always the shortest"]["cost"]["difference"] == pytest.approx(3.91 - 3.52)
    assert choices["stop by held-out sources"]["gain"]["difference"] == pytest.approx(3.84 - 4.0)


def page_of(records: list[dict[str, Any]], seen: list[dict[str, Any]], controls: list[str]) -> str:
    model = {"model": "32x2", "carried": [], **outcome(records, seen, STAGES, ARMS, controls)}
    summary = {
        "study": {"budget": "minutes", "source": {"name": "dyck"}, "warm_rate": 1e-3},
        "origin": {"command": "uprior run warm-up-length --out /x/y", "commit": "c", "versions": {"python": "3"}},
        "sizes": {"real_tokens": 2000, "limit_bytes": 0},
        "sets": STAGES,
        "models": [model],
        "run_seconds": 60.0,
    }
    return warm_up_length_pages(summary, records)["warm-up-length.md"].decode()


def test_the_page_turns_with_the_numbers() -> None:
    turned = page_of(made(curves(3.9, 3.5, 3.6, 3.8, control=3.7)), FALLING, ["control"])
    assert "| reproduced |" in turned and "--out y" in turned
    assert "best after 500 steps" in turned and "longest − best: +0.320" in turned
    flat = page_of(made(curves(4.2, 4.1, 4.1, 4.0, control=3.9)), FALLING, ["control"])
    assert "some length helps" in flat and "| reproduced |" not in flat
    assert "not reproduced: control is as good" in flat and "the best is the longest tried" in flat


def test_one_seed_says_that_it_cannot_say() -> None:
    page = page_of(
        made(curves(3.9, 3.5, 3.6, 3.8), seeds=1), signals([8, 6, 5, 4.9, 4.8], [8, 6, 5, 4, 4.1], seeds=1), []
    )
    assert "| reproduced |" not in page and "One seed: nothing is known about the spread" in page
    assert "not testable at this size: one seed" in page


def interval(value: float, low: float | None, high: float | None, p: float = 0.5) -> dict[str, Any]:
    return {"arm": "a", "difference": value, "low": low, "high": high, "p_adjusted": p}


def test_verdicts_follow_intervals() -> None:
    assert helps([interval(-0.1, -0.2, 0.0, 0.04)], 4.0) == "reproduced"
    assert helps([interval(-0.1, -0.2, 0.0, 0.06)], 4.0).endswith("the seeds do not tell it from none")
    assert helps([interval(-0.1, -0.2, -0.01, 0.06)], 4.0).endswith("how many lengths were tried (Holm)")
    assert helps([interval(0.1, -0.03, 0.2)], 4.0) == "not reproduced"  # 1 % of 4 bits is excluded
    assert helps([interval(-0.1, None, None, float("nan"))], 4.0).startswith("not testable")

    inside, end = {"at_longest": 0.1, "best": 2e6}, {"at_longest": 0.9, "best": 2e6}
    assert hurts(interval(0.1, 0.01, 0.2), inside, 4.0) == "reproduced"
    assert hurts(interval(0.0, -0.01, 0.2), inside, 4.0).startswith("not testable")
    assert hurts(interval(0.0, -0.01, 0.03), inside, 4.0).startswith("not reproduced")
    assert hurts(interval(0.0, 0.0, 0.0), end, 4.0).endswith("the longest tried, 2 million tokens")

    def choice(cost: dict[str, Any], not_stopped: int = 0) -> dict[str, Any]:
        return {"cost": cost, "not_stopped": not_stopped, "tokens": [1, 1]}

    assert enough(choice(interval(0.0, -0.1, 0.1)), -0.3).startswith("yes")
    assert enough(choice(interval(0.0, -0.1, 0.1)), -0.1).startswith("not testable")
    assert enough(choice(interval(0.2, 0.1, 0.3)), -0.3).startswith("no")
    assert enough(choice(interval(0.0, 0.0, 0.0), 2), -0.3).endswith("never stopped")

    assert beats([interval(0.1, 0.05, 0.2), interval(0.3, 0.1, 0.5)]) == "reproduced"
    assert beats([interval(0.1, -0.05, 0.2), interval(0.3, 0.1, 0.5)]).startswith("not testable")
    assert beats([interval(-0.1, -0.2, 0.2), interval(0.3, 0.1, 0.5)]).startswith("not reproduced")


def test_every_verdict_names_its_model() -> None:
    model = {"model": "32x2", **outcome(made(curves(3.9, 3.5, 3.6, 3.8)), FALLING, STAGES, ARMS, [])}
    rows = verdicts(model)
    assert len(rows) == 5 and all(row[0] == "32x2" and len(row) == 5 for row in rows)
