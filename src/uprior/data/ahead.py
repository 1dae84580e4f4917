"""Batches computed ahead of their use, by threads that can neither hide an error nor hold up the end of a run."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from uprior.errors import SourceError
from uprior.host import cores
from uprior.types import Batch

if TYPE_CHECKING:
    from uprior.data.stream import BatchStream


class Ahead:
    """Computes a stream's batches ahead of their use, in daemon threads: one that never returns delays nobody's exit.

    A context manager that gives batches ``start, start + 1, ...`` before ``stop`` in order. Work begins on entering. What is slow
    is the parts (blocks) of a stream: every thread writes another one, and they are begun early enough that a part may take as
    long as the steps that one part is enough for. ``threads`` None: one, and one more whenever a batch comes late.
    """

    # Seconds that closing waits for the block being written: no thread is left at work for nothing, unless it hangs.
    GRACE: ClassVar[float] = 2.0
    # Seconds after which a batch is late.
    LATE: ClassVar[float] = 0.005
    # Batches at work at least, of streams whose batches are quick to make.
    FEWEST: ClassVar[int] = 4

    def __init__(
        self, stream: BatchStream, start: int, stop: int | None, threads: int | None, ahead: int | None
    ) -> None:
        self.stream, self.next, self.stop, self.ahead = stream, start, stop, ahead
        self.first, self.most = max(1, threads or 1), max(1, threads or cores()[1])
        self.pending: deque[tuple[int, Future[Batch]]] = deque()  # asked for, and not yet handed out
        # The rest is shared between threads.
        self.changed = threading.Condition()
        self.parts: deque[int] = deque()  # nobody works at these yet
        self.finished: dict[int, BaseException | None] = {}  # part -> what went wrong with it
        self.batches: deque[tuple[int, Future[Batch]]] = deque()  # wait for their parts
        self.known = -1  # the last part that was ever asked for
        self.closed = False
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Generator[Batch, None, None]:
        for _ in range(self.first):
            self._add_thread()
        self._ask()
        return self._run()

    def __exit__(self, *_: object) -> None:
        for _step, future in self.pending:
            future.cancel()
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        deadline = time.monotonic() + self.GRACE
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _add_thread(self) -> None:
        name = f"uprior-data-{len(self.threads)}"
        self.threads.append(threading.Thread(target=self._work, name=name, daemon=True))
        self.threads[-1].start()

    # ------------------------------------------------------------------ whoever uses the batches

    def _run(self) -> Generator[Batch, None, None]:
        begun = False
        while self.pending:
            started = time.monotonic()
            batch = self._wait(*self.pending.popleft())
            if begun and time.monotonic() - started > self.LATE and len(self.threads) < self.most:
                self._add_thread()
            begun = True  # the first batch is always waited for
            self._ask()
            yield batch

    def _ask(self) -> None:
        """Ask for batches until enough are at work: a part for every thread and one in reserve.

        Many at once, now and then: a thread that is woken for every step holds the interpreter when the next step wants it.
        """
        enough = math.ceil((len(self.threads) + 1) * self.stream.steps_per_part) + 1
        enough = max(1, self.ahead or max(self.FEWEST, enough))
        if 4 * len(self.pending) > 3 * enough:
            return
        with self.changed:
            while len(self.pending) < enough and (self.stop is None or self.next < self.stop):
                self.pending.append((self.next, Future()))
                self.batches.append(self.pending[-1])
                new = [part for part in self.stream.parts(self.next) if part > self.known]
                self.parts.extend(new)
                self.known = max(self.known, *new, -1)
                self.next += 1
            self.changed.notify_all()
        if self.pending and (oldest := self.stream.parts(self.pending[0][0])):
            # One more than are wanted: the last one handed out may still be read by a neighbour.
            self.stream.hold(self.known - oldest[0] + 2)

    def _wait(self, step: int, future: Future[Batch]) -> Batch:
        """The batch, or the error that its thread met; SourceError when nothing moves for the stream's patience."""
        while True:
            before = self.stream.progress()
            done, _ = concurrent.futures.wait([future], timeout=self.stream.patience)
            if done:
                return future.result()
            if self.stream.progress() == before:
                raise SourceError(
                    f"{self.stream.at_work()}: hangs; the batch of step {step} made no progress for "
                    f"{self.stream.patience:g} seconds; if it is only slow, set stream.patience to more seconds"
                )

    # ------------------------------------------------------------------ the threads

    def _work(self) -> None:
        while (task := self._next_task()) is not None:
            task()

    def _next_task(self) -> Callable[[], None] | None:
        """A batch whose parts are there, else a part; waits for one of them. None when it is over."""
        with self.changed:
            while not self.closed:
                if self.batches and all(part in self.finished for part in self.stream.parts(self.batches[0][0])):
                    step, future = self.batches.popleft()
                    return partial(self._make, step, future, self._failure(step))
                if self.parts:
                    return partial(self._prepare, self.parts.popleft())
                self.changed.wait()
        return None

    def _prepare(self, part: int) -> None:
        failure: BaseException | None = None
        try:
            self.stream.prepare(part)
        except BaseException as error:
            failure = error
        with self.changed:
            self.finished[part] = failure
            self.changed.notify_all()

    def _failure(self, step: int) -> BaseException | None:
        """What went wrong with the parts of a step; parts before it are forgotten."""
        parts = self.stream.parts(step)
        for part in [part for part in self.finished if parts and part < parts[0]]:
            del self.finished[part]
        return next((self.finished[part] for part in parts if self.finished[part] is not None), None)

    def _make(self, step: int, future: Future[Batch], failure: BaseException | None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            if failure is not None:
                raise failure
            future.set_result(self.stream.batch(step))
        except BaseException as error:
            future.set_exception(error)
