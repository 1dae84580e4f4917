"""Which source for my data? Short paired runs over the catalogue on a file of the user's own, and what to type next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from uprior import corpora, environment, sources
from uprior.files import locked, write_json
from uprior.report.which_source import NOISE, which_source_pages
from uprior.sources import Source
from uprior.sources._look import describe
from uprior.sources.uniform import Uniform
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.statistics import detectable_effect
from uprior.studies import Study
from uprior.studies._arms import EVERYTHING, SCRATCH, Arm, Carried, Model, Record, Stage, WarmUp
from uprior.studies._byte_stages import RealBudget, byte_stage, seconds_of
from uprior.studies._effects import compared, savings
from uprior.studies._laboratory import Laboratory
from uprior.studies._short_runs import check_model, publish, write_records
from uprior.train.settings import Training

DEFAULT = "universal"
CANDIDATES = (
    "pitman_yor",
    "random_language",
    "lempel_ziv",
    "pcfg",
    "iterated:source=(random_lstm)",
    "elementary_ca",
    "context_tree",
    "shuffle_dyck",
    "keyed_recall",
    "set:symbols=100",
)


@dataclass(frozen=True)
class _Size:
    """Tokens of warm-ups and of real data in the first round (one seed), and in the second; its seeds; windows."""

    first_warm: int
    first_real: int
    warm_tokens: int
    real_tokens: int
    seeds: int
    positions: int


_SIZES = {
    "minutes": _Size(100_000, 60_000, 300_000, 200_000, 4, 96),
    "hour": _Size(500_000, 300_000, 1_500_000, 800_000, 5, 256),
    "published": _Size(5_000_000, 5_000_000, 20_000_000, 50_000_000, 10, 1000),
}


@dataclass(frozen=True)
class WhichSource(Study):
    """Which source should warm a model up for my file? A ranking, intervals, and what to type next (30 minutes).

    First round, one seed: the same small model is warmed up on each of ``sources``, the default mixture and noise, then trained
    on the first 80 % of the file, and ranked by its bits on the next 10 %. Second round, longer and on fresh seeds: the best
    two, the default mixture, noise and scratch, measured on the last 10 %, which nothing before has seen; so a winner by luck
    does not stay one, and it is said where noise, which teaches nothing, helps as much. The learning rate is tried for scratch
    and for the default mixture on equal trials; the other sources take the mixture's. Also told: whether bits before any real
    data predict the ranking, and how small a difference these runs could have found. Leaves records.jsonl, which-source.json,
    which-source.md, its figure and report.html in ``out``; finished runs are never run again.
    """

    name: ClassVar[str] = "which-source-for-my-data"
    file: str = parameter("", "your data: a path, or a corpus as uprior eval takes it")
    budget: str = parameter("minutes", "sizes of everything that is 0 below", choices=tuple(_SIZES))
    sources: tuple[Source, ...] = parameter(
        tuple(map(sources.get, CANDIDATES)), "what is tried beside the default mixture"
    )
    default: Source = field(default=Universal(), metadata={"text": "the default mixture"})
    model: str = parameter("256x2-matching", "what is trained: a preset or a size, as in llama-1m")
    length: int = parameter(256, "tokens per row, bytes per window", low=16)
    rows: int = parameter(16, "rows per step", low=1)
    rates: tuple[float, ...] = parameter((1e-3, 3e-3), "learning rates tried on the file", low=1e-8, high=10.0)
    warm_rate: float = parameter(4e-4, "constant learning rate of the warm-ups", low=1e-8, high=10.0)
    first_warm: int = parameter(0, "first round: tokens of a warm-up", low=0)
    first_real: int = parameter(0, "first round: tokens of the file that are trained on", low=0)
    warm_tokens: int = parameter(0, "second round: tokens of a warm-up", low=0)
    real_tokens: int = parameter(0, "second round: tokens of the file that are trained on", low=0)
    seeds: int = parameter(0, "second round: runs of every arm", low=0, high=1000)
    positions: int = parameter(0, "windows per evaluation", low=0)
    show: bool = parameter(False, "the progress of every run")
    docs: str = parameter("", "another folder for the Markdown page and its figures")

    def validate(self) -> None:
        check_model(self, "model", self.model)
        names = [source.name for source in self.sources]
        if len(set(names) | {DEFAULT, NOISE}) < len(names) + 2 or len(names) < 2:
            self.reject("sources", f"two or more of different names, without {DEFAULT}, which is always tried")

    def run(self, out: Path) -> None:
        if not self.file:
            self.reject("file", "a path, as in --file mydata.txt")
        given = {name: getattr(self, name) for name in asdict(_SIZES[self.budget])}
        size = replace(_SIZES[self.budget], **{name: value for name, value in given.items() if value})
        first, second = (
            self._stage(name, tokens, size)
            for name, tokens in (("first", size.first_real), ("second", size.real_tokens))
        )
        with locked(out):
            self._say_cost(size)
            laboratory = Laboratory(out / "runs", self.rates, self.show)
            tried = {source.name: source for source in (self.default, *self.sources)}
            rates = self._rates(laboratory, second, size)
            pool = tried | {NOISE: Uniform(alphabet_size=256)}
            arms = [self._arm(name, source, size.first_warm, rates) for name, source in pool.items()]
            found = laboratory.records([replace(SCRATCH, rates=(rates[SCRATCH.name],)), *arms], [first], [0])
            ranking = _ranking(found)
            best = [one["arm"] for one in ranking if one["arm"] in tried and one["arm"] != self.default.name][:2]
            finalists = [
                self._arm(name, pool[name], size.warm_tokens, rates) for name in (*best, self.default.name, NOISE)
            ]
            records = laboratory.records(
                [replace(SCRATCH, rates=(rates[SCRATCH.name],)), *finalists], [second], range(1, 1 + size.seeds)
            )
            write_records(out / "records.jsonl", [*found, *records])
            summary = self._summary(ranking, records, best, tried, rates, size) | {
                "run_seconds": seconds_of(out / "runs"),
                "sizes": asdict(size),
            }
            write_json(out / "which-source.json", summary)
            publish(out, self.docs, which_source_pages(summary, [*found, *records]))
            for line in summary["advice"]:
                sys.stderr.write(f"{line}\n")

    # ---------------------------------------------------------------- arms and stages

    def _stage(self, name: str, tokens: int, size: _Size) -> Stage:
        """The file as a stage: measured on its validation split in the first round, on its test split in the second."""
        budget = RealBudget(tokens=tokens, rows=self.rows, evaluations=5, positions=size.positions)
        stage = byte_stage(name, self.file, Model(self.model, 256, self.length), budget)
        if name == "second":
            return stage

        def measure(model: Any, _: int) -> list[Record]:
            return [{"file": name, "bits_mean": stage.choose(model)}]

        return replace(stage, measure=measure)

    def _arm(self, name: str, source: Source, tokens: int, rates: dict[str, float]) -> Arm:
        steps = max(1, tokens // (self.rows * self.length))
        training = Training(
            steps=steps, warmup_steps=min(20, steps // 5), learning_rate=self.warm_rate, checkpoint_every=max(100, steps),
        )  # fmt: skip
        warm_up = WarmUp(source, training, self.rows, max(self.length, source.shortest_row))
        return Arm(name, (Carried(warm_up, EVERYTHING),), rates=(rates[self.default.name],) if rates else ())

    def _rates(self, laboratory: Laboratory, stage: Stage, size: _Size) -> dict[str, float]:
        """Of scratch and of the default mixture, each tried for a whole second round on validation data."""
        arms = (SCRATCH, self._arm(self.default.name, self.default, size.warm_tokens, {}))
        return {arm.name: laboratory.rate(arm, stage) for arm in arms}

    def _say_cost(self, size: _Size) -> None:
        first = (len(self.sources) + 2) * (size.first_warm + size.first_real) + size.first_real
        second = size.seeds * (4 * size.warm_tokens + 5 * size.real_tokens)
        trials = len(self.rates) * 2 * size.real_tokens + size.warm_tokens
        total = first + second + trials
        sys.stderr.write(
            f"{self.name}  {total / 1e6:.1f} M tokens to train on in all; at 20,000 tokens per second {total / 1.2e6:.0f} "
            "minutes, and "
            "evaluations\n"
        )

    # ---------------------------------------------------------------- what it came to

    def _summary(
        self, ranking: list[dict[str, Any]], records: list[Record], best: Sequence[str], tried: dict[str, Source],
        rates: dict[str, float], size: _Size,
    ) -> dict[str, Any]:  # fmt: skip
        arms = [*best, self.default.name, NOISE]
        against = {
            baseline: compared(records, ["second"], [arm for arm in arms if arm != baseline], baseline)
            for baseline in (SCRATCH.name, self.default.name, NOISE)
        }
        chosen, why = advised(best[0], self.default.name, against)
        spread = [value for one in against[SCRATCH.name] for value in _centred(one["per_seed"])]
        sd = (sum(v * v for v in spread) / max(1, len(spread) - len(against[SCRATCH.name]))) ** 0.5
        return {
            "study": self.to_dict(),
            "file": corpora.get(self.file).label,
            "origin": environment.record(),
            "ranking": ranking,
            "correlation": _rank_correlation(ranking),
            "finalists": arms,
            "against": against,
            "savings": savings(records, ["second"], arms, SCRATCH.name),
            "smallest_effect": detectable_effect(sd, size.seeds),
            "rates": rates,
            "chosen": chosen,
            "why": why,
            "advice": self._advice(chosen, tried, size),
        }

    def _advice(self, chosen: str, tried: dict[str, Source], size: _Size) -> list[str]:
        """What to type next."""
        if chosen == SCRATCH.name:
            return [
                f"# none of these warm-ups is known to help: train {self.model} as it is, or try what was warmed up longer",
                f"uprior compare universal --data {shlex.quote(self.file)}",
            ]
        text = describe(tried[chosen])
        return [
            f"uprior pretrain --source '{text}' --model {self.model} --context {self.length} --batch-size {self.rows} "
            f"--tokens {size.warm_tokens} --learning-rate {self.warm_rate:g} --schedule constant --out runs/warm",
            f"uprior compare runs/warm --data {shlex.quote(self.file)} --seeds 3 --learning-rates "
            f"{','.join(f'{rate:g}' for rate in self.rates)}",
        ]


def advised(best: str, default: str, against: dict[str, list[dict[str, Any]]]) -> tuple[str, str]:
    """(what to warm up on, why): the best source where it is below the default mixture with all of its interval; else the mixture
    where that is below scratch; else the best where it is below scratch; else nothing.

    Three chances of 2.5 % each: where no warm-up helps, one is advised in at most 7.5 % of such studies.
    """
    over_default = next(one for one in against[default] if one["arm"] == best)
    to_scratch = {one["arm"]: one for one in against[SCRATCH.name]}
    if _below(over_default) and _below(to_scratch[best]):
        chosen, why = best, f"{best} beats the default mixture and scratch"
    elif _below(to_scratch[default]):
        chosen = default
        why = f"no source was found that beats the default mixture, which beats scratch ({best} was the best of them)"
    elif _below(to_scratch[best]):
        chosen = best
        why = f"{best} beats scratch; it cannot be told from the default mixture, which cannot be told from scratch"
    else:
        return SCRATCH.name, "nothing tried here is known to beat scratch"
    if not _below(next(one for one in against[NOISE] if one["arm"] == chosen)):
        why += "; a warm-up on noise may be as good, so do not take it for what the source teaches"
    return chosen, why


def _below(one: dict[str, Any]) -> bool:
    return one["high"] is not None and one["high"] < 0


def _ranking(records: Sequence[Record]) -> list[dict[str, Any]]:
    """{arm, bits, zero_shot}: after the first round and before any real data, best first."""
    by_arm: dict[str, list[Record]] = {}
    for record in records:
        by_arm.setdefault(record["arm"], []).append(record)
    found = [
        {"arm": arm, "bits": run[-1]["bits_mean"], "zero_shot": run[0]["bits_mean"]} for arm, run in by_arm.items()
    ]
    return sorted(found, key=lambda one: float(one["bits"]))


def _rank_correlation(ranking: Sequence[dict[str, Any]]) -> float:
    """Spearman's, between bits before any real data and after it."""
    from scipy.stats import spearmanr

    return float(spearmanr([one["zero_shot"] for one in ranking], [one["bits"] for one in ranking]).statistic)


def _centred(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [value - mean for value in values]
