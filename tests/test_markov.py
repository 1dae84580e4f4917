"""Markov predictors against slow references and by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from uprior.errors import SpecError
from uprior.evals import (
    Markov,
    MarkovMix,
    Predictor,
    markov,
)

few_symbols = stnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(2, 40)), elements=st.integers(0, 2))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def windows_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)[None]


def slow_counts(window: bytes, order: int, counted: np.ndarray) -> list[tuple[int, int, int]]:
    """(same, context, different) for positions 1..T-1, from lists of everything seen."""
    seen: list[tuple[bytes, int]] = []
    out = []
    for t, byte in enumerate(window):
        past = window[t - order : t] if t >= order else None
        if t >= 1:
            after = Counter(b for p, b in seen if p == past)
            out.append((after[byte], sum(after.values()), len(after)))
        if past is not None and (t == 0 or counted[t - 1]):
            seen.append((past, byte))
    return out


@settings(max_examples=60, deadline=None)
@given(windows=few_symbols, order=st.integers(0, 5), data=st.data())
def test_counts_equal_the_slow_reference(windows: np.ndarray, order: int, data: st.DataObject) -> None:
    counted = data.draw(stnp.arrays(np.bool_, (windows.shape[0], windows.shape[1] - 1)))
    for mask in (counted, np.ones_like(counted)):
        fast = np.stack(markov.context_counts(windows, order, mask), axis=-1)
        slow = [slow_counts(w.tobytes(), order, m) for w, m in zip(windows, mask, strict=True)]
        assert np.array_equal(fast, np.array(slow))


@pytest.mark.parametrize("order", range(6))
def test_counts_equal_the_slow_reference_on_long_windows_of_all_bytes(rng: np.random.Generator, order: int) -> None:
    noise = rng.integers(0, 256, (2, 300), dtype=np.uint8)
    windows = np.concatenate([noise, np.tile(noise[:, :100], 3), np.full((1, 300), 255, np.uint8)])
    everything = np.ones(299, dtype=np.bool_)
    fast = np.stack(markov.context_counts(windows, order), axis=-1)
    assert np.array_equal(fast, np.array([slow_counts(w.tobytes(), order, everything) for w in windows]))


def test_markov_worked_by_hand() -> None:
    # abab, order 1, lambda 1, alphabet of 4. b after a: a is new, 1/4. a after b: b is new, 1/4. b after a: seen once, and
    # once with b: 2/5.
    nats = Markov(1, 1.0, alphabet_size=4).nats(windows_of("abab"))
    assert np.exp(-nats) == pytest.approx(np.array([[1 / 4, 1 / 4, 2 / 5]]))
    # Order 0 knows the first byte: b new among 1 seen, a once among 2, b once among 3.
    nats = Markov(0, 0.5, alphabet_size=256).nats(windows_of("abab"))
    assert np.exp(-nats) == pytest.approx(np.array([[0.5 / 129, 1.5 / 130, 1.5 / 131]]))
    # Order 3 has a context only for the last byte, and it is new.
    assert np.exp(-Markov(3, 0.1).nats(windows_of("abab"))) == pytest.approx(1 / 256)


def test_windows_counted_in_groups_are_windows_counted_at_once(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = rng.integers(97, 101, (7, 40), dtype=np.uint8)
    predictors = [Markov(2, 0.1), MarkovMix(3, 0.5)]
    whole = [p.nats(windows) for p in predictors]
    fitted = [markov.fit_markov(windows).settings, markov.fit_markov_mix(windows).settings]
    for size in (1, 80, 40 * 7):
        monkeypatch.setattr(markov, "GROUP_BYTES", size)
        assert all(np.array_equal(p.nats(windows), nats) for p, nats in zip(predictors, whole, strict=True))
        assert [markov.fit_markov(windows).settings, markov.fit_markov_mix(windows).settings] == fitted


def slow_mix(window: bytes, order: int, discount: float) -> np.ndarray:
    """[T-1, 256] the whole blended distribution before each of bytes 1..T-1."""
    tables: list[dict[bytes, Counter[int]]] = [{} for _ in range(order + 1)]
    out = []
    for t, byte in enumerate(window):
        p = np.full(256, 1 / 256)
        reached = [k for k in range(order + 1) if t >= k]
        for k in reached:
            seen = tables[k].get(window[t - k : t], Counter())
            if total := sum(seen.values()):
                lower, p = p, np.zeros(256)
                for b in range(256):
                    p[b] = (max(seen[b] - discount, 0) + discount * len(seen) * lower[b]) / total
        out.append(p)
        for k in reversed(reached):  # from the highest order down, until one has seen the byte here already
            seen = tables[k].setdefault(window[t - k : t], Counter())
            known = seen[byte] > 0
            seen[byte] += 1
            if known:
                break
    return np.array(out[1:])


@settings(max_examples=25, deadline=None)
@given(windows=few_symbols, order=st.integers(0, 5), discount=st.sampled_from(markov.DISCOUNTS))
def test_blended_orders_equal_the_slow_reference_which_sums_to_one(
    windows: np.ndarray, order: int, discount: float
) -> None:
    fast = np.exp(-MarkovMix(order, discount).nats(windows))
    for window, got in zip(windows, fast, strict=True):
        distribution = slow_mix(window.tobytes(), order, discount)
        assert distribution.sum(axis=1) == pytest.approx(1)
        assert got == pytest.approx(distribution[np.arange(len(window) - 1), window[1:]])


def test_fitting_finds_order_and_smoothing(rng: np.random.Generator) -> None:
    # Every byte tells the next, but in each window by another permutation: order 1 with hardly any smoothing.
    rows = []
    for _ in range(8):
        follows, row = rng.permutation(8), [0]
        for _ in range(200):
            row.append(int(follows[row[-1]]) if rng.random() < 0.9 else int(rng.integers(8)))
        rows.append(row)
    fitted = markov.fit_markov(np.array(rows, dtype=np.uint8))
    assert fitted.order == 1 and fitted.name == "markov" and fitted.settings["smoothing"] in markov.SMOOTHINGS
    candidates = {
        (k, s): Markov(k, s).nats(np.array(rows, np.uint8))[:, 100:].mean() for k in range(6) for s in markov.SMOOTHINGS
    }
    assert (fitted.order, fitted.smoothing) == min(candidates, key=candidates.__getitem__)
    mixed = markov.fit_markov_mix(np.array(rows, dtype=np.uint8))
    blends = {
        (k, d): MarkovMix(k, d).nats(np.array(rows, np.uint8))[:, 100:].mean()
        for k in range(6)
        for d in markov.DISCOUNTS
    }
    assert (mixed.order, mixed.discount) == min(blends, key=blends.__getitem__)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Markov(6, 1.0), "order = 6 is not allowed; allowed: 0 to 5"),
        (lambda: Markov(1, 0.0), "smoothing = 0.0 is not allowed"),
        (lambda: Markov(1, 1.0, alphabet_size=257), "alphabet_size = 257"),
        (lambda: MarkovMix(-1, 0.5), "order = -1"),
        (lambda: MarkovMix(1, 1.0), "discount = 1.0"),
    ],
)
def test_impossible_markov_settings(make: Callable[[], Predictor], part: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert part in str(caught.value)
