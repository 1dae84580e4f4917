"""Probabilistic automata and hidden Markov models with lists of edges and a dictionary of beliefs."""

import math

from references import _walks
from uprior.sources.probabilistic_automaton import KINDS, ProbabilisticAutomaton

GOLDEN = (1, "ceef8c8cdbfbae7b")
SPECS = [
    ProbabilisticAutomaton(),
    ProbabilisticAutomaton(kind="hmm", max_states=4, rows_per_machine=1),
    ProbabilisticAutomaton(kind="deterministic", alphabet_size=3, max_symbols=3, symbols_per_state=9),
    ProbabilisticAutomaton(kind="nondeterministic", max_states=20, successors=20, transition_concentration=0.05),
    ProbabilisticAutomaton(min_states=1, max_states=1, min_symbols=1, max_symbols=1),
]


def machines(source, draw, rows):
    """The machines of a block, as their edges."""
    count = -(-rows // source.rows_per_machine)
    rng = draw("machines")
    states = rng.integers(source.min_states, source.max_states, count, endpoint=True).tolist()
    symbols = rng.integers(source.min_symbols, source.max_symbols, count, endpoint=True).tolist()
    kinds = [KINDS.index(source.kind)] * count if source.kind != "mixed" else rng.integers(0, 3, count).tolist()
    names, made = list(range(source.alphabet_size)), []
    for kind, size, width in zip(kinds, states, symbols, strict=True):
        chosen = _walks.shuffle_first(rng, names, width)
        edges = draw_edges(source, rng, KINDS[kind], size, width)
        made.append({"edges": edges, "names": chosen, "starts": size, "even": False, "kind": kind})
    return made


def draw_edges(source, rng, kind, states, symbols):
    symbol_pool, state_pool, edges = list(range(symbols)), list(range(states)), []
    for _ in range(states):
        written = 1 + int(rng.random() * min(source.symbols_per_state, symbols))
        chosen = _walks.shuffle_first(rng, symbol_pool, written)
        emission = dirichlet(rng, source.emission_concentration, written)
        follow, leaving = [], []
        for x, chance in zip(chosen, emission, strict=True):
            if kind != "hmm" or not follow:
                most = 1 if kind == "deterministic" else 1 + int(rng.random() * min(source.successors, states))
                targets = _walks.shuffle_first(rng, state_pool, most)
                follow = list(zip(targets, dirichlet(rng, source.transition_concentration, most), strict=True))
            leaving += [(x, target, chance * weight) for target, weight in follow]
        edges.append(in_grains(leaving))
    return edges


def dirichlet(rng, concentration, count):
    weight = [rng.standard_gamma(concentration) + 1e-30 for _ in range(count)]
    return [w / sum(weight) for w in weight]


def in_grains(edges):
    """The same edges with cumulated weights rounded to multiples of 2^-24."""
    rounded, last, cumulated = [], 0.0, 0.0
    for i, (x, target, weight) in enumerate(edges):
        cumulated += weight
        upper = 1.0 if i == len(edges) - 1 else math.floor(cumulated * 2**24 + 0.5) / 2**24
        rounded.append((x, target, upper - last))
        last = upper
    return rounded


def reference(source, draw, rows, length):
    return _walks.write(source, draw, rows, length, machines(source, draw, rows))


def validate(source, block):
    _walks.check(source, block)
