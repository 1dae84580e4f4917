"""The loop that everybody writes, for comparison: eager float32, AdamW, one batch after the other (as nanoGPT's default)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from uprior.types import Batch


def train(
    model: Any,
    batches: Iterable[Batch],
    where: torch.device,
    *,
    learning_rate: float = 1e-3,
    warmup_steps: int = 20,
    weight_decay: float = 0.1,
    clip: float = 1.0,
) -> Iterator[torch.Tensor]:
    """Train ``model`` in place; yields each step's loss, the mean over scored tokens in nats."""
    model.to(where).train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / warmup_steps)
        tokens = torch.from_numpy(batch.tokens).to(where)
        scored = torch.from_numpy(batch.scored).to(where)
        targets = tokens[:, 1:].masked_fill(~scored[:, 1:], -100)
        logits = model(input_ids=tokens).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.detach()
