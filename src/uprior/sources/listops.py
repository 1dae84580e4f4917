"""ListOps: nested operations on lists of digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, bars
from uprior.sources._exact import kernel
from uprior.sources._tasks import TaskSource, copy_episode
from uprior.spec import parameter
from uprior.types import Block

MIN, MAX, MED, SUM, CLOSE, EQUALS, END = range(10, 17)

# Trees drawn in a row before sampling by rejection is given up as hopeless.
_MOST_ATTEMPTS = 100_000


@dataclass(frozen=True)
class ListOps(TaskSource):
    """ListOps: the value of nested MIN, MAX, MEDIAN and SUM operations on digits.

    An episode is an expression, EQUALS, its value and END. Digits are tokens 0..9, [MIN is 10, [MAX 11, [MED 12 (the integer
    part of the median), [SM 13 (the sum modulo 10), the closing bracket 14, EQUALS 15, END and blank 16. An operation has
    2..max_arguments arguments, uniform; an argument is an operation with probability ``p_operator`` unless it would lie
    below ``max_depth`` (the outermost operation has depth 1), else a uniform digit.

    Machine: the number of items n, which is the most tokens an expression may have: what could no longer be finished in n
    tokens is not begun (an operation, then a further argument), and what is left gets the probability. Floor: exact given n,
    as brackets show the whole state; EQUALS, value and END are certain. Cost: about 50 ns per token. ``info``: items, depth (of
    the deepest operation in the row), value (of the first expression).

    ``sampling`` = "rejection" has no such limit: trees (which may be a single digit) are drawn until one has min_items to
    max_items tokens; the floor is then None, as it is where brackets are left out, and items is the size of the tree.

    Preset ``lra``: Long Range Arena (Tay et al. 2021; code): an operation with probability 0.25, at most 9 inside each other,
    2..10 arguments, more than 500 and fewer than 2000 tokens; 8.25 % of trees qualify. Theirs are also free of duplicates.
    Preset ``fpt-legacy``: what the frozen-transformer experiments (Lu et al. 2021, arXiv 2103.05247)
    really saw of it: a tokenizer that keeps letters and digits only, so that all brackets vanish (14 kinds of token), cut at
    512 tokens or filled with blanks up to there; then the value, here as token 513. Most sequences lose their tail and
    arguments cannot be attributed, so the task is ambiguous and the floor unknown.
    """

    name: ClassVar[str] = "listops"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "lra": {
            "min_items": 501, "max_items": 1999, "p_operator": 0.25, "max_depth": 9, "max_arguments": 10,
            "sampling": "rejection", "packed": False, "end_token": False,
        },
        "fpt-legacy": {
            "min_items": 501, "max_items": 1999, "p_operator": 0.25, "max_depth": 9, "max_arguments": 10,
            "sampling": "rejection", "packed": False, "end_token": False, "brackets": False, "cut": 512,
        },
    }  # fmt: skip
    min_items: int = parameter(8, "least difficulty of a row: tokens of its expressions at most", low=4, high=1 << 16)
    max_items: int = parameter(
        64, "largest difficulty of a row: tokens of its expressions at most", low=4, high=1 << 16
    )
    p_operator: float = parameter(0.4, "chance that an argument is an operation", low=0.0, high=0.99)
    max_depth: int = parameter(10, "most operations inside each other", low=1, high=1 << 10)
    max_arguments: int = parameter(5, "most arguments of an operation", low=2, high=1 << 10)
    sampling: str = parameter("bounded", "how sizes are kept in range", choices=("bounded", "rejection"))
    brackets: bool = parameter(True, "write the closing brackets")
    cut: int = parameter(0, "cut expressions here or fill them with blanks up to here; 0: neither", low=0, high=1 << 16)

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return END + 1

    def validate(self) -> None:
        super().validate()
        if self.packed and (self.sampling == "rejection" or self.cut):
            self.reject("packed", "false with sampling = rejection or with cut")
        if self.sampling == "rejection" and self.p_operator == 0.0:
            self.reject("p_operator", "above 0 with sampling = rejection")

    @property
    def shortest_row(self) -> int:
        return self._longest(self.max_items if self.sampling == "rejection" else self.min_items)

    def _longest(self, items: int) -> int:
        return (self.cut + 1 if self.cut else items + 2) + self.end_token

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        block = super()._generate(draw, rows, length)
        known = self.sampling == "bounded" and self.brackets
        return block if known else dataclasses.replace(block, floor_nats=None)

    def _machines(self, info: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        # Sizes by rejection are what came of it, not what the machine was told.
        return info["items"] if self.sampling == "bounded" else np.zeros_like(info["items"])

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: NDArray[np.unsignedinteger[Any]],
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        size, depth, value = items.copy(), np.zeros_like(items), np.empty_like(items)
        written = _write_rows(
            draw("rows"), items, self.min_items, self.max_items, self.p_operator, self.max_depth, self.max_arguments,
            self.sampling == "bounded", self.brackets, self.cut, self.packed, self.end_token, tokens, answer, floor,
            size, depth, value,
        )  # fmt: skip
        if not written:
            self.reject("min_items", f"sizes that trees have: {_MOST_ATTEMPTS} in a row had other sizes")
        return {"items": size, "depth": depth, "value": value}

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        """How many operations are open."""
        if not self.brackets:
            return None
        row = self._generate(draw, 1, length).tokens[0]
        return bars(np.cumsum((row >= MIN) & (row <= SUM)) - np.cumsum(row == CLOSE))


@kernel
def _value(operator: int, count: NDArray[np.int64]) -> int:
    """The value of an operation whose arguments hold digit d count[d] times."""
    total, arguments, low, high = 0, 0, 9, 0
    for d in range(10):
        if count[d] > 0:
            low, high = min(low, d), max(high, d)
            arguments += count[d]
            total += d * count[d]
    if operator == MIN:
        return low
    if operator == MAX:
        return high
    if operator == SUM:
        return total % 10
    middle, seen = 0, 0  # the sum of the two middle arguments in order, which may be one and the same
    for d in range(10):
        middle += d * (seen <= (arguments - 1) // 2 < seen + count[d])
        middle += d * (seen <= arguments // 2 < seen + count[d])
        seen += count[d]
    return middle // 2


@kernel
def _expression(
    rng: np.random.Generator,
    p_operator: float,
    max_depth: int,
    max_arguments: int,
    bounded: bool,
    most: int,
    operator: NDArray[np.int64],
    left: NDArray[np.int64],
    count: NDArray[np.int64],
    tokens: NDArray[np.uint16],
    nats: NDArray[np.float32],
) -> tuple[int, int, int]:
    """Write an expression; (size, value, depth). Size is most + 1 where it is not bounded and gets larger than that.

    operator, left [depth], count [depth, 10]: the open operations, how many more arguments each has (or, where bounded, how
    many it may have), and how often each digit is among those it has.
    """
    at, depth, deepest, value = 0, 0, 0, -1
    owed = 0  # tokens needed at least to finish what is open
    while True:
        if at >= most:
            return most + 1, 0, 0
        if depth > 0:
            missing = 2 - (max_arguments - left[depth - 1]) if bounded else left[depth - 1]
            p_close = 0.0 if missing > 0 else 1.0
            if bounded and missing <= 0 and at + 1 + owed <= most:
                p_close = 1.0 / (left[depth - 1] + 1)
            if p_close == 1.0 or (p_close > 0.0 and rng.random() < p_close):
                depth -= 1
                value = _value(operator[depth], count[depth])
                tokens[at], nats[at], at, owed = CLOSE, -np.log(p_close), at + 1, owed - 1
                if depth == 0:
                    return at, value, deepest
                count[depth - 1, value] += 1
                continue
            left[depth - 1] -= 1
            owed -= missing > 0 and bounded
            chance = 1.0 - p_close
        else:
            chance = 1.0
        p = p_operator if depth < max_depth else 0.0
        if bounded:
            p = 1.0 if depth == 0 else (p if at + 4 + owed <= most else 0.0)
        if p > 0.0 and (p == 1.0 or rng.random() < p):
            operator[depth] = MIN + int(rng.random() * 4)
            tokens[at], nats[at] = operator[depth], -np.log(chance * p / 4.0)
            left[depth] = max_arguments if bounded else 2 + int(rng.random() * (max_arguments - 1))
            count[depth] = 0
            depth += 1
            deepest = max(deepest, depth)
            owed += 3
        else:
            digit = int(rng.random() * 10)
            tokens[at], nats[at] = digit, -np.log(chance * (1.0 - p) / 10.0)
            if depth == 0:
                return 1, digit, 0
            count[depth - 1, digit] += 1
        at += 1


@kernel
def _write_rows(
    rng: np.random.Generator,
    items_N: NDArray[np.int64],
    least: int,
    most: int,
    p_operator: float,
    max_depth: int,
    max_arguments: int,
    bounded: bool,
    brackets: bool,
    cut: int,
    packed: bool,
    end_token: bool,
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    answer_NT: NDArray[np.bool_],
    floor_NT: NDArray[np.float32],
    size_N: NDArray[np.int64],
    depth_N: NDArray[np.int64],
    value_N: NDArray[np.int64],
) -> bool:
    """Write the rows, or give up (False) where trees never have the right size."""
    operator, left = np.empty(max_depth, dtype=np.int64), np.empty(max_depth, dtype=np.int64)
    count = np.empty((max_depth, 10), dtype=np.int64)
    room = max(most, cut) + 4
    episode, nats = np.empty(room, dtype=np.uint16), np.zeros(room, dtype=np.float32)
    answers = np.zeros(room, dtype=np.bool_)
    rows, length = tokens_NT.shape
    for row in range(rows):
        at = 0
        tokens, answer, floor = tokens_NT[row], answer_NT[row], floor_NT[row]
        while at < length and (packed or at == 0):
            size, value, depth, attempts = 0, 0, 0, 0
            while size == 0 or (not bounded and (size < least or size > most)):
                if attempts == _MOST_ATTEMPTS:
                    return False
                attempts += 1
                size, value, depth = _expression(
                    rng, p_operator, max_depth, max_arguments, bounded, items_N[row] if bounded else most, operator, left,
                    count, episode, nats,
                )  # fmt: skip
            if at == 0:
                value_N[row] = value
                if not bounded:
                    size_N[row] = size
            depth_N[row] = max(depth_N[row], depth)
            if not brackets:
                kept = 0
                for i in range(size):
                    if episode[i] != CLOSE:
                        episode[kept] = episode[i]
                        kept += 1
                size = kept
            if cut > 0:
                episode[size:cut] = END
                nats[size:cut] = 0.0
                size = cut
            else:
                episode[size], nats[size] = EQUALS, 0.0
                size += 1
            first = size
            episode[size], nats[size] = value, 0.0
            if end_token:
                episode[size + 1], nats[size + 1] = END, 0.0
            size += 2 if end_token else 1
            answers[first:size] = True
            at = copy_episode(at, size, episode, answers, nats, tokens, answer, floor)
            answers[first:size] = False
        tokens[at:] = END
    return True
