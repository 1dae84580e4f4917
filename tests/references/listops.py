"""ListOps in plain Python; rows are read back and evaluated with Python's own min, max, median and sum."""

import math
import statistics

import numpy as np

from uprior.sources import ListOps
from uprior.types import Block

GOLDEN = (1, "ba023ac20479c711")
SPECS = [
    ListOps(),
    ListOps(packed=False, min_items=4, max_items=20, p_operator=0.9, max_depth=3, score="all", end_token=False),
    ListOps(brackets=False, max_arguments=2),
    ListOps(sampling="rejection", packed=False, min_items=4, max_items=40, p_operator=0.3),
    ListOps(sampling="rejection", packed=False, min_items=20, max_items=40, max_depth=3, brackets=False, cut=12),
    ListOps.preset("fpt-legacy", max_items=600),
]
CLOSE, EQUALS, END = 14, 15, 16


def evaluate(operator, values):
    return [min, max, lambda v: int(statistics.median(v)), lambda v: sum(v) % 10][operator - 10](values)


class TooLong(Exception):
    """More tokens than allowed."""


class Bounded:
    """An expression of at most ``most`` tokens: nothing is begun that could not be finished."""

    def __init__(self, source, rng, most):
        self.source, self.rng, self.most = source, rng, most
        self.tokens, self.nats, self.deepest, self.owed = [], [], 0, 0

    def write(self, token, p):
        self.tokens.append(token)
        self.nats.append(-math.log(p))

    def fits(self, more):
        return len(self.tokens) + more + self.owed <= self.most

    def operation(self, depth, p):
        """The value of an operation that was chosen with probability p."""
        self.deepest = max(self.deepest, depth)
        operator = 10 + int(self.rng.random() * 4)
        self.write(operator, p / 4)
        self.owed += 3
        values = []
        while True:
            close = 0.0
            if len(values) >= 2:
                close = 1 / (self.source.max_arguments - len(values) + 1) if self.fits(1) else 1.0
            if close == 1.0 or (close and self.rng.random() < close):
                self.write(CLOSE, close)
                self.owed -= 1
                return evaluate(operator, values)
            self.owed -= len(values) < 2
            p = self.source.p_operator if depth < self.source.max_depth and self.fits(4) else 0.0
            if p and self.rng.random() < p:
                values.append(self.operation(depth + 1, (1 - close) * p))
            else:
                values.append(int(self.rng.random() * 10))
                self.write(values[-1], (1 - close) * (1 - p) / 10)


class Free(Bounded):
    """A tree as Long Range Arena draws it, given up when it gets too long."""

    def write(self, token, p=1.0):
        if len(self.tokens) == self.most:
            raise TooLong
        super().write(token, p)

    def node(self, depth):
        p = self.source.p_operator if depth <= self.source.max_depth else 0.0
        if not p or self.rng.random() >= p:
            # The size is looked at before a digit is drawn.
            if len(self.tokens) == self.most:
                raise TooLong
            digit = int(self.rng.random() * 10)
            self.write(digit)
            return digit
        self.deepest = max(self.deepest, depth)
        operator = 10 + int(self.rng.random() * 4)
        self.write(operator)
        values = []
        for _ in range(2 + int(self.rng.random() * (self.source.max_arguments - 1))):
            if len(self.tokens) == self.most:
                raise TooLong
            values.append(self.node(depth + 1))
        self.write(CLOSE)
        return evaluate(operator, values)


def draw_expression(source, rng, most):
    """(expression, value)."""
    if source.sampling == "bounded":
        bounded = Bounded(source, rng, most)
        return bounded, bounded.operation(1, 1.0)
    while True:
        free = Free(source, rng, source.max_items)
        try:
            value = free.node(1)
        except TooLong:
            continue
        if len(free.tokens) >= source.min_items:
            return free, value


def reference(source, draw, rows, length):
    items = np.zeros(rows, dtype=np.int64)
    if source.sampling == "bounded":
        fits = [n for n in range(source.min_items, source.max_items + 1) if n + 2 + source.end_token <= length]
        items = draw("items").integers(source.min_items, max([source.min_items, *fits]), rows, endpoint=True)
    rng, tokens, scored, floor = draw("rows"), [], [], []
    for n in items.tolist():
        row, counts, nats = [], [], []
        while len(row) < length and (source.packed or not row):
            expression, value = draw_expression(source, rng, n)
            text = [t for t in expression.tokens if source.brackets or t != CLOSE]
            text = (text + [END] * source.cut)[: source.cut] if source.cut else [*text, EQUALS]
            tail = [value] + [END] * source.end_token
            row += text + tail
            counts += [False] * len(text) + [True] * len(tail)
            nats += [*expression.nats, 0.0] + [0.0] * len(tail)
        blanks = max(0, length - len(row))
        tokens.append((row + [END] * blanks)[:length])
        scored.append((counts + [False] * blanks)[:length])
        floor.append((nats + [0.0] * max(0, length - len(nats)))[:length])
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(items),
        scored=np.array(scored) if source.score == "answers" else None,
        floor_nats=np.array(floor) if source.sampling == "bounded" and source.brackets else None,
    )


def read(tokens):
    """The value of an expression, from an iterator."""
    first = next(tokens)
    if first < 10 or first == CLOSE:
        return first
    values = []
    while (value := read(tokens)) != CLOSE:
        values.append(value)
    assert len(values) >= 2
    return evaluate(first, values)


def validate(source, block):
    """Expressions are well formed, short enough, and have the value that follows EQUALS."""
    for n, row in enumerate(block.tokens.tolist()):
        if not source.brackets:
            assert CLOSE not in row
            if source.cut:
                assert row[source.cut] == block.info["value"][n]
                assert block.scored is None or np.flatnonzero(block.scored[n]).tolist()[0] == source.cut
            continue
        most, rest, values = block.info["items"][n], row, []
        while EQUALS in rest[:-1]:
            size = rest.index(EQUALS)
            assert size <= most
            assert source.sampling == "bounded" or size == most
            expression = iter(rest[:size])
            values.append(read(expression))
            assert next(expression, None) is None
            assert rest[size + 1] == values[-1]
            rest = rest[size + 2 + source.end_token :] if source.packed else []
        assert values[0] == block.info["value"][n]
        if block.scored is not None:
            after = [t for t in range(1, len(row)) if row[t - 1] == EQUALS]
            assert all(block.scored[n, t] for t in after)
            ends = block.tokens[n, np.flatnonzero(block.scored[n])]
            assert set(ends.tolist()) <= {*range(10), END}
