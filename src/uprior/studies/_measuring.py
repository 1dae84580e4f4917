"""Many predictors on many evaluation sets, one measurement at a time, each done once and then read from the records.

Shape letters: W windows, S stretches of a window.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior import corpora, evals
from uprior.corpora import Corpus, possible_windows
from uprior.evals.model import tokens_at_once
from uprior.files import file_sha256, read_lines, write_bytes, write_text
from uprior.models.folder import find_model, load_model
from uprior.models.presets import context_of
from uprior.progress import Reporter
from uprior.report.words import quantity
from uprior.rng import digest
from uprior.train.enough import as_it_ended
from uprior.train.hardware import device, resolve_precision

Record = dict[str, Any]
Costs = NDArray[np.float32]

COMPRESSORS = ("ppmd", "deflate", "lzma", "brotli", "bz2")
# Windows that baselines are tuned on, of what is before the test split: so many bytes in all.
TUNING_BYTES = 1 << 18


@dataclass(frozen=True)
class LoadedModel:
    """A model to measure: what it is called, its weights' SHA-256, and how it is run."""

    label: str
    module: Any
    sha256: str
    parameters: int
    context: int | None
    precision: str
    trained: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One measurement: a predictor on a set. All predictors see the same ``positions`` windows of ``context`` bytes.

    ``first_windows`` and ``first_bytes`` are how much of them this predictor reads: all, unless it is too slow or reads no more.
    ``at`` is a position in the middle that is looked at too, 0 for none.
    """

    set: str
    text: str
    predictor: str
    context: int
    positions: int
    first_windows: int
    first_bytes: int
    seed: int
    at: int = 0


def load_models(given: Sequence[str], precision: str) -> list[LoadedModel]:
    """Models by the texts that mean them: shipped names, run directories, checkpoint folders. Raises CheckpointError."""
    import torch

    where = device()
    labels = [_label(text) for text in given]
    loaded = []
    for text, label in zip(given, labels, strict=True):
        folder = find_model(text)
        # Weights in bfloat16 run 1.3 times as fast as under autocast, and are as near to float32: within 0.002 bits on average.
        module = load_model(text)
        how = resolve_precision(precision, where, module)
        module = module.to(where, torch.bfloat16 if how == "bfloat16" else torch.float32)
        parts = "".join(file_sha256(path) for path in sorted(folder.glob("*.safetensors")))
        loaded.append(
            LoadedModel(
                label if labels.count(label) == 1 else text,
                module,
                hashlib.sha256(parts.encode()).hexdigest(),
                sum(p.numel() for p in module.parameters()),
                context_of(module),
                how,
                training_facts(folder),
            )
        )
    return loaded


def _label(text: str) -> str:
    """The last part of a path that says something, and is no baseline's name."""
    parts = [part for part in Path(text).parts if part != "model"]
    name = parts[-1] if parts else text
    return f"model {name}" if name in evals.BASELINES or name.startswith("markov-") else name


