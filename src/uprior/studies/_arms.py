"""Arms of a transfer study: what a model is warmed up on, what of it goes into a fresh one, and the stage that all arms share.

An arm is a description; ``Laboratory`` does it. Arms of a study share seeds: seed s gives every arm the same fresh weights and
the same batches of the shared stage, and its warm-ups their own fresh weights and rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from uprior.corpora import Corpus
from uprior.data.stream import BatchStream
from uprior.models.folder import find_model
from uprior.models.shipped import spent_on
from uprior.sources import Source
from uprior.sources.shuffled import Shuffled
from uprior.sources.uniform import Uniform
from uprior.train.settings import Training
from uprior.transfer import ROLES

Record = dict[str, Any]

EVERYTHING = ROLES
BLOCKS = ("attention", "mlp", "norms")
# What is done to warmed-up weights before they are carried; the last is the published control (code of arXiv 2511.13945).
CONTROLS = ("", "shuffled", "same statistics", "shuffled by head", "shuffled by head, outputs kept")


@dataclass(frozen=True)
class Model:
    """What is trained: a preset or a size (``uprior.models.sizes``), its vocabulary, context, and whether it has two tables."""

    name: str
    vocab: int = 256
    context: int = 256
    untied: bool = False


@dataclass(frozen=True)
class WarmUp:
    """Training before the shared stage, from fresh weights. ``data``: a source, or a corpus for controls on real data.

    The model is that of the shared stage, but for ``vocab`` and the context, ``length``: what a source needs. ``keep``: steps at
    which the model is kept on the way; ``at``: which of them is carried (0: the end). So one run has warm-ups of many lengths.
    """

    data: Source | Corpus
    training: Training
    rows: int
    length: int
    vocab: int = 256
    control: str = ""
    keep: tuple[int, ...] = ()
    at: int = 0

    @property
    def tokens(self) -> int:
        """Trained on by the model that is carried."""
        return (self.at or self.training.steps) * self.rows * self.length

    def describe(self) -> Record:
        described = {
            "data": self.data.to_dict() | ({"sha256": self.data.sha256} if isinstance(self.data, Corpus) else {}),
            "training": self.training.to_dict(),
            "rows": self.rows,
            "length": self.length,
            "vocab": self.vocab,
        }
        return described | ({"keep": self.keep} if self.keep else {}) | ({"at": self.at} if self.at else {})


@dataclass(frozen=True)
class Given:
    """A warm-up that was done before: a shipped model's name or a folder. It is the same for every seed.

    tokens, flops   what it took; ``sha256`` of its weights, so that other weights are another arm
    """

    name: str
    tokens: int
    flops: float
    sha256: str
    control: str = ""

    @classmethod
    def shipped(cls, name: str) -> Given:
        """A shipped model, or a folder that ``uprior ship`` wrote, with what its recipe says. Raises CheckpointError."""
        spent = spent_on(find_model(name))
        return cls(name, spent.tokens, spent.flops, spent.sha256)

    def describe(self) -> Record:
        return {"given": Path(self.name).name, "tokens": self.tokens, "sha256": self.sha256}


@dataclass(frozen=True)
class Carried:
    """One warm-up's share in an arm: ``parts`` (roles) of which ``layers`` (None: all) go into the fresh model."""

    warm_up: WarmUp | Given
    parts: tuple[str, ...] = EVERYTHING
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Arm:
    """One way to the end of the shared stage; without ``carried`` it starts from scratch.

    embeddings, positions   as of ``uprior.carry``
    frozen                  roles that the shared stage does not train
    plain                   all fresh weights random, whatever start the model has here
    more_steps              steps of the shared stage on top: what other arms spent on warming up
    rates                   learning rates to try, in place of the study's; one means no trial
    """

    name: str
    carried: tuple[Carried, ...] = ()
    embeddings: str | None = None
    positions: str | None = None
    frozen: tuple[str, ...] = ()
    plain: bool = False
    more_steps: int = 0
    rates: tuple[float, ...] = ()

    def describe(self) -> Record:
        """Everything that decides its runs, but for its name and rates."""
        carried = [
            {
                "warm_up": one.warm_up.describe(),
                "control": one.warm_up.control,
                "parts": one.parts,
                "layers": one.layers,
            }
            for one in self.carried
        ]
        fields = ("embeddings", "positions", "frozen", "plain", "more_steps")
        return {"carried": carried} | {field: getattr(self, field) for field in fields}


@dataclass(frozen=True)
class Stage:
    """The shared stage: one task's model, data, budget and measurements.

    name        of the task
    stream      seed -> its batches; the same for every arm
    training    all but the learning rate, which each arm has its own of
    measure     (model, step) -> records, on fixed test data: what is reported
    choose      model -> a number, the lower the better, on fixed validation data: what rates are chosen by
    evaluate_at steps before and at the arms' common end; an arm with more steps is looked at at its own end too
    key         what else decides the records, plain JSON values: the data's digest, how much of it is measured on
    metric      the measured number that tables show
    """

    name: str
    model: Model
    stream: Callable[[int], BatchStream]
    training: Training
    measure: Callable[[Any, int], list[Record]]
    choose: Callable[[Any], float]
    evaluate_at: frozenset[int]
    key: Record
    metric: str = "bits_mean"


SCRATCH = Arm("scratch")


def controls_of(arm: Arm, *, other: Corpus | None = None, more_steps: int = 0, by_head: bool = True) -> list[Arm]:
    """The arms that must lose if ``arm`` is to have learnt something: each spends what it spends, on less.

    Warm-ups on random tokens and on its own rows shuffled; its own weights shuffled (whole tensors; within heads, with and
    without attention's output projections: ``by_head``) or drawn anew with the same mean and deviation; as many tokens of
    ``other``, real data of another domain; and scratch for ``more_steps``, the same compute on the real data itself. Of an arm
    whose warm-up is given, only the controls on weights and the last can be made.
    """
    own = all(isinstance(one.warm_up, WarmUp) for one in arm.carried)
    arms = []
    if own:
        arms += [
            _with_data(arm, "random tokens", lambda source: Uniform(alphabet_size=source.alphabet_size)),
            _with_data(arm, "shuffled sequences", lambda source: Shuffled(source=source)),
        ]
    kinds = [kind for kind in CONTROLS if kind and (by_head or "head" not in kind)]
    arms += [_changed(arm, f"weights {kind}", partial(replace, control=kind)) for kind in kinds]
    if own and other is not None:
        arms.append(_with_data(arm, f"real data ({other.label})", lambda _: other))
    if more_steps:
        arms.append(Arm("matched compute", more_steps=more_steps))
    return arms


def _with_data(arm: Arm, name: str, data: Callable[[Any], Source | Corpus]) -> Arm:
    return _changed(arm, name, lambda warm_up: replace(warm_up, data=data(warm_up.data)))


def _changed(arm: Arm, name: str, change: Callable[[Any], WarmUp | Given]) -> Arm:
    carried = tuple(replace(one, warm_up=change(one.warm_up)) for one in arm.carried)
    return replace(arm, name=name, carried=carried)
