"""Sources that read parents: the base of the neural machines, and the rows that chains of them start from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.types import Block

Tokens = NDArray[np.unsignedinteger[Any]]


class MachineSource(Source):
    """A source whose machines map parents to rows, so that it can be iterated (``Iterated``, ``Buffered``).

    A subclass has ``constant_fraction``, ``seed_tokens`` and ``rows_per_machine`` as fields or class variables and writes ``_write``.
    Used alone, its parents are constant rows and uniform noise, fresh for every row: Bloem's ablation "no iteration".
    """

    seed_tokens: int
    constant_fraction: float

    def _write(self, draw: Draw, condition: Tokens, seeds: Tokens) -> Block:
        """One row per parent, from fresh machines.

        condition   [N, T] the parent each row is aligned with
        seeds       [N, S] the tokens each row begins with, S = min(seed_tokens, T); S = 0 for machines that take none
        """
        raise NotImplementedError(f"{type(self).__name__} does not write _write")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        given, size = min(self.seed_tokens, length), self.alphabet_size
        constants = share_of(draw("constant conditions"), rows, self.constant_fraction)
        condition = start_tokens(draw("conditions"), constants, length, size, self.token_dtype)
        constants = share_of(draw("constant seeds"), rows, self.constant_fraction)
        seeds = start_tokens(draw("seeds"), constants, given, size, self.token_dtype)
        return self._write(draw.child("write"), condition, seeds)


def share_of(rng: np.random.Generator, rows: int, fraction: float) -> NDArray[np.bool_]:
    """[N] True in ``fraction`` of the rows, which ones at random.

    The number is ``fraction * rows`` rounded up or down at random, so that small blocks have the right share on average.
    """
    count = int(np.floor(fraction * rows + rng.random()))
    return rng.permutation(rows) < count


def start_tokens(
    rng: np.random.Generator,
    constant: NDArray[np.bool_],
    length: int,
    alphabet_size: int,
    dtype: type[Any],
    symbols: NDArray[np.int64] | None = None,
) -> Tokens:
    """[N, length] rows of one repeated token where ``constant``, of independent uniform tokens elsewhere.

    ``symbols`` are the tokens that may be repeated; None means all.
    """
    tokens = rng.integers(0, alphabet_size, (len(constant), length), dtype=dtype)
    among = np.arange(alphabet_size) if symbols is None else symbols
    repeated = among[rng.integers(0, len(among), int(constant.sum()))]
    tokens[constant] = repeated[:, None].astype(dtype)
    return tokens


def seed_slices(rng: np.random.Generator, parents: Tokens, count: int) -> Tokens:
    """[N, count] a slice of each row of ``parents`` [N, T], each at its own random offset."""
    rows, length = parents.shape
    first = rng.integers(0, length - count + 1, rows)
    return np.take_along_axis(parents, first[:, None] + np.arange(count), axis=1)
