"""How a step's loss is computed: whole logits, or part by part from hidden states, must be the same loss and gradients."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, PhiConfig

from uprior.models import build
from uprior.train import scorer as scorers
from uprior.train.loss import readout_scored_sum, scored_sum
from uprior.train.scorer import Scorer, has_plain_readout

CPU = torch.device("cpu")


def batch(rows=3, length=20, vocab=256):
    torch.manual_seed(rows)
    return torch.randint(0, vocab, (rows, length)), torch.rand(rows, length) < 0.6


def results(loss, nats, tensors):
    grads = torch.autograd.grad(3.0 * loss, tensors)
    return [loss.detach(), nats, *grads]


@pytest.mark.parametrize("at_once", [1, 50, 3 * 19 * 11, 1 << 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_part_by_part_is_the_loss_of_the_whole(at_once, dtype):
    tokens, scored = batch(vocab=11)
    hidden = torch.randn(3, 20, 8).to(dtype).requires_grad_()
    weight = torch.randn(11, 8, requires_grad=True)
    parts = results(*readout_scored_sum(hidden, weight, tokens, scored, logits_at_once=at_once), (hidden, weight))
    whole = results(*scored_sum(hidden @ weight.to(dtype).t(), tokens, scored), (hidden, weight))
    near = 1e-5 if dtype == torch.float32 else 0.02
    for found, expected in zip(parts, whole, strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert (found - expected).norm() <= near * expected.norm()


def test_where_nothing_counts_the_gradient_is_zero_and_the_nats_are_there():
    tokens, scored = batch(vocab=11)
    hidden, weight = torch.randn(3, 20, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    loss, nats, *gradients = results(*readout_scored_sum(hidden, weight, tokens, scored & False), (hidden, weight))
    assert loss == 0 and bool((nats > 0).all()) and not any(bool(g.any()) for g in gradients)


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny", "gpt-neox-5m"])
def test_many_logits_are_made_in_parts_with_the_same_result(name, monkeypatch):
    tokens, scored = batch()
    model = build(name, context=32)
    score = Scorer(model, "float32", CPU)
    whole = results(*score(tokens, scored), list(model.parameters()))
    calls = []
    monkeypatch.setattr(scorers, "LOGITS_AT_ONCE", 1000)
    monkeypatch.setattr(scorers, "readout_scored_sum", lambda *a: calls.append(1) or readout_scored_sum(*a))
    parts = results(*score(tokens, scored), list(model.parameters()))
    assert calls
    for found, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_readout_that_does_more_is_left_alone():
    assert has_plain_readout(build("llama-tiny")) and has_plain_readout(build("gpt2-tiny"))
    capped = Gemma2Config(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, head_dim=16,
                          num_key_value_heads=2, intermediate_size=64, final_logit_softcapping=0.5)  # fmt: skip
    biased = PhiConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    for config in (capped, biased):
        model = AutoModelForCausalLM.from_config(config)
        model.train()
        assert not has_plain_readout(model) and model.training


@pytest.mark.parametrize(
    ("precision", "whole", "fused"), [("float32", False, False), ("bfloat16", False, True), ("bfloat16", True, False)]
)
def test_llama_takes_the_fused_pass_in_bfloat16(precision, whole, fused, monkeypatch):
    tokens, scored = batch()
    model = build("llama-tiny", context=32)
    used = []
    monkeypatch.setattr(scorers, "readout_scored_sum", lambda *a: used.append(1) or readout_scored_sum(*a))
    loss, _ = Scorer(model, precision, CPU, whole=whole)(tokens, scored)
    exact, _ = scored_sum(model(input_ids=tokens).logits, tokens, scored)
    assert bool(used) == fused
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
