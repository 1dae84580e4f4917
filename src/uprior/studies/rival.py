"""The faithful rival: how much compute does the published prior need for the bits that ours reaches with less?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from uprior import environment
from uprior.files import locked, write_json
from uprior.report.rival import rival_pages
from uprior.sources import Source
from uprior.sources.buffered import Buffered
from uprior.sources.iterated import Iterated
from uprior.sources.random_lstm import RandomLSTM
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies._battery import development_sets, real_sets
from uprior.studies._objective import objective
from uprior.studies._ratio import compare_on, curve_of, overall
from uprior.studies._short_runs import (
    OneModel,
    Recipe,
    Record,
    Trial,
    log_spaced,
    measured,
    publish,
    width_of,
    write_records,
)

# Of the published runs: rows in all, rows until the rate has risen, rows at which batches begin to grow and are grown; rows per
# batch before and after; the rate and the width that it was tuned at.
ROWS, WARMUP, GROW_FROM, GROW_TO = 16_000_000, 1_000_000, 500_000, 1_500_000
FIRST_ROWS, LAST_ROWS = 50, 500
RATE, RATE_WIDTH = 3e-4, 640
VARIANTS = ("published batches", "batches as ours", "ramps as published")
ROLES = ("rival", "rival's source, our recipe", "independent chains, our recipe", "ours")
# Rows of a block of the rival's buffer: the spin-up at the start of each block is then a fraction of what it writes.
BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Rival(OneModel):
    """How much compute does the published prior need for our bits? His source and recipe against ours (75 minutes).

    Four arms train the same model on the same budget: the published buffer of random LSTMs with the published recipe; the same
    source with our recipe; the same LSTMs as independent staged chains with our recipe; our mixture with our recipe. The ratios
    between neighbours are what the recipe, independence and depth, and the source contribute; their product is what the rival
    needs over what we need, at the lowest bits that he reaches on a set. Compute is 6 x parameters x tokens, the writing of
    the data, and where the model's own first weights were fitted to something, what that took (``first_weights_flops``).

    The published recipe is random first weights, AdamW (0.9, 0.999) without decay, a constant rate of 3e-4 x 640 / width in all
    tensors after a linear warm-up, batches that grow from 50 to 500 rows. Its ramps were set for 16 M rows, so they are scaled to
    the budget here, once with the published batches and once with batches that grow tenfold to ours; "ramps as published" are
    scaled by nothing. Each is tried at ``rates`` times the rate; the one best on the development sets is the rival. Arms of our
    recipe are trained for each of ``ladder`` budgets, half as long each time, since the rate falls with the budget; where they
    need far less than the rival, a smaller ``our_tokens`` leaves out what no ratio would use.
    """

    name: ClassVar[str] = "rival"
    tokens: int = parameter(8_000_000, "tokens of the longest run of each arm", low=1)
    our_tokens: int = parameter(0, "tokens of the longest run of our recipe; 0: tokens", low=0)
    ladder: int = parameter(8, "budgets of our recipe, each half of the one before", low=2, high=30)
    points: int = parameter(16, "evaluations along the rival's runs", low=2, high=1000)
    seeds: int = parameter(1, "runs of each arm", low=1, high=1000)
    first_weights_flops: float = parameter(
        0.0,
        "FLOPs that the model's own first weights took to find, charged to every run that begins with them",
        low=0.0,
    )
    variants: tuple[str, ...] = parameter(
        VARIANTS, "how the published recipe is brought to the budget: " + ", ".join(VARIANTS)
    )
    rates: tuple[float, ...] = parameter((1.0, 3.0), "times the published rate, each variant", low=1e-6)
    rival: Source = field(default=Buffered.preset("fork"), metadata={"text": "the published source"})
    chains: Source = field(
        default=Iterated(source=RandomLSTM.preset("final-paper")),
        metadata={"text": "the same machines, independent, every depth as often"},
    )
    source: Source = field(default=Universal(), metadata={"text": "ours"})

    def validate(self) -> None:
        super().validate()
        if not self.variants or not set(self.variants) <= set(VARIANTS):
            self.reject("variants", "some of " + ", ".join(VARIANTS))
        if self.our_tokens > self.tokens:
            self.reject("our_tokens", f"0 to {self.tokens} (tokens), since only the rival's bits are looked for")
        if not self.rates:
            self.reject("rates", "one number or more, as in --rates 1 3")

    def run(self, out: Path) -> None:
        development, real = development_sets(self.data), real_sets(self.data)
        panel = self.panel(development | real)
        for source in (self.rival, self.chains, self.source):  # what cannot be run is told before anything is
            Trial(source.name, source, 0, 1, length=self.length).stream()
        with locked(out):
            lines = panel.lines(out / "baselines.jsonl")
            records: list[Record] = []

            def runs(role: str, trials: Sequence[Trial]) -> list[Record]:
                done: list[Record] = []
                for trial in trials:
                    found = [
                        self._charged(record, trial) for record in measured(trial, out / "runs", panel, show=self.show)
                    ]
                    done += [{"role": role, **record} for record in found]
                    records.extend(done[-len(found) :])
                    write_records(out / "records.jsonl", records)
                    value = objective(found, lines, list(development))
                    sys.stderr.write(
                        f"rival  {trial.arm}, {trial.tokens:,} tokens, seed {trial.seed}: {value:+.4f} to Markov\n"
                    )
                return done

            tried = {trial.arm: runs("tuning", [trial]) for trial in self._rivals(0)}
            tuning = {arm: objective(found, lines, list(development)) for arm, found in tried.items()}
            chosen = min(tuning, key=tuning.__getitem__)
            by_role: dict[str, list[Record]] = {role: [] for role in ROLES}
            for seed in range(self.seeds):
                by_role[ROLES[0]] += runs(ROLES[0], [t for t in self._rivals(seed) if t.arm == chosen])
                for role in ROLES[1:]:
                    by_role[role] += runs(role, self._ladder(role, seed))
            variants = [
                {"arm": arm, "objective": tuning[arm], **self._against(tried[arm], by_role[ROLES[3]], list(real))}
                for arm in sorted(tuning, key=tuning.__getitem__)
            ]
            summary = self._summary(by_role, list(real)) | {
                "lines": lines,
                "development": list(development),
                "tuning": variants,
                "chosen": chosen,
            }
            write_json(out / "rival.json", summary)
            publish(out, self.docs, rival_pages(summary, records))

    # -------------------------------------------------------------- the arms

    def _rivals(self, seed: int) -> list[Trial]:
        """The published recipe in every variant and at every rate."""
        at = log_spaced(self._budgets()[0], self.tokens, self.points)
        return [
            Trial(
                f"{variant}, rate x{times:g}", self.rival, seed, self.tokens, self._published(variant, times), self.model,
                self.length, at, self._block_rows(self.tokens),
            )
            for variant in self.variants
            for times in (self.rates if variant != VARIANTS[2] else self.rates[:1])
        ]  # fmt: skip

    def _published(self, variant: str, times: float) -> Recipe:
        scaled = variant != VARIANTS[2]
        rows = ROWS if scaled else -(-self.tokens // self.length)
        last = self.rows if variant == VARIANTS[1] else LAST_ROWS
        return Recipe(
            learning_rate=times * RATE * RATE_WIDTH / width_of(self.model),
            rows=last,
            first_rows=max(1, last * FIRST_ROWS // LAST_ROWS),
            grow_from=GROW_FROM / rows,
            grow_to=GROW_TO / rows,
            warmup=WARMUP / rows,
            schedule="constant",
            beta2=0.999,
            weight_decay=0.0,
            plain=True,
        )

    def _ladder(self, role: str, seed: int) -> list[Trial]:
        """Our recipe on one of the sources, for every budget; looked at untrained too where that was paid for."""
        untrained = (0,) if self.first_weights_flops else ()
        source = {ROLES[1]: self.rival, ROLES[2]: self.chains, ROLES[3]: self.source}[role]
        return [
            Trial(
                role, source, seed, budget, self.recipe, self.model, self.length, untrained,
                self._block_rows(budget) if source is self.rival else None,
            )
            for budget in self._budgets()
        ]  # fmt: skip

    def _charged(self, record: Record, trial: Trial) -> Record:
        """A record with what first weights took."""
        extra = 0.0 if trial.recipe.plain else self.first_weights_flops
        return record | {"train_flops": record["train_flops"] + extra}

    def _budgets(self) -> list[int]:
        """Tokens of the runs of our recipe, ascending."""
        return [max(1, (self.our_tokens or self.tokens) // 2**k) for k in reversed(range(self.ladder))]

    def _block_rows(self, tokens: int) -> int:
        return max(256, min(BLOCK_ROWS, -(-tokens // self.length)))

    # -------------------------------------------------------------- what came of it

    def _summary(self, by_role: dict[str, list[Record]], real: list[str]) -> dict[str, Any]:
        sets = []
        for name in real:
            curves = {role: curve_of(records, name) for role, records in by_role.items()}
            drawn = {role: [curve.compute.tolist(), curve.mean().tolist()] for role, curve in curves.items()}
            sets.append({"file": name, **compare_on(curves, name), "curves": drawn})
        return {
            "study": self.to_dict(),
            "origin": environment.record(),
            "real": real,
            "roles": list(ROLES),
            "sets": sets,
            **overall([one["ratio"] for one in sets]),
        }

    def _against(self, rival: list[Record], ours: list[Record], real: list[str]) -> Record:
        """The overall ratios against one variant of the published recipe, on seed 0."""
        ours = [record for record in ours if record["seed"] == 0]
        curves = [{"rival": curve_of(rival, name), "ours": curve_of(ours, name)} for name in real]
        return overall([compare_on(pair, name)["ratio"] for pair, name in zip(curves, real, strict=True)])
