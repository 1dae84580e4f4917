"""The page: everything the runs below a directory recorded, in one file that needs nothing else."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from uprior.errors import RunDirectoryError
from uprior.report import plots, words
from uprior.report.records import Run, gather, number
from uprior.report.samples import samples


def write_report(run_dir: Path | str, out: Path | str | None = None) -> Path:
    """Write one self-contained HTML page about every run at or below ``run_dir``; returns its path.

    ``out`` is the page (default: report.html in ``run_dir``). Missing parts are left out; damaged lines are skipped, and the page
    says so. Raises RunDirectoryError where there is no run, or the page cannot be written.
    """
    run_dir = Path(run_dir)
    runs, notes = gather(run_dir)
    title = f"uprior: {run_dir.resolve().name}"
    sections = [_section(run, f"r{n}", notes) for n, run in enumerate(runs)]
    page = _environment().get_template("page.html.j2").render(
        title=title,
        claims=[claim for section in sections for claim in section["claims"]],
        sections=sections,
        notes=notes,
        glossary=_glossary_used(sections),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )  # fmt: skip
    target = Path(out) if out is not None else run_dir / "report.html"
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, "utf-8")
        os.replace(partial, target)
    except OSError as error:
        raise RunDirectoryError(f"cannot write {target}: {error.strerror or error}; choose another --out") from error
    return target


def _environment() -> Environment:
    # Autoescape is on for everything: names, specs and file names come from outside. Only our own drawings are Markup.
    folder = Path(__file__).parent
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _section(run: Run, prefix: str, notes: list[str]) -> dict[str, Any]:
    """Everything the template shows of one run."""
    pretrain = run.kind == "pretrain"
    shown, sample_notes = samples(run) if pretrain else ([], [])
    notes += [f"{run.label}: {note}" for note in sample_notes]
    figures = plots.pretrain_figures(run, prefix) if pretrain else plots.compare_figures(run, prefix)
    tables = _tables_pretrain(run) if pretrain else _tables_compare(run)
    files = words.files_of(run)
    claims = [words.pretrain_claim(run, file) for file in files] if pretrain else words.compare_claims(run)
    return {
        "label": run.label,
        "kind": run.kind,
        "heading": "Trained on random computation" if pretrain else "Warmed up against from scratch, on real data",
        "claims": [claim for claim in claims if claim],
        "facts": _facts(run),
        "samples": [{**vars(sample), "cells": Markup(sample.cells)} for sample in shown],
        "figures": [{**vars(figure), "svg": Markup(figure.svg)} for figure in figures],
        "tables": [{**table, "id": f"{prefix}table{n}"} for n, table in enumerate(tables) if table["rows"]],
        "origin": _origin(run),
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    """What was run, in a few lines."""
    config, model = run.config, run.config.get("model")
    facts = [("command", config.get("command"))]
    if isinstance(model, dict):
        name = model.get("preset") or model.get("architecture") or ""
        facts.append(("model", f"{name}, {words.quantity(number(model.get('parameters')))} parameters".lstrip(", ")))
    recorded = config.get("training")
    training = recorded if isinstance(recorded, dict) else {}
    for key in (
        "data",
        "corpus",
        "tokens",
        "steps",
        "batch_size",
        "length",
        "learning_rate",
        "schedule",
        "seed",
        "seeds",
    ):
        value = config.get(key, training.get(key))
        if value is None and isinstance(config.get("stream"), dict):
            value = config["stream"].get(key)
        if (
            value is not None
            and not isinstance(value, dict | list)
            and not (key == "corpus" and value == config.get("data"))
        ):
            facts.append((key.replace("_", " "), words.quantity(value) if key == "tokens" else value))
    speeds = [number(r.get("tokens_per_second")) for r in run.timing or run.train]
    speeds = sorted(speed for speed in speeds if math.isfinite(speed))
    if speeds:
        facts.append(("speed", f"{words.quantity(speeds[len(speeds) // 2])} tokens per second (median)"))
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _tables_pretrain(run: Run) -> list[dict[str, Any]]:
    tables = []
    for file in words.files_of(run):
        first, last = words.zero_shot(run, file, "bits_mean")
        rows = (
            [("the model, at the start", first), ("the model, at the end", last)]
            if first is not last
            else [("the model", last)]
        )
        baselines = [r for r in run.baselines if str(r.get("file")) == file]
        rows += [(str(r.get("predictor")), r) for r in sorted(baselines, key=lambda r: number(r.get("bits_mean")))]
        tables.append(
            {
                "caption": f"{file}: bits per byte ± standard error, on {last.get('positions', '?')} windows of "
                f"{last.get('context', '?')} bytes",
                "head": ["predictor", "end of the window", "mean over the window"],
                "rows": [[name, _bits(r, "last"), _bits(r, "mean")] for name, r in rows],
            }
        )
    return tables


def _bits(record: dict[str, Any], which: str) -> str:
    return words.bits(number(record.get(f"bits_{which}")), number(record.get(f"se_{which}")))


def _tables_compare(run: Run) -> list[dict[str, Any]]:
    arms = [arm for arm in run.config.get("arms") or [] if isinstance(arm, dict)]
    summary = run.summary
    rates = {str(line.get("arm")): line.get("learning_rate") for line in run.lines}
    final, tuned = _final_bits(run), run.config.get("learning_rates")
    arm_rows = [
        [
            arm.get("name", ""),
            arm.get("description", ""),
            words.quantity(number(arm.get("warmup_tokens"))) if arm.get("warmup_tokens") else "none",
            arm.get("learning_rate") or rates.get(str(arm.get("name"))) or "",
            ", ".join(map(str, arm.get("tuned_over") or tuned or [])),
            words.bits(final.get(str(arm.get("name")), math.nan)),
        ]
        for arm in arms
    ]
    pair_rows = [
        [
            f"{pair.get('arm')} − {pair.get('baseline')}",
            f"{number(pair.get('difference_bits')):+.3f}".replace("-", "−"),
            words.interval(number(pair.get("low")), number(pair.get("high")))[1:-1],
            ", ".join(f"{number(d):+.3f}".replace("-", "−") for d in pair.get("per_seed") or []),
        ]
        for pair in summary.get("pairs") or []
        if isinstance(pair, dict)
    ]
    return [
        {
            "caption": "The arms. Every arm chose its learning rate among the same values, on validation data.",
            "head": ["arm", "what it is", "warm-up tokens", "learning rate", "tuned over", "bits per byte at its end"],
            "rows": arm_rows,
        },
        {
            "caption": "Differences at the end, paired by seed, in bits per byte: below zero, the first of the two is better.",
            "head": ["arms", "difference", "interval", "seed by seed"],
            "rows": pair_rows,
        },
        {
            "caption": "Crossings: where the lead changes.",
            "head": ["curves", "at", "ahead from there on"],
            "rows": _crossing_rows(summary.get("crossings")),
        },
    ]


def _final_bits(run: Run) -> dict[str, float]:
    """arm -> mean over seeds of the bits at the seed's last evaluation."""
    last: dict[str, dict[Any, dict[str, Any]]] = {}
    for line in sorted(run.lines, key=lambda line: number(line.get("step"))):
        last.setdefault(str(line.get("arm")), {})[line.get("seed")] = line
    return {arm: sum(number(r.get("bits_mean")) for r in seeds.values()) / len(seeds) for arm, seeds in last.items()}


