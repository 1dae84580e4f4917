"""How complex a row is, by measures that do not depend on who wrote it."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel

Tokens = NDArray[np.unsignedinteger[Any]]


def entropy_bits(row: Tokens) -> float:
    """Empirical entropy of the single tokens of a row, in bits per token.

    >>> entropy_bits(np.array([5, 5, 7, 7], dtype=np.uint16))
    1.0
    """
    return block_entropy_bits(row, 1)


def block_entropy_bits(row: Tokens, size: int) -> float:
    """Empirical entropy of the ``size`` neighbouring tokens of a row, in bits per *block*, not per token.

    The difference between two sizes estimates what a token costs once the ones before it are known; on a row of T
    tokens no value can exceed log2(T - size + 1).

    >>> block_entropy_bits(np.array([0, 1, 0, 1, 0], dtype=np.uint16), 2)
    1.0
    """
    blocks = np.lib.stride_tricks.sliding_window_view(row, size)
    share = np.unique(blocks, axis=0, return_counts=True)[1] / len(blocks)
    return float(-(share * np.log2(share)).sum()) + 0.0  # no minus zero


def deflate_ratio(row: Tokens, alphabet_size: int) -> float:
    """Size of a row after raw deflate (level 9) over its size before: one, two or four bytes per token, by the alphabet.

    The size depends on the zlib library that Python was built with: for looking at, not for deciding what a source writes.
    """
    narrow = np.uint8 if alphabet_size <= 1 << 8 else "<u2" if alphabet_size <= 1 << 16 else "<u4"
    raw = row.astype(narrow).tobytes()
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return len(compressor.compress(raw) + compressor.flush()) / len(raw)


def lempel_ziv_bits(row: Tokens) -> float:
    """Lempel-Ziv complexity (1976) as bits per token: phrases * log2(T) / T, near the entropy rate of long rows.

    Exact integers behind it, the same on every machine, so sources may decide by it. On short rows it overestimates.
    """
    return float(lempel_ziv_phrases(row) * np.log2(len(row)) / len(row))


@kernel
def lempel_ziv_phrases(row: Tokens) -> int:
    """Number of phrases when a row is read as copies from anywhere before (overlap allowed), each plus one new token.

    Lempel and Ziv 1976, in the search of Kaspar and Schuster 1987; time grows as the square of the row's length.

    >>> lempel_ziv_phrases(np.array([0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1], dtype=np.uint16))
    6
    """
    size = row.shape[0]
    phrases, first = 0, 0
    while first < size:
        longest = 0
        for start in range(first):
            if row[start] == row[first]:
                same = 1
                while first + same < size and row[start + same] == row[first + same]:
                    same += 1
                longest = max(longest, same)
                if first + longest >= size:
                    break
        phrases += 1
        first += longest + 1
    return phrases
