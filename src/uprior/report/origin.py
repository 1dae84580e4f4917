"""How the runs of a study were made: command, commit, versions, recipe, compute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from uprior.report.document import Block, Table
from uprior.report.words import quantity

_OPTIMIZERS = {"adamw": "AdamW (0.9, 0.95)", "muon": "Muon for hidden matrices, AdamW (0.9, 0.95) for the rest"}


def origin_blocks(summary: Mapping[str, Any], records: Iterable[Mapping[str, Any]], *notes: str) -> list[Block]:
    """The closing section of a study made of short runs, from ``study`` and ``origin`` of its summary and all records."""
    study, origin = summary["study"], summary["origin"]
    runs = _runs(records)
    training, writing = (sum(run[key] for run in runs) for key in ("train_flops", "generation_flops"))
    sizes = sorted({run["parameters"] for run in runs})
    recipe = (
        f"peak rate {study['learning_rate']:g}, {study['rows']} rows of {study['length']} tokens per step, the rate falling "
        f"over the last {100 * study['decay_share']:.0f} % of the steps, "
        f"{_OPTIMIZERS[study.get('optimizer', 'adamw')]}, weight decay 0.1"
    )
    rows = [
        ["command", f"`{portable(origin['command'])}`"],
        ["commit", origin["commit"] or "unknown"],
        ["versions", ", ".join(f"{name} {version}" for name, version in origin["versions"].items())],
        ["models", ", ".join(f"{quantity(size)} parameters" for size in sizes)],
        ["our recipe", recipe],
        ["seeds", ", ".join(map(str, sorted({run["seed"] for run in runs})))],
        ["compute", f"{len(runs)} runs, {training:.3g} FLOPs of training and {writing:.3g} of writing the data"],
    ]
    counted = (
        "Training is 6 FLOPs per multiplied parameter and token; writing is what the networks of a source multiply, every row "
        "that is written and not emitted included, plus 500 operations per token for everything else. Evaluations are charged "
        "to nobody."
    )
    measured = (
        f"Measured in the mean over all bytes of {study['positions']} windows of {study['length']} bytes per set, drawn from its "
        "test split with a fixed seed, the same for every run; nothing is remembered between windows, and nobody is trained on "
        "any of these sets."
    )
    return [Table(["", ""], rows, texts=2), counted, measured, *notes]


def portable(command: str) -> str:
    """A command without the folders of this machine.

    >>> portable("uprior run rival --out /somewhere/runs/rival --data data")
    'uprior run rival --out rival --data data'
    """
    return re.sub(r"(?<=[ =('])/(?:[^ /]+/)*", "", command)


def _runs(records: Iterable[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """One record per run: of its last evaluation."""
    last: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for record in records:
        key = tuple(record.get(name) for name in ("arm", "seed", "budget", "parameters"))
        if key not in last or record["step"] >= last[key]["step"]:
            last[key] = record
    return list(last.values())


def with_interval(found: Mapping[str, Any], digits: int = 3) -> str:
    """A difference with its interval, signed; with each seed's value where there are too few for one to say much.

    >>> with_interval({"difference": -0.5, "low": -0.75, "high": -0.25, "per_seed": [-0.4, -0.6]})
    '−0.500 (−0.750 to −0.250)'
    """
    value = f"{found['difference']:+.{digits}f}"
    if found["low"] is not None:
        value += f" ({found['low']:+.{digits}f} to {found['high']:+.{digits}f})"
    return value.replace("-", "−")


def verdict_of(found: Mapping[str, Any]) -> str:
    """better, worse, or not told apart: by the interval, or "no interval" for one seed."""
    if found["low"] is None:
        return "one seed, no interval"
    return "better" if found["high"] < 0 else "worse" if found["low"] > 0 else "not told apart"
