"""Markov chains in plain Python: a dict from contexts to distributions."""

import math
from collections import Counter

import numpy as np

from references.zipf import alias_table, shuffle_first, take
from uprior.sources import MarkovChain
from uprior.sources._exact import exp
from uprior.sources.markov_chain import STICK_REST
from uprior.types import Block

GOLDEN = (1, "d6ff025b100695e4")
SPECS = [
    MarkovChain(),
    MarkovChain(min_order=0, max_order=0, rows_per_machine=2),
    MarkovChain(
        alphabet_size=4, max_symbols=4, min_order=3, max_order=4, min_concentration=64.0, max_concentration=64.0
    ),
    MarkovChain(
        alphabet_size=1000, min_symbols=30, max_symbols=300, max_order=1, max_contexts=4000, rows_per_machine=3
    ),
]


def dirichlet(rng, symbols, concentration):
    weight, rest = [0.0] * symbols, 1.0
    while rest > STICK_REST:
        left = rest * float(exp(np.float32(-rng.standard_exponential() / concentration)))
        weight[int(rng.random() * symbols)] += rest - left
        rest = left
    return [w + rest / symbols for w in weight]


def reference(source, draw, rows, length):
    machines = -(-rows // source.rows_per_machine)
    machine_rng, row_rng = draw("machines"), draw("rows")
    orders, sizes, concentrations = source._settings(machine_rng, machines)
    identities = list(range(source.alphabet_size))
    tokens, floor = [[]] * rows, [[]] * rows
    for m in range(machines):
        order, symbols, tables = int(orders[m]), int(sizes[m]), {}
        shuffle_first(machine_rng, identities, symbols)
        for row in range(m, rows, machines):
            written, nats = [], []
            for t in range(length):
                uniform = row_rng.random()
                if t < order:
                    written.append(int(uniform * symbols))
                    nats.append(math.log(symbols))
                    continue
                context = tuple(written[t - order : t])
                if context not in tables:
                    weight = dirichlet(machine_rng, symbols, concentrations[m])
                    tables[context] = weight, alias_table(weight)
                weight, table = tables[context]
                written.append(take(uniform, *table))
                nats.append(-math.log(weight[written[-1]]))
            tokens[row], floor[row] = [identities[s] for s in written], nats
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows) % machines),
        floor_nats=np.array(floor),
    )


def validate(source, block):
    """One context, one distribution: the same context and token cost the same in every row of a machine, and add up."""
    for machine in np.unique(block.machine):
        rows = np.flatnonzero(block.machine == machine)
        order, symbols = int(block.info["order"][rows[0]]), int(block.info["symbols"][rows[0]])
        assert symbols**order <= source.max_contexts
        assert len(np.unique(block.tokens[rows])) <= symbols
        costs = {}
        for row in rows:
            tokens, floor = block.tokens[row].tolist(), block.floor_nats[row].tolist()
            np.testing.assert_allclose(floor[:order], math.log(symbols), rtol=1e-6)
            for t in range(order, len(tokens)):
                costs.setdefault((*tokens[t - order : t],), {}).setdefault(tokens[t], set()).add(floor[t])
        assert len(costs) == block.info["contexts"][rows[0]]
        for after in costs.values():
            assert max(Counter(token for token, values in after.items() for _ in values).values()) == 1
            assert sum(math.exp(-value) for values in after.values() for value in values) < 1 + 1e-5
