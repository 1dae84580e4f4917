"""A causal language model as a predictor of bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import CheckpointError, SpecError
from uprior.evals._base import Predictor, Windows

if TYPE_CHECKING:
    import torch

# Logits of one forward pass: at most this many numbers (256 MiB in float32).
MAX_LOGITS = 1 << 26
# And its tokens. On CPUs small passes are faster, since what one layer leaves is still in the cache for the next: on one core and
# in float32, 1.15 to 1.4 times as fast as with 16 thousand tokens (0.8 to 28 M parameters), in a sixth of the memory.
CPU_TOKENS, OTHER_TOKENS = 1 << 11, 1 << 14


def tokens_at_once(device: torch.device) -> int:
    """How many tokens a forward pass takes on this device."""
    return CPU_TOKENS if device.type == "cpu" else OTHER_TOKENS


class ModelPredictor(Predictor):
    """Reads each window with a causal model and takes the probabilities of its bytes as they come.

    ``model`` is a torch module called as ``model(input_ids=[B, T-1] int64, use_cache=False)`` with logits [B, T-1, V], as
    transformers' causal models are; byte b is token b. The softmax is over all V >= 256 logits: what a model gives to tokens
    that are no bytes is its own loss. Evaluation mode for the time of the call, so no dropout (the published evaluations ran
    with it), then each module's mode is as before. Logits are float32 unless ``autocast``, which computes the layers in bfloat16;
    the softmax is float32 in either case, and what it gives is kept in float64.

    Raises SpecError when the model's vocabulary is below 256 or its context below the window, CheckpointError when it gives
    NaN or infinity.
    """

    def __init__(self, model: torch.nn.Module, *, name: str = "model", autocast: bool = False) -> None:
        self.model, self.name, self.autocast = model, name, autocast

    def nats(self, windows: Windows) -> NDArray[np.float64]:
        import torch

        context = windows.shape[1]
        self._check_context(context)
        out = np.empty((windows.shape[0], context - 1), dtype=np.float64)
        logits = context * (self._config("vocab_size") or 256)
        with evaluating(self.model) as device, torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            rows = max(1, min(tokens_at_once(device) // context, MAX_LOGITS // logits))
            for start in range(0, windows.shape[0], rows):
                ids = torch.from_numpy(windows[start : start + rows].astype(np.int64)).to(device)
                out[start : start + rows] = self._losses(ids).double().cpu().numpy()
        if not np.isfinite(out).all():
            bad = int((~np.isfinite(out)).sum())
            raise CheckpointError(
                f"{self.name} gives NaN or infinity for {bad:,} of {out.size:,} bytes; take an earlier checkpoint"
            )
        return out

    def _losses(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T-1] -ln p of tokens 1..T-1, float32."""
        import torch

        logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
        if logits.shape[-1] < 256:
            raise SpecError(_vocabulary_error(self.name, logits.shape[-1]))
        logits = logits.float()
        chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
        losses: torch.Tensor = torch.logsumexp(logits, dim=-1) - chosen
        return losses

    def _check_context(self, context: int) -> None:
        """Before any work: a window the model has no positions for, or a vocabulary without all bytes."""
        limit, vocabulary = self._config("max_position_embeddings"), self._config("vocab_size")
        if limit is not None and context > limit:
            raise SpecError(
                f"{self.name} reads at most {limit} tokens; given: windows of {context}; give --context {limit}"
            )
        if vocabulary is not None and vocabulary < 256:
            raise SpecError(_vocabulary_error(self.name, vocabulary))

    def _config(self, field: str) -> int | None:
        """A number from the model's config, or None where it has none."""
        value: Any = getattr(getattr(self.model, "config", None), field, None)
        return value if isinstance(value, int) and value > 0 else None


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[torch.device]:
    """Evaluation mode (no dropout), no gradients; every module's mode is afterwards as it was. Gives the model's device."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield next((p.device for p in model.parameters()), torch.device("cpu"))
    finally:
        for module, training in modes:
            module.training = training


def _vocabulary_error(name: str, vocabulary: int) -> str:
    return f"{name} has a vocabulary of {vocabulary}; bytes need 256 or more; evaluate a model built with vocab=256"
