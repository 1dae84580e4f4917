"""How many processor threads train fastest here: a half-second probe, and the count that belongs to a run.

More threads are not always faster: two logical processors may be one core, a neighbour may be busy, and threads that wait for
each other then cost more than they bring. The count decides how float32 sums round, so a run keeps the one it began with.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from uprior.host import cores
from uprior.train.hardware import device, resolve_precision

# A count is taken over a larger one unless that is faster by more than this share: fewer threads leave room for the data.
TOLERANCE = 0.05
ASKED = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Probe:
    """What a probe found: the count to take, and the median milliseconds of a piece of work with each count tried."""

    threads: int
    milliseconds: dict[int, float]

    def __str__(self) -> str:
        return ", ".join(f"{count}: {took:.2f} ms" for count, took in self.milliseconds.items())


def candidates(physical: int, logical: int) -> list[int]:
    """1, the largest powers of two, all physical and all logical processors: at most seven counts.

    >>> candidates(1, 2), candidates(6, 12), candidates(64, 128)
    ([1, 2], [1, 2, 4, 6, 12], [1, 8, 16, 32, 64, 128])
    """
    powers = [1 << k for k in range(physical.bit_length()) if 1 << k <= physical]
    return sorted({1, *powers[-4:], physical, logical})


def probe(*, tokens: int = 2048, width: int = 256, seconds: float = 0.5) -> Probe:
    """Time a matrix product and an elementwise pass, as in a step on ``tokens`` tokens of a model this wide, by turns.

    Takes about ``seconds``. Torch's number of threads and its random state are as before.
    """
    counts = candidates(*cores())
    if counts == [1]:
        return Probe(1, {})
    return choose(_times(counts, _work(tokens, width), seconds))


def choose(times: dict[int, list[float]]) -> Probe:
    """The smallest count whose median is within TOLERANCE of the best, of seconds by count."""
    medians = {count: statistics.median(taken) for count, taken in times.items()}
    best = min(medians.values())
    threads = min(count for count, median in medians.items() if median <= best * (1 + TOLERANCE))
    return Probe(threads, {count: round(median * 1e3, 3) for count, median in medians.items()})


def _times(counts: list[int], work: Callable[[], object], seconds: float) -> dict[int, list[float]]:
    times: dict[int, list[float]] = {count: [] for count in counts}
    end = time.perf_counter() + seconds
    with _restored():
        while len(times[counts[-1]]) < 3 or time.perf_counter() < end:
            for count in counts:
                torch.set_num_threads(count)
                work()  # threads are started by the first work they get
                started = time.perf_counter()
                work()
                times[count].append(time.perf_counter() - started)
    return times


def _work(tokens: int, width: int) -> Callable[[], object]:
    """What is timed: 8 ``tokens`` ``width``^2 floating-point operations, at most some 2e9, and a pass over their result."""
    tokens = min(tokens, max(64, 2 * 10**9 // (8 * width**2)))
    kind = torch.bfloat16 if resolve_precision("auto", torch.device("cpu")) == "bfloat16" else torch.float32
    x = torch.linspace(-1, 1, tokens * width).view(tokens, width).to(kind)
    weight = torch.linspace(-1, 1, width * 4 * width).view(width, 4 * width).to(kind)

    def work() -> torch.Tensor:
        with torch.no_grad():
            product = x @ weight
            return torch.nn.functional.silu(product) * product + product.mean(dim=1, keepdim=True)

    return work


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle(asked: int | str | None, *, recorded: int | None = None, tokens: int = 2048, width: int = 256) -> str:
    """Set torch's number of threads for this process as a user of the command line wants it; one line that says why.

    ``asked``: a number; "auto", the probe; None, which is the probe too unless OMP_NUM_THREADS is set. No probe on GPUs, nor
    where a run has ``recorded`` a count, which ``threads_of_run`` will set, nor among processes that share a machine.
    """
    if isinstance(asked, int):
        os.environ[ASKED] = str(asked)  # the same wish, for whatever looks later
        torch.set_num_threads(asked)
        return f"{asked}, as asked"
    if asked is None and ASKED in os.environ:
        return f"{torch.get_num_threads()}, by {ASKED}"
    os.environ.pop(ASKED, None)
    if recorded is not None:
        return f"{recorded}, as the run began"
    if device().type != "cpu":
        return f"{torch.get_num_threads()}, torch's choice beside a GPU"
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        torch.set_num_threads(cores()[0])
        return f"{cores()[0]}, this process's share"
    found = probe(tokens=tokens, width=width)
    torch.set_num_threads(found.threads)
    return f"{found.threads}, by a probe ({found})" if found.milliseconds else "1, of one processor"


def threads_here() -> int | None:
    """What a run that begins now records: torch's number of threads; None on a GPU, whose bits do not hang on it."""
    return torch.get_num_threads() if device().type == "cpu" else None


def on_threads() -> str:
    """For a line that says that a run begins."""
    here = threads_here()
    return "" if here is None else f" on {here} thread{'s' if here > 1 else ''}"


def recorded_threads(run: Path) -> int | None:
    """The count in the config.json of a run; None if there is none."""
    try:
        found = json.loads((run / "config.json").read_text("utf-8")).get("threads")
    except (OSError, ValueError, AttributeError):
        return None  # whoever opens the run says what is wrong with it
    return found if isinstance(found, int) and found > 0 else None


@contextlib.contextmanager
def threads_of_run(recorded: int | None, *, speak: bool = True) -> Iterator[None]:
    """Within, torch has the threads that a run ``recorded`` when it began, if the machine has so many and nobody asked otherwise.

    A difference is said: the run then goes on equal to rounding, not bit for bit. None, or a GPU, changes nothing.
    """
    if recorded is None or device().type != "cpu":
        yield
        return
    with _restored():
        most = cores()[1]
        if ASKED not in os.environ and torch.get_num_threads() != recorded:
            torch.set_num_threads(min(recorded, most))
        now = torch.get_num_threads()
        if now != recorded and speak:
            why = f"{ASKED} or --threads say so" if ASKED in os.environ else f"there are {most} processors"
            sys.stderr.write(
                f"the run began with {recorded} threads and goes on with {now}, as {why}: "
                "its losses are equal to rounding, not bit for bit\n"
            )
        yield
