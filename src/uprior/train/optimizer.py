"""AdamW with weight decay on matrices only."""

from __future__ import annotations

from typing import Any

import torch

from uprior.train.settings import Training


def make_optimizer(model: Any, training: Training) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), fused. Matrices decay; vectors (norms, biases) do not.

    Frozen parameters (``requires_grad`` False) are left out.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        fused=True,
    )
