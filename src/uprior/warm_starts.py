"""What ``compare`` compares: a pretrain run, whose warm-up every seed repeats, or a shipped model, which is the same for all.

Arms that begin with a run's warm-up; seed 0 takes the given run, every further one draws new step-0 weights and warms them up by
the run's own recipe, so that intervals cover the whole procedure and not just the real stage:

    scratch   real data from the step-0 weights
    warmed    real data from the warmed-up weights
    noise     the same warm-up spent on uniform noise: what the optimiser does without anything to learn
    matched   scratch, with the warm-up's compute spent on more real steps

Arms that begin with a shipped model, which nobody makes again for a comparison; intervals cover batches and scratch's weights:

    scratch   real data from new first weights of the same model
    random    the same with random weights, where the model has another start (``-matching``)
    warmed    real data from the shipped weights
    shuffled  the shipped weights, the values of each tensor of attention and MLPs permuted: their scale without what they compute
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from uprior import sources
from uprior.data.stream import Stream
from uprior.errors import CheckpointError, SpecError
from uprior.models.first_weights import first_weights_of
from uprior.models.folder import find_model, load_model, save_model
from uprior.models.presets import describe, flops_per_token, fresh_like, from_config
from uprior.models.shipped import spent_on
from uprior.rng import digest
from uprior.sources.uniform import Uniform
from uprior.train.enough import as_it_ended
from uprior.train.settings import Training
from uprior.transfer.controls import shuffled_weights

# Trains a model on a stream into a folder: (model, stream, training, folder, title=).
Fit = Callable[..., None]
# Bytes in the rows of a shipped model, unless told otherwise or it reads fewer.
USUAL_CONTEXT = 256


@dataclass(frozen=True)
class Arm:
    """One way of training: what its warm-up cost, for how many real steps it runs, and whose learning rate it takes, if any's."""

    name: str
    description: str
    warmup_tokens: int
    steps: int
    rate_of: str = ""


@dataclass(frozen=True)
class Usual:
    """The sizes that ``compare`` takes unless told otherwise."""

    steps: int
    batch_size: int
    learning_rates: tuple[float, ...]
    schedule: str
    evaluations: int
    positions: int


class WarmStart(Protocol):
    """What a comparison needs to know of the thing that is compared.

    length            tokens of a row
    tokens            of the warm-up
    pairs             (arm, baseline) whose differences at the end are told
    """

    usual: Usual
    length: int
    tokens: int
    flops_per_token: int
    pairs: tuple[tuple[str, str], ...]

    def arms(self, steps: int, batch_size: int) -> list[Arm]: ...

    def describe(self) -> dict[str, Any]:
        """What decides it, for the comparison's record."""

    def start(self, arm: str, seed: int, folder: Path, fit: Fit) -> Path:
        """The folder with the weights that an arm of a seed starts from, made below ``folder`` if need be."""


def warm_start(given: str | Path, context: int | None) -> WarmStart:
    """What a text means: a finished run's directory, a shipped model's name, or a folder that ``uprior ship`` wrote.

    Raises CheckpointError for anything else, SpecError for a context that it does not have.
    """
    model, run = find_model(given), Path(given)
    if (run / "model").exists():
        if context is not None:
            raise SpecError(f"compare: {run} is compared in rows as long as its own; leave --context out")
        return RepeatedWarmUp(run)
    return ShippedModel(model, context)


