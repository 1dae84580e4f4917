"""What does each source of a mixture contribute, and which settings matter? The mixture without each part, and changed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from uprior import environment
from uprior.files import locked, write_json
from uprior.report.leave_one_out import leave_one_out_pages
from uprior.sources import Source
from uprior.sources.mixture import Mixture
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies._battery import development_sets, real_sets
from uprior.studies._mixtures import SETTINGS, labels, parts_of, without_each
from uprior.studies._objective import difference, with_pooled_intervals
from uprior.studies._short_runs import OneModel, Record, Trial, measured, publish, write_records

GROUPS = ("without", "alone", "depth", "machines", "relabelled", "packed", "noisy", "length")
# Which settings of ``SETTINGS`` belong to a group.
SETTINGS_OF = {
    "depth": ("no chains", "depth 1", "depth 2", "depth 8"),
    "machines": ("1 row per machine", "4 rows per machine", "16 rows per machine"),
    "relabelled": ("relabelled", "nothing relabelled"),
    "packed": ("packed", "nothing packed"),
    "noisy": ("noisy", "nothing noisy"),
}
WHOLE = "the whole mixture"


@dataclass(frozen=True)
class LeaveOneOut(OneModel):
    """What does each source of a mixture contribute? Without each in turn, and in other settings (100 minutes).

    The same model, recipe, budget and seeds in every arm: the mixture as it is; without each part, the others in their old
    proportions; chains of other depths; other numbers of rows per machine; all of it relabelled, packed, noisy (or none of it,
    where parts are); rows of other lengths, measured on the same windows. Differences to the whole mixture are paired by seed, on
    the development sets, on which alone decisions may be made, and on the real ones, for the report. Leaves
    records.jsonl, leave-one-out.json, leave-one-out.md, its figure and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "leave-one-out"
    source: Source = field(default=Universal(), metadata={"text": "the mixture"})
    groups: tuple[str, ...] = parameter(
        tuple(group for group in GROUPS if group != "alone"), "what to vary: " + ", ".join(GROUPS)
    )
    tokens: int = parameter(3_000_000, "tokens per run", low=1)
    seeds: int = parameter(2, "runs of each arm", low=1, high=1000)
    lengths: tuple[int, ...] = parameter((128, 512), "other row lengths, for the group length", low=16)

    def validate(self) -> None:
        super().validate()
        if not set(self.groups) <= set(GROUPS):
            self.reject("groups", "some of " + ", ".join(GROUPS))

    def run(self, out: Path) -> None:
        development, real = development_sets(self.data), real_sets(self.data)
        panel = self.panel(development | real)
        arms = self._arms()
        trials = [self._trial(*arm, seed) for seed in range(self.seeds) for arm in arms]
        for trial in trials:  # what cannot be run is told before anything is
            trial.stream()
        with locked(out):
            lines = panel.lines(out / "baselines.jsonl")
            records: list[Record] = []
            for number, trial in enumerate(trials, start=1):
                group = next(group for group, name, *_ in arms if name == trial.arm)
                run = measured(trial, out / "runs", panel, show=self.show)
                records += [{"group": group, **record} for record in run]
                write_records(out / "records.jsonl", records)
                bits = [record["bits_mean"] for record in run if record["file"] in development]
                mean = sum(bits) / len(bits)
                sys.stderr.write(
                    f"leave-one-out  {number} of {len(trials)}: {trial.arm}, seed {trial.seed}: {mean:.4f} bits on development\n"
                )
            summary = {
                "study": self.to_dict(),
                "origin": environment.record(),
                "development": list(development),
                "real": list(real),
                "lines": lines,
                "arms": self._compared(records, [arm[:2] for arm in arms[1:]], list(development), list(real)),
            }
            write_json(out / "leave-one-out.json", summary)
            publish(out, self.docs, leave_one_out_pages(summary, records))

    def _trial(self, _group: str, name: str, source: Source, length: int, seed: int) -> Trial:
        return Trial(name, source, seed, self.tokens, self.recipe, self.model, length)

    def _compared(
        self, records: list[Record], arms: Sequence[tuple[str, str]], development: list[str], real: list[str]
    ) -> list[dict[str, Any]]:
        """Every arm's differences to the whole mixture."""
        on = {
            kind: with_pooled_intervals([difference(records, name, WHOLE, sets) for _, name in arms])
            for kind, sets in (("development", development), ("real", real))
        }
        return [
            {"group": group, "name": name, "development": ours, "real": theirs}
            for (group, name), ours, theirs in zip(arms, on["development"], on["real"], strict=True)
        ]

    def _arms(self) -> list[tuple[str, str, Source, int]]:
        """(group, name, source, row length) of every arm; settings that change nothing are left out."""
        arms = [("", WHOLE, self.source, self.length)]
        parts = [part for part, _ in parts_of(self.source)]
        if "without" in self.groups:
            arms += [("without", f"without {name}", left, self.length) for name, left in without_each(self.source)]
        if "alone" in self.groups:
            alone = zip(labels(parts), parts, strict=True)
            arms += [("alone", f"{name} alone", part, self.length) for name, part in alone]
        mixture = Mixture(sources=tuple(parts), shares=tuple(share for _, share in parts_of(self.source)))
        for group, settings in SETTINGS_OF.items():
            changed = {name: SETTINGS[name](mixture) for name in settings if group in self.groups}
            arms += [(group, name, made, self.length) for name, made in changed.items() if made != mixture]
        if "length" in self.groups:
            others = [length for length in self.lengths if length != self.length]
            arms += [("length", f"rows of {length}", self.source, length) for length in others]
        return arms
