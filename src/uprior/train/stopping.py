"""Signals that ask a run to end: it finishes its step, saves, and says how to go on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stop_requested(*, patient: bool = False) -> Iterator[threading.Event]:
    """An event set by SIGINT, SIGTERM or SIGUSR1. A second SIGINT or SIGTERM acts as usual. Only the main thread listens.

    ``patient``: a second SIGTERM changes nothing, for processes that hear of one wish from the scheduler and from torchrun too.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    asked = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    old = {number: signal.getsignal(number) for number in asked}
    lasting = asked[1 if patient else 2 :]  # a second USR1 would end the process while it saves

    def on_signal(number: int, _frame: object) -> None:
        event.set()
        if number not in lasting:
            signal.signal(number, old[signal.Signals(number)])

    for number in old:
        signal.signal(number, on_signal)
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
