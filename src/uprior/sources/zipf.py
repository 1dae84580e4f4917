"""Independent tokens from Zipf's law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import fill_alias, shuffle_first, take
from uprior.sources._base import Draw, Source, block_by_machines, machine_of_row
from uprior.sources._exact import exp, kernel
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Zipf(Source):
    """Independent tokens from Zipf's law, with a random exponent and a random order of symbols: a control without structure.

    Machine: an exponent s (uniform in min_exponent..max_exponent), a number of symbols (log-uniform in
    min_symbols..max_symbols), and a random set of that many symbols in random order. The symbol of rank r (1, 2, ...) has a
    probability proportional to r^-s. Machines: a continuum of laws times the orders of the symbols.

    Floor: exact, -ln of the symbol's probability. Cost: about 15 ns per token. ``info``: symbols, exponent, entropy (of the
    machine's law, nats per token).

    Unigram ("Zipf") corpora are the usual control of pre-training on artificial languages (Chiang and Lee 2022, whose
    frequencies are those of a real corpus); nothing but frequencies can be learnt from them.
    """

    name: ClassVar[str] = "zipf"
    family: ClassVar[str] = "statistical"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    min_symbols: int = parameter(16, "fewest symbols of a machine", low=2, high=1 << 16)
    max_symbols: int = parameter(256, "most symbols of a machine", low=2, high=1 << 16)
    min_exponent: float = parameter(0.5, "least exponent; 0 is uniform", low=0.0, high=8.0)
    max_exponent: float = parameter(2.0, "largest exponent", low=0.0, high=8.0)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.min_exponent > self.max_exponent:
            self.reject("min_exponent", f"0 to max_exponent = {self.max_exponent:g}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        rng = draw("machines")
        ratio = (self.max_symbols + 1) / self.min_symbols
        symbols = np.minimum((self.min_symbols * ratio ** rng.random(count)).astype(np.int64), self.max_symbols)
        exponent = self.min_exponent + (self.max_exponent - self.min_exponent) * rng.random(count)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float32)
        log_rank = np.log(np.arange(1, self.max_symbols + 1)).astype(np.float32)
        entropy = np.empty(count)
        _write_block(
            rng, draw("rows"), symbols, exponent, log_rank, np.arange(self.alphabet_size), tokens, probability, entropy
        )
        info = {"symbols": symbols, "exponent": exponent, "entropy": entropy}
        return block_by_machines(draw, machine, tokens, probability, info)


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    symbols_M: NDArray[np.int64],
    exponent_M: NDArray[np.float64],
    log_rank: NDArray[np.float32],
    injection: NDArray[np.int64],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    probability_NT: NDArray[np.float32],
    entropy_M: NDArray[np.float64],
) -> None:
    """Write all rows, machine after machine; row n belongs to machine n modulo the number of machines."""
    rows, length = tokens_NT.shape
    most, machines = len(log_rank), len(symbols_M)
    weight, keep = np.empty(most), np.empty(most)
    other, work = np.empty(most, dtype=np.uint16), np.empty(most, dtype=np.int64)
    for m in range(machines):
        symbols, total, exponent = symbols_M[m], 0.0, np.float32(exponent_M[m])
        shuffle_first(machine_rng, injection, symbols)
        for i in range(symbols):
            weight[i] = exp(-exponent * log_rank[i])
            total += weight[i]
        entropy = np.log(total)
        for i in range(symbols):
            weight[i] /= total
            entropy += weight[i] * exponent * log_rank[i]
        entropy_M[m] = entropy
        fill_alias(weight[:symbols], keep, other, work)
        for row in range(m, rows, machines):
            for t in range(length):
                symbol = take(row_rng.random(), symbols, 0, keep, other)
                tokens_NT[row, t] = injection[symbol]
                probability_NT[row, t] = weight[symbol]
