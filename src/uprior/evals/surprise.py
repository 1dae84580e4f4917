"""One file seen through a model: its cost beside other predictors, how it falls over context, where the model was surprised.

Shape letters: W windows, T bytes in a window.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora import Corpus
from uprior.errors import CorpusError, SpecError
from uprior.evals._base import PositionBits, Predictor, Windows, last_bytes
from uprior.evals.bits_per_byte import BASELINES, curve_bins, fitted
from uprior.evals.compressors import installed
from uprior.evals.model import ModelPredictor

Floats = NDArray[np.float64]

# Of a longer file so many bytes are read: some seconds for a model of five million parameters and the slower baselines.
MOST_BYTES = 1 << 15
# The baselines' settings are chosen on at most so many of the windows.
TUNED_ON = 32
# What a predictor that is given the first byte of a window pays for it here, so that all are charged for every byte.
GIVEN_BITS = 8.0
# A whole file up to this size is also given to xz, which takes about two seconds for so much.
WHOLE_FILE_BYTES = 1 << 22
# A place is worth showing if its byte was given less than one chance in sixteen, far enough into its window that there was
# something to go by, and apart from the others. One for each byte: what a model does not know it does not know everywhere.
SURPRISED_BITS, READ_BEFORE, APART = 4.0, 32, 48


@dataclass(frozen=True)
class Place:
    """A byte that surprised the model: which window and position, offset in the file, what it cost, what was likelier.

    ``expected`` are the likeliest bytes with their probabilities, best first.
    """

    window: int
    position: int
    offset: int
    bits: float
    expected: list[tuple[int, float]]


@dataclass(frozen=True)
class Surprise:
    """What was found in one file.

    starts   [W] int64, where windows begin; windows [W, T] their bytes, bits [W, T] what each cost the model (the first: 8)
    ranking  a JSON-ready record per predictor, the cheapest first; ``model`` is the name of the model's
    places   where the model was most surprised, the dearest first, of every byte at most one
    whole    bytes that xz makes of the whole file at once, None where it is too long to try
    """

    file: str
    model: str
    size: int
    starts: NDArray[np.int64]
    windows: Windows
    bits: Floats
    ranking: list[dict[str, Any]]
    places: list[Place]
    whole: int | None

    @property
    def is_whole(self) -> bool:
        """Whether the windows cover the file."""
        return self.windows.size >= self.size

    def record(self, predictor: str) -> dict[str, Any]:
        """The record of a predictor."""
        return next(record for record in self.ranking if record["predictor"] == predictor)

    @property
    def best_other(self) -> str:
        """The cheapest predictor that is not the model."""
        return str(next(record["predictor"] for record in self.ranking if record["predictor"] != self.model))


def surprise(
    model: Any, corpus: Corpus, *, context: int, most_bytes: int = MOST_BYTES, places: int = 5, name: str = "model"
) -> Surprise:
    """Measure a model and the baselines on the same windows of a whole file, each window on its own.

    ``context`` bytes to a window (all of a shorter file); of a file longer than ``most_bytes``, windows spread evenly. Everyone
    pays for every byte: 8 bits for a window's first where a predictor is given it. The baselines have those of a few dozen
    settings that suit these very windows best, which a compressor could say in a byte. Raises CorpusError for less than 2
    bytes, SpecError, and what the model raises.
    """
    for option, value, low in (("context", context, 2), ("places", places, 1), ("bytes", most_bytes, 1)):
        if value < low:
            raise SpecError(f"bits: {option} = {value} is not allowed; allowed: a whole number from {low}")
    content = corpus.content
    if content.size < 2:
        raise CorpusError(f"{corpus.label} has a single byte, which nothing can be predicted from; give a longer file")
    context = min(context, content.size)
    starts = window_starts(content.size, context, max(1, most_bytes // context))
    windows: Windows = np.ascontiguousarray(content[starts[:, None] + np.arange(context)])
    predictor = ModelPredictor(model, name=name)
    cost = predictor.bits(windows)
    tuning = windows[:: -(-len(windows) // TUNED_ON)]
    others = [fitted(other, tuning, 256) for other in BASELINES if installed(other)]
    shared = {"file": corpus.label, "context": context, "windows": len(starts), "n_bytes": content.size}
    ranking = [_record(predictor, cost, shared), *(_record(other, other.bits(windows), shared) for other in others)]
    bits = np.column_stack([np.full(len(starts), GIVEN_BITS), cost.bits])
    found = [
        Place(w, t, int(starts[w]) + t, float(bits[w, t]), expected_bytes(model, windows[w, :t]))
        for w, t in most_surprised(bits, windows, starts, places)
    ]
    return Surprise(
        file=corpus.label,
        model=name,
        size=content.size,
        starts=starts,
        windows=windows,
        bits=bits,
        ranking=sorted(ranking, key=lambda record: record["bits_mean"]),
        places=found,
        whole=len(lzma.compress(content.tobytes())) if content.size <= WHOLE_FILE_BYTES else None,
    )


def window_starts(size: int, context: int, most: int) -> NDArray[np.int64]:
    """[W] where windows begin: as many as cover ``size`` bytes, the last ending where they end; at most ``most``, spread evenly.

    >>> window_starts(10, 4, 9).tolist(), window_starts(1000, 10, 3).tolist()
    ([0, 3, 6], [0, 495, 990])
    """
    count = min(most, -(-size // context))
    starts: NDArray[np.int64] = np.linspace(0, size - context, count).round().astype(np.int64)
    return starts


def most_surprised(bits: Floats, windows: Windows, starts: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """(window, position) of the dearest bytes, each another byte and APART from the others; fewer where fewer surprise."""
    context = bits.shape[1]
    first = max(1, min(READ_BEFORE, context // 4))
    found: dict[int, tuple[int, int]] = {}
    for place in np.argsort(-bits[:, first:], axis=None, kind="stable").tolist():
        w, t = divmod(place, context - first)
        t += first
        if len(found) == count or bits[w, t] < SURPRISED_BITS:
            break
        byte = int(windows[w, t])
        if byte not in found and all(abs(starts[w] + t - starts[v] - u) >= APART for v, u in found.values()):
            found[byte] = (w, t)
    return list(found.values())


def expected_bytes(model: Any, before: NDArray[np.uint8], count: int = 3) -> list[tuple[int, float]]:
    """The ``count`` likeliest next bytes after ``before`` [t], with their probabilities, best first."""
    import torch

    with torch.inference_mode():
        ids = torch.from_numpy(before.astype(np.int64))[None].to(model.device)
        p = torch.softmax(model(input_ids=ids, use_cache=False).logits[0, -1].float(), dim=-1)[:256]
        values, likeliest = torch.topk(p, count)
    return [(int(byte), float(value)) for byte, value in zip(likeliest, values, strict=True)]


def _record(predictor: Predictor, cost: PositionBits, shared: dict[str, Any]) -> dict[str, Any]:
    """Bits per byte over windows and over their last bytes, what the file would come to, and the curve over position."""
    context, size = shared["context"], shared["n_bytes"]
    last = last_bytes(context)
    per_window = (cost.bits.sum(axis=1) + GIVEN_BITS * cost.edges[0]) / context
    sizes, bins = np.diff(cost.edges), curve_bins(cost.edges)
    curve = np.add.reduceat(cost.bits.mean(axis=0), bins) / np.add.reduceat(sizes, bins)
    edges = np.append(cost.edges[bins], context)
    mean = float(per_window.mean())
    return {
        "file": shared["file"],
        "predictor": predictor.name,
        **shared,
        "bits_mean": mean,
        "se_mean": float(per_window.std(ddof=1) / np.sqrt(len(per_window))) if len(per_window) > 1 else None,
        "bits_last": float(cost.bits[:, cost.edges[:-1] >= context - last].sum(axis=1).mean() / last),
        "last_bytes": last,
        "estimated_bytes": round(mean * size / 8),
        "share": mean / 8,
        "curve_positions": ((edges[:-1] + edges[1:] - 1) / 2).tolist(),
        "curve_bits": curve.tolist(),
        **predictor.settings,
    }
