"""Carry: which weights of a trained model go into a fresh one, by role and layer; what is not carried stays fresh.

The warm-up papers differ in this more than in anything else. Jiang, Shinnick et al. (2026, arXiv 2601.21725) carry attention,
MLPs and norms into semantic stages and leave the tables fresh; into algorithmic stages they carry everything, with every row of
token table and head set to the mean. Hu et al. (2025, arXiv 2502.19249) carry all; the paper on neural cellular automata (arXiv
2603.10055) carries blocks and last norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from uprior.errors import CheckpointError, SpecError, unknown_name
from uprior.transfer.fitting import check_family, check_meaning, check_shape, check_vocabularies, layer_map
from uprior.transfer.roles import BLOCK_ROLES, Member, check_model, depth, is_tied, members, named_parts
from uprior.transfer.rows import Vocabulary, extended_rows, matched_rows, mean_rows
from uprior.transfer.table import FRESH, Start, Table, table_of

EMBEDDINGS = ("random", "mean", "partial", "keep", "frozen")
POSITIONS = ("keep", "extend", "fresh")
LEFT_FRESH = ("random", "frozen", "fresh")
TABLES = ("embeddings", "positions")


def carry(
    trained: Any,
    fresh: Any,
    parts: Iterable[str] = BLOCK_ROLES,
    layers: Iterable[int] | Mapping[int, int] | None = None,
    *,
    embeddings: str | None = None,
    positions: str | None = None,
    vocabularies: tuple[Vocabulary, Vocabulary] | None = None,
) -> Table:
    """Copy roles of ``trained`` into ``fresh``, in place; the rest of ``fresh`` keeps its own weights. The table says it all.

    trained, fresh  live models of one family: Llama, GPT-2, GPT-NeoX, or built like them
    parts           names of ``ROLES``; () is the arm that starts from scratch
    layers          for attention, mlp and norms: None (all), layer numbers, or {fresh layer: trained layer}, where depths differ.
                    The last norm goes with the last fresh layer
    embeddings      the token table: "random" (stays fresh), "frozen" (stays fresh, and is not trained), "keep" (same vocabulary),
                    "mean" (every row the mean of the trained rows), "partial" (rows of known tokens, the mean for others).
                    None: "keep" if it is among the parts, else "random". A head among the parts gets its rows the same way, from
                    its own rows (published code takes the token table's mean for the head too); with "random" and "frozen", all
    positions       a learned table: "keep" (the first rows; not more than were trained), "extend" (rows beyond those stay fresh),
                    "fresh". None: "keep" if it is among the parts, else it stays fresh. Rotary models have no table, but
                    their attention only means the same under the same rotation: others are refused unless "fresh" is typed
    vocabularies    for "partial": (trained, fresh), each token -> id; None: the same id is the same token

    Where token table and head are one tensor (tied), the table says so, and a head cannot be carried alone.
    Raises UnknownNameError, SpecError (arguments), CheckpointError (models that do not fit); ``fresh`` is then as it was.
    """
    return compose(
        fresh,
        {"": (trained, parts)},
        layers,
        embeddings=embeddings,
        positions=positions,
        vocabularies=vocabularies,
    )


def compose(
    fresh: Any,
    sources: Mapping[str, tuple[Any, Iterable[str]]],
    layers: Iterable[int] | Mapping[int, int] | None = None,
    *,
    embeddings: str | None = None,
    positions: str | None = None,
    vocabularies: tuple[Vocabulary, Vocabulary] | None = None,
) -> Table:
    """Carry different roles from different models into one, in place: ``{"sets": (a, "attention"), "automata": (b, "mlp")}``.

    The weight mixture of Jiang, Shinnick et al. (2026), of which no code was published. ``sources`` maps a name, which the table
    shows, to (trained model, parts); no part may come from two. ``embeddings`` and ``positions`` are for the source that has
    that part, the first if none has; other arguments and errors are ``carry``'s, and nothing is copied before all fits.
    """
    check_model(fresh, "fresh")
    _check_modes(embeddings, positions)
    check_vocabularies(vocabularies, embeddings or "keep")
    given = _parts_by_source(sources, {"embeddings": embeddings, "positions": positions})
    if layers is not None and not isinstance(layers, Mapping | int):
        layers = tuple(layers)
    owners = {part: next((name for name in given if part in given[name]), next(iter(given), "")) for part in TABLES}
    steps = []
    for name, (trained, _) in sources.items():
        mine = {part: name == owner for part, owner in owners.items()}
        order = _Order(
            trained=trained,
            fresh=fresh,
            parts=given[name],
            layers=layers,
            name=name,
            embeddings=(mine["embeddings"] and embeddings) or ("keep" if "embeddings" in given[name] else "random"),
            head="keep" if embeddings in (None, *LEFT_FRESH) else str(embeddings),
            positions=(mine["positions"] and positions) or ("keep" if "positions" in given[name] else "fresh"),
            any_rotation=positions == "fresh",
            vocabularies=vocabularies,
        )
        steps += _plan(order)
    return _write(fresh, steps)


class _Step(NamedTuple):
    """What to do with one parameter of the fresh model; value None leaves it."""

    member: Member
    value: torch.Tensor | None
    start: Start


@dataclass(frozen=True)
class _Order:
    """One source's share of a call, with every way decided."""

    trained: Any
    fresh: Any
    parts: tuple[str, ...]
    layers: Iterable[int] | Mapping[int, int] | None
    name: str
    embeddings: str
    head: str
    positions: str
    any_rotation: bool
    vocabularies: tuple[Vocabulary, Vocabulary] | None

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of which something of the trained model is used."""
        ways = {"embeddings": self.embeddings, "positions": self.positions}
        blocks = [part for part in self.parts if part not in ways]
        return tuple(blocks + [role for role, way in ways.items() if way not in LEFT_FRESH])

    def start(self, note: str = "", what: str = "copied") -> Start:
        return Start(f"{what} from {self.name}" if self.name else what, note)


def _parts_by_source(
    sources: Mapping[str, tuple[Any, Iterable[str]]], ways: Mapping[str, str | None]
) -> dict[str, tuple[str, ...]]:
    """Name of a source -> the parts that it gives; raises where one is named twice, or is to stay fresh."""
    for name, source in sources.items():
        if not isinstance(source, tuple) or len(source) != 2:
            raise SpecError(f"{name!r} must be a pair (trained model, parts); given: a {type(source).__name__}")
    given = {name: named_parts(parts) for name, (_, parts) in sources.items()}
    named = [part for parts in given.values() for part in parts]
    for part in named:
        if named.count(part) > 1:
            raise SpecError(f"part {part!r} is named twice; name each part once, for one model")
        if ways.get(part) in LEFT_FRESH:
            raise SpecError(
                f"{part} are to be carried and to stay fresh; leave {part!r} out of parts, or type {part}='keep'"
            )
    return given


def _check_modes(embeddings: str | None, positions: str | None) -> None:
    for what, given, allowed in (("embeddings", embeddings, EMBEDDINGS), ("positions", positions, POSITIONS)):
        if given is not None and given not in allowed:
            raise unknown_name(f"way with {what}", str(given), allowed)


def _plan(order: _Order) -> list[_Step]:
    """All steps of one source, nothing done yet; raises where something does not fit."""
    check_model(order.trained, "trained")
    if order.trained is order.fresh:
        raise SpecError("trained and fresh are one model; build the fresh one: uprior.build(NAME)")
    check_family(order.trained, order.fresh)
    check_meaning(order.trained, order.fresh, order.roles, rotation=not order.any_rotation)
    _check_head(order)
    return [*_block_steps(order), *_embedding_steps(order), *_head_steps(order), *_position_steps(order)]


def _check_head(order: _Order) -> None:
    """Raise where token table and head cannot both be what was asked, since the fresh model has one tensor for them."""
    if "head" not in order.parts:
        return
    if order.fresh.get_output_embeddings() is None or order.trained.get_output_embeddings() is None:
        raise SpecError("one of the models has no head; leave 'head' out of parts, or use causal language models")
    if not is_tied(order.fresh):
        return
    if "embeddings" not in order.roles:
        raise SpecError(
            "head and embeddings of the fresh model are one tensor (tied), so the head cannot be carried alone; "
            "add 'embeddings' to parts, or build the fresh one with tie_word_embeddings=False"
        )
    if not is_tied(order.trained):
        raise CheckpointError(
            "the trained model has a head of its own, the fresh one has one tensor for head and embeddings (tied); "
            "leave 'head' out of parts, or build the fresh one with tie_word_embeddings=False"
        )


def _block_steps(order: _Order) -> list[_Step]:
    """Attention, MLPs and norms, layer by layer; the last norm with the last layer."""
    roles = [part for part in order.parts if part in BLOCK_ROLES]
    if not roles:
        return []
    layers: dict[int | None, int | None] = dict(layer_map(order.trained, order.fresh, order.layers).items())
    if depth(order.fresh) - 1 in layers:
        layers[None] = None
    old = {(m.layer, m.local): m for m in members(order.trained) if m.role in roles}
    new = [member for member in members(order.fresh) if member.role in roles and member.layer in layers]
    _check_same_names(set(old), {(layers[member.layer], member.local) for member in new})
    steps = []
    for member in new:
        source = layers[member.layer]
        value = old[source, member.local].parameter.detach()
        check_shape(
            member.name, value, member.parameter, f"leave {member.role!r} out of parts, or build both of one size"
        )
        moved = f"layer {source} of the trained model" if source != member.layer else ""
        steps.append(_Step(member, value, order.start(moved)))
    return steps


def _check_same_names(old: set[tuple[int | None, str]], new: set[tuple[int | None, str]]) -> None:
    """Raise where one of the models has a tensor, such as a bias, that the other has not, in a layer that is carried."""
    layers = {layer for layer, _ in new}
    for whose, other, extra in (
        ("fresh", "trained", new - old),
        ("trained", "fresh", {(layer, name) for layer, name in old if layer in layers} - new),
    ):
        if extra:
            raise CheckpointError(
                f"the {whose} model has a {min(name for _, name in extra)}, the {other} one has not; "
                "build the fresh one with the trained one's configuration"
            )


def _embedding_steps(order: _Order) -> list[_Step]:
    """The token table."""
    table = next(member for member in members(order.fresh) if member.role == "embeddings")
    if order.embeddings == "random":
        return []
    if order.embeddings == "frozen":
        return [_Step(table, None, Start(FRESH))]
    step = _rows(order, order.embeddings, table, order.trained.get_input_embeddings().weight.detach())
    left = ""
    if "head" not in order.parts and is_tied(order.trained) != is_tied(order.fresh):
        tensor = "the same tensor" if is_tied(order.trained) else "a tensor of its own"
        left = f"the trained head, {tensor}, is not carried"
    return [step._replace(start=Start(step.start.text, "; ".join(filter(None, (step.start.note, left)))))]


def _head_steps(order: _Order) -> list[_Step]:
    """The readout, where the fresh model has one of its own."""
    if "head" not in order.parts or is_tied(order.fresh):
        return []
    old = dict(order.trained.get_output_embeddings().named_parameters())
    steps = []
    for member in members(order.fresh):
        if member.role != "head":
            continue
        leaf = member.name.rpartition(".")[2]
        if leaf not in old:
            raise CheckpointError(
                f"the fresh model's head has a {leaf}, the trained one's has not; leave 'head' out of parts"
            )
        step = _rows(order, order.head, member, old[leaf].detach())
        tied = "the trained token table, which was its head" if is_tied(order.trained) else ""
        steps.append(step._replace(start=Start(step.start.text, "; ".join(filter(None, (step.start.note, tied))))))
    return steps


def _rows(order: _Order, way: str, member: Member, trained: torch.Tensor) -> _Step:
    """A tensor with one row per token, by way of ``keep``, ``mean`` or ``partial``."""
    num_rows = len(member.parameter)
    if way == "mean":
        return _Step(member, mean_rows(trained, num_rows), order.start("every row", "mean"))
    if way == "partial":
        value, known = matched_rows(trained, num_rows, order.vocabularies)
        return _Step(member, value, order.start(f"{known:,} of {num_rows:,} rows, the mean for others", "partial"))
    what = "leave 'head' out of parts" if member.role == "head" else "type embeddings='random'"
    remedy = f"type embeddings='partial' or 'mean', {what}, or build the fresh one with vocab={len(trained)}"
    check_shape(member.name, trained, member.parameter, remedy)
    return _Step(member, trained, order.start())


def _position_steps(order: _Order) -> list[_Step]:
    """A learned table of positions, where there is one."""
    old = [member.parameter.detach() for member in members(order.trained) if member.role == "positions"]
    new = [member for member in members(order.fresh) if member.role == "positions"]
    if order.positions == "fresh" or not new:
        return []
    have, need = len(old[0]), len(new[0].parameter)
    if order.positions == "keep" and need > have:
        raise CheckpointError(
            f"the trained model has {have} positions, the fresh one {need}; type positions='extend' (later ones stay fresh) or "
            f"'fresh', or build the fresh one with context={have}"
        )
    note = f"the first {min(have, need):,} of {need if need > have else have:,} rows" if need != have else ""
    start = order.start(note, "extended" if need > have else "copied")
    return [_Step(new[0], extended_rows(old[0], new[0].parameter.detach()), start)]


def _write(fresh: Any, steps: list[_Step]) -> Table:
    """Do the steps; the table of what was done."""
    with torch.no_grad():
        for member, value, _ in steps:
            if value is None:
                member.parameter.requires_grad_(False)
            else:
                member.parameter.copy_(value)
    return table_of(fresh, {step.member.name: step.start for step in steps}, FRESH)
