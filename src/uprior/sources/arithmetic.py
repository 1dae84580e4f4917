"""Addition, forwards and reversed, and multiplication of numbers of n digits."""

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

OPERATOR, EQUALS, BLANK, ANSWER, END = 10, 11, 12, 20, 30
_PUBLISHED = {"packed": False, "end_token": True}


@dataclass(frozen=True)
class _Arithmetic(TaskSource):
    """Base of the three: ids, layout, and the kernel that writes their rows."""

    multiplies: ClassVar[bool] = False
    reversed: ClassVar[bool] = False
    max_items: int = parameter(8, "largest difficulty of a row, digits per number", low=1, high=64)
    alphabet_size: ClassVar[int] = 31  # type: ignore[misc]  # the published ids, 13..19 unused

    def _answer_digits(self, items: int) -> int:
        return 2 * items if self.multiplies else items + 1

    def _longest(self, items: int) -> int:
        return 2 * items + 2 + self._answer_digits(items) + self.end_token

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: NDArray[np.unsignedinteger[Any]],
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        _write_rows(
            draw("rows"), items, self.multiplies, self.reversed, SPLIT_CLASS[draw.split], self.packed, self.end_token,
            tokens, answer, floor,
        )  # fmt: skip
        return {}


@dataclass(frozen=True)
class Addition(_Arithmetic):
    """Two numbers of n digits and their sum of n + 1, the most significant digit first.

    Machine: the number of items n, digits per number. A row: a + b = sum END, then the next episode. Ids: digits 0-9, + 10, = 11,
    blank 12, digits of answers 20-29, END 30. All n digits are uniform, leading zeros are written in questions and answers, so
    an answer's length tells nothing. Floor: exact given n and the split: ln 10 per digit of the question, 0 for what follows.
    Cost: about 13 ns per token.

    No problem is in two splits: the last digit of a question may only be one that a hash of the others gives to its split, one of
    eight for training (ln 8), a single one for validation and test (0).

    "Addition" of Jiang, Shinnick et al. 2026 (arXiv 2601.21725), with their ids; preset ``procedural``: 5 digits, rows of 19.
    They mask by the input token, so that the first digit of an answer is neither trained nor scored and what follows the end
    is; here every digit and the end count (``uprior.evals.probe`` gives both metrics).
    """

    name: ClassVar[str] = "addition"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"procedural": {**_PUBLISHED, "min_items": 5, "max_items": 5}}


@dataclass(frozen=True)
class ReversedAddition(_Arithmetic):
    """Two numbers of n digits and their sum of n + 1, the least significant digit first, as carries run.

    Machine, row, ids, floor, splits and cost as in ``addition``. "Reversed addition" of Jiang, Shinnick et al. 2026 (arXiv
    2601.21725); preset ``procedural``: 10 digits, rows of 34.
    """

    name: ClassVar[str] = "reversed_addition"
    reversed: ClassVar[bool] = True
    max_items: int = parameter(10, "largest difficulty of a row, digits per number", low=1, high=64)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "procedural": {**_PUBLISHED, "min_items": 10, "max_items": 10}
    }


@dataclass(frozen=True)
class Multiplication(_Arithmetic):
    """Two numbers of n digits and their product of 2n, the most significant digit first.

    Machine, row, ids (10 is times), floor, splits and cost as in ``addition``. "Multiplication" of Jiang, Shinnick et al. 2026
    (arXiv 2601.21725); preset ``procedural``: 5 digits, 23 tokens; their rows of 29 end in blanks, as longer rows do here.
    """

    name: ClassVar[str] = "multiplication"
    multiplies: ClassVar[bool] = True
    max_items: int = parameter(5, "largest difficulty of a row, digits per number", low=1, high=64)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"procedural": {**_PUBLISHED, "min_items": 5, "max_items": 5}}


@kernel
def _write_rows(
    rng: np.random.Generator,
    items: NDArray[np.int64],
    multiplies: bool,
    reverse: bool,
    split_class: int,
    packed: bool,
    end_token: bool,
    tokens: NDArray[Any],
    answer: NDArray[np.bool_],
    floor: NDArray[np.float32],
) -> None:
    """Fill all rows, one episode after the other."""
    most, length = items.max(), tokens.shape[1]
    numbers = np.zeros((2, most), dtype=np.int64)  # least significant digit first
    result = np.zeros(2 * most + 1, dtype=np.int64)
    room = 4 * most + 4
    episode = np.empty(room, dtype=np.uint16)
    is_answer = np.zeros(room, dtype=np.bool_)
    nats = np.zeros(room, dtype=np.float32)
    for row in range(len(items)):
        n = items[row]
        at = 0
        while at < length and (packed or at == 0):
            _question(rng, n, reverse, split_class, numbers, episode, nats)
            count = _solved(n, multiplies, numbers, result)
            size = 2 * n + 2
            for i in range(count):
                episode[size + i] = ANSWER + result[i if reverse else count - 1 - i]
            size += count
            if end_token:
                episode[size] = END
                size += 1
            for i in range(2 * n + 1, size):
                nats[i] = 0.0
                is_answer[i] = i > 2 * n + 1
            is_answer[: 2 * n + 2] = False
            at = copy_episode(at, size, episode, is_answer, nats, tokens[row], answer[row], floor[row])
        tokens[row, at:] = BLANK


@kernel
def _question(
    rng: np.random.Generator,
    n: int,
    reverse: bool,
    split_class: int,
    numbers: NDArray[np.int64],
    episode: NDArray[Any],
    nats: NDArray[np.float32],
) -> None:
    """Write both numbers, operator and equals sign; their digits also into ``numbers``."""
    state, at = mixed(0, n), 0
    for which in range(2):
        for i in range(n):
            last = which == 1 and i == n - 1
            digit = int(rng.random() * 10)
            while last and not allowed(state, digit, split_class):
                digit = int(rng.random() * 10)
            numbers[which, i if reverse else n - 1 - i] = digit
            episode[at] = digit
            nats[at] = np.log(10.0) if not last else np.log(8.0) if split_class < 0 else 0.0
            if not last:
                state = mixed(state, digit)
            at += 1
        episode[at] = OPERATOR if which == 0 else EQUALS
        nats[at] = 0.0
        at += 1


@kernel
def _solved(n: int, multiplies: bool, numbers: NDArray[np.int64], result: NDArray[np.int64]) -> int:
    """The digits of sum or product, least significant first, into ``result``; how many there are."""
    count = 2 * n if multiplies else n + 1
    for i in range(count):
        result[i] = 0
    if multiplies:
        for i in range(n):
            for j in range(n):
                result[i + j] += numbers[0, i] * numbers[1, j]
    else:
        for i in range(n):
            result[i] = numbers[0, i] + numbers[1, i]
    for i in range(count - 1):
        result[i + 1] += result[i] // 10
        result[i] %= 10
    return count
