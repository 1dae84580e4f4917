"""Bracketed arithmetic: random expressions of a given length, their value, and the exact law of their symbols."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel

PLUS, TIMES, MINUS, OPEN, CLOSE = 5, 6, 7, 8, 9
MODULUS = 5
LN5 = math.log(5.0)

# What is remembered of an open bracket: its length in symbols, where its weights begin and the longest length they hold,
# the length and value of its left side, and its operator (0 while the left side is being written).
LENGTH, FIRST, LONGEST, LEFT, VALUE, OPERATOR = 0, 1, 2, 3, 4, 5
FIELDS = 6

Symbols = NDArray[np.uint8]
Floats = NDArray[np.float64]
Nats = NDArray[np.float32]


@kernel
def write_expression(
    uniform: Floats, items: int, operators: int, episode: Symbols, nats: Nats, weight: Floats, frame: NDArray[np.int64]
) -> int:
    """An expression of ``items`` symbols and their floors; its value modulo 5. Operators: 2 (+ -) or 3 (+ * -).

    Lengths 1 to 4 are d, -d, (d), (-d) with a uniform digit; a longer one is (left operator right), where the left side's
    length is uniform in 1..length-4.

    Floors know the length of the whole but see the rest from the left only. What is unknown are the lengths of the brackets
    that are open: ``weight[first + l]`` is the posterior weight that the node which begins here has length l, with sum
    ``total``. That of a left side follows from its bracket's by the law of the split, that of a right side from the left
    side's length, which is known once it is complete. A digit or minus and digit that begin a bracket may be its left side or
    all it holds: ``alone_1`` and ``alone_2`` are the weights of the latter.
    """
    at, depth, length, first, longest = 0, 0, items, 0, items
    for i in range(items):
        weight[i] = 0.0
    weight[items] = total = 1.0
    alone_1 = alone_2 = 0.0
    while True:
        if length > 2:  # a bracket opens
            seen = 0.0
            for i in range(first + 3, first + longest + 1):
                seen += weight[i]
            episode[at] = OPEN
            nats[at] = math.log(total / seen)
            left = 1 + int(uniform[at] * (length - 4)) if length > 4 else 0
            at += 1
            frame[depth, LENGTH], frame[depth, FIRST], frame[depth, LONGEST] = length, first, longest
            frame[depth, LEFT], frame[depth, OPERATOR] = left, 0
            depth += 1
            alone_1 = weight[first + 3] / seen
            alone_2 = weight[first + 4] / seen if longest > 3 else 0.0
            length = left if left > 0 else length - 2
            left_weights(weight, first, longest, seen)
            first, longest, total = first + longest + 1, max(longest - 4, 0), 1.0
            continue
        minus = length == 2
        seen = weight[first + length] if longest >= length else 0.0
        alone = alone_2 if minus else alone_1
        nats[at] = math.log(total / (seen + alone))
        if minus:
            episode[at] = MINUS
            at += 1
            nats[at] = 0.0
        value = int(uniform[at] * MODULUS)
        episode[at] = value
        nats[at] += LN5
        at += 1
        if minus and value > 0:
            value = MODULUS - value
        complete, closes = seen / (seen + alone), alone / (seen + alone)
        while depth > 0 and (frame[depth - 1, LEFT] == 0 or frame[depth - 1, OPERATOR] > 0):
            depth -= 1
            episode[at] = CLOSE
            nats[at] = 0.0
            if frame[depth, LEFT] == 0:
                nats[at] = -math.log(closes)
            else:
                value = applied(frame[depth, OPERATOR], frame[depth, VALUE], value)
            complete = 1.0
            at += 1
        if depth == 0:
            return value
        bracket = frame[depth - 1]
        bracket[OPERATOR] = PLUS + int(uniform[at] * operators) * (4 - operators)
        bracket[VALUE] = value
        episode[at] = bracket[OPERATOR]
        nats[at] = math.log(operators / complete)
        at += 1
        length = bracket[LENGTH] - 3 - bracket[LEFT]
        first = bracket[FIRST] + bracket[LONGEST] + 1
        longest = bracket[LONGEST] - 3 - bracket[LEFT]
        total = right_weights(weight, bracket[FIRST] + 3 + bracket[LEFT], bracket[LEFT], first, longest)
        alone_1 = alone_2 = 0.0


@kernel
def left_weights(weight: Floats, first: int, longest: int, total: float) -> None:
    """Weights of the lengths 1..longest-4 of a left side: the sum over brackets of length L >= l + 4 of weight / (L - 4)."""
    below = 0.0
    for i in range(longest - 4, 0, -1):
        below += weight[first + i + 4] / (i * total)
        weight[first + longest + 1 + i] = below


@kernel
def right_weights(weight: Floats, first: int, left: int, inner: int, longest: int) -> float:
    """Weights of the lengths 1..longest of a right side, whose bracket's weights begin at ``first``; their sum."""
    total = 0.0
    for i in range(1, longest + 1):
        weight[inner + i] = weight[first + i] / (i + left - 1)
        total += weight[inner + i]
    return total


@kernel
def applied(operator: int, left: int, right: int) -> int:
    """left operator right, modulo 5."""
    if operator == TIMES:
        return left * right % MODULUS
    return (left + (right if operator == PLUS else MODULUS - right)) % MODULUS


@kernel
def hide_digit(uniform: float, items: int, hidden: int, episode: Symbols, nats: Nats) -> int:
    """Hide one digit of an expression behind the symbol ``hidden``, with the floors that follow; the digit.

    The first digit at or after a uniformly random place, or the last digit if there is none. Seen from the left, a digit
    that is not the last is hidden with probability (distance to the digit before) / (symbols after that digit); that a digit
    is the last is known where it stands, since then every open bracket is on its right side.
    """
    place = int(uniform * items)
    last = items - 1
    while episode[last] >= MODULUS:
        last -= 1
    place, before = min(place, last), -1
    for i in range(last + 1):
        if episode[i] < MODULUS:
            chance = 1.0 if i == last else (i - before) / (items - 1 - before)
            if place <= i:
                nats[i] -= LN5 + math.log(chance)
                break
            nats[i] -= math.log(1.0 - chance)
            before = i
    digit = int(episode[i])
    episode[i] = hidden
    return digit
