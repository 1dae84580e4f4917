"""What a training step costs in floating-point operations, and how many a machine does: measured, and as its maker says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from uprior.bench.turns import Turn
from uprior.models.presets import flops_per_token as flops_of_weights

if TYPE_CHECKING:
    import torch

# Dense bfloat16 products per second as the makers' data sheets have them; the longest name that fits counts.
NOMINAL = {
    "H200": 989e12,
    "H100": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "A100": 312e12,
}
# Side of the square matrices that are multiplied: large enough for the full rate, small enough to take turns. Where a type is
# emulated, as bfloat16 is on processors without it, one such product takes minutes: there smaller ones do, down to SIDE_LEAST.
SIDE_CPU, SIDE_CUDA, SIDE_LEAST = 2048, 8192, 128
SECONDS = 0.25


def flops_per_token(model: Any, length: int) -> dict[str, float]:
    """Training FLOPs per token in rows of ``length`` tokens, forward and backward (twice the forward pass), three ways:

    weights         6 per parameter that multiplies (``models.presets.flops_per_token``; Kaplan et al. 2020)
    causal          and attention's two products for the positions that a token sees, (T + 1) / 2 of them on average:
                    weights + 6 L W (T + 1), L layers, W = heads x size of a head. What has to be computed
    whole           and for all T positions: weights + 12 L W T, the convention of PaLM (Chowdhery et al. 2022, appendix B)

    Recomputation, norms, softmax and the optimiser count nothing: this is work asked for, not work done.
    """
    config = model.config
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    weights = float(flops_of_weights(model))
    product = 6.0 * config.num_hidden_layers * width
    return {"weights": weights, "causal": weights + product * (length + 1), "whole": weights + 2 * product * length}


def nominal_flops(accelerator: str | None) -> float | None:
    """Nominal dense bfloat16 FLOP/s of an accelerator by its name; None where it is not known.

    >>> nominal_flops("NVIDIA H100 PCIe") / 1e12, nominal_flops("NVIDIA H200") / 1e12, nominal_flops(None)
    (756.0, 989.0, None)
    """
    found = [name for name in NOMINAL if name in (accelerator or "")]
    return NOMINAL[max(found, key=len)] if found else None


def multiply(turn: Turn) -> None:
    """A contestant that multiplies large matrices of normal numbers; its notes are FLOP/s {bfloat16, float32}."""
    import torch

    from uprior.train.hardware import device

    where = device()
    largest = SIDE_CUDA if where.type == "cuda" else SIDE_CPU
    operands = {}
    for dtype in (torch.bfloat16, torch.float32):
        side = SIDE_LEAST
        while side < largest and _seconds(1, *_operands(2 * side, dtype, where)) < SECONDS:
            side *= 2
        operands[dtype] = _operands(side, dtype, where)
    turn.begin()
    while True:
        turn.notes = {str(dtype).removeprefix("torch."): _rate(*three) for dtype, three in operands.items()}
        turn.step_done()


def _operands(side: int, dtype: torch.dtype, where: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two square matrices and room for their product."""
    import torch

    make = torch.Generator(device=where).manual_seed(0)
    a, b, out = (torch.randn(side, side, generator=make, device=where).to(dtype) for _ in range(3))
    return a, b, out


def _seconds(number: int, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> float:
    """What so many products take."""
    import torch

    started = time.perf_counter()
    for _ in range(number):
        torch.mm(a, b, out=out)
    if out.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _rate(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> float:
    """FLOP/s of a @ b, over about SECONDS."""
    _seconds(1, a, b, out)
    number = max(1, round(SECONDS / _seconds(1, a, b, out)))
    return number * 2 * float(out.shape[0]) ** 3 / _seconds(number, a, b, out)
