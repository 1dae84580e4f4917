"""Neural arithmetic that gives the same bits on every IEEE machine, in kernels that release the GIL.

Matrix products of a BLAS, and exp and tanh of a C library, differ in their last bits between libraries,
machines and thread counts; a token sampled from them then differs too, and in a chaotic network so does
everything after it. Here every sum is taken in one fixed order, functions are polynomials, and nothing is fused
or reordered (no fastmath): the compiler may only work on several *outputs* at once. float32 throughout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile for exactness and speed, and keep the machine code on disk.

    numpy's error model: a division that could raise would keep the compiler from working on several elements at
    once. What is kept on disk is renewed when the kernel's own file changes, not when a file it takes functions
    from does: after an edit of this file, remove ``__pycache__``.
    """
    options = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    return cast(Function, numba.njit(**options)(function))


def internal(function: Function) -> Function:
    """The same for functions that only kernels call: no way in from Python, whose compilation takes a quarter of the time.

    A call from Python ends the process.
    """
    options = {
        "cache": True,
        "nogil": True,
        "error_model": "numpy",
        "no_cfunc_wrapper": True,
        "no_cpython_wrapper": True,
    }
    return cast(Function, numba.njit(**options)(function))


def inlined(function: Function) -> Function:
    """The same for small functions that are written out where they are used."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function))


# For integer arguments of kernels, which are compiled again for every literal.
NONE: Any = np.int64(0)
ONE: Any = np.int64(1)

# A token whose logit is this many nats below the largest is never written: the distribution is cut there, and the
# probabilities reported are those of the cut distribution. e^-17 is about the resolution of float32.
CUT_NATS = np.float32(17.0)

# tanh(x) = x P(x²) / Q(x²) on |x| <= 8, fitted by us (least squares, reweighted towards equal relative error):
# error 6.5e-9 before rounding, 3.3e-7 in float32 arithmetic, never above 1.
_P0, _P1, _P2, _P3, _P4 = (
    np.float32(c) for c in (1.0, 0.13444523513, 0.0035716278944, 2.1895137252e-05, 1.5231048422e-08)
)
_Q0, _Q1, _Q2, _Q3, _Q4 = (
    np.float32(c) for c in (1.0, 0.46777850389, 0.026164557785, 0.00034113400034, 8.5227111413e-07)
)
_EIGHT, _HALF, _ONE = np.float32(8.0), np.float32(0.5), np.float32(1.0)

# exp(x) = 2^n exp(r), |r| <= ln(2)/2, by Taylor's series to r^7; ln(2) in two parts so that n ln(2) loses no bits.
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950409), np.float32(0.693359375), np.float32(-2.12194440055e-4)
_T2, _T3, _T4, _T5, _T6, _T7 = (np.float32(1 / f) for f in (2, 6, 24, 120, 720, 5040))
_EXP_LOW, _EXP_HIGH = np.float32(-80.0), np.float32(80.0)
# Adding 1.5 * 2^23 rounds a float32 to a whole number n and leaves n in the lowest bits of its representation.
_ROUNDER, _BITS_OF_ONE = np.float32(12582912.0), np.int64(127 << 23)


@inlined
def tanh(x: Any) -> Any:
    """tanh of a float32, to 3.3e-7."""
    x = x if x < _EIGHT else _EIGHT
    x = x if x > -_EIGHT else -_EIGHT
    y = x * x
    p = (((_P4 * y + _P3) * y + _P2) * y + _P1) * y + _P0
    q = (((_Q4 * y + _Q3) * y + _Q2) * y + _Q1) * y + _Q0
    return x * p / q


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a float32, to 2e-7 absolute."""
    return _HALF + _HALF * tanh(_HALF * x)


@inlined
def exp(x: Any) -> Any:
    """exp of a float32 between -80 and 80, clamped there, to a relative 2e-7."""
    x = x if x < _EXP_HIGH else _EXP_HIGH
    x = x if x > _EXP_LOW else _EXP_LOW
    shifted = x * _LOG2_E + _ROUNDER
    n = shifted - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = (((((_T7 * r + _T6) * r + _T5) * r + _T4) * r + _T3) * r + _T2) * r * r + r + _ONE
    return p * np.int32((np.float32(shifted).view(np.int32) << 23) + _BITS_OF_ONE).view(np.float32)


@kernel
def add_product(out: Floats, left: Floats, right: Floats, rows: int) -> None:
    """out [N, J] += left [N, K] @ right [K, J] on the first ``rows`` rows, each sum in the order of k.

    Four rows at once read ``right`` once; the order of every sum is the same for any number of rows.
    """
    inner = right.shape[0]
    for first in range(0, rows - 3, 4):
        _add_product_4(out[first], out[first + 1], out[first + 2], out[first + 3], left, right, first)
    for row in range(rows - rows % 4, rows):
        o = out[row]
        for k in range(0, inner - 3, 4):
            a, b, c, d = left[row, k], left[row, k + 1], left[row, k + 2], left[row, k + 3]
            wa, wb, wc, wd = right[k], right[k + 1], right[k + 2], right[k + 3]
            for j in range(o.shape[0]):
                o[j] = o[j] + a * wa[j] + b * wb[j] + c * wc[j] + d * wd[j]
        for k in range(inner - inner % 4, inner):
            a, wa = left[row, k], right[k]
            for j in range(o.shape[0]):
                o[j] = o[j] + a * wa[j]


