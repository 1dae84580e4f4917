"""Context-free grammars in plain Python; rows are parsed again, by a predictive parser, CYK or level by level."""

import functools
import itertools
import math

import numpy as np

from references.zipf import shuffle_first
from uprior.sources import PCFG
from uprior.sources._base import Draw
from uprior.types import SPLITS, Block

GOLDEN = (1, "525b2ecf7c209219")
SPECS = [
    PCFG(),
    PCFG(shape="right", rows_per_machine=2),
    PCFG(shape="centre", max_depth=3, min_growth=0.99, max_growth=0.99),
    PCFG(shape="chomsky", max_depth=6),
    PCFG(shape="tree", rows_per_machine=2),
    PCFG(shape="tree", alphabet_size=5, min_terminals=2, max_terminals=4, max_productions=2, max_nonterminals=3),
]
CHILDREN = {"greibach": (1, 2), "right": (1, 1), "centre": (1, 1), "chomsky": (2, 2)}


def log_uniform(rng, low, high, count):
    return [min(int(low * ((high + 1) / low) ** u), high) for u in rng.random(count)]


def settings_of(source, draw, machines):
    rng = draw("settings")
    nonterminals = log_uniform(rng, source.min_nonterminals, source.max_nonterminals, machines)
    terminals = log_uniform(rng, source.min_terminals, source.max_terminals, machines)
    growth = [source.min_growth + (source.max_growth - source.min_growth) * u for u in rng.random(machines)]
    levels = rng.integers(2, source.max_levels, machines, endpoint=True).tolist()
    return list(zip(nonterminals, terminals, growth, levels, rng.integers(2, 3, machines, endpoint=True), strict=True))


def stack_grammar(rng, source, identities, nonterminals, terminals, growth):
    """[nonterminal] -> list of (body, probability); a body holds tokens and ("A", nonterminal)."""
    shuffle_first(rng, identities, terminals)
    mine, grammar = identities[:terminals], []
    least, most = CHILDREN[source.shape]
    for _ in range(nonterminals):
        count = 2 + int(rng.random() * (source.max_productions - 1))
        leaves = 1 + int(rng.random() * (count - 1))
        shuffle_first(rng, mine, count)
        bodies, weights = [], []
        for k in range(count):
            weights.append(rng.standard_exponential() + 1e-3)
            if k < leaves:
                bodies.append([mine[k]])
                continue
            children = least + int(rng.random() * (most - least + 1))
            inner = [("A", int(rng.random() * nonterminals)) for _ in range(children)]
            first = [] if source.shape == "chomsky" else [mine[k]]
            last = [mine[int(rng.random() * terminals)]] if source.shape == "centre" else []
            bodies.append(first + inner + last)
        branches = [sum(isinstance(symbol, tuple) for symbol in body) for body in bodies[leaves:]]
        mean = sum(w * c for w, c in zip(weights[leaves:], branches, strict=True)) / sum(weights[leaves:])
        branch = min(growth / mean, 0.95)
        p = [w / sum(weights[:leaves]) * (1 - branch) for w in weights[:leaves]]
        p += [w / sum(weights[leaves:]) * branch for w in weights[leaves:]]
        grammar.append(list(zip(bodies, p, strict=True)))
    return grammar


def choose(rng, productions, mass=1.0):
    """(body, cost): by inverse distribution function."""
    u, below = rng.random() * mass, 0.0
    for body, p in productions:
        below += p
        if u < below:
            return body, -math.log(p / mass)
    return productions[-1][0], -math.log(productions[-1][1] / mass)


def stack_row(rng, source, grammar, length):
    row, nats, stack = [], [], [(("A", 0), 1)]
    owed = 0.0
    while len(row) < length:
        if not stack:
            row.append(0)
            nats.append(0.0)
            stack = [(("A", 0), 1)]
            continue
        symbol, depth = stack.pop()
        if not isinstance(symbol, tuple):
            row.append(symbol)
            nats.append(owed)
            owed = 0.0
            continue
        productions, mass = grammar[symbol[1]], 1.0
        if depth >= source.max_depth:
            productions = [(body, p) for body, p in productions if not any(isinstance(s, tuple) for s in body)]
            mass = sum(p for _, p in productions)
        body, cost = choose(rng, productions, mass)
        owed += cost
        stack += [(s, depth + 1) for s in reversed(body)]
    return row, nats


