"""The probabilities of the questions of ``chomsky`` whose symbols are not independent, the plain way."""

import math
from functools import cache


class Nesting:
    """The law of an expression's symbols by its posterior over the lengths of open brackets, a dict for each."""

    def __init__(self, length, operators):
        self.operators = operators
        self.stack = []  # [distribution over lengths, length of the left side or None]
        self.node = {length: 1.0}
        self.minus, self.alone = False, {}
        self.closing = None  # after a digit: how many symbols the node had

    def step(self, symbol):
        """The probability of the next symbol (digits as 'd'), taking it."""
        if self.closing is None:
            return self.begin(symbol)
        return self.end(symbol)

    def begin(self, symbol):
        kind = {"d": 1, "-": 2}.get(symbol)
        total = sum(self.node.values())
        if symbol == "d" and self.minus:
            self.minus, self.closing = False, 2
            return 1.0
        if kind:
            here = self.node.get(kind, 0.0)
            self.minus = symbol == "-"
            if symbol == "d":
                self.closing = 1
            return (here + self.alone.get(kind, 0.0)) / (total + sum(self.alone.values()))
        bigger = {length: w for length, w in self.node.items() if length > 2}
        chance = sum(bigger.values()) / (total + sum(self.alone.values()))
        self.stack.append([{k: w / sum(bigger.values()) for k, w in bigger.items()}, None])
        self.enter_left()
        return chance

    def enter_left(self):
        outer = self.stack[-1][0]
        self.alone = {1: outer.get(3, 0.0), 2: outer.get(4, 0.0)}
        self.node = {}
        for length, w in outer.items():
            for left in range(1, length - 3):
                self.node[left] = self.node.get(left, 0.0) + w / (length - 4)

    def end(self, symbol):
        size, whole = self.closing, self.node.get(self.closing, 0.0)
        alone = self.alone.get(size, 0.0) if size < 3 else 0.0
        in_left = self.stack[-1][1] is None
        if not in_left:
            outer, left = self.stack.pop()
            self.resume(3 + left + size)
            return 1.0
        if symbol == ")":
            self.stack.pop()
            self.resume(2 + size)
            return alone / (alone + whole)
        outer = self.stack[-1][0]
        self.stack[-1][1] = size
        self.node = {n - 3 - size: w / (n - 4) for n, w in outer.items() if n - 3 - size >= 1 and n > 4}
        self.alone, self.closing = {}, None
        return (1.0 if size > 2 else whole / (alone + whole)) / self.operators

    def resume(self, size):
        """A bracket of ``size`` symbols is complete; its outer one goes on."""
        self.closing, self.node, self.alone = size, {size: 1.0}, {}


def law_of_expression(text, operators):
    """Nats of each symbol of an expression, given its length."""
    nesting, nats = Nesting(len(text), operators), []
    for symbol in text:
        digit = symbol.isdigit()
        chance = nesting.step("d" if digit else symbol)
        nats.append(-math.log(chance / 5 if digit else chance))
    return nats


def law_of_number(bits):
    nats = []
    for i, bit in enumerate(bits):
        left = len(bits) - i
        one = 0.5 if any(bits[:i]) else 2 ** (left - 1) / (2**left - 1)
        nats.append(-math.log(one if bit else 1 - one))
    return nats


@cache
def tails(largest):
    """some[i], none[i]: chance (times 2^i) of i given bits, not all zero or all zero, summed over the sizes that allow them."""
    sizes = range(1, largest + 1)
    some = [sum(1 / (1 - 2.0**-a) for a in sizes if a >= i) for i in range(largest + 2)]
    none = [sum((1 - 2.0 ** (i - a)) / (1 - 2.0**-a) for a in sizes if a >= i) for i in range(largest + 2)]
    none[0] = largest
    return some, none


def law_of_first_number(bits, items):
    """Nats of the bits and of the operator that ends them, by summing over all sizes of the first number."""
    some, none = tails(items - 2)
    weight, nats = items - 2, []
    for i in range(1, len(bits) + 1):
        after = some[i] if any(bits[:i]) else none[i]
        nats.append(-math.log(0.5 * after / weight))
        weight = after
    size = len(bits)
    return [*nats, -math.log(1 / (1 - 2.0**-size) / weight)]
