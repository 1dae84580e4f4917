"""The loss: float32 cross-entropy over scored positions. Ours, never a model's own (its scaling has been wrong too often)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def token_nats(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[B, T-1] -log p in nats of tokens 1..T-1, each predicted from the logits [B, T, V] one position before it."""
    vocab = logits.shape[-1]
    nats = F.cross_entropy(logits[:, :-1].reshape(-1, vocab).float(), tokens[:, 1:].reshape(-1), reduction="none")
    return nats.view(tokens.shape[0], -1)


def scored_sum(logits: torch.Tensor, tokens: torch.Tensor, scored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of nats over scored positions (differentiable), and the nats [B, T-1] of all of them (detached).

    ``scored`` [B, T] is True where predicting this token counts; position 0 is given and never counts.
    """
    nats = token_nats(logits, tokens)
    return (nats * scored[:, 1:]).sum(), nats.detach()
