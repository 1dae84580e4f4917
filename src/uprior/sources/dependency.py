"""Sentences of dependencies: pairs of a head and its tail, nested or crossing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, bars, machine_of_row
from uprior.sources._exact import kernel
from uprior.sources._formal import Laws, choose, laws_of, laws_of_machines, sum_of
from uprior.sources.log_linear import log_linear_weights
from uprior.spec import parameter
from uprior.types import Block

_RI: dict[str, Any] = {"types": 8000, "exponent": 1.0, "shuffled": False, "p_open": 0.4}


@dataclass(frozen=True)
class Dependency(Source):
    """Dependency language: sentences of pairs, a head and its tail, nested or crossing.

    Machine: a law over the types of pairs: Zipf's, in a random order (``types``! of them; one where ``shuffled`` is false or
    the exponent is 0), or log-linear, exp(v.c) with standard normal vectors in 10 dimensions (a continuum). Token i is the
    head of a pair of type i, types + i its tail, and 2 * types separates sentences; with ``ends`` = same, head and tail are
    both token i (a *parenthesis*) and ``types`` separates.

    A sentence has n pairs: half a length uniform in min_sentence..max_sentence, odd ones rounded up or down. Structure
    *nesting*: a pair opens with ``p_open`` if something is open and something is left to open, and the pair last opened
    closes otherwise. *flat*: with q pairs left to open and o open, one opens with probability q / (q + o), else any of the
    open ones closes. When all are closed the separator follows. The row ends where it ends.

    Floor: exact, by the Bayes mixture over n, which is hidden; what is open is visible. With equal ends this needs openings
    that tokens alone betray, so a type is not opened directly inside itself (nesting) or while it is open (flat): it is drawn
    again. Cost: about 45 ns per token. ``info``: sentences begun, and the mean number of open pairs.

    Ri and Tsuruoka (ACL 2022): presets ``ri`` (nesting dependency, which transferred best), ``ri-flat``, and
    ``ri-parenthesis`` (nesting, equal ends); 8,000 heads and 8,000 tails, or 16,000 types; Zipf's law with weight V/rank,
    rounded down in their code. Their sentence lengths are those of 10,000 sentences of Wikipedia (6..60, mean 22.7); nothing
    here is taken from text, so ours are uniform in 6..39, mean 22.5, an arbitrary choice.
    """

    name: ClassVar[str] = "dependency"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ri": {**_RI, "structure": "nesting", "ends": "different"},
        "ri-flat": {**_RI, "structure": "flat", "ends": "different"},
        "ri-parenthesis": {**_RI, "structure": "nesting", "ends": "same", "types": 16000},
    }
    types: int = parameter(127, "number of types of pairs", low=2, high=(1 << 15) - 1)
    structure: str = parameter("nesting", "last opened closes first, or any", choices=("nesting", "flat"))
    ends: str = parameter("different", "head and tail are different tokens, or the same", choices=("different", "same"))
    law: str = parameter("zipf", "law over types", choices=("zipf", "log_linear"))
    exponent: float = parameter(1.0, "exponent of the Zipf law; 0 is uniform", low=0.0, high=2.0)
    shuffled: bool = parameter(True, "each machine has its own order of the types; false: 0 is the most frequent")
    p_open: float = parameter(0.4, "chance to open in a nested sentence", low=0.01, high=0.99)
    min_sentence: int = parameter(6, "shortest sentence, tokens", low=2, high=1 << 12)
    max_sentence: int = parameter(39, "longest sentence, tokens", low=2, high=1 << 12)
    rows_per_machine: int = parameter(16, "rows that share a machine", low=1, high=1 << 20)

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return (2 if self.ends == "different" else 1) * self.types + 1

    def validate(self) -> None:
        if self.min_sentence > self.max_sentence:
            self.reject("min_sentence", f"2 to max_sentence = {self.max_sentence}")
        if self.ends == "same" and self.structure == "flat" and self.max_sentence + 1 > self.types:
            self.reject("types", f"from max_sentence + 1 = {self.max_sentence + 1} where equal ends are flat")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        laws, law = self._laws(draw("machines"), int(machine.max()) + 1)
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.empty((rows, length), dtype=np.float32)
        pairs_law = self.pairs_law()
        above = np.append(np.cumsum(pairs_law[::-1])[-2::-1], 0.0)
        one_of = 1.0 / np.maximum(np.arange(2.0 * len(pairs_law)), 1.0)
        sentences, total = _write(
            draw("rows"), law[machine], *laws, pairs_law, above, one_of, self.min_sentence, self.max_sentence,
            self.structure == "nesting", self.ends == "same", self.p_open, tokens, floor,
        )  # fmt: skip
        info = {"sentences": sentences, "mean_open": total / length}
        return Block(tokens=tokens, machine=draw.machine_ids(law[machine]), floor_nats=floor, info=info)

    def _laws(self, rng: np.random.Generator, machines: int) -> tuple[Laws, NDArray[np.int64]]:
        """The laws, and which of them each machine uses [M]."""
        if self.law == "log_linear":
            return laws_of(log_linear_weights(rng, machines, 1, self.types, 10)), np.arange(machines)
        return laws_of_machines(rng, self.types, self.exponent, self.shuffled, machines)

    def pairs_law(self) -> NDArray[np.float64]:
        """[most + 1] the probability of each number of pairs of a sentence."""
        law = np.zeros((self.max_sentence + 1) // 2 + 1)
        for size in range(self.min_sentence, self.max_sentence + 1):
            law[size // 2] += 0.5
            law[(size + 1) // 2] += 0.5
        return law / (self.max_sentence + 1 - self.min_sentence)

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        stack: list[int] = []
        depth = []
        for token in self._generate(draw, 1, length).tokens[0].tolist():
            kind = token % self.types
            if token < self.alphabet_size - 1:
                closes = kind in stack if self.ends == "same" else token >= self.types
                if closes:
                    stack.remove(kind)
                else:
                    stack.append(kind)
            depth.append(len(stack))
        return bars(np.array(depth))


@kernel
def _write(
    rng: np.random.Generator,
    law: NDArray[np.int64],
    chance: NDArray[np.float64],
    keep: NDArray[np.float64],
    other: NDArray[np.int32],
    pairs_law: NDArray[np.float64],
    above: NDArray[np.float64],
    one_of: NDArray[np.float64],
    shortest: int,
    longest: int,
    nesting: bool,
    same: bool,
    p_open: float,
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill tokens and floor [N, T]; return the sentences begun and the sum over tokens of the open pairs of each row [N].

    pairs_law[n] is the probability of n pairs, above[n] of more than n; one_of[i] is 1 / i.
    """
    rows, length = tokens.shape
    types, most = chance.shape[1], pairs_law.shape[0] - 1
    tail, separator = 0 if same else types, types if same else 2 * types
    sentences, total = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    opened, copies = np.empty(most, dtype=np.int64), np.zeros(types, dtype=np.int64)
    # likely[n]: probability that the sentence has n pairs, times ``scale``. Nested sentences differ only by whether all pairs are
    # opened, n = done, so for them it stays pairs_law, times ``full`` at n = done and ``more`` above.
    likely = np.empty(most + 1)
    for row in range(rows):
        m, count, to_open, done, mass, scale, full, more = (
            law[row],
            0,
            0,
            0,
            0.0,
            1.0,
            1.0,
            1.0,
        )  # mass: share of the law that is open
        begins = True
        for t in range(length):
            if begins:
                to_open = (shortest + int(rng.random() * (longest - shortest + 1)) + int(rng.random() * 2)) // 2
                done, scale, full, more, begins = 0, 1.0, 1.0, 1.0, False
                for n in range(most + 1):
                    likely[n] = pairs_law[n]
                sentences[row] += 1
            odds, each = likely[done:], one_of[count:]  # done pairs are opened, so q = 0, 1, ... may be left to open
            if count == 0 and to_open == 0:
                token, share, now, begins = separator, 1.0, odds[0] * full, True
            elif count == 0 or (to_open > 0 and rng.random() < (p_open if nesting else to_open * each[to_open])):
                kind = choose(rng.random(), keep[m], other[m])
                share = chance[m, kind]
                if same and nesting and count > 0:
                    while kind == opened[count - 1]:
                        kind = choose(rng.random(), keep[m], other[m])
                    share = chance[m, kind] / (1.0 - chance[m, opened[count - 1]])
                elif same and not nesting:
                    while copies[kind] > 0:
                        kind = choose(rng.random(), keep[m], other[m])
                    share = chance[m, kind] / (1.0 - mass)
                if nesting:
                    full = more = more * p_open if count > 0 else more
                    now = more * above[done]
                else:
                    if count > 0:
                        for q in range(1, odds.shape[0]):
                            odds[q] *= q * each[q]
                    now = sum_of(odds[1:])
                opened[count] = kind
                copies[kind] += 1
                token, count, to_open, done, mass = kind, count + 1, to_open - 1, done + 1, mass + chance[m, kind]
            else:
                place = count - 1 if nesting else int(rng.random() * count)
                kind = opened[place]
                share = 1.0 if nesting else copies[kind] * one_of[count]
                if nesting:
                    more *= 1.0 - p_open
                    now = full * odds[0] + more * above[done]
                else:
                    for q in range(1, odds.shape[0]):
                        odds[q] *= count * each[q]
                    now = sum_of(odds)
                count -= 1
                opened[place] = opened[count]
                copies[kind] -= 1
                token, mass = kind + tail, mass - chance[m, kind] if count > 0 else 0.0
            tokens[row, t], floor[row, t] = token, max(np.log(scale / (now * share)), 0.0)
            scale = now
            total[row] += count
        for i in range(count):
            copies[opened[i]] = 0
    return sentences, total
