"""Hierarchical Pitman-Yor processes in plain Python: a dict from contexts to restaurants."""

import numpy as np

from uprior.sources import PitmanYor
from uprior.types import Block

GOLDEN = (1, "6c7056bed4944227")
SPECS = [
    PitmanYor(),
    PitmanYor(max_order=0, max_runs=0),
    PitmanYor(alphabet_size=5, max_symbols=5, max_order=16, max_runs=9, min_concentration=1.0, max_concentration=1.0),
    PitmanYor(alphabet_size=65_000, min_symbols=3, max_symbols=3000, max_order=3),
]


def draw_code(rng, symbols, runs, size):
    code = []
    if runs == 0:
        while len(code) < symbols:
            at = int(rng.random() * size)
            code += [at] if at not in code else []
    for run in range(runs):
        last = symbols if run == runs - 1 else len(code) + int(rng.random() * (symbols - len(code) + 1))
        at = int(rng.random() * size)
        while len(code) < last:
            code += [at] if at not in code else []
            at = (at + 1) % size
    for i in range(symbols - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        code[i], code[j] = code[j], code[i]
    return code


class Restaurant:
    """Who was seen after one context: symbol -> [customers, tables], the newest symbol last."""

    def __init__(self):
        self.seen = {}

    @property
    def customers(self):
        return sum(n for n, _ in self.seen.values())

    @property
    def tables(self):
        return sum(t for _, t in self.seen.values())


def reference(source, draw, rows, length):
    machine_rng, row_rng = draw("machines"), draw("rows")
    settings = source._settings(machine_rng, rows)
    tokens, floor = [], []
    for symbols, order, _, discounts, concentrations, runs in zip(*settings, strict=True):
        code = draw_code(machine_rng, symbols, runs, source.alphabet_size)
        places, written, nats = {}, [], []
        for t in range(length):
            path = [places.setdefault((*written[t - k : t],), Restaurant()) for k in range(min(order, t) + 1)]
            symbol, level = None, len(path) - 1
            while level >= 0 and symbol is None:
                here, discount = path[level], discounts[level]
                u = row_rng.random() * (concentrations[level] + here.customers)
                if u < here.customers - discount * here.tables:
                    for symbol in reversed(here.seen):
                        n, tables = here.seen[symbol]
                        u -= n - discount * tables
                        if u < 0:
                            break
                else:
                    level -= 1
            if symbol is None:
                symbol = int(row_rng.random() * symbols)
            p = 1 / symbols
            for k, here in enumerate(path):
                n, tables = here.seen.get(symbol, (0, 0))
                p = (n - discounts[k] * tables + (concentrations[k] + discounts[k] * here.tables) * p) / (
                    concentrations[k] + here.customers
                )
            for k, here in enumerate(path):
                if k >= level:
                    mine = here.seen.setdefault(symbol, [0, 0])
                    mine[0] += 1
                    mine[1] += k > level
            written.append(symbol)
            nats.append(-np.log(p))
        tokens.append([code[s] for s in written])
        floor.append(nats)
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows)),
        floor_nats=np.array(floor),
    )


def validate(source, block):
    """The first token of a row costs log symbols, and so does, at least, every token that is new to its row."""
    for row, floor, symbols, order in zip(
        block.tokens, block.floor_nats, block.info["symbols"], block.info["order"], strict=True
    ):
        assert abs(floor[0] - np.log(symbols)) < 1e-5
        _, first = np.unique(row, return_index=True)
        assert len(first) <= symbols
        assert 0 <= order <= source.max_order
        # Nothing but the uniform base can give a token that is new to the row.
        assert (floor[first] > np.log(symbols) - 1e-5).all()
