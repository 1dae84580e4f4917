"""The study universal-finetune: it runs once and again alike, and its page says what the records say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study_tools import write_data

from uprior import studies
from uprior.errors import CheckpointError, SpecError, UpriorError
from uprior.models.folder import load_model, save_model
from uprior.models.presets import config_of
from uprior.models.sizes import build, preset_of, size_of
from uprior.report.universal_finetune import universal_finetune_pages
from uprior.report.universal_finetune_verdicts import (
    PLAIN,
    PRIOR,
    SCRATCH,
    control_claims,
    elsewhere_claims,
    published_rows,
    saving_claims,
    scratches,
    tuning,
)
from uprior.studies._effects import charged, compared, elsewhere, savings, total_flops

OPTIONS: dict[str, Any] = {
    "steps": "4", "rows": "2", "length": "32", "positions": "4", "warmup_tokens": "256", "seeds": "2",
    "corpora": ["hindi", "python"], "control_corpora": ["hindi"], "rates": ["1e-3", "3e-3"], "limit_bytes": "600",
    "source": "dyck",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run from a prior of one small layer, which the study's model follows."""
    out = tmp_path_factory.mktemp("study")
    save_model(build("32x1", context=32, seed=9), out / "prior")
    recipe = {
        "compute": {"tokens": 10, "training_flops": 1e9, "generation_flops": 1e6},
        "sha256": {"model.safetensors": "0"},
    }
    (out / "prior" / "recipe.json").write_text(json.dumps(recipe))
    options = OPTIONS | {"data": write_data(out / "data"), "docs": str(out / "docs"), "prior": str(out / "prior")}
    study = studies.get("universal-finetune", options)
    study.run(out / "run")
    return out, study


def test_all_arms_are_measured_everywhere_and_nothing_is_run_twice(done: tuple[Path, Any]) -> None:
    out, study = done
    summary = json.loads((out / "run" / "universal-finetune.json").read_text())
    assert summary["model"] == "32x1" and summary["arms"] == [SCRATCH, PLAIN, "short warm-up", PRIOR]
    assert {"random tokens", "shuffled sequences", "matched compute", "weights shuffled"} < set(summary["controls"])
    records = (out / "run" / "records.jsonl").read_text()
    lines = [json.loads(line) for line in records.splitlines()]
    ends = [r for r in lines if r["step"] == 4 and (r["stage"], r["arm"], r["seed"]) == ("python", "scratch", 1)]
    assert {r["file"] for r in ends} == set(summary["sets"])
    assert {r["warmup_flops"] for r in lines if r["arm"] == PRIOR} == {1e9 + 1e6}
    # Controls take the rate of what they control; no rate was chosen on a reported seed.
    rates = {r["arm"]: r["learning_rate"] for r in lines}
    assert rates["random tokens"] == rates["short warm-up"] and rates["matched compute"] == rates["scratch"]
    assert rates["weights shuffled"] == rates[PRIOR]
    logs = {path: path.stat().st_mtime_ns for path in (out / "run").rglob("log.jsonl")}
    page = (out / "docs" / "universal-finetune.md").read_text()
    study.run(out / "run")
    assert logs == {path: path.stat().st_mtime_ns for path in (out / "run").rglob("log.jsonl")}
    assert (out / "run" / "records.jsonl").read_text() == records
    assert (out / "docs" / "universal-finetune.md").read_text() == page
    assert "<svg" in (out / "docs" / "universal-finetune.svg").read_text()


def test_the_page_holds_what_the_records_say(done: tuple[Path, Any]) -> None:
    out, _ = done
    summary = json.loads((out / "run" / "universal-finetune.json").read_text())
    records = [json.loads(line) for line in (out / "run" / "records.jsonl").read_text().splitlines()]
    text = universal_finetune_pages(summary, records)["universal-finetune.md"].decode()
    for sentence in (*saving_claims(summary), *elsewhere_claims(summary), *control_claims(summary)):
        assert sentence in text
    gap = next(one for one in summary["differences"] if (one["arm"], one["stage"]) == (PRIOR, "python"))["difference"]
    ends = {r["arm"]: 0.0 for r in records}
    for r in records:
        if (r["stage"], r["file"], r["step"]) == ("python", "python", 4):
            ends[r["arm"]] += r["bits_mean"] / 2
    assert gap == pytest.approx(ends[PRIOR] - ends[SCRATCH]) and f"{gap:+.3f}".replace("-", "−") in text
    assert "`32x1` is trained on the first 600 bytes" in text and "warm−up" not in text


