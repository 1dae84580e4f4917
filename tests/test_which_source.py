"""The study which-source-for-my-data: two rounds on data apart, and advice that follows from the second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uprior import studies
from uprior.errors import CorpusError, SpecError
from uprior.report.which_source import which_source_pages
from uprior.studies.which_source import _ranking, advised

OPTIONS: dict[str, Any] = {
    "model": "32x1", "length": "32", "rows": "2", "sources": ["dyck", "pcfg", "zipf"], "default": "markov_chain",
    "rates": ["1e-3", "3e-3"], "positions": "4",
    "first_warm": "128", "first_real": "128", "warm_tokens": "192", "real_tokens": "192", "seeds": "2",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("which")
    file = out / "cubes.txt"
    file.write_text(" ".join(str(n**3) for n in range(400)))
    study = studies.get("which-source-for-my-data", OPTIONS | {"file": str(file)})
    study.run(out / "run")
    page = (out / "run" / "which-source.md").read_text()
    study.run(out / "run")
    assert (out / "run" / "which-source.md").read_text() == page
    records = [json.loads(line) for line in (out / "run" / "records.jsonl").read_text().splitlines()]
    return out, json.loads((out / "run" / "which-source.json").read_text()), records


def test_the_second_round_has_fresh_seeds_and_data(done: Any) -> None:
    _, summary, records = done
    seeds = {stage: {r["seed"] for r in records if r["stage"] == stage} for stage in ("first", "second")}
    assert seeds["first"] == {0} and seeds["second"] == {1, 2}
    arms = list(dict.fromkeys(r["arm"] for r in records if r["stage"] == "second"))
    ranked = [one["arm"] for one in summary["ranking"] if one["arm"] in ("dyck", "pcfg", "zipf")]
    assert arms == ["scratch", *ranked[:2], "markov_chain", "noise"]
    rates = {r["arm"]: r["learning_rate"] for r in records if r["stage"] == "second"}
    assert {rates[arm] for arm in arms[1:]} == {summary["rates"]["markov_chain"]}
    assert -1 <= summary["correlation"] <= 1 and np.isfinite(summary["smallest_effect"])


def against(
    best: tuple[float, float], default: tuple[float, float], over: tuple[float, float],
    noise: tuple[float, float] = (-0.2, -0.1),
) -> dict[str, Any]:  # fmt: skip
    ends = ("low", "high")
    return {
        "scratch": [
            {"arm": "a", **dict(zip(ends, best, strict=True))},
            {"arm": "u", **dict(zip(ends, default, strict=True))},
        ],
        "u": [{"arm": "a", **dict(zip(ends, over, strict=True))}],
        "noise": [{"arm": arm, **dict(zip(ends, noise, strict=True))} for arm in ("a", "u")],
    }


BELOW, AROUND = (-0.2, -0.1), (-0.1, 0.1)


@pytest.mark.parametrize(
    ("best", "default", "over", "chosen"),
    [
        (BELOW, BELOW, BELOW, "a"),
        (BELOW, BELOW, AROUND, "u"),
        (AROUND, AROUND, BELOW, "scratch"),
        (BELOW, AROUND, AROUND, "a"),
        (AROUND, BELOW, AROUND, "u"),
        (AROUND, AROUND, AROUND, "scratch"),
    ],
)
def test_advice_follows_from_intervals(best: Any, default: Any, over: Any, chosen: str) -> None:
    assert advised("a", "u", against(best, default, over))[0] == chosen
    same, why = advised("a", "u", against(best, default, over, noise=AROUND))
    assert same == chosen and ("noise may be as good" in why) == (chosen != "scratch")


def test_the_page_and_the_advice(done: Any) -> None:
    _, summary, records = done
    page = which_source_pages(
        summary | {"chosen": "pcfg", "why": "it beats all", "advice": ["uprior pretrain"]}, records
    )
    text = page["which-source.md"].decode()
    assert "**It beats all.**" in text and "`uprior pretrain`" in text and "second" in text
    study = studies.get("which-source-for-my-data", OPTIONS | {"file": "my data.txt"})
    tried = {source.name: source for source in study.sources}  # type: ignore[attr-defined]
    first, second = study._advice("pcfg", tried, type("Size", (), {"warm_tokens": 192}))  # type: ignore[attr-defined]
    assert (
        first.startswith("uprior pretrain --source 'pcfg' --model 32x1 --context 32") and "--schedule constant" in first
    )
    assert second.startswith("uprior compare runs/warm --data 'my data.txt'")
    why, command = study._advice("scratch", tried, None)  # type: ignore[attr-defined]
    assert why.startswith("# none of these") and command == "uprior compare universal --data 'my data.txt'"


def test_arms_are_ranked_by_what_they_end_with() -> None:
    records = [{"arm": a, "bits_mean": b} for a, b in (("x", 8.0), ("x", 5.0), ("y", 7.0), ("y", 6.0))]
    assert [(one["arm"], one["bits"], one["zero_shot"]) for one in _ranking(records)] == [
        ("x", 5.0, 8.0),
        ("y", 6.0, 7.0),
    ]


def test_mistakes_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--file mydata\.txt"):
        studies.get("which-source-for-my-data").run(tmp_path / "out")
    with pytest.raises(SpecError, match="two or more"):
        studies.get("which-source-for-my-data", {"sources": ["dyck"]})
    short = tmp_path / "short.txt"
    short.write_text("x" * 50)
    with pytest.raises(CorpusError, match=r"short\.txt"):
        studies.get("which-source-for-my-data", OPTIONS | {"file": str(short)}).run(tmp_path / "out")
