"""Markov processes of random order with power-law distributions: hierarchical Pitman-Yor processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block

LEVELS = 17  # orders 0 to 16
# Bits of a product of 64 bits that are well mixed, for the places in the hash table.
_MIX, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(20)
_ONE_SLOT = np.uint64(1)


@dataclass(frozen=True)
class PitmanYor(Source):
    """Hierarchical Pitman-Yor processes: every context has a law of its own, which leans on that of the next shorter context.

    The law of what follows a context u of k tokens is a Pitman-Yor process with discount d_k, concentration c_k and, as its base,
    the law of u without its oldest token; the base of the empty context is uniform over the machine's symbols. Written by the
    "Chinese restaurant" scheme: after u, a token seen there n times (at t tables) of N (T tables) comes with probability

        (n - d_k t) / (c_k + N) + (c_k + d_k T) / (c_k + N) * (its probability after the shorter context)

    so frequencies follow power laws on every level (discounts), a context that was seen often is trusted more than one seen
    once, and every chain of that order over the symbols is in the support. Who predicts such rows well has learnt what
    prediction by partial matching and Kneser-Ney smoothing do by rule.

    Machine: a number of symbols (log-uniform), an order (0..max_order), discounts and concentrations, which tokens stand for
    the symbols, *and* the tables at which tokens were seated, so every row is a machine of its own. A typical discount is
    uniform in 0..1; those of the levels lie between it and 1, sorted: the longer a context, the less it has to say of its own.
    (Unsorted, half of all rows are locked in a loop after 256 tokens.) Concentrations are log-uniform, each level its own. The
    tokens are any set, or up to ``max_runs`` runs of neighbouring codes, because code tables are handed out in ranges; never in
    the order of their frequency. Machines: a continuum.

    Floor: exact for who knows the seating; a reader of the row alone can only average over seatings. Cost: about 150 ns per
    token. ``info``: symbols, order, discount (the typical one), runs.

    Teh 2006 (ACL, "A hierarchical Bayesian language model based on Pitman-Yor processes"), sections 2 and 3; Wood et al. 2009
    (ICML, "A stochastic memoizer for sequence data"): there the order is unbounded, c_k = 0, and discounts were fitted to text;
    ours are drawn.
    """

    name: ClassVar[str] = "pitman_yor"
    family: ClassVar[str] = "statistical"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=2, high=1 << 16)
    max_symbols: int = parameter(256, "most symbols of a machine", low=2, high=1 << 16)
    max_order: int = parameter(8, "longest context, tokens", low=0, high=LEVELS - 1)
    min_concentration: float = parameter(0.01, "least concentration of a level", low=1e-6, high=1e6)
    max_concentration: float = parameter(10.0, "largest concentration of a level", low=1e-6, high=1e6)
    max_runs: int = parameter(4, "most runs of neighbouring codes that the symbols fill; 0: any set", low=0, high=64)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.min_concentration > self.max_concentration:
            self.reject("min_concentration", f"at most max_concentration = {self.max_concentration:g}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        rng = draw("machines")
        symbols, order, typical, discount, concentration, runs = self._settings(rng, rows)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float64)
        _write_block(
            rng, draw("rows"), symbols, order, discount, concentration, runs, self.alphabet_size, tokens, probability
        )
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(np.arange(rows)),
            floor_nats=np.maximum(-np.log(probability), 0).astype(np.float32),
            info={"symbols": symbols, "order": order, "discount": typical, "runs": runs},
        )

    def _settings(self, rng: np.random.Generator, rows: int) -> tuple[NDArray[Any], ...]:
        """Per row: symbols, order, typical discount [N]; discounts, concentrations [N, LEVELS]; runs [N]."""
        ratio = (self.max_symbols + 1) / self.min_symbols
        symbols = np.minimum((self.min_symbols * ratio ** rng.random(rows)).astype(np.int64), self.max_symbols)
        order = rng.integers(0, self.max_order + 1, rows)
        typical = rng.random(rows)
        above = rng.random((rows, LEVELS))
        above[np.arange(LEVELS) > order[:, None]] = 1  # levels that are not there
        discount = typical[:, None] + (1 - typical[:, None]) * np.sort(above, axis=1)
        span = self.max_concentration / self.min_concentration
        concentration = self.min_concentration * span ** rng.random((rows, LEVELS))
        return symbols, order, typical, discount, concentration, rng.integers(0, self.max_runs + 1, rows)


@kernel
def _draw_code(
    rng: np.random.Generator, symbols: int, runs: int, taken: NDArray[np.bool_], code: NDArray[np.int64]
) -> None:
    """Fill code[:symbols]: which tokens stand for the symbols; any set, or ``runs`` runs of neighbours; in random order."""
    size = len(taken)
    for i in range(size):
        taken[i] = False
    for i in range(symbols if runs == 0 else 0):
        at = int(rng.random() * size)
        while taken[at]:
            at = int(rng.random() * size)
        taken[at] = True
        code[i] = at
    done = symbols if runs == 0 else 0
    for run in range(runs):
        last = symbols if run == runs - 1 else done + int(rng.random() * (symbols - done + 1))
        at = int(rng.random() * size)
        while done < last:
            if not taken[at]:
                taken[at] = True
                code[done] = at
                done += 1
            at = at + 1 if at + 1 < size else 0
    for i in range(symbols - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        code[i], code[j] = code[j], code[i]


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    symbols_N: NDArray[np.int64],
    order_N: NDArray[np.int64],
    discount_NL: NDArray[np.float64],
    concentration_NL: NDArray[np.float64],
    runs_N: NDArray[np.int64],
    alphabet_size: int,
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    probability_NT: NDArray[np.float64],
) -> None:
    """Write all rows. Nodes are contexts, entries the symbols seen after one: a linked list per node."""
    rows, length = tokens_NT.shape
    most = length * LEVELS + 2
    slots = 1
    while slots < 2 * most:
        slots *= 2
    mask = np.uint64(slots - 1)
    taken, code = np.empty(alphabet_size, dtype=np.bool_), np.empty(alphabet_size, dtype=np.int64)
    key, child = np.empty(slots, dtype=np.int64), np.empty(slots, dtype=np.int32)
    customers, tables, first = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    symbol_of, seen, at_tables = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    following = np.empty(most, np.int32)
    path, history = np.empty(LEVELS, dtype=np.int64), np.empty(length, dtype=np.int64)
    for row in range(rows):
        symbols, order = symbols_N[row], order_N[row]
        discount, concentration = discount_NL[row], concentration_NL[row]
        _draw_code(machine_rng, symbols, runs_N[row], taken, code)
        for i in range(slots):
            key[i] = -1
        nodes, entries = 1, 0
        customers[0], tables[0], first[0], path[0] = 0, 0, -1, 0
        for t in range(length):
            deepest = min(order, t)
            for level in range(1, deepest + 1):
                wanted = path[level - 1] * symbols + history[t - level]
                slot = ((np.uint64(wanted) * _MIX) >> _SHIFT) & mask
                while key[slot] != wanted and key[slot] != -1:
                    slot = (slot + _ONE_SLOT) & mask
                if key[slot] == -1:
                    key[slot], child[slot] = wanted, nodes
                    customers[nodes], tables[nodes], first[nodes] = 0, 0, -1
                    nodes += 1
                path[level] = child[slot]
            # From the longest context down: a token that was seen there, or whatever the shorter context says.
            level, symbol = deepest, -1
            while level >= 0 and symbol < 0:
                node = path[level]
                u = row_rng.random() * (concentration[level] + customers[node])
                if u < customers[node] - discount[level] * tables[node]:
                    entry = first[node]
                    u -= seen[entry] - discount[level] * at_tables[entry]
                    while u >= 0 and following[entry] >= 0:
                        entry = following[entry]
                        u -= seen[entry] - discount[level] * at_tables[entry]
                    symbol = symbol_of[entry]
                else:
                    level -= 1
            if symbol < 0:
                symbol = int(row_rng.random() * symbols)
            p = 1.0 / symbols
            for k in range(deepest + 1):
                node = path[k]
                entry = first[node]
                while entry >= 0 and symbol_of[entry] != symbol:
                    entry = following[entry]
                own = 0.0 if entry < 0 else seen[entry] - discount[k] * at_tables[entry]
                p = (own + (concentration[k] + discount[k] * tables[node]) * p) / (concentration[k] + customers[node])
                if k < level:
                    continue  # a longer context had it: shorter ones do not hear of it
                if entry < 0:
                    entry = entries
                    entries += 1
                    symbol_of[entry], seen[entry], at_tables[entry] = symbol, 0, 0
                    following[entry], first[node] = first[node], entry
                opened = 1 if k > level else 0  # above the level that had it, a new table at each
                customers[node] += 1
                seen[entry] += 1
                tables[node] += opened
                at_tables[entry] += opened
            history[t] = symbol
            tokens_NT[row, t] = code[symbol]
            probability_NT[row, t] = p
