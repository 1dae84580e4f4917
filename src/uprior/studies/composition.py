"""Do parts compose? Attention from one source's model and MLPs from another's, against both parents."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uprior import environment, sources
from uprior.files import locked, write_json
from uprior.models.sizes import ALLOWED, preset_of
from uprior.report.composition import composition_pages
from uprior.sources import Source
from uprior.spec import parameter
from uprior.statistics import paired_difference
from uprior.studies import Study
from uprior.studies._arms import SCRATCH, Arm, Record, Stage, controls_of
from uprior.studies._byte_stages import seconds_of
from uprior.studies._effects import compared, interval_record
from uprior.studies._laboratory import Laboratory
from uprior.studies._probe_budgets import BUDGETS, FOUR_TASKS, TASKS, ProbeBudget
from uprior.studies._probes import composed_arm, described, learnt, probe_stage, resized, warmed_arm
from uprior.studies._short_runs import publish, write_records

# Of a parent: the published comparisons are with all of a source's model and with the part that the child has of it.
WAYS = ("everything", "attention", "MLPs")


@dataclass(frozen=True)
class Composition(Study):
    """Do parts compose? Attention of one warm-up with MLPs of another, against both parents (20 minutes).

    For every ordered pair of ``sources`` a fresh model gets attention of the first and MLPs of the second, and is trained on
    four algorithmic tasks like its parents: each source with everything carried, with attention alone and with MLPs alone
    (Jiang, Shinnick et al. 2026, arXiv 2601.21725: attention of Set with MLPs of automaton 110 is above both in the mean; no
    code was published). A parent is the best of its three ways, by the mean over tasks. The first pair also gets the controls:
    both warm-ups on random tokens and on shuffled rows, their weights shuffled or drawn anew. Leaves records.jsonl,
    composition.json, composition.md, and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "composition"
    budget: str = parameter("minutes", "sizes of everything that is 0 or empty below", choices=tuple(BUDGETS))
    sources: tuple[Source, ...] = parameter(
        (), "what is warmed up on, two or more of different names; empty: Set and automaton 110 as the budget has them"
    )
    tasks: tuple[str, ...] = parameter(FOUR_TASKS, "some of " + ", ".join(TASKS))
    model: str = parameter("", "what is trained; empty: as the budget says")
    rates: tuple[float, ...] = parameter(
        (), "learning rates of the tasks, tried for every arm if several; empty: the budget's one", low=1e-8
    )
    steps: int = parameter(0, "steps on each task; 0: as the budget says", low=0)
    warm_steps: int = parameter(0, "steps of each warm-up; 0: as the budget says", low=0)
    seeds: int = parameter(0, "runs of every arm and task; 0: as the budget says", low=0, high=1000)
    controls: bool = parameter(True, "controls of the first pair")
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page")

    def validate(self) -> None:
        if self.model and preset_of(self.model) is None:
            self.reject("model", ALLOWED)
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            self.reject("tasks", "some of " + ", ".join(TASKS))
        if self.sources and len({source.name for source in self.sources}) < max(2, len(self.sources)):
            self.reject("sources", "two or more of different names")

    def run(self, out: Path) -> None:
        sizes = {"model": self.model, "steps": self.steps, "warm_steps": self.warm_steps, "seeds": self.seeds}
        budget, tasks = resized(BUDGETS[self.budget], **sizes), list(self.tasks)
        with locked(out):
            stages = [probe_stage(name, budget) for name in tasks]
            parents, children = self._parents(budget, stages), self._children(budget)
            first = next(iter(children.values()))
            controls = controls_of(first, by_head=False) if self.controls else []
            tried = [*(arm for family in parents.values() for arm in family), *children.values(), *controls]
            laboratory = Laboratory(out / "runs", self.rates or (budget.rate,), self.show)
            tables = {arm.name: laboratory.carry_table(arm, stages[0]) for arm in children.values()}
            records = laboratory.records([SCRATCH, *tried], stages, range(budget.seeds))
            write_records(out / "records.jsonl", records)
            means = {arm.name: _means(records, arm.name, tasks, budget.seeds) for arm in [SCRATCH, *tried]}
            best = {name: _best(family, means) for name, family in parents.items()}
            summary: dict[str, Any] = {
                "study": self.to_dict(),
                **described(budget, tasks),
                "origin": environment.record(),
                "means": {name: values.tolist() for name, values in means.items()},
                "parents": best,
                "children": [_child(pair, arm.name, means, best) for pair, arm in children.items()],
                "controls": [arm.name for arm in controls],
                "differences": compared(records, tasks, [arm.name for arm in tried], SCRATCH.name, "accuracy"),
                "learnt": learnt(laboratory, tried[: -len(controls) or None], stages[0], range(budget.seeds)),
                "carried": tables,
                "run_seconds": seconds_of(out / "runs"),
            }
            write_json(out / "composition.json", summary)
            publish(out, self.docs, composition_pages(summary, records))

    def _sources(self, budget: ProbeBudget) -> tuple[Source, ...]:
        published = ("set", "elementary_ca")
        by_name = {source.name: source for source in map(sources.get, budget.sources)}
        return self.sources or tuple(by_name[name] for name in published)

    def _parents(self, budget: ProbeBudget, stages: list[Stage]) -> dict[str, list[Arm]]:
        """Source -> its three arms."""
        longest = max(stage.model.context for stage in stages)
        return {
            source.name: [warmed_arm(source, part, budget, longest) for part in WAYS]
            for source in self._sources(budget)
        }

    def _children(self, budget: ProbeBudget) -> dict[tuple[str, str], Arm]:
        """(source of attention, source of MLPs) -> arm."""
        return {(a.name, b.name): composed_arm(a, b, budget) for a, b in permutations(self._sources(budget), 2)}


def _best(family: list[Arm], means: dict[str, Any]) -> str:
    return max((arm.name for arm in family), key=lambda name: float(means[name].mean()))


def _child(pair: tuple[str, str], arm: str, means: dict[str, Any], best: dict[str, str]) -> dict[str, Any]:
    """A composed arm against the best arm of each of its sources, paired by seed, in mean accuracy over tasks."""
    against = {}
    for name in pair:
        difference = means[arm] - means[best[name]]
        found = paired_difference(means[arm], means[best[name]])
        against[name] = interval_record(found) | {"per_seed": difference.tolist()}
    return {"arm": arm, "attention": pair[0], "mlp": pair[1], "against": against}


def _means(records: list[Record], arm: str, tasks: list[str], seeds: int) -> Any:
    """[S] accuracy at the end, mean over tasks, of each seed."""
    last = {(r["stage"], r["seed"]): r["accuracy"] for r in records if r["arm"] == arm}
    return np.array([[last[task, seed] for task in tasks] for seed in range(seeds)]).mean(1)
