"""Freezing by role: what training must leave as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uprior.errors import SpecError
from uprior.transfer.roles import chosen, is_tied, named_parts
from uprior.transfer.table import UNCHANGED, Table, table_of


def freeze(model: Any, parts: Iterable[str], layers: Iterable[int] | None = None) -> Table:
    """Take roles out of training, in place: their parameters get no gradient, and ``uprior``'s optimisers leave them out.

    parts     names of ``ROLES``
    layers    blocks that attention, mlp and norms are frozen in; None is all. The last norm counts to the last layer

    What was frozen before stays frozen; ``model.requires_grad_(True)`` undoes it all. ``carry(...).then(freeze(...))`` is one
    table of both. Raises UnknownNameError (parts), SpecError: a layer that is not there, a role without parameters, or the head
    alone where it is the token table.
    """
    parts = named_parts(parts)
    found = chosen(model, parts, layers)
    roles = {member.role for member in found}
    for part in parts:
        if part == "head" and is_tied(model):
            if "embeddings" not in roles:
                raise SpecError(
                    "head and embeddings of this model are one tensor (tied), so the head cannot be frozen alone; "
                    "freeze both: parts=('embeddings', 'head')"
                )
        elif part not in roles:
            raise SpecError(f"{type(model).__name__} has no parameters in the part {part}; leave {part!r} out of parts")
    for member in found:
        member.parameter.requires_grad_(False)
    return table_of(model, {}, UNCHANGED)
