"""What a model that has seen no real data predicts of it, beside predictors that see the same windows."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from uprior import corpora, environment
from uprior.errors import SpecError, unknown_name
from uprior.evals import compressors
from uprior.files import locked, write_bytes, write_json
from uprior.report.battery import battery_pages
from uprior.spec import parameter
from uprior.statistics import Interval, paired_difference
from uprior.studies import Study
from uprior.studies._battery import REAL, SYNTHETIC, EvaluationSet, present, real_sets
from uprior.studies._measuring import (
    COMPRESSORS,
    Costs,
    LoadedModel,
    Measured,
    Record,
    Task,
    load_models,
    measure,
    spans,
)

ORDERS = tuple(f"markov-{order}" for order in range(6))
BASELINES = (*ORDERS, "markov-mix", "ctw", "ppmd", "deflate", "lzma", "brotli")
LONG_BASELINES = (*ORDERS, "markov-mix", "ctw", "ppmd")
COLUMNS = {name: number for number, name in enumerate(spans(512))}


@dataclass(frozen=True)
class ZeroShot(Study):
    """Zero-shot prediction of eleven real and nine synthetic sets, beside Markov, CTW, PPMd and compressors on the same windows.

    The protocol of Bloem 2025 (arXiv 2506.20057), mended: evaluation mode (his had dropout on), no padding before the data's
    start, seeded windows, all within the test split and the same for everyone, an interval on every number; and the curve over
    the context, 1 to ``long_context`` bytes. A model that reads fewer bytes is measured on the first bytes of the same windows.
    Baselines are tuned on what is before the test split; Markov predictors of one order have the set's own alphabet, as his
    had, and the best order is taken with hindsight. brotli, seven times slower than PPMd, reads the first ``brotli_windows``.

    Leaves records.jsonl (a line per set and predictor; what is there is not measured again), costs (of single windows),
    zero-shot.json, zero-shot.md with its figures, and report.html in ``out``. On one core the baselines take nine minutes; a
    model of five million parameters takes two hours, or twenty minutes with 1,000 positions and 100 long ones.
    """

    name: ClassVar[str] = "zero-shot"
    data: str = parameter("data", "folder with the files of the real sets")
    model: tuple[str, ...] = parameter(("universal",), "shipped models, run directories or checkpoint folders")
    sets: tuple[str, ...] = parameter((), "names of sets, real and synthetic; none: all")
    positions: int = parameter(10_000, "windows, at whose last byte bits are told", low=2, high=1 << 24)
    context: int = parameter(512, "bytes in each of them", low=16, high=1 << 16)
    brotli_windows: int = parameter(2_000, "how many of them brotli reads, which is slow", low=2, high=1 << 24)
    long_context: int = parameter(4096, "bytes of the windows for the curve over context", low=16, high=1 << 16)
    long_positions: int = parameter(200, "how many of these", low=2, high=1 << 24)
    seed: int = parameter(0, "seed of the windows", low=0)
    precision: str = parameter(
        "auto", "of models: auto is bfloat16 in hardware", choices=("auto", "bfloat16", "float32")
    )
    docs: str = parameter("", "another folder for zero-shot.md and its figures")

    def validate(self) -> None:
        if not self.model:
            self.reject("model", "at least one shipped model, run directory or checkpoint folder")
        if len(set(self.model)) < len(self.model):
            self.reject("model", "each of them once")
        if self.long_context < 2 * self.context:
            self.reject("long_context", f"{2 * self.context} or more beside a context of {self.context}")

    def run(self, out: Path) -> None:
        sets = self._sets()
        models = load_models(self.model, self.precision)
        for model in models:
            if model.context is not None and model.context < self.context:
                raise SpecError(
                    f"{model.label} reads at most {model.context} tokens; given: windows of {self.context}; "
                    f"give --context {model.context}"
                )
        with locked(out):
            measured = Measured(out)
            tasks = self._tasks(sets, models, self._installed(BASELINES), self._installed(LONG_BASELINES))
            records = measure(tasks, models, measured, title="zero-shot")
            summary = {
                "study": self.to_dict() | {"model": [model.label for model in models], "data": Path(self.data).name},
                **environment.record(),
                "command": self._command(out, models),
                "hardware": environment.hardware(),
                "sets": [_about(one, sets[one.name]) for one in (*REAL, *SYNTHETIC) if one.name in sets],
                "models": [_about_model(model) for model in models],
                "records": [
                    {**_without(record, "key"), "long": task.at > 0}
                    for task, record in zip(tasks, records, strict=True)
                ],
                "differences": self._differences(tasks, records, measured, models),
                "falls": self._falls(tasks, records, measured, models),
            }
            write_json(out / "zero-shot.json", summary)
            for folder in (out, *([Path(self.docs)] if self.docs else [])):
                for name, content in battery_pages(summary).items():
                    if folder == out or name != "report.html":
                        write_bytes(folder / name, content)

    def _command(self, out: Path, models: Sequence[LoadedModel]) -> str:
        """What to type, without this machine's paths."""
        labels = [model.label for model in models]
        shown = self.replace(data=_portable(self.data), docs=_portable(self.docs))
        words = ["uprior run zero-shot"]
        for f in dataclasses.fields(self):
            value = getattr(shown, f.name)
            if value == f.default:
                continue
            if f.name == "model":
                value = [_portable(text, label) for text, label in zip(value, labels, strict=True)]
            given = value if isinstance(value, tuple | list) else [value]
            words += [f"--{f.name.replace('_', '-')}", *map(str, given)]
        return " ".join([*words, "--out", _portable(str(out))])

    def _sets(self) -> dict[str, str]:
        """name -> corpus as text, of what was asked for and is there."""
        known = [one.name for one in (*REAL, *SYNTHETIC)]
        for name in self.sets:
            if name not in known:
                raise unknown_name("evaluation set", name, known)
        wanted = self.sets or tuple(known)
        real = [one.name for one in REAL if one.name in wanted]
        synthetic = [one.name for one in SYNTHETIC if one.name in wanted]
        return {
            **(real_sets(self.data, real) if real else {}),
            **(present(SYNTHETIC, "", synthetic) if synthetic else {}),
        }

    def _installed(self, names: Sequence[str]) -> list[str]:
        absent = [name for name in names if not compressors.installed(name)]
        if absent and names is BASELINES:
            extras = ",".join(absent)
            sys.stderr.write(f"{extras}: not installed; going on without; to have it: pip install 'uprior[{extras}]'\n")
        return [name for name in names if name not in absent]

    def _tasks(
        self, sets: dict[str, str], models: Sequence[LoadedModel], baselines: Sequence[str], long: Sequence[str]
    ) -> list[Task]:
        tasks = []
        real = {one.name for one in REAL}
        for name, text in sets.items():
            for predictor in (*baselines, *(model.label for model in models)):
                count = min(self.brotli_windows, self.positions) if predictor == "brotli" else self.positions
                shared = (name, text, predictor, self.context, self.positions)
                tasks.append(Task(*shared, first_windows=count, first_bytes=self.context, seed=self.seed))
            if name not in real:
                continue
            limits = {model.label: min(model.context or self.long_context, self.long_context) for model in models}
            for predictor in (*long, *(label for label, limit in limits.items() if limit >= 2 * self.context)):
                tasks.append(
                    Task(
                        name,
                        text,
                        predictor,
                        self.long_context,
                        self.long_positions,
                        first_windows=self.long_positions,
                        first_bytes=limits.get(predictor, self.long_context),
                        seed=self.seed,
                        at=self.context,
                    )
                )
        return tasks

    def _differences(
        self, tasks: Sequence[Task], records: Sequence[Record], measured: Measured, models: Sequence[LoadedModel]
    ) -> list[Record]:
        """Model minus baseline, window by window, with 95 % intervals: at the last byte, and over the last 32."""
        labels, found = [model.label for model in models], []
        for name in dict.fromkeys(task.set for task in tasks):
            mine = {
                task.predictor: r for task, r in zip(tasks, records, strict=True) if task.set == name and not task.at
            }
            best = min((order for order in ORDERS if order in mine), key=lambda order: mine[order]["bits_last"])
            baselines = [best, *(baseline for baseline in BASELINES if baseline in mine and baseline not in ORDERS)]
            for label in labels:
                costs = measured.costs(mine[label]["key"])
                for baseline in baselines:
                    other = measured.costs(mine[baseline]["key"])
                    for where in ("last", "tail"):
                        if where == "last" and baseline in COMPRESSORS:
                            continue
                        told = {"set": name, "model": label, "baseline": baseline, "where": where}
                        found.append(told | _interval(costs, other, COLUMNS[where], COLUMNS[where]))
        return found

    def _falls(
        self, tasks: Sequence[Task], records: Sequence[Record], measured: Measured, models: Sequence[LoadedModel]
    ) -> list[Record]:
        """How much less a model's last eighth of a window costs than the one before it, or than what is around ``context``."""
        labels, found = [model.label for model in models], []
        for task, record in zip(tasks, records, strict=True):
            if task.predictor not in labels:
                continue
            costs = measured.costs(record["key"])
            told = {"set": task.set, "model": task.predictor, "long": task.at > 0, "context": task.first_bytes}
            means = {f"bits_{name}": float(costs[:, COLUMNS[name]].mean()) for name in ("before", "end")}
            found.append({**told, **means, **_interval(costs, costs, COLUMNS["end"], COLUMNS["before"])})
        return found


def _interval(first: Costs, second: Costs, column: int, other: int) -> Record:
    count = min(len(first), len(second))
    a, b = first[:count, column].astype("float64"), second[:count, other].astype("float64")
    found: Interval = paired_difference(a, b)
    return {"difference": found.value, "low": found.low, "high": found.high, "windows": count}


def _about(one: EvaluationSet, text: str) -> Record:
    """A set for the page; ``ideal`` bits where its recipe is known."""
    ideal = getattr(corpora.get(text), "ideal_bits", None)
    return {"name": one.name, "what": one.what, "real": one in REAL, "published": dict(one.published), "ideal": ideal}


def _about_model(model: LoadedModel) -> Record:
    fields = ("label", "sha256", "parameters", "context", "precision", "trained")
    return {field: getattr(model, field) for field in fields}


def _portable(path: str, name: str = "") -> str:
    """A path as it was typed, only its name where it begins at the root of this machine."""
    return (name or Path(path).name) if Path(path).is_absolute() else path


def _without(record: Record, *fields: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in fields}
