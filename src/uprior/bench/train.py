"""``uprior bench train``: our training loop beside other people's, same model, same batches, by turns in one run.

After three steps of warm-up each, the contestants take turns of several steps, round after round, and a matrix product takes its
turns among them: whatever disturbs the machine disturbs all. Ratios are medians over rounds of ratios within a round.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from uprior.bench.arithmetic import flops_per_token, nominal_flops
from uprior.bench.contestants import CONTESTANTS, YARDSTICK, Job
from uprior.bench.turns import PATIENCE, ContestantError, Worker
from uprior.errors import SpecError, unknown_name

WARMUP_STEPS = 3
# As many steps make a turn as the slowest contestant does in about this time.
TURN_SECONDS = 2.0
MODELS_CPU = ("llama-1m", "llama-5m", "llama-30m")
MODELS_CUDA = ("llama-30m", "llama-125m", "llama-350m", "llama-1.3b")
# Rows of 1024 tokens per step, such that four contestants with float32 activations and optimiser states stay within 130 GiB.
_ROWS_CUDA = {"llama-1m": 128, "llama-5m": 128, "llama-30m": 64, "llama-125m": 32, "llama-350m": 16, "llama-1.3b": 4}

Tell = Callable[[str], None]


def default_models() -> tuple[str, ...]:
    """The sizes worth a look on this machine."""
    return MODELS_CUDA if _cuda_gib() else MODELS_CPU


def default_shape(model: str) -> tuple[int, int]:
    """(rows per step, tokens per row): 32 x 256 on a CPU; on a GPU rows of 1024, fewer on cards of less than 100 GiB."""
    memory = _cuda_gib()
    if not memory:
        return 32, 256
    rows = _ROWS_CUDA.get(model, 16)
    return (rows if memory > 100 else max(1, rows // 2)), 1024


def _cuda_gib() -> float:
    """Memory of the card, 0 where there is none. Imports torch."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else 0.0


def bench_training(
    model: str,
    *,
    batch_size: int,
    length: int,
    source: str = "universal",
    only: Sequence[str] | None = None,
    rounds: int = 7,
    steps: int | None = None,
    threads: int | None = None,
    patience: float = PATIENCE,
    tell: Tell = lambda text: None,
) -> list[dict[str, Any]]:
    """One record per contestant (``only``: these of CONTESTANTS), each in a process of its own; see ``_record`` for its fields.

    ``steps`` make a turn (None: what the slowest does in 2 seconds); ``threads`` of the processor for each (None: as it
    likes). A contestant that is not installed, fails or dies has a record with its ``error``, one line; the others go on.
    Raises UnknownNameError, SpecError before anything is started.
    """
    job = Job(model, source, batch_size, length, threads=threads)
    names = list(CONTESTANTS) if only is None else list(dict.fromkeys(only))
    _check(job, names, rounds, steps)
    errors = {name: text for name in names if (text := CONTESTANTS[name].missing()) is not None}
    match = _Match(job, [name for name in names if name not in errors], patience, tell)
    with match:
        slowest = match.warm_up()
        steps = steps or max(1, round(TURN_SECONDS / slowest))
        match.play(rounds, steps)
        match.close()
    import torch

    with torch.device("meta"):  # shapes are enough here
        built = job.build()
    about = {
        "model": model,
        "parameters": sum(p.numel() for p in built.parameters()),
        "source": source,
        "batch_size": batch_size,
        "length": length,
        "rounds": rounds,
        "steps_per_turn": steps,
    }
    flops = flops_per_token(built, length)
    return [_record(name, about, flops, match, errors.get(name)) for name in names]


def _check(job: Job, names: Sequence[str], rounds: int, steps: int | None) -> None:
    for name in names:
        if name not in CONTESTANTS:
            raise unknown_name("contestant", name, CONTESTANTS)
    for what, value in (("--rounds", rounds), ("--steps", steps)):
        if value is not None and value < 1:
            raise SpecError(f"bench train: {what} {value} is not allowed; allowed: a whole number from 1")
    job.stream()
    from uprior.models.presets import PRESETS

    if job.model not in PRESETS:
        raise unknown_name("model", job.model, PRESETS)


