"""Many short training runs beside each other: what a run is, on what it is measured, and doing it once.

A ``Trial`` describes a run completely; ``measured`` does it, or reads it if it was done, and gives a record per evaluation and
set: {arm, seed, step, tokens, parameters, train_flops, generation_flops, file, bits_mean, se_mean, bits_last, bits_tail, ...}.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from uprior import corpora, evals
from uprior.data.stream import Stream
from uprior.errors import SpecError
from uprior.evals._base import last_bytes
from uprior.experiment import TEST_WINDOWS_SEED, open_run
from uprior.files import read_lines, write_bytes, write_text
from uprior.models.mup import rescale_
from uprior.models.presets import describe, flops_per_token
from uprior.models.sizes import ALLOWED, build, preset_of
from uprior.rng import digest
from uprior.sources import Source
from uprior.spec import Spec, parameter
from uprior.studies import Study
from uprior.studies._compute import generation_flops_per_token
from uprior.studies._growing import GrowingStream, steps_for
from uprior.train.hardware import resolve_precision
from uprior.train.loop import close_run, fit
from uprior.train.scorer import Scorer
from uprior.train.settings import Training
from uprior.train.threads import recorded_threads, threads_of_run

Record = dict[str, Any]
LINES = ("markov", "markov-mix")
# Seconds that a block may take: the rival's are large, and neighbours may be busy.
PATIENCE = 3600.0
# Tokens of one forward pass of an evaluation: on a CPU what one layer leaves is then still in the cache for the next.
CPU_TOKENS, GPU_TOKENS = 1 << 13, 1 << 16


@dataclass(frozen=True)
class Recipe(Spec):
    """How a model is trained, whatever the budget: warm-up, growth and decay are shares of the run's rows."""

    name: ClassVar[str] = "recipe"
    learning_rate: float = parameter(3e-3, "peak learning rate", low=1e-8, high=10.0)
    rows: int = parameter(8, "rows per step; where batches grow, in the end", low=1, high=1 << 20)
    first_rows: int = parameter(0, "rows per step in the beginning; 0: as in the end", low=0, high=1 << 20)
    grow_from: float = parameter(0.0, "share of the run's rows at which batches begin to grow", low=0.0)
    grow_to: float = parameter(0.0, "share of the run's rows at which they are grown", low=0.0)
    warmup: float = parameter(0.033, "share of the run's rows over which the rate rises", low=0.0)
    schedule: str = parameter("wsd", "learning rate over time", choices=("constant", "cosine", "wsd"))
    decay_share: float = parameter(0.6, "share of the steps that decays, wsd", low=0.0, high=1.0)
    optimizer: str = parameter("adamw", "muon: for hidden matrices, adamw for the rest", choices=("adamw", "muon"))
    beta2: float = parameter(0.95, "AdamW, decay of the variance", low=0.0, high=0.99999)
    weight_decay: float = parameter(0.1, "decoupled weight decay on matrices", low=0.0, high=10.0)
    base_width: int = parameter(0, "width that the rate was found at (muP); 0: one rate at all", low=0, high=1 << 20)
    plain: bool = parameter(False, "first weights all random, whatever start the model has here")


