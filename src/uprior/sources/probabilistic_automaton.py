"""Probabilistic automata and hidden Markov models: a few hidden states that write symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._automata import Automaton, Floats, Ints, sort_by_symbol, walk
from uprior.sources._base import Draw, block_by_machines, machine_of_row
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block

KINDS = ("deterministic", "nondeterministic", "hmm")
# Probabilities are multiples of this, so that a gamma variable's last bit, which the C library decides, hardly ever counts.
GRAIN = 2.0**-24


@dataclass(frozen=True)
class ProbabilisticAutomaton(Automaton):
    """Random probabilistic automata and hidden Markov models: sparse, of few hidden states.

    Machine: a number of states, uniform in min_states..max_states, a random set of symbols, their number uniform in
    min_symbols..max_symbols, and for every state 1..symbols_per_state of these that it writes, with Dirichlet
    (emission_concentration) weights. What follows depends on the kind: in a ``deterministic`` automaton symbol and state
    decide the next state; in a ``nondeterministic`` one they decide 1..successors states with Dirichlet
    (transition_concentration) weights; in an ``hmm`` the state alone decides such a distribution. ``mixed``: a random kind per
    machine. All numbers uniform. A continuum of machines; probabilities are multiples of 2^-24. Every row starts in a
    state of its own, all equally likely.

    Floor: exact, given the machine but not the hidden states: the forward recursion. It costs an operation for every edge that
    writes the symbol read, hence the sparseness. ``info``: kind (0, 1, 2 in the order above), states, symbols, edges.
    Cost: about 40 ns per token, floor included. A row whose states all write one symbol is constant: some are.

    Probabilistic automata as in Vidal et al. 2005 (IEEE PAMI 27:7), hidden Markov models as in Rabiner 1989 with A, B and a
    uniform pi.
    """

    name: ClassVar[str] = "probabilistic_automaton"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    kind: str = parameter("mixed", "what the next state depends on", choices=(*KINDS, "mixed"))
    min_states: int = parameter(2, "fewest hidden states", low=1, high=1024)
    max_states: int = parameter(8, "most hidden states", low=1, high=1024)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=1, high=1 << 16)
    max_symbols: int = parameter(16, "most symbols of a machine", low=1, high=1 << 16)
    symbols_per_state: int = parameter(4, "most symbols that a state writes", low=1, high=64)
    successors: int = parameter(4, "most states that may follow where the next is random", low=1, high=64)
    emission_concentration: float = parameter(0.5, "Dirichlet concentration of symbols", low=1e-2, high=1e3)
    transition_concentration: float = parameter(0.5, "Dirichlet concentration of successors", low=1e-2, high=1e3)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)

    def _block(self, draw: Draw, rows: int, length: int, trace: Ints) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        rng = draw("machines")
        states = rng.integers(self.min_states, self.max_states, count, endpoint=True)
        symbols = rng.integers(self.min_symbols, self.max_symbols, count, endpoint=True)
        kind = rng.integers(0, len(KINDS), count) if self.kind == "mixed" else np.full(count, KINDS.index(self.kind))
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float32)
        edges = np.empty(count, dtype=np.int64)
        widest = max(self.max_states, self.max_symbols, self.symbols_per_state, self.successors)
        room = self.max_states * self.symbols_per_state * self.successors
        _write_block(
            rng, draw("rows"), kind, states, symbols, self.symbols_per_state, self.successors,
            self.emission_concentration, self.transition_concentration, widest, room, np.arange(self.alphabet_size),
            tokens, probability, edges, trace,
        )  # fmt: skip
        info = {"kind": kind, "states": states, "symbols": symbols, "edges": edges}
        return block_by_machines(draw, machine, tokens, probability, info)


@kernel
def _weights(rng: np.random.Generator, concentration: float, count: int, weight: Floats) -> None:
    """``count`` Dirichlet weights."""
    total = 0.0
    for i in range(count):
        weight[i] = rng.standard_gamma(concentration) + 1e-30
        total += weight[i]
    for i in range(count):
        weight[i] /= total


@kernel
def _draw_machine(
    rng: np.random.Generator,
    kind: int,
    states: int,
    symbols: int,
    most_symbols: int,
    most_successors: int,
    emission_concentration: float,
    transition_concentration: float,
    symbol_pool: Ints,
    state_pool: Ints,
    emission: Floats,
    transition: Floats,
    first_edge: Ints,
    symbol: Ints,
    target: Ints,
    weight: Floats,
    below: Floats,
) -> int:
    """Fill in the edges of a machine; how many there are."""
    for x in range(symbols):
        symbol_pool[x] = x
    for s in range(states):
        state_pool[s] = s
    e = 0
    for s in range(states):
        first_edge[s] = e
        written = 1 + int(rng.random() * min(most_symbols, symbols))
        shuffle_first(rng, symbol_pool[:symbols], written)
        _weights(rng, emission_concentration, written, emission)
        following = 0
        cumulated = last = 0.0
        for i in range(written):
            if i == 0 or kind != 2:
                following = 1 if kind == 0 else 1 + int(rng.random() * min(most_successors, states))
                shuffle_first(rng, state_pool[:states], following)
                _weights(rng, transition_concentration, following, transition)
            for j in range(following):
                symbol[e], target[e] = symbol_pool[i], state_pool[j]
                cumulated += emission[i] * transition[j]
                below[e] = np.floor(cumulated / GRAIN + 0.5) * GRAIN
                if i == written - 1 and j == following - 1:
                    below[e] = 1.0
                weight[e] = below[e] - last
                last = below[e]
                e += 1
    first_edge[states] = e
    return e


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    kind: Ints,
    states: Ints,
    symbols: Ints,
    most_symbols: int,
    most_successors: int,
    emission_concentration: float,
    transition_concentration: float,
    widest: int,
    room: int,
    names: Ints,
    tokens: NDArray[np.unsignedinteger[Any]],
    probability: NDArray[np.float32],
    edges: Ints,
    trace: Ints,
) -> None:
    """Write all rows, machine after machine; row n belongs to machine n modulo the number of machines.

    No machine has more than ``widest`` states or symbols, nor more than ``room`` edges.
    """
    machines = kind.shape[0]
    # Working space for one machine at a time.
    integers, reals = np.empty((4, widest + 1), dtype=np.int64), np.empty((4, widest + 1))
    first_edge, first_of, symbol_pool, state_pool = integers[0], integers[1], integers[2], integers[3]
    emission, transition, belief = reals[0], reals[1], np.empty(2 * widest)
    edge_integers, edge_reals = np.empty((2, room), dtype=np.int64), np.empty((3, room))
    reader = np.empty((2, room), dtype=np.uint16)
    symbol, target, reader_source, reader_target = edge_integers[0], edge_integers[1], reader[0], reader[1]
    weight, below, reader_weight = edge_reals[0], edge_reals[1], edge_reals[2]
    for m in range(machines):
        shuffle_first(machine_rng, names, symbols[m])
        edges[m] = _draw_machine(
            machine_rng, kind[m], states[m], symbols[m], most_symbols, most_successors, emission_concentration,
            transition_concentration, symbol_pool, state_pool, emission, transition, first_edge, symbol, target, weight,
            below,
        )  # fmt: skip
        sort_by_symbol(
            first_edge,
            states[m],
            symbols[m],
            symbol,
            target,
            weight,
            first_of,
            reader_source,
            reader_target,
            reader_weight,
        )
        for row in range(m, tokens.shape[0], machines):
            walk(
                row_rng, states[m], states[m], False, first_edge, symbol, target, below, first_of, reader_source,
                reader_target, reader_weight, belief, names, tokens[row], probability[row], trace,
            )  # fmt: skip
