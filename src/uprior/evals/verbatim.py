"""Verbatim retrieval from the context: what a list of random words costs when it comes again.

The measurement of Hu et al. (2025, arXiv 2502.19249) on texts that repeat a list of words (Armeni et al. 2022). Their files were
not published, and their code takes the mean over all tokens; here words are random strings, and only the repetition counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.evals._base import Windows
from uprior.evals.model import ModelPredictor
from uprior.rng import generator

# Bytes of a word, of what stands between words and between the lists.
WORD_BYTES, LETTERS = 5, 26


def retrieval(
    model: Any, *, words: Sequence[int] = (3, 5, 10), gap: int = 32, rows: int = 100, seed: int = 0
) -> list[dict[str, Any]]:
    """Bits per byte of lists of random words, at first sight and when they come again after ``gap`` bytes of filler.

    A record per number of words: {words, gap, rows, bits_first, bits_again, retrieved: 1 - bits_again / bits_first,
    se_retrieved}. Words are WORD_BYTES random letters of a random alphabet of LETTERS bytes; words and filler differ from row to
    row. For models of bytes (a vocabulary of 256 or more), through ``ModelPredictor``, whose errors are raised.
    """
    predictor, found = ModelPredictor(model), []
    for count in words:
        windows, listed = _rows(count, gap, rows, seed)
        bits = predictor.nats(windows) / np.log(2)
        first, again = (bits[:, start - 1 : start - 1 + listed].mean(1) for start in (1, windows.shape[1] - listed))
        share = 1 - again / first
        found.append({
            "words": count, "gap": gap, "rows": rows, "bits_first": float(first.mean()), "bits_again": float(again.mean()),
            "retrieved": float(1 - again.mean() / first.mean()), "se_retrieved": float(share.std(ddof=1) / np.sqrt(rows)),
        })  # fmt: skip
    return found


def _rows(words: int, gap: int, rows: int, seed: int) -> tuple[Windows, int]:
    """[N, T] rows ``separator list filler list``, and the bytes of a list."""
    rng = generator("retrieval", seed, words, gap)
    alphabets = np.argsort(rng.random((rows, 256)), axis=1)[:, : LETTERS + 1].astype(
        np.uint8
    )  # the last is the separator
    separator = np.full((rows, words, 1), LETTERS)
    listed = np.concatenate([rng.integers(0, LETTERS, (rows, words, WORD_BYTES)), separator], axis=2).reshape(rows, -1)
    filler = rng.integers(0, LETTERS, (rows, gap))
    filler[:, WORD_BYTES :: WORD_BYTES + 1] = LETTERS
    places: NDArray[np.int64] = np.concatenate([separator[:, 0], listed, filler, listed], axis=1)
    return np.take_along_axis(alphabets, places, axis=1), listed.shape[1]
