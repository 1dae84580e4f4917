"""Room 4: one experiment per file, each a spec with ``run(out)``; ``uprior run NAME`` finds it by the listing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uprior.errors import unknown_name
from uprior.spec import Entry, Spec, catalogue, from_options, split_text

__all__ = ["Study", "entries", "find", "get"]


@dataclass(frozen=True)
class Study(Spec):
    """An experiment with a name; its fields are its options, as in ``uprior run NAME --field value``.

    A subclass is a frozen dataclass that sets ``name`` and writes ``run``; every field has a default, and its line of help
    in ``parameter(...)``. A field that is a tuple takes several values: ``--model A B``.
    """

    def run(self, out: Path) -> None:
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


def get(text: str, options: Mapping[str, str | list[str]] | None = None) -> Study:
    """The study that ``name`` or ``name@preset`` describes, with the texts of some fields. Raises SpecError, UnknownNameError."""
    from uprior import sources

    name, preset, fields = split_text(text)
    made = from_options(find(name), {**fields, **(options or {})}, preset, sources.get)
    assert isinstance(made, Study)
    return made
