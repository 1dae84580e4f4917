"""Does a warm-up on procedural data help language models, and how much real data does it replace? Published sources, on bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

from uprior import corpora, environment, sources
from uprior.files import locked, read_lines, write_json
from uprior.report.procedural_lm import procedural_lm_pages
from uprior.spec import parameter
from uprior.studies import Study
from uprior.studies._arms import BLOCKS, EVERYTHING, SCRATCH, Arm, Carried, Model, Record, Stage, WarmUp, controls_of
from uprior.studies._battery import EvaluationSet, present
from uprior.studies._byte_stages import RealBudget, byte_stage, seconds_of
from uprior.studies._laboratory import Laboratory
from uprior.studies._replaced import additive, strongest_arm, substitutive
from uprior.studies._short_runs import check_model, publish, write_records
from uprior.train.settings import Training

CORPORA = (
    EvaluationSet("english", "English textbook prose", "file:{0}", ("text_en_openstax_us_history.txt",)),
    EvaluationSet("python", "Python, its standard library", "file:{0}", ("code_python_stdlib311.txt",)),
    EvaluationSet(
        "maths", "word problems with answers", "jsonl:path={0},fields=(question,answer)", ("math_gsm8k_train.jsonl",)
    ),
)
CARRIES = {"blocks": BLOCKS, "everything": EVERYTHING}


@dataclass(frozen=True)
class Recipe:
    """How a published system warms up: the source as text, what it carries, and tokens per row (0: the model's context)."""

    source: str
    carry: str
    length: int = 0


# Jiang, Shinnick et al. 2026 (arXiv 2601.21725) and the paper on neural cellular automata (2603.10055) carry blocks into fresh
# tables, Hu et al. 2025 (2502.19249) everything; so do we.
RECIPES = {
    "set": Recipe("set@procedural", "blocks", 129),
    "union": Recipe("union@procedural", "blocks", 130),
    "sort": Recipe("sort@procedural", "blocks", 129),
    "identity": Recipe("identity@procedural", "blocks", 129),
    "dyck": Recipe("dyck@procedural", "blocks"),
    "shuffle_dyck": Recipe("shuffle_dyck@hu", "everything"),
    "elementary_ca": Recipe("elementary_ca", "blocks"),
    "nca": Recipe("neural_cellular_automaton@nca", "blocks"),
    "universal": Recipe("universal", "everything"),
}


@dataclass(frozen=True)
class _Size:
    """Sizes of a budget. ``shares`` of the real tokens are trained on too, each with a schedule of its own."""

    model: str
    context: int
    sources: tuple[str, ...]
    sets: tuple[str, ...]
    seeds: int
    warm_tokens: int
    warm_rows: int
    real_tokens: int
    real_rows: int
    shares: tuple[float, ...]
    positions: int
    rates: tuple[float, ...]


_SIZES = {
    "minutes": _Size(
        "128x2", 256, ("set", "shuffle_dyck", "universal"), ("english", "python"), 4, 1 << 17, 8, 307_200, 4, (0.5, 0.7), 64,
        (1e-3, 2e-3, 4e-3),
    ),
    "hour": _Size(
        "128x2", 256, ("set", "union", "sort", "dyck", "shuffle_dyck", "elementary_ca", "universal"),
        ("english", "python", "maths"), 4, 1 << 17, 8, 307_200, 4, (0.5, 0.7), 64, (1e-3, 2e-3, 4e-3),
    ),
    # GPT-2 small on 655 M tokens in steps of 32 x 2048, after 20.5 M procedural tokens (Jiang, Shinnick et al. 2026).
    "published": _Size(
        "gpt2-small", 2048, tuple(RECIPES), ("english", "python", "maths"), 3, 20_500_000, 32, 10_000 << 16, 32,
        (0.5, 0.6, 0.7, 0.8, 0.9), 1000, (5e-4, 1e-3),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ProceduralLM(Study):
    """Does procedural data help language models, and how much real data does it replace? Published sources (25 minutes).

    Additive: after a warm-up and the full real budget, how much lower is the loss than scratch's with the same real budget.
    Substitutive: with how many real tokens is scratch's final loss reached, as published by the first crossing of the full run,
    and by runs of shorter budgets, each with a cosine of its own. Sources and what they carry are as published (blocks into
    fresh tables, or everything); learning rates are tuned for each arm on equal trials; text is bytes. The strongest arm is run
    again on random tokens and on its own rows shuffled. Sets are english, python, maths, or corpora written as text, as in
    file:mine.txt. Leaves records.jsonl, procedural-lm.json, procedural-lm.md, its figures and report.html in ``out``; finished
    runs are never run again.
    """

    name: ClassVar[str] = "procedural-lm"
    budget: str = parameter("minutes", "sizes of everything that is 0 or empty below", choices=tuple(_SIZES))
    data: str = parameter("data", "folder with the files of the sets")
    sets: tuple[str, ...] = parameter((), "english, python, maths, or corpora; empty: as the budget says")
    sources: tuple[str, ...] = parameter((), "what is warmed up on: " + ", ".join(RECIPES) + ", or any source")
    carries: tuple[str, ...] = parameter(("published",), "what is carried: published, blocks, everything")
    model: str = parameter("", "what is trained: a preset or a size; empty: as the budget says")
    warm_tokens: int = parameter(0, "tokens of every warm-up; 0: as the budget says", low=0)
    warm_rate: float = parameter(1e-3, "learning rate of warm-ups, constant after its rise", low=1e-8, high=10.0)
    real_tokens: int = parameter(0, "real tokens, the full budget; 0: as the budget says", low=0)
    shares: tuple[float, ...] = parameter(
        (), "shorter budgets, as shares of it; empty: as the budget says", low=0.01, high=0.99
    )
    seeds: int = parameter(0, "runs of each arm; 0: as the budget says", low=0, high=1000)
    rates: tuple[float, ...] = parameter((), "learning rates tried for every arm; empty: as the budget says", low=1e-8)
    positions: int = parameter(0, "windows per set and evaluation; 0: as the budget says", low=0)
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page and its figures")

    def validate(self) -> None:
        if self.model:
            check_model(self, "model", self.model)
        if not self.carries or not set(self.carries) <= {"published", *CARRIES}:
            self.reject("carries", "some of published, blocks, everything")

    @property
    def size(self) -> _Size:
        """The budget's sizes, with the options on top."""
        given = {name: getattr(self, name) for name in asdict(_SIZES[self.budget]) if getattr(self, name, None)}
        return replace(_SIZES[self.budget], **given)

    def run(self, out: Path) -> None:
        size, texts = self.size, self._texts()
        stages = {name: self._stages(name, text) for name, text in texts.items()}
        full = [of_set[-1] for of_set in stages.values()]
        with locked(out):
            laboratory = Laboratory(out / "runs", size.rates, self.show)
            arms = [self._tuned(laboratory, arm, full[0]) for arm in (SCRATCH, *self._arms())]
            carried = {arm.name: self._carried(laboratory, arm, full[0]) for arm in arms[1:]}
            records = self._recorded(laboratory, out, [], arms, [s for of_set in stages.values() for s in of_set])
            strongest = strongest_arm(records, list(texts), [arm.name for arm in arms[1:]])
            chosen = next(arm for arm in arms if arm.name == strongest)
            controls = [self._tuned(laboratory, arm, full[0]) for arm in self._controls(chosen)]
            records = self._recorded(laboratory, out, records, controls, full)
            names, all_names = [arm.name for arm in arms[1:]], [arm.name for arm in (*arms[1:], *controls)]
            budgets = {name: [(self._tokens(s), s.name) for s in of_set] for name, of_set in stages.items()}
            summary = {
                "study": self.to_dict(),
                "origin": environment.record(),
                "sizes": {name: value for name, value in asdict(size).items() if isinstance(value, int)},
                "model": size.model,
                "sets": list(texts),
                "arms": names,
                "sources": {arm.name: self._source_of(arm) for arm in arms[1:]},
                "controls": [arm.name for arm in controls],
                "strongest": strongest,
                "budgets": budgets,
                "additive": additive(records, list(texts), all_names),
                "substitutive": substitutive(records, budgets, names),
                "warm_ups": [self._learnt(laboratory, arm, full[0]) for arm in (*arms[1:], *controls)],
                "carried": carried,
                "run_seconds": seconds_of(out / "runs"),
            }
            write_json(out / "procedural-lm.json", summary)
            publish(out, self.docs, procedural_lm_pages(summary, records))

    def _recorded(
        self, laboratory: Laboratory, out: Path, before: list[Record], arms: Sequence[Arm], stages: Sequence[Stage]
    ) -> list[Record]:
        records = before + laboratory.records(arms, stages, range(self.size.seeds))
        write_records(out / "records.jsonl", records)
        return records

    # ---------------------------------------------------------------- arms

    def _arms(self) -> list[Arm]:
        """Every source with everything that is carried; one that would come twice, once."""
        found: dict[str, Arm] = {}
        for name in self.size.sources:
            recipe = RECIPES.get(name, Recipe(name, "everything"))
            for carry in self.carries:
                parts = recipe.carry if carry == "published" else carry
                found[f"{name}, {parts}"] = Arm(f"{name}, {parts}", (Carried(self._warm_up(recipe), CARRIES[parts]),))
        return list(found.values())

    def _warm_up(self, recipe: Recipe) -> WarmUp:
        size, source = self.size, sources.get(recipe.source)
        length = recipe.length or size.context
        rows = max(1, round(size.warm_rows * size.context / length))
        steps = max(1, round(size.warm_tokens / (rows * length)))
        training = Training(
            steps=steps,
            learning_rate=self.warm_rate,
            warmup_steps=min(20, max(1, steps // 5)),
            checkpoint_every=max(100, steps // 5),
        )
        return WarmUp(source, training, rows, length, vocab=max(256, source.alphabet_size))

    def _controls(self, arm: Arm) -> list[Arm]:
        return controls_of(arm)[:2]

    def _tuned(self, laboratory: Laboratory, arm: Arm, stage: Stage) -> Arm:
        """The arm with the rate that was best for it on the full budget of the first set, for all sets and budgets."""
        return replace(arm, rates=(laboratory.rate(arm, stage),))

    def _carried(self, laboratory: Laboratory, arm: Arm, stage: Stage) -> list[Record]:
        """What goes into the fresh model: said before anything is trained on real data."""
        table = laboratory.start(arm, stage, 0)[1]
        sys.stderr.write(f"{self.name}  {arm.name}:\n{table}\n")
        return table.records() if table is not None else []

    def _learnt(self, laboratory: Laboratory, arm: Arm, stage: Stage) -> Record:
        """What the warm-up of seed 0 came to: its loss in the first and the last tenth of its steps, and above the floor."""
        warm_up = arm.carried[0].warm_up
        assert isinstance(warm_up, WarmUp)
        log = read_lines(laboratory.warm_up(warm_up, stage.model, 0) / "log.jsonl")
        lines = [line for line in log if line["event"] == "train"]
        tenth = max(1, len(lines) // 10)

        def mean(part: list[Record], field: str) -> float | None:
            known = [line[field] for line in part if line[field] is not None]
            return sum(known) / len(known) if known else None

        return {
            "arm": arm.name,
            "tokens": warm_up.tokens,
            "first_nats": mean(lines[:tenth], "loss_nats"),
            "last_nats": mean(lines[-tenth:], "loss_nats"),
            "above_floor_nats": mean(lines[-tenth:], "above_floor_nats"),
        }

    def _source_of(self, arm: Arm) -> str:
        return arm.name.rpartition(", ")[0]

    # ---------------------------------------------------------------- stages

    def _texts(self) -> Mapping[str, str]:
        """name -> corpus as text. UnknownNameError, CorpusError."""
        named = [name for name in self.size.sets if ":" not in name]
        given = {corpora.get(text).label: text for text in self.size.sets if ":" in text}
        return (present(CORPORA, self.data, named) if named else {}) | given

    def _stages(self, name: str, text: str) -> list[Stage]:
        """The shorter budgets, ascending, and the full one, which has the set's name."""
        size = self.size
        model = Model(size.model, 256, size.context)
        full = RealBudget(size.real_tokens, size.real_rows, positions=size.positions)
        short = [
            byte_stage(
                f"{name}, {share:g} of it", text, model, replace(full, tokens=round(share * full.tokens), evaluations=2)
            )
            for share in sorted(size.shares)
        ]
        return [*short, byte_stage(name, text, model, full)]

    def _tokens(self, stage: Stage) -> int:
        return stage.training.steps * self.size.real_rows * self.size.context
