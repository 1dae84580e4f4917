"""Parentheses whose two ends are the same token: nested, or flat (shuffled)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, bars, machine_of_row
from uprior.sources._exact import kernel
from uprior.sources._formal import choose, laws_of_machines, sizes, sum_of
from uprior.spec import parameter
from uprior.types import Block

_CHIANG: dict[str, Any] = {"alphabet_size": 29995, "exponent": 1.0, "shuffled": False}


@dataclass(frozen=True)
class Nesting(Source):
    """Nested parentheses whose two ends are the same token, from many types of unequal frequency.

    Machine: which types are frequent, a random order of a Zipf law over the alphabet (``alphabet_size``! of them; one where
    ``shuffled`` is false and 0 is the most frequent type, or where the exponent is 0: uniform). Every token is a type, and
    occurs once where it opens and once where it closes. A parenthesis opens where nothing is open, else with ``p_open``;
    closing repeats the type last opened. Rows begin with nothing open and are cut where they end.

    Floor: exact. A type is never opened directly inside itself (such a draw is made again), so tokens alone tell openings
    from closings and the stack is visible: p_open * f(x) / (1 - f(top)) for an opening, 1 - p_open for the top. Cost: about
    20 ns per token. ``info``: the greatest and the mean of the depth after each token.

    Chiang and Lee (AAAI 2022; arXiv 2012.11995): preset ``chiang`` has their 29,995 types and open probability 0.4. Types
    follow Zipf's law with exponent 1, entropy 10.48 bits, where theirs follow frequencies counted on Wikipedia, 10.46 bits:
    nothing here is taken from text. For a law of H bits that never draws a type twice in a row, the entropy is H/2 + 5/6
    H2(0.4) bits per token of an endless row: 6.04 at 10.46 bits. They may open a type inside itself (0.5 % of our tokens
    would), and cut one endless row into lines, so that 5 % of their tokens have lost their partner. ``chiang-uniform``: the
    same, uniform types.
    """

    name: ClassVar[str] = "nesting"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "chiang": {**_CHIANG, "p_open": 0.4},
        "chiang-uniform": {**_CHIANG, "p_open": 0.4, "exponent": 0.0},
    }
    alphabet_size: int = parameter(256, "number of types, each a token", low=2, high=1 << 16)
    p_open: float = parameter(0.4, "chance to open where something is open", low=0.01, high=0.99)
    exponent: float = parameter(1.0, "exponent of the Zipf law over types; 0 is uniform", low=0.0, high=2.0)
    shuffled: bool = parameter(True, "each machine has its own order of the types; false: 0 is the most frequent")
    rows_per_machine: int = parameter(16, "rows that share a machine", low=1, high=1 << 20)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        laws, law = laws_of_machines(draw("machines"), self.alphabet_size, self.exponent, self.shuffled, count)
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.empty((rows, length), dtype=np.float32)
        deepest, total = _nest(draw("rows"), law[machine], *laws, self.p_open, tokens, floor)
        info = {"max_depth": deepest, "mean_depth": total / length}
        return Block(tokens=tokens, machine=draw.machine_ids(law[machine]), floor_nats=floor, info=info)

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        stack: list[int] = []
        depth = []
        for token in self._generate(draw, 1, length).tokens[0].tolist():
            if stack and stack[-1] == token:
                stack.pop()
            else:
                stack.append(token)
            depth.append(len(stack))
        return bars(np.array(depth))


@dataclass(frozen=True)
class Flat(Source):
    """Flat parentheses: groups in which every type occurs twice, in random order.

    Machine: which types are frequent, as in ``nesting``, and, with ``same_size``, the number of pairs per group, n in
    min_pairs..max_pairs with probability proportional to 1/n; without, each group draws its own, uniformly. Every token is a
    type. A group of n pairs has 2n tokens: with r of them to come and o types open, the next opens a type with probability (r
    - o)/r and closes each open type with 1/r, which is a uniform shuffle. Groups follow each other, and the last one is cut.

    Floor: exact, by the Bayes mixture over the number of pairs that the group still has to open, where sizes are hidden. A
    type that is open is never opened a second time (such a draw is made again), so tokens alone tell openings from closings.
    Cost: about 40 ns per token. ``info``: pairs per group (0 where groups draw their own), and the mean number of open types.

    Chiang and Lee (AAAI 2022): 29,995 types; presets ``chiang`` (their Flat-128: 50..61 pairs, one group per line there,
    further ones to the end of the row here), ``chiang-2``, ``chiang-4`` and ``chiang-6`` (1; 2; 2 or 3 pairs). Types follow
    Zipf's law with exponent 1, not their frequencies counted on Wikipedia. They draw the types of a group independently, so
    the same type may come in two pairs of a group, four equal tokens; here it may do so only after the first pair is closed.
    """

    name: ClassVar[str] = "flat"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "chiang": {**_CHIANG, "min_pairs": 50, "max_pairs": 61, "same_size": False},
        "chiang-2": {**_CHIANG, "min_pairs": 1, "max_pairs": 1, "same_size": False},
        "chiang-4": {**_CHIANG, "min_pairs": 2, "max_pairs": 2, "same_size": False},
        "chiang-6": {**_CHIANG, "min_pairs": 2, "max_pairs": 3, "same_size": False},
    }
    alphabet_size: int = parameter(256, "number of types, each a token", low=2, high=1 << 16)
    min_pairs: int = parameter(1, "fewest pairs of a group", low=1, high=1 << 12)
    max_pairs: int = parameter(64, "most pairs of a group", low=1, high=1 << 12)
    same_size: bool = parameter(True, "all groups of a machine have the same size; false: each draws its own")
    exponent: float = parameter(1.0, "exponent of the Zipf law over types; 0 is uniform", low=0.0, high=2.0)
    shuffled: bool = parameter(True, "each machine has its own order of the types; false: 0 is the most frequent")
    rows_per_machine: int = parameter(16, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if 2 * self.max_pairs > self.alphabet_size:
            self.reject("max_pairs", f"1 to half of alphabet_size = {self.alphabet_size}")
        if self.min_pairs > self.max_pairs:
            self.reject("min_pairs", f"1 to max_pairs = {self.max_pairs}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        laws, law = laws_of_machines(draw("machines"), self.alphabet_size, self.exponent, self.shuffled, count)
        low, high = np.full(count, self.min_pairs), np.full(count, self.max_pairs)
        if self.same_size:
            low = high = sizes(draw("sizes"), self.min_pairs, self.max_pairs, count)
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.empty((rows, length), dtype=np.float32)
        one_of = 1.0 / np.maximum(np.arange(2.0 * self.max_pairs + 2.0), 1.0).reshape(-1, 2).T
        total = _shuffle(
            draw("rows"), law[machine], laws.chance, laws.keep, laws.other, low[machine], high[machine],
            np.ascontiguousarray(one_of), tokens, floor,
        )  # fmt: skip
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(machine),
            floor_nats=floor,
            info={"pairs": (low * (low == high))[machine], "mean_open": total / length},
        )


@kernel
def _nest(
    rng: np.random.Generator,
    law: NDArray[np.int64],
    chance: NDArray[np.float64],
    keep: NDArray[np.float64],
    other: NDArray[np.int32],
    p_open: float,
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill tokens and floor [N, T]; return the greatest depth and the sum of the depths of each row [N]."""
    rows, length = tokens.shape
    deepest, total = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    nats_closing = -np.log(1.0 - p_open)
    stack = np.empty(length, dtype=np.int64)
    for row in range(rows):
        m, depth = law[row], 0
        for t in range(length):
            if depth > 0 and rng.random() >= p_open:
                depth -= 1
                kind, cost = stack[depth], nats_closing
            else:
                kind, share = choose(rng.random(), keep[m], other[m]), 1.0
                if depth > 0:
                    top = stack[depth - 1]
                    while kind == top:
                        kind = choose(rng.random(), keep[m], other[m])
                    share = p_open / (1.0 - chance[m, top])
                cost = -np.log(share * chance[m, kind])
                stack[depth] = kind
                depth += 1
            tokens[row, t], floor[row, t] = kind, cost
            deepest[row] = max(deepest[row], depth)
            total[row] += depth
    return deepest, total