# ---------------------------------------------------------------- verdicts, from made summaries


def made(**changes: Any) -> dict[str, Any]:
    """Six corpora; the prior saves half of the data on each, clear of zero, and is ahead on eight of ten others."""
    corpora, files = list("abcdef"), [*"abcdef", *"uvwxy"]
    plain, low, against_plain, bits, spent = (
        changes.get(key, value)
        for key, value in (("plain", 0.2), ("low", 0.1), ("against_plain", 0.2), ("bits", 4.0), ("spent", 50.0))
    )
    others = [(stage, file) for stage in corpora for file in files if file != stage]
    return {
        "study": {"corpora": corpora, "control_corpora": ["a"], "rates": [1e-4, 1e-3, 1e-2], "budget": "minutes", "rows": 16},
        "sizes": {"steps": 60},
        "trial_corpora": ["a"],
        "arms": [SCRATCH, PLAIN, PRIOR],
        "differences": [
            {"arm": arm, "stage": stage, "difference": gap, "value": 4.0 + gap}
            for arm, gap in ((PLAIN, plain), (PRIOR, -0.5))
            for stage in corpora
        ],
        "savings": [
            {"arm": PRIOR, "stage": stage, "baseline": base, "difference": changes.get("saving", 0.5), "low": end,
             "area_difference": -0.1, "crossings": [{"at": 1000.0 * (1 + (stage == "f")), "then_ahead": "baseline"}]}
            for base, end in ((SCRATCH, low), (PLAIN, against_plain))
            for stage in corpora
        ],
        "charged": [
            {"arm": PRIOR, "stage": stage, "baseline": base, "warmup_stages": spent, "saving": 0.5 - spent, "uses": 2 * spent}
            for base in (SCRATCH, PLAIN)
            for stage in corpora
        ],
        "elsewhere": [
            {"stage": stage, "file": file, "arm": arm, "bits": [before, after, after]}
            for stage, file in others
            for arm, before, after in ((SCRATCH, 6.0, 5.0), (PLAIN, 8.0, 7.0 if file != "y" else 3.9), (PRIOR, 4.0, bits))
        ],
        "control_differences": [{"arm": "matched compute", "stage": "a", "value": changes.get("control", 3.9)}],
        "control_gaps": [
            {"arm": PRIOR, "stage": "a", "baseline": "matched compute", "difference": gap, "low": gap - 0.1, "high": gap + 0.1}
            for gap in [changes.get("gap", -0.4)]
        ],
    }  # fmt: skip


def test_the_bar_on_savings_needs_the_stronger_scratch() -> None:
    assert (
        "**Yes**: the universal prior is clear of zero on 6 (a, b, c, d, e, f), with a median of 50 %"
        in saving_claims(made())[0]
    )
    assert "**No**: the universal prior is clear of zero on 0 (none)" in saving_claims(made(low=-0.1))[0]
    # Where random weights end lower, it is they who must be beaten.
    stronger = made(plain=-0.2, against_plain=-0.1)
    assert "**No**" in saving_claims(stronger)[0]
    assert "against scratch clear of zero on 6 of 6" in saving_claims(stronger)[0]
    assert "random weights on a, b, c, d, e, f, its own first weights on none" in scratches(stronger)
    assert "random weights on none, its own first weights on a, b, c, d, e, f" in scratches(made())


def test_where_along_the_curves_it_is_ahead() -> None:
    assert saving_claims(made())[1].endswith("on 6 of 6 corpora (a, b, c, d, e, f).")
    behind = saving_claims(made(saving=-0.2))[1]
    assert behind.endswith("scratch overtakes it for good after 1,000 to 2,000 real tokens.")


def test_compute_is_charged() -> None:
    claim = saving_claims(made())[-1]
    assert "took 50.0 times the FLOPs of a whole stage" in claim and "saves compute on 0 of 6" in claim
    assert "after 100 stages" in claim
    assert "saves compute on 6 of 6" in saving_claims(made(spent=0.25))[-1]


