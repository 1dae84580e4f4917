"""What a run decides by itself from its size: whether compiling repays, and whether activations fit.

Pure functions of the run and the machine, so that a run that goes on decides as it did before.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from uprior.host import memory_bytes
from uprior.models.presets import flops_per_token
from uprior.train.parallel import BYTES_PER_PARAMETER
from uprior.train.settings import Training

# At the 2e14 FLOP/s that a large GPU makes of uncompiled code these take eight minutes. Compiling takes about one, and gains
# about a quarter of the rest. On CPUs it gained nothing (docs/LOG.md).
FLOPS_WORTH_COMPILING = 1e17
# Of the memory that weights, gradients and optimiser leave. Not of what is free just now, which may be another amount when a
# run goes on.
_USABLE = 0.6


def compiles(training: Training, model: Any, tokens: int, way: str, where: torch.device) -> bool:
    """Whether a run over ``tokens`` in all goes through ``torch.compile``. SpecError if it is asked to and cannot (fsdp)."""
    if way == "fsdp":
        if training.compile == "on":
            training.reject("compile", "auto or off with --parallel fsdp")
        return False
    if training.compile != "auto":
        return training.compile == "on"
    return where.type == "cuda" and flops_per_token(model) * tokens >= FLOPS_WORTH_COMPILING


def recomputes(training: Training, model: Any, rows: int, length: int, where: torch.device) -> bool:
    """Whether blocks forget their activations and compute them again in the backward pass (Chen et al. 2016).

    That costs a third more computation; so "auto" does it only where those of ``rows`` rows per pass would not fit into memory.
    SpecError if it is asked for and the model cannot.
    """
    able = bool(getattr(model, "supports_gradient_checkpointing", False))
    if training.recompute != "auto":
        if training.recompute == "on" and not able:
            training.reject("recompute", f"auto or off with {type(model).__name__}")
        return training.recompute == "on"
    room = _memory_bytes(where) - BYTES_PER_PARAMETER * sum(p.numel() for p in model.parameters())
    return able and activation_bytes(model, rows, length) > _USABLE * room


def recompute_activations(model: Any) -> None:
    """Have the blocks of a model compute their activations again in the backward pass."""
    if hasattr(model, "activation_checkpointing_enable"):  # transformers 5; its old name warns there
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})


def activation_bytes(model: Any, rows: int, length: int) -> int:
    """About what the backward pass of a transformer needs kept, in bytes: 32 W + 8 I per token and layer.

    Activations of two bytes: 16 of width W (norms and their float32 inputs, queries, keys, values, residuals) and 4 of the
    inner width I, with attention that keeps no scores (compare Korthikanti et al. 2022, section 4.1: 34 W, where I = 4 W).
    """
    config = model.config
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
    return int(rows * length * config.num_hidden_layers * (32 * width + 8 * inner))


def _memory_bytes(where: torch.device) -> float:
    """All memory of the device, or of this machine; infinite where it cannot be told."""
    if where.type == "cuda":
        return float(torch.cuda.get_device_properties(where).total_memory)
    return memory_bytes() or math.inf
