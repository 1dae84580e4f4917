"""The table read before training: what is copied, fresh, frozen, with parameter counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from uprior.errors import SpecError
from uprior.transfer.roles import ROLES, is_tied, members

FRESH, UNCHANGED, NONE = "fresh", "unchanged", "none"
TIED = "is the head too: one tensor"


class Start(NamedTuple):
    """Where a parameter's values come from, in words, and what is worth knowing about it."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One parameter tensor of the model, or a role that the model has no tensor for (its name is then empty)."""

    name: str
    role: str
    layer: int | None
    start: str
    frozen: bool
    parameters: int
    note: str


@dataclass(frozen=True)
class Table:
    """What became of every parameter of a model; ``print`` shows one line per role, layers and fate.

    ``records()`` are the same lines as plain values for JSON. The sum of ``parameters`` is the model's.
    """

    entries: tuple[Entry, ...]

    @property
    def parameters(self) -> int:
        """All parameters, a shared tensor counted once."""
        return sum(entry.parameters for entry in self.entries)

    def records(self) -> list[dict[str, Any]]:
        """One record per role, start, frozen or not, and note: role, layers, start, frozen, parameters, note."""
        groups: dict[tuple[str, str, bool, str], list[Entry]] = {}
        for entry in sorted(self.entries, key=lambda entry: ROLES.index(entry.role)):
            groups.setdefault((entry.role, entry.start, entry.frozen, entry.note), []).append(entry)
        return [
            {
                "role": role,
                "layers": sorted({entry.layer for entry in group if entry.layer is not None}),
                "start": start,
                "frozen": frozen,
                "parameters": sum(entry.parameters for entry in group),
                "note": note,
            }
            for (role, start, frozen, note), group in groups.items()
        ]

    def then(self, later: Table) -> Table:
        """This table with what a later call on the same model did: what that left alone stays as told here.

        Raises SpecError if the two are of models with other parameters.
        """
        if [(e.name, e.parameters) for e in self.entries] != [(e.name, e.parameters) for e in later.entries]:
            raise SpecError("these tables are of different models; join tables of calls on one model")
        return Table(
            tuple(
                replace(first, frozen=second.frozen, note=first.note or second.note)
                if second.start in (FRESH, UNCHANGED, NONE)
                else second
                for first, second in zip(self.entries, later.entries, strict=True)
            )
        )

    def __str__(self) -> str:
        lines = [("role", "layers", "weights", "training", "parameters", "")]
        for record in self.records():
            training = "" if record["start"] == NONE else "frozen" if record["frozen"] else "trained"
            count = f"{record['parameters']:,}"
            lines.append((record["role"], ranges(record["layers"]), record["start"], training, count, record["note"]))
        lines.append(("all", "", "", "", f"{self.parameters:,}", ""))
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column == 4 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def table_of(model: Any, starts: Mapping[str, Start], rest: str) -> Table:
    """The table of a model as it now is: parameter name -> start, and ``rest`` for all others."""
    tied = is_tied(model)
    entries = []
    for name, role, layer, _, parameter in members(model):
        start = starts.get(name, Start(rest))
        note = "; ".join(text for text in (start.note, TIED if tied and role == "embeddings" else "") if text)
        entries.append(Entry(name, role, layer, start.text, not parameter.requires_grad, int(parameter.numel()), note))
    absent = {
        "positions": "no table: rotary",
        "head": "the token table" if tied else "the model has none",
    }
    present = {entry.role for entry in entries}
    for role, note in absent.items():
        if role not in present:
            entries.append(Entry("", role, None, NONE, False, 0, note))
    return Table(tuple(entries))


def ranges(layers: list[int]) -> str:
    """Sorted numbers as text, neighbours joined.

    >>> ranges([0, 1, 2, 5])
    '0-2, 5'
    """
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