def tree_grammar(rng, source, identities, symbols, terminals, levels, arity):
    """[level][symbol] -> list of (children, probability); children of the last level are tokens."""
    shuffle_first(rng, identities, terminals)
    grammar = []
    for level in range(levels):
        below = identities[:terminals] if level == levels - 1 else range(symbols)
        grammar.append([])
        for _ in range(symbols):
            count = 2 + int(rng.random() * (source.max_productions - 1))
            bodies, weights = [], []
            for _ in range(count):
                weights.append(rng.standard_exponential() + 1e-3)
                bodies.append([below[int(rng.random() * len(below))] for _ in range(arity)])
            grammar[-1].append([(b, w / sum(weights)) for b, w in zip(bodies, weights, strict=True)])
    return grammar


def expand(rng, grammar, level, symbol):
    """The tokens of a symbol, one after the other, as far as they are asked for."""
    if level == len(grammar):
        yield symbol
        return
    for child in choose(rng, grammar[level][symbol])[0]:
        yield from expand(rng, grammar, level + 1, child)


def prefix_probability(grammar, prefix):
    """The probability that a sentence begins with these tokens: a sum over all derivations."""

    @functools.cache
    def of(level, symbol, first, last):
        if first >= len(prefix):
            return 1.0
        if level == len(grammar):
            return float(prefix[first] == symbol)
        total = 0.0
        for children, p in grammar[level][symbol]:
            part = (last - first) // len(children)
            for i, child in enumerate(children):
                p *= of(level + 1, child, first + i * part, first + (i + 1) * part)
            total += p
        return total

    symbols, size = len(grammar[0]), len(grammar[0][0][0][0]) ** len(grammar)
    return sum(of(0, a, 0, size) for a in range(symbols)) / symbols


def tree_row(rng, grammar, length):
    row, nats = [], []
    while len(row) < length:
        sentence = expand(rng, grammar, 0, int(rng.random() * len(grammar[0])))
        sentence = list(itertools.islice(sentence, length - len(row)))
        ahead = [prefix_probability(grammar, tuple(sentence[:i])) for i in range(len(sentence) + 1)]
        row += [*sentence, 0]
        nats += [math.log(before / after) for before, after in itertools.pairwise(ahead)] + [0.0]
    return row[:length], nats[:length]


def grammars_of(source, draw, rows):
    machines = -(-rows // source.rows_per_machine)
    rng, identities = draw("machines"), list(range(1, source.alphabet_size))
    for symbols, terminals, growth, levels, arity in settings_of(source, draw, machines):
        if source.shape == "tree":
            yield tree_grammar(rng, source, identities, symbols, terminals, levels, arity)
        else:
            yield stack_grammar(rng, source, identities, symbols, terminals, growth)


def reference(source, draw, rows, length):
    grammars, rng = list(grammars_of(source, draw, rows)), draw("rows")
    tokens, floor = [], []
    for n in range(rows):
        grammar = grammars[n % len(grammars)]
        row, nats = (
            tree_row(rng, grammar, length) if source.shape == "tree" else stack_row(rng, source, grammar, length)
        )
        tokens.append(row)
        floor.append(nats)
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows) % len(grammars)),
        floor_nats=None if source.shape == "chomsky" else np.array(floor),
    )


# ------------------------------------------------------------------ parsing rows again


def draw_of(source, block):
    """The randomness that a block was written from, among those that tests ask for."""
    for seed, split, index in itertools.product((0, 3, 11), SPLITS, range(4)):
        draw = Draw((source.fingerprint, seed, split, index), split, index)
        if draw.machine_ids(np.zeros(1, dtype=np.int64))[0] == block.machine[0]:
            return draw
    raise AssertionError("no such block")


