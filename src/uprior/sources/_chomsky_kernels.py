"""The rows of the Chomsky tasks: questions of every task with their floors, the answers, and how episodes fill a row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._chomsky_brackets import FIELDS, hide_digit, write_expression
from uprior.sources._chomsky_numbers import (
    LN2,
    Floats,
    Nats,
    Symbols,
    combine,
    prepare_sizes,
    square_root,
    write_number,
    write_two_numbers,
)
from uprior.sources._exact import kernel

PLUS, TIMES, MINUS, HIDDEN, EQUALS, POP, PUSH_0, ANSWER, END = 5, 6, 7, 10, 11, 12, 13, 15, 16
MODULUS = 5

(
    EVEN_PAIRS, MODULAR_ARITHMETIC, PARITY_CHECK, CYCLE_NAVIGATION, STACK_MANIPULATION, REVERSE_STRING,
    MODULAR_ARITHMETIC_BRACKETS, SOLVE_EQUATION, DUPLICATE_STRING, MISSING_DUPLICATE_STRING, ODDS_FIRST, BINARY_ADDITION,
    BINARY_MULTIPLICATION, COMPUTE_SQRT, BUCKET_SORT,
) = range(15)  # fmt: skip
# Answers of these tasks vary in length, so they always end with a mark.
MARKED = (STACK_MANIPULATION, BINARY_ADDITION, BINARY_MULTIPLICATION)
# Questions of these tasks are independent symbols, whose law does not depend on how many follow.
FREE = (
    EVEN_PAIRS, MODULAR_ARITHMETIC, PARITY_CHECK, CYCLE_NAVIGATION, REVERSE_STRING, DUPLICATE_STRING, ODDS_FIRST, BUCKET_SORT
)  # fmt: skip


@kernel
def question_size(task: int, items: int) -> int:
    """Symbols of a question: ``items``, or the nearest length that the task has."""
    if task == MODULAR_ARITHMETIC:
        return items - 1 + items % 2
    if task == MISSING_DUPLICATE_STRING:
        return max(items - items % 2, 2)
    least = 1
    if task == SOLVE_EQUATION:
        least = 3
    elif task in (BINARY_ADDITION, BINARY_MULTIPLICATION):
        least = 4  # 1 + 1 would be the only question of length 3
    elif task == COMPUTE_SQRT:
        least = 2
    return max(items, least)


@kernel
def write_free(uniform: Floats, task: int, size: int, episode: Symbols, nats: Nats) -> None:
    """A question of independent symbols: digits and operators, moves on a cycle, letters or bits."""
    symbols = 5 if task in (BUCKET_SORT, MODULAR_ARITHMETIC) else 3 if task == CYCLE_NAVIGATION else 2
    surprise = math.log(symbols)
    for i in range(size):
        episode[i] = int(uniform[i] * symbols)
        nats[i] = surprise
    if task == MODULAR_ARITHMETIC:
        for i in range(1, size, 2):
            episode[i] = PLUS + int(uniform[i] * 3)
            nats[i] = math.log(3.0)
    elif task == CYCLE_NAVIGATION:
        for i in range(size):
            episode[i] = MINUS if episode[i] == 0 else PLUS if episode[i] == 2 else 0


@kernel
def count_length(task: int, size: int, low: int, high: int, nats: Nats) -> None:
    """Add to the floors of a question and of the symbol after it what is learnt of its length, uniform in low..high.

    Modular arithmetic shortens even lengths by one.
    """
    odd_only = task == MODULAR_ARITHMETIC
    for i in range(size + 1):
        longer = high - max(i, low) + 1
        ends = min(i + 1, high) - max(i, low) + 1 if odd_only else 1 if i >= low else 0
        if odd_only and i % 2 == 0:
            ends = 0
        chance = ends / longer
        nats[i] += -math.log(chance) if i == size else -math.log(1.0 - chance)


@kernel
def write_stack(uniform: Floats, place: float, size: int, episode: Symbols, nats: Nats) -> None:
    """A stack of bits, bottom first, of uniform size in 1..size-1, then actions."""
    height = 1 + int(place * (size - 1)) if size > 1 else 1
    for i in range(size):
        if i < height:
            episode[i] = int(uniform[i] * 2)
            # The first action, at i, is as likely as each of those places that are left.
            nats[i] = LN2 if i == 0 else math.log(2.0 * (size - i) / (size - i - 1))
        else:
            episode[i] = POP + int(uniform[i] * 3)
            nats[i] = math.log(3.0 * (size - i)) if i == height else math.log(3.0)


@kernel
def write_missing(uniform: Floats, place: float, size: int, episode: Symbols, nats: Nats) -> int:
    """A string of bits twice, one bit of the two hidden; that bit."""
    half, missing = size // 2, int(place * size)
    for i in range(size):
        episode[i] = int(uniform[i] * 2) if i < half else episode[i - half]
        nats[i] = LN2 if i < half or i == missing + half else 0.0
        if i < missing:
            nats[i] += math.log((size - i) / (size - i - 1))
    bit = int(episode[missing])
    episode[missing] = HIDDEN
    nats[missing] = math.log(size - missing)
    return bit


@kernel
def answer_simply(task: int, size: int, episode: Symbols) -> int:
    """The answer to a question that one pass can answer, from size + 1 on; its number of symbols."""
    out = size + 1
    if task in (REVERSE_STRING, DUPLICATE_STRING):
        for i in range(size):
            episode[out + i] = episode[size - 1 - i if task == REVERSE_STRING else i]
            episode[out + size + i] = episode[i]
        return size if task == REVERSE_STRING else 2 * size
    if task == ODDS_FIRST:
        for i in range(size):
            episode[out + (i // 2 if i % 2 else size // 2 + i // 2)] = episode[i]
        return size
    if task == BUCKET_SORT:
        at = out
        for letter in range(MODULUS):
            for i in range(size):
                if episode[i] == letter:
                    episode[at] = letter
                    at += 1
        return size
    if task == MODULAR_ARITHMETIC:
        episode[out] = flat_value(size, episode)
    else:  # parity and cycles
        total = 0
        for i in range(size):
            total += 1 if episode[i] in (1, PLUS) else -1 if episode[i] == MINUS else 0
        episode[out] = total % (2 if task == PARITY_CHECK else MODULUS)
    if task == EVEN_PAIRS:
        episode[out] = episode[0] ^ episode[size - 1]  # an odd number of changes, or not
    return 1


@kernel
def flat_value(size: int, episode: Symbols) -> int:
    """The value modulo 5 of digits joined by + - *, where * binds tighter."""
    total, term = 0, int(episode[0])
    for i in range(1, size, 2):
        digit = int(episode[i + 1])
        if episode[i] == TIMES:
            term = term * digit % MODULUS
        else:
            total += term
            term = digit if episode[i] == PLUS else MODULUS - digit
    return (total + term) % MODULUS


@kernel
def run_stack(size: int, episode: Symbols) -> int:
    """The stack after all actions, top first, from size + 1 on; its height. A pop of an empty stack does nothing."""
    height, out = 0, size + 1
    for i in range(size):
        symbol = episode[i]
        if symbol == POP:
            height = max(height - 1, 0)
        else:
            episode[out + height] = symbol - PUSH_0 if symbol >= PUSH_0 else symbol
            height += 1
    for i in range(height // 2):
        low, high = out + i, out + height - 1 - i
        episode[low], episode[high] = episode[high], episode[low]
    return height


@kernel
def write_rows(
    uniform: Floats,
    task: NDArray[np.int64],
    items: NDArray[np.int64],
    low: int,
    vary: bool,
    announce: bool,
    padded: bool,
    end: bool,
    packed: bool,
    most: int,
    depth: int,
    tokens: NDArray[Any],
    answer: NDArray[np.bool_],
    floor: Nats,
) -> None:
    """Fill the rows. ``vary``: each episode has its own length in low..items; ``padded``: marked answers have fixed lengths.

    ``uniform`` [N, T + the longest episode] has a number for every position. An episode takes its length and whatever is
    drawn once from the first two at its place, and the symbol at i from the one at i + 2: never more than it has symbols.
    """
    episode, nats = np.empty(3 * most + 8, dtype=np.uint8), np.zeros(3 * most + 8, dtype=np.float32)
    columns, prefix = np.empty(most + 2, dtype=np.int64), np.empty((2, most + 2))
    weight, frame = np.empty(depth * (most + 1)), np.empty((depth, FIELDS), dtype=np.int64)
    for row in range(items.shape[0]):
        which, at = task[row], 0
        if announce:
            tokens[row, 0], tokens[row, 1], at = which // 5, which % 5, 2
        arithmetic = which in (BINARY_ADDITION, BINARY_MULTIPLICATION)
        marked = arithmetic or which == STACK_MANIPULATION
        nested = which in (MODULAR_ARITHMETIC_BRACKETS, SOLVE_EQUATION)
        size = 0
        while at < tokens.shape[1]:
            numbers, place = uniform[row, at + 2 :], uniform[row, at + 1]
            if vary or size == 0:
                size = question_size(
                    which, low + int(uniform[row, at] * (items[row] - low + 1)) if vary else items[row]
                )
                if arithmetic:
                    prepare_sizes(size - 2, prefix)
            stop = size + 1
            if nested:
                hide = 2 if which == SOLVE_EQUATION else 0  # two more symbols: = and the value
                value = write_expression(numbers, size - hide, 3 - hide // 2, episode, nats, weight, frame)
                if hide:
                    episode[size - 2], episode[size - 1] = EQUALS, value
                    nats[size - 2], nats[size - 1] = 0.0, math.log(5.0)
                    value = hide_digit(place, size - 2, HIDDEN, episode, nats)
                episode[stop] = value
                stop += 1
            elif which == MISSING_DUPLICATE_STRING:
                episode[stop] = write_missing(numbers, place, size, episode, nats)
                stop += 1
            elif which == COMPUTE_SQRT:
                write_number(numbers, 0, size, episode, nats)
                stop += square_root(size, episode, columns)
            elif arithmetic:
                operator = PLUS if which == BINARY_ADDITION else TIMES
                first = write_two_numbers(numbers, place, size, operator, episode, nats, prefix)
                stop += combine(size, first, which == BINARY_MULTIPLICATION, episode, columns)
            elif which == STACK_MANIPULATION:
                write_stack(numbers, place, size, episode, nats)
                stop += run_stack(size, episode)
            else:
                write_free(numbers, which, size, episode, nats)
                stop += answer_simply(which, size, episode)
            nats[size] = 0.0
            if vary:
                count_length(which, size, low, items[row], nats)
            at = lay_out(
                at,
                size,
                stop,
                marked,
                which == BINARY_MULTIPLICATION,
                padded,
                end,
                episode,
                nats,
                tokens[row],
                answer[row],
                floor[row],
            )
            if not packed:
                break
        for i in range(at, tokens.shape[1]):
            tokens[row, i] = END


@kernel
def lay_out(
    at: int,
    size: int,
    stop: int,
    marked: bool,
    product: bool,
    padded: bool,
    end: bool,
    episode: Symbols,
    nats: Nats,
    tokens: NDArray[Any],
    answer: NDArray[np.bool_],
    floor: Nats,
) -> int:
    """Finish an episode with its delimiters and put it at position ``at`` of a row, cut at the row's end; where it ends."""
    episode[size] = ANSWER
    if marked:
        episode[stop] = END
        stop += 1
        if padded:
            full = 2 * size + (1 if product else 2)
            for i in range(stop, full):
                episode[i] = 0
            stop = full
    if end and (padded or not marked):
        episode[stop] = END
        stop += 1
    stop = min(stop, tokens.shape[0] - at)
    for i in range(stop):
        tokens[at + i] = episode[i]
        answer[at + i] = i > size
    for i in range(min(stop, size + 1)):
        floor[at + i] = max(nats[i], np.float32(0))  # certain events may miss 0 by a rounding
    return at + stop
