"""The studies procedural-probes and composition: what runs, what is carried, and pages that say what the records say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uprior import sources, studies
from uprior.errors import SpecError
from uprior.report.composition import composition_pages
from uprior.report.probe_verdicts import control_verdict
from uprior.report.procedural_probes import procedural_probes_pages
from uprior.studies._probe_budgets import BUDGETS, FOUR_TASKS, PUBLISHED_TASKS, SMALL_TASKS, TASKS
from uprior.studies._probes import probe_stage, resized, warm_up, warmed_arm

SMALL: dict[str, Any] = {"model": "gpt2:16x1x2", "steps": "4", "warm_steps": "2", "seeds": "2"}


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    out = tmp_path_factory.mktemp("probes")
    options = SMALL | {
        "sources": ["set@procedural", "dyck@procedural"], "tasks": ["haystack"], "parts": ["everything", "attention"],
        "controls": "false",
    }  # fmt: skip
    study = studies.get("procedural-probes", options)
    study.run(out)
    page = (out / "procedural-probes.md").read_text()
    study.run(out)
    assert (out / "procedural-probes.md").read_text() == page
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    return json.loads((out / "procedural-probes.json").read_text()), records, page


def test_every_source_and_part_is_tried(probes: Any) -> None:
    summary, records, page = probes
    arms = [f"{source}, {part}" for source in ("set", "dyck") for part in ("everything", "attention")]
    assert list(dict.fromkeys(r["arm"] for r in records)) == ["scratch", *arms]
    assert {r["seed"] for r in records} == {0, 1} and {"accuracy", "accuracy_published", "exact"} < records[0].keys()
    assert list(summary["families"]) == ["llama", "gpt2", "gpt-neox"]
    copied = {
        family: {r["role"] for r in table if r["start"] != "fresh"} for family, table in summary["families"].items()
    }
    assert {"attention", "mlp", "norms", "embeddings", "head"} <= copied["llama"]
    assert "| set | attention | haystack | +77.6 |" in page and "**Attention** carried" in page
    assert "set on addition" in page and "set on haystack" not in page  # what was published and not run here
    for one in summary["learnt"]:
        # Two steps teach next to nothing, and nobody is below the floor.
        assert one["floor"] < one["nats"] and abs(one["share"]) < 0.3, one
    assert [one["source"] for one in summary["learnt"]] == ["set", "dyck"] and "| dyck | " in page


def test_holm_is_over_the_whole_grid(probes: Any) -> None:
    from uprior.statistics import holm

    found = probes[0]["differences"]
    assert len(found) == 4 and [one["p_adjusted"] for one in found] == pytest.approx(holm([one["p"] for one in found]))


def changed(summary: dict[str, Any], **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(summary))
    for one in made["differences"]:
        one |= fields
    return made


def test_verdicts_follow_the_intervals(probes: Any) -> None:
    summary, records, _ = probes

    def row(learnt: float = 1.0, scratch: float = 0.1, **fields: Any) -> str:
        made = changed(summary, **fields)
        made["scratch"]["haystack"] = scratch
        for one in made["learnt"]:
            one["share"] = learnt
        page = procedural_probes_pages(made, records)["procedural-probes.md"].decode()
        return next(line for line in page.splitlines() if line.startswith("| set | attention | haystack |"))

    assert row(difference=0.3, low=0.2, high=0.4).endswith("| +30.0 (+20.0 to +40.0) | **reproduced** |")
    assert row(difference=-0.3, low=-0.4, high=-0.2).endswith("| **not reproduced** |")
    zero = {"difference": 0.3, "low": -0.1, "high": 0.7}
    assert row(**zero).endswith("| **not testable at this size**: the interval holds zero |")
    assert row(learnt=0.4, **zero).endswith("zero; the warm-up has learnt 40 % of its source |")
    assert row(scratch=0.97, **zero).endswith("zero; scratch leaves no room |")
    assert row(difference=0.3, low=None, high=None).endswith("**not testable at this size**: one seed |")


def test_the_bar_of_haystack(probes: Any) -> None:
    summary, records, _ = probes
    good = changed(summary, value=0.95)
    good["scratch"]["haystack"] = 0.15
    assert "at least 90 %. **Yes**" in procedural_probes_pages(good, records)["procedural-probes.md"].decode()
    good["scratch"]["haystack"] = 0.25
    assert "at least 90 %. **No**" in procedural_probes_pages(good, records)["procedural-probes.md"].decode()


def test_a_control_that_is_as_good_takes_the_claim_back(probes: Any) -> None:
    summary, records, _ = probes
    best = next(one for one in summary["differences"] if one["arm"] == summary["best"])
    with_control = changed(summary)
    for one in with_control["differences"]:
        one["per_seed"] = [0.2]
    for gain, said in ((0.3, "It does not beat every control: the claim"), (0.1, "by less than the seeds can tell")):
        with_control["controls"] = [best | {"arm": "random tokens", "per_seed": [gain]}]
        assert said in procedural_probes_pages(with_control, records)["procedural-probes.md"].decode()


def test_controls_are_beaten_by_pairs_of_seeds() -> None:
    apart, level = {"random tokens": np.array([0.01, 0.02, 0.03])}, {"weights shuffled": np.array([0.11, 0.05, 0.14])}
    beaten = control_verdict(np.array([0.11, 0.12, 0.13]), apart)
    assert (
        beaten
        == "against the strongest control, random tokens, it has +10.0 points (+10.0 to +10.0). **It beats every control.**"
    )
    # By 2 points: differences of 0, 7 and -1, Student's t of 4.303 times a standard error of 2.517.
    told = control_verdict(np.array([0.11, 0.12, 0.13]), apart | level)
    assert "weights shuffled, it has +2.0 points (−8.8 to +12.8)" in told and "the claim is withdrawn" in told
    assert "there is no claim" in control_verdict(np.array([-0.2, -0.1, 0.0]), apart)


def test_parts_compose(tmp_path: Path) -> None:
    study = studies.get(
        "composition",
        SMALL | {"sources": ["set@procedural", "identity@procedural"], "tasks": ["addition"], "seeds": "1"},
    )
    study.run(tmp_path)
    summary = json.loads((tmp_path / "composition.json").read_text())
    names = {"set attention + identity MLPs", "identity attention + set MLPs"}
    assert {child["arm"] for child in summary["children"]} == names == set(summary["carried"])
    table = summary["carried"]["set attention + identity MLPs"]
    assert {r["role"]: r["start"] for r in table if r["role"] in ("attention", "mlp", "norms")} == {
        "attention": "copied from warm-up 1", "mlp": "copied from warm-up 2", "norms": "fresh",
    }  # fmt: skip
    assert summary["parents"]["set"].startswith("set, ")
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(summary["controls"]) == 4 and "Controls of set attention + identity MLPs" in (
        (tmp_path / "composition.md").read_text()
    )
    summary["children"][0]["arm"], summary["controls"] = "set attention + elementary_ca MLPs", []
    summary["tasks"] = dict.fromkeys(FOUR_TASKS, "")
    for low, high, said in (
        (0.1, 0.3, "**Reproduced**."), (-0.1, 0.5, "**Not testable at this size** (an"), (-0.3, -0.1, "**Not reproduced**."),
    ):  # fmt: skip
        for one in summary["children"][0]["against"].values():
            one |= {"difference": 0.2, "low": low, "high": high}
        assert said in composition_pages(summary, records)["composition.md"].decode()
    summary["tasks"] = {"addition": ""}
    assert "Published: 89.3" not in composition_pages(summary, records)["composition.md"].decode()


def test_budgets() -> None:
    published = BUDGETS["published"]
    assert (published.model, published.steps, published.rows, published.tasks) == (
        "gpt2:16x2x4",
        10_000,
        1000,
        PUBLISHED_TASKS,
    )
    stage = probe_stage("addition", published)
    assert (stage.model.context, stage.model.vocab, stage.training.weight_decay) == (19, 31, 1e-3)
    assert set(SMALL_TASKS) == set(PUBLISHED_TASKS) == set(TASKS)
    # Multiplication has a model and steps of its own, which a typed option takes the place of.
    own = probe_stage("multiplication", published)
    assert (own.model.name, own.training.steps, own.stream(0).batch_size) == ("gpt2:512x4x8", 156_250, 64)
    typed = probe_stage("multiplication", resized(published, model="gpt2:16x1x2", steps=4))
    assert (typed.model.name, typed.training.steps) == ("gpt2:16x1x2", 4)


def test_what_is_warmed_up_and_carried() -> None:
    budget = BUDGETS["minutes"]
    made = warm_up(sources.get(budget.sources[0]), budget)
    assert (made.length, made.vocab, made.rows, made.training.learning_rate) == (33, 23, 64, budget.warm_rate)
    # A table of positions that is too short for a task stays behind; tables of tokens become their mean.
    for longest, positions in ((33, True), (34, False)):
        arm = warmed_arm(sources.get(budget.sources[0]), "everything", budget, longest)
        assert ("positions" in arm.carried[0].parts) == positions and arm.embeddings == "mean"
    assert warmed_arm(sources.get("dyck"), "MLPs", budget, 18).embeddings is None
    assert {sources.get(text).name for text in BUDGETS["published"].sources} == {
        "identity", "reverse", "sort", "set", "union", "delete", "stack", "dyck", "shuffle_dyck", "elementary_ca",
    }  # fmt: skip


def test_wrong_options_are_told() -> None:
    for name, options, match in (
        ("procedural-probes", {"model": "gpt2:16x1x3"}, "gpt2:16x2x4"),
        ("procedural-probes", {"parts": ["heads"]}, "everything, attention, MLPs"),
        ("procedural-probes", {"tasks": ["division"]}, "haystack, addition"),
        ("procedural-probes", {"sources": ["dyck", "dyck:k=4"]}, "one of each name"),
        ("composition", {"sources": ["dyck"]}, "two or more"),
    ):
        with pytest.raises(SpecError, match=match):
            studies.get(name, options)