class RepeatedWarmUp:
    """A pretrain run; every seed but its own makes it anew."""

    usual = Usual(
        steps=200, batch_size=16, learning_rates=(1e-3, 3e-3), schedule="constant", evaluations=10, positions=256
    )
    pairs: tuple[tuple[str, str], ...] = (
        ("warmed", "scratch"),
        ("warmed", "matched"),
        ("warmed", "noise"),
        ("noise", "scratch"),
    )

    def __init__(self, run: Path) -> None:
        self.run, self.recipe = run, _recipe(run)
        self.length, self.tokens = int(self.recipe["stream"]["length"]), int(self.recipe["tokens"])
        start = load_model(run / "start")
        self.flops_per_token, self._first = flops_per_token(start), _first_weights(start)

    def arms(self, steps: int, batch_size: int) -> list[Arm]:
        more = -(-self.tokens // (batch_size * self.length))
        return [
            Arm("scratch", f"real data from {self._first}", 0, steps),
            Arm("warmed", "real data from weights warmed up on the source", self.tokens, steps),
            Arm("noise", "real data from weights warmed up on uniform noise", self.tokens, steps),
            Arm("matched", "scratch, with the warm-up's compute spent on more real steps", 0, steps + more, "scratch"),
        ]

    def describe(self) -> dict[str, Any]:
        return {
            "warm_fingerprint": digest(json.dumps(self.recipe, sort_keys=True)).hex(),
            "model": self.recipe["model"],
            "source": self.recipe["stream"]["source"],
            "warmup": self.recipe["training"],
        }

    def start(self, arm: str, seed: int, folder: Path, fit: Fit) -> Path:
        if arm in ("scratch", "matched"):
            return self._step0(seed, folder)
        if arm == "warmed" and seed == 0:
            return find_model(self.run)
        warmed = folder / f"seed-{seed}" / f"warmup-{arm}"
        if not (warmed / "model").exists():
            fields = {k: v for k, v in self.recipe["training"].items() if k not in ("name", "version")}
            stream, model = self._stream(seed, noise=arm == "noise"), load_model(self._step0(seed, folder))
            fit(model, stream, Training(**fields), warmed, title=f"seed {seed}, warm-up on {stream.source.name}")
        return warmed / "model"

    def _step0(self, seed: int, folder: Path) -> Path:
        if seed == 0:
            return self.run / "start"
        return _kept(
            folder / f"seed-{seed}" / "start",
            lambda: fresh_like(load_model(self.run / "start"), seed=derived_seed("weights", seed)),
        )

    def _stream(self, seed: int, *, noise: bool) -> Stream:
        stream = Stream.from_description(self.recipe["stream"])
        source = Uniform(alphabet_size=stream.source.alphabet_size) if noise else stream.source
        return Stream(
            source, seed=stream.seed if seed == 0 else derived_seed("stream", seed), batch_size=stream.batch_size,
            length=stream.length, vocab=stream.vocabulary, block_rows=stream.block_rows,
        )  # fmt: skip


class ShippedModel:
    """A model that ``uprior ship`` wrote: its weights are the same for all seeds."""

    usual = Usual(
        steps=60, batch_size=4, learning_rates=(1e-4, 3e-4, 1e-3, 3e-3), schedule="cosine", evaluations=6, positions=64
    )

    def __init__(self, folder: Path, context: int | None) -> None:
        self.folder, self.spent = folder, spent_on(folder)
        self.tokens, model = self.spent.tokens, load_model(folder)
        longest = getattr(model.config, "max_position_embeddings", USUAL_CONTEXT)
        self.length = min(USUAL_CONTEXT, longest) if context is None else context
        if not 2 <= self.length <= longest:
            raise SpecError(f"compare: context = {self.length} is not allowed; allowed: 2 to {longest}")
        self.flops_per_token, self._first, self._config = flops_per_token(model), _first_weights(model), model.config
        self._described = describe(model)
        self._begins_made = first_weights_of(model.config) is not None
        random = [("warmed", "random"), ("scratch", "random")] if self._begins_made else []
        self.pairs = (("warmed", "scratch"), *random, ("warmed", "shuffled"))

    def arms(self, steps: int, batch_size: int) -> list[Arm]:
        random = [Arm("random", "real data from random weights", 0, steps)] if self._begins_made else []
        return [
            Arm("scratch", f"real data from {self._first}", 0, steps),
            *random,
            Arm("warmed", "real data from the shipped weights, the same for every seed", self.tokens, steps),
            Arm("shuffled", "real data from the shipped weights, each tensor shuffled", self.tokens, steps),
        ]

    def describe(self) -> dict[str, Any]:
        return {
            "shipped": True,
            "warm_fingerprint": self.spent.sha256,
            "model": self._described,
            "warm_flops": self.spent.flops,
        }

    def start(self, arm: str, seed: int, folder: Path, fit: Fit) -> Path:
        if arm == "warmed":
            return self.folder
        made, own = folder / f"seed-{seed}" / f"start-{arm}", derived_seed("weights", seed)
        if arm == "shuffled":
            return _kept(made, lambda: shuffled_weights(load_model(self.folder), seed=own))
        return _kept(made, lambda: from_config(self._config, own, plain=arm == "random"))


def _first_weights(model: Any) -> str:
    """What a model of this configuration begins with."""
    start = first_weights_of(model.config)
    return f"weights that {start.do}, made, not trained" if start else "random weights"


def derived_seed(purpose: str, seed: int) -> int:
    """The seed of weights, rows or trials that belong to a seed of the comparison."""
    return int.from_bytes(digest("compare", purpose, seed)[:6], "little")


def _kept(folder: Path, make: Callable[[], Any]) -> Path:
    """A folder with the model that ``make`` returns, made if need be."""
    if not folder.exists():
        save_model(make(), folder)
    return folder


def _recipe(warm: Path) -> dict[str, Any]:
    """The record of a finished pretrain run on a synthetic stream; CheckpointError if it is not one."""
    try:
        recipe: dict[str, Any] = json.loads((warm / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {warm / 'config.json'}: {error}; give the --out of a pretrain run"
        ) from error
    if recipe.get("kind") != "pretrain" or "source" not in recipe.get("stream", {}) or not (warm / "start").exists():
        raise CheckpointError(
            f"{warm} is not a uprior pretrain run (it needs config.json with the recipe, start/ and model/), so neither its "
            "step-0 weights nor its cost are known; give the --out of a pretrain run"
        )
    sources.revive(recipe["stream"]["source"])  # a source this version cannot rebuild is told now
    return as_it_ended(recipe, warm)
