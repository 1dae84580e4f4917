"""Batches computed ahead of their use, by threads that can neither hide an error nor hold up the end of a run."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, ClassVar

from uprior.errors import SourceError
from uprior.types import Batch

if TYPE_CHECKING:
    from uprior.data.stream import BatchStream


class Ahead:
    """Computes a stream's batches ahead of their use, in daemon threads: one that never returns delays nobody's exit.

    A context manager that gives batches ``start, start + 1, ...`` before ``stop`` in order, up to ``ahead`` of them at work.
    """

    # Seconds that closing waits for the block being written: no thread is left at work for nothing, unless it hangs.
    GRACE: ClassVar[float] = 2.0

    def __init__(self, stream: BatchStream, start: int, stop: int | None, threads: int, ahead: int) -> None:
        self.stream, self.next, self.stop, self.ahead = stream, start, stop, max(1, ahead)
        self.tasks: queue.SimpleQueue[tuple[int, Future[Batch]] | None] = queue.SimpleQueue()
        self.pending: deque[tuple[int, Future[Batch]]] = deque()
        self.threads = [
            threading.Thread(target=self._work, name=f"uprior-data-{n}", daemon=True) for n in range(max(1, threads))
        ]

    def __enter__(self) -> Generator[Batch, None, None]:
        for thread in self.threads:
            thread.start()
        return self._run()

    def __exit__(self, *_: object) -> None:
        for _step, future in self.pending:
            future.cancel()
        for _thread in self.threads:
            self.tasks.put(None)
        deadline = time.monotonic() + self.GRACE
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (task := self.tasks.get()) is not None:
            step, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self.stream.batch(step))
            except BaseException as error:
                future.set_exception(error)

    def _run(self) -> Generator[Batch, None, None]:
        while True:
            while len(self.pending) < self.ahead and (self.stop is None or self.next < self.stop):
                self.pending.append((self.next, Future()))
                self.tasks.put(self.pending[-1])
                self.next += 1
            if not self.pending:
                return
            yield self._wait(*self.pending.popleft())

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
