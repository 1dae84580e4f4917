"""Random context trees: variable-order Markov sources, grown the right way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import fill_alias, shuffle_first, take
from uprior.sources._base import Draw, Source, block_by_machines, machine_of_row
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block

# Breaking stops when this much of the stick is left; the rest lies on the base measure itself. At the largest concentration
# allowed, that takes 8 * ln(2^16) = 89 pieces on average.
STICK_REST = 2.0**-14
MAX_CONCENTRATION = 8.0
# Numbers of the first two nodes of a tree: the Zipf law that the root's distribution is drawn around, and the root.
# Of a NumPy type, as numba compiles a function again for every literal that it is given.
ZIPF: Any = np.int64(0)
ROOT: Any = np.int64(1)


@dataclass(frozen=True)
class ContextTree(Source):
    """Random context trees: each token depends on as many of the last tokens as a random tree says.

    Machine: a random set of symbols in random order (size log-uniform in min_symbols..max_symbols), a number of classes per
    split (log-uniform in 2..symbols), and a random tree. The root is the empty context; a node at level d that splits looks
    at the symbol d+1 steps back and has one child per class of a random balanced partition of the symbols (with as many
    classes as symbols: one child per symbol). So every node is a *suffix* of the history, children reach further into the
    past, and every history ends in exactly one leaf. A node above level ``depth`` splits with ``split_probability``; depth is
    cut where a complete tree would have more than ``max_contexts`` leaves. History before the row is the lowest token.

    Every node has a distribution, Dirichlet(concentration * base); leaves write. The base is ``inheritance`` parts of the
    parent's distribution, so that shorter contexts are informative too, and for the rest the machine's Zipf law over its
    symbols (exponent uniform in 0..max_exponent). Concentration is the *total* mass, log-uniform per machine: 1 on two
    symbols is Beta(1/2, 1/2). Drawn by stick-breaking (Sethuraman 1994) until 2^-14 of the stick is left, which keeps the
    mean exact and every probability above zero. Nodes are drawn when a row first reaches them.

    Machines: a continuum. Floor: exact. Cost: about 48 ns per token with four rows of 512 per machine, 22 ns for ``ctw``.
    Rows of low entropy may coincide: of 256 tokens of ``ctw``, some 4 % of rows are one symbol throughout.
    ``info``: symbols, classes, depth (of the machine), contexts (leaves that its rows in this block reached).

    Preset ``ctw``: binary, depth 5, splits with probability 1/2, Beta(1/2, 1/2) leaves, zeros before the row: the prior of
    context-tree weighting (Willems, Shtarkov, Tjalkens 1995), whose depth-5 mixture is then the Bayes predictor (exact but for
    the 2^-14). It is the variable-order Markov source of Grau-Moya et al. 2024 (arXiv 2401.14953) as described there; their
    released code grows keys by appending but looks them up as suffixes, so that 19 % of contexts fall through to the root.
    """

    name: ClassVar[str] = "context_tree"
    family: ClassVar[str] = "statistical"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ctw": {
            "alphabet_size": 2, "min_symbols": 2, "max_symbols": 2, "depth": 5, "split_probability": 0.5,
            "min_concentration": 1.0, "max_concentration": 1.0, "inheritance": 0.0, "max_exponent": 0.0,
        },
    }  # fmt: skip
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=2, high=4096)
    max_symbols: int = parameter(64, "most symbols of a machine", low=2, high=4096)
    depth: int = parameter(5, "longest context, tokens", low=0, high=64)
    split_probability: float = parameter(0.7, "chance that a node above the full depth splits", low=0.0, high=1.0)
    max_contexts: int = parameter(256, "most leaves of a complete tree; depth is cut to fit", low=2, high=1 << 16)
    min_concentration: float = parameter(1.0, "least Dirichlet mass; small is sparse", low=0.05, high=MAX_CONCENTRATION)
    max_concentration: float = parameter(8.0, "most Dirichlet mass", low=0.05, high=MAX_CONCENTRATION)
    inheritance: float = parameter(0.7, "share of a node's base measure that is its parent's", low=0.0, high=1.0)
    max_exponent: float = parameter(1.5, "largest exponent of the Zipf law over a machine's symbols", low=0.0, high=8.0)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.min_concentration > self.max_concentration:
            self.reject("min_concentration", f"0.05 to max_concentration = {self.max_concentration:g}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        rng = draw("machines")
        settings = self._settings(rng, count)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float32)
        contexts = np.empty(count, dtype=np.int64)
        symbols, classes, depth, concentration, exponent = settings
        _write_block(
            rng, draw("rows"), symbols, classes, depth, concentration, exponent, self.split_probability, self.inheritance,
            self.alphabet_size, new_tree(2 * self.max_contexts, self.max_symbols), tokens, probability, contexts,
        )  # fmt: skip
        info = {"symbols": symbols, "classes": classes, "depth": depth, "contexts": contexts}
        return block_by_machines(draw, machine, tokens, probability, info)

    def _settings(self, rng: np.random.Generator, count: int) -> tuple[NDArray[Any], ...]:
        """[M] each: number of symbols, classes per split, depth, concentration, Zipf exponent."""
        symbols = _log_uniform_integers(rng, np.full(count, self.min_symbols), np.full(count, self.max_symbols))
        classes = _log_uniform_integers(rng, np.full(count, 2), symbols)
        fits = np.floor(np.log(self.max_contexts) / np.log(classes) + 1e-9).astype(np.int64)
        low, high = np.log(self.min_concentration), np.log(self.max_concentration)
        concentration = np.exp(low + (high - low) * rng.random(count))
        return symbols, classes, np.minimum(fits, self.depth), concentration, self.max_exponent * rng.random(count)


def _log_uniform_integers(
    rng: np.random.Generator, low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Whole numbers low..high (ends included), each with probability ln((k + 1) / k) / ln((high + 1) / low)."""
    drawn = low * ((high + 1) / low) ** rng.random(len(low))
    return np.minimum(drawn.astype(np.int64), high)


