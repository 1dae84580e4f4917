"""Everything a user can cause, as one tree of exceptions.

    UpriorError (a ValueError)
    ├── SpecError             a field of a spec, or an argument, has an impossible value
    ├── UnknownNameError      no source, model, corpus, option of that name; says the nearest one
    ├── SourceError           a source failed, or hangs, while it wrote a block
    ├── CorpusError           real data is missing, empty, unreadable or too short
    ├── CheckpointError       a checkpoint is absent, damaged, or does not fit
    ├── RunDirectoryError     a run directory is in use, or holds another run
    ├── TrainingError         the loss became NaN or infinite
    └── MissingExtraError     an optional dependency is not installed; says what to type

Each message is one line: what was given, what is allowed, what to type instead. The command line prints it and ends
with status 2; a bug of ours shows as any other exception, with its traceback.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class UpriorError(ValueError):
    """Base of all errors a user can cause."""


class SpecError(UpriorError):
    """A field of a spec, or an argument, has an impossible value."""


class UnknownNameError(UpriorError):
    """There is no thing of that name."""


class SourceError(UpriorError):
    """A source failed, or hangs, while it wrote a block; names source, seed and block."""


class CorpusError(UpriorError):
    """Real data is missing, empty, unreadable or too short."""


class CheckpointError(UpriorError):
    """A checkpoint is absent, damaged, or does not fit."""


class RunDirectoryError(UpriorError):
    """A run directory is in use by another process, or holds another run."""


class TrainingError(UpriorError):
    """Training cannot go on: the loss became NaN or infinite."""


class MissingExtraError(UpriorError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; type: pip install 'uprior[{extra}]'")


def place_of(error: BaseException) -> str:
    """Where an exception was raised, as ``(file.py, line 12)``: what a one-line message keeps of a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else "(place unknown)"


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> UnknownNameError:
    """The error for a name that does not exist: nearest name first, then all of them.

    >>> str(unknown_name("source", "randm_lstm", ["uniform", "random_lstm"]))
    "unknown source 'randm_lstm'; did you mean 'random_lstm'? There are: random_lstm, uniform"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return UnknownNameError(f"unknown {kind} '{given}'{hint} There are: {', '.join(names) or 'none'}")
