"""What each parameter of a live model is for: one of six roles, and the layer it is in.

| role | parameters |
|---|---|
| attention | all of a block's attention: queries, keys, values, output projection, norms of queries and keys |
| mlp | all of a block's MLP |
| norms | the blocks' norms, and the last norm |
| embeddings | the token table |
| positions | a learned table of positions; rotary models have none |
| head | the readout, where it is a tensor of its own |

A role is read off the module that holds a parameter, never off a checkpoint's names. The groups are those of the procedural
papers (Jiang, Shinnick et al. 2026: ``attn``, ``ffn``, ``ln``, ``embed``), with ``embed`` taken apart into its three tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from uprior.errors import SpecError, unknown_name
from uprior.models.presets import context_of

ROLES = ("attention", "mlp", "norms", "embeddings", "positions", "head")
BLOCK_ROLES = ("attention", "mlp", "norms")


class Member(NamedTuple):
    """One parameter: its full name, role, layer (None outside the blocks), its name inside the block, and itself."""

    name: str
    role: str
    layer: int | None
    local: str
    parameter: nn.Parameter


def members(model: Any) -> tuple[Member, ...]:
    """Every parameter of a causal model of ``transformers``, each once; a shared tensor stands under its first name.

    Raises SpecError: not such a model, or a parameter has none of the roles (mixtures of experts, encoders with type tables).
    """
    check_model(model, "model")
    stack = _stack_name(model)
    modules = dict(model.named_modules())
    found = []
    for name, parameter in model.named_parameters():
        layer, local = None, name
        if name.startswith(stack + "."):
            index, _, local = name.removeprefix(stack + ".").partition(".")
            layer = int(index)
        found.append(Member(name, _role(model, modules, name, parameter), layer, local, parameter))
    return tuple(found)


def chosen(model: Any, parts: Iterable[str], layers: Iterable[int] | None) -> tuple[Member, ...]:
    """The parameters of some roles; those of blocks only in ``layers`` (None: all).

    The last norm reads what the last layer wrote, so it counts to that layer.
    """
    roles, kept, last = named_parts(parts), named_layers(layers, depth(model)), depth(model) - 1
    return tuple(
        member
        for member in members(model)
        if member.role in roles
        and (member.role not in BLOCK_ROLES or (last if member.layer is None else member.layer) in kept)
    )


def named_parts(parts: Iterable[str]) -> tuple[str, ...]:
    """Role names, checked; one text is one role. Raises UnknownNameError."""
    given = (parts,) if isinstance(parts, str) else tuple(parts)
    for part in given:
        if part not in ROLES:
            raise unknown_name("part", str(part), ROLES)
    return given


def named_layers(layers: Iterable[int] | int | None, depth: int) -> tuple[int, ...]:
    """Layer numbers, checked against the model's depth; None is all of them. Raises SpecError."""
    if layers is None:
        return tuple(range(depth))
    allowed = f"0 to {depth - 1}, such as layers=range({max(1, depth // 2)})"
    if isinstance(layers, int):
        raise SpecError(f"layers = {layers} is not allowed; type layers=({layers},), or numbers from {allowed}")
    given = tuple(layers)
    for layer in given:
        if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < depth:
            raise SpecError(f"layer {layer!r} is not allowed in a model of {depth} layers; allowed: {allowed}")
    if not given:
        raise SpecError(f"layers is empty; allowed: None for all, or numbers from {allowed}")
    return given


def depth(model: Any) -> int:
    """How many blocks the model has."""
    return int(model.config.num_hidden_layers)


def is_tied(model: Any) -> bool:
    """True where token table and head are one tensor."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def check_model(model: Any, what: str) -> None:
    """Raise SpecError unless this is a live model of ``transformers``."""
    if not isinstance(model, nn.Module) or not hasattr(model, "get_output_embeddings"):
        given = f"'{model}'" if isinstance(model, str) else f"a {type(model).__name__}"
        hint = f"uprior.load({model!r})" if isinstance(model, str) else "uprior.load(FOLDER) or uprior.build(NAME)"
        raise SpecError(f"{what} is {given}, not a model of transformers; type {hint}")


def _stack_name(model: Any) -> str:
    """The name of the list of blocks."""
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth(model)
    ]
    if not lists:
        raise SpecError(
            f"{type(model).__name__} has no list of its {depth(model)} blocks, so nothing in it has a layer; "
            "use a causal model built like Llama, GPT-2 or GPT-NeoX"
        )
    return str(lists[0])


def _role(model: Any, modules: dict[str, nn.Module], name: str, parameter: nn.Parameter) -> str:
    """The role of one parameter: that of the outermost module around it that has one."""
    head = model.get_output_embeddings()
    for role, table in (("embeddings", model.get_input_embeddings()), ("head", head)):
        if table is not None and any(parameter is own for own in table.parameters()):
            return role
    steps = name.split(".")
    for end in range(1, len(steps)):
        owner = modules[".".join(steps[:end])]
        kind = type(owner).__name__
        if kind.endswith("Attention"):
            return "attention"
        if kind.endswith("MLP"):
            return "mlp"
        if "Norm" in kind:
            return "norms"
        if isinstance(owner, nn.Embedding) and owner.num_embeddings >= (context_of(model) or 1):
            return "positions"
    raise SpecError(
        f"{name} of {type(model).__name__} is none of {', '.join(ROLES)}; "
        "use a causal model built like Llama, GPT-2 or GPT-NeoX"
    )