class _Match:
    """The contestants of one model at work. Whoever fails is out, with the reason in ``errors``; a context manager."""

    def __init__(self, job: Job, names: Sequence[str], patience: float, tell: Tell) -> None:
        self.job, self.patience, self.tell = job, patience, tell
        # The yardstick goes in the middle of a round.
        self.names = [*names[: len(names) // 2], YARDSTICK, *names[len(names) // 2 :]]
        self.workers: dict[str, Worker] = {}
        self.errors: dict[str, str] = {}
        self.first: dict[str, float] = {}  # seconds from the call of the loop to the end of its first step
        self.turns: list[dict[str, dict[str, Any]]] = []  # a round: what each contestant's turn came to
        self.ends: dict[str, dict[str, Any]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Match:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def warm_up(self) -> float:
        """Start all, one after the other, and let them take their first steps; seconds of the slowest one's last step."""
        self._each("starting the contestants", self._start)
        self.first = {
            name: turn["seconds"]
            for name, turn in self._each("first steps; compiling takes a minute or more", self._one_step).items()
        }
        last: dict[str, dict[str, Any]] = {}
        for _ in range(WARMUP_STEPS - 1):
            last = self._each("warming up", self._one_step)
        return max((turn["seconds"] for name, turn in last.items() if name != YARDSTICK), default=TURN_SECONDS)

    def play(self, rounds: int, steps: int) -> None:
        """Turns of ``steps`` steps; the first of one round is the last of the next."""
        # On a card, memory goes round with the turns (``Turn``), and the step that takes it back is not timed.
        untimed = 1 if _cuda_gib() else 0

        def act(name: str) -> dict[str, Any]:
            return self._one_step(name) if name == YARDSTICK else self.workers[name].turn(steps, untimed=untimed)

        for number in range(rounds):
            self.turns.append(self._each(f"round {number + 1} of {rounds}", act, start=number))

    def close(self) -> None:
        """Ask everyone for its account."""
        self.ends = self._each("closing", lambda name: self.workers[name].finish())

    def _start(self, name: str) -> dict[str, Any]:
        task = {"name": name, "job": dataclasses.asdict(self.job)}
        worker = Worker(task, _environment(self.job.threads), self.patience)
        self.workers[name] = self._stack.enter_context(worker)
        return worker.start()

    def _one_step(self, name: str) -> dict[str, Any]:
        return self.workers[name].turn(1)

    def _each(self, what: str, act: Callable[[str], dict[str, Any]], *, start: int = 0) -> dict[str, dict[str, Any]]:
        """What ``act`` gave of each one still in the match, one after the other, beginning with number ``start``."""
        alive = [name for name in self.names if name not in self.errors]
        found = {}
        self.tell(f"{self.job.model}: {what}")
        for i in range(len(alive)):
            name = alive[(start + i) % len(alive)]
            try:
                found[name] = act(name)
            except ContestantError as error:
                self.errors[name] = str(error)
                self.tell(f"{self.job.model}: {name} is out: {error}")
                self.workers[name].kill()
        return found

    def rates(self, name: str, tokens: int) -> list[float]:
        """Tokens per second in every round; ``tokens`` in a turn."""
        return [tokens / turns[name]["seconds"] for turns in self.turns]


def _environment(threads: int | None) -> dict[str, str]:
    """What the contestants' processes find set: the same for all."""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]  # the Trainer would spread over all it sees
    found = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "0"), "CUDA_VISIBLE_DEVICES": card}
    return found | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


def _ratio(over: Sequence[float], under: Sequence[float]) -> float:
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return float(statistics.median(ratios))


def _record(
    name: str, about: dict[str, Any], flops: dict[str, float], match: _Match, missing: str | None
) -> dict[str, Any]:
    """A contestant's line.

    tokens_per_second    median over rounds; ``tokens_per_second_by_round`` has them all
    ratio_to_plain       its speed over plain's; ratio_to_best_other: over the fastest of the others, which ``best_other`` names
    flops_per_second     the model's operations, attention's products for the positions that are seen included
    matmul_share         that over the rate of large matrix products measured in the same rounds (bfloat16 or float32, the faster
                         one); ..._weights and ..._whole_attention count operations as ``arithmetic.flops_per_token`` says
    nominal_share        that over the card's nominal dense bfloat16 rate, where it is known
    peak_resident_bytes, peak_cuda_bytes    most memory of its process, and allocated on the card
    data_wait_share      of the time of its turns, spent in asking for batches
    first_step_s         from the call of the loop to the end of its first step: setting up and compiling included
    first_loss, last_loss, last_step        first: before any update, so that all agree but for rounding
    threads, machine     what it ran with; ``matmul_threads``: what the matrix products ran with
    """
    record: dict[str, Any] = {"contestant": name, **about, "error": missing or match.errors.get(name)}
    if record["error"] is not None:
        return record
    tokens = about["steps_per_turn"] * about["batch_size"] * about["length"]
    alive = [other for other in match.ends if other != YARDSTICK]
    rates = {other: match.rates(other, tokens) for other in alive}
    own, end = rates.pop(name), match.ends[name]
    best = max(rates, key=lambda other: statistics.median(rates[other]), default=None)
    plain = own if name == "plain" else rates.get("plain")
    nominal = nominal_flops(end["machine"]["accelerator"])
    speed = statistics.median(own) * flops["causal"]
    return record | {
        "tokens_per_second": round(statistics.median(own), 1),
        "ratio_to_plain": None if plain is None else round(_ratio(own, plain), 3),
        "ratio_to_best_other": None if best is None else round(_ratio(own, rates[best]), 3),
        "best_other": best,
        "flops_per_second": round(speed),
        **_matmul(match, own, flops),
        "nominal_share": None if nominal is None else round(speed / nominal, 4),
        "flops_per_token": flops,
        "peak_resident_bytes": end["peak_resident_bytes"],
        "peak_cuda_bytes": end["peak_cuda_bytes"],
        "data_wait_share": _data_wait(match, name),
        "first_step_s": round(match.first[name], 3),
        "first_loss": end["losses"][0],
        "last_loss": end["losses"][-1],
        "last_step": len(end["losses"]),
        "tokens_per_second_by_round": [round(rate, 1) for rate in own],
        "threads": end["machine"]["threads"],
        "machine": end["machine"],
    }


