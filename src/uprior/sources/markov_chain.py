"""Random Markov chains of fixed order."""

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

# Breaking stops when this much of the stick is left; the rest is spread evenly.
STICK_REST = 2.0**-12


@dataclass(frozen=True)
class MarkovChain(Source):
    """Random Markov chains of order 0 to 3: each token depends on exactly the last few.

    Machine: an order (uniform in min_order..max_order), a random set of symbols in random order (size log-uniform in
    min_symbols..max_symbols, at most as many as keep symbols^order <= max_contexts), and for every context of ``order`` symbols
    a distribution over the next one. That is Dirichlet with equal parameters; their sum, the concentration, is log-uniform
    per machine (1 on two symbols is Beta(1/2, 1/2); small is sparse). Drawn by breaking a stick (Sethuraman 1994) until 2^-12
    of it is left, which is spread evenly: the mean is exact and no probability is zero. Contexts are drawn when a row first
    meets them. The first ``order`` tokens of a row are uniform over the machine's symbols.

    Machines: a continuum. Floor: exact, -ln of the transition's probability (ln of the number of symbols for the first tokens).
    Cost: 20 to 40 ns per token with eight rows per machine. ``context_tree`` has contexts of variable length.
    ``info``: order, symbols, concentration, contexts (that its rows in this block met).

    Bigram and n-gram control corpora in the literature are fitted to real text; this is the same law with random tables.
    """

    name: ClassVar[str] = "markov_chain"
    family: ClassVar[str] = "statistical"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    min_order: int = parameter(1, "least order of a machine, tokens", low=0, high=8)
    max_order: int = parameter(3, "largest order of a machine, tokens", low=0, high=8)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=2, high=4096)
    max_symbols: int = parameter(32, "most symbols of a machine", low=2, high=4096)
    max_contexts: int = parameter(256, "most contexts of a machine; symbols are cut to fit", low=2, high=1 << 20)
    min_concentration: float = parameter(0.5, "least Dirichlet mass; small is sparse", low=0.05, high=64.0)
    max_concentration: float = parameter(8.0, "most Dirichlet mass", low=0.05, high=64.0)
    rows_per_machine: int = parameter(8, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.min_order > self.max_order:
            self.reject("min_order", f"0 to max_order = {self.max_order}")
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.min_concentration > self.max_concentration:
            self.reject("min_concentration", f"0.05 to max_concentration = {self.max_concentration:g}")
        if self.min_symbols**self.max_order > self.max_contexts:
            self.reject("max_contexts", f"min_symbols ^ max_order = {self.min_symbols**self.max_order} or more")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        rng = draw("machines")
        order, symbols, concentration = self._settings(rng, count)
        # No machine meets more contexts than it writes tokens.
        met = np.minimum(symbols**order, -(-rows // count) * length)
        room = int((met * symbols).max())
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float32)
        contexts = np.empty(count, dtype=np.int64)
        _write_block(
            rng, draw("rows"), order, symbols, concentration, np.arange(self.alphabet_size), np.empty(room), np.empty(room),
            np.empty(room, dtype=np.uint16), tokens, probability, contexts,
        )  # fmt: skip
        info = {"order": order, "symbols": symbols, "concentration": concentration, "contexts": contexts}
        return block_by_machines(draw, machine, tokens, probability, info)

    def _settings(self, rng: np.random.Generator, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """[M] each: order, number of symbols, concentration."""
        order = rng.integers(self.min_order, self.max_order, count, endpoint=True)
        most = np.array([self._most_symbols(k) for k in range(self.max_order + 1)])[order]
        symbols = (self.min_symbols * ((most + 1) / self.min_symbols) ** rng.random(count)).astype(np.int64)
        ratio = self.max_concentration / self.min_concentration
        return order, np.minimum(symbols, most), self.min_concentration * ratio ** rng.random(count)

    def _most_symbols(self, order: int) -> int:
        """The most symbols whose contexts of this order fit."""
        most = self.max_symbols
        while most**order > self.max_contexts:
            most -= 1
        return most


@kernel
def _draw_distribution(
    rng: np.random.Generator,
    concentration: float,
    weight: NDArray[np.float64],
    keep: NDArray[np.float64],
    other: NDArray[np.uint16],
    work: NDArray[np.int64],
) -> None:
    """Fill ``weight`` [S] with a Dirichlet variable and ``keep``, ``other`` with its alias table."""
    symbols, rest = len(weight), 1.0
    weight[:] = 0.0
    while rest > STICK_REST:
        # rest is multiplied by a Beta(concentration, 1) variable, which is exp(-exponential variable / concentration).
        left = rest * exp(np.float32(-rng.standard_exponential() / concentration))
        weight[int(rng.random() * symbols)] += rest - left
        rest = left
    for i in range(symbols):
        weight[i] += rest / symbols
    fill_alias(weight, keep, other, work)


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    order_M: NDArray[np.int64],
    symbols_M: NDArray[np.int64],
    concentration_M: NDArray[np.float64],
    injection: NDArray[np.int64],
    weight: NDArray[np.float64],
    keep: NDArray[np.float64],
    other: NDArray[np.uint16],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    probability_NT: NDArray[np.float32],
    contexts_M: NDArray[np.int64],
) -> None:
    """Write all rows, machine after machine; row n belongs to machine n modulo the number of machines."""
    rows, length = tokens_NT.shape
    machines = len(order_M)
    work = np.empty(symbols_M.max(), dtype=np.int64)
    begins = np.empty((symbols_M**order_M).max(), dtype=np.int64)  # where a context's tables begin; -1: not drawn yet
    for m in range(machines):
        order, symbols = order_M[m], symbols_M[m]
        contexts, used = symbols**order, 0
        shuffle_first(machine_rng, injection, symbols)
        begins[:contexts] = -1
        for row in range(m, rows, machines):
            context = 0
            tokens, probability = tokens_NT[row], probability_NT[row]
            for t in range(length):
                if t < order:
                    symbol = int(row_rng.random() * symbols)
                    probability[t] = 1.0 / symbols
                else:
                    first = begins[context]
                    if first < 0:
                        first, last = used, used + symbols
                        begins[context], used = first, last
                        _draw_distribution(
                            machine_rng,
                            concentration_M[m],
                            weight[first:last],
                            keep[first:last],
                            other[first:last],
                            work,
                        )
                    symbol = take(row_rng.random(), symbols, first, keep, other)
                    probability[t] = weight[first + symbol]
                tokens[t] = injection[symbol]
                context = (context * symbols + symbol) % contexts
        contexts_M[m] = used // symbols
