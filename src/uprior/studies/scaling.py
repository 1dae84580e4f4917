"""How do bits on unseen real data fall with parameters and with tokens of random computation? Power laws, one size held out."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uprior import environment
from uprior.files import locked, write_json
from uprior.report.scaling import scaling_pages
from uprior.sources import Source
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies._battery import real_sets
from uprior.studies._laws import Points, laws
from uprior.studies._short_runs import Recipe, Record, ShortRuns, Trial, check_model, measured, publish, write_records

MEAN = "mean of all sets"


@dataclass(frozen=True)
class Scaling(ShortRuns):
    """How do zero-shot bits fall with parameters and with tokens? Power laws, the largest size held out (70 minutes).

    Every size trains on every budget of the ladder, on the same stream, each run with its own decay of the rate. All widths take
    one rate, as Muon's steps allow; with ``--optimizer adamw --base-width 128`` and sizes without -matching the rate is that of a
    width and carried to the others by muP. Per real set, and for their mean: bits = floor + size * N^-alpha +
    data * D^-beta by Huber loss of log bits, with bootstrap intervals over windows and residuals; what the law of the smaller
    sizes predicts for the largest; bits per doubling of parameters and of tokens. Leaves records.jsonl, scaling.json, scaling.md,
    its figure and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "scaling"
    source: Source = field(default=Universal(), metadata={"text": "what is trained on"})
    sizes: tuple[str, ...] = parameter(
        ("128x2-matching", "192x2-matching", "256x2-matching", "384x2-matching", "512x2-matching"),
        "models, the smallest first: presets or sizes",
    )
    tokens: int = parameter(8_000_000, "tokens of the longest runs", low=1)
    ladder: int = parameter(5, "budgets, each half of the one before", low=2, high=30)
    seeds: int = parameter(1, "runs of each size and budget", low=1, high=1000)
    base_width: int = parameter(
        0, "width that the learning rate was found at (muP); 0: one rate at all", low=0, high=1 << 20
    )

    def validate(self) -> None:
        for size in self.sizes:
            check_model(self, "sizes", size)
        if len(self.sizes) < 4 or len(set(self.sizes)) < len(self.sizes):
            self.reject("sizes", "four different models or more")

    def run(self, out: Path) -> None:
        real = real_sets(self.data)
        panel = self.panel(real)
        recipe: Recipe = self.recipe.replace(base_width=self.base_width)
        trials = [
            Trial(f"{size}", self.source, seed, self.tokens // 2**k, recipe, size, self.length)
            for seed in range(self.seeds)
            for size in self.sizes
            for k in reversed(range(self.ladder))
        ]
        trials[0].stream()  # what cannot be run is told before anything is
        with locked(out):
            lines = panel.lines(out / "baselines.jsonl")
            records: list[Record] = []
            for number, trial in enumerate(trials, start=1):
                run = measured(trial, out / "runs", panel, show=self.show)
                records += run
                write_records(out / "records.jsonl", records)
                mean = sum(record["bits_mean"] for record in run) / len(run)
                sys.stderr.write(
                    f"scaling  {number} of {len(trials)}: {trial.arm}, {trial.tokens:,} tokens, seed {trial.seed}: "
                    f"{mean:.4f} bits\n"
                )
            summary: dict[str, Any] = {
                "study": self.to_dict(),
                "origin": environment.record(),
                "lines": lines,
                "sets": [{"file": name, **laws(self._points(records, [name]), name)} for name in real],
                "mean": {"file": MEAN, **laws(self._points(records, list(real)), MEAN)},
            }
            write_json(out / "scaling.json", summary)
            publish(out, self.docs, scaling_pages(summary, records))

    def _points(self, records: list[Record], files: list[str]) -> Points:
        """Every size and budget once, mean over seeds; the budget in whole steps as it was run."""
        keys = sorted({(record["parameters"], record["tokens"]) for record in records})

        def bits(file: str) -> Any:
            found = [
                np.mean(
                    [r["window_bits"] for r in records if (r["parameters"], r["tokens"], r["file"]) == (*key, file)],
                    axis=0,
                )
                for key in keys
            ]
            return np.array(found, dtype=np.float64)

        parameters, tokens = np.array(keys, dtype=np.float64).T
        return Points(parameters, tokens, [bits(file) for file in files])
