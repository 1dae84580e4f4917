"""The loss: float32 cross-entropy over scored positions. Ours, never a model's own (its scaling has been wrong too often)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F

# Logits that stand in memory at once where they are made row by row: 64 MiB in float32.
LOGITS_AT_ONCE = 1 << 24


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


def readout_scored_sum(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    tokens: torch.Tensor,
    scored: torch.Tensor,
    *,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``scored_sum`` of the logits ``hidden @ weight.T``, which never stand in memory whole.

    hidden [B, T, W] in any float type, which is also that of the products; weight [V, W]. At most ``logits_at_once``
    logits are made at a time, turned into their own gradient in place, and thrown away; so forward and backward pass cost
    the three products that they always cost, and memory for one part (as Liger-Kernel does it, Hsu et al. 2024, section 3.2).
    """
    width, length = hidden.shape[-1], tokens.shape[1]
    rows = hidden[:, :-1].reshape(-1, width)
    counts = scored[:, 1:].reshape(-1)
    loss, nats = _readout_nats(rows, weight, tokens[:, 1:].reshape(-1), counts, logits_at_once)
    return loss, nats.view(-1, length - 1)


class _ReadoutNats(torch.autograd.Function):
    """(sum of the nats that count, nats [N]); hidden [N, W], weight [V, W], targets [N], counts [N] bool."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, counts: torch.Tensor, at_once: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        readout = weight.to(hidden.dtype)
        nats = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        of_hidden, of_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        for part in range(0, len(hidden), max(1, at_once // len(weight))):
            at = slice(part, part + max(1, at_once // len(weight)))
            logits = (hidden[at] @ readout.t()).float()
            total = logits.logsumexp(1, keepdim=True)
            wanted = targets[at, None]
            nats[at] = (total - logits.gather(1, wanted)).view(-1)
            # From here on they are the gradient: softmax minus one-hot, where the token counts.
            logits.sub_(total).exp_().scatter_add_(1, wanted, logits.new_full(wanted.shape, -1.0))
            gradient = logits.mul_(counts[at, None]).to(hidden.dtype)
            torch.mm(gradient, readout, out=of_hidden[at])
            of_weight += gradient.t() @ hidden[at]
        ctx.save_for_backward(of_hidden, of_weight)
        ctx.mark_non_differentiable(nats)
        return (nats * counts).sum(), nats

    @staticmethod
    def backward(ctx: Any, of_loss: torch.Tensor, _: Any) -> Any:
        of_hidden, of_weight = ctx.saved_tensors
        return of_hidden * of_loss.to(of_hidden.dtype), of_weight * of_loss, None, None, None


# torch leaves ``apply`` untyped.
_readout_nats: Callable[..., tuple[torch.Tensor, torch.Tensor]] = cast(Any, _ReadoutNats).apply
