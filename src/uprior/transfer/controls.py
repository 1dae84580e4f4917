"""Controls on weights: trained models whose weights keep their statistics and lose their structure. Carry them like any other.

If a control is worth as much as the trained weights, the warm-up found a scale, not a computation. The published control (code of
arXiv 2511.13945) permutes queries, keys and values within each head, and MLP matrices and biases whole; attention's output
projection and the norms stay. That is ``shuffled_weights(trained, per="head", output_projections=False)``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uprior.errors import SpecError, unknown_name
from uprior.models.mup import head_size
from uprior.rng import generator
from uprior.transfer.roles import Member, check_model, chosen

# What attention's output projection is called in the supported families.
OUTPUTS = ("o_proj", "c_proj", "dense", "out_proj")
PER = ("tensor", "head")


def shuffled_weights(
    trained: Any,
    parts: Iterable[str] = ("attention", "mlp"),
    layers: Iterable[int] | None = None,
    *,
    per: str = "tensor",
    output_projections: bool = True,
    seed: int = 0,
) -> Any:
    """A copy of the model with the values of each tensor permuted, a pure function of weights and arguments.

    per                 "tensor": anywhere within the tensor; "head": queries, keys and values (weights and biases) within
                        the part of their head, output projections within what reads that head; all else as by tensor
    output_projections  False leaves attention's output projections, weights and biases, as they were

    Fused matrices (GPT-2, GPT-NeoX) hold queries, keys and values of all heads; "head" tells them apart, "tensor" does not.
    Raises UnknownNameError (parts, per), SpecError (layers, seed).
    """
    if per not in PER:
        raise unknown_name("way of shuffling", str(per), PER)
    made, found = _copied(trained, parts, layers, seed)
    for member in found:
        if member.role == "attention" and _is_output(member) and not output_projections:
            continue
        rng = generator("shuffled weights", seed, per, member.name)
        heads = per == "head" and member.role == "attention"
        for piece in _heads(made, member) if heads else [member.parameter.detach()]:
            values = piece.flatten()[torch.from_numpy(rng.permutation(piece.numel())).to(piece.device)]
            piece.copy_(values.reshape(piece.shape))
    return made


def same_statistics(
    trained: Any,
    parts: Iterable[str] = ("attention", "mlp"),
    layers: Iterable[int] | None = None,
    *,
    seed: int = 0,
) -> Any:
    """A copy of the model with each tensor drawn anew from a normal distribution, a pure function of weights and arguments.

    Mean and standard deviation of each tensor are exactly those of its trained values (to float rounding); a tensor of one
    constant stays. Raises UnknownNameError (parts), SpecError (layers, seed).
    """
    made, found = _copied(trained, parts, layers, seed)
    for member in found:
        values = member.parameter.detach()
        own = values.double().cpu().numpy()
        drawn = _standardised(generator("same statistics", seed, member.name), own.size).reshape(own.shape)
        values.copy_(torch.from_numpy(own.mean() + own.std() * drawn))
    return made


def _copied(trained: Any, parts: Iterable[str], layers: Iterable[int] | None, seed: int) -> tuple[Any, list[Member]]:
    """A copy of the model, and those of its parameters that are chosen."""
    check_model(trained, "trained")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise SpecError(f"seed = {seed!r} is not allowed; allowed: a whole number")
    made = copy.deepcopy(trained)
    return made, list(chosen(made, parts, layers))


def _standardised(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """[size] normal draws, moved and scaled to mean 0 and standard deviation 1; one draw alone is 0."""
    drawn = rng.standard_normal(size)
    drawn -= drawn.mean()
    spread = float(drawn.std())
    return drawn / spread if spread else drawn


def _is_output(member: Member) -> bool:
    return member.local.split(".")[-2] in OUTPUTS


def _heads(model: Any, member: Member) -> Iterator[torch.Tensor]:
    """The parts of an attention's tensor that belong to one head and one of queries, keys, values, as views.

    They are consecutive along the axis of outputs, head size by head size, in every family: GPT-2's fused matrix is all queries,
    keys, values; GPT-NeoX's is head by head. An output projection is cut along its inputs; its bias, and norms of queries and
    keys, belong to no head and come whole.
    """
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, its weight transposed

    tensor, size = member.parameter.detach(), head_size(model)
    module = model.get_submodule(member.name.rpartition(".")[0])
    if not isinstance(module, torch.nn.Linear | Conv1D) or (_is_output(member) and tensor.ndim == 1):
        return iter((tensor,))
    transposed = isinstance(module, Conv1D) and tensor.ndim == 2
    axis = int(_is_output(member)) ^ int(transposed)
    return iter(torch.split(tensor, size, dim=axis))
