"""The part of the contract that concerns the spec: frozen, fingerprinted by every field, written and revived."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Iterator
from typing import Any

from uprior.sources import entries, find
from uprior.sources._base import FAMILIES, Source
from uprior.sources._check_process import Broken, classes_of
from uprior.spec import Spec, from_dict


def frozen(source: Source) -> str:
    cls = type(source)
    fields = _fields(source)
    for name in inspect.get_annotations(cls):
        hint = typing.get_type_hints(cls).get(name)
        if name not in fields and typing.get_origin(hint) is not typing.ClassVar and hint is not typing.ClassVar:
            raise Broken(f"{name} is annotated but no field; write @dataclass(frozen=True) above class {cls.__name__}")
    for name in fields:
        try:
            setattr(source, name, getattr(source, name))
        except (dataclasses.FrozenInstanceError, AttributeError):
            continue
        raise Broken(f"{name} can be set after construction; write @dataclass(frozen=True)")
    hash(source)
    return f"{len(fields)} fields cannot be set"


def documented(source: Source) -> str:
    text = type(source).__doc__ or ""
    if not text.strip() or text.startswith(f"{type(source).__name__}("):  # what dataclass writes by itself
        raise Broken(
            "no docstring; say what a machine is, how many exist, whether the floor is exact, the cost, the paper"
        )
    for word in ("machine", "floor"):
        if word not in text.lower():
            raise Broken(
                f"the docstring has no word of the {word}; say what a machine is and whether the floor is exact"
            )
    if source.name in entries() and source.family not in FAMILIES:
        raise Broken(f"family '{source.family}' is not among those of the catalogue: {', '.join(FAMILIES)}")
    return text.strip().splitlines()[0]


def round_trip(source: Source) -> str:
    name = source.name
    if name in entries() and find(name) is not type(source):
        raise Broken(f"the name '{name}' is taken by uprior's own source; choose another")
    data = json.loads(json.dumps(source.to_dict()))
    missing = [field for field in _fields(source) if field not in data]
    if missing:
        raise Broken(f"to_dict leaves out {', '.join(missing)}")
    revived = from_dict(data, classes_of(source).__getitem__)
    if revived != source:
        raise Broken(f"revived as {revived!r}, was {source!r}")
    if revived.fingerprint != source.fingerprint:
        raise Broken("the revived spec is equal but has another fingerprint")
    return "to_dict, JSON and back gives an equal spec"


def fingerprint_covers(source: Source) -> str:
    if source.replace().fingerprint != source.fingerprint:
        raise Broken("two equal specs have different fingerprints")
    if _newer(source).fingerprint == source.fingerprint:
        raise Broken("another version has the same fingerprint")
    changed = set()
    for field, other in changes(source):
        changed.add(field)
        if other.fingerprint == source.fingerprint:
            raise Broken(f"a change of {field} does not change the fingerprint")
    unchanged = [field for field in _fields(source) if field not in changed]
    note = f"; no other legal value found for {', '.join(unchanged)}" if unchanged else ""
    return f"{len(_fields(source)) - len(unchanged)} fields and the version change it{note}"


def changes(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """(field, legal spec that differs in this field) for several values of every field."""
    hints = typing.get_type_hints(type(spec))
    for name, field in _fields(spec).items():
        for value in _others(getattr(spec, name), hints[name], field.metadata):
            try:
                other = spec.replace(**{name: value})
            except (ValueError, TypeError):
                continue  # not legal, or not together with the other fields
            if other != spec:
                yield name, other


def _others(value: Any, hint: Any, metadata: Any) -> Iterator[Any]:
    """Values near a value, at the ends of its range, or of its kind; not all of them legal."""
    low, high, choices = (metadata.get(key) for key in ("low", "high", "choices"))
    if typing.get_origin(hint) is typing.Literal or choices:
        yield from (choice for choice in choices or typing.get_args(hint) if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (n for n in (value + 1, value - 1, 2 * value, value // 2, low, high) if n is not None)
    elif isinstance(value, float):
        yield from (x for x in (value * 0.5, value * 2.0, value + 0.25, value - 0.25, low, high) if x is not None)
    elif isinstance(value, str):
        yield value + "x"
    elif isinstance(value, tuple):
        yield from _other_tuples(value, hint, metadata)
    elif isinstance(value, Spec):
        yield from (other for _, other in changes(value))
    elif value is None:
        yield from (1, 0.5, "x", (1,), (0.5,), low, high)


def _other_tuples(value: tuple[Any, ...], hint: Any, metadata: Any) -> Iterator[tuple[Any, ...]]:
    args = typing.get_args(hint)
    inner = args[0] if args else Any
    for i, item in enumerate(value):
        for other in _others(item, inner, metadata):
            yield (*value[:i], other, *value[i + 1 :])
    yield value[::-1]
    yield from ((*value, value[-1]), value[:-1]) if value else ((1,), (0.5,), ("x",))
    yield from ((1,) * length for length in range(1, 4))
    yield tuple(range(1, len(value) + 1))
    if not value:  # shares of wrappers: as many as there are sources, so try some lengths, equal and unequal
        yield from (tuple(range(1, length + 1)) for length in range(2, 17))


def _newer(source: Source) -> Spec:
    cls = type(source)
    newer = typing.cast(Any, type(cls))(cls.__name__, (cls,), {"version": cls.version + 1, "__doc__": cls.__doc__})
    made: Spec = newer(**{name: getattr(source, name) for name in _fields(source)})
    return made


def _fields(spec: Spec) -> dict[str, Any]:
    return {field.name: field for field in dataclasses.fields(typing.cast(Any, spec))}
