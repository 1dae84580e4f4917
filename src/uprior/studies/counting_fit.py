"""The numbers of the counting start, fitted to random computation; and what such a function can do on real data."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior import corpora, environment, evals
from uprior.data.stream import Stream
from uprior.files import locked, read_lines, write_json
from uprior.report.counting_fit import counting_fit_pages
from uprior.rng import generator
from uprior.sources import Source
from uprior.sources.code_page import CodePage
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies import Study
from uprior.studies._battery import development_sets
from uprior.studies._compute import generation_flops_per_token
from uprior.studies._mixtures import labels, parts_of
from uprior.studies._short_runs import publish, write_records

if TYPE_CHECKING:
    from uprior.studies._counts import Numbers, Places

Record = dict[str, Any]
Sets = dict[str, tuple["Places", NDArray[np.int64], NDArray[np.uint8]]]
# Where both fits and verdicts look: the last quarter of a window.
LAST = 4
WHOLE, BOUND, MODEL = "the source", "development sets", "llama-6m-counting"


@dataclass(frozen=True)
class CountingFit(Study):
    """What first weights that count are made of, fitted to random computation, and how far such numbers go (20 minutes).

    What such weights compute is a function of agreement between symbols: two softmaxes over all places before, whose logits add
    up for each of the last symbols that agrees, itself or in kind; the symbols that follow, weighed by them, spread over their
    neighbours, bent and normalised. Adam fits its numbers to places in the last quarter of rows of random computation, with the
    noise that the weights' codes bring; rows of ``long_context`` count ``long_weight``. Once for the source, once for ``against``
    and each of its parts, and once for the development sets, which is no predictor but a bound for what any source can bring to
    this function. Beside them, at the same places: the best mixture of Markov orders, CTW, and the model as it is built. Leaves
    records.jsonl, counting-fit.json, counting-fit.md and report.html in ``out``; a fit that is there is not made again.
    """

    name: ClassVar[str] = "counting-fit"
    source: Source = field(default=CodePage(), metadata={"text": "random computation to fit to"})
    against: Source = field(
        default=Universal(), metadata={"text": "a mixture to fit to for comparison; its parts, too"}
    )
    data: str = parameter("data", "folder with the files of the development sets")
    rows: int = parameter(3000, "rows of the source to fit to", low=2, high=1 << 20)
    context: int = parameter(512, "their tokens", low=128, high=1 << 14)
    long_context: int = parameter(4096, "tokens of the long rows", low=128, high=1 << 14)
    long_weight: float = parameter(0.2, "what long rows count, over the others", low=0.0, high=100.0)
    room: int = parameter(
        156, "dimensions that tell symbols before, beside kinds, as in llama-6m-counting", low=8, high=4096
    )
    steps: int = parameter(1200, "of Adam, per fit", low=1, high=1 << 20)
    windows: int = parameter(32, "of each development set, 24 places each", low=2, high=1 << 20)
    model: str = parameter(MODEL, "preset to measure beside the function; empty: none")
    seed: int = parameter(0, "of rows, places and windows", low=0)
    docs: str = parameter("", "another folder for counting-fit.md")

    def run(self, out: Path) -> None:
        sets = development_sets(self.data)
        with locked(out):
            judged, key = self._judged(sets), self._key(sets)
            records = [record for record in read_lines(out / "records.jsonl") if record["of"] == key]
            for name, make in (*self._fits(), (BOUND, lambda: self._bound(judged))):
                if any(record["fit"] == name for record in records):
                    continue
                numbers, flops = make()
                records.append({"fit": name, "of": key, "flops": flops, **self._record(numbers, judged)})
                write_records(out / "records.jsonl", records)
                mean = np.mean(list(records[-1]["bits"].values()))
                sys.stderr.write(f"counting-fit  {name}: {mean:.3f} bits on the development sets\n")
            beside = self._beside(sets, judged)
            summary = {
                "study": self.to_dict() | {"data": Path(self.data).name},
                "origin": environment.record(),
                "sets": list(sets),
                "records": records,
                "beside": beside,
                "made_of": self._made_of(),
            }
            write_json(out / "counting-fit.json", summary)
            publish(out, self.docs, counting_fit_pages(summary))

    def _key(self, sets: Mapping[str, str]) -> str:
        """What a record is good for: these options and these very files."""
        mine = {key: value for key, value in self.to_dict().items() if key not in ("data", "docs", "model")}
        return json.dumps(mine | {"sha256": [corpora.get(text).sha256 for text in sets.values()]}, sort_keys=True)

    def _fits(self) -> list[tuple[str, Any]]:
        """(name, fit) of the source, of the other one, and of each of its parts alone."""
        parts = [part for part, _ in parts_of(self.against)]
        sources = [(WHOLE, self.source), (self.against.name, self.against), *zip(labels(parts), parts, strict=True)]
        return [(name, lambda source=source: self._fitted_to(source)) for name, source in sources]

    def _fitted_to(self, source: Source) -> tuple[Numbers, float]:
        """The numbers, and the FLOPs of finding them, rows included."""
        from uprior.studies._counts import fit_flops, fitted

        parts, flops = [], 0.0
        long_rows = max(2, self.rows // 4)
        asked = ((1.0, 256, self.context, self.rows, 8), (self.long_weight, 48, self.long_context, long_rows, 6))
        for weight, count, length, rows, each in asked:
            if weight:
                parts.append((weight, count, self._places(source, length, rows, each)))
                flops += rows * length * generation_flops_per_token(source, length=length)
        numbers = fitted(self._begin(), parts, steps=self.steps, room=self.room, seed=self.seed)
        return numbers, flops + fit_flops(parts, self.steps)

    def _bound(self, judged: Sets) -> tuple[Numbers, float]:
        from uprior.studies._counts import fit_flops, fitted

        parts = [(1 / len(judged), 64, places) for places, *_ in judged.values()]
        numbers = fitted(self._begin(), parts, steps=self.steps, room=self.room, seed=self.seed)
        return numbers, fit_flops(parts, self.steps)

    def _begin(self) -> Numbers:
        """Nothing is known but that matches count, in one sum later ones less, and that logits are some logarithm of shares."""
        from uprior.models.counting import HEIGHTS, KIND_LAGS, LAGS, SHARES, SPREAD
        from uprior.studies._counts import Numbers

        near, far = [3.0 / (lag + 1) for lag in range(LAGS)], [1.0] * LAGS
        knees, kinds = np.geomspace(1e-4, 0.1, len(SHARES)).tolist(), [0.5] * KIND_LAGS
        return Numbers.of([near, far], [kinds, kinds], knees, [2.0] * len(HEIGHTS), 3.0, [0.01] * len(SPREAD))

    def _places(self, source: Source, length: int, rows: int, each: int) -> Places:
        from uprior.studies._counts import places_in

        batch = Stream(source, seed=self.seed, batch_size=rows, length=length, vocab=256).batch(0)
        draws = generator("counting-fit places", self.seed, length)
        return places_in(batch.tokens.astype(np.uint8), length - length // LAST, each, draws)[0]

    def _judged(self, sets: Mapping[str, str]) -> Sets:
        from uprior.studies._counts import places_in

        found = {}
        for name, text in sets.items():
            windows = corpora.get(text).windows("test", self.windows, self.context, "gap", self.seed)
            draws = generator("counting-fit windows", self.seed, name)
            places, where = places_in(windows, self.context - self.context // LAST, 24, draws)
            found[name] = (places, where, windows)
        return found

    def _record(self, numbers: Numbers, judged: Sets) -> Record:
        from uprior.studies._counts import mean_bits

        bits, exact = (
            {one: mean_bits(numbers, places, room) for one, (places, *_) in judged.items()} for room in (self.room, 0)
        )
        return {"numbers": numbers.plain(), "bits": bits, "exact_bits": exact}

    def _beside(self, sets: Mapping[str, str], judged: Sets) -> dict[str, dict[str, float]]:
        """predictor -> set -> bits at the same places."""
        found: dict[str, dict[str, float]] = {}
        for name, text in sets.items():
            _, where, windows = judged[name]
            known = evals.baselines(
                corpora.get(text), self.context, names=["markov-mix", "ctw"], windows=512, true_alphabet=True
            )
            for predictor in (*known, *self._models()):
                cost = predictor.bits(windows).bits[where[:, 0], where[:, 1]]
                found.setdefault(predictor.name, {})[name] = float(cost.mean())
        return found

    def _models(self) -> Sequence[evals.Predictor]:
        if not self.model:
            return []
        from uprior.models import build

        return [evals.ModelPredictor(build(self.model, context=self.context, seed=self.seed), name=self.model)]

    def _made_of(self) -> dict[str, Any]:
        from uprior.studies._counts import Numbers

        return Numbers.in_the_package().plain()
