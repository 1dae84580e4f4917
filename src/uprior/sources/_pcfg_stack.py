"""Grammars that rewrite the leftmost symbol of a stack: how they are drawn, and how rows are written from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._exact import kernel

LONGEST_BODY = 3
SEPARATOR = 0


class StackGrammars(NamedTuple):
    """M grammars of at most A nonterminals with at most K productions each; nonterminal 0 is the start symbol.

    number  [M, A] productions of a nonterminal
    leaves  [M, A] how many of them have no nonterminal; they come first
    body    [M, A, K, 3] symbols: a token, or -1 - nonterminal
    size    [M, A, K] symbols of a body
    edge    [M, A, K] cumulative probability
    nats    [M, A, K] -ln of the probability
    """

    number: NDArray[np.int64]
    leaves: NDArray[np.int64]
    body: NDArray[np.int64]
    size: NDArray[np.int64]
    edge: NDArray[np.float64]
    nats: NDArray[np.float64]

    @classmethod
    def room(cls, machines: int, nonterminals: int, productions: int) -> StackGrammars:
        shape = (machines, nonterminals, productions)
        return cls(
            number=np.zeros(shape[:2], dtype=np.int64),
            leaves=np.zeros(shape[:2], dtype=np.int64),
            body=np.zeros((*shape, LONGEST_BODY), dtype=np.int64),
            size=np.zeros(shape, dtype=np.int64),
            edge=np.ones(shape),
            nats=np.zeros(shape),
        )


@kernel
def draw_stack_grammars(
    rng: np.random.Generator,
    nonterminals_M: NDArray[np.int64],
    terminals_M: NDArray[np.int64],
    growth_M: NDArray[np.float64],
    identities: NDArray[np.int64],
    most: int,
    least_children: int,
    most_children: int,
    opens: bool,
    closes: bool,
    number: NDArray[np.int64],
    leaves: NDArray[np.int64],
    body: NDArray[np.int64],
    size: NDArray[np.int64],
    edge: NDArray[np.float64],
    nats: NDArray[np.float64],
) -> None:
    """Fill in the grammars: 2..most productions each, of which at least one is a leaf and at least one is not.

    A leaf is one terminal. Others have least_children..most_children nonterminals, after a terminal where ``opens`` and
    before one where ``closes``. First terminals of one nonterminal differ. Weights are flat Dirichlet among leaves and among
    others; others together get the probability that makes the mean number of children ``growth``, at most 0.95.
    """
    weight = np.empty(most)
    for m in range(len(nonterminals_M)):
        terminals = terminals_M[m]
        shuffle_first(rng, identities, terminals)
        mine = identities[:terminals].copy()
        for a in range(nonterminals_M[m]):
            productions = 2 + int(rng.random() * (most - 1))
            first_branch = 1 + int(rng.random() * (productions - 1))
            shuffle_first(rng, mine, productions)
            leaf_sum, branch_sum, child_sum = 0.0, 0.0, 0.0
            for k in range(productions):
                weight[k] = rng.standard_exponential() + 1e-3
                if k < first_branch:
                    body[m, a, k, 0], size[m, a, k] = mine[k], 1
                    leaf_sum += weight[k]
                    continue
                children, at = least_children + int(rng.random() * (most_children - least_children + 1)), 0
                if opens:
                    body[m, a, k, 0], at = mine[k], 1
                for _ in range(children):
                    body[m, a, k, at] = -1 - int(rng.random() * nonterminals_M[m])
                    at += 1
                if closes:
                    body[m, a, k, at] = mine[int(rng.random() * terminals)]
                    at += 1
                size[m, a, k] = at
                branch_sum += weight[k]
                child_sum += weight[k] * children
            branch = min(growth_M[m] * branch_sum / child_sum, 0.95)
            below = 0.0
            for k in range(productions):
                p = weight[k] / leaf_sum * (1.0 - branch) if k < first_branch else weight[k] / branch_sum * branch
                below += p
                edge[m, a, k], nats[m, a, k] = below, -np.log(p)
            edge[m, a, productions - 1] = 2.0  # nothing falls past the last production
            number[m, a], leaves[m, a] = productions, first_branch


@kernel
def write_stack_rows(
    rng: np.random.Generator,
    leaves: NDArray[np.int64],
    body: NDArray[np.int64],
    size: NDArray[np.int64],
    edge: NDArray[np.float64],
    nats: NDArray[np.float64],
    max_depth: int,
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    floor_NT: NDArray[np.float32],
    sentences_N: NDArray[np.int64],
    deepest_N: NDArray[np.int64],
    trace: NDArray[np.int64],
) -> None:
    """Write rows of sentences, each ended by the separator; row n belongs to machine n modulo their number.

    At ``max_depth`` only leaves are left to choose from. The cost of the productions chosen since the last token stands at the
    next one. ``trace`` gets the depth of the production that wrote each token of row 0, if it has room.
    """
    rows, length = tokens_NT.shape
    symbols = np.empty(LONGEST_BODY * max_depth + 8, dtype=np.int64)
    depths = np.empty(len(symbols), dtype=np.int64)
    for row in range(rows):
        m, held, sentences, deepest, owed = row % len(leaves), 0, 0, 0, 0.0
        tokens, floor = tokens_NT[row], floor_NT[row]
        symbols[0], depths[0], held, t = -1, 1, 1, 0
        while t < length:
            if held == 0:
                tokens[t], floor[t] = SEPARATOR, 0.0
                if row == 0 and len(trace) > 0:
                    trace[t] = 0
                sentences += 1
                symbols[0], depths[0], held = -1, 1, 1
                t += 1
                continue
            held -= 1
            symbol, depth = symbols[held], depths[held]
            if symbol >= 0:
                tokens[t], floor[t], owed = symbol, owed, 0.0
                if row == 0 and len(trace) > 0:
                    trace[t] = depth - 1
                t += 1
                continue
            a, k, u = -1 - symbol, 0, rng.random()
            if depth >= max_depth:
                mass = edge[m, a, leaves[m, a] - 1]
                u *= mass
                owed += np.log(mass)
            while edge[m, a, k] <= u:
                k += 1
            owed += nats[m, a, k]
            deepest = max(deepest, depth)
            for i in range(size[m, a, k] - 1, -1, -1):
                symbols[held], depths[held] = body[m, a, k, i], depth + 1
                held += 1
        sentences_N[row], deepest_N[row] = sentences, deepest
