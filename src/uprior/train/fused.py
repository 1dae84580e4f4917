"""A faster way to the same hidden states: Llama models on CPUs with a bfloat16 matrix unit.

``fused_hidden`` reads the weights of a ``transformers`` model, which stays as it is: training, saving and loading know nothing
of it. Between the matrix products, which stay PyTorch's, everything is fused (``_fused_kernels``); queries, keys and values are
one product, as are the two halves of a gated MLP. Weights stay float32 and are rounded to bfloat16 in every step, as autocast
does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from uprior.train import _fused_kernels as kernels

Forward = Callable[[torch.Tensor], torch.Tensor | None]
_BFLOAT16 = torch.bfloat16
# Scores of all positions against all stand in memory: longer rows are left to attention in blocks.
LONGEST = 1024


def fused_hidden(model: Any) -> Forward | None:
    """ids [B, T] -> what the readout reads, bfloat16 [B, T, W], differentiable; None for models it cannot do.

    It can do LlamaForCausalLM in float32 on the CPU, without biases, dropout, scaled rotations or hooks, which is what the
    Llama presets are. Rows longer than LONGEST give None. The gradient is that of bfloat16 arithmetic with float32 sums, and
    the same bits for any number of threads as far as PyTorch's products are.
    """
    config = model.config
    simple = (
        type(model).__name__ == "LlamaForCausalLM"
        and config.hidden_act == "silu"
        and not (config.attention_bias or config.mlp_bias or config.attention_dropout)
        and model.model.rotary_emb.rope_type == "default"
        and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    )
    if not simple:
        return None

    def forward(tokens: torch.Tensor) -> torch.Tensor | None:
        if tokens.shape[1] > LONGEST:
            return None
        threads = torch.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        torch.set_num_threads(threads)  # numba's OpenMP layer sets them all to work when it starts
        return _hidden(model, tokens)

    return forward


def _hidden(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    batch, length = tokens.shape
    config, inner = model.config, model.model
    positions = _rotations(inner.rotary_emb, length)
    stream = torch.nn.functional.embedding(tokens.reshape(-1), inner.embed_tokens.weight).to(_BFLOAT16)
    update = stream.new_empty(0, stream.shape[1])
    for layer in inner.layers:
        attention, mlp, first, second = (
            layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm
        )  # fmt: skip
        stream, x = _add_and_normalise(stream, update, first.weight, first.variance_epsilon)
        joint = x @ _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        shape = (batch, length, config.num_attention_heads, config.num_key_value_heads, attention.head_dim)
        update = _attend(joint, *positions, shape) @ _joined(attention.o_proj)
        stream, x = _add_and_normalise(stream, update, second.weight, second.variance_epsilon)
        update = _gate(x @ _joined(mlp.gate_proj, mlp.up_proj)) @ _joined(mlp.down_proj)
    _, x = _add_and_normalise(stream, update, inner.norm.weight, inner.norm.variance_epsilon)
    return x.view(batch, length, -1)


def _joined(*layers: Any) -> torch.Tensor:
    """[in, all outputs] the weights of linear layers side by side, in bfloat16."""
    return torch.cat([layer.weight.to(_BFLOAT16) for layer in layers]).t()


def _rotations(embedding: Any, length: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cosine, sine [T, D / 2] of the model's rotary positions."""
    cosine, sine = embedding(torch.zeros(1), torch.arange(length)[None])
    half = cosine.shape[-1] // 2
    return cosine[0, :, :half].contiguous().numpy(), sine[0, :, :half].contiguous().numpy()


def _bits(tensor: torch.Tensor) -> NDArray[np.uint16]:
    """The memory of a contiguous bfloat16 tensor."""
    return cast(NDArray[np.uint16], tensor.detach().view(torch.int16).numpy().view(np.uint16))


