"""Sizes of the studies on algorithmic probes, from minutes on a processor to the published ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task source, and what its stage has of its own: model, rows of a batch, steps ("" and 0: as the budget has them)."""

    source: str
    model: str = ""
    rows: int = 0
    steps: int = 0


@dataclass(frozen=True)
class ProbeBudget:
    """Sizes: the model, its tasks, what it is warmed up on, and how long it is warmed up and trained.

    tasks         name -> task; rows, steps, rate: of their stages, rate_steps: of which the rate rises
    warm_*        the same of warm-ups; warm_length: tokens of a row where the source has no episodes
    probe_rows    test problems of every measurement
    """

    model: str
    tasks: dict[str, Task]
    sources: tuple[str, ...]
    rows: int
    steps: int
    rate: float
    rate_steps: int
    warm_rows: int
    warm_steps: int
    warm_rate: float
    warm_rate_steps: int
    warm_length: int
    seeds: int
    probe_rows: int


FOUR_TASKS = ("haystack", "addition", "reversed addition", "sorting")
TASKS = (*FOUR_TASKS, "multiplication")


def _string(name: str, longest: int, symbols: int, *more: str) -> str:
    """A source on strings of 2 to ``longest`` symbols, one episode per row."""
    fields = ("packed=false", "end_token=false", "min_items=2", f"max_items={longest}", f"symbols={symbols}", *more)
    return f"{name}:{','.join(fields)}"


# The defaults of the published code, presumably those of its runs at width 16: strings of up to 20 of 20 symbols (its curriculum
# goes from 2 to 20; here all lengths are mixed), rate 5e-5, 20,000 steps of 64. Brackets and automata: rows of 128.
_UNIFORM = "variety=0.0"
PUBLISHED_SOURCES = (
    *(_string(name, 20, 21, _UNIFORM) for name in ("identity", "reverse", "sort", "set", "union")),
    _string("delete", 20, 21, _UNIFORM, "query=independent"),
    _string("stack", 20, 21, "readout=final"),
    "dyck:k=16,min_types=16",
    "shuffle_dyck:k=16,min_types=16",
    "elementary_ca:rules=110,width=16",
)
PUBLISHED_TASKS = {
    "haystack": Task("haystack@procedural"),
    "addition": Task("addition@procedural"),
    "reversed addition": Task("reversed_addition@procedural"),
    "sorting": Task("sort:packed=false,end_token=false,min_items=10,max_items=10,symbols=100,variety=0.0"),
    "multiplication": Task("multiplication@procedural", "gpt2:512x4x8", 64, 156_250),
}
# Smaller problems: two layers find no answer of the published ones in minutes. Every row of Haystack has eight pairs, so that a
# guess among its values is right in 12.5 %.
SMALL_TASKS = {
    "haystack": Task("haystack:packed=false,end_token=false,keys=16,values=32,min_items=8,max_items=8"),
    "addition": Task("addition:packed=false,min_items=2,max_items=2"),
    "reversed addition": Task("reversed_addition:packed=false,min_items=3,max_items=3"),
    "sorting": Task("sort:packed=false,end_token=false,min_items=8,max_items=8,symbols=20,variety=0.0"),
    "multiplication": Task("multiplication:packed=false,min_items=2,max_items=2"),
}
SMALL_SOURCES = (
    *(_string(name, 16, 21, _UNIFORM) for name in ("identity", "set")),
    "dyck:k=16,min_types=16",
    "elementary_ca:rules=110,width=16",
)
MODEL = "gpt2:16x2x4"
BUDGETS = {
    "minutes": ProbeBudget(
        MODEL, SMALL_TASKS, SMALL_SOURCES, rows=128, steps=500, rate=3e-3, rate_steps=25,
        warm_rows=64, warm_steps=1000, warm_rate=1e-2, warm_rate_steps=50, warm_length=64, seeds=3, probe_rows=500,
    ),
    "hour": ProbeBudget(
        MODEL, SMALL_TASKS, PUBLISHED_SOURCES, rows=128, steps=1000, rate=3e-3, rate_steps=50,
        warm_rows=64, warm_steps=2000, warm_rate=1e-2, warm_rate_steps=100, warm_length=64, seeds=3, probe_rows=1000,
    ),
    "published": ProbeBudget(
        MODEL, PUBLISHED_TASKS, PUBLISHED_SOURCES, rows=1000, steps=10_000, rate=1e-3, rate_steps=500,
        warm_rows=64, warm_steps=20_000, warm_rate=5e-5, warm_rate_steps=1000, warm_length=128, seeds=10, probe_rows=4000,
    ),
}  # fmt: skip
