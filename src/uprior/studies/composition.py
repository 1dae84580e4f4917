"""Do parts compose? Attention from one source's model and MLPs from another's, against both parents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
from uprior.studies._arms import SCRATCH, Arm, Record, Stage
from uprior.studies._byte_stages import seconds_of
from uprior.studies._effects import compared, interval_record
from uprior.studies._laboratory import Laboratory
from uprior.studies._probes import BUDGETS, PARTS, ProbeBudget, composed_arm, probe_stage, resized, warm_up, warmed_arm
from uprior.studies._short_runs import publish, write_records


@dataclass(frozen=True)
class Composition(Study):
    """Do parts compose? Attention of one warm-up with MLPs of another, against both parents (20 minutes).

    For every ordered pair of ``sources`` a fresh model gets attention of the first and MLPs of the second, and is trained on
    four algorithmic tasks like its parents: each source with everything carried, with attention alone and with MLPs alone
    (Jiang, Shinnick et al. 2026, arXiv 2601.21725: attention of Set with MLPs of automaton 110 is above both in the mean; no
    code was published). A parent is the best of its three ways, by the mean over tasks. Leaves records.jsonl,
    composition.json, composition.md, and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "composition"
    budget: str = parameter("minutes", "sizes of everything that is 0 or empty below", choices=tuple(BUDGETS))
    sources: tuple[Source, ...] = parameter(
        tuple(map(sources.get, ("set@procedural", "elementary_ca"))), "what is warmed up on, two or more"
    )
    tasks: tuple[str, ...] = parameter((), "some of haystack, addition, reversed addition, sorting; empty: all")
    model: str = parameter("", "what is trained; empty: as the budget says")
    rates: tuple[float, ...] = parameter(
        (1e-3,), "learning rates of the tasks, tried for every arm if several", low=1e-8
    )
    steps: int = parameter(0, "steps on each task; 0: as the budget says", low=0)
    warm_steps: int = parameter(0, "steps of each warm-up; 0: as the budget says", low=0)
    seeds: int = parameter(0, "runs of every arm and task; 0: as the budget says", low=0, high=1000)
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page")

    def validate(self) -> None:
        if self.model and preset_of(self.model) is None:
            self.reject("model", ALLOWED)
        if not set(self.tasks) <= set(BUDGETS[self.budget].tasks):
            self.reject("tasks", "some of " + ", ".join(BUDGETS[self.budget].tasks))
        if len({source.name for source in self.sources}) < max(2, len(self.sources)):
            self.reject("sources", "two or more of different names")

    def run(self, out: Path) -> None:
        sizes = {"model": self.model, "steps": self.steps, "warm_steps": self.warm_steps, "seeds": self.seeds}
        budget = resized(BUDGETS[self.budget], **sizes)
        tasks = list(self.tasks or budget.tasks)
        with locked(out):
            stages = [probe_stage(name, budget) for name in tasks]
            parents, children = self._parents(budget, stages), self._children(budget)
            arms = [SCRATCH, *(arm for family in parents.values() for arm in family), *children.values()]
            laboratory = Laboratory(out / "runs", self.rates, self.show)
            tables = {arm.name: laboratory.carry_table(arm, stages[0]) for arm in children.values()}
            records = laboratory.records(arms, stages, range(budget.seeds))
            write_records(out / "records.jsonl", records)
            means = {arm.name: _means(records, arm.name, tasks, budget.seeds) for arm in arms}
            best = {name: _best(family, means) for name, family in parents.items()}
            summary: dict[str, Any] = {
                "study": self.to_dict(),
                "sizes": {k: v for k, v in asdict(budget).items() if isinstance(v, int)},
                "tasks": {name: budget.tasks[name] for name in tasks},
                "model": budget.model,
                "origin": environment.record(),
                "means": {name: values.tolist() for name, values in means.items()},
                "parents": best,
                "children": [_child(pair, arm.name, means, best) for pair, arm in children.items()],
                "differences": compared(records, tasks, [arm.name for arm in arms[1:]], SCRATCH.name, "accuracy"),
                "carried": tables,
                "run_seconds": seconds_of(out / "runs"),
            }
            write_json(out / "composition.json", summary)
            publish(out, self.docs, composition_pages(summary, records))

    def _parents(self, budget: ProbeBudget, stages: list[Stage]) -> dict[str, list[Arm]]:
        """Source -> its three arms."""
        longest = max(stage.model.context for stage in stages)
        return {
            source.name: [warmed_arm(source.name, source, part, budget, longest) for part in PARTS]
            for source in self.sources
        }

    def _children(self, budget: ProbeBudget) -> dict[tuple[str, str], Arm]:
        """(source of attention, source of MLPs) -> arm."""
        return {
            (a.name, b.name): composed_arm(a.name, b.name, (warm_up(a, budget), warm_up(b, budget)))
            for a, b in permutations(self.sources, 2)
        }


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
