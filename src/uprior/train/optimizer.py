"""AdamW, or Muon with AdamW, with weight decay on matrices only, and learning rates per parameter where widths transfer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from uprior.models.mup import factors
from uprior.train.hardware import has_fast_bfloat16
from uprior.train.settings import Training


def make_optimizer(model: Any, training: Training) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), fused; or Muon for hidden matrices and AdamW for all else. Only matrices decay.

    Frozen parameters (``requires_grad`` False) are left out. With ``training.base_width`` every group has its own share of
    the learning rate (``rate_share``, see ``uprior.models.mup``); its decay is divided by the share, because torch multiplies the
    decay by the rate, and what a step takes off a weight must not depend on the width.

    Muon (Jordan et al. 2024) moves a matrix along its orthogonalised momentum. Its steps are scaled to the size of AdamW's
    (Liu et al. 2025, arXiv 2502.16982, section 2.2), so one learning rate and one weight decay serve both.
    """
    shares = {}
    if training.base_width:
        found = factors(model, training.base_width, base_head_size=training.base_head_size)
        shares = {name: factor.rate for name, factor in found.items()}
    hidden = _hidden_matrices(model) if training.optimizer == "muon" else set()
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for decays in (True, False):
        for name, p in model.named_parameters():
            if p.requires_grad and (p.ndim >= 2) == decays and p not in hidden:
                members.setdefault((decays, shares.get(name, 1.0)), []).append(p)
    groups = [
        {"params": params, "weight_decay": training.weight_decay / share if decays else 0.0, "rate_share": share}
        for (decays, share), params in members.items()
    ]
    betas = (training.beta1, training.beta2)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, betas=betas, fused=True)
    if not hasattr(torch.optim, "Muon"):
        training.reject("optimizer", f"adamw with torch {torch.__version__}; muon needs torch 2.9 or newer")
    parts: list[torch.optim.Optimizer] = []  # of what is not frozen: either can be left without parameters
    if hidden:
        kind = torch.optim.Muon if has_fast_bfloat16(next(model.parameters()).device) else _muon_in_float32()
        parts.append(
            kind(
                [p for p in model.parameters() if p in hidden],
                lr=training.learning_rate,
                weight_decay=training.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if groups:
        parts.append(torch.optim.AdamW(groups, lr=training.learning_rate, betas=betas, fused=True))
    return _Together(parts)


def kind_of(optimizer: torch.optim.Optimizer) -> str:
    """Which choice of ``Training.optimizer`` an optimiser made here is."""
    return "muon" if isinstance(optimizer, _Together) else "adamw"


def _hidden_matrices(model: Any) -> set[nn.Parameter]:
    """Trained matrices between embedding and readout: those that map activations to activations."""
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    readout = model.get_output_embeddings()
    tables |= set() if readout is None else {readout.weight}
    return {p for p in model.parameters() if p.requires_grad and p.ndim == 2} - tables


@cache
def _muon_in_float32() -> Any:
    """Muon whose Newton-Schulz steps are in float32: torch's are in bfloat16, which a CPU without it emulates, ten times slower.

    Made on demand, because torch before 2.9 has no Muon to inherit from.
    """

    class Float32Muon(torch.optim.Muon):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]  # closures are not used
            for group in self.param_groups:
                rate, momentum = group["lr"], group["momentum"]
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    state = self.state[p]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(p.grad)
                    average = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
                    update = p.grad.lerp(average, momentum) if group["nesterov"] else average
                    p.mul_(1 - rate * group["weight_decay"])
                    size = 0.2 * max(p.shape) ** 0.5  # match_rms_adamw
                    p.add_(_orthogonalised(update, group), alpha=-rate * size)

    return Float32Muon


def _orthogonalised(update: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    """[R, C]: every singular value brought near 1 by Newton-Schulz steps (Jordan et al. 2024), in the precision of ``update``."""
    a, b, c = group["ns_coefficients"]
    tall = update.shape[0] > update.shape[1]
    x = update.T if tall else update
    x = x / x.norm().clamp(min=group["eps"])  # then no singular value is above 1
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class _Together(torch.optim.Optimizer):
    """Optimisers of different parameters as one, with one list of groups and one state, so that it is saved as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state, start = self.param_groups[start:end], self.state, end

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # closures are not used
        for part in self.parts:
            part.step()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step: ``rate``, in every group times its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)
