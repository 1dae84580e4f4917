"""Which source teaches which algorithmic task, and where does it live? Sources x parts x tasks, against scratch and controls."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from uprior import environment, sources
from uprior.files import locked, write_json
from uprior.models.sizes import ALLOWED, build, preset_of
from uprior.report.procedural_probes import procedural_probes_pages
from uprior.sources import Source
from uprior.spec import parameter
from uprior.studies import Study
from uprior.studies._arms import SCRATCH, Arm, Record, Stage, WarmUp, controls_of
from uprior.studies._byte_stages import seconds_of
from uprior.studies._effects import compared
from uprior.studies._laboratory import Laboratory
from uprior.studies._probe_budgets import BUDGETS, TASKS, ProbeBudget
from uprior.studies._probes import PARTS, adjusted, described, learnt, probe_stage, resized, warmed_arm
from uprior.studies._short_runs import publish, write_records
from uprior.transfer import carry

# Of the carry tables: what they say does not depend on the size.
FAMILIES, FAMILY_SIZE = ("llama", "gpt2", "gpt-neox"), "32x2x4"


@dataclass(frozen=True)
class ProceduralProbes(Study):
    """Which source teaches which algorithmic task, and in which weights does it live? (25 minutes)

    A small model is warmed up on each source; everything, attention alone or MLPs alone go into a fresh one, which is then
    trained on each task (Jiang, Shinnick et al. 2026, arXiv 2601.21725, section 4: Haystack, addition, reversed addition,
    sorting, multiplication), beside scratch. The best source and part also get the controls: warm-ups on random tokens and on
    shuffled rows, its weights shuffled or drawn anew. Accuracy is of answer tokens under teacher forcing on problems that
    training cannot see; the published metric, which skips the first answer token, is recorded beside it. Leaves records.jsonl,
    procedural-probes.json, procedural-probes.md, its figure and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "procedural-probes"
    budget: str = parameter("minutes", "sizes of everything that is 0 or empty below", choices=tuple(BUDGETS))
    sources: tuple[Source, ...] = parameter((), "what is warmed up on, of different names; empty: as the budget says")
    parts: tuple[str, ...] = parameter(
        ("everything", "attention", "MLPs"), "what is carried, some of " + ", ".join(PARTS)
    )
    tasks: tuple[str, ...] = parameter((), "some of " + ", ".join(TASKS) + "; empty: all")
    model: str = parameter("", "what is trained; empty: as the budget says")
    rates: tuple[float, ...] = parameter(
        (), "learning rates of the tasks, tried for every arm if several; empty: the budget's one", low=1e-8
    )
    steps: int = parameter(0, "steps on each task; 0: as the budget says", low=0)
    warm_steps: int = parameter(0, "steps of each warm-up; 0: as the budget says", low=0)
    seeds: int = parameter(0, "runs of every arm and task; 0: as the budget says", low=0, high=1000)
    controls: bool = parameter(True, "controls of the best arm")
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page and its figures")

    def validate(self) -> None:
        if self.model and preset_of(self.model) is None:
            self.reject("model", ALLOWED)
        if not set(self.parts) <= set(PARTS) or not self.parts:
            self.reject("parts", "some of " + ", ".join(PARTS))
        if not set(self.tasks) <= set(TASKS):
            self.reject("tasks", "some of " + ", ".join(TASKS))
        if len({source.name for source in self.sources}) < len(self.sources):
            self.reject("sources", "one of each name")

    def run(self, out: Path) -> None:
        budget = self._sized()
        names = list(self.tasks or budget.tasks)
        with locked(out):
            stages = [probe_stage(name, budget) for name in names]
            laboratory = Laboratory(out / "runs", self.rates or (budget.rate,), self.show)
            arms, seeds = self._arms(budget, stages), range(budget.seeds)
            families = self._families(arms[0], stages[0])
            records = laboratory.records([SCRATCH, *arms], stages, seeds)
            found = adjusted(compared(records, names, [arm.name for arm in arms], SCRATCH.name, "accuracy"))
            best = max(arms, key=lambda arm: sum(one["difference"] for one in found if one["arm"] == arm.name))
            controls = controls_of(best, by_head=False) if self.controls else []
            records += laboratory.records(controls, stages, seeds)
            write_records(out / "records.jsonl", records)
            summary: dict[str, Any] = {
                "study": self.to_dict(),
                **described(budget, names),
                "origin": environment.record(),
                "scratch": {name: _mean(records, name) for name in names},
                "differences": found,
                "best": best.name,
                "controls": compared(records, names, [arm.name for arm in controls], SCRATCH.name, "accuracy"),
                "learnt": learnt(laboratory, arms, stages[0], seeds),
                "families": families,
                "run_seconds": seconds_of(out / "runs"),
            }
            write_json(out / "procedural-probes.json", summary)
            publish(out, self.docs, procedural_probes_pages(summary, records))

    def _sized(self) -> ProbeBudget:
        return resized(
            BUDGETS[self.budget], model=self.model, steps=self.steps, warm_steps=self.warm_steps, seeds=self.seeds
        )

    def _arms(self, budget: ProbeBudget, stages: list[Stage]) -> list[Arm]:
        longest = max(stage.model.context for stage in stages)
        given = self.sources or tuple(map(sources.get, budget.sources))
        return [warmed_arm(source, part, budget, longest) for source in given for part in self.parts]

    def _families(self, arm: Arm, stage: Stage) -> dict[str, list[Record]]:
        """The carry table of one arm in each family of models, said before anything is trained on a task."""
        tables = {}
        warm, (carried,) = arm.carried[0].warm_up, arm.carried
        assert isinstance(warm, WarmUp)
        for family in FAMILIES:
            size = f"{family}:{FAMILY_SIZE}"
            trained = build(size, vocab=warm.vocab, context=warm.length, seed=0, untied=True)
            fresh = build(size, vocab=stage.model.vocab, context=stage.model.context, seed=1, untied=True)
            table = carry(trained, fresh, carried.parts, embeddings=arm.embeddings, positions=arm.positions)
            tables[family] = table.records()
            sys.stderr.write(f"{self.name}  {arm.name}, {family}:\n{table}\n")
        return tables


def _mean(records: list[Record], stage: str) -> float:
    last = {r["seed"]: r["accuracy"] for r in records if r["stage"] == stage and r["arm"] == SCRATCH.name}
    return float(sum(last.values()) / len(last))
