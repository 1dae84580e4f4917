"""Bit memory and bit XOR: strings of random bits to remember or to combine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._exact import kernel
from uprior.sources._tasks import TaskSource, copy_episode
from uprior.spec import parameter

Tokens = NDArray[np.unsignedinteger[Any]]

MASKED = 2
# So many first bits of an unpacked row decide which split it belongs to.
DEALT = 10
FREE = -1
_FPT = {"packed": False, "end_token": False, "dividers": False}


@dataclass(frozen=True)
class _BitTask(TaskSource):
    """Base of both: fields, the dealing of rows to splits, and the kernel. Items are the bits of one string."""

    memory: ClassVar[bool]
    max_items: int = parameter(16, "largest difficulty of a row, bits per string", low=1, high=1 << 16)
    dividers: bool = parameter(True, "a divider after every string of the question")
    holdout: str = parameter(
        "machine", "deal unpacked rows to splits, or let splits share", choices=("machine", "none")
    )
    strings: int = parameter(2, "random strings of an episode", low=2, high=4096)

    def validate(self) -> None:
        super().validate()
        if self._deals and self.strings * self.min_items < 3:
            self.reject("min_items", "3 bits or more in the strings of an unpacked row, or holdout=none")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return 3 + self.memory

    @property
    def row_space(self) -> int | None:  # type: ignore[override]  # depends on the fields
        if self.packed or self.strings * self.max_items > 32:
            return None
        sizes = range(self.min_items, self.max_items + 1)
        # The strings; to remember also which one is asked for, and its mask.
        return sum((self.strings * ((1 << n) - 1) if self.memory else 1) << self.strings * n for n in sizes)

    @property
    def _deals(self) -> bool:
        return not self.packed and self.holdout == "machine"

    @property
    def _masked_only(self) -> bool:
        return False

    def _longest(self, items: int) -> int:
        return (self.strings + self.memory) * (items + self.dividers) + items + self.end_token

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: Tokens,
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        first, nats = np.full((len(items), DEALT), FREE, dtype=np.int64), np.full((len(items), DEALT), np.log(2))
        if self._deals:
            rng = draw("first bits")
            for row, n in enumerate(items.tolist()):
                count = min(DEALT, self.strings * n)
                own, costs = _own_strings(self.name, draw.split, count)
                picked = int(rng.random() * len(own))
                first[row, :count], nats[row, :count] = own[picked], costs[picked]
        _write_rows(
            draw("rows"), items, self.strings, self.memory, self._masked_only, self.dividers, self.packed, self.end_token,
            first, nats, tokens, answer, floor,
        )  # fmt: skip
        return {}


@functools.cache
def _own_strings(space: str, split: str, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """([K, count] the strings of so many bits that belong to a split, [K, count] -ln of each bit given those before it).

    Remembered, as it depends on neither seed nor block.
    """
    own = Draw((), split, 0).own_machines(f"first bits of {space}", 2**count)
    # How many of the split's strings begin with the first i bits of each of them.
    prefixes = [np.unique(own >> (count - i), return_inverse=True, return_counts=True) for i in range(count + 1)]
    sharing = np.stack([counts[inverse.reshape(-1)] for _, inverse, counts in prefixes], axis=1)
    bits = own[:, None] >> np.arange(count - 1, -1, -1) & 1
    return bits, np.log(sharing[:, :-1] / sharing[:, 1:])


@dataclass(frozen=True)
class BitMemory(_BitTask):
    """Several strings of random bits, then one of them with half its bits masked: which bits were they?

    Machine: the number of items n, the bits of a string. An episode: the strings, the masked one, the answer, END; a divider
    after each but the answer. Ids: 0, 1, 2 = masked, 3 = divider, END and blank. One string is chosen at random; each of its
    bits is masked with probability 1/2, at least one. Only masked bits of the answer count (``scored_bits`` "every": all,
    half of which are copies of bits in sight). Unpacked rows: the first 10 bits are dealt to splits, so that no two splits
    share a row.

    Floor: exact given n (and the split, in the first 10 bits). Strings that still agree with what is visible are equally
    likely, so an answer that several of them could give costs ln(all / those with this bit). Cost: about 12 ns per token.

    Lu, Grover, Abbeel, Mordatch 2021 (arXiv 2103.05247), 3.1. Preset ``fpt``: 5 strings of 1,000 bits, no dividers, every bit
    of the answer counts as in their accuracy, of which copying gives 75 %: their "75.8 % random" is that floor. They feed
    bits as +1, -1 and 0 in 120 vectors of 50 and read out the last 20 positions; here the answer follows as 1,000 tokens.
    """

    name: ClassVar[str] = "bit_memory"
    memory: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fpt": {**_FPT, "strings": 5, "min_items": 1000, "max_items": 1000, "scored_bits": "every"},
    }
    min_items: int = parameter(4, "least difficulty of a row, bits per string", low=1, high=1 << 16)
    max_items: int = parameter(64, "largest difficulty of a row, bits per string", low=1, high=1 << 16)
    strings: int = parameter(5, "random strings of an episode", low=1, high=4096)
    scored_bits: str = parameter("masked", "bits of an answer that count", choices=("masked", "every"))

    @property
    def _masked_only(self) -> bool:
        return self.scored_bits == "masked"


@dataclass(frozen=True)
class BitXor(_BitTask):
    """Strings of random bits, then their exclusive or.

    Machine: the number of items n, the bits of a string. An episode: the strings, each with a divider, the answer, END. Ids:
    0, 1, 2 = divider, END and blank. Bit i of the answer is the sum modulo 2 of the bits i of all strings. Unpacked rows: the
    first 10 bits are dealt to splits (6/8 of their values train), so that no two splits share a row, however few rows there
    are.

    Floor: exact given n (and the split, in the first 10 bits); answers cost 0. Cost: about 12 ns per token.

    Lu, Grover, Abbeel, Mordatch 2021 (arXiv 2103.05247), 3.1. Preset ``fpt``: two strings of 5 bits, no dividers, one
    episode: 1,024 rows, 768 of them to train on, 128 each to validate and test.
    """

    name: ClassVar[str] = "bit_xor"
    memory: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fpt": {**_FPT, "min_items": 5, "max_items": 5}}


@kernel
def _write_rows(
    rng: np.random.Generator,
    items: NDArray[np.int64],
    strings: int,
    memory: bool,
    masked_only: bool,
    dividers: bool,
    packed: bool,
    end_token: bool,
    first_bits: NDArray[np.int64],
    first_nats: NDArray[np.float64],
    tokens: Tokens,
    answer: NDArray[np.bool_],
    floor: NDArray[np.float32],
) -> None:
    """Fill all rows, one episode after the other; each fits into a row."""
    length = tokens.shape[1]
    episode = np.empty(length, dtype=np.uint16)
    is_answer = np.zeros(length, dtype=np.bool_)
    nats = np.zeros(length, dtype=np.float32)
    agrees = np.empty(strings, dtype=np.bool_)
    mark = 2 + memory
    for row in range(len(items)):
        at, n = 0, items[row]
        step = n + dividers
        while at < length and (packed or at == 0):
            for place in range(strings * step):
                i, drawn = place % step, place // step * n + place % step
                if i == n:
                    episode[place], nats[place] = mark, 0.0
                elif drawn < DEALT and first_bits[row, drawn] != FREE:
                    episode[place], nats[place] = first_bits[row, drawn], first_nats[row, drawn]
                else:
                    episode[place], nats[place] = int(rng.random() * 2), np.log(2.0)
            size = strings * step
            if memory:
                size = _recall(rng, n, strings, step, masked_only, agrees, episode, is_answer, nats)
            else:
                for i in range(n):
                    bit = 0
                    for s in range(strings):
                        bit ^= episode[s * step + i]
                    episode[size], nats[size], is_answer[size] = bit, 0.0, True
                    size += 1
            if end_token:
                episode[size], nats[size], is_answer[size] = mark, 0.0, True
                size += 1
            at = copy_episode(at, size, episode, is_answer, nats, tokens[row], answer[row], floor[row])
            for i in range(size):
                is_answer[i] = False
        for t in range(at, length):
            tokens[row, t] = mark


@kernel
def _recall(
    rng: np.random.Generator,
    n: int,
    strings: int,
    step: int,
    masked_only: bool,
    agrees: NDArray[np.bool_],
    episode: Tokens,
    is_answer: NDArray[np.bool_],
    nats: NDArray[np.float32],
) -> int:
    """Write the masked string and the answer after the strings; where they end. ``agrees`` [S] is working space."""
    chosen, masked = int(rng.random() * strings), 0
    alive = strings
    for s in range(strings):
        agrees[s] = True
    query = strings * step
    for i in range(n):
        # At least one bit is masked: the condition is spread over the bits by Bayes' rule.
        share = 0.5 if masked > 0 else 0.5 / (1 - 0.5 ** (n - i))
        if rng.random() < share:
            episode[query + i], nats[query + i] = MASKED, np.log(1 / share)
            masked += 1
        else:
            bit = episode[chosen * step + i]
            left = _keep(bit, i, step, agrees, episode)
            episode[query + i], nats[query + i] = bit, np.log(alive / left / (1 - share))
            alive = left
    if step > n:
        episode[query + n], nats[query + n] = MASKED + 1, 0.0
    begin = query + step
    for i in range(n):
        bit = episode[chosen * step + i]
        left = _keep(bit, i, step, agrees, episode)
        episode[begin + i], nats[begin + i] = bit, np.log(alive / left)
        is_answer[begin + i] = not masked_only or episode[query + i] == MASKED
        alive = left
    return begin + n


@kernel
def _keep(bit: int, i: int, step: int, agrees: NDArray[np.bool_], episode: Tokens) -> int:
    """Strings whose bit i is another no longer agree; how many are left."""
    left = 0
    for s in range(len(agrees)):
        agrees[s] &= episode[s * step + i] == bit
        left += agrees[s]
    return left