class Tree(NamedTuple):
    """Room for one machine at a time, used again for the next. K nodes, S symbols of the machine, C classes.

    Tables are flat, with rows as long as the machine needs: rows of a fixed power of two would fight for the same cache sets.
    The distribution above the root, the machine's Zipf law, is kept as node 0; the root is node 1.

    weight        [K * S] the distribution of each node
    keep, other   [K * S] the same as an alias table: column i stands for i with probability keep[i], else for other[i]
    class_of      [K * S] the partition each split node uses
    first_child   [K] where the node's C children begin in ``children``; -1 in a leaf
    children      [all children] node numbers, -1 where not drawn yet
    used          [3] number of nodes, children slots and leaves drawn so far
    work          [S] room for building alias tables
    """

    weight: NDArray[np.float64]
    keep: NDArray[np.float64]
    other: NDArray[np.uint16]
    class_of: NDArray[np.uint16]
    first_child: NDArray[np.int64]
    children: NDArray[np.int64]
    used: NDArray[np.int64]
    work: NDArray[np.int64]


def new_tree(nodes: int, symbols: int) -> Tree:
    """Room for a machine of at most this many nodes and symbols; memory is touched only where a machine needs it."""
    return Tree(
        weight=np.empty((nodes + 1) * symbols),
        keep=np.empty((nodes + 1) * symbols),
        other=np.empty((nodes + 1) * symbols, dtype=np.uint16),
        class_of=np.empty((nodes + 1) * symbols, dtype=np.uint16),
        first_child=np.empty(nodes + 1, dtype=np.int64),
        children=np.empty(nodes, dtype=np.int64),
        used=np.zeros(3, dtype=np.int64),
        work=np.empty(symbols, dtype=np.int64),
    )


@kernel
def _draw_distribution(
    rng: np.random.Generator, tree: Tree, node: int, parent: int, symbols: int, concentration: float, inheritance: float
) -> None:
    """Fill in a node's tables: Dirichlet(concentration * base) by breaking the unit stick.

    A piece of the stick goes to a symbol drawn from the base measure, until little is left; that is spread as the base is.
    """
    first, above = node * symbols, parent * symbols
    for i in range(symbols):
        tree.weight[first + i] = 0.0
    rest = 1.0
    while rest > STICK_REST:
        # rest is multiplied by a Beta(concentration, 1) variable, which is exp(-exponential variable / concentration).
        left = rest * np.exp(-rng.standard_exponential() / concentration)
        u = rng.random()
        if u < inheritance:
            symbol = take(u / inheritance, symbols, above, tree.keep, tree.other)
        else:
            symbol = take((u - inheritance) / (1 - inheritance), symbols, 0, tree.keep, tree.other)
        tree.weight[first + symbol] += rest - left
        rest = left
    for i in range(symbols):
        base = inheritance * tree.weight[above + i] + (1 - inheritance) * tree.weight[i]
        tree.weight[first + i] += rest * base
    last = first + symbols
    fill_alias(tree.weight[first:last], tree.keep[first:last], tree.other[first:last], tree.work)