def training_facts(folder: Path) -> Record:
    """What is recorded about how a checkpoint was trained: tokens, FLOPs, hours, seed; empty where nothing is.

    Of what ``uprior build`` wrote: ``built``, its arguments and what its weights do.
    """
    for path in (folder / "recipe.json", folder.parent / "config.json"):
        try:
            found = json.loads(path.read_text("utf-8"))
            if "built" in found:
                return {"built": found["built"]}
            run, compute = as_it_ended(found.get("run", found), folder.parent), found.get("compute", {})
            facts = {
                "source": run["stream"]["source"]["name"],
                "tokens": compute.get("tokens", run.get("tokens")),
                "steps": run["training"]["steps"],
                "seed": run["stream"]["seed"],
                "training_flops": compute.get("training_flops"),
                "generation_flops": compute.get("generation_flops"),
                "hours": compute.get("hours"),
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        return {key: value for key, value in facts.items() if value is not None}
    return {}


# ------------------------------------------------------------------ the same windows, or the beginning of them


@dataclass(frozen=True)
class Beginning(Corpus):
    """A corpus whose windows are the first of those that others see, or their first bytes."""

    name: ClassVar[str] = "beginning"
    corpus: Corpus = field(metadata={"text": "whose windows"})
    positions: int = field(metadata={"text": "how many windows the others see"})
    context: int = field(metadata={"text": "bytes of each"})

    @property
    def label(self) -> str:
        return self.corpus.label

    @property
    def align(self) -> int:
        return self.corpus.align

    def data(self, split: str) -> NDArray[np.uint8]:
        return self.corpus.data(split)

    def windows(self, split: str, count: int, context: int, *key: str | int) -> NDArray[np.uint8]:
        return self.corpus.windows(split, self.positions, self.context, *key)[:count, :context]


class Watched(evals.Predictor):
    """A predictor that tells how far it is, and whose costs of single windows are kept."""

    def __init__(self, inner: evals.Predictor, windows_at_a_time: int, tell: Callable[[float], None]) -> None:
        self.inner, self.step, self.tell = inner, windows_at_a_time, tell
        self.name, self.settings = inner.name, inner.settings
        self.cost: evals.PositionBits | None = None

    def bits(self, windows: NDArray[np.uint8]) -> evals.PositionBits:
        parts = []
        for start in range(0, len(windows), self.step):
            parts.append(self.inner.bits(windows[start : start + self.step]))
            if len(windows) > 1:  # not the one window that comes first so that compiling is not timed
                self.tell(min(1.0, (start + self.step) / len(windows)))
        self.cost = evals.PositionBits(parts[0].edges, np.concatenate([part.bits for part in parts]))
        return self.cost

    def bytes_read(self, windows: NDArray[np.uint8]) -> int:
        return self.inner.bytes_read(windows)


def spans(context: int, at: int = 0) -> dict[str, tuple[int, int]]:
    """The stretches of a window whose costs are kept: its last byte, its last 32, the eighth before the end (or what is around
    ``at``) and the eighth at the end.

    >>> spans(512)
    {'last': (511, 512), 'tail': (480, 512), 'before': (384, 448), 'end': (448, 512)}
    >>> spans(4096, at=512)["before"]
    (448, 576)
    """
    eighth = context // 8
    before = (at - at // 8, at + at // 8) if at else (context - 2 * eighth, context - eighth)
    tail = min(32, context // 2)
    return {
        "last": (context - 1, context),
        "tail": (context - tail, context),
        "before": before,
        "end": (context - eighth, context),
    }


def costs_of(cost: evals.PositionBits, at: int = 0) -> Costs:
    """[W, 4] bits per byte of every window over ``spans``; NaN where the predictor does not tell, as compressors do not."""
    starts, ends = cost.edges[:-1], cost.edges[1:]
    columns = []
    for low, high in spans(int(cost.edges[-1]), at).values():
        inside = (starts >= low) & (ends <= high)
        known = int((ends - starts)[inside].sum()) == high - low
        columns.append(cost.bits[:, inside].sum(axis=1) / (high - low) if known else np.full(len(cost.bits), np.nan))
    return np.stack(columns, axis=1).astype(np.float32)


# ------------------------------------------------------------------ measuring


class Measured:
    """The folder where records and costs of finished measurements lie: records.jsonl, and a file of costs per measurement."""

    def __init__(self, folder: Path) -> None:
        self.path, self.costs_folder = folder / "records.jsonl", folder / "costs"
        self.records = [r for r in read_lines(self.path) if "key" in r and self._costs_path(r["key"]).exists()]
        self.by_key = {r["key"]: r for r in self.records}

    def add(self, record: Record, costs: Costs) -> None:
        """The costs first, so that a record is never without them."""
        buffer = io.BytesIO()
        np.save(buffer, costs, allow_pickle=False)
        write_bytes(self._costs_path(record["key"]), buffer.getvalue())
        self.records.append(record)
        self.by_key[record["key"]] = record
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.records))

    def costs(self, key: str) -> Costs:
        found: Costs = np.load(self._costs_path(key), allow_pickle=False)
        return found

    def _costs_path(self, key: str) -> Path:
        return self.costs_folder / f"{key}.npy"


def measure(
    tasks: Sequence[Task], models: Sequence[LoadedModel], measured: Measured, *, title: str, show: bool = True
) -> list[Record]:
    """The record of every task, in order; those that were measured before, of the same bytes and weights, are not again.

    A record is what ``evals.evaluate`` gives, with its key, the set, and the seconds that it took.
    """
    by_label = {model.label: model for model in models}
    corpus_of = {task.text: corpora.get(task.text) for task in tasks}
    keys = [_key(task, corpus_of[task.text], by_label.get(task.predictor)) for task in tasks]
    left = [(task, key) for task, key in zip(tasks, keys, strict=True) if key not in measured.by_key]
    done = len(tasks) - len(left)
    with Reporter(title, len(tasks), done, show=show) as reporter:
        for number, (task, key) in enumerate(left, done):
            began, size = time.monotonic(), task.first_windows * task.first_bytes

            def tell(
                share: float, task: Task = task, number: int = number, began: float = began, size: int = size
            ) -> None:
                rate = share * size / max(1e-9, time.monotonic() - began)
                reporter.update(number, f"{task.set} {task.predictor} {100 * share:.0f} %, {quantity(rate)} bytes/s")

            record, costs = _measure(task, corpus_of[task.text], by_label.get(task.predictor), tell)
            measured.add({"key": key, "set": task.set, "seconds": time.monotonic() - began, **record}, costs)
            reporter.update(number + 1, f"{task.set} {task.predictor} {record['bits_last']:.3f} bits")
    return [measured.by_key[key] for key in keys]


def _key(task: Task, corpus: Corpus, model: LoadedModel | None) -> str:
    """What makes a measurement: the task, the bytes of the data, the weights of the model and how it is run."""
    parts = [*(getattr(task, f.name) for f in dataclasses.fields(task) if f.name != "text"), corpus.sha256]
    parts += ["" if model is None else model.sha256, "" if model is None else model.precision]
    return digest(*parts).hex()[:20]


def _measure(
    task: Task, corpus: Corpus, model: LoadedModel | None, tell: Callable[[float], None]
) -> tuple[Record, Costs]:
    predictor: evals.Predictor
    if model is None:
        windows = max(2, TUNING_BYTES // task.context)
        names = [task.predictor]
        predictor = evals.baselines(corpus, task.context, names=names, windows=windows, true_alphabet=True)[0]
        at_a_time = task.first_windows  # a matter of seconds
    else:
        predictor = evals.ModelPredictor(model.module, name=model.label)
        at_a_time = max(1, tokens_at_once(device()) // task.first_bytes)  # a pass
    most = max(1, possible_windows(corpus.data("test").size, task.context, corpus.align))
    seen = Beginning(corpus=corpus, positions=min(task.positions, most), context=task.context)
    watched = Watched(predictor, at_a_time, tell)
    record = evals.evaluate(
        [watched],
        seen,
        context=task.first_bytes,
        positions=min(task.first_windows, seen.positions),
        seed=task.seed,
        timed=True,
    )[0]
    assert watched.cost is not None
    return record, costs_of(watched.cost, task.at)
