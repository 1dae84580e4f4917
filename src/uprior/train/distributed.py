"""The processes of one run: who they are, how they agree, and what happens when one of them is lost.

``torchrun`` starts them; a run of one process is the same code with nobody to talk to. Apart from weights and gradients, what
processes tell each other is numbers and JSON, over gloo.

Exactness has three levels. The data of a step is always the same. Bit for bit the same run needs the same machine, versions,
threads, number of processes, micro-batch and way (DDP or FSDP2). Otherwise losses are equal to float rounding.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist

from uprior.errors import RunDirectoryError, SpecError, TrainingError, UpriorError
from uprior.rng import digest

T = TypeVar("T")

# How long gradients are waited for. A process that dies is noticed at once, by its closed connection; this is for machines
# that vanish.
PATIENCE = timedelta(minutes=10)
# How long the others wait while the first process evaluates or writes.
PATIENCE_WITH_FIRST = timedelta(hours=2)


@dataclass(frozen=True)
class Group:
    """The processes of a run, ``rank`` of ``size`` being this one; ``control`` is their gloo group (None when alone)."""

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def is_first(self) -> bool:
        """True in the one process that writes the log, evaluates and speaks."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """The sums over processes, in float64; the same bits in each."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """True in every process if it is in one."""
        return flag if self.size == 1 else self.sum([float(flag)])[0] > 0

    def exchange(self, value: Any) -> list[Any]:
        """What each process gave, by rank: anything that JSON can hold."""
        if self.size == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(data)]), group=self.control)
        longest = max(int(n) for n in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        padded = torch.nn.functional.pad(data, (0, longest - len(data)))
        dist.all_gather(texts, padded, group=self.control)
        return [json.loads(bytes(text[: int(n)].numpy().tobytes())) for text, n in zip(texts, lengths, strict=True)]

    def together(self, work: Callable[[], T]) -> T:
        """Do ``work`` in every process; an UpriorError in one of them is raised in all, so that none waits for ever."""
        if self.size == 1:
            return work()
        result, failure = _attempt(work)
        self._agree(failure)
        return result  # type: ignore[return-value]  # None only where a failure was raised

    def first(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the first process alone; every process gets its JSON-able result, or its UpriorError."""
        if self.size == 1:
            return work()
        result, failure = _attempt(work) if self.is_first else (None, None)
        self._agree(failure)
        value: T = self.exchange(result)[0]
        return value

    def _agree(self, failure: UpriorError | None) -> None:
        told = self.exchange(None if failure is None else str(failure))
        if failure is not None:
            raise failure
        for message in filter(None, told):
            raise UpriorError(message)

    def sees(self, path: Path) -> None:
        """RunDirectoryError unless every process sees a file that the first one wrote: machines need one shared folder."""
        blind = [host for host in self.exchange(None if path.exists() else socket.gethostname()) if host]
        if blind:
            raise RunDirectoryError(
                f"{path} was written by the first process and is not there on {blind[0]}; "
                "choose an --out in a folder that all machines share"
            )

    def seed(self, seed: int, step: int) -> int:
        """The seed of this process's dropout from ``step`` on: for one process at the start the seed itself, else apart."""
        if self.size == 1 and step == 0:
            return seed
        return int.from_bytes(digest("dropout", seed, step, self.rank, self.size)[:7], "little")


ALONE = Group()


def _attempt(work: Callable[[], T]) -> tuple[T | None, UpriorError | None]:
    try:
        return work(), None
    except UpriorError as error:
        return None, error


@contextlib.contextmanager
def processes() -> Iterator[Group]:
    """The processes that torchrun started, joined for the length of a with-block; ALONE where there is only this one.

    A process group that exists already is used and left as it is. TrainingError when another process is lost meanwhile.
    """
    joined_here = not dist.is_initialized()
    if joined_here and not _was_started_by_torchrun():
        yield ALONE
        return
    if joined_here:
        _join()
    group = Group(dist.get_rank(), dist.get_world_size())
    if group.size > 1:
        group = Group(group.rank, group.size, dist.new_group(backend="gloo", timeout=PATIENCE_WITH_FIRST))
    try:
        yield group
        if group.size > 1:
            group.any(False)  # nobody leaves while another still needs it
    except RuntimeError as error:
        _raise_if_lost(group, error)
        raise
    if joined_here:  # only after success: to take down the group while another process hangs can hang too
        dist.destroy_process_group()


def _was_started_by_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ and "RANK" in os.environ


def _join() -> None:
    gpus, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if 0 < gpus < here:
        raise SpecError(
            f"{here} processes on this machine, which has {gpus} GPUs; type: torchrun --nproc-per-node {gpus}"
        )
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} found no others: {_first_line(error)}"
        ) from error


def _raise_if_lost(group: Group, error: RuntimeError) -> None:
    """A clear line in place of what gloo or NCCL says when a process at the other end is gone."""
    told = str(error)
    signs = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "process group", "ProcessGroup")
    if group.size == 1 or not (isinstance(error, dist.DistError) or any(sign in told for sign in signs)):
        return
    _raise_lost(group, error)


def _raise_lost(group: Group, error: RuntimeError) -> NoReturn:
    raise TrainingError(
        f"process {group.rank} of {group.size} lost another process ({_first_line(error)}); what was saved is intact: "
        "type the same command to go on, with any number of processes"
    ) from error


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) < 160 else line[:157] + "..."


def is_main_process() -> bool:
    """True in the process that should speak to the user, before any process group exists."""
    return os.environ.get("RANK", "0") == "0"


def micro_batches(rows: int, size: int, micro_batch: int) -> tuple[int, int]:
    """(rows per forward pass, forward passes) in every process alike, for a batch of ``rows`` shared by ``size`` processes.

    Shares differ by one row where ``size`` does not divide ``rows``; the longest decides, because sharded weights are gathered
    by all processes in step.

    >>> micro_batches(8, 3, 0), micro_batches(8, 3, 2), micro_batches(8, 1, 3)
    ((3, 1), (2, 2), (3, 3))
    """
    longest = -(-rows // size)
    micro = micro_batch or longest
    return micro, math.ceil(longest / micro)
