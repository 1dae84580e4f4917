"""AdamW with weight decay on matrices only, and learning rates per parameter where widths transfer."""

from __future__ import annotations

from typing import Any

import torch

from uprior.models.mup import factors
from uprior.train.settings import Training


def make_optimizer(model: Any, training: Training) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), fused. Matrices decay; vectors (norms, biases) do not.

    Frozen parameters (``requires_grad`` False) are left out. With ``training.base_width`` every group has its own share of
    the learning rate (``rate_share``, see ``uprior.models.mup``); its decay is divided by the share, because torch multiplies the
    decay by the rate, and what a step takes off a weight must not depend on the width.
    """
    shares = {}
    if training.base_width:
        found = factors(model, training.base_width, base_head_size=training.base_head_size)
        shares = {name: factor.rate for name, factor in found.items()}
    members: dict[tuple[bool, float], list[torch.nn.Parameter]] = {}
    for decays in (True, False):
        for name, p in model.named_parameters():
            if p.requires_grad and (p.ndim >= 2) == decays:
                members.setdefault((decays, shares.get(name, 1.0)), []).append(p)
    groups = [
        {"params": params, "weight_decay": training.weight_decay / share if decays else 0.0, "rate_share": share}
        for (decays, share), params in members.items()
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(training.beta1, training.beta2), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step: ``rate``, in every group times its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)
