"""Specs: frozen dataclasses of plain fields that validate themselves, name themselves and fingerprint themselves.

A spec can be written in one line, as on the command line:

    name                               every field at its default
    name@preset                        a named set of values, e.g. what a paper used
    name:field=value,field=value       some fields changed
    iterated:source=(random_lstm:hidden=32),depth=fixed

or as a JSON object, which is what run directories record.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from uprior.errors import SpecError, unknown_name


def parameter(
    default: Any = dataclasses.MISSING,
    text: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a spec with its allowed range (ends included) and its one line of help, written once."""
    metadata = {"text": text, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


class Spec:
    """Base of all specs. A subclass is a frozen dataclass; an invalid instance cannot exist.

    Subclasses set ``name`` and ``version``; a change of behaviour needs a new version. ``presets`` maps a preset's name to the
    field values that differ from the defaults.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        for f in dataclasses.fields(typing.cast(Any, self)):
            value = _coerce(getattr(self, f.name), _hints(type(self))[f.name])
            if value is _WRONG:
                allowed = _type_name(_hints(type(self))[f.name])
                raise SpecError(f"{self.name}: {f.name} = {getattr(self, f.name)!r} is not allowed; allowed: {allowed}")
            object.__setattr__(self, f.name, value)
            if f.metadata:
                self._check_range(f.name, value, f.metadata)
        self.validate()

    def validate(self) -> None:
        """Checks that involve several fields; raise with ``self.reject``."""

    def _check_range(self, field: str, value: Any, metadata: Mapping[str, Any]) -> None:
        low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices")
        if choices is not None and value not in choices:
            self.reject(field, "one of " + ", ".join(choices))
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                self.reject(field, "finite numbers")
            if isinstance(number, int | float) and not isinstance(number, bool):
                below, above = low is not None and number < low, high is not None and number > high
                if below or above:
                    self.reject(field, _range_text(low, high))

    def reject(self, field: str, allowed: str) -> typing.NoReturn:
        """Raise the one-line error about a field: what was given, what is allowed."""
        raise SpecError(f"{self.name}: {field} = {getattr(self, field)!r} is not allowed; allowed: {allowed}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: name, version and every field, nested specs included."""
        fields = dataclasses.fields(typing.cast(Any, self))
        return {"name": self.name, "version": self.version} | {f.name: _plain(getattr(self, f.name)) for f in fields}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of name, version and all fields: equal fingerprints mean equal data."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """The spec with the values of a named preset, and these changes on top."""
        return cls(**{**cls.values_of(name), **changes})

    @classmethod
    def values_of(cls, preset: str | None) -> Mapping[str, Any]:
        """What a preset sets, or nothing for None. Raises UnknownNameError."""
        if preset is None:
            return {}
        if preset not in cls.presets:
            raise unknown_name(f"preset of {cls.name}", preset, cls.presets)
        return cls.presets[preset]

    def replace(self, **changes: Any) -> Self:
        """The same spec with some fields changed."""
        return typing.cast(Self, dataclasses.replace(typing.cast(Any, self), **changes))


_WRONG = object()


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(cls: type) -> dict[str, Any]:
    """Annotations of a class, its bases' included, as types; read once."""
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _coerce(value: Any, hint: Any) -> Any:
    """The value as the annotated type (1 -> 1.0, list -> tuple), or _WRONG. Equal meaning gets equal fingerprint."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return next((c for c in (_coerce(value, a) for a in args) if c is not _WRONG), _WRONG)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return _WRONG
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        items = tuple(_coerce(v, a) for v, a in zip(value, inner, strict=False))
        return _WRONG if len(inner) != len(value) or _WRONG in items else items
    if origin is typing.Literal:
        return value if value in args else _WRONG
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        return _WRONG
    return value if isinstance(hint, type) and isinstance(value, hint) else _WRONG


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin is tuple:
        return f"a list, each {_type_name(typing.get_args(hint)[0])}"
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _range_text(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"{low:g} or more" if low is not None else f"{high:g} or less"


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_dict()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


# ------------------------------------------------------------------ a folder is a catalogue


@dataclass(frozen=True)
class Entry:
    """One thing of a room, as its file tells without being imported."""

    name: str
    module: str
    class_name: str
    summary: str


@functools.cache
def catalogue(package: str, folder: Path) -> dict[str, Entry]:
    """name -> Entry for every class with a ``name`` in the files of a room, by reading, not importing, them."""
    entries = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == "name":
                    name = ast.literal_eval(typing.cast(ast.expr, line.value))
                    summary = (ast.get_docstring(node) or "").split("\n", 1)[0]
                    entries[name] = Entry(name, f"{package}.{path.stem}", node.name, summary)
    return entries


# ------------------------------------------------------------------ reading specs from text and JSON


def split_text(text: str) -> tuple[str, str | None, dict[str, str]]:
    """``name@preset:a=1,b=(x:c=2)`` -> (name, preset, {a: "1", b: "x:c=2"})."""
    head, _, tail = text.partition(":")
    name, _, preset = head.partition("@")
    options: dict[str, str] = {}
    for item in _split_commas(tail):
        key, equals, value = item.partition("=")
        if not equals:
            raise SpecError(f"cannot read {item!r} in {text!r}; write name:field=value,field=value")
        options[key.strip()] = value.strip()
    return name.strip(), preset.strip() or None, options


def _split_commas(text: str) -> list[str]:
    """Parts between commas that are not inside brackets."""
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [p for p in [*parts, current] if p.strip()]


def _rejoined(parts: list[str]) -> list[str]:
    """Specs that were split at their own commas, whole again: what begins with ``field=`` belongs to the spec before it.

    >>> _rejoined(["set:a=1", "b=(x:c=2)", "dyck"])
    ['set:a=1,b=(x:c=2)', 'dyck']
    """
    whole: list[str] = []
    for part in parts:
        if whole and part.partition("=")[0].strip().isidentifier() and "=" in part:
            whole[-1] += "," + part
        else:
            whole.append(part)
    return whole


def from_options(
    cls: type[Spec], options: Mapping[str, str | list[str]], preset: str | None, parse_nested: Callable[[str], Spec]
) -> Spec:
    """A spec from texts, each read as its field's annotated type; a list of texts is one item each of a field that is a tuple."""
    known = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls))}
    values = dict(cls.values_of(preset))  # a wrong preset is told before a wrong field
    for key, text in options.items():
        field = key.replace("-", "_")
        if field not in known:
            raise unknown_name(f"option of {cls.name}", key, known)
        hint = _hints(cls)[field]
        if isinstance(text, str):
            values[field] = _read(text, hint, parse_nested)
        elif typing.get_origin(hint) is tuple:
            values[field] = tuple(_read(item, typing.get_args(hint)[0], parse_nested) for item in text)
        else:
            raise SpecError(f"{cls.name}: {key} takes one value; given: {' '.join(text)}")
    missing = [k for k, f in known.items() if f.default is dataclasses.MISSING and k not in values]
    if missing:
        raise SpecError(f"{cls.name}: {missing[0]} is missing; write {cls.name}:{missing[0]}=...")
    return cls(**values)