@dataclass(frozen=True)
class Trial:
    """One run: an arm's source and recipe, a seed of weights and data, a budget, and where it is looked at.

    ``tokens`` and ``evaluate_at`` (tokens, too; 0: untrained; the end is always one) are rounded up to whole steps. ``model``: a
    preset or a size, as ``uprior.models.sizes`` takes it. ``block_rows``: as of a ``Stream``.
    """

    arm: str
    source: Source
    seed: int
    tokens: int
    recipe: Recipe = field(default_factory=Recipe)
    model: str = "llama-1m"
    length: int = 256
    evaluate_at: tuple[int, ...] = ()
    block_rows: int | None = None

    def stream(self) -> Stream:
        """What it trains on. SpecError where the source's rows do not fit the length, or its symbols the bytes."""
        if self.source.shortest_row > self.length:
            raise SpecError(
                f"{self.arm}: rows of {self.source.name} need {self.source.shortest_row} tokens; "
                f"given: --length {self.length}"
            )
        options: dict[str, Any] = {
            "seed": self.seed,
            "length": self.length,
            "batch_size": self.recipe.rows,
            "block_rows": self.block_rows,
        }
        if not self.recipe.first_rows:
            return Stream(self.source, **options)
        grow_from, grow_to = (round(share * self.rows) for share in (self.recipe.grow_from, self.recipe.grow_to))
        return GrowingStream(
            self.source, first_rows=self.recipe.first_rows, grow_from=grow_from, grow_to=grow_to, **options
        )

    @property
    def rows(self) -> int:
        """The budget in rows."""
        return -(-self.tokens // self.length)

    def training(self, stream: Stream) -> Training:
        recipe = self.recipe
        names = ("learning_rate", "schedule", "decay_share", "optimizer", "beta2", "weight_decay", "base_width")
        steps = steps_for(stream, self.rows)
        warmup = steps_for(stream, round(recipe.warmup * self.rows)) if recipe.warmup else 0
        return Training(
            steps=steps,
            warmup_steps=warmup,
            checkpoint_every=max(100, steps // 5),
            **{name: getattr(recipe, name) for name in names},
        )

    def evaluations(self, stream: Stream, steps: int) -> frozenset[int]:
        """The steps at which this run is looked at."""
        asked = (steps_for(stream, -(-tokens // self.length)) if tokens else 0 for tokens in self.evaluate_at)
        return frozenset({steps, *(step for step in asked if step <= steps)})


class Panel:
    """Fixed windows of real data, the same for every run: what all are measured on. Nobody is trained on it.

    sets   name -> corpus as text; ``context`` bytes per window, ``positions`` windows at most, of the test splits
    """

    def __init__(self, sets: Mapping[str, str], *, context: int, positions: int) -> None:
        self.context, self.positions = context, positions
        self.corpora = {name: corpora.get(text) for name, text in sets.items()}
        self.windows = {name: self._windows(corpus) for name, corpus in self.corpora.items()}

    def _windows(self, corpus: Any) -> NDArray[np.uint8]:
        possible = corpora.possible_windows(corpus.data("test").size, self.context, corpus.align)
        count = min(self.positions, max(1, possible))
        found: NDArray[np.uint8] = corpus.windows("test", count, self.context, "evaluate", TEST_WINDOWS_SEED)
        return found

    def describe(self) -> dict[str, Any]:
        """What decides the measurements: a digest of each set's windows, wherever its files lie."""
        return {"context": self.context, "windows": {name: self._key(name) for name in self.windows}}

    def measure(self, model: Any, step: int = 0) -> list[Record]:
        """A record per set, in bits per byte: mean over positions, at the last, over the last 32, and per window.

        Computed as in training, in bfloat16 where hardware has it: some 0.001 bits above ``uprior eval``, in a tenth of its time.
        """
        score = Scorer(model, resolve_precision("auto", model.device, model), model.device)
        records = []
        for name, windows in self.windows.items():
            bits = window_nats(score, windows, model.device) / np.log(2)
            per_window = bits.mean(1)
            records.append({
                "file": name,
                "context": self.context,
                "positions": len(windows),
                "bits_mean": float(per_window.mean()),
                "se_mean": float(per_window.std(ddof=1) / np.sqrt(len(windows))) if len(windows) > 1 else 0.0,
                "bits_last": float(bits[:, -1].mean()),
                "bits_tail": float(bits[:, -last_bytes(self.context) :].mean()),
                "window_bits": [round(float(b), 4) for b in per_window],
            })  # fmt: skip
        return records

    def lines(self, path: Path) -> dict[str, dict[str, float]]:
        """set -> {"markov": bits, "markov-mix": bits}, mean over these windows; computed once and kept in ``path``."""
        known = {record["file"]: record for record in read_lines(path)}
        kept = {name: known[name] for name in self.corpora if known.get(name, {}).get("windows") == self._key(name)}
        for name, corpus in self.corpora.items():
            if name in kept:
                continue
            predictors = evals.baselines(corpus, context=self.context, names=LINES)
            found = evals.evaluate(predictors, corpus, context=self.context, positions=self.positions)
            bits = {record["predictor"]: record["bits_mean"] for record in found}
            kept[name] = {"file": name, "windows": self._key(name)} | bits
            write_text(path, "".join(json.dumps(record) + "\n" for record in kept.values()))
        return {name: {line: kept[name][line] for line in LINES} for name in self.corpora}

    def _key(self, name: str) -> str:
        return hashlib.sha256(self.windows[name].tobytes()).hexdigest()[:16]


def window_nats(score: Scorer, windows: NDArray[np.uint8], where: torch.device) -> NDArray[np.float64]:
    """[W, T-1] -ln p of bytes 1..T-1 of each window."""
    rows = (CPU_TOKENS if where.type == "cpu" else GPU_TOKENS) // windows.shape[1] or 1
    nats = []
    with torch.no_grad():
        for start in range(0, len(windows), rows):
            ids = torch.from_numpy(windows[start : start + rows].astype(np.int64)).to(where)
            nats.append(score(ids, torch.ones_like(ids, dtype=torch.bool))[1].cpu().numpy())
    return np.concatenate(nats).astype(np.float64)


def measured(trial: Trial, folder: Path, panel: Panel, *, show: bool = True) -> list[Record]:
    """The records of a run, done now in a folder of its own below ``folder`` unless it was done before.

    The folder's name holds a digest of everything that the run is, so other options make other runs. Raises KeyboardInterrupt
    when the run was asked to stop: it is saved, and goes on when it is asked for again.
    """
    stream = trial.stream()
    training = trial.training(stream)
    evaluate_at = trial.evaluations(stream, training.steps)
    model = model_of(
        trial.model, context=max(trial.length, panel.context), seed=trial.seed, base_width=training.base_width,
        plain=trial.recipe.plain,
    )  # fmt: skip
    config: Record = {
        "kind": "short run",
        "arm": trial.arm,
        "stream": stream.describe(),
        "model": describe(model),
        "model_seed": trial.seed,
        "plain": trial.recipe.plain,
        "training": training.to_dict(),
        "panel": panel.describe(),
        "evaluate_at": sorted(evaluate_at),
    }
    run = folder / f"{slug(trial.arm)}-{digest(json.dumps(config, sort_keys=True)).hex()[:10]}"
    cost = {"parameters": config["model"]["parameters"], "flops_per_token": flops_per_token(model)}
    if not (run / "model").exists():
        stream.patience = PATIENCE
        run.mkdir(parents=True, exist_ok=True)
        open_run(run, config)
        with threads_of_run(recorded_threads(run), speak=show):
            result = fit(
                model, stream, training, run,
                evaluate=panel.measure, evaluate_at=evaluate_at, title=f"{trial.arm}, seed {trial.seed}", show=show,
            )  # fmt: skip
        close_run(result, run)
    per_token = generation_flops_per_token(trial.source, length=trial.length)
    return [
        {
            "arm": trial.arm,
            "seed": trial.seed,
            "budget": trial.tokens,
            "step": line["step"],
            "tokens": line["tokens"],
            "parameters": cost["parameters"],
            "train_flops": cost["flops_per_token"] * line["tokens"],
            "generation_flops": per_token * line["tokens"],
            **{key: value for key, value in line.items() if key not in ("event", "step", "tokens")},
        }
        for line in read_lines(run / "log.jsonl")
        if line["event"] == "eval"
    ]


def model_of(text: str, *, context: int, seed: int, base_width: int = 0, plain: bool = False) -> Any:
    """A fresh model of a preset's name or a size (``uprior.models.sizes``), rescaled for muP."""
    model = build(text, context=context, seed=seed, plain=plain)
    if base_width:
        rescale_(model, base_width)
    return model


def width_of(text: str) -> int:
    """The hidden width of a model that ``model_of`` takes.

    >>> width_of("128x4"), width_of("llama-5m")
    (128, 256)
    """
    preset = preset_of(text)
    assert preset is not None, text
    return preset.width


def slug(text: str) -> str:
    """A text as part of a file's name.

    >>> slug("rival, its recipe (x0.5)")
    'rival-its-recipe-x0.5'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60]


def write_records(path: Path, records: Sequence[Record]) -> None:
    """The records as JSON lines, without what only a bootstrap wants (the runs' own logs keep it)."""
    kept = ({key: value for key, value in record.items() if key != "window_bits"} for record in records)
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def publish(out: Path, docs: str, pages: Mapping[str, bytes]) -> None:
    """Write the pages into ``out``, and the Markdown with its figures into ``docs`` too, unless it is empty."""
    for name, content in pages.items():
        write_bytes(out / name, content)
        if docs and name.endswith((".md", ".svg")):
            write_bytes(Path(docs) / name, content)


def log_spaced(first: float, last: float, count: int) -> tuple[int, ...]:
    """``count`` whole numbers from ``first`` to ``last`` at equal ratios.

    >>> log_spaced(1e3, 16e3, 5)
    (1000, 2000, 4000, 8000, 16000)
    """
    return tuple(round(float(x)) for x in np.geomspace(first, last, count))


def check_model(study: Study, field_name: str, text: str) -> None:
    """SpecError unless ``model_of`` takes the text."""
    if preset_of(text) is None:
        study.reject(field_name, ALLOWED)


@dataclass(frozen=True)
class ShortRuns(Study):
    """What studies made of short runs have in common: our recipe, and the windows they are measured on."""

    data: str = parameter("data", "folder with the files of the evaluation sets")
    length: int = parameter(256, "tokens per row, bytes per window", low=16, high=1 << 20)
    positions: int = parameter(256, "windows per set and evaluation", low=2, high=1 << 20)
    # Models that begin by matching contexts want low rates: at 3e-3 they lose what they begin with (docs/LOG.md).
    learning_rate: float = parameter(4e-4, "our recipe: peak learning rate", low=1e-8, high=10.0)
    rows: int = parameter(16, "our recipe: rows per step", low=1, high=1 << 20)
    decay_share: float = parameter(0.6, "our recipe: share of the steps over which the rate falls", low=0.0, high=1.0)

    optimizer: str = parameter(
        "muon", "our recipe: muon for hidden matrices, or adamw for all", choices=("adamw", "muon")
    )

    show: bool = parameter(True, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page and its figures")

    @property
    def recipe(self) -> Recipe:
        """Ours, as the options say."""
        return Recipe(
            learning_rate=self.learning_rate,
            rows=self.rows,
            decay_share=self.decay_share,
            optimizer=self.optimizer,
        )

    def panel(self, sets: Mapping[str, str]) -> Panel:
        return Panel(sets, context=self.length, positions=self.positions)


@dataclass(frozen=True)
class OneModel(ShortRuns):
    """Those of one target model."""

    model: str = parameter("256x2-matching", "what is trained: a preset or a size, as in 128x4")

    def validate(self) -> None:
        check_model(self, "model", self.model)