class _AddAndNormalise(torch.autograd.Function):
    """(stream + update, its RMSNorm)."""

    @staticmethod
    def forward(ctx: Any, stream: torch.Tensor, update: torch.Tensor, weight: torch.Tensor, epsilon: float) -> Any:
        total, out = torch.empty_like(stream), torch.empty_like(stream)
        scale = np.empty(len(stream), dtype=np.float32)
        kernels.add_and_normalise(
            _bits(stream), _bits(update), weight.detach().numpy(), np.float32(epsilon), _bits(total), scale, _bits(out)
        )
        ctx.save_for_backward(total, weight)
        ctx.scale, ctx.adds = scale, len(update) > 0
        return total, out

    @staticmethod
    def backward(ctx: Any, of_total: torch.Tensor, of_out: torch.Tensor) -> Any:
        total, weight = ctx.saved_tensors
        out = torch.empty_like(total)
        of_weight = np.zeros((kernels.PIECES, total.shape[1]), dtype=np.float32)
        kernels.add_and_normalise_backward(
            _bits(total), weight.detach().numpy(), ctx.scale, _bits(of_total.contiguous()), _bits(of_out.contiguous()),
            _bits(out), of_weight,
        )  # fmt: skip
        return out, out if ctx.adds else None, torch.from_numpy(of_weight.sum(axis=0)), None


class _Attention(torch.autograd.Function):
    """joint queries, keys and values [N, (H + 2 G) D] -> what causal attention with rotary positions gives, [N, H D]."""

    @staticmethod
    def forward(
        ctx: Any, joint: torch.Tensor, cosine: Any, sine: Any, shape: tuple[int, int, int, int, int]
    ) -> torch.Tensor:
        batch, length, heads, groups, width = shape
        queries = joint.new_empty(batch, heads, length, width)
        keys, values = (joint.new_empty(batch, groups, length, width) for _ in range(2))
        kernels.split_and_rotate(_bits(joint), cosine, sine, *map(_bits, (queries, keys, values)))
        q, k, v = (_per_head(x, heads) for x in (queries, keys, values))
        chance = torch.bmm(q, k.transpose(1, 2))
        kernels.causal_softmax(_bits(chance), np.float32(width**-0.5))
        ctx.save_for_backward(q, k, v, chance)
        ctx.positions, ctx.shape = (cosine, sine), shape
        out = torch.bmm(chance, v).view(batch, heads, length, width)
        return out.transpose(1, 2).reshape(batch * length, heads * width)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        q, k, v, chance = ctx.saved_tensors
        batch, length, heads, groups, width = ctx.shape
        g = gradient.view(batch, length, heads, width).transpose(1, 2).reshape(batch * heads, length, width)
        of_v = torch.bmm(chance.transpose(1, 2), g)
        of_scores = torch.bmm(g, v.transpose(1, 2))
        kernels.causal_softmax_backward(_bits(chance), _bits(of_scores), np.float32(width**-0.5))
        of_q, of_k = torch.bmm(of_scores, k), torch.bmm(of_scores.transpose(1, 2), q)
        joint = gradient.new_empty(batch * length, (heads + 2 * groups) * width)
        parts = (
            of_q.view(batch, heads, length, width),
            _per_group(of_k, batch, groups),
            _per_group(of_v, batch, groups),
        )
        kernels.split_and_rotate_backward(_bits(joint), *ctx.positions, *map(_bits, parts))
        return joint, None, None, None


def _per_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, G, T, D] -> [B H, T, D]: a group's keys or values for each of its heads."""
    batch, groups, length, width = x.shape
    if heads == groups:
        return x.view(batch * heads, length, width)
    return x.repeat_interleave(heads // groups, dim=1).view(batch * heads, length, width)


def _per_group(x: torch.Tensor, batch: int, groups: int) -> torch.Tensor:
    """[B H, T, D] -> [B, G, T, D]: the sum over the heads of each group."""
    heads, length, width = x.shape
    if heads == batch * groups:
        return x.view(batch, groups, length, width)
    return x.view(batch, groups, -1, length, width).sum(dim=2)


class _Gate(torch.autograd.Function):
    """[N, 2 I] -> [N, I], silu of the first half times the second."""

    @staticmethod
    def forward(ctx: Any, joint: torch.Tensor) -> torch.Tensor:
        out = joint.new_empty(joint.shape[0], joint.shape[1] // 2)
        kernels.gate(_bits(joint), _bits(out))
        ctx.save_for_backward(joint)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (joint,) = ctx.saved_tensors
        out = torch.empty_like(joint)
        kernels.gate_backward(_bits(joint), _bits(gradient.contiguous()), _bits(out))
        return out


# torch leaves ``apply`` untyped.
_add_and_normalise: Callable[..., tuple[torch.Tensor, torch.Tensor]] = cast(Any, _AddAndNormalise).apply
_attend: Callable[..., torch.Tensor] = cast(Any, _Attention).apply
_gate: Callable[..., torch.Tensor] = cast(Any, _Gate).apply
