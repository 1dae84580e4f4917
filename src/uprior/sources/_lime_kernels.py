"""The rows of LIME: patterns, substitutions, strings and rules made of symbols that mean something else in every episode.

Inside an episode everything is written in *codes*: 0.. the upper symbols (variables), then the lower symbols, then the math
symbols, then the marks. ``meaning`` [vocabulary] says which token stands for a code, afresh in every episode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel

Codes = NDArray[np.int64]

INDUCT, DEDUCT, ABDUCT, INDUCT_V2, INDUCT_V3, INDUCT_HARD, REWRITE, INDUCT_REWRITE, MULTI_STEP, MULTI_STEP_HARD = range(
    10
)
# Marks, as tokens after the vocabulary.
UPPER, LOWER, MATH, SPACE, COLON, OPEN, CLOSE, COMMA, ARROW, ANSWER, END = range(11)
MARKS = 11


@kernel
def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A uniform whole number of low..high."""
    return low + int(rng.random() * (high - low + 1))


@kernel
def shuffle(rng: np.random.Generator, codes: Codes, size: int) -> None:
    """Put the first ``size`` codes in random order, from the first on."""
    for i in range(size - 1):
        j = whole(rng, i, size - 1)
        codes[i], codes[j] = codes[j], codes[i]


@kernel
def draw_meaning(rng: np.random.Generator, symbols: int, meaning: Codes) -> None:
    """The first ``symbols`` entries become a random choice of tokens in random order, whatever the order was before."""
    for i in range(symbols):
        j = whole(rng, i, meaning.size - 1)
        meaning[i], meaning[j] = meaning[j], meaning[i]


@kernel
def draw_substitution(
    rng: np.random.Generator,
    variables: int,
    first: int,
    last: int,
    shortest: int,
    longest: int,
    table: NDArray[np.int64],
) -> None:
    """table [variables, 1 + longest]: for each variable the length of what replaces it, and that: codes first..last."""
    for v in range(variables):
        table[v, 0] = whole(rng, shortest, longest)
        for i in range(table[v, 0]):
            table[v, 1 + i] = whole(rng, first, last)


@kernel
def substitute(pattern: Codes, size: int, table: NDArray[np.int64], variables: int, out: Codes, at: int) -> int:
    """Write the pattern with its variables replaced from position ``at`` on; where it ends."""
    for i in range(size):
        code = pattern[i]
        if code < variables:
            for j in range(table[code, 0]):
                out[at + j] = table[code, 1 + j]
            at += table[code, 0]
        else:
            out[at] = code
            at += 1
    return at


@kernel
def put_substitution(table: NDArray[np.int64], used: NDArray[np.bool_], marks: int, out: Codes, at: int) -> int:
    """Write ``variable : [ codes ] ,`` for each used variable, without the last comma; where it ends."""
    for v in range(used.size):
        if used[v]:
            out[at], out[at + 1], out[at + 2] = v, marks + COLON, marks + OPEN
            at += 3
            for j in range(table[v, 0]):
                out[at + j] = table[v, 1 + j]
            at += table[v, 0]
            out[at], out[at + 1] = marks + CLOSE, marks + COMMA
            at += 2
    return at - 1


@kernel
def put(codes: Codes, size: int, out: Codes, at: int) -> int:
    for i in range(size):
        out[at + i] = codes[i]
    return at + size


@kernel
def put_header(used: NDArray[np.bool_], lower: int, math: int, out: Codes) -> int:
    """Declare the variables that are used, all lower and all math symbols; where it ends."""
    upper = used.size
    marks = upper + lower + math
    out[0], at = marks + UPPER, 1
    for v in range(upper):
        if used[v]:
            out[at] = v
            at += 1
    out[at] = marks + LOWER
    at += 1
    for code in range(upper, marks):
        if code == upper + lower:
            out[at] = marks + MATH
            at += 1
        out[at] = code
        at += 1
    out[at] = marks + SPACE
    return at + 1