def test_other_data_must_be_ahead_of_both_scratches() -> None:
    (claim,) = elsewhere_claims(made())
    assert "**Yes**: so after 6 of 6 corpora" in claim and "a 9 of 10 (not y)" in claim
    (claim,) = elsewhere_claims(made(bits=5.5))
    assert "**No**: so after 0 of 6 corpora" in claim and "a 0 of 10" in claim


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "It beats every control."),
        ({"gap": -0.05}, "less than the seeds can tell"),
        ({"gap": 0.1, "control": 3.4}, "the claim is withdrawn here"),
        ({"plain": -0.7}, "no claim to take back"),
    ],
)
def test_a_control_can_take_the_claim_back(changes: dict[str, Any], verdict: str) -> None:
    (claim,) = control_claims(made(**changes))
    assert verdict in claim and "the strongest control, matched compute" in claim


def test_published_claims_are_judged_one_by_one() -> None:
    good = [row[2] for row in published_rows(made())]
    assert good == ["reproduced", "not testable at this size: the stage is shorter", "reproduced", "reproduced"]
    bad = [row[2] for row in published_rows(made(against_plain=-0.1, bits=7.5))]
    assert [bad[0], *bad[2:]] == ["not reproduced"] * 3
    long = made() | {"sizes": {"steps": 200_000}}
    assert published_rows(long)[1][2] == "reproduced"  # half of 3.2 million rows


def test_rates_at_an_end_of_the_trials_are_told() -> None:
    text = tuning(made(), {SCRATCH: 1e-3, PLAIN: 1e-2, PRIOR: 1e-3})
    assert (
        "perhaps not the best there is: scratch, all weights random. A rate rises over " in text
        and "splits of a" in text
    )
    assert "perhaps" not in tuning(made(), dict.fromkeys((SCRATCH, PLAIN, PRIOR), 1e-3))


# ---------------------------------------------------------------- effects


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


def test_compute_of_the_warm_up_moves_the_curve() -> None:
    def runs(arm: str, bits: tuple[float, ...], spent: float) -> list[dict[str, Any]]:
        return [
            record(arm, 0, step, value) | {"warmup_flops": spent, "generation_flops": 0.0, "train_flops": 10.0 * step}
            for step, value in enumerate(bits)
        ]

    scratch = runs("scratch", (5.0, 4.0, 3.0), 0.0)
    (found,) = charged(scratch + runs("warm", (4.6, 3.0, 2.0), 5.0), ["a"], ["warm"], "scratch")
    # At 5 + 10 of 20 FLOPs it is where scratch ends; each use saves 10, the warm-up took 5.
    assert (found["warmup_stages"], found["saving"], found["uses"]) == (0.25, 0.25, 1)
    (crossing,) = found["crossings"]
    assert crossing == {"at": pytest.approx(5 + 5 / 3), "then_ahead": "arm"}
    (dear,) = charged(scratch + runs("warm", (4.6, 3.0, 2.0), 95.0), ["a"], ["warm"], "scratch")
    assert (dear["saving"], dear["uses"], dear["crossings"]) == (1 - 105 / 20, 10, [])
    (never,) = charged(scratch + runs("warm", (4.6, 4.0, 3.5), 5.0), ["a"], ["warm"], "scratch")
    assert never["saving"] is None and never["uses"] is None


def test_other_sets_are_told_before_and_after() -> None:
    records = [
        record("scratch", seed, step, 6.0 + seed - step, file) for seed in (0, 1) for step in (0, 1) for file in "ab"
    ]
    (one,) = elsewhere(records, ["a"], ["a", "b"], ["scratch"])
    assert one["file"] == "b" and one["bits"] == [6.5, 5.5] and one["last_per_seed"] == [5.0, 6.0]


# ---------------------------------------------------------------- the model of a checkpoint, and wrong options


def test_a_checkpoint_tells_what_is_fresh_beside_it(tmp_path: Path) -> None:
    for number, name in enumerate(
        ("32x1", "64x2-matching", "64x2-matching-2", "gpt2:16x2x4", "gpt-neox:32x2x2", "llama-tiny")
    ):
        save_model(build(name, context=48, seed=0), tmp_path / str(number))
        assert size_of(tmp_path / str(number)) == name
    trained, found = load_model("universal"), preset_of(size_of("universal"))
    assert found is not None
    fresh = config_of(found, 256, trained.config.max_position_embeddings)
    assert (fresh.hidden_size, fresh.intermediate_size) == (
        trained.config.hidden_size,
        trained.config.intermediate_size,
    )
    odd = build("32x1", context=48, seed=0)
    odd.config.rms_norm_eps = 1e-3
    save_model(odd, tmp_path / "odd")
    with pytest.raises(CheckpointError, match="no preset and no size"):
        size_of(tmp_path / "odd")


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
