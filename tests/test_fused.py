"""The fused forward pass: the same hidden states and gradients as the model's own, for any number of threads."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from uprior.models import build
from uprior.train import _fused_kernels as kernels
from uprior.train.fused import fused_hidden
from uprior.train.loss import scored_sum


def grouped(**changes):
    """A Llama with fewer key-value heads than heads, a head of its own, and an odd length of context."""
    config = {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10,
        "intermediate_size": 70, "vocab_size": 33, "max_position_embeddings": 128, "initializer_range": 0.15,
        "tie_word_embeddings": False, "rms_norm_eps": 1e-4,
    }  # fmt: skip
    torch.manual_seed(3)
    return LlamaForCausalLM(LlamaConfig(**(config | changes)))


def batch(model, rows=3, length=77):
    torch.manual_seed(1)
    tokens = torch.randint(0, model.config.vocab_size, (rows, length))
    return tokens, torch.rand(tokens.shape) < 0.7


def fused_logits(model):
    hidden = fused_hidden(model)
    return lambda tokens: hidden(tokens) @ model.lm_head.weight.to(torch.bfloat16).t()


def loss_and_gradients(model, forward, tokens, scored):
    model.zero_grad()
    loss, _ = scored_sum(forward(tokens), tokens, scored)
    torch.autograd.backward(loss)
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def own(model):
    return lambda tokens: model(input_ids=tokens, use_cache=False).logits


def autocast(model):
    def forward(tokens):
        with torch.autocast("cpu", torch.bfloat16):
            return own(model)(tokens)

    return forward


def relative_error(found, exact):
    return float((found - exact).norm() / exact.norm())


MODELS = [lambda: build("llama-tiny", context=128), grouped]


@pytest.mark.parametrize("make", MODELS)
def test_as_near_to_float32_as_autocast_is(make):
    model = make()
    tokens, scored = batch(model)
    exact_loss, exact = loss_and_gradients(model, own(model), tokens, scored)
    _, cast = loss_and_gradients(model, autocast(model), tokens, scored)
    loss, gradients = loss_and_gradients(model, fused_logits(model), tokens, scored)
    assert abs(loss - exact_loss) < 2e-3 * exact_loss
    assert gradients.keys() == exact.keys()
    for name in exact:
        assert gradients[name].dtype == torch.float32
        assert relative_error(gradients[name], exact[name]) < max(0.03, 2 * relative_error(cast[name], exact[name])), (
            name
        )


def test_no_position_sees_the_future():
    model = grouped()
    forward = fused_logits(model)
    tokens, _ = batch(model)
    changed = tokens.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 33
    with torch.no_grad():
        before, after = forward(tokens), forward(changed)
    assert torch.equal(before[:, :40], after[:, :40]) and not torch.equal(before[:, 40], after[:, 40])


def test_the_same_bits_on_one_thread_and_two():
    model = grouped()
    tokens, scored = batch(model)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = loss_and_gradients(model, fused_logits(model), tokens, scored)
        torch.set_num_threads(2)
        two = loss_and_gradients(model, fused_logits(model), tokens, scored)
    finally:
        torch.set_num_threads(threads)
    assert one[0] == two[0]
    assert all(torch.equal(one[1][name], two[1][name]) for name in one[1])


def test_models_it_cannot_do_are_left_alone():
    assert fused_hidden(build("gpt2-tiny")) is None
    assert fused_hidden(grouped(attention_bias=True)) is None
    assert fused_hidden(grouped(attention_dropout=0.1)) is None
    assert fused_hidden(grouped(hidden_act="gelu")) is None
    assert fused_hidden(grouped().to(torch.bfloat16)) is None
    hooked = grouped()
    hooked.model.layers[0].register_forward_hook(lambda *_: None)
    assert fused_hidden(hooked) is None


def bits(values):
    return torch.tensor(np.asarray(values)).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def floats(array):
    return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).float()


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 100])
def test_softmax_against_torch(length):
    torch.manual_seed(length)
    scores = (20 * torch.randn(2, length, length)).to(torch.bfloat16)
    found = bits(scores.float())
    kernels.causal_softmax(found, np.float32(0.3))
    masked = (0.3 * scores.float()).masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
    torch.testing.assert_close(floats(found), torch.softmax(masked, -1), rtol=0.01, atol=1e-6)
    assert not floats(found).triu(1).any()


def test_rounding_is_torchs():
    torch.manual_seed(0)
    joint = torch.randn(4, 64).to(torch.bfloat16)
    out = np.empty((4, 32), dtype=np.uint16)
    kernels.gate(bits(joint.float()), out)
    exact = torch.nn.functional.silu(joint[:, :32].float()) * joint[:, 32:].float()
    assert (floats(out) == exact.to(torch.bfloat16).float()).float().mean() > 0.97  # exp differs in its last bit
    torch.testing.assert_close(floats(out), exact, rtol=0.01, atol=1e-6)
