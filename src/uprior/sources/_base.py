"""The contract of a source: a frozen spec with one public method, ``block``, a pure function of its arguments."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError, unknown_name
from uprior.rng import Key, digest, generator
from uprior.spec import Spec
from uprior.types import SPLITS, Block

# Kinds of sources in the catalogue, as the gallery heads them.
FAMILIES = {
    "neural": "Random networks",
    "automaton": "Automata",
    "machine": "Universal and Turing machines",
    "formal": "Formal languages",
    "language": "Random languages",
    "statistical": "Statistical sources",
    "task": "Tasks",
    "wrapper": "Wrappers and mixtures",
}

# Out of eight parts of a small machine space, six train, one validates and one tests (``Draw.own_machines``).
_SPLIT_OF_PART = {"train": (0, 1, 2, 3, 4, 5), "validation": (6,), "test": (7,)}


@dataclass(frozen=True)
class Draw:
    """All randomness of one block: named generators under one key. A source never sees a seed."""

    key: tuple[Key, ...]
    split: str
    index: int

    def __call__(self, label: str) -> np.random.Generator:
        """The generator for one purpose ("machines", "rows", ...); the same label gives the same numbers again."""
        return generator(*self.key, label)

    def child(self, *labels: Key) -> Draw:
        """The randomness of a source inside this one: shares nothing with this one's, nor with another child's."""
        return Draw((*self.key, "child", *labels), self.split, self.index)

    def machine_ids(self, local: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Machine numbers of this block (0, 1, 2, ...) as ids that differ between blocks too."""
        base = int.from_bytes(digest(*self.key, "machine ids")[:8], "little") >> 1  # positive as int64
        return (np.int64(base) & ~np.int64(0xFFFFFFFF)) + local.astype(np.int64)

    def own_machines(self, space: Key, count: int) -> NDArray[np.int64]:
        """The machines among 0..count-1 that belong to this split, for spaces so small that streams would repeat.

        Which part a machine belongs to is a hash of the space and the machine, the same for every seed.
        """
        return np.flatnonzero(np.isin(_part_of_machine(space, count), _SPLIT_OF_PART[self.split]))


@functools.lru_cache(maxsize=16)
def _part_of_machine(space: Key, count: int) -> NDArray[np.int64]:
    """[count] which of eight parts each machine of a small space belongs to."""
    ranked = np.argsort([digest("holdout", space, m) for m in range(count)])
    parts = np.empty(count, dtype=np.int64)
    parts[ranked] = np.arange(count) % 8
    return parts


class Source(Spec):
    """A distribution over token sequences defined by random computation.

    A subclass is a frozen dataclass that sets ``name``, ``version`` and ``family``, has ``alphabet_size`` as a field or
    property, and writes ``_generate``. The *machine* of a row is all that its floor is said to know: rows with the same machine
    and the same beginning must give the next token the same probability, and what only one row knows (its start, its length)
    is either part of its machine or paid for in its floor.

    ``row_space`` is the number of different rows a source can ever write where that is small (None: more than anybody will
    draw); such a source splits its machines between train, validation and test.
    """

    family: ClassVar[str] = "other"
    alphabet_size: int
    row_space: ClassVar[int | None] = None

    @property
    def shortest_row(self) -> int:
        """The smallest ``length`` of a row that can hold what this source writes."""
        return 2

    def block(self, seed: int, index: int, *, rows: int, length: int, split: str = "train") -> Block:
        """``rows`` sequences of ``length`` tokens: block number ``index`` of the stream (spec, seed, split).

        Pure: the same arguments give the same bytes in any order, thread and process. Raises SpecError for a negative
        seed or index, for rows < 1 or length < shortest_row, and UnknownNameError for a split that does not exist.
        """
        lowest = (("seed", seed, 0), ("index", index, 0), ("rows", rows, 1), ("length", length, self.shortest_row))
        for name, value, low in lowest:
            if not isinstance(value, int) or value < low:
                raise SpecError(f"{self.name}: {name} = {value!r} is not allowed; allowed: a whole number from {low}")
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        try:
            return self._generate(Draw((self.fingerprint, seed, split, index), split, index), rows, length)
        except Exception as error:
            error.add_note(f"while writing {self.name}: seed {seed}, split {split}, block {index}, {rows} x {length}")
            raise

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        """Write the block; all randomness comes from ``draw``. May depend on (spec, draw, rows, length) and nothing else."""
        raise NotImplementedError(f"{type(self).__name__} does not write _generate")

    def picture(self, *, seed: int = 0, length: int = 1024) -> NDArray[np.integer[Any]] | None:
        """[height, width] colours that show one machine at work better than its row does; None: the row is the picture.

        A space-time diagram of an automaton, the nesting depth of brackets, the states of a machine. Negative is blank.
        """
        return self._picture(Draw((self.fingerprint, seed, "train", 0), "train", 0), max(length, self.shortest_row))

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        """The picture of the row that ``_generate(draw, 1, length)`` writes.

        As wide as the row is long, a column per token, or else of a width that hardly depends on the length, with more
        lines for longer rows: the gallery asks for 64 of them.
        """
        return None

    @property
    def token_dtype(self) -> type[np.uint16] | type[np.uint32]:
        """The smallest of the two token types that holds the alphabet."""
        return np.uint16 if self.alphabet_size <= 1 << 16 else np.uint32


def machine_of_row(rows: int, rows_per_machine: int) -> NDArray[np.int64]:
    """[N] which of ceil(rows / rows_per_machine) machines writes each row: neighbours are written by different machines.

    >>> machine_of_row(5, 2).tolist()
    [0, 1, 2, 0, 1]
    """
    machines = -(-rows // rows_per_machine)
    return np.arange(rows, dtype=np.int64) % machines


def block_by_machines(
    draw: Draw,
    machine: NDArray[np.int64],
    tokens: NDArray[np.unsignedinteger[Any]],
    probability: NDArray[np.float32],
    info: dict[str, NDArray[Any]],
) -> Block:
    """The block of rows that the machines 0, 1, 2, ... of this block wrote.

    machine      [N] which of them wrote each row
    probability  [N, T] of each token, given its machine and the tokens before
    info         [M] each: what is worth knowing per machine
    """
    return Block(
        tokens=tokens,
        machine=draw.machine_ids(machine),
        floor_nats=np.maximum(-np.log(probability), np.float32(0)),
        info={name: values[machine] for name, values in info.items()},
    )


def bars(heights: NDArray[np.integer[Any]], most: int = 64) -> NDArray[np.int64]:
    """[height, T] a bar chart as a picture: column t is filled from the bottom up to heights[t], in a colour of its height.

    Heights above ``most`` are scaled down.

    >>> bars(np.array([0, 2, 1])).tolist()
    [[-1, 2, -1], [-1, 2, 1]]
    """
    top = max(int(heights.max()), 1)
    scaled = heights if top <= most else -(-heights * most // top)
    level = np.arange(int(scaled.max()) or 1, 0, -1)[:, None]
    return np.where(scaled >= level, heights, -1).astype(np.int64)


@functools.cache
def interleave(shares: Sequence[int]) -> NDArray[np.int64]:
    """[sum(shares)] a cycle in which part i appears exactly ``shares[i]`` times, spread as evenly as can be.

    >>> interleave((2, 1)).tolist()
    [0, 1, 0]
    """
    total, credit, order = sum(shares), [0] * len(shares), []
    for _ in range(total):
        credit = [c + s for c, s in zip(credit, shares, strict=True)]
        chosen = max(range(len(shares)), key=credit.__getitem__)
        credit[chosen] -= total
        order.append(chosen)
    return np.array(order, dtype=np.int64)
