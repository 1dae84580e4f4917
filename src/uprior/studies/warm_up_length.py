"""How long should a warm-up be? The same warm-up carried at many lengths, and rules that stop it without real data."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from uprior import environment, sources
from uprior.files import locked, read_lines, write_json
from uprior.models.folder import load_model
from uprior.report.warm_up_length import warm_up_length_pages
from uprior.rng import digest
from uprior.sources import Source
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies import Study
from uprior.studies._arms import SCRATCH, Arm, Carried, Model, Record, Stage, WarmUp, controls_of
from uprior.studies._battery import real_sets
from uprior.studies._byte_stages import RealBudget, byte_stage, names_within, seconds_of, synthetic_bits
from uprior.studies._laboratory import Laboratory, kept_at
from uprior.studies._lengths import best_arm, outcome
from uprior.studies._short_runs import check_model, publish, write_records
from uprior.train.enough import octave_means
from uprior.train.settings import Training

# One source of each family of computation; what the warm-up itself has is left out.
HELD_OUT = ("elementary_ca", "turing_machine", "lindenmayer", "context_tree", "random_transformer")
HELD_OUT_ROWS = 32
# A control: the symbols' tables of the warm-up in a model that is fresh otherwise. Weights drawn anew keep the tables too.
TABLES_ALONE = "tables alone"


@dataclass(frozen=True)
class _Size:
    """Sizes of a budget. ``lengths`` warm-ups, each half as long as the next, the last of ``longest`` tokens."""

    models: tuple[str, ...]
    context: int
    rows: int
    longest: int
    lengths: int
    seeds: int
    real_tokens: int
    real_rows: int
    limit_bytes: int
    positions: int
    rates: tuple[float, ...]
    controls: tuple[str, ...]


_SIZES = {
    "minutes": _Size(
        ("128x2",), 256, 8, 1 << 21, 6, 4, 245_760, 4, 60_000, 64, (2e-3, 4e-3),
        ("random tokens", TABLES_ALONE, "weights same statistics"),
    ),
    "hour": _Size(
        ("128x2", "256x2"), 256, 8, 1 << 22, 7, 4, 245_760, 4, 60_000, 64, (1e-3, 2e-3),
        ("random tokens", "shuffled sequences", TABLES_ALONE, "weights same statistics"),
    ),
    # Hu et al. 2025: Pythia-160M, steps of 32 x 2048 tokens, 10,000 of them on real text; 125 to 4,000 steps of warm-up.
    "published": _Size(
        ("gpt-neox-125m",), 2048, 32, 4000 << 16, 6, 3, 10_000 << 16, 32, 0, 1000, (5e-4, 1e-3),
        ("random tokens", "shuffled sequences", "weights shuffled", "weights same statistics"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class WarmUpLength(Study):
    """How long should a warm-up be, and can it tell itself? Many lengths of one warm-up, then scarce real data (25 minutes).

    One run of warm-up per seed, at a constant rate, is carried (everything) at lengths that double; each then trains on a little
    real data of each set, beside scratch, paired by seed, every length with its own learning rate. Said are the final difference
    to scratch, data saving and area under the curve by length; where the best length lies, with an interval; and what rules would
    have cost that see no real data: stop when the last doubling brought little (``uprior.train.enough``), by the warm-up's own
    training loss, or by the loss on sources it does not have. Controls are run at the best length. Leaves records.jsonl,
    signals.jsonl, warm-up-length.json, warm-up-length.md, its figures and report.html in ``out``; finished runs are never
    run again.
    """

    name: ClassVar[str] = "warm-up-length"
    budget: str = parameter("minutes", "sizes of everything that is 0 or empty below", choices=tuple(_SIZES))
    data: str = parameter("data", "folder with the files of the evaluation sets")
    sets: tuple[str, ...] = parameter(("german", "c"), "real data of the shared stages")
    source: Source = field(default=Universal(), metadata={"text": "what is warmed up on"})
    models: tuple[str, ...] = parameter((), "what is trained: presets or sizes; empty: as the budget says")
    longest: int = parameter(0, "tokens of the longest warm-up; 0: as the budget says", low=0)
    lengths: int = parameter(0, "lengths, each half of the next; 0: as the budget says", low=0, high=30)
    warm_rate: float = parameter(1e-3, "learning rate of the warm-up, constant after its rise", low=1e-8, high=10.0)
    seeds: int = parameter(0, "runs of each arm; 0: as the budget says", low=0, high=1000)
    real_tokens: int = parameter(0, "tokens of real data trained on; 0: as the budget says", low=0)
    limit_bytes: int = parameter(0, "different bytes among them; 0: as the budget says", low=0)
    rates: tuple[float, ...] = parameter((), "learning rates tried for every arm; empty: as the budget says", low=1e-8)
    positions: int = parameter(0, "windows per set and evaluation; 0: as the budget says", low=0)
    held_out: tuple[str, ...] = parameter(HELD_OUT, "sources of which a rule sees the loss, but for the warm-up's own")
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page and its figures")

    def validate(self) -> None:
        for model in self.models:
            check_model(self, "models", model)
        if self.lengths in (1, 2):
            self.reject("lengths", "3 or more: a turn needs two sides; 0: as the budget says")

    @property
    def size(self) -> _Size:
        """The budget's sizes, with the options on top."""
        given = {name: getattr(self, name) for name in asdict(_SIZES[self.budget]) if getattr(self, name, None)}
        return replace(_SIZES[self.budget], **given)

    def run(self, out: Path) -> None:
        size, texts = self.size, real_sets(self.data, self.sets)
        held_out = [source.name for source in self._held_out()]  # a wrong name is told before anything is run
        with locked(out):
            laboratory = Laboratory(out / "runs", size.rates, self.show)
            records: list[Record] = []
            models = []
            for model in size.models:
                stages = [self._stage(name, text, model) for name, text in texts.items()]
                found, outcome_of_model = self._of_model(laboratory, model, stages, out)
                records += found
                write_records(out / "records.jsonl", records)
                models.append(outcome_of_model)
            summary = {
                "study": self.to_dict(),
                "origin": environment.record(),
                "sizes": {name: value for name, value in asdict(size).items() if isinstance(value, int)},
                "sets": list(texts),
                "held_out": held_out,
                "models": models,
                "run_seconds": seconds_of(out / "runs"),
            }
            write_json(out / "warm-up-length.json", summary)
            publish(out, self.docs, warm_up_length_pages(summary, records))

    def _of_model(
        self, laboratory: Laboratory, model: str, stages: Sequence[Stage], out: Path
    ) -> tuple[list[Record], Record]:
        """(records, what they came to) of one model: all lengths, then the controls of the best."""
        seeds = range(self.size.seeds)
        lengths = {f"{_short(steps * self._step_tokens)} tokens": steps for steps in self._ladder()}
        arms = [SCRATCH, *(self._arm(name, steps) for name, steps in lengths.items())]
        signals = [one for seed in seeds for one in self._signals(laboratory, stages[0], seed, out)]
        table = laboratory.start(arms[1], stages[0], 0)[1]
        sys.stderr.write(f"{self.name}  {model}, carried at every length:\n{table}\n")
        arms = [_with_rate(laboratory, arm, stages[0]) for arm in arms]
        records = laboratory.records(arms, stages, seeds)
        names = [stage.name for stage in stages]
        best = best_arm(records, names, list(lengths))
        controls = [_with_rate(laboratory, arm, stages[0]) for arm in self._controls(lengths[best])]
        records += laboratory.records(controls, stages, seeds)
        found = outcome(records, signals, names, list(lengths), [arm.name for arm in controls])
        return records, {"model": model, "carried": table.records() if table is not None else [], **found}

    # ---------------------------------------------------------------- arms and stages

    @property
    def _step_tokens(self) -> int:
        return self.size.rows * self.size.context

    def _ladder(self) -> list[int]:
        """Steps of the lengths, each twice the one before."""
        doublings = self.size.lengths - 1
        shortest = max(1, round(self.size.longest / (self._step_tokens << doublings)))
        return [shortest << k for k in range(doublings + 1)]

    def _warm_up(self) -> WarmUp:
        ladder, size = self._ladder(), self.size
        training = Training(
            steps=ladder[-1], learning_rate=self.warm_rate, warmup_steps=min(20, max(1, ladder[0] // 2)),
            checkpoint_every=max(100, ladder[-1] // 5),
        )  # fmt: skip
        return WarmUp(self.source, training, size.rows, size.context, keep=tuple(ladder))

    def _arm(self, name: str, steps: int) -> Arm:
        return Arm(name, (Carried(replace(self._warm_up(), at=steps)),))

    def _controls(self, steps: int) -> list[Arm]:
        """The controls of one length: those on data run only so long, those on weights take what was kept there."""
        kept = self._arm("", steps)
        short = replace(self._warm_up(), keep=())
        alone = Arm("", (Carried(replace(short, training=short.training.replace(steps=steps))),))
        found = {arm.name: arm for arm in controls_of(alone)[:2]} | {arm.name: arm for arm in controls_of(kept)[2:]}
        tables = replace(kept.carried[0], parts=("embeddings", "positions", "head"))
        found[TABLES_ALONE] = Arm(TABLES_ALONE, (tables,))
        return [found[name] for name in self.size.controls]

    def _stage(self, name: str, text: str, model: str) -> Stage:
        size = self.size
        budget = RealBudget(size.real_tokens, size.real_rows, size.limit_bytes, positions=size.positions)
        return byte_stage(f"{name}, {model}", text, Model(model, 256, size.context), budget)

    # ---------------------------------------------------------------- what is seen without real data

    def _held_out(self) -> list[Source]:
        own = set(names_within(self.source))
        return [source for source in map(sources.get, self.held_out) if not own & set(names_within(source))]

    def _signals(self, laboratory: Laboratory, stage: Stage, seed: int, out: Path) -> list[Record]:
        """Of one warm-up, before it and at every length: own loss, loss on each held-out source, both in bits, and distance.

        Before the first step the own loss is that of the first batch.
        """
        model = stage.model
        run, path = laboratory.warm_up(self._warm_up(), model, seed), out / "signals.jsonl"
        held_out = self._held_out()
        key = digest(run.name, *(source.fingerprint for source in held_out)).hex()[:16]
        if known := [line for line in read_lines(path) if line["key"] == key]:
            return known
        log, ladder = read_lines(run / "log.jsonl"), self._ladder()
        losses = [line["loss_nats"] for line in log if line["event"] == "train"]
        moved = {line["step"]: line["distance"] for line in log if line["event"] == "eval"} | {0: 0.0}
        own = dict(zip((0, *ladder), [losses[0], *octave_means(losses, ladder)], strict=True))
        measures = {
            source.name: synthetic_bits(source, rows=HELD_OUT_ROWS, length=model.context, vocab=model.vocab)
            for source in held_out
        }
        fresh = laboratory.start(SCRATCH, stage, seed)[0]
        found = []
        for step in (0, *ladder):
            trained = load_model(kept_at(run, step)) if step else fresh
            bits = {name: measure(trained) for name, measure in measures.items()}
            found.append({
                "key": key, "model": model.name, "seed": seed, "step": step, "tokens": step * self._step_tokens,
                "own": own[step] / math.log(2), "held_out": bits, "distance": moved[step],
            })  # fmt: skip
        write_records(path, [*read_lines(path), *found])
        return found


def _with_rate(laboratory: Laboratory, arm: Arm, stage: Stage) -> Arm:
    """The arm with the rate that was best on one stage: trials take most of the time, and stages share model and schedule."""
    return replace(arm, rates=(laboratory.rate(arm, stage),))


def _short(tokens: int) -> str:
    """A number of tokens for tables.

    >>> _short(65_536), _short(2_097_152)
    ('66 k', '2.1 M')
    """
    return f"{tokens / 1e6:.2g} M" if tokens >= 1e6 else f"{tokens / 1e3:.0f} k"
