"""Random Lindenmayer systems: all symbols rewritten at once, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._base import Draw, Source, machine_of_row
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block

# A system is drawn again unless it reaches its length in this many steps, and unless its first JUDGED symbols, shifted by any
# of 1..LONGEST_PERIOD, differ from themselves in at least one place in SHARE.
MOST_STEPS, JUDGED, LONGEST_PERIOD, SHARE, MOST_ATTEMPTS = 64, 256, 16, 32, 1000
_FIXED = {"random": (), "fibonacci": ((0, 1), (0,)), "thue-morse": ((0, 1), (1, 0))}


@dataclass(frozen=True)
class Lindenmayer(Source):
    """Random Lindenmayer systems (D0L): self-similar words made by rewriting every symbol at once.

    Machine: a number of symbols (uniform in min_symbols..max_symbols), written as random tokens in random order, and for each
    a production of 1..k symbols (k uniform in 2..max_production per machine; lengths and symbols uniform; none is erased).
    From a single symbol 0, every symbol is replaced by its production, until the word has 2 T symbols (T the length of a row;
    256 at least). A row is the window of T symbols that begins at a uniform place among the first T.

    So that no system is trivial, one is drawn again if it has not grown that far after 64 steps, or if its first 256 symbols
    differ from themselves, shifted by some 1 to 16 places, in fewer than 1 place in 32 (constant and periodic words do).

    Floor: exact given the system: ln of the number of windows that fit the prefix, before and after the token; at most ln T
    nats per row together. With ``variants`` > 1 each occurrence of a symbol takes one of so many productions at random
    (stochastic 0L), a row is the first T symbols of a word of its own, and the floor is None. Machines: some 10^10 systems times
    the tokens. Cost: about 15 ns per token, 60 ns with variants.
    ``info``: symbols (of the system), used (different ones in the row), steps (of rewriting).

    Presets ``fibonacci`` (0 -> 01, 1 -> 0) and ``thue-morse`` (0 -> 01, 1 -> 10): always that system, in random tokens.
    """

    name: ClassVar[str] = "lindenmayer"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fibonacci": {"system": "fibonacci"},
        "thue-morse": {"system": "thue-morse"},
    }
    alphabet_size: int = parameter(256, "number of tokens", low=2, high=1 << 16)
    system: str = parameter("random", "which productions", choices=tuple(_FIXED))
    min_symbols: int = parameter(2, "fewest symbols of a system", low=2, high=64)
    max_symbols: int = parameter(8, "most symbols of a system", low=2, high=64)
    max_production: int = parameter(4, "most symbols of a production", low=2, high=16)
    variants: int = parameter(1, "productions of a symbol to choose from at each occurrence", low=1, high=16)
    rows_per_machine: int = parameter(4, "rows that share a system", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.variants > 1 and self.system != "random":
            self.reject("variants", "1 where the system is fixed")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        return self._write(draw, rows, length)[0]

    def _write(self, draw: Draw, rows: int, length: int) -> tuple[Block, NDArray[np.int64], NDArray[np.int64]]:
        """The block, and the systems [M, symbols, variants, production] with the lengths of their productions."""
        machine = machine_of_row(rows, self.rows_per_machine)
        machines, fixed = int(machine.max()) + 1, _FIXED[self.system]
        rng = draw("machines")
        if fixed:
            symbols, most = np.full(machines, 2), np.full(machines, 2)
        else:
            symbols = rng.integers(self.min_symbols, self.max_symbols, machines, endpoint=True)
            most = rng.integers(2, self.max_production, machines, endpoint=True)
        size = np.ones((machines, int(symbols.max()), self.variants), dtype=np.int64)
        body = np.zeros((*size.shape, int(most.max())), dtype=np.int64)
        for a, production in enumerate(fixed):
            size[:, a, 0] = len(production)
            body[:, a, 0, : len(production)] = production
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        floor = np.zeros((rows, length), dtype=np.float32)
        steps, used = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
        words = np.zeros((2, max(2 * length, JUDGED)), dtype=np.uint16)
        _write_block(
            rng, draw("rows"), symbols, most, not fixed, np.arange(self.alphabet_size), words, size, body, tokens, floor,
            steps, used,
        )  # fmt: skip
        block = Block(
            tokens=tokens,
            machine=draw.machine_ids(machine),
            floor_nats=floor if self.variants == 1 else None,
            info={"symbols": symbols[machine], "used": used, "steps": steps},
        )
        return block, size, body

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        """The word at every step, time downwards, cut at ``length``."""
        if self.variants > 1:
            return None
        _, size, body = self._write(draw, 1, length)
        words = [[0]]
        while len(words[-1]) < length:
            grown = [int(b) for a in words[-1] for b in body[0, a, 0, : size[0, a, 0]]]
            words.append(grown[:length])
        return np.array([word + [-1] * (length - len(word)) for word in words])


@kernel
def _grow(
    rng: np.random.Generator, size: NDArray[np.int64], body: NDArray[np.int64], words: NDArray[np.uint16], most: int
) -> tuple[int, int]:
    """Rewrite symbol 0 until words[which] holds ``most`` symbols; (which, steps), steps -1 where it grows too slowly."""
    variants = size.shape[1]
    words[0, 0], held, which, steps = 0, 1, 0, 0
    while held < most and steps < MOST_STEPS:
        before, after, grown = words[which], words[1 - which], 0
        for i in range(held):
            a = before[i]
            v = int(rng.random() * variants) if variants > 1 else 0
            for j in range(min(size[a, v], most - grown)):
                after[grown] = body[a, v, j]
                grown += 1
        held, which, steps = grown, 1 - which, steps + 1
    return which, (steps if held == most else -1)


@kernel
def _is_trivial(word: NDArray[np.uint16]) -> bool:
    """Whether a word is periodic or nearly so."""
    for period in range(1, LONGEST_PERIOD + 1):
        differ = 0
        for i in range(period, JUDGED):
            differ += word[i] != word[i - period]
        if differ < JUDGED // SHARE:
            return True
    return False


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    symbols_M: NDArray[np.int64],
    most_M: NDArray[np.int64],
    draws: bool,
    identities: NDArray[np.int64],
    words: NDArray[np.uint16],
    size_M: NDArray[np.int64],
    body_M: NDArray[np.int64],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    floor_NT: NDArray[np.float32],
    steps_N: NDArray[np.int64],
    used_N: NDArray[np.int64],
) -> None:
    """Draw the systems (where ``draws``) and write all rows; row n belongs to system n modulo their number."""
    rows, length = tokens_NT.shape
    machines, variants = len(symbols_M), size_M.shape[2]
    seen = np.full(symbols_M.max(), -1, dtype=np.int64)
    fits = np.empty(length, dtype=np.int64)
    for m in range(machines):
        size, body, which, steps = size_M[m], body_M[m], 0, -1
        shuffle_first(machine_rng, identities, symbols_M[m])
        for _ in range(MOST_ATTEMPTS):
            if draws:
                for a in range(symbols_M[m]):
                    for v in range(variants):
                        size[a, v] = 1 + int(machine_rng.random() * most_M[m])
                        for j in range(size[a, v]):
                            body[a, v, j] = int(machine_rng.random() * symbols_M[m])
            which, steps = _grow(machine_rng, size, body, words, words.shape[1])
            if steps >= 0 and not (draws and _is_trivial(words[which])):
                break
        for row in range(m, rows, machines):
            first, used = int(row_rng.random() * length), 0
            if variants > 1:
                first, steps = 0, -1
                while steps < 0:  # ends, as the system has grown far enough before
                    which, steps = _grow(row_rng, size, body, words, length)
            word = words[which]
            for t in range(length):
                symbol = word[first + t]
                tokens_NT[row, t] = identities[symbol]
                if seen[symbol] != row:
                    seen[symbol] = row
                    used += 1
            steps_N[row], used_N[row] = steps, used
            if variants == 1:
                _narrow(word, first, fits, floor_NT[row])


@kernel
def _narrow(word: NDArray[np.uint16], first: int, fits: NDArray[np.int64], floor: NDArray[np.float32]) -> None:
    """The floor of the window that begins at ``first``: how many of the windows that fit so far also fit the next symbol."""
    left = len(floor)
    for i in range(left):
        fits[i] = i
    for t in range(len(floor)):
        symbol, kept = word[first + t], 0
        for i in range(left):
            start = fits[i]
            fits[kept] = start
            kept += word[start + t] == symbol
        if kept < left:
            floor[t] = np.log(left / kept)
            left = kept
            if left == 1:
                break
