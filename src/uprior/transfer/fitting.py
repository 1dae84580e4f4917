"""Whether weights of one model mean the same in another: family, sizes, rotation, depth. Each refusal is one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from uprior.errors import CheckpointError, SpecError
from uprior.transfer.roles import depth, named_layers

# What else than shapes gives a role's weights their meaning. A configuration without such a field has None.
MEANING: dict[str, tuple[str, ...]] = {
    "attention": (
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx",
        "use_parallel_residual",
    ),
    "mlp": ("hidden_size", "intermediate_size", "hidden_act", "activation_function", "use_parallel_residual"),
    "norms": ("hidden_size",),
    "embeddings": ("hidden_size",),
    "positions": ("hidden_size",),
    "head": ("hidden_size",),
}
ROTATION = ("rope_parameters", "rope_theta", "rope_scaling", "partial_rotary_factor", "rotary_pct")


def check_family(trained: Any, fresh: Any) -> None:
    """Raise CheckpointError unless both models are of one architecture."""
    old, new = trained.config.model_type, fresh.config.model_type
    if old != new:
        raise CheckpointError(
            f"the trained model is a {old}, the fresh one a {new}: weights mean something within one family only; "
            f"build the fresh one as a {old}"
        )


def check_meaning(trained: Any, fresh: Any, roles: Iterable[str], *, rotation: bool) -> None:
    """Raise CheckpointError where a field that these roles depend on differs.

    ``rotation`` True: attention must turn with position alike, too.
    """
    for role in roles:
        for field, old, new in differences(trained, fresh, role, rotation=rotation):
            also = ", or type positions='fresh' to keep its own" if field in ROTATION else ""
            raise CheckpointError(
                f"{field} is {old} in the trained model and {new} in the fresh one, so its {role} would mean something else; "
                f"build the fresh one with {field}={old}, or leave {role!r} out of parts{also}"
            )


def differences(first: Any, second: Any, role: str, *, rotation: bool) -> Iterator[tuple[str, Any, Any]]:
    """(field, first model's value, second model's) for each field that gives a role its meaning, where they differ."""
    for field in MEANING[role] + (ROTATION if role == "attention" and rotation else ()):
        values = [getattr(model.config, field, None) for model in (first, second)]
        if values[0] != values[1]:
            yield field, values[0], values[1]


def layer_map(trained: Any, fresh: Any, layers: Iterable[int] | Mapping[int, int] | None) -> dict[int, int]:
    """Fresh layer -> the trained layer that it gets. Raises CheckpointError where depths differ and nothing is said."""
    old, new = depth(trained), depth(fresh)
    if isinstance(layers, Mapping):
        return dict(zip(named_layers(layers.keys(), new), named_layers(layers.values(), old), strict=True))
    if layers is None and old != new:
        raise CheckpointError(
            f"the trained model has {old} layers, the fresh one {new}; say which to copy: layers=range({min(old, new)}) for the "
            f"first, or fresh layer -> trained layer, layers={{0: 0, {new - 1}: {old - 1}}}"
        )
    return {layer: layer for layer in named_layers(layers, min(old, new))}


def check_shape(name: str, old: torch.Tensor, new: torch.Tensor, remedy: str) -> None:
    """Raise CheckpointError where a tensor does not fit."""
    if old.shape != new.shape:
        raise CheckpointError(
            f"{name} is {list(old.shape)} in the trained model and {list(new.shape)} in the fresh one; {remedy}"
        )


def check_vocabularies(vocabularies: Any, mode: str) -> None:
    """Raise SpecError unless vocabularies are a pair, given for partial matches."""
    if vocabularies is None:
        return
    if mode != "partial":
        raise SpecError(f"vocabularies are for embeddings='partial'; given: embeddings={mode!r}")
    if not isinstance(vocabularies, tuple | list) or len(vocabularies) != 2:
        raise SpecError("vocabularies must be a pair: (the trained model's, the fresh model's), each token -> id")
