"""Kernels of ``simple_tasks``: one episode of any of the eighteen tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel
from uprior.sources._set_kernels import draw_symbols
from uprior.sources._tasks import copy_episode

Tokens = NDArray[np.unsignedinteger[Any]]
Nats = NDArray[np.float32]

TASKS = (
    "copy", "reverse", "set", "deduplicate", "duplicate", "first_token", "last_token", "length", "longest_word", "count",
    "delete", "search", "sort", "replace", "union", "intersection", "set1_minus_set2", "set2_minus_set1",
)  # fmt: skip
COPY, REVERSE, SET, DEDUPLICATE, DUPLICATE, FIRST, LAST, LENGTH, WORD, COUNT = range(10)
DELETE, SEARCH, SORT, REPLACE, UNION, INTERSECTION, FIRST_ONLY, SECOND_ONLY = range(10, 18)
# Ids, from the number of symbols on.
YES, NO, EMPTY, MARK, DIVIDER, END, FIRST_TASK = range(10, 17)

MARK_SHARE, REPEAT_SHARE, COUNT_SHARE, DELETE_SHARE, SEARCH_SHARE = 0.2, 0.5, 0.5, 0.75, 0.5


@kernel
def query_size(n: int) -> int:
    """Tokens of the string to delete or search."""
    return min(3, 1 + n // 8)


@kernel
def order_size(n: int, symbols: int) -> int:
    """Symbols of an order list."""
    return min(symbols, 1 + n // 4)


@kernel
def write_rows(
    rng: np.random.Generator,
    tasks: NDArray[np.int64],
    items: NDArray[np.int64],
    symbols: int,
    packed: bool,
    end_token: bool,
    room: int,
    tokens: Tokens,
    answer: NDArray[np.bool_],
    floor: NDArray[np.float32],
) -> None:
    """Fill all rows; an episode takes at most ``room`` tokens."""
    episode = np.empty(room, dtype=np.uint16)
    is_answer = np.empty(room, dtype=np.bool_)
    nats = np.empty(room, dtype=np.float32)
    distinct = np.empty(max(room, symbols), dtype=np.uint16)
    seen, count = np.zeros(symbols, dtype=np.int64), np.zeros(symbols, dtype=np.int64)
    length, stamp = tokens.shape[1], 0
    for row in range(len(items)):
        at, task, n = 0, tasks[row], items[row]
        while at < length and (packed or at == 0):
            stamp += 1
            for i in range(room):
                nats[i] = 0.0
            episode[0], episode[1] = symbols + FIRST_TASK + task, symbols + DIVIDER
            begin, known = _write_question(rng, task, n, symbols, distinct, seen, stamp, episode, nats)
            episode[begin] = symbols + DIVIDER
            end = _write_answer(task, n, symbols, known, distinct, count, episode, begin)
            if end_token:
                episode[end] = symbols + END
                end += 1
            for i in range(end):
                is_answer[i] = i > begin
            at = copy_episode(at, end, episode, is_answer, nats, tokens[row], answer[row], floor[row])
        for t in range(at, length):
            tokens[row, t] = symbols + END


@kernel
def _write_question(
    rng: np.random.Generator,
    task: int,
    n: int,
    symbols: int,
    distinct: Tokens,
    seen: NDArray[np.int64],
    stamp: int,
    episode: Tokens,
    nats: Nats,
) -> tuple[int, int]:
    """Write the arguments from place 2 on; (where they end, how many of their different symbols stand in ``distinct``)."""
    at, known, lowest = 2, 0, 0
    if task in (DEDUPLICATE, LENGTH, WORD):
        return _write_uneven(rng, task, n, symbols, episode, nats), known
    pool = symbols
    if task in (SET, COUNT, DELETE, SEARCH) or task >= REPLACE:
        pool = min(symbols, max(1, n // 2))
    parts = 2 if task >= UNION or task == SORT else 1
    for part in range(parts):
        size = max(1, (n + 1 - part) // 2) if task >= UNION else n
        if part == 1:
            episode[at] = symbols + DIVIDER
            at += 1
        if task == SORT and part == 0:
            known = _write_order(rng, order_size(n, symbols), symbols, distinct, seen, stamp, episode, nats)
            at += known
            pool = known
        else:
            known = draw_symbols(rng, at, at + size, pool, lowest, symbols, known, distinct, seen, stamp, episode, nats)
            at += size
    if task in (COUNT, DELETE, SEARCH, REPLACE):
        at = _write_query(rng, task, n, symbols, episode, nats)
    return at, known


@kernel
def _write_order(
    rng: np.random.Generator,
    size: int,
    symbols: int,
    distinct: Tokens,
    seen: NDArray[np.int64],
    stamp: int,
    episode: Tokens,
    nats: Nats,
) -> int:
    """Write an order list of different symbols, which are then the whole pool of the sequence to sort; its size."""
    for i in range(size):
        symbol = int(rng.random() * symbols)
        while seen[symbol] == stamp:
            symbol = int(rng.random() * symbols)
        seen[symbol] = stamp
        distinct[i] = episode[2 + i] = symbol
        nats[2 + i] = np.log(float(symbols - i))
    return size


@kernel
def _write_uneven(rng: np.random.Generator, task: int, n: int, symbols: int, episode: Tokens, nats: Nats) -> int:
    """Write the argument of deduplicate, length or longest_word; where it ends."""
    size = 1 + int(rng.random() * n) if task == LENGTH else n
    usual = np.log(float(symbols))
    for i in range(size):
        at = 2 + i
        special = task != LENGTH and rng.random() < (MARK_SHARE if task == WORD else REPEAT_SHARE)
        if special and task == WORD:
            episode[at], nats[at] = symbols + MARK, -np.log(MARK_SHARE)
            continue
        if special and i > 0:
            episode[at] = episode[at - 1]
        else:
            episode[at] = int(rng.random() * symbols)
        if task == WORD:
            nats[at] = usual - np.log(1 - MARK_SHARE)
        elif task == LENGTH:
            # The argument goes on with probability (n - i) / (n - i + 1) once it has i > 0 tokens.
            nats[at] = usual + (np.log((n - i + 1) / (n - i)) if i > 0 else 0.0)
        elif i == 0:
            nats[at] = usual
        else:
            repeats = REPEAT_SHARE if episode[at] == episode[at - 1] else 0.0
            nats[at] = -np.log(repeats + (1 - REPEAT_SHARE) / symbols)
    if task == LENGTH:
        nats[2 + size] = np.log(float(n - size + 1))
    return 2 + size


@kernel
def _write_query(rng: np.random.Generator, task: int, n: int, symbols: int, episode: Tokens, nats: Nats) -> int:
    """Write what to count, delete, search or replace after the argument of n tokens; where it ends."""
    size = query_size(n) if task in (DELETE, SEARCH) else 1
    share = 1.0
    if task != REPLACE:
        share = COUNT_SHARE if task == COUNT else DELETE_SHARE if task == DELETE else SEARCH_SHARE
    first, places = 3 + n, n - size + 1
    episode[first - 1] = symbols + DIVIDER
    copied = rng.random() < share
    start = 2 + int(rng.random() * places) if copied else 0
    for i in range(size):
        episode[first + i] = episode[start + i] if copied else int(rng.random() * symbols)
    before, at_random = 1.0, 1 - share
    for i in range(size):
        matches = 0
        for j in range(2, 2 + places):
            matches += _common(episode, j, first, i + 1) == i + 1
        at_random /= symbols
        chance = share * matches / places + at_random
        nats[first + i] = np.log(before / chance)
        before = chance
    if task != REPLACE:
        return first + size
    episode[first + 1], nats[first + 1] = int(rng.random() * symbols), np.log(float(symbols))
    return first + 2


@kernel
def _common(values: Tokens, one: int, other: int, most: int) -> int:
    """How many tokens from place ``one`` on equal those from place ``other`` on, up to ``most``."""
    same = 0
    while same < most and values[one + same] == values[other + same]:
        same += 1
    return same


@kernel
def _write_answer(
    task: int,
    n: int,
    symbols: int,
    known: int,
    distinct: Tokens,
    count: NDArray[np.int64],
    episode: Tokens,
    begin: int,
) -> int:
    """Write the answer after the divider at ``begin``; where it ends. ``count`` [S] is working space."""
    at = begin + 1
    if task == LENGTH:
        at = _write_number(begin - 2, symbols, episode, at)
    elif task == WORD:
        at = _write_longest_word(n, symbols, episode, at)
    elif task in (COUNT, DELETE, SEARCH, REPLACE):
        at = _answer_query(task, n, symbols, episode, begin)
    elif task in (SET, SORT) or task >= UNION:
        at = _answer_sets(task, symbols, known, distinct, count, episode, begin)
    else:
        for i in range(n - 1 if task == LAST else 0, 1 if task == FIRST else n):
            token = episode[1 + n - i] if task == REVERSE else episode[2 + i]
            if task != DEDUPLICATE or i == 0 or token != episode[1 + i]:
                episode[at] = token
                at += 1
            if task == DUPLICATE:
                episode[at] = token
                at += 1
    if at == begin + 1:
        episode[at] = symbols + EMPTY
        at += 1
    return at


@kernel
def _answer_query(task: int, n: int, symbols: int, episode: Tokens, begin: int) -> int:
    """The answer to count, delete, search or replace."""
    at, first = begin + 1, 3 + n
    size = query_size(n) if task in (DELETE, SEARCH) else 1
    found, total = -1, 0
    for j in range(1 + n - size + 1, 1, -1):
        if _common(episode, j, first, size) == size:
            found = j
            total += 1
    if task == COUNT:
        return _write_number(total, symbols, episode, at)
    if task == SEARCH:
        episode[at] = symbols + (YES if found >= 0 else NO)
        return at + 1
    for j in range(2, 2 + n):
        if task == DELETE and found >= 0 and found <= j < found + size:
            continue
        episode[at] = episode[first + 1] if task == REPLACE and episode[j] == episode[first] else episode[j]
        at += 1
    return at


@kernel
def _answer_sets(
    task: int,
    symbols: int,
    known: int,
    distinct: Tokens,
    count: NDArray[np.int64],
    episode: Tokens,
    begin: int,
) -> int:
    """The answer to set, sort and the set operations.

    count: 1 for a symbol of the first argument, plus 2 for each time it stands in the second.
    """
    for i in range(known):
        count[distinct[i]] = 0
    second = False
    for j in range(2, begin):
        if episode[j] == symbols + DIVIDER:
            second = True
        elif second:
            count[episode[j]] += 2
        else:
            count[episode[j]] |= 1
    at = begin + 1
    for i in range(known):
        in_first, times = count[distinct[i]] & 1, count[distinct[i]] >> 1
        if task == INTERSECTION:
            times = min(in_first, times)
        elif task == FIRST_ONLY:
            times = in_first if times == 0 else 0
        elif task == SECOND_ONLY:
            times = 0 if in_first else min(times, 1)
        elif task != SORT:
            times = 1
        for _ in range(times):
            episode[at] = distinct[i]
            at += 1
    return at


@kernel
def _write_longest_word(n: int, symbols: int, episode: Tokens, at: int) -> int:
    """Copy the first longest piece without a mark."""
    best, longest, size = 2, 0, 0
    for j in range(2, 2 + n):
        size = 0 if episode[j] == symbols + MARK else size + 1
        if size > longest:
            best, longest = j + 1 - size, size
    for i in range(longest):
        episode[at + i] = episode[best + i]
    return at + longest


@kernel
def _write_number(value: int, symbols: int, episode: Tokens, at: int) -> int:
    """Write a number in decimal digits; where it ends."""
    power = 1
    while power <= value // 10:
        power *= 10
    while power > 0:
        episode[at] = symbols + value // power % 10
        at += 1
        power //= 10
    return at
