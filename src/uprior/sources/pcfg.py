"""Random probabilistic context-free grammars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, bars, machine_of_row
from uprior.sources._pcfg_stack import StackGrammars, draw_stack_grammars, write_stack_rows
from uprior.sources._pcfg_tree import TreeGrammars, draw_tree_grammars, write_tree_rows
from uprior.spec import parameter
from uprior.types import Block

# shape -> (least and most nonterminals of a production that is no leaf, whether a terminal comes first, and last)
_STACK_SHAPES = {
    "greibach": (1, 2, True, False),
    "right": (1, 1, True, False),
    "centre": (1, 1, True, True),
    "chomsky": (2, 2, False, False),
}


@dataclass(frozen=True)
class PCFG(Source):
    """Sentences of random probabilistic context-free grammars: recursive phrase structure of several shapes.

    Machine: a grammar, with a number of nonterminals (log-uniform), of terminals (log-uniform; a random set of tokens), and
    2..max_productions productions per nonterminal. Rows are sentences that follow each other, each ended by the separator,
    token 0; the row's end cuts the last one. ``shape`` is what productions look like (a, b: terminals; A, B, C: nonterminals):

    greibach  A -> a, A -> a B or A -> a B C
    right     A -> a or A -> a B: a finite automaton
    centre    A -> a or A -> a B b: every opening is answered by its closing, in reverse order
    chomsky   A -> a or A -> B C: Chomsky normal form, ambiguous
    tree      a fixed number of levels (2..max_levels): every symbol of one level becomes 2 or 3 (per machine) symbols of the
              next, the last level terminals, as in random hierarchy models (Cagnetta et al. 2024, arXiv 2307.02129, whose
              productions are all different and equally likely; here they are independent and weighted)

    Every nonterminal but those of ``tree`` has productions of a single terminal (leaves) and others; others get the probability
    that makes the mean number of children equal to the machine's growth, uniform in min_growth..max_growth < 1, so derivations
    end; at ``max_depth`` only leaves may be chosen. Children are uniform, weights flat Dirichlet (among leaves, among others).

    Floor: exact given the grammar, but None for ``chomsky``. Where productions of one nonterminal begin with different
    terminals, the prefix fixes the derivation, and the first token of a production costs -ln of its probability, others
    nothing. ``tree`` passes beliefs down the levels (all derivations of the prefix are summed over). Machines: a continuum.
    Cost: about 30 ns per token, 140 ns for ``tree``. ``info``: nonterminals, terminals, sentences (ended in the row), and
    depth (of the deepest production used), growth, or levels for ``tree``.
    """

    name: ClassVar[str] = "pcfg"
    family: ClassVar[str] = "formal"
    alphabet_size: int = parameter(256, "number of tokens; 0 is the separator", low=3, high=1 << 16)
    shape: str = parameter("greibach", "what productions look like", choices=(*_STACK_SHAPES, "tree"))
    min_nonterminals: int = parameter(2, "fewest nonterminals of a grammar (of a level)", low=1, high=1024)
    max_nonterminals: int = parameter(16, "most nonterminals of a grammar (of a level)", low=1, high=1024)
    min_terminals: int = parameter(8, "fewest terminals of a grammar", low=2, high=1 << 16)
    max_terminals: int = parameter(64, "most terminals of a grammar", low=2, high=1 << 16)
    max_productions: int = parameter(6, "most productions of a nonterminal", low=2, high=256)
    min_growth: float = parameter(0.7, "least mean number of nonterminals that one becomes", low=0.0, high=0.99)
    max_growth: float = parameter(0.97, "largest mean number of nonterminals that one becomes", low=0.0, high=0.99)
    max_depth: int = parameter(64, "depth at which derivations are ended", low=1, high=1 << 16)
    max_levels: int = parameter(4, "tree: most levels", low=2, high=16)
    rows_per_machine: int = parameter(8, "rows that share a grammar", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_terminals >= self.alphabet_size:
            self.reject("max_terminals", f"2 to alphabet_size - 1 = {self.alphabet_size - 1}")
        for name in ("nonterminals", "terminals", "growth"):
            if getattr(self, f"min_{name}") > getattr(self, f"max_{name}"):
                self.reject(f"min_{name}", f"at most max_{name} = {getattr(self, f'max_{name}')}")
        if self.max_productions > self.min_terminals:
            self.reject("max_productions", f"2 to min_terminals = {self.min_terminals}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        return self._write(draw, rows, length, np.empty(0, dtype=np.int64))

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        """The depth of the production that wrote each token."""
        if self.shape == "tree":
            return None
        trace = np.zeros(length, dtype=np.int64)
        self._write(draw, 1, length, trace)
        return bars(trace)

    def _write(self, draw: Draw, rows: int, length: int, trace: NDArray[np.int64]) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        settings = self._settings(draw("settings"), int(machine.max()) + 1)
        grammars = self._draw_grammars(draw("machines"), settings)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        floor = np.empty((rows, length), dtype=np.float32)
        sentences, depth = np.empty(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        info = {"nonterminals": settings["nonterminals"][machine], "terminals": settings["terminals"][machine]}
        if isinstance(grammars, TreeGrammars):
            write_tree_rows(
                draw("rows"), settings["nonterminals"], settings["terminals"], settings["levels"], settings["arity"],
                *grammars, tokens, floor, sentences,
            )  # fmt: skip
            info["levels"] = settings["levels"][machine]
        else:
            write_stack_rows(draw("rows"), *grammars[1:], self.max_depth, tokens, floor, sentences, depth, trace)
            info |= {"depth": depth, "growth": settings["growth"][machine]}
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(machine),
            floor_nats=None if self.shape == "chomsky" else np.maximum(floor, np.float32(0)),
            info=info | {"sentences": sentences},
        )

    def grammars(self, draw: Draw, rows: int) -> StackGrammars | TreeGrammars:
        """The grammars of the block that ``_generate(draw, rows, ...)`` writes."""
        machines = -(-rows // self.rows_per_machine)
        return self._draw_grammars(draw("machines"), self._settings(draw("settings"), machines))

    def _settings(self, rng: np.random.Generator, count: int) -> dict[str, NDArray[Any]]:
        """[M] each: nonterminals, terminals, growth, levels, arity."""
        return {
            "nonterminals": _log_uniform(rng, self.min_nonterminals, self.max_nonterminals, count),
            "terminals": _log_uniform(rng, self.min_terminals, self.max_terminals, count),
            "growth": self.min_growth + (self.max_growth - self.min_growth) * rng.random(count),
            "levels": rng.integers(2, self.max_levels, count, endpoint=True),
            "arity": rng.integers(2, 3, count, endpoint=True),
        }

    def _draw_grammars(
        self, rng: np.random.Generator, settings: dict[str, NDArray[Any]]
    ) -> StackGrammars | TreeGrammars:
        symbols, terminals = settings["nonterminals"], settings["terminals"]
        machines, widest, most = len(symbols), int(symbols.max()), self.max_productions
        identities = np.arange(1, self.alphabet_size)
        if self.shape == "tree":
            levels, arity = settings["levels"], settings["arity"]
            trees = TreeGrammars.room(machines, int(levels.max()), widest, most, int(terminals.max()))
            draw_tree_grammars(rng, symbols, terminals, levels, arity, identities, most, *trees)
            return trees
        stacks = StackGrammars.room(machines, widest, most)
        least, largest, opens, closes = _STACK_SHAPES[self.shape]
        draw_stack_grammars(
            rng, symbols, terminals, settings["growth"], identities, most, least, largest, opens, closes, *stacks
        )
        return stacks


def _log_uniform(rng: np.random.Generator, low: int, high: int, count: int) -> NDArray[np.int64]:
    """[count] whole numbers low..high (ends included), each k with probability ln((k + 1) / k) / ln((high + 1) / low)."""
    return np.minimum((low * ((high + 1) / low) ** rng.random(count)).astype(np.int64), high)
