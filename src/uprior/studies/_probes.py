"""Arms and stages of studies on algorithmic probes: small models, warmed up on a source, trained on a task of other ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from uprior import evals, sources
from uprior.data.stream import Stream
from uprior.sources import Source
from uprior.studies._arms import EVERYTHING, Arm, Carried, Model, Record, Stage, WarmUp
from uprior.train.settings import Training

# Parts that are carried, as tables name them. In "everything" the rows of both tables are the mean of the trained ones.
PARTS: dict[str, tuple[str, ...]] = {"everything": EVERYTHING, "attention": ("attention",), "MLPs": ("mlp",)}
VALIDATION_ROWS = 256


@dataclass(frozen=True)
class ProbeBudget:
    """Sizes: the model, its tasks, and how long it is warmed up and trained.

    tasks   name -> source; warm_length 0: what the source's longest episode needs, else tokens of a row
    """

    model: str
    tasks: dict[str, str]
    rows: int
    steps: int
    rate_steps: int
    warm_rows: int
    warm_steps: int
    warm_length: int
    seeds: int
    probe_rows: int


# The published sizes (Jiang, Shinnick et al. 2026: two layers of width 16, 10,000 steps of 1,000 rows, 10 seeds), and ones for a
# processor: smaller problems, since two such layers find no answer of the published ones in minutes.
SMALL_TASKS = {
    "haystack": "haystack:packed=false,end_token=false,keys=8,values=16,max_items=8",
    "addition": "addition:packed=false,min_items=2,max_items=2",
    "reversed addition": "reversed_addition:packed=false,min_items=3,max_items=3",
    "sorting": "sort:packed=false,end_token=false,min_items=8,max_items=8,symbols=20,variety=0.0",
}
PUBLISHED_TASKS = {
    "haystack": "haystack@procedural",
    "addition": "addition@procedural",
    "reversed addition": "reversed_addition@procedural",
    "sorting": "sort:packed=false,end_token=false,min_items=10,max_items=10,symbols=100,variety=0.0",
}
BUDGETS = {
    "minutes": ProbeBudget("gpt2:32x2x4", SMALL_TASKS, 128, 800, 50, 64, 400, 0, 2, 500),
    "hour": ProbeBudget("gpt2:32x2x4", SMALL_TASKS, 256, 3000, 150, 64, 1000, 0, 4, 1000),
    "published": ProbeBudget("gpt2:16x2x4", PUBLISHED_TASKS, 1000, 10_000, 500, 64, 2500, 0, 10, 4000),
}


def probe_stage(name: str, budget: ProbeBudget) -> Stage:
    """The stage of a task with the published optimiser (AdamW, decay 1e-3, cosine), measured on problems of the test split."""
    task = sources.get(budget.tasks[name])
    length = row_of(task)
    model = Model(budget.model, task.alphabet_size, length, untied=True)

    def measure(trained: Any, _: int) -> list[Record]:
        return [evals.probe(trained, task, rows=budget.probe_rows)]

    def choose(trained: Any) -> float:
        return -float(evals.probe(trained, task, rows=VALIDATION_ROWS, split="validation")["accuracy"])

    steps = budget.steps
    return Stage(
        name,
        model,
        lambda seed: Stream(task, seed=seed, batch_size=budget.rows, length=length, vocab=task.alphabet_size),
        Training(
            steps=steps, warmup_steps=budget.rate_steps, schedule="cosine", final_share=0.0, weight_decay=1e-3,
            checkpoint_every=max(100, steps // 4), precision="float32",
        ),
        measure,
        choose,
        frozenset(round(steps * share) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)),
        "accuracy",
    )  # fmt: skip


def row_of(source: Source) -> int:
    """Tokens of a row that holds what the source writes: a longest episode, or 128."""
    return int(getattr(source, "longest_episode", 128))


def warm_up(source: Source, budget: ProbeBudget) -> WarmUp:
    """The published warm-up (section 2 of its code): AdamW, 5e-4 constant, weight decay 0.1."""
    training = Training(
        steps=budget.warm_steps, warmup_steps=0, learning_rate=5e-4, weight_decay=0.1, precision="float32",
        checkpoint_every=max(100, budget.warm_steps // 2),
    )  # fmt: skip
    length = budget.warm_length or row_of(source)
    return WarmUp(source, training, budget.warm_rows, max(length, source.shortest_row), vocab=source.alphabet_size)


def warmed_arm(name: str, source: Source, part: str, budget: ProbeBudget, longest: int) -> Arm:
    """``part`` of the source's model; a learned table of positions is carried only where it is long enough for all tasks."""
    made = warm_up(source, budget)
    parts = PARTS[part] if made.length >= longest else tuple(p for p in PARTS[part] if p != "positions")
    return Arm(f"{name}, {part}", (Carried(made, parts),), embeddings="mean" if "embeddings" in parts else None)


def composed_arm(attention: str, mlp: str, made: Sequence[WarmUp]) -> Arm:
    """Attention of the first warm-up, MLPs of the second; the rest fresh."""
    carried = (Carried(made[0], ("attention",)), Carried(made[1], ("mlp",)))
    return Arm(f"{attention} attention + {mlp} MLPs", carried)


def resized(budget: ProbeBudget, **given: Any) -> ProbeBudget:
    """The budget with every given field that is not 0 or empty."""
    return replace(budget, **{name: value for name, value in given.items() if value})