def _data_wait(match: _Match, name: str) -> float:
    turns = [turns[name] for turns in match.turns]
    waited, seconds = (float(sum(turn[key] for turn in turns)) for key in ("waited", "seconds"))
    return round(waited / seconds, 5)


def _matmul(match: _Match, rates: Sequence[float], flops: dict[str, float]) -> dict[str, float | None]:
    """The yardstick's fields; None where it failed."""
    fields = ("matmul_share", "matmul_share_weights", "matmul_share_whole_attention")
    if YARDSTICK in match.errors:
        return dict.fromkeys(("matmul_bfloat16_flops", "matmul_float32_flops", "matmul_threads", *fields))
    measured = {dtype: [turns[YARDSTICK][dtype] for turns in match.turns] for dtype in ("bfloat16", "float32")}
    found: dict[str, float | None] = {
        f"matmul_{dtype}_flops": round(statistics.median(of)) for dtype, of in measured.items()
    }
    found["matmul_threads"] = match.ends[YARDSTICK]["machine"]["threads"]
    of_matmul = _ratio(rates, max(measured.values(), key=statistics.median))
    ways = ("causal", "weights", "whole")
    return found | {field: round(of_matmul * flops[way], 4) for field, way in zip(fields, ways, strict=True)}


COLUMNS = (
    "tokens/s", "x plain", "x best other", "TFLOP/s", "of matmul", "of nominal",
    "MB", "data wait", "first step s", "threads", "loss", "to",
)  # fmt: skip


def cells(record: dict[str, Any]) -> list[str]:
    """A record without error as the cells of a table, in the order of COLUMNS; memory is the card's where there is one."""

    def shown(value: float | None, text: str) -> str:
        return "" if value is None else text.format(value)

    return [
        f"{record['tokens_per_second']:,.0f}",
        shown(record["ratio_to_plain"], "{:.2f}"),
        shown(record["ratio_to_best_other"], "{:.2f}"),
        f"{record['flops_per_second'] / 1e12:.3g}",
        shown(record["matmul_share"], "{:.1%}"),
        shown(record["nominal_share"], "{:.1%}"),
        f"{(record['peak_cuda_bytes'] or record['peak_resident_bytes']) / 1e6:,.0f}",
        f"{record['data_wait_share']:.1%}",
        f"{record['first_step_s']:.1f}",
        str(record["threads"]),
        f"{record['first_loss']:.3f}",
        f"{record['last_loss']:.3f}",
    ]


def headline(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What a table of records of one model is about, in lines."""
    done = next((record for record in records if record["error"] is None), None)
    about = records[0]
    yield (
        f"{about['model']}: {about['parameters'] / 1e6:.1f} M parameters, {about['batch_size']} x {about['length']} tokens of "
        f"{about['source']} per step, {about['rounds']} rounds of {about['steps_per_turn']} steps"
    )
    if done is not None:
        machine = done["machine"]
        where = machine["accelerator"] or machine["processor"]
        rates = [done["matmul_bfloat16_flops"], done["matmul_float32_flops"]]
        texts = ["?" if rate is None else f"{rate / 1e12:.3g}" for rate in rates]
        yield f"{where}; matrix products: {texts[0]} TFLOP/s bfloat16, {texts[1]} float32"
