"""Context tree weighting against slow references and by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from uprior.errors import SpecError
from uprior.evals import ContextTreeWeighting, Predictor, ctw

few_symbols = stnp.arrays(
    np.uint8, st.tuples(st.integers(1, 2), st.integers(2, 10)), elements=st.sampled_from([0, 1, 200])
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def windows_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)[None]


# ------------------------------------------------------------------ two references


def decisions(window: bytes, t: int, depth: int) -> list[tuple[int, tuple[int, ...], int]]:
    """(place, the bytes before from the nearest on, bit) of the eight decisions of byte t; None stands before the window."""
    past = tuple(window[t - d] if d <= t else None for d in range(1, depth + 1))
    bits = format(window[t], "08b")
    return [(int("1" + bits[:n], 2), past, int(bits[n])) for n in range(8)]


def whole_probability(told: list[tuple[tuple[int, ...], int]], level: int, depth: int, smoothing: Fraction) -> Fraction:
    """P of a node from everything decided in it, as the definition has it."""
    estimate, counts = Fraction(1), [0, 0]
    for _, bit in told:
        estimate *= (counts[bit] + smoothing) / (sum(counts) + 2 * smoothing)
        counts[bit] += 1
    if level == depth:
        return estimate
    children = defaultdict(list)
    for past, bit in told:
        children[past[level]].append((past, bit))
    below = math.prod((whole_probability(c, level + 1, depth, smoothing) for c in children.values()), start=Fraction(1))
    return (estimate + below) / 2


def exact_nats(window: bytes, depth: int, smoothing: Fraction) -> list[float]:
    """-ln p of bytes 1..T-1: the probability of a whole prefix over that of the one before, in fractions."""
    told, known, out = defaultdict(list), defaultdict(lambda: Fraction(1)), []
    for t in range(len(window)):
        p = Fraction(1)
        for place, past, bit in decisions(window, t, depth):
            told[place].append((past, bit))
            whole = whole_probability(told[place], 0, depth, smoothing)
            p *= whole / known[place]
            known[place] = whole
        out.append(-math.log(p))
    return out[1:]


def slow_nats(window: bytes, depth: int, smoothing: float) -> np.ndarray:
    """The same from logarithms of whole probabilities that every node keeps."""
    counts = defaultdict(lambda: [0, 0])
    estimate, below, whole = defaultdict(float), defaultdict(float), defaultdict(float)
    out = []
    for t in range(len(window)):
        nats = 0.0
        for place, past, bit in decisions(window, t, depth):
            before, gained = whole[place, ()], 0.0
            for level in range(depth, -1, -1):
                node = (place, past[:level])
                estimate[node] += math.log((counts[node][bit] + smoothing) / (sum(counts[node]) + 2 * smoothing))
                counts[node][bit] += 1
                below[node] += gained
                mixed = np.logaddexp(estimate[node], below[node]) - math.log(2) if level < depth else estimate[node]
                gained, whole[node] = mixed - whole[node], mixed
            nats += before - whole[place, ()]
        out.append(nats)
    return np.array(out[1:])


@settings(max_examples=20, deadline=None)
@given(
    windows=few_symbols,
    depth=st.integers(0, 4),
    smoothing=st.sampled_from([Fraction(1, 2), Fraction(1, 16), Fraction(3)]),
)
def test_it_is_the_mixture_of_the_definition(windows: np.ndarray, depth: int, smoothing: Fraction) -> None:
    fast = ContextTreeWeighting(depth, float(smoothing)).nats(windows)
    for window, got in zip(windows, fast, strict=True):
        exact = exact_nats(window.tobytes(), depth, smoothing)
        assert got == pytest.approx(exact, rel=0, abs=1e-9)
        assert slow_nats(window.tobytes(), depth, float(smoothing)) == pytest.approx(exact, rel=0, abs=1e-9)


@pytest.mark.parametrize(("depth", "smoothing"), [(0, 0.5), (1, 1 / 64), (3, 1 / 8), (16, 0.5)])
def test_it_equals_the_slow_reference_on_all_bytes(rng: np.random.Generator, depth: int, smoothing: float) -> None:
    noise = rng.integers(0, 256, (1, 90), dtype=np.uint8)
    windows = np.concatenate([noise, np.tile(noise[:, :9], 10), rng.integers(65, 69, (1, 90)).astype(np.uint8)])
    fast = ContextTreeWeighting(depth, smoothing).nats(windows)
    slow = [slow_nats(window.tobytes(), depth, smoothing) for window in windows]
    assert np.abs(fast - np.array(slow)).max() < 1e-9


def test_weights_far_beyond_floating_point_come_back(rng: np.random.Generator) -> None:
    # Alternation makes order 0 worse by a bit per byte, a factor of 2^-1400 in the end; then order 1 is worse for as long, since
    # what it has learned is wrong.
    alternating = np.tile(np.array([97, 98], np.uint8), 700)
    window = np.concatenate([alternating, np.full(900, 97, np.uint8), rng.integers(97, 99, 100).astype(np.uint8)])
    fast = ContextTreeWeighting(1, 0.5).nats(window[None])[0]
    assert np.abs(fast - slow_nats(window.tobytes(), 1, 0.5)).max() < 1e-9
    # The other way: a depth that only loses, on noise.
    noise = rng.integers(0, 2, 2000).astype(np.uint8)
    deep = ContextTreeWeighting(6, 0.5).nats(noise[None])[0]
    assert np.abs(deep - slow_nats(noise.tobytes(), 6, 0.5)).max() < 1e-9
    assert deep[1000:].mean() == pytest.approx(math.log(2), abs=0.05)


# ------------------------------------------------------------------ by hand


def test_order_nought_worked_by_hand() -> None:
    # a = 01100001, b = 01100010. Each bit of the second a was decided once before, the same way: 3/4.
    assert np.exp(-ContextTreeWeighting(0).nats(windows_of("aa"))) == pytest.approx((3 / 4) ** 8)
    # b after a: six bits as before, the seventh the other way, the eighth at a place where nothing was decided yet.
    assert np.exp(-ContextTreeWeighting(0).nats(windows_of("ab"))) == pytest.approx((3 / 4) ** 6 * (1 / 4) * (1 / 2))
    # Beta(1/8, 1/8): one of one is (9/8) / (10/8), none of one 1/10.
    sparse = np.exp(-ContextTreeWeighting(0, 1 / 8).nats(windows_of("ab")))
    assert sparse == pytest.approx((9 / 10) ** 6 * (1 / 10) * (1 / 2))


def test_order_one_worked_by_hand() -> None:
    # aaa. The second a: its context, a, is new (1/2), the empty one gives 3/4, both have the same weight: 5/8 per bit.
    # The third: the empty context has 5/6 and context a 3/4; what came weighs them (3/4) to (1/2): (3 * 5/6 + 2 * 3/4) / 5 = 4/5.
    nats = ContextTreeWeighting(1).nats(windows_of("aaa"))
    assert np.exp(-nats) == pytest.approx(np.array([[(5 / 8) ** 8, (4 / 5) ** 8]]))


def test_probabilities_of_all_bytes_sum_to_one(rng: np.random.Generator) -> None:
    past = rng.integers(97, 100, 60).astype(np.uint8)
    windows = np.concatenate([np.tile(past, (256, 1)), np.arange(256, dtype=np.uint8)[:, None]], axis=1)
    nats = ContextTreeWeighting(3, 1 / 16).nats(windows)
    assert np.exp(-nats[:, -1]).sum() == pytest.approx(1, abs=1e-12)
    assert (nats[:, :-1] == nats[0, :-1]).all()  # what comes later changes nothing before


# ------------------------------------------------------------------ fitting, errors


def test_fitting_finds_depth_and_smoothing(rng: np.random.Generator) -> None:
    # In each window another word of five bytes over two symbols, again and again, so that one symbol back does not tell the next.
    words = rng.integers(97, 99, (12, 5)).astype(np.uint8)
    windows = np.tile(words, (1, 16))
    fitted = ctw.fit_ctw(windows)
    tried = {
        (depth, smoothing): ContextTreeWeighting(depth, smoothing).nats(windows)[:, 39:].mean()
        for depth in ctw.DEPTHS
        for smoothing in ctw.SMOOTHINGS
    }
    assert (fitted.depth, fitted.smoothing) == min(tried, key=tried.__getitem__) and fitted.depth >= 3
    assert fitted.settings == {"depth": fitted.depth, "smoothing": fitted.smoothing} and fitted.name == "ctw"
    coins = rng.integers(97, 99, (12, 120)).astype(np.uint8)
    assert ctw.fit_ctw(coins).depth == 0


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: ContextTreeWeighting(17), "ctw: depth = 17 is not allowed; allowed: 0 to 16"),
        (lambda: ContextTreeWeighting(-1), "depth = -1"),
        (lambda: ContextTreeWeighting(2, 0.0), "ctw: smoothing = 0.0 is not allowed; allowed: 1e-06 or more"),
        (lambda: ContextTreeWeighting(2, math.nan), "smoothing = nan"),
    ],
)
def test_impossible_settings(make: Callable[[], Predictor], part: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert part in str(caught.value)
