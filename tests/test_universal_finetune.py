"""The study universal-finetune: it runs once and again alike, and its page says what the records say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study_tools import write_data

from uprior import studies
from uprior.errors import SpecError, UpriorError
from uprior.report.universal_finetune import universal_finetune_pages
from uprior.studies._effects import compared, elsewhere, savings, total_flops

OPTIONS: dict[str, Any] = {
    "model": "32x1", "prior": "none", "steps": "4", "rows": "2", "length": "32", "positions": "4", "warmup_tokens": "256",
    "seeds": "2", "corpora": ["hindi", "python"], "control_corpora": ["hindi"], "rates": ["1e-3", "3e-3"], "limit_bytes": "600",
    "source": "dyck",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("study")
    study = studies.get("universal-finetune", OPTIONS | {"data": write_data(out / "data"), "docs": str(out / "docs")})
    study.run(out / "run")
    return out, study


def test_all_arms_are_measured_everywhere_and_nothing_is_run_twice(done: tuple[Path, Any]) -> None:
    out, study = done
    summary = json.loads((out / "run" / "universal-finetune.json").read_text())
    assert summary["arms"] == ["scratch", "scratch, all weights random", "short warm-up"]
    assert {"random tokens", "shuffled sequences", "matched compute"} < set(summary["controls"])
    records = (out / "run" / "records.jsonl").read_text()
    lines = [json.loads(line) for line in records.splitlines()]
    ends = [r for r in lines if r["step"] == 4 and (r["stage"], r["arm"], r["seed"]) == ("python", "scratch", 1)]
    assert {r["file"] for r in ends} == set(summary["sets"])
    # Controls take the rate of what they control; no rate was chosen on a reported seed.
    rates = {r["arm"]: r["learning_rate"] for r in lines}
    assert rates["random tokens"] == rates["short warm-up"] and rates["matched compute"] == rates["scratch"]
    logs = {path: path.stat().st_mtime_ns for path in (out / "run").rglob("log.jsonl")}
    page = (out / "docs" / "universal-finetune.md").read_text()
    study.run(out / "run")
    assert logs == {path: path.stat().st_mtime_ns for path in (out / "run").rglob("log.jsonl")}
    assert (out / "run" / "records.jsonl").read_text() == records
    assert (out / "docs" / "universal-finetune.md").read_text() == page
    assert "<svg" in (out / "docs" / "universal-finetune.svg").read_text()


def test_the_page_says_what_the_records_say(done: tuple[Path, Any]) -> None:
    out, _ = done
    summary = json.loads((out / "run" / "universal-finetune.json").read_text())
    records = [json.loads(line) for line in (out / "run" / "records.jsonl").read_text().splitlines()]
    for arm, low, word in (("better", 0.1, "Yes"), ("worse", -0.1, "No")):
        changed = json.loads(json.dumps(summary))
        for one in changed["savings"]:
            one |= {"low": low, "high": 0.9, "difference": 0.5}
        changed["savings"] = [one | {"stage": f"{one['stage']}{n}"} for one in changed["savings"] for n in range(2)]
        text = universal_finetune_pages(changed, records)["universal-finetune.md"].decode()
        assert f"median 30 % or more. **{word}**" in text, arm
    worst = json.loads(json.dumps(summary))
    for one in worst["control_differences"]:
        one["value"] = 0.001
    assert "claim is withdrawn" in universal_finetune_pages(worst, records)["universal-finetune.md"].decode()
    for one in worst["control_differences"]:
        one["value"] = 99.0
    assert "beats every control" in universal_finetune_pages(worst, records)["universal-finetune.md"].decode()


def record(arm: str, seed: int, step: int, bits: float, file: str = "a", warmup: int = 0) -> dict[str, Any]:
    return {
        "stage": "a", "arm": arm, "seed": seed, "step": step, "tokens": 100 * step, "file": file, "bits_mean": bits,
        "window_bits": [bits, bits], "warmup_tokens": warmup, "warmup_flops": 1.0, "generation_flops": 2.0, "train_flops": 3.0,
    }  # fmt: skip


def test_effects_are_paired_by_seed() -> None:
    records = [
        record(arm, seed, step, level + 0.25 * seed - step, warmup=50 if arm == "warm" else 0)
        for arm, level in (("scratch", 5.0), ("warm", 4.0))
        for seed in (0, 1)
        for step in (0, 1, 2)
    ]
    (found,) = compared(records, ["a"], ["warm"], "scratch")
    assert (found["difference"], found["low"], found["high"], found["per_seed"]) == (-1.0, -1.0, -1.0, [-1.0, -1.0])
    (saved,) = savings(records, ["a"], ["warm"], "scratch")
    assert saved["difference"] == 0.5 and saved["substitution_rate"] == 2.0 and saved["area_difference"] == -1.0
    assert saved["crossings"] == [] and total_flops(records[0]) == 6.0


def test_other_sets_are_told_before_and_after() -> None:
    records = [
        record("scratch", seed, step, 6.0 + seed - step, file) for seed in (0, 1) for step in (0, 1) for file in "ab"
    ]
    (one,) = elsewhere(records, ["a"], ["a", "b"], ["scratch"])
    assert one["file"] == "b" and one["bits"] == [6.5, 5.5] and one["last_per_seed"] == [5.0, 6.0]


def test_wrong_options_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="WIDTHxLAYERS"):
        studies.get("universal-finetune", {"model": "33x1"})
    with pytest.raises(SpecError, match="some of german"):
        studies.get("universal-finetune", {"corpora": ["german"], "control_corpora": ["python"]})
    study = studies.get(
        "universal-finetune", OPTIONS | {"data": write_data(tmp_path / "d"), "prior": str(tmp_path / "no")}
    )
    with pytest.raises(UpriorError):
        study.run(tmp_path / "out")
