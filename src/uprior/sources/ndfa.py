"""Random non-deterministic automata, walked at random: Bloem's regular languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._automata import Automaton, Ints, sort_by_symbol, walk
from uprior.sources._base import Draw, block_by_machines, machine_of_row
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class NDFA(Automaton):
    """Random non-deterministic automata: uniform walks over edges that carry symbols.

    Machine: a geometric number of states and one of symbols (from the least, one more with probability ``more_states``,
    ``more_symbols``; cut at the most), the symbols a random set, and an edge probability uniform in 0..1. From each state
    there is an edge to each state, itself included, with that probability; it carries a random symbol. A state left without
    edges gets one to state 0 that carries the first symbol, so a walk never ends. A row is a walk from state 0 that takes one
    of the edges at hand, all equally likely. There are 11^100 machines of 10 states and 10 symbols.

    Floor: exact, given the machine but not the states: the forward recursion, as several edges of a state may carry one
    symbol. ``info``: states, symbols, edges, edge_probability. Cost: about 50 ns per token; it grows with the square of the
    states over the symbols. A fifth of the machines writes one symbol only, of those of ``bloem`` a third.

    Preset ``bloem``: the ablation source ``ndfa`` of Bloem 2025 (arXiv 2506.20057; in its repository the automata behind
    ``aut``): from 1 state and 1 symbol on, each one more with probability 0.9 (so 10 on average), another automaton for every
    row, 256 symbols. His number of states has no bound; ours is cut at 128, which 1 machine in 700,000 would pass.
    """

    name: ClassVar[str] = "ndfa"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "bloem": {"min_states": 1, "min_symbols": 1, "max_states": 128, "max_symbols": 256, "rows_per_machine": 1},
    }
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    min_states: int = parameter(2, "fewest states", low=1, high=256)
    max_states: int = parameter(32, "most states", low=1, high=256)
    more_states: float = parameter(0.9, "chance of each further state", low=0.0, high=1.0)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=1, high=1 << 16)
    max_symbols: int = parameter(32, "most symbols of a machine", low=1, high=1 << 16)
    more_symbols: float = parameter(0.9, "chance of each further symbol", low=0.0, high=1.0)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)

    def _block(self, draw: Draw, rows: int, length: int, trace: Ints) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        states, symbols, edges = (np.empty(count, dtype=np.int64) for _ in range(3))
        edge_probability = np.empty(count)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float32)
        _write_block(
            draw("machines"), draw("rows"), self.min_states, self.max_states, self.more_states, self.min_symbols,
            self.max_symbols, self.more_symbols, np.arange(self.alphabet_size), tokens, probability, states, symbols,
            edges, edge_probability, trace,
        )  # fmt: skip
        info = {"states": states, "symbols": symbols, "edges": edges, "edge_probability": edge_probability}
        return block_by_machines(draw, machine, tokens, probability, info)


@kernel
def _geometric(rng: np.random.Generator, least: int, most: int, more: float) -> int:
    size = least
    while size < most and rng.random() < more:
        size += 1
    return size


@kernel
def _draw_edges(
    rng: np.random.Generator,
    states: int,
    symbols: int,
    edge_probability: float,
    first_edge: Ints,
    symbol: Ints,
    target: Ints,
    weight: NDArray[np.float64],
) -> int:
    """Fill in the edges of a machine; how many there are."""
    e = 0
    for s in range(states):
        first_edge[s] = e
        for to in range(states):
            if rng.random() < edge_probability:
                symbol[e], target[e] = int(rng.random() * symbols), to
                e += 1
        if e == first_edge[s]:
            symbol[e], target[e] = 0, 0
            e += 1
        for i in range(first_edge[s], e):
            weight[i] = 1.0 / (e - first_edge[s])
    first_edge[states] = e
    return e


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    min_states: int,
    max_states: int,
    more_states: float,
    min_symbols: int,
    max_symbols: int,
    more_symbols: float,
    names: Ints,
    tokens: NDArray[np.unsignedinteger[Any]],
    probability: NDArray[np.float32],
    states_M: Ints,
    symbols_M: Ints,
    edges_M: Ints,
    edge_probability_M: NDArray[np.float64],
    trace: Ints,
) -> None:
    """Write all rows, machine after machine; row n belongs to machine n modulo the number of machines."""
    machines, room = states_M.shape[0], max_states * max_states
    # Working space for one machine at a time.
    firsts, edges = np.empty((2, max(max_states, max_symbols) + 1), dtype=np.int64), np.empty((2, room), dtype=np.int64)
    first_edge, first_of, symbol, target = firsts[0], firsts[1], edges[0], edges[1]
    reader = np.empty((2, room), dtype=np.uint16)
    reader_source, reader_target = reader[0], reader[1]
    weight, reader_weight, belief = np.empty(room), np.empty(room), np.empty(2 * max_states)
    for m in range(machines):
        states = _geometric(machine_rng, min_states, max_states, more_states)
        symbols = _geometric(machine_rng, min_symbols, max_symbols, more_symbols)
        shuffle_first(machine_rng, names, symbols)
        edge_probability = machine_rng.random()
        states_M[m], symbols_M[m], edge_probability_M[m] = states, symbols, edge_probability
        edges_M[m] = _draw_edges(machine_rng, states, symbols, edge_probability, first_edge, symbol, target, weight)
        sort_by_symbol(
            first_edge, states, symbols, symbol, target, weight, first_of, reader_source, reader_target, reader_weight
        )
        for row in range(m, tokens.shape[0], machines):
            walk(
                row_rng, 1, states, True, first_edge, symbol, target, weight, first_of, reader_source, reader_target,
                reader_weight, belief, names, tokens[row], probability[row], trace,
            )  # fmt: skip
