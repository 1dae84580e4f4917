"""Random automatic sequences: what a finite automaton says of the digits of n, for n = start, start + 1, ..."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.sources._periods import repeats
from uprior.spec import parameter
from uprior.types import Block

# More digits than any number can have, and how often a machine is drawn again.
_ROOM, MOST_REDRAWS = 64, 32


@dataclass(frozen=True)
class AutomaticSequence(Source):
    """Random k-automatic sequences: a finite automaton reads the digits of n, and its last state says token n.

    Machine: a base k (uniform in 2..max_base), a number of states (uniform in 2..max_states) and of symbols (uniform in 2 to
    the smaller of max_symbols and the states), a next state for every state and digit and a symbol for every state,
    independent and uniform, random tokens for the symbols, and a start. State 0, where all begin, always stays where it is on
    digit 0, so that leading zeros say nothing; every automatic sequence has such an automaton. A row is the output for
    n = start, start + 1, ..., most significant digit first; start is uniform below 2^b, b uniform in 0..max_bits. For s
    states and m symbols there are s^(s k - 1) m^s automata.

    Many automata end in states of one symbol: 9 % of all rows would be constant. ``max_period`` p draws automaton and start
    again if the second half of the row repeats itself after p tokens or fewer, at most 32 times: 0.24 redraws per row, and 1
    in 3000 gives up. Of what is left, 1 row in 11 (of 256 tokens) has no more than 12 Lempel-Ziv phrases.

    Floor: exact, 0, as the machine, start included, knows its row; so each row has a machine of its own. Cost: about 8 ns
    per token, 15 in base 2 alone. ``info``: base, states, symbols, start, redrawn (machines thrown away before this one).

    Automatic sequences are those of Allouche and Shallit 2003 (Automatic Sequences, Cambridge University Press); the one of
    Thue and Morse has k = 2 and two states. The picture has k^j numbers to a line, so that there are no more different lines
    than states, and its columns are pieces of the k-kernel's sequences.
    """

    name: ClassVar[str] = "automatic_sequence"
    family: ClassVar[str] = "automaton"
    alphabet_size: int = parameter(256, "number of tokens", low=2, high=1 << 16)
    max_base: int = parameter(8, "largest base", low=2, high=64)
    max_states: int = parameter(16, "most states of a machine", low=2, high=256)
    max_symbols: int = parameter(16, "most symbols of a machine", low=2, high=256)
    max_bits: int = parameter(32, "most bits of a start; 0: all start at 0", low=0, high=48)
    max_period: int = parameter(8, "longest period for which a machine is redrawn, tokens; 0: none", low=0, high=1024)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        rng = draw("sizes")
        base = rng.integers(2, self.max_base, rows, endpoint=True)
        states = rng.integers(2, self.max_states, rows, endpoint=True)
        symbols = rng.integers(2, np.minimum(states, self.max_symbols), endpoint=True)
        bits = rng.integers(0, self.max_bits, rows, endpoint=True)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        start, redrawn = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
        _write_block(
            draw("machines"), base, states, symbols, bits, self.max_period, np.arange(self.alphabet_size), tokens, start,
            redrawn,
        )  # fmt: skip
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(np.arange(rows)),
            floor_nats=np.zeros((rows, length), dtype=np.float32),
            info={"base": base, "states": states, "symbols": symbols, "start": start, "redrawn": redrawn},
        )

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        """The row in lines of k^j tokens, the first such power from 32 on; the column is n modulo k^j."""
        block = self._generate(draw, 1, length)
        base, start = int(block.info["base"][0]), int(block.info["start"][0])
        width = base
        while width < 32:
            width *= base
        before = start % width
        picture = np.full(-(-(before + length) // width) * width, -1, dtype=np.int64)
        picture[before : before + length] = block.tokens[0]
        return picture.reshape(-1, width)


@kernel
def write_row(
    base: int,
    table: NDArray[np.int64],
    output: NDArray[np.int64],
    start: int,
    digits: NDArray[np.int64],
    path: NDArray[np.int64],
    tokens: NDArray[np.unsignedinteger[Any]],
) -> None:
    """Write the output for start, start + 1, ...

    table   [states * base] the next state for each state * base + digit; table[0] = 0
    output  [states] the token of each last state
    digits  [_ROOM] and path [_ROOM + 1] are working space: the digits of n, least significant first, and the state in which
            each is read
    """
    length = tokens.shape[0]
    size, number = 0, start + length
    while number > 0:
        number //= base
        size += 1
    number = start
    for i in range(size):
        digits[i] = number % base
        number //= base
    path[size - 1] = 0
    for i in range(size - 1, 0, -1):
        path[i - 1] = table[path[i] * base + digits[i]]
    t, digit = 0, digits[0]
    while True:
        first = path[0] * base
        for d in range(digit, min(base, digit + length - t)):
            tokens[t] = output[table[first + d]]
            t += 1
        if t == length:
            break
        digit, i = 0, 1
        while digits[i] == base - 1:
            digits[i] = 0
            i += 1
        digits[i] += 1
        for j in range(i, 0, -1):
            path[j - 1] = table[path[j] * base + digits[j]]


@kernel
def _write_block(
    rng: np.random.Generator,
    base_N: NDArray[np.int64],
    states_N: NDArray[np.int64],
    symbols_N: NDArray[np.int64],
    bits_N: NDArray[np.int64],
    max_period: int,
    injection: NDArray[np.int64],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    start_N: NDArray[np.int64],
    redrawn_N: NDArray[np.int64],
) -> None:
    """Draw the machines and write their rows."""
    rows, length = tokens_NT.shape
    table, output = np.empty(states_N.max() * base_N.max(), dtype=np.int64), np.empty(states_N.max(), dtype=np.int64)
    digits, path = np.empty(_ROOM, dtype=np.int64), np.empty(_ROOM + 1, dtype=np.int64)
    for row in range(rows):
        base, states, symbols, redrawn = base_N[row], states_N[row], symbols_N[row], 0
        shuffle_first(rng, injection, symbols)
        while True:
            for entry in range(states * base):
                table[entry] = int(rng.random() * states) if entry > 0 else 0
            for state in range(states):
                output[state] = injection[int(rng.random() * symbols)]
            start_N[row] = int(rng.random() * (1 << bits_N[row]))
            write_row(base, table, output, start_N[row], digits, path, tokens_NT[row])
            if redrawn == MOST_REDRAWS or not repeats(tokens_NT[row, length // 2 :], max_period):
                break
            redrawn += 1
        redrawn_N[row] = redrawn
