"""Room 2: one kind of real data per file, as bytes. The folder's listing is the catalogue.

``get("python_stdlib")``, ``get("mydata.txt")``, ``get("folder:notes")`` read a corpus from text; ``from uprior.corpora
import File`` takes the class.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uprior.corpora._base import Corpus, possible_windows, windows
from uprior.errors import unknown_name
from uprior.spec import Entry, Spec, catalogue, from_dict, from_options, split_text

__all__ = ["Corpus", "entries", "find", "get", "possible_windows", "revive", "windows"]


def entries() -> dict[str, Entry]:
    """name -> Entry for every kind of corpus in this folder, found without importing any of them."""
    return catalogue(__name__, Path(__file__).parent)


def find(name: str) -> type[Corpus]:
    """The class of a corpus, by catalogue name. Raises UnknownNameError with the nearest name."""
    if name not in entries():
        raise unknown_name("corpus", name, entries())
    entry = entries()[name]
    found: type[Corpus] = getattr(importlib.import_module(entry.module), entry.class_name)
    return found


def get(text: str | os.PathLike[str]) -> Corpus:
    """The corpus a text describes.

    ``name``                     a catalogue name with every field at its default
    ``name:field=value,...``     some fields changed
    ``name:VALUE``               its first field: ``file:PATH``, ``folder:PATH``, ``synthetic:dyck``
    a path that exists           ``file:`` or ``folder:`` of it; write ./NAME where a file has a catalogue name

    Raises CorpusError for what looks like a path and is not there, else UnknownNameError.
    """
    given = os.fspath(text)
    kind, _, tail = given.partition(":")
    if kind.partition("@")[0] not in entries():
        return _from_path(given)
    cls = find(kind.partition("@")[0])
    fields = dataclasses.fields(cls)
    named = tail.partition("=")[0].strip().replace("-", "_") in {f.name for f in fields}
    own = next(f.name for f in fields if not f.kw_only)
    if tail and not named and cls.takes_path:
        return _made(cls, {own: tail}, None)  # a path may hold commas, colons and equals signs
    if tail and "=" not in tail.partition(",")[0]:
        given = f"{kind}:{own}={tail}"
    _, preset, options = split_text(given)
    return _made(cls, options, preset)


def _made(cls: type[Corpus], options: Mapping[str, str], preset: str | None) -> Corpus:
    made = from_options(cls, options, preset, get)
    assert isinstance(made, Corpus)
    return made


def _from_path(given: str) -> Corpus:
    """The file or folder of that path; where there is none, the error for whichever of path and name was meant."""
    full = os.path.expanduser(given)
    if os.path.isdir(full):
        return _made(find("folder"), {"path": given}, None)
    if os.path.exists(full):
        return _made(find("file"), {"path": given}, None)
    if os.sep in given or "." in given or "\0" in given:
        from uprior.corpora.file import missing_path

        raise missing_path(given)
    raise unknown_name("file, folder or corpus", given, entries())


def revive(data: Mapping[str, Any]) -> Corpus:
    """The corpus that ``to_dict`` recorded."""
    made: Spec = from_dict(data, find)
    assert isinstance(made, Corpus)
    return made


def __getattr__(name: str) -> Any:
    for entry in entries().values():
        if entry.class_name == name:
            return find(entry.name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
