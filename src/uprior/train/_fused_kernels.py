"""What a transformer does between its matrix products, on bfloat16 in place, in one pass each.

PyTorch runs every elementwise operation of a norm, a rotation, a softmax or a gate as a pass of its own over memory; on a CPU
whose matrix unit multiplies bfloat16 these passes take most of a training step (docs/LOG.md). NumPy has no bfloat16: arrays are
its bits, uint16. Sums are taken in float32, in an order that does not depend on the number of threads.

Shape letters: N = B T rows, T positions, H heads, G key-value heads, D width of a head, W width of the model, I inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

Bits = NDArray[np.uint16]
Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

# Rows of a gradient of a norm's weights are summed in this many pieces, whatever the number of threads.
PIECES = 16
# Rows of scores are worked on in whole multiples of this many, the width of a few vector registers.
_LANES = 32
_MINUS_INFINITY = np.uint16(0xFF80)
_ONE, _HALF = np.float32(1.0), np.float32(0.5)
_LOG2_E, _LN2 = np.float32(1.4426950409), np.float32(0.69314718056)
_T2, _T3, _T4 = (np.float32(1 / f) for f in (2, 6, 24))
_LOWEST = np.float32(-80.0)


def _parallel(function: Function) -> Function:
    return cast(Function, numba.njit(parallel=True, cache=True, nogil=True, fastmath=True)(function))


def _inlined(function: Function) -> Function:
    return cast(Function, numba.njit(cache=True, nogil=True, fastmath=True, inline="always")(function))


@_inlined
def _wide(bits: Any) -> Any:
    """bfloat16 bits as float32."""
    return np.int32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@_inlined
def _narrow(x: Any) -> Any:
    """float32 as bfloat16 bits, rounded to the nearest, ties to even."""
    bits = np.float32(x).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@_inlined
def _exp(x: Any) -> Any:
    """exp of a float32 up to 80 (below -80, that of -80), by Taylor's series after taking out powers of two.

    Its relative error is below 1e-4, a fortieth of what rounding to bfloat16 costs.
    """
    x = x if x > _LOWEST else _LOWEST
    n = np.floor(x * _LOG2_E + _HALF)
    r = x - n * _LN2
    p = ((_T4 * r + _T3) * r + _T2) * r * r + r + _ONE
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@_parallel
def causal_softmax(scores: Bits, scale: Any) -> None:
    """scores [B H, T, T] become softmax(scale * scores) over positions 0..t of each row t, and 0 after them."""
    matrices, length, _ = scores.shape
    for m in prange(matrices):
        weight = np.empty(length, dtype=np.float32)
        for t in range(length):
            row = scores[m, t]
            end = min(length, (t + _LANES) // _LANES * _LANES)
            for j in range(t + 1, end):
                row[j] = _MINUS_INFINITY
            # The largest, found among integers in the order of the floats: that comparison runs on many at once.
            largest = np.int32(-40000)
            for j in range(end):
                bits = np.int32(np.int16(row[j]))
                largest = max(largest, np.int32(bits ^ ((bits >> np.int32(15)) & np.int32(0x7FFF))))
            bits = np.int32(largest ^ ((largest >> np.int32(15)) & np.int32(0x7FFF)))
            top = _wide(np.uint16(bits & np.int32(0xFFFF))) * scale
            for j in range(end):
                weight[j] = _exp(_wide(row[j]) * scale - top)
            total = np.float32(0)
            for j in range(end):
                total += weight[j]
            share = _ONE / total
            for j in range(end):
                row[j] = _narrow(weight[j] * share)
            for j in range(t + 1, length):
                row[j] = np.uint16(0)


@_parallel
def causal_softmax_backward(chance: Bits, gradient: Bits, scale: Any) -> None:
    """gradient [B H, T, T] with respect to the softmax's result ``chance`` becomes that with respect to the scores."""
    matrices, length, _ = chance.shape
    for m in prange(matrices):
        for t in range(length):
            p, g = chance[m, t], gradient[m, t]
            end = min(length, (t + _LANES) // _LANES * _LANES)
            mean = np.float32(0)
            for j in range(end):
                mean += _wide(p[j]) * _wide(g[j])
            for j in range(end):
                g[j] = _narrow(_wide(p[j]) * (_wide(g[j]) - mean) * scale)
            for j in range(end, length):
                g[j] = np.uint16(0)


@_inlined
def _turn_pairs(x: Any, half: Any, cosine: Any, sine: Any, sign: Any, out: Any) -> None:
    for d in range(half):
        a, b, s = _wide(x[d]), _wide(x[half + d]), sign * sine[d]
        out[d] = _narrow(a * cosine[d] - b * s)
        out[half + d] = _narrow(b * cosine[d] + a * s)


@_inlined
def _turn(x: Any, cosine: Any, sine: Any, sign: Any, out: Any) -> None:
    """out [D] = one head x [D], its pairs turned by their angles, backwards if ``sign`` is -1."""
    half = len(cosine)
    if half == 16:  # loops of a length that the compiler knows are twice as fast, and these are what models have
        _turn_pairs(x, 16, cosine, sine, sign, out)
    elif half == 32:
        _turn_pairs(x, 32, cosine, sine, sign, out)
    else:
        _turn_pairs(x, half, cosine, sine, sign, out)


@_parallel
def split_and_rotate(joint: Bits, cosine: Floats, sine: Floats, queries: Bits, keys: Bits, values: Bits) -> None:
    """joint [N, (H + 2 G) D] -> queries [B, H, T, D] and keys [B, G, T, D], rotated by position, and values [B, G, T, D].

    cosine, sine [T, D / 2]: rotary positions (Su et al. 2021) in the layout of Llama, pairs half a head apart.
    """
    batch, heads, length, width = queries.shape
    groups = keys.shape[1]
    for b in prange(batch):
        for t in range(length):
            row = joint[b * length + t]
            for h in range(heads + groups):
                _turn(
                    row[h * width : (h + 1) * width],
                    cosine[t],
                    sine[t],
                    _ONE,
                    queries[b, h, t] if h < heads else keys[b, h - heads, t],
                )
            for h in range(groups):
                out = values[b, h, t]
                for d in range(width):
                    out[d] = row[(heads + groups + h) * width + d]


@_parallel
def split_and_rotate_backward(
    joint: Bits, cosine: Floats, sine: Floats, queries: Bits, keys: Bits, values: Bits
) -> None:
    """The gradient [N, (H + 2 G) D] from those of queries, keys and values: the rotation the other way round."""
    batch, heads, length, width = queries.shape
    groups = keys.shape[1]
    for b in prange(batch):
        for t in range(length):
            row = joint[b * length + t]
            for h in range(heads + groups):
                _turn(
                    queries[b, h, t] if h < heads else keys[b, h - heads, t],
                    cosine[t],
                    sine[t],
                    -_ONE,
                    row[h * width : (h + 1) * width],
                )
            for h in range(groups):
                g = values[b, h, t]
                for d in range(width):
                    row[(heads + groups + h) * width + d] = g[d]


@_parallel
def gate(joint: Bits, out: Bits) -> None:
    """out [N, I] = silu(joint[:, :I]) * joint[:, I:] (SwiGLU, Shazeer 2020)."""
    rows, inner = out.shape
    for n in prange(rows):
        x, o = joint[n], out[n]
        for i in range(inner):
            a = _wide(x[i])
            o[i] = _narrow(a / (_ONE + _exp(-a)) * _wide(x[inner + i]))


@_parallel
def gate_backward(joint: Bits, gradient: Bits, out: Bits) -> None:
    """out [N, 2 I]: the gradient of ``joint`` from that of the gate's result [N, I]."""
    rows, inner = gradient.shape
    for n in prange(rows):
        x, g, o = joint[n], gradient[n], out[n]
        for i in range(inner):
            a, b, c = _wide(x[i]), _wide(x[inner + i]), _wide(g[i])
            s = _ONE / (_ONE + _exp(-a))
            o[i] = _narrow(c * b * s * (_ONE + a * (_ONE - s)))
            o[inner + i] = _narrow(c * a * s)


@_parallel
def add_and_normalise(
    stream: Bits, update: Bits, weight: Floats, epsilon: Any, total: Bits, scale: Floats, out: Bits
) -> None:
    """total [N, W] = stream + update; out = weight * total / rms(total) (RMSNorm, Zhang and Sennrich 2019).

    scale [N] keeps 1 / rms for the way back. An ``update`` of no rows adds nothing.
    """
    rows, width = stream.shape
    adds = update.shape[0] > 0
    for n in prange(rows):
        x, y, o = stream[n], total[n], out[n]
        squares = np.float32(0)
        if adds:
            u = update[n]
            for w in range(width):
                y[w] = _narrow(_wide(x[w]) + _wide(u[w]))
        else:
            for w in range(width):
                y[w] = x[w]
        for w in range(width):
            squares += _wide(y[w]) * _wide(y[w])
        s = _ONE / np.sqrt(squares / np.float32(width) + epsilon)
        scale[n] = s
        for w in range(width):
            o[w] = _narrow(_wide(y[w]) * s * weight[w])


@_parallel
def add_and_normalise_backward(
    total: Bits, weight: Floats, scale: Floats, of_total: Bits, of_out: Bits, out: Bits, of_weight: Floats
) -> None:
    """out [N, W]: the gradient of stream and update alike; of_weight [PIECES, W]: parts of the weight's gradient, from zero."""
    rows, width = total.shape
    for piece in prange(PIECES):
        part = of_weight[piece]
        for n in range(piece * rows // PIECES, (piece + 1) * rows // PIECES):
            y, g, t, o = total[n], of_out[n], of_total[n], out[n]
            s, along = scale[n], np.float32(0)
            for w in range(width):
                product = _wide(y[w]) * _wide(g[w])
                along += product * weight[w]
                part[w] += product * s
            along *= s * s * s / np.float32(width)
            for w in range(width):
                o[w] = _narrow(_wide(g[w]) * weight[w] * s - _wide(y[w]) * along + _wide(t[w]))
