"""The search and leave-one-out: candidates, halving, verdicts, and that a second run trains nothing."""

import json

import numpy as np
import pytest
from study_tools import DEVELOPMENT, REAL, refuse_to_train, write_data

from uprior import sources, studies
from uprior.errors import SpecError
from uprior.files import read_lines
from uprior.sources import ContextTree, Dyck, Iterated, Mixture, Pointwise, RandomLSTM, Relabelled, Uniform
from uprior.studies._mixtures import SETTINGS, candidates, parts_of, without_each
from uprior.studies._objective import difference, objective, with_pooled_intervals
from uprior.studies.leave_one_out import WHOLE

BASE = Mixture(sources=(Uniform(), Dyck(), Pointwise()), shares=(1, 2, 3))
SMALL = {"model": "32x1", "length": "32", "positions": "4", "rows": "2", "show": "false"}
BASE_TEXT = "mixture:sources=(uniform,dyck,pointwise),shares=(1,2,3)"

# ------------------------------------------------------------------ mixtures


def test_candidates_are_a_function_of_the_seed_and_their_shares_add_up():
    pool = (ContextTree(), Dyck())
    found = candidates(BASE, pool, 12, seed=0, cycle=24)
    assert found == candidates(BASE, pool, 12, seed=0, cycle=24) and len(found) == 12
    assert list(found)[:2] == ["base", "equal shares"] and found["base"] == BASE
    others = candidates(BASE, pool, 12, seed=1, cycle=24)
    assert sum(found[name] == others.get(name) for name in found) == 2  # the given ones
    drawn = [source for name, source in found.items() if name.startswith("random") and "," not in name]
    assert len(drawn) >= 5
    for source in drawn:
        parts = parts_of(source)
        assert sum(share for _, share in parts) == 24 and min(share for _, share in parts) >= 1
        assert {part for part, _ in parts} <= {*BASE.sources, ContextTree()} and len({part for part, _ in parts}) >= 2


def test_what_is_left_keeps_its_proportions():
    left = dict(without_each(BASE))
    assert left["dyck"] == Mixture(sources=(Uniform(), Pointwise()), shares=(1, 3))
    assert list(left) == ["uniform", "dyck", "pointwise"]
    with pytest.raises(SpecError, match="dyck is not a mixture"):
        list(without_each(Dyck()))


def test_settings_reach_into_the_mixture():
    lstm = RandomLSTM(hidden=8)
    mixture = Mixture(sources=(Iterated(source=lstm), Relabelled(source=ContextTree())), shares=(2, 1))
    deep = SETTINGS["depth 8"](mixture)
    assert deep.sources[0] == Iterated(source=lstm, max_depth=8) and deep.sources[1] == mixture.sources[1]
    assert SETTINGS["no chains"](mixture).sources[0] == lstm
    alone = SETTINGS["1 row per machine"](mixture)
    assert alone.sources[0].source == lstm.replace(rows_per_machine=1) and alone.shares == (2, 1)
    assert SETTINGS["nothing relabelled"](mixture).sources[1] == ContextTree()
    assert SETTINGS["nothing packed"](mixture) == mixture
    assert SETTINGS["relabelled"](mixture) == Relabelled(source=mixture)


# ------------------------------------------------------------------ what runs come to


def record(arm, seed, file, bits, step=9):
    return {"arm": arm, "seed": seed, "budget": 1, "step": step, "file": file, "bits_mean": bits}


def test_objective_and_differences_by_hand():
    lines = {"a": {"markov": 5.0}, "b": {"markov": 3.0}}
    run = [record("x", 0, "a", 9.0, step=1), record("x", 0, "a", 5.5), record("x", 0, "b", 3.1)]
    assert objective(run, lines, ["a", "b"]) == pytest.approx(0.3)  # of the last evaluation
    records = [record("x", s, f, b) for s, f, b in ((0, "a", 5.0), (0, "b", 3.0), (1, "a", 5.2), (1, "b", 3.0))]
    records += [record("y", s, f, b) for s, f, b in ((0, "a", 4.8), (0, "b", 3.4), (1, "a", 4.8), (1, "b", 3.0))]
    found = difference(records, "x", "y", ["a", "b"])
    assert found["per_seed"] == pytest.approx([-0.1, 0.2]) and found["difference"] == pytest.approx(0.05)
    assert found["per_set"] == pytest.approx({"a": 0.3, "b": -0.2}) and found["worse_sets"] == 1
    assert found["low"] == pytest.approx(0.05 - 12.7062 * 0.15, abs=1e-3)
    one = difference([r for r in records if r["seed"] == 0], "x", "y", ["a", "b"])
    assert one["low"] is None and one["difference"] == pytest.approx(-0.1)


