"""Zero-shot bits per byte: predictors side by side on the same windows of data never trained on.

Protocol after Bloem 2025 (arXiv 2506.20057), who reports the last position of windows of 512 bytes, mended: no dropout,
no padding before the data's start, the same windows for everyone, an interval on every number, and all positions as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora import Corpus, possible_windows
from uprior.errors import MissingExtraError, SpecError, unknown_name
from uprior.evals._base import PositionBits, Predictor, Uniform, Windows, last_bytes
from uprior.host import peak_of_work
from uprior.rng import generator

RESAMPLES = 1000
CURVE_POINTS = 24
BASELINES = ("uniform", "markov", "markov-mix", "ctw", "deflate", "bz2", "lzma", "brotli", "ppmd")
SINGLE_ORDERS = tuple(f"markov-{order}" for order in range(6))  # by name only: their best is "markov"

Floats = NDArray[np.float64]


def evaluate(
    predictors: Iterable[Predictor],
    corpus: Corpus,
    *,
    context: int = 256,
    positions: int = 1000,
    seed: int = 0,
    split: str = "test",
    timed: bool = False,
) -> list[dict[str, Any]]:
    """One result per predictor, JSON-ready, measured on exactly the same windows of ``context`` bytes.

    Each window is read on its own: nothing is remembered from one to the next. Its first byte is given, bytes 2 to
    ``context`` are predicted. ``positions`` is the number of windows, less where the split has fewer different ones. Windows
    are a pure function of (the corpus, context, positions, seed, split), so calls can be compared too, e.g. baselines
    computed once and a model again and again.

    Fields: ``file, predictor, context, positions`` and, in bits per byte: ``bits_last, se_last`` at the last position of a
    full window (a compressor knows no single byte: over the last 32); ``bits_mean, se_mean`` over all positions; ``bits_tail,
    se_tail`` over the last 32, where everything can be compared; ``curve_positions`` (bytes already read, on average in each
    of some log-spaced bins) with ``curve_bits`` between ``curve_low`` and ``curve_high``. Then ``n_bytes`` in the split,
    ``split``, ``seed``, and the predictor's own settings, e.g. ``order`` and ``smoothing``. Standard errors and intervals (95 %)
    are bootstrapped over windows, the same resamples for every predictor; windows may overlap where the split is short, which
    they do not know. Raises CorpusError, SpecError, and what the predictors raise.

    ``timed`` adds what differs when it is done again. ``bytes_per_second``: all windows' bytes (a compressor's: those of all
    prefixes that it compressed) over wall time. ``peak_bytes``: how much more memory this process had meanwhile than before,
    the costs included; None where that cannot be told, and for PPMd, which works in processes of its own. A model's
    weights were there before, and a GPU's memory is not counted.
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
        cost, spent = _timed(predictor, windows) if timed else (predictor.bits(windows), {})
        head = {"file": corpus.label, "predictor": predictor.name, **shared}
        results.append({**head, **_summary(cost, resamples), **spent, **closing, **predictor.settings})
    return results


