"""Haystack: pairs of keys and values, then one of the keys, whose value is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._exact import kernel
from uprior.sources._held_out import SPLIT_CLASS, allowed, mixed
from uprior.sources._tasks import TaskSource, copy_episode
from uprior.spec import parameter


@dataclass(frozen=True)
class Haystack(TaskSource):
    """Pairs of different keys and values, then one of the keys under another name, and its value.

    Machine: the number of items n, pairs in an episode. A row: k1 v1 .. kn vn q a, then an END of 0 if asked for, and the next
    episode or blanks (0). Ids with V values and K keys: values 1..V, keys V + 1..V + K, and as queries V + K + 1..V + 2K.
    Keys differ and are in random order, values are independent and uniform, the query is any of the n keys. Floor: exact given n
    and the split: ln(K - i) for the key after i others, ln V for a value, ln n for the query, 0 for the answer. Cost: about 26
    ns per token.

    No problem is in two splits: the last value may only be one that a hash of all pairs before it gives to its split, some eight
    tenths of the V for training, a tenth each for validation and test (its floor is the logarithm of how many).

    "Haystack" of Jiang, Shinnick et al. 2026 (arXiv 2601.21725), with their ids; preset ``procedural``: K = 30, V = 127, n
    uniform in 1..30, one episode per row. Guessing any value of the row is right in 13.3 % (the mean of 1/n).
    """

    name: ClassVar[str] = "haystack"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"procedural": {"packed": False, "end_token": False}}
    max_items: int = parameter(30, "largest difficulty of a row, pairs", low=1, high=1 << 12)
    keys: int = parameter(30, "different keys", low=1, high=1 << 12)
    values: int = parameter(127, "different values", low=10, high=1 << 14)

    def validate(self) -> None:
        super().validate()
        if self.max_items > self.keys:
            self.reject("max_items", f"1 to keys = {self.keys}, as keys differ")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return 1 + self.values + 2 * self.keys

    def _longest(self, items: int) -> int:
        return 2 * items + 2 + self.end_token

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: NDArray[np.unsignedinteger[Any]],
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        _write_rows(
            draw("rows"), items, self.keys, self.values, SPLIT_CLASS[draw.split], self.packed, self.end_token,
            tokens, answer, floor,
        )  # fmt: skip
        return {}


@kernel
def _write_rows(
    rng: np.random.Generator,
    items: NDArray[np.int64],
    keys: int,
    values: int,
    split_class: int,
    packed: bool,
    end_token: bool,
    tokens: NDArray[Any],
    answer: NDArray[np.bool_],
    floor: NDArray[np.float32],
) -> None:
    """Fill all rows, one episode after the other."""
    length, room = tokens.shape[1], 2 * items.max() + 3
    order = np.arange(keys)
    episode = np.zeros(room, dtype=np.uint16)
    is_answer = np.zeros(room, dtype=np.bool_)
    nats = np.zeros(room, dtype=np.float32)
    for row in range(len(items)):
        n = items[row]
        size = 2 * n + 2 + int(end_token)
        is_answer[:] = False
        is_answer[2 * n + 1 : size] = True
        nats[2 * n + 1 : size] = 0.0
        at = 0
        while at < length and (packed or at == 0):
            _pairs(rng, n, keys, values, split_class, order, episode, nats)
            asked = int(rng.random() * n)
            episode[2 * n], nats[2 * n] = episode[2 * asked] + keys, np.log(float(n))
            episode[2 * n + 1] = episode[2 * asked + 1]
            if end_token:
                episode[2 * n + 2] = 0
            at = copy_episode(at, size, episode, is_answer, nats, tokens[row], answer[row], floor[row])
        tokens[row, at:] = 0


@kernel
def _pairs(
    rng: np.random.Generator,
    n: int,
    keys: int,
    values: int,
    split_class: int,
    order: NDArray[np.int64],
    episode: NDArray[Any],
    nats: NDArray[np.float32],
) -> None:
    """Write n pairs and their floors; ``order`` [K] holds all keys in any order and is left in another."""
    state = mixed(0, n)
    for i in range(n):
        j = i + int(rng.random() * (keys - i))
        order[i], order[j] = order[j], order[i]
        key, value, many = order[i], 1 + int(rng.random() * values), values
        state = mixed(state, key)
        if i == n - 1:
            while not allowed(state, value, split_class):
                value = 1 + int(rng.random() * values)
            many = 0
            for other in range(1, values + 1):
                many += int(allowed(state, other, split_class))
        state = mixed(state, value)
        episode[2 * i], nats[2 * i] = values + 1 + key, np.log(float(keys - i))
        episode[2 * i + 1], nats[2 * i + 1] = value, np.log(float(many))
