"""The coordinate check: how far activations move in the first steps, at several widths (Yang et al. 2022, appendix D.1).

records = coordinates(model, batch, Training(learning_rate=0.01, base_width=32))      # once per width
slopes(records, "change")     # {(step, where): d log2(change) / d log2(width)}; near 0 everywhere if widths transfer
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import linear_regression
from typing import Any

import torch

from uprior.train.loss import scored_sum
from uprior.train.optimizer import make_optimizer, set_rate
from uprior.train.settings import Training
from uprior.types import Batch


def train_steps(model: Any, batches: Iterable[Batch], training: Training) -> Iterator[float]:
    """Train in memory, in float32, without a run directory: yields after every step the loss in nats before it."""
    optimizer = make_optimizer(model.train(), training)
    for step, batch in enumerate(batches):
        tokens, scored = torch.from_numpy(batch.tokens), torch.from_numpy(batch.scored)
        loss = scored_sum(model(input_ids=tokens, use_cache=False).logits, tokens, scored)[0] / scored[:, 1:].sum()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        set_rate(optimizer, training.rate(step))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.item()


def coordinates(model: Any, batch: Batch, training: Training, *, steps: int = 5) -> list[dict[str, Any]]:
    """One record {width, step, where, size, change} for the output of every block and the logits, after 0..``steps`` steps.

    All steps train on the same ``batch``. ``size`` is the mean absolute activation over batch, positions and channels;
    ``change`` is that of the difference from step 0. ``model`` is trained in place.
    """
    records: list[dict[str, Any]] = []
    first: dict[str, torch.Tensor] = {}
    taken = train_steps(model, [batch] * steps, training)
    for step in range(steps + 1):
        if step:
            next(taken)
        found = _activations(model, torch.from_numpy(batch.tokens))
        for where, activation in found.items():
            change = activation - first.setdefault(where, activation)
            record = {"size": float(activation.abs().mean()), "change": float(change.abs().mean())}
            records.append({"width": int(model.config.hidden_size), "step": step, "where": where, **record})
    return records


def slopes(records: Sequence[dict[str, Any]], what: str) -> dict[tuple[int, str], float]:
    """(step, where) -> least-squares slope of log2(``what``) against log2(width): 0 is flat, 1 is doubling with the width.

    ``what`` is "size" or "change". Places without any change (step 0) are left out.
    """
    points: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for record in records:
        if record[what] > 0:
            point = (math.log2(record["width"]), math.log2(record[what]))
            points.setdefault((record["step"], record["where"]), []).append(point)
    return {key: linear_regression(*zip(*found, strict=True)).slope for key, found in points.items()}


@torch.no_grad()
def _activations(model: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output [B, T, H] of every block and the logits [B, T, V], float32."""
    found: dict[str, torch.Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for number, block in enumerate(_blocks(model)):

            def keep(_module: Any, _inputs: Any, output: Any, where: str = f"block {number}") -> None:
                found[where] = (output if isinstance(output, torch.Tensor) else output[0]).detach().float().clone()

            hooks.callback(block.register_forward_hook(keep).remove)
        logits = model(input_ids=tokens, use_cache=False).logits.float()
        found["logits"] = logits - logits.mean(dim=-1, keepdim=True)  # what all share is nothing to a softmax
    return found


def _blocks(model: Any) -> list[torch.nn.Module]:
    """The stack of blocks: the module list with the most parameters."""
    stacks = [list(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return max(stacks, key=lambda blocks: sum(p.numel() for block in blocks for p in block.parameters()))
