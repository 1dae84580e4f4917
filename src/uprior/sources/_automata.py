"""Walks on automata whose edges carry symbols, and what each symbol costs a reader who sees the symbols only.

An automaton is a list of edges, sorted by the state they leave: state s has the edges first_edge[s] to first_edge[s + 1] - 1, and
edge e writes symbol[e], goes to target[e] and is taken with probability weight[e].
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.types import Block

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
States = NDArray[np.uint16]  # small, and unsigned: nobody need ask whether an index counts from the end

# Where beliefs are scaled up again: rarely, by a power of two, which loses nothing.
TINY = 2.0**-300


class Automaton(Source):
    """A source of random automata; a subclass has these fields and says in ``_block`` how they are drawn and walk."""

    family: ClassVar[str] = "automaton"
    min_states: int
    max_states: int
    min_symbols: int
    max_symbols: int

    def validate(self) -> None:
        if self.min_states > self.max_states:
            self.reject("min_states", f"1 to max_states = {self.max_states}")
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"1 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"1 to max_symbols = {self.max_symbols}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        return self._block(draw, rows, length, np.empty(0, dtype=np.int64))

    def _block(self, draw: Draw, rows: int, length: int, trace: Ints) -> Block:
        """``trace`` [T], if not empty, takes the states of the last row."""
        raise NotImplementedError(f"{type(self).__name__} does not write _block")

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        """Time to the right; the line says in which state, the colour which symbol."""
        trace = np.zeros(length, dtype=np.int64)
        tokens = self._block(draw, 1, length, trace).tokens[0]
        return np.where(np.arange(int(trace.max()) + 1)[:, None] == trace, tokens.astype(np.int64), -1)


@kernel
def sort_by_symbol(
    first_edge: Ints,
    states: int,
    symbols: int,
    symbol: Ints,
    target: Ints,
    weight: Floats,
    first_of: Ints,
    reader_source: States,
    reader_target: States,
    reader_weight: Floats,
) -> None:
    """The edges once more, as who reads needs them: those of symbol x are first_of[x] to first_of[x + 1] - 1."""
    for x in range(symbols + 1):
        first_of[x] = 0
    for e in range(first_edge[states]):
        first_of[symbol[e]] += 1
    end = 0
    for x in range(symbols + 1):
        end += first_of[x]
        first_of[x] = end
    # Filled from behind, so that each symbol's mark ends where its edges begin, and their order is kept.
    for s in range(states - 1, -1, -1):
        for e in range(first_edge[s + 1] - 1, first_edge[s] - 1, -1):
            place = first_of[symbol[e]] - 1
            first_of[symbol[e]] = place
            reader_source[place], reader_target[place], reader_weight[place] = s, target[e], weight[e]


@kernel
def walk(
    rng: np.random.Generator,
    starts: int,
    states: int,
    even: bool,
    first_edge: Ints,
    symbol: Ints,
    target: Ints,
    below: Floats,
    first_of: Ints,
    reader_source: States,
    reader_target: States,
    reader_weight: Floats,
    belief: Floats,
    names: Ints,
    tokens: NDArray[np.unsignedinteger[Any]],
    probability: NDArray[np.float32],
    trace: Ints,
) -> None:
    """Write a row: tokens [T], and the probability [T] of each given the automaton and the tokens before.

    The walk begins in one of the states 0..starts-1, equally likely. below[e] is the cumulated weight of a state's edges up to e;
    ``even`` says that they are equally likely. ``names`` are the symbols' tokens. ``trace`` [T], if not empty, takes the
    states that were left. ``belief`` [2 * states] is working space: the forward recursion's distribution of the hidden state.
    """
    now, then = belief[:states], belief[states : 2 * states]
    for s in range(states):
        now[s] = 1.0 if s < starts else 0.0
    state, before = int(rng.random() * starts), float(starts)
    for t in range(tokens.shape[0]):
        if trace.shape[0] > 0:
            trace[t] = state
        uniform, e = rng.random(), first_edge[state]
        if even:
            e += int(uniform * (first_edge[state + 1] - e))
        else:
            while below[e] <= uniform:
                e += 1
        x, state = symbol[e], target[e]
        for s in range(states):
            then[s] = 0.0
        first, end = first_of[x], first_of[x + 1]
        sources, targets, weights = reader_source[first:end], reader_target[first:end], reader_weight[first:end]
        for i in range(end - first):
            then[targets[i]] += now[sources[i]] * weights[i]
        total = 0.0
        for s in range(states):
            total += then[s]
        tokens[t], probability[t] = names[x], total / before
        if total < TINY:
            total *= 1.0 / TINY
            for s in range(states):
                then[s] *= 1.0 / TINY
        before = total
        now, then = then, now