def _timed(predictor: Predictor, windows: Windows) -> tuple[PositionBits, dict[str, Any]]:
    """The costs, and what they took: speed and memory."""
    predictor.bits(windows[:1])  # what happens only once, such as compiling, is not its speed
    began = time.perf_counter()
    cost, peak_bytes = peak_of_work(lambda: predictor.bits(windows))
    seconds = time.perf_counter() - began
    return cost, {"bytes_per_second": predictor.bytes_read(windows) / seconds, "peak_bytes": peak_bytes}


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

    ``names`` from uniform, markov, markov-mix, ctw, deflate, bz2, lzma, brotli, ppmd, and markov-0 to markov-5, of one order
    each; None means BASELINES, as far as they are installed (brotli and ppmd are extras). ``true_alphabet`` tells
    markov (and markov-0 to markov-5) the number of different bytes in ``split``, as the published baseline had it. Raises
    UnknownNameError, CorpusError, and MissingExtraError for an extra asked for by name.
    """
    from uprior.evals import compressors

    if names is None:
        names = [name for name in BASELINES if compressors.installed(name)]
    for name in names:
        if name not in BASELINES + SINGLE_ORDERS:
            raise unknown_name("baseline", name, BASELINES + SINGLE_ORDERS)
        if not compressors.installed(name):
            raise MissingExtraError(compressors.EXTRAS[name], name)
    tuning = corpus.windows(split, windows, context, "tune", seed)
    alphabet_size = len(np.unique(corpus.data(split))) if true_alphabet else 256
    return [fitted(name, tuning, alphabet_size) for name in names]


def fitted(name: str, tuning: Windows, alphabet_size: int) -> Predictor:
    """The baseline of that name, its settings those that suit the windows ``tuning`` [W, T]."""
    from uprior.evals import compressors, ctw, markov, ppmd

    if name == "markov":
        return markov.fit_markov(tuning, alphabet_size=alphabet_size)
    if name in SINGLE_ORDERS:
        order = SINGLE_ORDERS.index(name)
        return markov.fit_markov(tuning, orders=(order,), alphabet_size=alphabet_size, name=name)
    if name == "markov-mix":
        return markov.fit_markov_mix(tuning)
    # These try many settings, at a microsecond a byte and setting.
    few = tuning[: min(200, max(20, (1 << 17) // tuning.shape[1]))]
    if name == "ctw":
        return ctw.fit_ctw(few)
    if name == "ppmd":
        return ppmd.fit_ppmd(few)
    untuned = {
        "deflate": compressors.deflate,
        "bz2": compressors.bzip2,
        "lzma": compressors.lzma_raw,
        "brotli": compressors.brotli,
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
    # [R, 3 + bins] in one product: last position, mean, tail, then the curve
    resampled = resamples @ per_window / per_window.shape[0]
    values, spread = per_window.mean(axis=0), resampled.std(axis=0)
    low, high = np.percentile(resampled[:, 3:], (2.5, 97.5), axis=0)
    return {
        "bits_last": float(values[0]),
        "se_last": float(spread[0]),
        "bits_mean": float(values[1]),
        "se_mean": float(spread[1]),
        "bits_tail": float(values[2]),
        "se_tail": float(spread[2]),
        "curve_positions": middle.tolist(),
        "curve_bits": values[3:].tolist(),
        "curve_low": low.tolist(),
        "curve_high": high.tolist(),
    }


def _columns(cost: PositionBits) -> tuple[NDArray[np.int64], Floats]:
    """The curve's edges, and [W, 3 + bins] bits per byte: of the last stretch, of all, of the tail, of each bin of the curve."""
    sizes = np.diff(cost.edges)
    bins = curve_bins(cost.edges)
    edges = np.append(cost.edges[bins], cost.edges[-1])
    curve = np.add.reduceat(cost.bits, bins, axis=1) / np.diff(edges)
    last = cost.bits[:, -1] / sizes[-1]
    mean = cost.bits.sum(axis=1) / sizes.sum()
    context = int(cost.edges[-1])
    # The stretches that lie in the last 32 bytes; the last one is there in any case.
    first = min(int(np.searchsorted(cost.edges, context - last_bytes(context))), len(sizes) - 1)
    tail = cost.bits[:, first:].sum(axis=1) / sizes[first:].sum()
    return edges, np.column_stack([last, mean, tail, curve])


def curve_bins(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which stretches begin a bin of the curve: all of them if few, else log-spaced, so that the early ones stay apart.

    >>> curve_bins(np.arange(1, 5)).tolist()
    [0, 1, 2]
    """
    if len(edges) <= CURVE_POINTS + 1:
        return np.arange(len(edges) - 1)
    targets = np.geomspace(max(1, edges[0]), edges[-1], CURVE_POINTS + 1)[:-1]
    return np.unique(np.searchsorted(edges[:-1], targets))