@internal
def _add_product_4(p: Floats, q: Floats, r: Floats, s: Floats, left: Floats, right: Floats, row: int) -> None:
    """The same for the four rows p, q, r, s of the result, which belong to rows row..row+3 of ``left``."""
    inner = right.shape[0]
    for k in range(0, inner - 3, 4):
        pa, pb, pc, pd = left[row, k], left[row, k + 1], left[row, k + 2], left[row, k + 3]
        qa, qb, qc, qd = left[row + 1, k], left[row + 1, k + 1], left[row + 1, k + 2], left[row + 1, k + 3]
        ra, rb, rc, rd = left[row + 2, k], left[row + 2, k + 1], left[row + 2, k + 2], left[row + 2, k + 3]
        sa, sb, sc, sd = left[row + 3, k], left[row + 3, k + 1], left[row + 3, k + 2], left[row + 3, k + 3]
        wa, wb, wc, wd = right[k], right[k + 1], right[k + 2], right[k + 3]
        for j in range(p.shape[0]):
            a, b, c, d = wa[j], wb[j], wc[j], wd[j]
            p[j] = p[j] + pa * a + pb * b + pc * c + pd * d
            q[j] = q[j] + qa * a + qb * b + qc * c + qd * d
            r[j] = r[j] + ra * a + rb * b + rc * c + rd * d
            s[j] = s[j] + sa * a + sb * b + sc * c + sd * d
    for k in range(inner - inner % 4, inner):
        pa, qa, ra, sa, wa = left[row, k], left[row + 1, k], left[row + 2, k], left[row + 3, k], right[k]
        for j in range(p.shape[0]):
            a = wa[j]
            p[j] = p[j] + pa * a
            q[j] = q[j] + qa * a
            r[j] = r[j] + ra * a
            s[j] = s[j] + sa * a


@internal
def largest(values: Floats) -> Any:
    """The largest of a row of float32: sixteen running maxima, as a single one would be a chain of comparisons."""
    size = values.shape[0]
    found = values[0]
    if size >= 16:
        lanes = np.empty(16, dtype=np.float32)
        for lane in range(16):
            lanes[lane] = values[lane]
        for first in range(16, size - 15, 16):
            for lane in range(16):
                value = values[first + lane]
                lanes[lane] = value if value > lanes[lane] else lanes[lane]
        for lane in range(16):
            found = max(found, lanes[lane])
    for i in range(size - size % 16, size):
        found = max(found, values[i])
    return found


@kernel
def choose(logits: Floats, temperature: Any, uniform: float, near: NDArray[np.int64], weight: Floats) -> Any:
    """(token, probability): a sample from softmax(logits / temperature) by inverse distribution function.

    ``uniform`` is in [0, 1); temperature 0 takes the first of the largest. ``near`` [A] and ``weight`` [A] are
    working space. The distribution is cut at CUT_NATS below the largest, so that near-argmax costs a handful of
    exponentials.
    """
    top = largest(logits)
    count = 0
    threshold = top - CUT_NATS * temperature
    for j in range(logits.shape[0]):
        if logits[j] >= threshold:
            near[count] = j
            count += 1
    if temperature == 0 or count == 1:
        return near[0], 1.0
    total = 0.0
    for i in range(count):
        weight[i] = exp((logits[near[i]] - top) / temperature)
        total += weight[i]
    target, below, picked = uniform * total, 0.0, count - 1
    for i in range(count):
        below += weight[i]
        if below > target:
            picked = i
            break
    return near[picked], weight[picked] / total


@kernel
def chance_of(logits: Floats, temperature: Any, token: int) -> Any:
    """The probability with which ``choose`` takes this token."""
    top, total = largest(logits), 0.0
    if temperature == 0:
        first = 0
        while logits[first] < top:
            first += 1
        return 1.0 if first == token else 0.0
    threshold = top - CUT_NATS * temperature
    for j in range(logits.shape[0]):
        if logits[j] >= threshold:
            total += exp((logits[j] - top) / temperature)
    return exp((logits[token] - top) / temperature) / total if logits[token] >= threshold else 0.0


@kernel
def scaled_uniform(words: NDArray[np.uint16], bound: Any) -> Any:
    """float32 evenly spread over (-bound, bound), one of 65,536 values from each 16-bit word."""
    out = np.empty(words.shape[0], dtype=np.float32)
    step = np.float32(bound / 65536)
    for i in range(words.shape[0]):
        out[i] = (np.float32(words[i]) * np.float32(2) - np.float32(65535)) * step
    return out


@functools.cache
def normal_quantiles() -> Floats:
    """[65536] the midpoints of 65,536 equally likely parts of N(0, 1); a 16-bit word picks one. The largest is 4.17.

    A table, because a ziggurat takes logarithms from the C library, which differ in the last bit between
    systems.
    """
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse(0.5 + (i + 0.5) / 65536) for i in range(32768)], dtype=np.float32)
    return np.concatenate([-upper[::-1], upper])


def random_words(rng: np.random.Generator, count: int) -> NDArray[np.uint16]:
    """``count`` 16-bit words, the same on machines of either byte order."""
    words = rng.integers(0, np.iinfo(np.uint64).max, -(-count // 4), dtype=np.uint64, endpoint=True)
    return words.astype("<u8", copy=False).view("<u2").astype(np.uint16, copy=False)[:count]
