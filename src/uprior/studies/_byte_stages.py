"""Shared stages on bytes of real data: trained on the first part of a file, rates chosen on the next, tested on the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uprior import corpora
from uprior.data.stream import CorpusStream, Stream
from uprior.experiment import evaluation_steps
from uprior.files import read_lines
from uprior.sources import Source
from uprior.studies._arms import Model, Stage
from uprior.studies._compute import wrapped_by
from uprior.studies._short_runs import CPU_TOKENS, Panel, window_nats
from uprior.train.hardware import resolve_precision
from uprior.train.scorer import Scorer
from uprior.train.settings import Training, rising_steps

# Windows of the validation split that a rate is chosen on, where there are so many: a trial looks at them once.
CHOSEN_ON = 64


@dataclasses.dataclass(frozen=True)
class RealBudget:
    """How much real data a stage has, and how it is looked at.

    tokens       trained on, in steps of ``rows`` rows as long as the model's context
    limit_bytes  different ones among them: the first so many bytes of the training split; 0: all of it
    evaluations  along the way, closer together early; ``positions`` windows of the test split each
    """

    tokens: int
    rows: int
    limit_bytes: int = 0
    evaluations: int = 7
    positions: int = 64
    weight_decay: float = 0.1

    def steps(self, context: int) -> int:
        return max(1, round(self.tokens / (self.rows * context)))


def byte_stage(name: str, text: str, model: Model, budget: RealBudget) -> Stage:
    """The stage on a corpus given as text: the rate rises (``rising_steps``), then a cosine takes it down to a tenth.

    Measured in bits per byte on fixed windows of the test split; rates are chosen on windows of the validation split.
    """
    corpus = corpora.get(text)
    context, steps = model.context, budget.steps(model.context)
    panel = Panel({name: text}, context=context, positions=budget.positions)
    possible = corpora.possible_windows(corpus.data("validation").size, context, corpus.align)
    chosen_on = max(budget.positions, min(CHOSEN_ON, possible))
    validation = corpus.windows("validation", chosen_on, context, "rates are chosen on")
    limit = budget.limit_bytes or None

    def stream(seed: int) -> CorpusStream:
        return CorpusStream(corpus, seed=seed, batch_size=budget.rows, length=context, limit_bytes=limit)

    stream(0)  # too short a file is told before anything is run
    return Stage(
        name,
        model,
        stream,
        Training(
            steps=steps,
            schedule="cosine",
            warmup_steps=rising_steps(steps),
            weight_decay=budget.weight_decay,
            checkpoint_every=max(100, steps // 5),
        ),
        panel.measure,
        lambda trained: float(window_nats(scorer(trained), validation, trained.device).mean() / np.log(2)),
        evaluation_steps(steps, budget.evaluations),
        {"data": corpus.sha256, **panel.describe()},
    )


def scorer(model: Any) -> Scorer:
    return Scorer(model, resolve_precision("auto", model.device, model), model.device)


def synthetic_bits(source: Source, *, rows: int, length: int, vocab: int) -> Callable[[Any], float]:
    """A measurement: model -> its bits per scored token on ``rows`` rows of the source's validation split, always the same."""
    batch = Stream(source, seed=0, batch_size=rows, length=length, vocab=vocab, split="validation").batch(0)

    def measure(model: Any) -> float:
        import torch

        score, at_once, nats = scorer(model), CPU_TOKENS // length or 1, 0.0
        with torch.no_grad():
            for start in range(0, rows, at_once):
                part = slice(start, start + at_once)
                tokens, scored = (
                    torch.from_numpy(array[part]).to(model.device) for array in (batch.tokens, batch.scored)
                )
                nats += float(score(tokens, scored)[0])
        return nats / float(np.log(2)) / max(1, int(batch.scored[:, 1:].sum()))

    return measure


def names_within(source: Source) -> Iterator[str]:
    """The names of a source and of all that it is made of.

    >>> from uprior import sources
    >>> sorted(names_within(sources.get("packed:source=(noisy:source=dyck)")))
    ['dyck', 'noisy', 'packed']
    """
    yield source.name
    for part in wrapped_by(source):
        yield from names_within(part)


def seconds_of(folder: Path) -> float:
    """What all runs below a folder took in training, in seconds of wall time; evaluations are not in it."""
    return float(sum(line["seconds"] for log in folder.glob("*/timing.jsonl") for line in read_lines(log)))
