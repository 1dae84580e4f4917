"""Hierarchical grammars of fixed shape, and their exact next-token probabilities by passing beliefs down the tree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._exact import kernel

SEPARATOR = 0
MOST_ARITY = 3


class TreeGrammars(NamedTuple):
    """M grammars of at most L levels, A symbols a level and R productions a level, in the order of the symbols rewritten.

    begin   [M, L, A + 1] where the productions of a symbol begin; the last is where those of the level end
    parent  [M, L, R] the symbol that a production rewrites
    child   [M, L, R, 3] symbols of the next level; on the last level, tokens by their number in ``token``
    weight  [M, L, R] probability of a production given the symbol
    token   [M, terminals] the tokens that the last level writes
    """

    begin: NDArray[np.int64]
    parent: NDArray[np.int64]
    child: NDArray[np.int64]
    weight: NDArray[np.float64]
    token: NDArray[np.int64]

    @classmethod
    def room(cls, machines: int, levels: int, symbols: int, productions: int, terminals: int) -> TreeGrammars:
        shape = (machines, levels, symbols * productions)
        return cls(
            begin=np.zeros((machines, levels, symbols + 1), dtype=np.int64),
            parent=np.zeros(shape, dtype=np.int64),
            child=np.zeros((*shape, MOST_ARITY), dtype=np.int64),
            weight=np.zeros(shape),
            token=np.zeros((machines, terminals), dtype=np.int64),
        )


@kernel
def draw_tree_grammars(
    rng: np.random.Generator,
    symbols_M: NDArray[np.int64],
    terminals_M: NDArray[np.int64],
    levels_M: NDArray[np.int64],
    arity_M: NDArray[np.int64],
    identities: NDArray[np.int64],
    most: int,
    begin: NDArray[np.int64],
    parent: NDArray[np.int64],
    child: NDArray[np.int64],
    weight: NDArray[np.float64],
    token: NDArray[np.int64],
) -> None:
    """Fill in the grammars: 2..most productions per symbol, children uniform, weights flat Dirichlet."""
    for m in range(len(symbols_M)):
        shuffle_first(rng, identities, terminals_M[m])
        for i in range(terminals_M[m]):
            token[m, i] = identities[i]
        for level in range(levels_M[m]):
            below = terminals_M[m] if level == levels_M[m] - 1 else symbols_M[m]
            end = 0
            for a in range(symbols_M[m]):
                first, total = end, 0.0
                end += 2 + int(rng.random() * (most - 1))
                for r in range(first, end):
                    parent[m, level, r] = a
                    weight[m, level, r] = rng.standard_exponential() + 1e-3
                    total += weight[m, level, r]
                    for i in range(arity_M[m]):
                        child[m, level, r, i] = int(rng.random() * below)
                for r in range(first, end):
                    weight[m, level, r] /= total
                begin[m, level, a + 1] = end


@kernel
def write_tree_rows(
    rng: np.random.Generator,
    symbols_M: NDArray[np.int64],
    terminals_M: NDArray[np.int64],
    levels_M: NDArray[np.int64],
    arity_M: NDArray[np.int64],
    begin: NDArray[np.int64],
    parent: NDArray[np.int64],
    child: NDArray[np.int64],
    weight: NDArray[np.float64],
    token: NDArray[np.int64],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    floor_NT: NDArray[np.float32],
    sentences_N: NDArray[np.int64],
) -> None:
    """Write rows of sentences, each ended by the separator; row n belongs to machine n modulo their number.

    What the prefix tells, for the current symbol of each level:
    belief  [L + 1, A] how likely the symbol is together with the tokens before it, up to a factor
    which   [L, R] productions that its children so far allow, ``joint`` [L, R] their probability together with the tokens that
            these children wrote, up to a factor; ``alive`` [L] how many
    inside  [L + 1, A] how likely a finished symbol wrote its tokens, up to a factor
    """
    most, widest = weight.shape[1], max(begin.shape[2], token.shape[1])
    belief, inside = np.zeros((most + 1, widest)), np.zeros((most + 1, widest))
    joint, which = np.zeros(weight.shape[1:]), np.zeros(weight.shape[1:], np.int64)
    alive, place, chosen = np.zeros(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.int64)
    symbol = np.zeros(most + 1, np.int64)
    length = tokens_NT.shape[1]
    for row in range(tokens_NT.shape[0]):
        m, t, sentences, level = row % len(symbols_M), 0, 0, -1
        levels, symbols, arity = levels_M[m], symbols_M[m], arity_M[m]
        inside[:] = 0.0
        while t < length:
            if level < 0:
                if t > 0:
                    tokens_NT[row, t], floor_NT[row, t] = SEPARATOR, 0.0
                    sentences, t = sentences + 1, t + 1
                    if t == length:
                        break
                symbol[0], level = int(rng.random() * symbols), 0
                belief[0, :symbols] = 1.0 / symbols
                place[:levels] = 0
            total = 0.0
            for l in range(level, levels):
                # A symbol whose first child this is chooses its production; the others have done so.
                r, at, total = chosen[l], place[l], 0.0
                for b in range(terminals_M[m] if l == levels - 1 else symbols):
                    belief[l + 1, b] = 0.0
                if at == 0:
                    r, u = begin[m, l, symbol[l]], rng.random()
                    while u >= weight[m, l, r] and r < begin[m, l, symbol[l] + 1] - 1:
                        u -= weight[m, l, r]
                        r += 1
                    chosen[l] = r
                    for i in range(begin[m, l, symbols]):
                        p = belief[l, parent[m, l, i]] * weight[m, l, i]
                        belief[l + 1, child[m, l, i, 0]] += p
                        total += p
                else:
                    for slot in range(alive[l]):
                        i = which[l, slot]
                        p = belief[l, parent[m, l, i]] * joint[l, slot]
                        belief[l + 1, child[m, l, i, at]] += p
                        total += p
                symbol[l + 1] = child[m, l, r, at]
            leaf = symbol[levels]
            tokens_NT[row, t], floor_NT[row, t] = token[m, leaf], -np.log(belief[levels, leaf] / total)
            t += 1
            inside[levels, leaf] = 1.0
            level = levels - 1
            while level >= 0:
                at, kept, total = place[level], 0, 0.0
                for slot in range(begin[m, level, symbols] if at == 0 else alive[level]):
                    i = slot if at == 0 else which[level, slot]
                    p = weight[m, level, i] if at == 0 else joint[level, slot]
                    p *= inside[level + 1, child[m, level, i, at]]
                    if p > 0.0:
                        which[level, kept], joint[level, kept] = i, p
                        total += p
                        kept += 1
                alive[level] = kept
                place[level] = at + 1
                for slot in range(kept):
                    joint[level, slot] /= total
                if at + 1 < arity:
                    break
                inside[level, :symbols] = 0.0
                for slot in range(kept):
                    inside[level, parent[m, level, which[level, slot]]] += joint[level, slot]
                place[level] = 0
                level -= 1
            inside[levels, leaf] = 0.0
        sentences_N[row] = sentences