def test_the_spread_of_all_arms_together():
    arms = [{"difference": np.mean(gaps), "per_seed": gaps} for gaps in ([0.1, 0.3], [0.0, 0.0], [-0.2, 0.0])]
    found = with_pooled_intervals(arms)
    half = 3.18245 * ((0.02 + 0.0 + 0.02) / 3 / 2) ** 0.5  # Student with 3 degrees of freedom
    assert [one["high"] - one["difference"] for one in found] == pytest.approx([half] * 3, rel=1e-4)
    assert with_pooled_intervals([{"difference": 0.1, "per_seed": [0.1]}])[0]["low"] is None


# ------------------------------------------------------------------ the studies


def test_the_search_halves_and_judges_on_sets_it_never_saw(tmp_path, monkeypatch, capsys):
    options = {"data": write_data(tmp_path / "data"), "base": BASE_TEXT, "pool": "(context_tree)", "candidates": "4",
               "rungs": ["128", "256"], "keep": "2", "seeds": "2", "docs": str(tmp_path / "docs"), **SMALL}  # fmt: skip
    study = studies.get("search", options)
    out = tmp_path / "out"
    study.run(out)
    summary = json.loads((out / "search.json").read_text())
    records = read_lines(out / "records.jsonl")
    first, last = summary["rankings"]
    assert len(first) == 4 and first == sorted(first, key=lambda one: one["objective"])
    assert {one["candidate"] for one in last} == {one["candidate"] for one in first[:2]} | {"base"}
    assert {r["file"] for r in records if r["rung"] == 0} == set(DEVELOPMENT)
    assert {r["file"] for r in records if r["rung"] == 1} == set(DEVELOPMENT) | set(REAL)
    assert {r["seed"] for r in records if r["rung"] == 0} == {0} and {r["seed"] for r in records if r["rung"] == 1} == {
        1,
        2,
    }
    assert {r["tokens"] for r in records if r["rung"] == 1} == {256}
    lines = {name: bits["markov"] for name, bits in summary["lines"].items()}
    mine = [r for r in records if (r["rung"], r["arm"]) == (0, first[0]["candidate"])]
    assert first[0]["objective"] == pytest.approx(np.mean([r["bits_mean"] - lines[r["file"]] for r in mine]))
    best = summary["best"]
    assert best == last[0]["candidate"]
    assert sources.get(str(out / "best.json")).to_dict() == summary["specs"][best]
    page = (out / "search.md").read_text()
    assert best in page and "search.svg" in page and "hindi" in page
    assert "<svg" in (out / "search.svg").read_text() and "Search" in (out / "report.html").read_text()
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == ["search.md", "search.svg"]
    assert (tmp_path / "docs" / "search.md").read_text() == page
    assert "best first" in capsys.readouterr().err
    refuse_to_train(monkeypatch)
    study.run(out)
    assert read_lines(out / "records.jsonl") == records


def test_what_cannot_be_searched_is_told_before_anything_is_run(tmp_path):
    data = write_data(tmp_path / "data")
    with pytest.raises(SpecError, match="is not a mixture"):
        studies.get("search", {"data": data, "base": "dyck", **SMALL}).run(tmp_path / "out")
    with pytest.raises(SpecError, match="WIDTHxLAYERS"):
        studies.get("search", {**SMALL, "model": "33x1"})
    with pytest.raises(SpecError, match="without, alone, depth"):
        studies.get("leave-one-out", {"groups": "depths"})
    assert not (tmp_path / "out").exists()


def test_leave_one_out_compares_every_arm_with_the_whole(tmp_path, monkeypatch):
    options = {"data": write_data(tmp_path / "data"), "source": BASE_TEXT, "groups": ["without", "alone", "noisy", "length"],
               "tokens": "128", "seeds": "2", "lengths": ["16", "32"], **SMALL}  # fmt: skip
    study = studies.get("leave-one-out", options)
    out = tmp_path / "out"
    study.run(out)
    summary = json.loads((out / "leave-one-out.json").read_text())
    parts = ("uniform", "dyck", "pointwise")
    names = [*(f"without {part}" for part in parts), *(f"{part} alone" for part in parts), "noisy", "rows of 16"]
    assert [arm["name"] for arm in summary["arms"]] == names  # nothing is noisy, and rows of 32 are the mixture's own
    records = read_lines(out / "records.jsonl")
    assert {r["arm"] for r in records} == {WHOLE, *names} and len(records) == 2 * 9 * 5
    arm = summary["arms"][0]
    gap = [
        np.mean(
            [
                r["bits_mean"]
                for r in records
                if (r["arm"], r["seed"]) == (arm["name"], seed) and r["file"] in DEVELOPMENT
            ]
        )
        - np.mean(
            [r["bits_mean"] for r in records if (r["arm"], r["seed"]) == (WHOLE, seed) and r["file"] in DEVELOPMENT]
        )
        for seed in (0, 1)
    ]
    assert arm["development"]["per_seed"] == pytest.approx(gap)
    assert set(arm["real"]["per_set"]) == set(REAL)
    assert "without dyck" in (out / "leave-one-out.md").read_text()
    refuse_to_train(monkeypatch)
    study.run(out)
    assert read_lines(out / "records.jsonl") == records