@kernel
def _shuffle(
    rng: np.random.Generator,
    law: NDArray[np.int64],
    chance: NDArray[np.float64],
    keep: NDArray[np.float64],
    other: NDArray[np.int32],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    one_of: NDArray[np.float64],
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Fill tokens and floor [N, T]; return the sum over tokens of the number of open types [N].

    one_of [2, max_pairs + 1]: where c types are open, one_of[c % 2, q + c // 2] is 1 / (2 q + c).
    """
    rows, length = tokens.shape
    total = np.zeros(rows, dtype=np.int64)
    is_open, opened = np.zeros(chance.shape[1], dtype=np.bool_), np.empty(one_of.shape[1], dtype=np.int64)
    # likely[used + q] is the probability that the group has still q pairs to open, times ``scale``; ``used`` counts openings, so
    # that nothing moves. It is zero outside first..last.
    likely = np.zeros(length + one_of.shape[1])
    for row in range(rows):
        m, least, most = law[row], low[row], high[row]
        used, count, to_open, mass = 0, 0, 0, 0.0  # mass: share of the law that is open
        first, last = 0, 0
        likely[0] = scale = 1.0
        for t in range(length):
            if count == 0 and first == used:  # the group may be complete: a new one
                for pairs in range(least, most + 1):
                    likely[used + pairs] += likely[used] / (most - least + 1)
                likely[used], first = 0.0, used + (1 if last > used else least)
                last = max(last, used + most)
            if count == 0 and to_open == 0:
                to_open = least + int(rng.random() * (most - least + 1))
            place = int(rng.random() * (2 * to_open + count))
            odds, each, known = likely[first : last + 1], one_of[count % 2, first - used + count // 2 :], first == last
            if place >= count:
                if known:
                    now = scale * (1.0 - count * each[0])
                else:
                    for i in range(odds.shape[0]):
                        odds[i] *= 1.0 - count * each[i]
                    now = sum_of(odds)
                kind = choose(rng.random(), keep[m], other[m])
                while is_open[kind]:
                    kind = choose(rng.random(), keep[m], other[m])
                share = chance[m, kind] / (1.0 - mass)
                opened[count], is_open[kind] = kind, True
                count, to_open, used, mass = count + 1, to_open - 1, used + 1, mass + chance[m, kind]
            else:
                if known:
                    now = scale * each[0]
                else:
                    for i in range(odds.shape[0]):
                        odds[i] *= each[i]
                    now = sum_of(odds)
                kind, share = opened[place], 1.0
                count -= 1
                opened[place], is_open[kind] = opened[count], False
                mass = mass - chance[m, kind] if count > 0 else 0.0
            tokens[row, t], floor[row, t] = kind, max(np.log(scale / (now * share)), 0.0)
            if not known:
                scale = now
            if scale < 1e-200:
                for i in range(odds.shape[0]):
                    odds[i] /= scale
                scale = 1.0
            first = max(first, used)
            total[row] += count
        for i in range(count):
            is_open[opened[i]] = False
        for i in range(likely.shape[0]):
            likely[i] = 0.0
    return total
