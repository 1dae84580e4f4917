"""Room 4: one experiment per file, each a class with ``run(out, evaluate_on)``; ``uprior run NAME`` finds it by the listing."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from uprior.errors import unknown_name
from uprior.spec import Entry, catalogue

__all__ = ["Study", "entries", "find"]


class Study:
    """An experiment with a name; running it again goes on where it stopped."""

    name: ClassVar[str]

    def run(self, out: Path, *, evaluate_on: Sequence[str] = ()) -> None:
        """Do all of it below ``out`` and leave the records and report.html there. KeyboardInterrupt when stopped: it goes on."""
        raise NotImplementedError(f"{type(self).__name__} does not write run")


def entries() -> dict[str, Entry]:
    """name -> Entry for every study in this folder, found without importing any of them."""
    return catalogue(__name__, Path(__file__).parent)


def find(name: str) -> type[Study]:
    """The class of a study; UnknownNameError with the nearest name."""
    if name not in entries():
        raise unknown_name("study", name, entries())
    found: type[Study] = getattr(importlib.import_module(entries()[name].module), entries()[name].class_name)
    return found