@kernel
def write_pattern_episode(
    rng: np.random.Generator, task: int, variables: int, upper: int, lower: int, math: int, sizes: Codes, out: Codes
) -> tuple[int, int]:
    """An episode about a pattern, a substitution and their result; where its question and its answer end."""
    used, marks = np.zeros(upper, dtype=np.bool_), upper + lower + math
    pattern = np.empty(2 * variables + sizes[1], dtype=np.int64)
    for i in range(2 * variables):
        pattern[i] = whole(rng, 0, variables - 1)
        used[pattern[i]] = True
    size = 2 * variables + whole(rng, sizes[0], sizes[1])
    for i in range(2 * variables, size):
        pattern[i] = whole(rng, upper + lower, marks - 1)
    shuffle(rng, pattern, size)
    tables = np.empty((2, variables, 1 + sizes[3]), dtype=np.int64)
    for k in range(2 if task == INDUCT_V3 else 1):
        draw_substitution(rng, variables, upper, marks - 1, sizes[2], sizes[3], tables[k])
    at, question = put_header(used, lower, math, out), 0
    # Parts in order: 0 pattern, 1 substitution, 2 result, 3 the second result; of three, the last is the answer.
    order = (
        (2, 1, 0), (0, 1, 2), (0, 2, 1), (2, 1, 0), (2, 3, 0), (2, 0, 0)
    )[task]  # fmt: skip
    parts = 2 if task == INDUCT_HARD else 3
    asked = 1 if task in (INDUCT_V2, INDUCT_HARD) else 2
    for i in range(parts):
        if i == asked:
            question = at
            out[at] = marks + ANSWER
            at += 1
        elif i > 0:
            out[at] = marks + SPACE
            at += 1
        part = order[i]
        if part == 0:
            at = put(pattern, size, out, at)
        elif part == 1:
            at = put_substitution(tables[0], used[:variables], marks, out, at)
        else:
            at = substitute(pattern, size, tables[part - 2], variables, out, at)
    return question, at


@kernel
def draw_string(
    rng: np.random.Generator, upper: int, lower: int, math: int, letters: int, maths: int, out: Codes
) -> int:
    """A string of lower and math symbols in random order; its size."""
    for i in range(letters + maths):
        out[i] = (
            whole(rng, upper, upper + lower - 1) if i < letters else whole(rng, upper + lower, upper + lower + math - 1)
        )
    shuffle(rng, out, letters + maths)
    return letters + maths


@kernel
def draw_rule(
    rng: np.random.Generator,
    upper: int,
    lower: int,
    math: int,
    low: int,
    high: int,
    string: Codes,
    size: int,
    rule: Codes,
) -> tuple[int, int, int]:
    """Abstract a random window of a string into a left side, and draw a right side; rule = left, right, no arrow between.

    Different lower symbols of the window become variables 0, 1, ... in order of appearance. The right side has all of them
    once among math symbols. Returns the sizes of the left and the right side and the number of variables.
    """
    left = min(whole(rng, low, high), size)
    first = whole(rng, 0, size - left)
    variable, variables = np.zeros(lower, dtype=np.int64), 0  # 1 + the variable of a lower symbol
    for i in range(left):
        code = string[first + i]
        if code < upper + lower:
            if variable[code - upper] == 0:
                variables += 1
                variable[code - upper] = variables
            code = variable[code - upper] - 1
        rule[i] = code
    right = whole(rng, low, high) + variables
    for i in range(right):
        rule[left + i] = i if i < variables else whole(rng, upper + lower, upper + lower + math - 1)
    shuffle(rng, rule[left:], right)
    return left, right, variables


@kernel
def rewrite(upper: int, lower: int, rule: Codes, left: int, right: int, string: Codes, size: int, bound: Codes) -> int:
    """Replace the leftmost instance of the left side by the right side, in place; the new size.

    An instance has lower symbols at the variables, the same ones at the same variables and different ones at different ones.
    """
    for first in range(size - left + 1):
        for v in range(upper):
            bound[v] = -1
        same = True
        for i in range(left):
            code, found = rule[i], string[first + i]
            if code < upper:
                if bound[code] < 0 and upper <= found < upper + lower:
                    for v in range(upper):
                        same = same and bound[v] != found
                    bound[code] = found
                code = bound[code]
            if code != found or not same:
                same = False
                break
        if same:
            grown = right - left
            if grown > 0:
                for i in range(size - 1, first + left - 1, -1):
                    string[i + grown] = string[i]
            else:
                for i in range(first + left, size):
                    string[i + grown] = string[i]
            for i in range(right):
                code = rule[left + i]
                string[first + i] = bound[code] if code < upper else code
            return size + grown
    return size


