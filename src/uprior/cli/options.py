"""What ``uprior show SOURCE --help`` and ``uprior run STUDY --help`` add: what the named thing is, and its fields as options."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import typing
from typing import Any

from uprior.spec import Spec, split_text
from uprior.terminal import print_table


class HelpWithFields(argparse.Action):
    """``--help`` of a command with ``field_options``: its own options, then, if one is named, the source's or the study's."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        kind = parser.get_default("field_options")
        text = getattr(namespace, kind)
        if text is None or text.endswith(".json"):
            parser.print_help()
        else:
            own = ":" in text and "=" not in text  # module:Class
            name, preset, _options = (text, None, {}) if own else split_text(text)
            spec = _find(kind, name)
            rows = _field_rows(spec, preset)  # what is wrong with the name is told before anything
            parser.print_help()
            print(f"\n{name}\n\n{inspect.getdoc(spec)}\n".rstrip(), end="\n\n")
            print_table([f"options of {name}", ""], rows, right=False)
            if spec.presets:
                print(f"\npresets of {name}, written {name}@NAME: {', '.join(spec.presets)}")
        parser.exit()


def _find(kind: str, name: str) -> type[Spec]:
    from uprior import sources, studies  # heavier than help should be

    return sources.find(name) if kind == "source" else studies.find(name)


def _field_rows(spec: type[Spec], preset: str | None = None) -> list[list[str]]:
    """Option, and its line of help with its value, of every field of a spec. Raises UnknownNameError for the preset."""
    values = spec.values_of(preset)
    rows = []
    for field in dataclasses.fields(typing.cast(Any, spec)):
        value = values.get(field.name, field.default)
        of_value = "required" if value is dataclasses.MISSING else _as_text(value) or "none"
        rows.append([f"  --{field.name.replace('_', '-')}", f"{field.metadata.get('text', '')} ({of_value})".strip()])
    return rows


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_as_text, value))
    return value.name if isinstance(value, Spec) else str(value)
