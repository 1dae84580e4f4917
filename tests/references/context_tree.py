"""Random context trees in plain Python: nodes are dicts, made when first reached, in the same order of random numbers."""

import itertools
import math

import numpy as np

from uprior.sources import ContextTree
from uprior.sources.context_tree import STICK_REST
from uprior.types import Block

GOLDEN = (1, "795717a086484501")
SPECS = [
    ContextTree(),
    ContextTree.preset("ctw"),
    ContextTree(alphabet_size=1000, min_symbols=30, max_symbols=300, max_contexts=1000, split_probability=0.9),
    ContextTree(alphabet_size=5, max_symbols=5, depth=7, inheritance=1.0, rows_per_machine=2, max_contexts=1 << 16),
    ContextTree(depth=0, inheritance=0.0),
]


class ReferenceMachine:
    """One machine; draws itself from ``rng`` as it goes, and shuffles ``injection`` further."""

    def __init__(self, spec, rng, symbols, classes, depth, concentration, exponent, injection):
        self.spec, self.rng, self.symbols, self.classes, self.depth = spec, rng, symbols, classes, depth
        self.concentration = concentration
        for i in range(symbols):
            j = i + int(rng.random() * (spec.alphabet_size - i))
            injection[i], injection[j] = injection[j], injection[i]
        self.injection = list(injection[:symbols])
        zipf = [(i + 1.0) ** -exponent for i in range(symbols)]
        self.zipf = with_alias([z / sum(zipf) for z in zipf])
        self.leaves: list[tuple] = []
        self.root = self.new_node(self.zipf, depth > 0 and rng.random() < spec.split_probability, ())

    def symbol_of(self, node, u):
        column = min(int(u * self.symbols), self.symbols - 1)
        return column if u * self.symbols - column < node["keep"][column] else node["other"][column]

    def new_node(self, parent, splits, path):
        rng, inherit, class_of = self.rng, self.spec.inheritance, [0] * self.symbols
        if splits:
            for i in range(self.symbols):
                j = int(rng.random() * (i + 1))
                class_of[i] = class_of[j]
                class_of[j] = i % self.classes
        else:
            self.leaves.append(path)
        weight, rest = [0.0] * self.symbols, 1.0
        while rest > STICK_REST:
            left = rest * math.exp(-rng.standard_exponential() / self.concentration)
            u = rng.random()
            if u < inherit:
                symbol = self.symbol_of(parent, u / inherit)
            else:
                symbol = self.symbol_of(self.zipf, (u - inherit) / (1 - inherit))
            weight[symbol] += rest - left
            rest = left
        for i in range(self.symbols):
            weight[i] += rest * (inherit * parent["weight"][i] + (1 - inherit) * self.zipf["weight"][i])
        return with_alias(weight) | {"splits": splits, "class_of": class_of, "children": {}, "path": path}

    def leaf(self, history):
        """The leaf that ``history`` (a list, newest last) ends in; ``path`` is the sets of symbols it asks for, newest first."""
        node = self.root
        for level in itertools.count(1):
            if not node["splits"]:
                return node
            kind = node["class_of"][history[-level]]
            if kind not in node["children"]:
                splits = level < self.depth and self.rng.random() < self.spec.split_probability
                members = frozenset(s for s in range(self.symbols) if node["class_of"][s] == kind)
                node["children"][kind] = self.new_node(node, splits, (*node["path"], members))
            node = node["children"][kind]

    def row(self, rng, length):
        lowest = self.injection.index(min(self.injection))
        history, floor = [lowest] * self.depth, []
        for _ in range(length):
            leaf = self.leaf(history)
            history.append(self.symbol_of(leaf, rng.random()))
            floor.append(-math.log(leaf["weight"][history[-1]]))
        return [self.injection[s] for s in history[self.depth :]], floor


def with_alias(weight):
    """The weights and their alias table: Vose's algorithm with two stacks."""
    n = len(weight)
    keep, other = [w * n for w in weight], list(range(n))
    small = [i for i in range(n) if keep[i] < 1.0]
    large = [i for i in range(n) if keep[i] >= 1.0]
    while small and large:
        light, heavy = small.pop(), large[-1]
        other[light] = heavy
        keep[heavy] -= 1.0 - keep[light]
        if keep[heavy] < 1.0:
            small.append(large.pop())
    return {"weight": weight, "keep": keep, "other": other}


def reference_rows(spec, draw, rows, length):
    """tokens [N][T], floor [N][T], the machines [M]."""
    machines = -(-rows // spec.rows_per_machine)
    machine_rng, row_rng = draw("machines"), draw("rows")
    settings = spec._settings(machine_rng, machines)
    injection = list(range(spec.alphabet_size))
    tokens, floor, made = [None] * rows, [None] * rows, []
    for m in range(machines):
        made.append(ReferenceMachine(spec, machine_rng, *(column[m] for column in settings), injection))
        for row in range(m, rows, machines):
            tokens[row], floor[row] = made[m].row(row_rng, length)
    return tokens, floor, made


def reference(source, draw, rows, length):
    tokens, floor, made = reference_rows(source, draw, rows, length)
    machine = draw.machine_ids(np.arange(rows) % len(made))
    return Block(np.array(tokens), machine, floor_nats=np.maximum(floor, 0.0))


def validate(source, block):
    """A machine keeps to its symbols, and the same whole history of a row has the same probability."""
    for machine in np.unique(block.machine):
        mine = np.flatnonzero(block.machine == machine)
        assert len(np.unique(block.tokens[mine])) <= block.info["symbols"][mine[0]]
        assert len(mine) <= source.rows_per_machine
        depth, stated = int(block.info["depth"][mine[0]]), {}
        for n in mine:
            row, floor = block.tokens[n].tolist(), block.floor_nats[n].tolist()
            for t in range(depth, len(row)):
                assert stated.setdefault(tuple(row[t - depth : t + 1]), floor[t]) == floor[t]
