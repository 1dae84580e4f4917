"""Elementary cellular automata, one cell at a time."""

import math

import numpy as np

from references import _ring
from uprior.sources.elementary_ca import ElementaryCA

GOLDEN = (1, "f1b987ac1cbb47e0")
SPECS = [
    ElementaryCA(),
    ElementaryCA(rules=(30, 90, 110, 184), width=9, initial="random_density", rows_per_machine=2),
    ElementaryCA(cells=130, width=64, steps_ahead=3, burn_in=5, score="predictable"),
    ElementaryCA(width=1, cells=2, initial="single", burn_in=3, holdout="none"),
    ElementaryCA(width=65, score="later", initial="density", density=0.25, burn_in=1),
    ElementaryCA.preset("edge-of-chaos", burn_in=3),
]


def allowed_rules(source, draw):
    rules = sorted(set(source.rules)) or list(range(256))
    if source.holdout == "none" or (source.holdout == "auto" and source.rules):
        return rules
    classes = sorted({min(orbit(rule)) for rule in range(256)})
    own = {classes[c] for c in draw.own_machines("elementary_ca", len(classes))}
    return [rule for rule in rules if min(orbit(rule)) in own]


def orbit(rule):
    """The rules that do the same with left and right, or dead and live, or both exchanged."""
    table = {(a, b, c): rule >> (4 * a + 2 * b + c) & 1 for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    mirrored = {(c, b, a): value for (a, b, c), value in table.items()}
    for one in (table, mirrored):
        yield sum(value << (4 * a + 2 * b + c) for (a, b, c), value in one.items())
        yield sum((1 - value) << (4 * (1 - a) + 2 * (1 - b) + 1 - c) for (a, b, c), value in one.items())


def reference(source, draw, rows, length):
    count = -(-rows // source.rows_per_machine)
    allowed = allowed_rules(source, draw)
    rule = [allowed[i] for i in draw("machines").integers(0, len(allowed), count)]

    def advance(m, cells):
        last = len(cells) - 1
        return [
            rule[m] >> (4 * cells[i - 1] + 2 * cells[i] + cells[i + 1 if i < last else 0]) & 1
            for i in range(len(cells))
        ]

    return _ring.write(source, draw, rows, length, [2] * count, {"rule": rule}, advance)


def validate(source, block):
    for row, rule in zip(block.tokens.astype(int), block.info["rule"], strict=True):
        _ring.follows(source, row, lambda x, r=rule: r >> (4 * np.roll(x, 1) + 2 * x + np.roll(x, -1)) & 1, 1)
    if source.rules:
        assert set(block.info["rule"].tolist()) <= set(source.rules)
    if block.floor_nats is not None:
        assert not block.floor_nats[:, source.width :].any()
        for row, nats, live in zip(
            block.tokens, block.floor_nats, block.info.get("density", np.ones(len(block.tokens))), strict=True
        ):
            if source.score == "all" and source.initial != "single":
                costs = {1: -math.log(live), 0: -math.log1p(-live)}
                np.testing.assert_allclose(
                    nats[: source.width], [costs[x] for x in row[: source.width].tolist()], rtol=1e-5
                )