def sentences_of(row):
    """(tokens, whether it is whole) for each sentence of a row."""
    parts = [list(g) for zero, g in itertools.groupby(row, key=lambda token: token == 0) if not zero]
    return [(part, i < len(parts) - 1 or row[-1] == 0) for i, part in enumerate(parts)]


def validate(source, block):
    grammars = source.grammars(draw_of(source, block), len(block.tokens))
    for n, row in enumerate(block.tokens.tolist()):
        if source.shape == "tree":
            rules, levels = tree_rules(grammars, n % len(grammars.token)), int(block.info["levels"][n])
            assert all(len(possible_roots(rules, s, levels)) > 0 for s, whole in sentences_of(row) if whole)
            continue
        rules = stack_rules(grammars, n % len(grammars.number))
        if source.shape == "chomsky":
            assert all(0 in cyk(rules, s) for s, whole in sentences_of(row) if whole and len(s) < 14)
        else:
            predictive_parse(source, rules, row, block.floor_nats[n])


def stack_rules(grammars, m):
    """[nonterminal] -> list of (body, probability) from the arrays that a source tells its grammars in."""
    rules = []
    for a in range(np.count_nonzero(grammars.number[m])):
        edges = [*grammars.edge[m, a, : grammars.number[m, a] - 1], 1.0]
        p = np.diff(edges, prepend=0.0)
        np.testing.assert_allclose(np.exp(-grammars.nats[m, a, : len(p)]), p, atol=1e-9)
        bodies = [grammars.body[m, a, k, : grammars.size[m, a, k]].tolist() for k in range(len(p))]
        rules.append(list(zip(bodies, p, strict=True)))
    return rules


def predictive_parse(source, rules, row, floor):
    """LL(1): the next token names the production; a token costs its production's probability, or nothing where it is due."""
    stack = None
    for token, cost in zip(row, floor, strict=True):
        if not stack:
            if stack is not None:
                assert (token, cost) == (0, 0)
                stack = None
                continue
            stack = [(-1, 1)]
        symbol, depth = stack.pop()
        if symbol >= 0:
            assert (symbol, cost) == (token, 0)
            continue
        allowed = [(b, p) for b, p in rules[-1 - symbol] if depth < source.max_depth or min(b) >= 0]
        ((body, p),) = [(b, p) for b, p in allowed if b[0] == token]
        assert abs(cost + math.log(p / sum(q for _, q in allowed))) < 1e-4
        stack += [(s, depth + 1) for s in reversed(body[1:])]


def cyk(rules, sentence):
    """Nonterminals that derive a sentence (Cocke, Younger, Kasami)."""
    size, table = len(sentence), {}
    for first, token in enumerate(sentence):
        table[first, first + 1] = {a for a, r in enumerate(rules) if any(body == [token] for body, _ in r)}
    pairs = [(a, *(-1 - s for s in body)) for a, r in enumerate(rules) for body, _ in r if len(body) == 2]
    for width in range(2, size + 1):
        for first in range(size - width + 1):
            last = first + width
            table[first, last] = {
                a
                for a, b, c in pairs
                for cut in range(first + 1, last)
                if b in table[first, cut] and c in table[cut, last]
            }
    return table[0, size]


def tree_rules(grammars, m):
    """[level] -> list of (symbol, children)."""
    rules = []
    for level in range(grammars.begin.shape[1]):
        end = grammars.begin[m, level].max()
        child = grammars.child[m, level, :end]
        rules.append((grammars.parent[m, level, :end].tolist(), child))
    return rules, grammars.token[m]


def possible_roots(tree, sentence, levels):
    """Symbols of the highest level that may have become this sentence, found from the leaves up."""
    rules, token = tree
    arity = round(len(sentence) ** (1 / levels))
    assert arity**levels == len(sentence)
    options = [set(np.flatnonzero(token == t).tolist()) for t in sentence]
    for level in reversed(range(levels)):
        parents, children = rules[level]
        groups = [options[i : i + arity] for i in range(0, len(options), arity)]
        options = [
            {a for a, c in zip(parents, children.tolist(), strict=True) if all(map(set.__contains__, g, c[:arity]))}
            for g in groups
        ]
    (roots,) = options
    return roots
