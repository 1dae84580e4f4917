"""Does the universal prior help where real data is scarce, and does it survive fine-tuning? Against scratch and controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from uprior import corpora, environment
from uprior.files import locked, write_json
from uprior.models.sizes import ALLOWED, preset_of, size_of
from uprior.report.universal_finetune import universal_finetune_pages
from uprior.sources import Source
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies import Study
from uprior.studies._arms import EVERYTHING, SCRATCH, Arm, Carried, Given, Model, Record, Stage, WarmUp, controls_of
from uprior.studies._battery import real_sets
from uprior.studies._byte_stages import RealBudget, byte_stage, seconds_of
from uprior.studies._effects import charged, compared, elsewhere, savings, seeds_of
from uprior.studies._laboratory import Laboratory
from uprior.studies._short_runs import Panel, publish, write_records
from uprior.train.settings import Training

PRIOR, SHORT, PLAIN = "universal prior", "short warm-up", "scratch, all weights random"
# Of each budget: fine-tuning steps, seeds, windows per evaluation, bytes of real data, tokens of the short warm-up. Published:
# steps, windows and the training split of enwik8 (Bloem 2025 and its code); one run, but intervals need seeds.
BUDGETS = {
    "minutes": {"steps": 60, "seeds": 2, "positions": 64, "limit_bytes": 100_000, "warmup_tokens": 400_000},
    "hour": {"steps": 200, "seeds": 4, "positions": 128, "limit_bytes": 300_000, "warmup_tokens": 3_000_000},
    "published": {
        "steps": 600_000,
        "seeds": 10,
        "positions": 10_000,
        "limit_bytes": 90_000_000,
        "warmup_tokens": 1 << 33,
    },
}
# Of the corpora, those that rates are chosen on: one alone may be unlike its own test split, as the German book is.
TRIAL_CORPORA = 2
TRAINED_ON = ("german", "python", "gsm8k", "hindi", "protein", "sensors")


@dataclass(frozen=True)
class UniversalFinetune(Study):
    """Does the universal prior save real data, and does it survive fine-tuning? Against scratch and controls (50 minutes).

    Each arm is fine-tuned on each corpus of ``corpora``, of which only the first bytes are given, and measured on that corpus'
    test split all along, and on all eleven real sets before, halfway and at the end (Bloem 2025, arXiv 2506.20057, fine-tunes
    against a baseline of random weights). Arms: scratch; scratch with random weights only, where the model has another start; the
    shipped prior; a short warm-up of ``source`` made anew for every seed. On ``control_corpora`` also attention alone and MLPs
    alone of the prior, its weights shuffled and drawn anew with the same statistics, short warm-ups on random tokens, on
    shuffled rows and on another domain's real data, and scratch given the short warm-up's compute. Rates are chosen by equal
    trials on the validation splits of the first two corpora; at budget minutes, controls take the rate of the arm that they are a
    control of. Leaves records.jsonl, universal-finetune.json, universal-finetune.md, its figure and report.html in ``out``;
    finished runs are never run again.
    """

    name: ClassVar[str] = "universal-finetune"
    data: str = parameter("data", "folder with the files of the evaluation sets")
    budget: str = parameter("minutes", "sizes of everything that is 0 below", choices=tuple(BUDGETS))
    corpora: tuple[str, ...] = parameter(TRAINED_ON, "what is fine-tuned on")
    control_corpora: tuple[str, ...] = parameter(("german", "python"), "of these, those with all controls")
    model: str = parameter("", "what is trained: a preset or a size; nothing: what the prior is")
    prior: str = parameter("universal", "a shipped model, or a folder that uprior ship wrote; none: leave it out")
    source: Source = field(default=Universal(), metadata={"text": "what the short warm-up reads"})
    rates: tuple[float, ...] = parameter(
        (1e-4, 3e-4, 1e-3, 3e-3), "learning rates tried for every arm", low=1e-8, high=10.0
    )
    warmup_rate: float = parameter(3e-4, "constant learning rate of the short warm-up", low=1e-8, high=10.0)
    steps: int = parameter(0, "steps of fine-tuning; 0: as the budget says", low=0)
    rows: int = parameter(16, "rows per step", low=1)
    length: int = parameter(256, "tokens per row, bytes per window", low=16)
    seeds: int = parameter(0, "runs of every arm and corpus; 0: as the budget says", low=0, high=1000)
    positions: int = parameter(0, "windows per set and evaluation; 0: as the budget says", low=0)
    limit_bytes: int = parameter(0, "bytes of a corpus that are trained on; 0: as the budget says", low=0)
    warmup_tokens: int = parameter(0, "tokens of the short warm-up; 0: as the budget says", low=0)
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page and its figures")

    def validate(self) -> None:
        if self.model and preset_of(self.model) is None:
            self.reject("model", ALLOWED)
        if not self.corpora or not set(self.control_corpora) <= set(self.corpora):
            self.reject("control_corpora", "some of " + ", ".join(self.corpora))

    def run(self, out: Path) -> None:
        sizes = {name: getattr(self, name) or value for name, value in BUDGETS[self.budget].items()}
        sets = real_sets(self.data)
        missing = [name for name in self.corpora if name not in sets]
        if missing:
            self.reject("corpora", "some of " + ", ".join(sets))
        model = self.model or size_of("universal" if self.prior == "none" else self.prior)
        with locked(out):
            stages = [self._stage(name, sets, sizes, model) for name in self.corpora]
            laboratory = _FewTrials(out / "runs", self.rates, self.show, tuple(stages[:TRIAL_CORPORA]))
            arms, controls = self._arms(sets, sizes)
            if self.budget == "minutes":
                controls = [_at_rate_of(laboratory, arms, control, stages[0]) for control in controls]
            tables = {arm.name: laboratory.carry_table(arm, stages[0]) for arm in (*arms, *controls)}
            seeds = range(int(sizes["seeds"]))
            records = laboratory.records(arms, stages, seeds)
            few = [stage for stage in stages if stage.name in self.control_corpora]
            records += laboratory.records(controls, few, seeds) if few else []
            write_records(out / "records.jsonl", records)
            summary = self._summary(records, arms, controls, list(sets), sizes) | {
                "model": model,
                "trial_corpora": list(self.corpora[:TRIAL_CORPORA]),
                "carried": tables,
                "run_seconds": seconds_of(out / "runs"),
            }
            write_json(out / "universal-finetune.json", summary)
            publish(out, self.docs, universal_finetune_pages(summary, records))

    # ---------------------------------------------------------------- arms and stages

    def _arms(self, sets: dict[str, str], sizes: dict[str, int]) -> tuple[list[Arm], list[Arm]]:
        """(arms of every corpus, controls)."""
        steps = -(-sizes["warmup_tokens"] // (self.rows * self.length))
        training = Training(
            steps=steps, warmup_steps=min(20, steps // 5), learning_rate=self.warmup_rate, checkpoint_every=200
        )
        short = Arm(SHORT, (Carried(WarmUp(self.source, training, self.rows, self.length), EVERYTHING),))
        arms = [SCRATCH, Arm(PLAIN, plain=True), short]
        other = corpora.get(sets[next(name for name in sets if name not in self.corpora)])
        controls = [
            arm
            for arm in controls_of(short, other=other, more_steps=steps, by_head=False)
            if not arm.name.startswith("weights")
        ]
        if self.prior != "none":
            prior = Arm(PRIOR, (Carried(Given.shipped(self.prior), EVERYTHING),))
            arms += [prior]
            controls += [
                Arm(f"{PRIOR}, {part} only", (Carried(Given.shipped(self.prior), (part, "norms")),))
                for part in ("attention", "mlp")
            ]
            controls += controls_of(prior, by_head=False)
        return arms, controls

    def _stage(self, name: str, sets: dict[str, str], sizes: dict[str, int], model: str) -> Stage:
        """Fine-tuning on one corpus, measured on it all along, and on all sets before, halfway and at the end."""
        steps, positions = sizes["steps"], sizes["positions"]
        budget = RealBudget(
            tokens=steps * self.rows * self.length, rows=self.rows, limit_bytes=sizes["limit_bytes"], evaluations=8,
            positions=positions,
        )  # fmt: skip
        stage = byte_stage(name, sets[name], Model(model, 256, self.length), budget)
        everything = Panel(sets, context=self.length, positions=positions)
        in_full = frozenset({0, steps // 2, steps})

        def measure(trained: Any, step: int) -> list[Record]:
            return everything.measure(trained) if step in in_full or step > steps else stage.measure(trained, step)

        key = stage.key | {"everything": everything.describe()}
        return replace(stage, measure=measure, evaluate_at=stage.evaluate_at | in_full, key=key)

    # ---------------------------------------------------------------- what it came to

    def _summary(
        self,
        records: list[Record],
        arms: Sequence[Arm],
        controls: Sequence[Arm],
        sets: list[str],
        sizes: dict[str, int],
    ) -> dict[str, Any]:
        stages, few = list(self.corpora), list(self.control_corpora)
        names = [arm.name for arm in arms if arm.name != SCRATCH.name]
        warmed, extra = [name for name in names if name != PLAIN], [arm.name for arm in controls]
        return {
            "study": self.to_dict(),
            "sizes": sizes,
            "origin": environment.record(),
            "sets": sets,
            "arms": [SCRATCH.name, *names],
            "controls": extra,
            "differences": compared(records, stages, names, SCRATCH.name),
            "against_random": compared(records, stages, warmed, PLAIN),
            "savings": [one for base in (SCRATCH.name, PLAIN) for one in savings(records, stages, warmed, base)],
            "charged": [one for base in (SCRATCH.name, PLAIN) for one in charged(records, stages, warmed, base)],
            "control_differences": compared(records, few, extra, SCRATCH.name) if few else [],
            "control_gaps": [one for control in extra for one in compared(records, few, warmed, control)]
            if few
            else [],
            "elsewhere": elsewhere(records, stages, sets, [SCRATCH.name, *names]),
            "seeds": seeds_of(records),
        }


def _at_rate_of(laboratory: Laboratory, arms: Sequence[Arm], control: Arm, stage: Stage) -> Arm:
    """A control at the rate of the arm that it is a control of: the prior's where it has the prior's weights, and so on."""
    given = any(isinstance(one.warm_up, Given) for one in control.carried)
    kind = PRIOR if given else SHORT if control.carried else SCRATCH.name
    return replace(control, rates=(laboratory.rate(next(arm for arm in arms if arm.name == kind), stage),))


@dataclass(frozen=True)
class _FewTrials(Laboratory):
    """Rates are chosen on a few stages for all: trials are expensive, and best rates differ little between corpora."""

    trial_stages: tuple[Stage, ...] = ()

    def rate(self, arm: Arm, stage: Stage) -> float:
        return self.rate_on(arm, self.trial_stages)
