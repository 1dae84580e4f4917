"""Which mixture of sources makes the best prior? Successive halving on development sets; the verdict on sets it never saw."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from uprior import environment, sources
from uprior.files import locked, write_json
from uprior.report.search import search_pages
from uprior.sources import Source
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies._battery import development_sets, real_sets
from uprior.studies._mixtures import candidates
from uprior.studies._objective import difference, objective
from uprior.studies._short_runs import OneModel, Panel, Record, Trial, measured, publish, write_records

POOL = tuple(
    sources.get(text)
    for text in (
        "relabelled:source=(random_language)",
        "packed:source=(random_language)",
        "iterated:source=(random_gru)",
        "iterated:source=(random_mlp)",
        "pitman_yor",
        "lempel_ziv",
        "markov_chain",
        "turing_machine",
        "brainphoque",
        "elementary_ca",
        "automatic_sequence",
        "lindenmayer",
        "pcfg",
        "dyck",
        "simple_tasks",
        "probabilistic_automaton",
    )
)


@dataclass(frozen=True)
class Search(OneModel):
    """Which mixture of sources is the best prior? Successive halving on six development sets, verdict on others (80 minutes).

    Candidates are ``base``, its parts in equal shares, and random mixtures of its parts and ``pool``, some in changed settings
    (depth, machines, relabelling, packing, noise): a pure function of ``seed``. All train the same model by the same recipe from
    the same first weights, for the budgets of ``rungs`` one after the other; the best 1/``keep`` by the mean of (bits per
    byte - in-context Markov line) over the development sets go on. The last rung runs ``base`` too and every survivor on
    ``seeds`` new seeds; only there real sets are looked at, once, and for the report alone. Leaves records.jsonl, search.json
    (the best mixture as a spec), search.md, its figure and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "search"
    base: Source = field(default=Universal(), metadata={"text": "the mixture to improve"})
    pool: tuple[Source, ...] = parameter(POOL, "sources that random mixtures may take too")
    candidates: int = parameter(18, "mixtures in the first rung", low=2, high=10_000)
    rungs: tuple[int, ...] = parameter((1_000_000, 3_000_000, 9_000_000), "tokens per run of each rung", low=1)
    keep: int = parameter(3, "of so many, the best goes on to the next rung", low=2, high=1000)
    seeds: int = parameter(3, "runs of each mixture of the last rung", low=1, high=1000)
    seed: int = parameter(0, "seed of the random mixtures", low=0)
    cycle: int = parameter(24, "rows among which a random mixture's shares are divided", low=2, high=10_000)

    def run(self, out: Path) -> None:
        development, real = development_sets(self.data), real_sets(self.data)
        found = candidates(self.base, self.pool, self.candidates, seed=self.seed, cycle=self.cycle)
        for name, source in found.items():  # what cannot be run is told before anything is
            Trial(name, source, 0, 1, length=self.length).stream()
        both = self.panel(development | real)
        with locked(out):
            lines = both.lines(out / "baselines.jsonl")
            records: list[Record] = []
            rankings: list[list[dict[str, Any]]] = []
            survivors = list(found)
            for rung, tokens in enumerate(self.rungs):
                last = rung == len(self.rungs) - 1
                if last and "base" not in survivors:
                    survivors.append("base")
                panel = both if last else self.panel(development)
                seeds = range(1, 1 + self.seeds) if last else range(1)  # the last rung's are its own
                of_rung = {name: [self._trial(name, found[name], seed, tokens) for seed in seeds] for name in survivors}
                ranking = self._ranking(rung, of_rung, out / "runs", panel, lines, list(development), records)
                write_records(out / "records.jsonl", records)
                rankings.append(ranking)
                survivors = [one["candidate"] for one in ranking[: math.ceil(len(ranking) / self.keep)]]
            summary = self._summary(found, rankings, records, lines, list(development), list(real))
            write_json(out / "search.json", summary)
            publish(out, self.docs, search_pages(summary, records))

    def _trial(self, name: str, source: Source, seed: int, tokens: int) -> Trial:
        return Trial(name, source, seed, tokens, self.recipe, self.model, self.length)

    def _ranking(
        self, rung: int, of_rung: Mapping[str, Sequence[Trial]], folder: Path, panel: Panel,
        lines: Mapping[str, Mapping[str, float]], development: Sequence[str], records: list[Record],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The candidates of a rung, best first; adds their records."""
        ranking: list[dict[str, Any]] = []
        for number, (name, trials) in enumerate(of_rung.items(), start=1):
            runs = [measured(trial, folder, panel, show=self.show) for trial in trials]
            per_seed = [objective(run, lines, development) for run in runs]
            mean = sum(per_seed) / len(per_seed)
            records += [{"rung": rung, **record} for run in runs for record in run]
            ranking.append({"candidate": name, "objective": mean, "per_seed": per_seed})
            sys.stderr.write(
                f"search  rung {rung + 1} of {len(self.rungs)}, {number} of {len(of_rung)}: {name}: {mean:+.4f} bits to Markov\n"
            )
        ranking.sort(key=lambda one: one["objective"])
        sys.stderr.write(f"search  rung {rung + 1}, best first: {'; '.join(one['candidate'] for one in ranking)}\n")
        return ranking

    def _summary(
        self, found: Mapping[str, Source], rankings: list[list[dict[str, Any]]], records: list[Record],
        lines: Mapping[str, Mapping[str, float]], development: list[str], real: list[str],
    ) -> dict[str, Any]:  # fmt: skip
        last = [record for record in records if record["rung"] == len(self.rungs) - 1]
        best = rankings[-1][0]["candidate"]
        verdict = {
            name: {
                "real": difference(last, name, "base", real),
                "development": difference(last, name, "base", development),
            }
            for name in (one["candidate"] for one in rankings[-1])
            if name != "base"
        }
        return {
            "study": self.to_dict(),
            "origin": environment.record(),
            "development": development,
            "real": real,
            "lines": {name: dict(bits) for name, bits in lines.items()},
            "rankings": rankings,
            "best": best,
            "verdict": verdict,
            "specs": {name: found[name].to_dict() for name in found},
        }
