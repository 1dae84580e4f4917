"""Procedural data before language: from runs to page, at toy size, and verdicts on published numbers from hand-made ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_tools import write_data

from uprior import studies
from uprior.errors import SpecError, UnknownNameError
from uprior.report.procedural_lm import procedural_lm_pages
from uprior.report.procedural_lm_verdicts import (
    ADDITIVE,
    SUBSTITUTIVE,
    additive_verdict,
    harm_verdict,
    rate_verdict,
    saving_verdict,
    verdict_rows,
)
from uprior.studies import _laboratory
from uprior.studies._replaced import additive, least_saving, strongest_arm, substitutive
from uprior.studies.procedural_lm import RECIPES

OPTIONS = {
    "sets": "python", "sources": "dyck", "model": "32x1", "warm_tokens": "4096", "seeds": "2", "real_tokens": "4096",
    "shares": "0.5", "positions": "4", "rates": "2e-3",
}  # fmt: skip
BUDGETS = {name: [(1000, f"{name}, 0.5 of it"), (2000, name)] for name in ("english", "python")}


def run_of(stage: str, arm: str, seed: int, values: list[float], tokens: int, spent: int) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage, "arm": arm, "seed": seed, "step": step, "tokens": tokens * step // (len(values) - 1), "file": stage,
            "bits_mean": value, "window_bits": [value - 0.2, value + 0.2], "learning_rate": 1e-3, "parameters": 100,
            "warmup_tokens": spent, "warmup_flops": 1e6, "generation_flops": 1e3, "train_flops": 1e6 * step,
        }
        for step, value in enumerate(values)
    ]  # fmt: skip


def made(ends: dict[str, tuple[float, float]], *, apart: float = 0.001, seeds: int = 3) -> list[dict[str, Any]]:
    """Records of arms with these last bits after half of the budget and all of it; seeds that lie ``apart``."""
    return [
        line
        for seed in range(seeds)
        for name in BUDGETS
        for number, (arm, (half, full)) in enumerate(ends.items())
        for stage, tokens, end in ((f"{name}, 0.5 of it", 1000, half), (name, 2000, full))
        for line in run_of(
            stage, arm, seed, [8.0, (8 + end) / 2, end + apart * seed * number], tokens, 500 if arm != "scratch" else 0
        )
    ]


def test_toy_run_writes_a_page_and_a_second_run_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    study = studies.get("procedural-lm", OPTIONS | {"data": data, "docs": str(tmp_path / "docs")})
    study.run(out)
    summary = json.loads((out / "procedural-lm.json").read_text())
    assert summary["arms"] == ["dyck, blocks"] and summary["strongest"] == "dyck, blocks"
    assert summary["controls"] == ["random tokens", "shuffled sequences"]
    assert summary["budgets"] == {"python": [[2048, "python, 0.5 of it"], [4096, "python"]]}
    fates = {one["role"]: one["start"] for one in summary["carried"]["dyck, blocks"]}
    assert (fates["attention"], fates["mlp"], fates["embeddings"]) == ("copied", "copied", "fresh")
    learnt = {one["arm"]: one for one in summary["warm_ups"]}
    assert learnt["dyck, blocks"]["tokens"] == 4096 and learnt["dyck, blocks"]["above_floor_nats"] > 0
    page = (tmp_path / "docs" / "procedural-lm.md").read_text()
    assert "perplexity 1.92 → 1.85" in page and "dyck, blocks" in page
    assert (tmp_path / "docs" / "procedural-lm.svg").exists() and (out / "report.html").exists()

    monkeypatch.setattr(_laboratory, "fit", lambda *_, **__: pytest.fail("a finished run was trained again"))
    study.run(out)
    again = json.loads((out / "procedural-lm.json").read_text())
    assert again["additive"] == summary["additive"] and again["substitutive"] == summary["substitutive"]


def test_arms_carry_what_was_published_or_what_is_asked() -> None:
    def arms(**options: Any) -> list[str]:
        return [arm.name for arm in studies.get("procedural-lm", options)._arms()]

    assert arms(sources=["set", "shuffle_dyck", "ww"]) == ["set, blocks", "shuffle_dyck, everything", "ww, everything"]
    assert arms(sources="set", carries=["published", "blocks", "everything"]) == ["set, blocks", "set, everything"]
    (arm,) = studies.get("procedural-lm", {"sources": "set"})._arms()
    warm_up = arm.carried[0].warm_up
    assert (
        warm_up.length == 129 and abs(warm_up.tokens / (1 << 17) - 1) < 0.02
    )  # an episode a row, as many tokens as others


def test_options_are_checked(tmp_path: Path) -> None:
    size = studies.get("procedural-lm", {"sources": "set", "real_tokens": "1M"}).size
    assert (size.sources, size.real_tokens) == (("set",), 1_000_000)
    assert studies.get("procedural-lm", {"budget": "published"}).size.sources == tuple(RECIPES)
    with pytest.raises(SpecError, match="carries"):
        studies.get("procedural-lm", {"carries": "half"})
    with pytest.raises(UnknownNameError, match="evaluation set"):
        studies.get("procedural-lm", {"sets": "latin", "data": str(tmp_path)}).run(tmp_path / "out")


def test_effects_are_shares_of_scratch_paired_by_seed() -> None:
    records = made({"scratch": (5.0, 4.0), "set, blocks": (4.5, 3.6), "dyck, blocks": (5.0, 4.0)})
    sets, arms = ["english", "python"], ["set, blocks", "dyck, blocks"]
    assert strongest_arm(records, sets, arms) == "set, blocks"
    found = {(one["arm"], one["stage"]): one for one in additive(records, sets, arms)}
    one = found["set, blocks", "english"]
    assert one["difference"] == pytest.approx(-0.399) and one["relative"]["difference"] == pytest.approx(-0.39900 / 4)
    assert found["set, blocks", "all"]["relative"]["per_seed"] == pytest.approx([-0.1, -0.09975, -0.0995])
    # Four questions are asked: the least p counts four times.
    assert one["p_adjusted"] == pytest.approx(4 * one["p"]) and found["dyck, blocks", "python"]["p_adjusted"] > 0.2


def test_saved_tokens_two_ways_and_what_a_warm_up_token_is_worth() -> None:
    records = made({"scratch": (5.0, 4.0), "set, blocks": (4.5, 3.5), "dyck, blocks": (3.9, 3.4)}, apart=0.0)
    found = {(one["arm"], one["stage"]): one for one in substitutive(records, BUDGETS, ["set, blocks", "dyck, blocks"])}
    one = found["set, blocks", "english"]
    # The full run passes 5.75 at 1,000 tokens and ends at 3.5: it is at 4 after 1,000 + 1,000 x 1.75 / 2.25.
    assert one["crossing"]["difference"] == pytest.approx(1 - (1000 + 1000 * 1.75 / 2.25) / 2000)
    # Budgets of 1,000 and 2,000 end at 4.5 and 3.5: 4 is half-way in the logarithm.
    assert one["matched"]["difference"] == pytest.approx(1 - math.sqrt(2) / 2) and not one["bounded"]
    assert one["rate_of"] == 4.0 and one["total_saving"] == pytest.approx(1 - math.sqrt(2) / 2 - 500 / 2000)
    assert (
        found["dyck, blocks", "python"]["bounded"] and found["dyck, blocks", "python"]["matched"]["difference"] == 0.5
    )


def test_a_saving_beyond_the_least_budget_is_a_bound_either_way() -> None:
    budgets, low, high = np.array([1.0, 4.0]), np.array([2.0, 1.0]), np.array([4.0, 3.0])
    assert least_saving(budgets, high, low) == 0.75 and least_saving(budgets, low, high) == -0.75


def test_published_changes_of_the_loss() -> None:
    by_place = {(one.source, one.corpus): one for one in ADDITIVE}
    # ln 58.82 / ln 62.03 = 4.0745 / 4.1276
    assert by_place["sort", "C4"].relative == pytest.approx(-0.01287, abs=1e-5)
    assert by_place["nca", "CodeParrot"].relative == pytest.approx(-0.0652, abs=1e-4)
    assert all(one.relative < 0 for one in ADDITIVE) and all(0 < one.saved < 1 for one in SUBSTITUTIVE)
    assert {one.source for one in (*ADDITIVE, *SUBSTITUTIVE)} <= set(RECIPES)


def interval(value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"difference": value, "low": low, "high": high}


def test_verdicts_follow_intervals() -> None:
    assert (
        additive_verdict(interval(-0.02, -0.03, -0.01), -0.01)
        == "reproduced: its sign; the size is 2.0 times the published one"
    )
    assert additive_verdict(interval(0.0, -0.005, 0.005), -0.01).startswith("not reproduced")
    assert additive_verdict(interval(0.0, -0.02, 0.02), -0.01).startswith("not testable")
    assert additive_verdict(interval(0.0, None, None), -0.01).endswith("one seed")

    assert saving_verdict(interval(0.4, 0.2, 0.6), 0.45) == "reproduced"
    assert saving_verdict(interval(0.1, 0.05, 0.2), 0.45) == "reproduced, but smaller"
    assert saving_verdict(interval(0.0, -0.2, 0.2), 0.45).startswith("not reproduced")
    assert saving_verdict(interval(0.2, -0.2, 0.6), 0.45).startswith("not testable")

    # 36 % of a real stage twice as long as the warm-up is 0.72 real tokens per token of it.
    assert rate_verdict(interval(0.4, 0.2, 0.6), 2.0).endswith("the published saving would be a rate of 0.71")
    assert rate_verdict(interval(0.4, 0.2, 0.6), 10.0).startswith("reproduced")
    assert rate_verdict(interval(0.0, -0.1, 0.05), 10.0).startswith("not reproduced")
    assert rate_verdict(interval(0.1, 0.05, 0.2), 10.0).startswith("not testable")

    assert harm_verdict(interval(0.1, 0.05, 0.2)) == "reproduced"
    assert harm_verdict(interval(-0.1, -0.2, -0.05)).startswith("not reproduced")
    assert harm_verdict(interval(0.0, -0.1, 0.1)).startswith("not testable")


def summary_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    sets, arms, controls = list(BUDGETS), ["set, blocks", "shuffle_dyck, everything"], ["random tokens"]
    return {
        "study": {"budget": "minutes"},
        "origin": {"command": "uprior run procedural-lm --out /x/y", "commit": "c", "versions": {"python": "3"}},
        "sizes": {"warm_tokens": 500, "real_tokens": 2000},
        "model": "32x1", "sets": sets, "arms": arms, "controls": controls, "strongest": strongest_arm(records, sets, arms),
        "sources": {arm: arm.partition(",")[0] for arm in arms},
        "budgets": BUDGETS,
        "additive": additive(records, sets, [*arms, *controls]),
        "substitutive": substitutive(records, BUDGETS, arms),
        "warm_ups": [{"arm": "set, blocks", "tokens": 500, "first_nats": 5.0, "last_nats": 4.0, "above_floor_nats": None}],
        "carried": {}, "run_seconds": 60.0,
    }  # fmt: skip


def test_the_page_turns_with_the_numbers() -> None:
    scratch = {"scratch": (5.0, 4.0)}
    better = made(
        scratch | {"set, blocks": (4.4, 3.6), "shuffle_dyck, everything": (4.9, 3.9), "random tokens": (5.1, 4.1)}
    )
    worse = made(
        scratch | {"set, blocks": (5.4, 4.6), "shuffle_dyck, everything": (5.2, 4.3), "random tokens": (4.9, 3.9)}
    )
    rows = {row[0]: row for row in verdict_rows(summary_of(better))}
    assert rows["set, blocks: lower loss, english"][4].startswith("reproduced: its sign")
    assert rows["set, blocks: real tokens saved, python"][4].startswith("reproduced")
    assert rows["random tokens are harmful, all sets"][4] == "reproduced"
    assert rows["set, blocks beats random tokens, all sets"][4] == "reproduced"
    rows = {row[0]: row for row in verdict_rows(summary_of(worse))}
    assert rows["set, blocks: lower loss, english"][4].startswith("not reproduced")
    assert rows["set, blocks: real tokens saved, python"][4].startswith("not reproduced")
    assert rows["random tokens are harmful, all sets"][4] == "not reproduced: they help"
    assert rows["shuffle_dyck, everything beats random tokens, all sets"][4].endswith("the control is as good")

    page = procedural_lm_pages(summary_of(better), better)["procedural-lm.md"].decode()
    # 62.03 to the power of one less a tenth
    assert f"62.03 → {62.03 ** (1 - 0.09975):.4g}" in page and "--out y" in page
    assert "is more than each of its controls gains" in page
    assert (
        "**Withdrawn**: shuffle_dyck, everything"
        in procedural_lm_pages(summary_of(worse), worse)["procedural-lm.md"].decode()
    )
    assert "No arm that was ahead of scratch fell behind" in page


def test_one_seed_says_that_it_cannot_say() -> None:
    ends = {
        "scratch": (5.0, 4.0),
        "set, blocks": (4.4, 3.6),
        "shuffle_dyck, everything": (4.9, 3.9),
        "random tokens": (5.1, 4.1),
    }
    records = made(ends, seeds=1)
    page = procedural_lm_pages(summary_of(records), records)["procedural-lm.md"].decode()
    assert "not testable at this size: one seed" in page and "**Withdrawn**" in page
