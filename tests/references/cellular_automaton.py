"""Cellular automata with random rules, one cell at a time."""

import itertools
import math

import numpy as np

from references import _ring
from uprior.sources.cellular_automaton import CellularAutomaton

GOLDEN = (1, "342d2fae2b905fc5")
SPECS = [
    CellularAutomaton(),
    CellularAutomaton(totalistic=True, max_colours=5, max_radius=3, width=11, score="later", rows_per_machine=2),
    CellularAutomaton(cells=41, width=23, steps_ahead=2, burn_in=4, score="predictable", initial="random_density"),
    CellularAutomaton(max_radius=4, max_entries=600, width=3, initial="density", density=0.3, max_lambda=1.0),
    CellularAutomaton(min_radius=0, max_radius=0, width=7, cells=9, burn_in=2),
    CellularAutomaton(initial="single", min_colours=4, burn_in=2, width=5, cells=8),
]


def reference(source, draw, rows, length):
    count = -(-rows // source.rows_per_machine)
    rng = draw("machines")
    colours = [rng.integers(source.min_colours, source.max_colours, endpoint=True) for _ in range(count)]
    radius = [rng.integers(source.min_radius, source.max_radius, endpoint=True) for _ in range(count)]
    chance = [source.min_lambda + (source.max_lambda - source.min_lambda) * rng.random() for _ in range(count)]
    tables = []
    for m in range(count):
        k = int(colours[m])
        while entries(source, k, radius[m]) > source.max_entries:
            radius[m] -= 1
        table = []
        for _ in range(entries(source, k, radius[m])):
            u = rng.random()
            table.append(1 + min(int(u * ((k - 1) / chance[m])), k - 2) if u < chance[m] else 0)
        tables.append(table)

    def advance(m, cells):
        around = range(-radius[m], radius[m] + 1)
        after = []
        for i in range(len(cells)):
            entry = 0
            for j in around:
                entry = entry * (1 if source.totalistic else int(colours[m])) + cells[(i + j) % len(cells)]
            after.append(tables[m][entry])
        return after

    info = {
        "colours": colours,
        "radius": radius,
        "entries": [len(table) for table in tables],
        "lambda": [sum(c > 0 for c in table) / len(table) for table in tables],
    }
    return _ring.write(source, draw, rows, length, colours, info, advance)


def entries(source, colours, radius):
    span = 2 * int(radius) + 1
    return span * (colours - 1) + 1 if source.totalistic else colours**span


def validate(source, block):
    """That a rule exists: after one neighbourhood always comes the same colour, in all rows of a machine."""
    rules = {}
    for n, row in enumerate(block.tokens.astype(int)):
        colours, radius = int(block.info["colours"][n]), int(block.info["radius"][n])
        assert row.max() < colours
        assert block.info["entries"][n] == entries(source, colours, radius) <= source.max_entries
        whole = _ring.size(source) == source.width
        pages = [row[i : i + source.width] for i in range(0, len(row), source.width)]
        reach = radius * source.steps_ahead
        for now, then in itertools.pairwise(pages):
            views = np.stack([np.roll(now, -s) for s in range(-reach, reach + 1)], axis=1)
            if source.totalistic and source.steps_ahead == 1:
                views = views.sum(axis=1, keepdims=True)
            for i in range(0 if whole else reach, min(len(then), source.width if whole else source.width - reach)):
                seen = rules.setdefault((int(block.machine[n]), *views[i].tolist()), int(then[i]))
                assert seen == then[i]
    if block.floor_nats is not None:
        first = block.floor_nats[:, : source.width]
        assert not block.floor_nats[:, source.width :].any()
        if source.score == "all" and source.initial == "uniform":
            np.testing.assert_allclose(first, np.log(block.info["colours"])[:, None] + np.zeros_like(first), rtol=1e-6)
        if source.initial == "density" and source.score == "all":
            share = math.log(1 / (1 - source.density))
            np.testing.assert_allclose(first[block.tokens[:, : source.width] == 0], share, rtol=1e-6)
