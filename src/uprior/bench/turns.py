"""A process per contestant, and the line over which the bench lets them take their steps by turns: both of its ends.

A contestant that waits is stopped (SIGSTOP): none of its threads, computing batches ahead or spinning, takes time from the one
whose turn it is, and when it goes on, its queues are as its last step left them. What travels is JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

# How long a contestant may say nothing, in seconds: a first step may compile for minutes.
PATIENCE = 900.0


class ContestantError(Exception):
    """A contestant failed or died; one line says how."""


class Finished(BaseException):
    """Raised in a contestant when it shall take no more steps. (No ``Exception``: a trainer must not catch it.)"""


class Worker:
    """The bench's end: a process that runs one contestant, stopped whenever it is not its turn. A context manager."""

    def __init__(self, task: dict[str, Any], environment: dict[str, str], patience: float = PATIENCE) -> None:
        """``task``: the contestant's name and the fields of its Job; ``environment``: variables on top of this process's."""
        self.patience = patience
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed on exit)
        self._line, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uprior.bench.worker", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
        theirs.close()
        self._task = task

    def start(self) -> dict[str, Any]:
        """Imports, model and data are there when this returns; no step has been taken. ContestantError."""
        return self.ask(self._task)

    def turn(self, steps: int, *, untimed: int = 0) -> dict[str, Any]:
        """Let it take ``untimed`` steps and then ``steps`` more: {seconds, waited, ...} of the latter. ContestantError."""
        return self.ask({"steps": steps, "untimed": untimed})

    def finish(self) -> dict[str, Any]:
        """End the contestant; what it says of itself: memory, losses, machine. ContestantError."""
        return self.ask({"end": True})

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order, wait for its answer, and stop the process again."""
        try:
            self.process.send_signal(signal.SIGCONT)
            self._line.send_bytes(json.dumps(order).encode())
            self._await_answer()
            answer: dict[str, Any] = json.loads(self._line.recv_bytes())
        except (EOFError, OSError) as error:
            raise ContestantError(self._death()) from error
        if "error" in answer:
            raise ContestantError(answer["error"])
        self._stop()
        return answer

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # until it really stands still, or is gone
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + self.patience
        while not self._line.poll(min(1.0, self.patience)):
            # A child of a dead contestant may hold the line open, so that its end alone would not show.
            if self.process.poll() is not None and not self._line.poll():
                raise EOFError
            if time.monotonic() >= deadline:
                raise ContestantError(
                    f"said nothing for {self.patience:g} seconds; last it printed: {self._last_line()}"
                )

    def _death(self) -> str:
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            return f"closed its line; last it printed: {self._last_line()}"
        if status == -signal.SIGKILL:
            return "killed (SIGKILL): the machine ran out of memory? Give a smaller --batch-size or model"
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"died ({name}); last it printed: {self._last_line()}"

    def _last_line(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._line.close()
        self._output.close()

    def kill(self) -> None:
        """End the process, whatever it does; its memory is free when this returns."""
        self.process.kill()
        self.process.wait()


class Turn:
    """The contestant's end: counts and times its steps, and holds it up between two of them until it is its turn.

    A contestant prepares, calls ``begin``, and from then on ``step_done`` after each step; ``losses`` gets a number or tensor
    per step. On a GPU, clocks are read when all of its work is done.
    """

    def __init__(self, line: Connection, cuda: bool) -> None:
        self._line, self._cuda = line, cuda
        self._left = self._untimed = 0
        self._started = self._waited = 0.0
        self.losses: list[Any] = []
        self.notes: dict[str, float] = {}  # travels with the answer

    def begin(self) -> None:
        """Say that everything is prepared, and wait for the first turn. Finished is raised when there is none."""
        self._hand_over(0.0)

    def step_done(self) -> None:
        """A step has ended: goes straight on within a turn, and at its end reports and waits for the next one."""
        if self._untimed > 0:
            self._untimed -= 1
            if self._untimed == 0:
                self._start()
            return
        self._left -= 1
        if self._left == 0:
            self._synchronize()
            self._hand_over(time.perf_counter() - self._started)

    def _hand_over(self, seconds: float) -> None:
        if self._cuda:
            import torch

            # The card's memory that is not held for good is for those whose turn is next; the untimed step takes it back.
            torch.cuda.empty_cache()
        self.send(seconds=seconds, waited=self._waited, **self.notes)
        order = self.receive()
        if order.get("end"):
            raise Finished
        self._left, self._untimed = order["steps"], order["untimed"]
        self._start()

    def _start(self) -> None:
        self._synchronize()
        self._waited = 0.0
        self._started = time.perf_counter()

    def _synchronize(self) -> None:
        if self._cuda:
            import torch

            torch.cuda.synchronize()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around whatever fetches the next batch: counts as data wait."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    def receive(self) -> dict[str, Any]:
        """The next order."""
        order: dict[str, Any] = json.loads(self._line.recv_bytes())
        return order

    def send(self, **answer: Any) -> None:
        """Answer the last order."""
        self._line.send_bytes(json.dumps(answer).encode())


def die_with_parent() -> None:
    """A bench that is killed must not leave stopped processes behind (Linux only; elsewhere nothing happens)."""
    with contextlib.suppress(OSError, AttributeError):
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
