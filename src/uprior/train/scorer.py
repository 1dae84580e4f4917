"""What a step computes for some rows: the loss and every token's nats, by the fastest way that model and machine allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from uprior.train.hardware import autocast
from uprior.train.loss import LOGITS_AT_ONCE, readout_scored_sum, scored_sum


class Scorer(nn.Module):
    """(ids [B, T], scored [B, T]) -> what ``scored_sum`` gives, differentiable in the model's parameters.

    model       any causal model of ``transformers``. Where its logits are many, and are a matrix times its last hidden states,
                they are made part by part (``readout_scored_sum``)
    precision   of the products, "bfloat16" or "float32"; in bfloat16 on a CPU, Llama models have a fused pass (``fused``)
    fused       whether that pass may be taken: it knows no recomputing of activations
    compiled    run the model through ``torch.compile``, and not through the fused pass
    whole       the model can only be called as a whole: FSDP gathers its weights in that call
    """

    def __init__(
        self,
        model: Any,
        precision: str,
        where: torch.device,
        *,
        fused: bool = True,
        compiled: bool = False,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self._precision, self._where = precision, where
        self._has_readout = not whole and has_plain_readout(model)
        self._fused: Callable[[torch.Tensor], torch.Tensor | None] | None = None
        if fused and not compiled and self._has_readout and precision == "bfloat16" and where.type == "cpu":
            from uprior.train.fused import fused_hidden  # brings numba, which the other ways do without

            self._fused = fused_hidden(model)
        # Functions, not modules: a module kept here would be registered twice.
        self._call, self._call_base = _calling(model, compiled), _calling(model.base_model, compiled)

    def forward(self, tokens: torch.Tensor, scored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self._hidden(tokens) if self._has_readout else None
        if hidden is not None:
            return readout_scored_sum(hidden, self.model.get_output_embeddings().weight, tokens, scored)
        with autocast(self._precision, self._where):
            logits = self._call(input_ids=tokens, use_cache=False).logits
        return scored_sum(logits, tokens, scored)

    def _hidden(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """The last hidden states [B, T, W], where the loss is to be made from them; else None."""
        if self._fused is not None and (fused := self._fused(tokens)) is not None:
            return fused
        if tokens.numel() * self.model.config.vocab_size <= LOGITS_AT_ONCE:
            return None
        with autocast(self._precision, self._where):
            hidden: torch.Tensor = self._call_base(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden.to(torch.bfloat16) if self._precision == "bfloat16" else hidden


def _calling(model: Any, compiled: bool) -> Callable[..., Any]:
    # The shapes of a run hardly change, and kernels for any shape are slower.
    run: Any = torch.compile(model, dynamic=False) if compiled else model
    return lambda **inputs: run(**inputs)


def has_plain_readout(model: Any) -> bool:
    """Whether the logits are the last hidden states times the readout's weight and nothing else: seen on two tokens."""
    readout = model.get_output_embeddings()
    if type(readout) is not nn.Linear or getattr(readout, "bias", None) is not None or model.base_model is model:
        return False
    training: bool = model.training
    model.eval()
    with torch.no_grad():
        ids = torch.tensor([[0, 1]], device=readout.weight.device)
        logits = model(input_ids=ids, use_cache=False).logits
        found = getattr(model.base_model(input_ids=ids, use_cache=False), "last_hidden_state", None)
        plain = found is not None and torch.equal(readout(found), logits)
    model.train(training)
    return plain