@kernel
def _new_node(
    rng: np.random.Generator,
    tree: Tree,
    parent: int,
    splits: bool,
    symbols: int,
    classes: int,
    concentration: float,
    inheritance: float,
) -> int:
    """Draw one more node and return its number."""
    node = tree.used[0]
    tree.used[0] += 1
    if splits:
        tree.first_child[node] = tree.used[1]
        for i in range(classes):
            tree.children[tree.used[1] + i] = -1
        tree.used[1] += classes
        # Labels 0, 1, .., classes-1, 0, 1, .. in random order: no class is empty, so every split tells symbols apart.
        class_of = tree.class_of[node * symbols : (node + 1) * symbols]
        for i in range(symbols):
            j = int(rng.random() * (i + 1))
            class_of[i] = class_of[j]
            class_of[j] = i % classes
    else:
        tree.first_child[node] = -1
        tree.used[2] += 1
    _draw_distribution(rng, tree, node, parent, symbols, concentration, inheritance)
    return int(node)


@kernel
def _write_row(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    tree: Tree,
    symbols: int,
    classes: int,
    depth: int,
    concentration: float,
    split_probability: float,
    inheritance: float,
    history: NDArray[np.uint16],
    injection: NDArray[np.int64],
    tokens: NDArray[np.unsignedinteger[Any]],
    probability: NDArray[np.float32],
) -> None:
    """Write one row; nodes that it reaches first are drawn on the way. ``history`` holds ``depth`` symbols already."""
    for t in range(len(tokens)):
        node, level = ROOT, 0
        while tree.first_child[node] >= 0:
            level += 1
            past = history[depth + t - level]
            slot = tree.first_child[node] + tree.class_of[node * symbols + past]
            if tree.children[slot] < 0:
                splits = level < depth and machine_rng.random() < split_probability
                tree.children[slot] = _new_node(
                    machine_rng, tree, node, splits, symbols, classes, concentration, inheritance
                )
            node = tree.children[slot]
        symbol = take(row_rng.random(), symbols, node * symbols, tree.keep, tree.other)
        history[depth + t] = symbol
        tokens[t] = injection[symbol]
        probability[t] = tree.weight[node * symbols + symbol]


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    symbols_M: NDArray[np.int64],
    classes_M: NDArray[np.int64],
    depth_M: NDArray[np.int64],
    concentration_M: NDArray[np.float64],
    exponent_M: NDArray[np.float64],
    split_probability: float,
    inheritance: float,
    alphabet_size: int,
    tree: Tree,
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    probability_NT: NDArray[np.float32],
    contexts_M: NDArray[np.int64],
) -> None:
    """Write all rows, machine after machine; row n belongs to machine n modulo the number of machines."""
    rows, length = tokens_NT.shape
    machines = len(symbols_M)
    injection = np.arange(alphabet_size)
    history = np.empty(length + 64, dtype=np.uint16)
    for m in range(machines):
        symbols, classes, depth = symbols_M[m], classes_M[m], depth_M[m]
        shuffle_first(machine_rng, injection, symbols)
        total = 0.0
        for i in range(symbols):
            tree.weight[i] = (i + 1.0) ** -exponent_M[m]
            total += tree.weight[i]
        for i in range(symbols):
            tree.weight[i] /= total
        fill_alias(tree.weight[:symbols], tree.keep[:symbols], tree.other[:symbols], tree.work)
        tree.used[0], tree.used[1], tree.used[2] = 1, 0, 0
        splits = depth > 0 and machine_rng.random() < split_probability
        _new_node(machine_rng, tree, ZIPF, splits, symbols, classes, concentration_M[m], inheritance)
        lowest = 0
        for i in range(symbols):
            lowest = i if injection[i] < injection[lowest] else lowest
        for i in range(depth):
            history[i] = lowest
        for row in range(m, rows, machines):
            _write_row(
                machine_rng, row_rng, tree, symbols, classes, depth, concentration_M[m], split_probability, inheritance,
                history, injection, tokens_NT[row], probability_NT[row],
            )  # fmt: skip
        contexts_M[m] = tree.used[2]