@kernel
def write_rule_episode(
    rng: np.random.Generator, task: int, rules: int, upper: int, lower: int, math: int, sizes: Codes, out: Codes
) -> tuple[int, int]:
    """An episode about a string and the rules that rewrite it; where its question and its answer end."""
    marks, steps = upper + lower + math, task >= MULTI_STEP
    most = 3 * sizes[5] + (rules + 1) * (sizes[7] + sizes[9]) + 8
    string, rule, bound = (
        np.empty(most, dtype=np.int64),
        np.empty(most, dtype=np.int64),
        np.empty(upper, dtype=np.int64),
    )
    strings, asked = np.empty((rules + 1) * most, dtype=np.int64), np.empty((rules + 1) * most, dtype=np.int64)
    low, high = (sizes[8], sizes[9]) if steps else (sizes[6], sizes[7])
    # Three math symbols to two lower ones, and the other way round where there are several steps; half a symbol to even.
    few = whole(rng, max(sizes[4] // 2, 1), max(sizes[5] // 2, 1)) if steps else whole(rng, sizes[4], sizes[5])
    many = few + (few + 1) // 2 if few % 4 == 1 else few + few // 2
    size = draw_string(rng, upper, lower, math, many if steps else few, few if steps else many, string)
    start, top = put(string, size, strings, 0), 0
    end = start
    used = np.ones(upper, dtype=np.bool_) if steps else np.zeros(upper, dtype=np.bool_)
    for step in range(rules):
        left, right, variables = draw_rule(rng, upper, lower, math, low, high, string, size, rule)
        for v in range(variables):
            used[v] = True
        if step > 0:
            asked[top] = marks + SPACE
            top += 1
        top = put(rule, left, asked, top)
        asked[top] = marks + ARROW
        top = put(rule[left:], right, asked, top + 1)
        size = rewrite(upper, lower, rule, left, right, string, size, bound)
        if step > 0 and task == MULTI_STEP:
            strings[end] = marks + SPACE
            end += 1
        end = put(string, size, strings, end if task != MULTI_STEP_HARD else start)
    at = put_header(used, lower, math, out)
    if task == INDUCT_REWRITE:
        at = put(strings, start, out, at)
        out[at] = marks + SPACE
        at = put(strings[start:], end - start, out, at + 1)
    else:
        at = put(asked, top, out, at)
        out[at] = marks + SPACE
        at = put(strings, start, out, at + 1)
    question = at
    out[at] = marks + ANSWER
    if task == INDUCT_REWRITE:
        at = put(asked, top, out, at + 1)
    else:
        at = put(strings[start:], end - start, out, at + 1)
    return question, at


@kernel
def write_rows(
    rng: np.random.Generator,
    task: NDArray[np.int64],
    items: NDArray[np.int64],
    upper: int,
    lower: int,
    math: int,
    sizes: Codes,
    longest: int,
    packed: bool,
    end: bool,
    meaning: Codes,
    lengths: NDArray[np.int64],
    tokens: NDArray[Any],
    answer: NDArray[np.bool_],
) -> None:
    """Fill the rows; lengths [N, 2]: tokens of the first question and of its answer, without delimiters."""
    out, marks, length = np.empty(longest, dtype=np.int64), upper + lower + math, tokens.shape[1]
    for row in range(task.size):
        at = 0
        while at < length:
            draw_meaning(rng, marks, meaning)
            if task[row] < REWRITE:
                question, size = write_pattern_episode(rng, task[row], items[row], upper, lower, math, sizes, out)
            else:
                question, size = write_rule_episode(rng, task[row], items[row], upper, lower, math, sizes, out)
            if at == 0:
                lengths[row, 0], lengths[row, 1] = question, size - question - 1
            if end:
                out[size] = marks + END
                size += 1
            size = min(size, length - at)
            for i in range(size):
                code = out[i]
                tokens[row, at + i] = meaning[code] if code < marks else meaning.size + code - marks
                answer[row, at + i] = i > question
            at += size
            if not packed:
                break
        for i in range(at, length):
            tokens[row, i] = meaning.size + END
