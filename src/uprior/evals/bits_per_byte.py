"""Zero-shot bits per byte: predictors side by side on the same windows of data never trained on.

Protocol after Bloem 2025 (arXiv 2506.20057), who reports the last position of windows of 512 bytes, mended: no dropout,
no padding before the data's start, the same windows for everyone, an interval on every number, and all positions as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora import Corpus, possible_windows
from uprior.errors import MissingExtraError, SpecError, unknown_name
from uprior.evals._base import PositionBits, Predictor, Uniform
from uprior.rng import generator

RESAMPLES = 1000
CURVE_POINTS = 24
BASELINES = ("uniform", "markov", "markov-mix", "deflate", "bz2", "lzma", "ppmd")

Floats = NDArray[np.float64]


def evaluate(
    predictors: Iterable[Predictor],
    corpus: Corpus,
    *,
    context: int = 256,
    positions: int = 1000,
    seed: int = 0,
    split: str = "test",
) -> list[dict[str, Any]]:
    """One result per predictor, JSON-ready, measured on exactly the same windows of ``context`` bytes.

    Each window is read on its own: nothing is remembered from one to the next. Its first byte is given, bytes 2 to
    ``context`` are predicted. ``positions`` is the number of windows, less where the split has fewer different ones. Windows
    are a pure function of (the corpus, context, positions, seed, split), so calls can be compared too, e.g. baselines
    computed once and a model again and again.

    Fields: ``file, predictor, context, positions`` and, in bits per byte, ``bits_last, se_last`` at the last position of a
    full window and ``bits_mean, se_mean`` over all; ``curve_positions`` (bytes already read, on average in each of some
    log-spaced bins) with ``curve_bits`` between ``curve_low`` and ``curve_high``; ``n_bytes`` in the split, ``split``,
    ``seed``; and the predictor's own settings, e.g. ``order`` and ``smoothing``. Standard errors and intervals (95 %) are
    bootstrapped over windows, the same resamples for every predictor; windows may overlap where the split is short, which
    they do not know. Raises CorpusError, SpecError, and what the predictors raise.
    """
    if positions < 2:
        raise SpecError(f"evaluate: positions = {positions} is not allowed; allowed: 2 or more windows")
    n_bytes = corpus.data(split).size
    # Where the data is too short for a single window, the call below says so.
    count = min(positions, max(1, possible_windows(n_bytes, context, corpus.align)))
    windows = corpus.windows(split, count, context, "evaluate", seed)
    resamples = _resamples(count, seed)
    shared = {"context": context, "positions": count}
    closing = {"n_bytes": n_bytes, "split": split, "seed": seed}
    results = []
    for predictor in predictors:
        measured = _summary(predictor.bits(windows), resamples)
        head = {"file": corpus.label, "predictor": predictor.name, **shared}
        results.append({**head, **measured, **closing, **predictor.settings})
    return results


def baselines(
    corpus: Corpus,
    context: int = 256,
    *,
    names: Sequence[str] | None = None,
    windows: int = 1000,
    seed: int = 0,
    split: str = "train",
    true_alphabet: bool = False,
) -> list[Predictor]:
    """The predictors to hold a model against, tuned on ``windows`` windows of another split than the one evaluated.

    ``names`` from uniform, markov, markov-mix, deflate, bz2, lzma, ppmd; None means all, without ppmd where pyppmd is not
    installed. ``true_alphabet`` gives markov the number of different bytes in ``split``, as the published baseline had it.
    Raises UnknownNameError, CorpusError, and MissingExtraError for ppmd asked for by name.
    """
    from uprior.evals import compressors

    if names is None:
        names = [name for name in BASELINES if name != "ppmd" or compressors.has_ppmd()]
    for name in names:
        if name not in BASELINES:
            raise unknown_name("baseline", name, BASELINES)
    if "ppmd" in names and not compressors.has_ppmd():
        raise MissingExtraError("pyppmd", "ppmd")
    tuning = corpus.windows(split, windows, context, "tune", seed)
    alphabet_size = len(np.unique(corpus.data(split))) if true_alphabet else 256
    return [_baseline(name, tuning, alphabet_size) for name in names]


def _baseline(name: str, tuning: NDArray[np.uint8], alphabet_size: int) -> Predictor:
    from uprior.evals import compressors, markov

    if name == "markov":
        return markov.fit_markov(tuning, alphabet_size=alphabet_size)
    if name == "markov-mix":
        return markov.fit_markov_mix(tuning)
    if name == "ppmd":
        return compressors.fit_ppmd(tuning[:200])  # eight orders to try, at 60 us and more a window
    untuned = {
        "deflate": compressors.deflate,
        "bz2": compressors.bzip2,
        "lzma": compressors.lzma_raw,
        "uniform": Uniform,
    }
    return untuned[name]()


# ------------------------------------------------------------------ from costs to numbers


def _resamples(count: int, seed: int) -> Floats:
    """[R, W] how often each window comes in each bootstrap resample of all windows."""
    rng = generator("evals", "bootstrap", seed, count)
    return rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)


def _summary(cost: PositionBits, resamples: Floats) -> dict[str, Any]:
    """Means over windows, with bootstrapped standard errors and intervals."""
    edges, per_window = _columns(cost)
    middle = (edges[:-1] + edges[1:] - 1) / 2
    # [R, 2 + bins] in one product: last position, mean, then the curve
    resampled = resamples @ per_window / per_window.shape[0]
    values, spread = per_window.mean(axis=0), resampled.std(axis=0)
    low, high = np.percentile(resampled[:, 2:], (2.5, 97.5), axis=0)
    return {
        "bits_last": float(values[0]),
        "se_last": float(spread[0]),
        "bits_mean": float(values[1]),
        "se_mean": float(spread[1]),
        "curve_positions": middle.tolist(),
        "curve_bits": values[2:].tolist(),
        "curve_low": low.tolist(),
        "curve_high": high.tolist(),
    }


def _columns(cost: PositionBits) -> tuple[NDArray[np.int64], Floats]:
    """The curve's edges, and [W, 2 + bins] bits per byte: of the last stretch, of all, of each bin of the curve."""
    sizes = np.diff(cost.edges)
    bins = curve_bins(cost.edges)
    edges = np.append(cost.edges[bins], cost.edges[-1])
    curve = np.add.reduceat(cost.bits, bins, axis=1) / np.diff(edges)
    last = cost.bits[:, -1] / sizes[-1]
    mean = cost.bits.sum(axis=1) / sizes.sum()
    return edges, np.column_stack([last, mean, curve])


def curve_bins(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which stretches begin a bin of the curve: all of them if few, else log-spaced, so that the early ones stay apart.

    >>> curve_bins(np.arange(1, 5)).tolist()
    [0, 1, 2]
    """
    if len(edges) <= CURVE_POINTS + 1:
        return np.arange(len(edges) - 1)
    targets = np.geomspace(max(1, edges[0]), edges[-1], CURVE_POINTS + 1)[:-1]
    return np.unique(np.searchsorted(edges[:-1], targets))
