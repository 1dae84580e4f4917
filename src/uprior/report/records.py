"""What runs wrote below a directory, read leniently: a damaged line or file becomes a note on the page, never a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uprior.errors import RunDirectoryError

KINDS = ("pretrain", "compare")


@dataclass
class Run:
    """One run directory: its config and its records, ``label`` its path below the directory of the report."""

    path: Path
    label: str
    config: dict[str, Any]
    train: list[dict[str, Any]] = field(default_factory=list)
    evals: list[dict[str, Any]] = field(default_factory=list)
    baselines: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    timing: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.config["kind"])

    @property
    def source(self) -> dict[str, Any] | None:
        """The recorded spec of the source, where there is one."""
        stream = self.config.get("stream")
        found = self.config.get("source") or (stream.get("source") if isinstance(stream, dict) else None)
        return found if isinstance(found, dict) else None

    @property
    def length(self) -> int | None:
        """Tokens per row."""
        stream = self.config.get("stream")
        found = self.config.get("length") or (stream.get("length") if isinstance(stream, dict) else None)
        return found if isinstance(found, int) and found > 1 else None


def gather(run_dir: Path) -> tuple[list[Run], list[str]]:
    """The runs at and below a directory, in order of path, and notes about what could not be read.

    Runs below a compare run are its parts (tuning, warm-ups, seeds) and stay in its own records. Raises RunDirectoryError where
    there is nothing.
    """
    notes: list[str] = []
    runs: list[Run] = []
    comparisons: list[Path] = []
    configs = sorted(run_dir.rglob("config.json")) if run_dir.is_dir() else []
    for path in sorted(configs, key=lambda p: (len(p.parts), p)):
        folder = path.parent
        if any(folder.is_relative_to(parent) for parent in comparisons):
            continue
        config = _config(path, run_dir, notes)
        if config is None:
            continue
        label = str(folder.relative_to(run_dir))
        run = Run(folder, run_dir.name if label == "." else label, config)
        if run.kind == "compare":
            comparisons.append(folder)
        _read(run, run_dir, notes)
        runs.append(run)
    if not runs:
        reason = f" ({notes[0]})" if notes else ""
        raise RunDirectoryError(f"no uprior run below {run_dir}{reason}; type: uprior pretrain --out {run_dir}")
    return sorted(runs, key=lambda run: (KINDS.index(run.kind), run.label)), notes


def _config(path: Path, run_dir: Path, notes: list[str]) -> dict[str, Any] | None:
    """A run's config, or None where the file is no run's (a model's config.json, say)."""
    try:
        config = json.loads(path.read_text("utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        notes.append(f"{path.relative_to(run_dir)} cannot be read, its run is left out: {error}")
        return None
    return config if isinstance(config, dict) and config.get("kind") in KINDS else None


def _read(run: Run, run_dir: Path, notes: list[str]) -> None:
    def lines(name: str) -> list[dict[str, Any]]:
        return list(_json_lines(run.path / name, run_dir, notes))

    # After a resume the log may tell a step twice; the later line is the one that led on.
    latest = {(r.get("event"), r.get("step"), r.get("file"), r.get("predictor")): r for r in lines("log.jsonl")}
    ordered = sorted(latest.values(), key=lambda r: number(r.get("step")))
    run.train = [r for r in ordered if r.get("event") == "train"]
    run.evals = [r for r in ordered if r.get("event") == "eval"]
    run.baselines = lines("baselines.jsonl")
    run.timing = lines("timing.jsonl")
    for record in lines("compare.jsonl"):
        if record.get("summary"):
            run.summary = record
        else:
            run.lines.append(record)


def _json_lines(path: Path, run_dir: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    damaged = []
    for n, text in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            yield record
        else:
            damaged.append(n)
    if damaged:
        count = "1 damaged line" if len(damaged) == 1 else f"{len(damaged)} damaged lines"
        notes.append(f"{path.relative_to(run_dir)}: {count} left out (line {', '.join(map(str, damaged[:5]))})")


def number(value: Any) -> float:
    """The value as a float, NaN where it is none: records may hold null, and damaged ones anything."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def numbers(values: Any) -> list[float]:
    """A list of numbers, NaN for what is none."""
    return [number(v) for v in values] if isinstance(values, list) else []