def _read(text: str, hint: Any, parse_nested: Callable[[str], Spec]) -> Any:
    """A text as the annotated type; what cannot be read stays a text, and validation says what is allowed."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    text = text.strip()
    if origin is tuple:
        bracketed = text[:1] in "([" and text[-1:] in ")]"
        if args[0] is str and not bracketed:
            return (text,)  # a path or a corpus, which may hold commas and slashes
        inner = text[1:-1] if bracketed else text.replace("/", ",")
        parts = _split_commas(inner)
        if isinstance(args[0], type) and issubclass(args[0], Spec):
            parts = _rejoined(parts)
        return tuple(_read(part, args[0], parse_nested) for part in parts)
    if origin in (typing.Union, types.UnionType):
        if type(None) in args and text.lower() == "none":
            return None
        return _read(text, args[0], parse_nested)
    if isinstance(hint, type) and issubclass(hint, Spec):
        return parse_nested(text[1:-1] if text.startswith("(") and text.endswith(")") else text)
    if hint is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    for number, read in ((int, whole_number), (float, float)):
        if hint is number or (hint is float and number is int):
            try:
                return read(text)
            except ValueError:
                continue
    return text


def whole_number(text: str) -> int:
    """A whole number, also as 1e6, or with k, M or B after it. Raises ValueError.

    >>> whole_number("4096"), whole_number("20M"), whole_number("1.5k"), whole_number("1e6")
    (4096, 20000000, 1500, 1000000)
    """
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(text[-1:].lower(), 1)
    with contextlib.suppress(ValueError):
        return int(text)  # of any size, exactly
    value = float(text[:-1] if factor > 1 else text) * factor
    if not math.isfinite(value) or value != round(value):
        raise ValueError(f"'{text}' is not whole")
    return round(value)


def from_dict(data: Mapping[str, Any], find: Callable[[str], type[Spec]]) -> Spec:
    """The inverse of ``Spec.to_dict``. Refuses unknown fields and other versions: the data would not be the same."""
    if "name" not in data:
        raise SpecError(f"a spec as JSON needs a 'name'; given: {', '.join(sorted(data)) or 'nothing'}")
    cls = find(str(data["name"]))
    if data.get("version", cls.version) != cls.version:
        raise SpecError(f"{cls.name}: recorded with version {data['version']}, this is version {cls.version}")
    known = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    values = {}
    for key, value in data.items():
        if key in ("name", "version"):
            continue
        if key not in known:
            raise unknown_name(f"option of {cls.name}", key, known)
        values[key] = _revive(value, find)
    return cls(**values)


def _revive(value: Any, find: Callable[[str], type[Spec]]) -> Any:
    if isinstance(value, Mapping):
        return from_dict(value, find)
    return tuple(_revive(v, find) for v in value) if isinstance(value, list) else value