def _crossing_rows(crossings: Any) -> list[list[str]]:
    """One row per crossing, "never" for curves that do not cross; whatever else is recorded is shown as it is."""
    if not isinstance(crossings, dict):
        return [["all", str(crossings), ""]] if crossings else []
    rows = []
    for curves, found in crossings.items():
        if not isinstance(found, list):
            rows.append([str(curves), str(found), ""])
            continue
        rows += [] if found else [[str(curves), "never", "the leader stays the leader"]]
        unit = "operations" if "compute" in str(curves) else "tokens"
        for crossing in found:
            told = crossing if isinstance(crossing, dict) else {"at": crossing}
            at, ahead = number(told.get("at")), str(told.get("then_ahead", ""))
            first, _, second = str(curves).partition(",")[0].partition(" against ")
            ahead = {"arm": first, "baseline": second}.get(ahead, ahead)
            rows.append([str(curves), f"{words.quantity(at)} {unit}", ahead])
    return rows


def _origin(run: Run) -> list[tuple[str, str]]:
    """Versions and commit."""
    versions = run.config.get("versions")
    named = versions.items() if isinstance(versions, dict) else []
    commit = run.config.get("commit")
    return [*([("commit", str(commit))] if commit else []), *((str(k), str(v)) for k, v in named)]


def _glossary_used(sections: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The words that a page with these runs uses."""
    kinds = {section["kind"] for section in sections}
    only_compare = {"arm", "data saving", "real tokens", "scratch", "total compute"}
    only_pretrain = {"above the floor", "floor", "in-context Markov", "machine", "nats", "row", "zero-shot"}
    left_out = (set() if "compare" in kinds else only_compare) | (set() if "pretrain" in kinds else only_pretrain)
    return [(word, meaning) for word, meaning in words.GLOSSARY.items() if word not in left_out]
