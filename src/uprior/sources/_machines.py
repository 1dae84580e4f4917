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

    A subclass has ``constant_fraction`` as a field and writes ``_write``; one whose rows begin with a seed says
    how long it is. Used alone, its parents are constant rows and uniform noise, fresh for every row: Bloem's
    ablation "no iteration".
    """

    constant_fraction: float

    @property
    def seed_length(self) -> int:
        """Tokens of a seed row that each row begins with; 0 for machines that take none."""
        return 0

    def _write(self, draw: Draw, condition: Tokens, seeds: Tokens) -> Block:
        """One row per parent, from fresh machines.

        condition   [N, T] the parent each row is aligned with
        seeds       [N, S] the tokens each row begins with, S = min(seed_length, T)
        """
        raise NotImplementedError(f"{type(self).__name__} does not write _write")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        given, size = min(self.seed_length, length), self.alphabet_size
        constants = share_of(draw("constant conditions"), rows, self.constant_fraction)
        condition = start_tokens(draw("conditions"), constants, length, size, self.token_dtype)
        constants = share_of(draw("constant seeds"), rows, self.constant_fraction)
        seeds = start_tokens(draw("seeds"), constants, given, size, self.token_dtype)
        return self._write(draw.child("write"), condition, seeds)


def share_of(rng: np.random.Generator, rows: int, fraction: float) -> NDArray[np.bool_]:
    """[N] True in ``fraction`` of the rows, which ones at random.

    The number is ``fraction * rows`` rounded up or down at random, so that small blocks have the right share on
    average.
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


def start_block(draw: Draw, constant: NDArray[np.bool_], length: int, alphabet_size: int, *, emitted: bool) -> Block:
    """Rows that no machine wrote: constant rows with floor 0, uniform noise with floor ln(alphabet_size).

    If they are ``emitted``, and do not serve as parents only, constant rows keep to the tokens of this split,
    as source ``constant`` does: there are too few of them for independent streams to be disjoint.
    """
    rows = len(constant)
    symbols = None
    if emitted and alphabet_size >= 8:
        symbols = draw.own_machines(f"constant/{alphabet_size}", alphabet_size)
    dtype = np.uint16 if alphabet_size <= 1 << 16 else np.uint32
    tokens = start_tokens(draw("rows"), constant, length, alphabet_size, dtype, symbols)
    noise = draw.machine_ids(np.zeros(rows, dtype=np.int64))
    floor = np.where(constant, 0.0, np.log(alphabet_size)).astype(np.float32)
    return Block(
        tokens=tokens,
        machine=np.where(constant, tokens[:, 0].astype(np.int64), noise),
        floor_nats=np.repeat(floor[:, None], length, axis=1),
    )


def join(parts: list[Block], info: dict[str, NDArray[Any]]) -> Block:
    """The rows of several blocks one after the other; an entry of ``info`` that a block lacks is NaN in its rows."""
    names = sorted({name for part in parts for name in part.info} - info.keys())
    columns = {
        name: np.concatenate([part.info.get(name, np.full(len(part.machine), np.nan)) for part in parts])
        for name in names
    }
    return Block(
        tokens=np.concatenate([part.tokens for part in parts]),
        machine=np.concatenate([part.machine for part in parts]),
        floor_nats=np.concatenate([_floor(part) for part in parts]),
        info=columns | info,
    )


def _floor(part: Block) -> NDArray[np.float32]:
    return np.full(part.tokens.shape, np.nan, dtype=np.float32) if part.floor_nats is None else part.floor_nats
