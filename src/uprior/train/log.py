"""The record of a run: what was computed in log.jsonl, how long it took in timing.jsonl.

They are apart so that log.jsonl is a pure function of the run: after a kill and a resume it is byte for byte the log of the
uninterrupted run.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uprior.files import disk_errors, read_lines, write_text


class RunLog:
    """Appends JSON lines to a run's records, from ``step`` on; lines of later steps (of a killed run) are dropped first.

    Of several processes one writes: with ``writes=False`` the run directory is left alone.
    """

    def __init__(self, run: Path, step: int, *, writes: bool = True) -> None:
        self.run, self.writes = run, writes
        for name in ("log.jsonl", "timing.jsonl") if writes else ():
            kept = [line for line in read_lines(run / name) if line["step"] <= step]
            write_text(run / name, "".join(_line(line) for line in kept))
        with disk_errors(run):
            self._log = (run / "log.jsonl" if writes else Path(os.devnull)).open("a", encoding="utf-8")
            self._timing = (run / "timing.jsonl" if writes else Path(os.devnull)).open("a", encoding="utf-8")

    def write(self, **record: Any) -> None:
        """One line of what was computed; needs ``event`` and ``step`` (steps done by then)."""
        with disk_errors(self.run / "log.jsonl"):
            self._log.write(_line(record))
            self._log.flush()

    def write_timing(self, **record: Any) -> None:
        """One line of how long it took."""
        with disk_errors(self.run / "timing.jsonl"):
            self._timing.write(_line(record))
            self._timing.flush()

    def sync(self) -> None:
        """Everything so far is on the disk."""
        if not self.writes:
            return
        with disk_errors(self.run):
            os.fsync(self._log.fileno())
            os.fsync(self._timing.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A line that a full disk refused is still in the file's buffer, and closing writes it: told already, or told now.
        for file in (self._log, self._timing):
            with disk_errors(self.run) if error is None else contextlib.suppress(OSError):
                file.close()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
