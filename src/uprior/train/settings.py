"""What a training run is, apart from its model and its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from uprior.spec import Spec, parameter


@dataclass(frozen=True)
class Training(Spec):
    """Budget, optimiser and schedule of one stage.

    Schedules: ``constant`` after the warm-up; ``cosine`` down to ``final_share`` of the rate; ``wsd`` (warm-up, stable, decay:
    Hu et al. 2024, MiniCPM, section 4) linear down to ``final_share`` over the last ``decay_share`` of the steps.
    """

    name: ClassVar[str] = "training"
    steps: int = parameter(200, "optimiser steps", low=1, high=1 << 40)
    learning_rate: float = parameter(1e-3, "peak learning rate", low=1e-8, high=10.0)
    schedule: str = parameter("constant", "learning rate over time", choices=("constant", "cosine", "wsd"))
    warmup_steps: int = parameter(20, "steps of linear rise from 0", low=0, high=1 << 40)
    final_share: float = parameter(0.1, "last rate over peak rate, cosine and wsd", low=0.0, high=1.0)
    decay_share: float = parameter(0.2, "share of the steps that decays, wsd", low=0.0, high=1.0)
    optimizer: str = parameter("adamw", "muon: for hidden matrices, adamw for the rest", choices=("adamw", "muon"))
    weight_decay: float = parameter(0.1, "decoupled weight decay on matrices", low=0.0, high=10.0)
    beta1: float = parameter(0.9, "AdamW, decay of the mean", low=0.0, high=0.9999)
    beta2: float = parameter(0.95, "AdamW, decay of the variance", low=0.0, high=0.99999)
    base_width: int = parameter(
        0, "width of the model that the learning rate was found on (muP); 0: no transfer", low=0, high=1 << 20
    )
    base_head_size: int = parameter(0, "size of its attention heads; 0: as here", low=0, high=1 << 16)
    clip: float = parameter(1.0, "largest global gradient norm", low=1e-6, high=1e9)
    skip_nonfinite: int = parameter(
        0, "steps of NaN or infinite loss or gradient that may be skipped", low=0, high=1 << 40
    )
    micro_batch: int = parameter(0, "rows per forward pass; 0 means the whole batch", low=0, high=1 << 20)
    precision: str = parameter(
        "auto", "auto takes bfloat16 where hardware has it", choices=("auto", "bfloat16", "float32")
    )
    compile: str = parameter(
        "auto", "torch.compile; auto: on a GPU, where a run is long enough", choices=("auto", "on", "off")
    )
    recompute: str = parameter(
        "auto", "activations in the backward pass; auto: where they would not fit", choices=("auto", "on", "off")
    )
    checkpoint_every: int = parameter(100, "steps between checkpoints", low=1, high=1 << 40)
    keep: int = parameter(2, "checkpoints kept", low=2, high=1000)
    seed: int = parameter(0, "seed of dropout, where a model has it", low=0, high=1 << 62)

    def validate(self) -> None:
        if self.optimizer == "muon" and self.base_width:
            self.reject("optimizer", "adamw, where base_width is given: its factors are AdamW's")

    def rate(self, step: int) -> float:
        """The learning rate of a step (0-based): a pure function, so resuming needs no scheduler state."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "cosine":
            progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
            share = self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            return self.learning_rate * share
        decay_steps = max(1, round(self.steps * self.decay_share))
        left = min(1.0, (self.steps - step) / decay_steps)
        return self.learning_rate * (self.final_share + (1 - self.final_share) * left)


def rising_steps(steps: int) -> int:
    """Over how many of a real stage's steps its rate rises: 40, or a third of a short stage.

    AdamW's first steps are as large as its rate in every weight, whatever the gradients say; its variance is an average over 20
    steps (beta2 0.95). A prior that meets real data at full rate is destroyed within two steps (docs/LOG.md).

    >>> rising_steps(1000), rising_steps(30), rising_steps(1)
    (40, 10, 1)
    """
    return max(1, min(40, steps // 3))
