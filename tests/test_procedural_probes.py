"""The studies procedural-probes and composition: what runs, what is carried, and pages that say what the records say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uprior import studies
from uprior.errors import SpecError
from uprior.report.composition import composition_pages
from uprior.report.procedural_probes import procedural_probes_pages
from uprior.studies._probes import BUDGETS, PUBLISHED_TASKS, SMALL_TASKS, probe_stage

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
    assert "set, attention, haystack: published +77.6 points" in page and "**Attention** carried" in page


def changed(summary: dict[str, Any], **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(summary))
    for one in made["differences"]:
        one |= fields
    return made


def test_verdicts_follow_the_intervals(probes: Any) -> None:
    summary, records, _ = probes

    def page(**fields: Any) -> str:
        return procedural_probes_pages(changed(summary, **fields), records)["procedural-probes.md"].decode()

    assert "+30.0 (+20.0 to +40.0): **reproduced**" in page(difference=0.3, low=0.2, high=0.4)
    assert "**not reproduced**" in page(difference=-0.3, low=-0.4, high=-0.2)
    assert "**not testable at this size" in page(difference=0.3, low=-0.1, high=0.7)
    good = changed(summary, value=0.95)
    good["scratch"]["haystack"] = 0.15
    assert "at least 90 %. **Yes**" in procedural_probes_pages(good, records)["procedural-probes.md"].decode()
    good["scratch"]["haystack"] = 0.25
    assert "at least 90 %. **No**" in procedural_probes_pages(good, records)["procedural-probes.md"].decode()


def test_a_control_that_is_as_good_takes_the_claim_back(probes: Any) -> None:
    summary, records, _ = probes
    best = next(one for one in summary["differences"] if one["arm"] == summary["best"])
    for value, said in ((best["value"] + 0.1, "claim is withdrawn"), (best["value"] - 0.1, "It beats every control.")):
        with_control = changed(summary)
        with_control["controls"] = [best | {"arm": "random tokens", "value": value}]
        assert said in procedural_probes_pages(with_control, records)["procedural-probes.md"].decode()


def test_parts_compose(tmp_path: Path) -> None:
    study = studies.get(
        "composition", SMALL | {"sources": ["set@procedural", "identity@procedural"], "tasks": ["addition"]}
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
    summary["children"][0]["arm"] = "set attention + elementary_ca MLPs"
    for low, high, said in ((0.1, 0.3, "**Reproduced.**"), (-0.1, 0.5, "**Not testable at this size.**")):
        for one in summary["children"][0]["against"].values():
            one |= {"difference": 0.2, "low": low, "high": high}
        assert said in composition_pages(summary, records)["composition.md"].decode()


def test_budgets_and_wrong_options() -> None:
    published = BUDGETS["published"]
    assert (published.model, published.steps, published.rows, published.tasks) == (
        "gpt2:16x2x4",
        10_000,
        1000,
        PUBLISHED_TASKS,
    )
    stage = probe_stage("addition", published)
    assert (stage.model.context, stage.model.vocab, stage.training.weight_decay) == (19, 31, 1e-3)
    assert set(SMALL_TASKS) == set(PUBLISHED_TASKS)
    for name, options, match in (
        ("procedural-probes", {"model": "gpt2:16x1x3"}, "gpt2:16x2x4"),
        ("procedural-probes", {"parts": ["heads"]}, "everything, attention, MLPs"),
        ("procedural-probes", {"tasks": ["division"]}, "haystack, addition"),
        ("composition", {"sources": ["dyck"]}, "two or more"),
    ):
        with pytest.raises(SpecError, match=match):
            studies.get(name, options)
