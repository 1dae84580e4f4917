"""Arms and stages of studies on algorithmic probes: small models, warmed up on a source, trained on a task of other ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from uprior import evals, sources
from uprior.data.stream import Stream
from uprior.sources import Source
from uprior.statistics import holm
from uprior.studies._arms import EVERYTHING, Arm, Carried, Model, Record, Stage, WarmUp
from uprior.studies._laboratory import Laboratory
from uprior.studies._probe_budgets import ProbeBudget
from uprior.train.settings import Training

# Parts that are carried, as tables name them. In "everything" the rows of both tables are the mean of the trained ones.
PARTS: dict[str, tuple[str, ...]] = {
    "everything": EVERYTHING,
    "attention": ("attention",),
    "MLPs": ("mlp",),
    "blocks": ("attention", "mlp", "norms"),
}
# Rows that rates are chosen by, and that say how well a warm-up has learnt its own source.
VALIDATION_ROWS = 256
# Of a source without episodes, as brackets and automata: tokens of a row.
ROW = 128


def probe_stage(name: str, budget: ProbeBudget) -> Stage:
    """The stage of a task with the published optimiser (AdamW, decay 1e-3, cosine), measured on problems of the test split."""
    sized = budget.tasks[name]
    task = sources.get(sized.source)
    length, steps = row_of(task, budget), sized.steps or budget.steps

    def measure(trained: Any, _: int) -> list[Record]:
        return [evals.probe(trained, task, rows=budget.probe_rows)]

    def choose(trained: Any) -> float:
        return -float(evals.probe(trained, task, rows=VALIDATION_ROWS, split="validation")["accuracy"])

    return Stage(
        name,
        Model(sized.model or budget.model, task.alphabet_size, length, untied=True),
        lambda seed: Stream(
            task, seed=seed, batch_size=sized.rows or budget.rows, length=length, vocab=task.alphabet_size
        ),
        Training(
            steps=steps, warmup_steps=budget.rate_steps, schedule="cosine", final_share=0.0, weight_decay=1e-3,
            checkpoint_every=max(100, steps // 4), precision="float32",
        ),
        measure,
        choose,
        frozenset(round(steps * share) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)),
        {"probe_rows": budget.probe_rows},
        "accuracy",
    )  # fmt: skip


def row_of(source: Source, budget: ProbeBudget) -> int:
    """Tokens of a row that holds what the source writes: its longest episode, or the budget's row."""
    return int(getattr(source, "longest_episode", max(budget.warm_length, source.shortest_row)))


def warm_up(source: Source, budget: ProbeBudget) -> WarmUp:
    """AdamW, a rise of the rate, then cosine to a tenth, as the defaults of the published code have it."""
    training = Training(
        steps=budget.warm_steps, warmup_steps=budget.warm_rate_steps, learning_rate=budget.warm_rate, schedule="cosine",
        final_share=0.1, weight_decay=0.01, precision="float32", checkpoint_every=max(100, budget.warm_steps // 2),
    )  # fmt: skip
    return WarmUp(source, training, budget.warm_rows, row_of(source, budget), vocab=source.alphabet_size)


def warmed_arm(source: Source, part: str, budget: ProbeBudget, longest: int) -> Arm:
    """``part`` of the source's model; a learned table of positions is carried only where it is long enough for all tasks."""
    made = warm_up(source, budget)
    parts = PARTS[part] if made.length >= longest else tuple(p for p in PARTS[part] if p != "positions")
    return Arm(f"{source.name}, {part}", (Carried(made, parts),), embeddings="mean" if "embeddings" in parts else None)


def composed_arm(attention: Source, mlp: Source, budget: ProbeBudget) -> Arm:
    """Attention of the first source's model, MLPs of the second's; the rest fresh."""
    carried = (Carried(warm_up(attention, budget), ("attention",)), Carried(warm_up(mlp, budget), ("mlp",)))
    return Arm(f"{attention.name} attention + {mlp.name} MLPs", carried)


def adjusted(found: Sequence[Record]) -> list[Record]:
    """Differences with Holm's p over all of them: the grid is one family of questions."""
    return [one | {"p_adjusted": p} for one, p in zip(found, holm([one["p"] for one in found]), strict=True)]


def learnt(laboratory: Laboratory, arms: Iterable[Arm], stage: Stage, seeds: Iterable[int]) -> list[Record]:
    """How well each warm-up of ``arms`` has learnt its own source, on rows that it was not trained on; a record per source.

    {source, nats: per scored token, mean over seeds, floor: the least possible, share: 1 at the floor, 0 at all ids alike}; the
    last two are None where the source does not know its floor.
    """
    made = {}
    for arm in arms:
        for carried in arm.carried:
            if isinstance(warm := carried.warm_up, WarmUp):
                made[warm.data.name] = (carried, warm)
    found = []
    for name, (carried, warm) in made.items():
        costs = [_nats(laboratory.warmed(carried, stage.model, seed), warm) for seed in seeds]
        nats, floor = sum(cost[0] for cost in costs) / len(costs), costs[0][1]
        guessing = math.log(warm.vocab)
        share = None if floor is None else (guessing - nats) / (guessing - floor)
        found.append({"source": name, "nats": nats, "floor": floor, "share": share})
    return found


def _nats(model: Any, made: WarmUp) -> tuple[float, float | None]:
    """(nats of the model, floor), both per scored token of the source's validation rows."""
    import torch

    from uprior.train.loss import token_nats

    assert isinstance(made.data, Source)
    block = made.data.block(0, 0, rows=VALIDATION_ROWS, length=made.length, split="validation")
    tokens = torch.from_numpy(block.tokens.astype("int64"))
    with torch.inference_mode():
        nats = token_nats(model.eval()(input_ids=tokens, use_cache=False).logits, tokens).numpy()
    counts = np.ones(nats.shape, dtype=bool) if block.scored is None else block.scored[:, 1:]
    floor = None if block.floor_nats is None else float(block.floor_nats[:, 1:][counts].mean())
    return float(nats[counts].mean()), floor


def described(budget: ProbeBudget, names: Sequence[str]) -> Record:
    """What a page says of the sizes: {model, tasks: name -> source, sizes: the numbers}."""
    numbers = {name: value for name, value in asdict(budget).items() if isinstance(value, int | float)}
    return {"model": budget.model, "tasks": {name: budget.tasks[name].source for name in names}, "sizes": numbers}


def resized(budget: ProbeBudget, **given: Any) -> ProbeBudget:
    """The budget with every given field that is not 0 or empty, which then holds for all tasks."""
    changes: Mapping[str, Any] = {name: value for name, value in given.items() if value}
    own = {name: type(changes[name])() for name in ("model", "steps") if name in changes}
    tasks = {name: replace(task, **own) for name, task in budget.tasks.items()}
    return replace(budget, tasks=tasks, **changes)
