"""Room 1: one random computation per file. The folder's listing is the catalogue.

``get("random_lstm:hidden=32")`` reads a spec from text, ``from uprior.sources import RandomLSTM`` takes the class.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uprior.errors import SpecError, UpriorError, unknown_name
from uprior.sources._base import Source
from uprior.spec import Entry, Spec, catalogue, from_dict, from_options, split_text

__all__ = ["Source", "entries", "find", "get", "revive"]


def entries() -> dict[str, Entry]:
    """name -> Entry for every source in this folder, by name, found without importing any of them."""
    return dict(sorted(catalogue(__name__, Path(__file__).parent).items()))


def find(name: str) -> type[Source]:
    """The class of a source, by catalogue name, or by ``module:Name`` for a class of one's own."""
    if ":" in name:
        return _own_class(name)
    if name not in entries():
        raise unknown_name("source", name, entries())
    entry = entries()[name]
    found: type[Source] = getattr(importlib.import_module(entry.module), entry.class_name)
    return found


def _own_class(name: str) -> type[Source]:
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a file in the current folder, as `python -m` would find it
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UpriorError(f"cannot import source '{name}': {error}; write module:ClassName") from error
    if isinstance(found, Source):
        return type(found)
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise UpriorError(f"'{name}' is not a source; write a subclass of uprior.sources.Source")
    return found


def get(text: str) -> Source:
    """The source a text describes: ``name``, ``name@preset``, ``name:field=value,...``, ``module:Name``, or a .json file."""
    if text.endswith(".json"):
        return _from_file(Path(text))
    tail = text.partition(":")[2]
    if tail and "=" not in tail:
        return from_options_text(text, {}, None)
    name, preset, options = split_text(text)
    return from_options_text(name, options, preset)


def from_options_text(name: str, options: Mapping[str, str], preset: str | None) -> Source:
    """The source of a class, field texts and a preset, as the command line gives them."""
    made = from_options(find(name), options, preset, get)
    assert isinstance(made, Source)
    return made


def _from_file(path: Path) -> Source:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(
            f"cannot read a source from {path}: {error}; give a JSON object with 'name' and fields"
        ) from error
    return revive(data)


def revive(data: Mapping[str, Any]) -> Source:
    """The source that ``to_dict`` recorded."""
    made: Spec = from_dict(data, find)
    assert isinstance(made, Source)
    return made


def __getattr__(name: str) -> Any:
    for entry in entries().values():
        if entry.class_name == name:
            return find(entry.name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
