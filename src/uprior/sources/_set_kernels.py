"""Kernels of the seven tasks of ``set_tasks``, and the symbols that other tasks draw as well."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel
from uprior.sources._tasks import copy_episode

Tokens = NDArray[np.unsignedinteger[Any]]

IDENTITY, REVERSE, SORT, SET, UNION, DELETE, STACK = range(7)
POP = 0


@kernel
def write_rows(
    rng: np.random.Generator,
    task: int,
    items: NDArray[np.int64],
    pools: NDArray[np.int64],
    symbols: int,
    packed: bool,
    end_token: bool,
    option: bool,
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
    seen = np.zeros(symbols, dtype=np.int64)
    length, stamp = tokens.shape[1], 0
    for row in range(len(items)):
        at = 0
        while at < length and (packed or at == 0):
            stamp += 1
            for i in range(room):
                is_answer[i], nats[i] = False, 0.0
            if task == STACK:
                size = _stack(rng, items[row], symbols, option, distinct, seen, episode, is_answer, nats)
            else:
                size = _string(
                    rng, task, items[row], pools[row], symbols, option, distinct, seen, stamp, episode, is_answer, nats
                )
            if end_token:
                episode[size], is_answer[size] = symbols + 1, True
                size += 1
            at = copy_episode(at, size, episode, is_answer, nats, tokens[row], answer[row], floor[row])
        for t in range(at, length):
            tokens[row, t] = symbols + 1


@kernel
def draw_symbols(
    rng: np.random.Generator,
    first: int,
    last: int,
    pool: int,
    lowest: int,
    count: int,
    known: int,
    distinct: NDArray[np.uint16],
    seen: NDArray[np.int64],
    stamp: int,
    episode: Tokens,
    nats: NDArray[np.float32],
) -> int:
    """Fill episode[first:last] with independent symbols, uniform on a random pool out of lowest..lowest+count-1.

    The pool is revealed as it is used: distinct[:known] are the symbols seen so far, in the order of their first appearance,
    marked by seen[symbol - lowest] == stamp. Each of these has probability 1 / pool; the others share the rest.
    Returns ``known``.
    """
    usual = np.log(float(pool))
    for i in range(first, last):
        place = int(rng.random() * pool)
        if pool == count:
            symbol = place
        elif place < known:
            symbol = distinct[place] - lowest
        else:
            symbol = int(rng.random() * count)
            while seen[symbol] == stamp:
                symbol = int(rng.random() * count)
        nats[i] = usual
        if seen[symbol] != stamp:
            if pool != count:
                nats[i] = usual + np.log((count - known) / (pool - known))
            seen[symbol] = stamp
            distinct[known] = symbol + lowest
            known += 1
        episode[i] = symbol + lowest
    return known


@kernel
def _string(
    rng: np.random.Generator,
    task: int,
    n: int,
    pool: int,
    symbols: int,
    present: bool,
    distinct: NDArray[np.uint16],
    seen: NDArray[np.int64],
    stamp: int,
    episode: Tokens,
    is_answer: NDArray[np.bool_],
    nats: NDArray[np.float32],
) -> int:
    """Write one episode of any task but the stack; its size without end token."""
    known, begin, deleted = 0, 0, -1
    parts = 2 if task == UNION else 1
    n //= parts
    for _ in range(parts):
        known = draw_symbols(rng, begin, begin + n, pool, 1, symbols - 1, known, distinct, seen, stamp, episode, nats)
        begin += n + 1
        episode[begin - 1] = symbols
    if task == DELETE:
        deleted = _write_query(rng, n, symbols, present, episode, nats)
        begin += 2
    end = begin + n
    if task in (SET, UNION):
        end = begin + known
        for i in range(known):
            episode[begin + i] = distinct[i]
    elif task == DELETE and deleted >= 0:
        end -= 1
        for i in range(n - 1):
            episode[begin + i] = episode[i + (i >= deleted)]
    else:
        for i in range(n):
            episode[begin + i] = episode[n - 1 - i] if task == REVERSE else episode[i]
        if task == SORT:
            _shell_sort(episode, begin, end)
    for i in range(begin, end):
        is_answer[i] = True
    return end


@kernel
def _shell_sort(values: Tokens, first: int, last: int) -> None:
    """Sort values[first:last] in place, ascending; NumPy's own sort takes seconds to compile."""
    gap = 1
    while gap < (last - first) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(first + gap, last):
            value, j = values[i], i
            while j >= first + gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 3


@kernel
def _write_query(
    rng: np.random.Generator, n: int, symbols: int, present: bool, episode: Tokens, nats: NDArray[np.float32]
) -> int:
    """Write the symbol to delete and a separator after the string; where it first stands, or -1."""
    query = int(episode[int(rng.random() * n)]) if present else 1 + int(rng.random() * (symbols - 1))
    count, first = 0, -1
    for i in range(n - 1, -1, -1):
        if episode[i] == query:
            count += 1
            first = i
    episode[n + 1], episode[n + 2] = query, symbols
    nats[n + 1] = np.log(n / count) if present else np.log(symbols - 1.0)
    return first


@kernel
def _stack(
    rng: np.random.Generator,
    n: int,
    symbols: int,
    every: bool,
    stack: NDArray[np.uint16],
    on_stack: NDArray[np.int64],
    episode: Tokens,
    is_answer: NDArray[np.bool_],
    nats: NDArray[np.float32],
) -> int:
    """Write one episode of the stack; its size without end token. ``on_stack`` is all 0 before and after."""
    size, depth = 0, 0
    for step in range(n):
        push = 0.75 if step < 2 * n // 3 else 0.25
        if depth <= 1:
            push = 1.0
        elif step == n - 1 or depth == symbols - 1:
            push = 0.0
        if rng.random() < push:
            symbol = 1 + int(rng.random() * (symbols - 1))
            while on_stack[symbol]:
                symbol = 1 + int(rng.random() * (symbols - 1))
            nats[size] = np.log((symbols - 1 - depth) / push)
            episode[size], stack[depth], on_stack[symbol] = symbol, symbol, 1
            depth, size = depth + 1, size + 1
        else:
            depth -= 1
            nats[size], episode[size] = np.log(1 / (1 - push)), POP
            on_stack[stack[depth]] = 0
            size += 1
            if every:
                episode[size], is_answer[size] = stack[depth], True
                size += 1
    episode[size] = symbols
    size += 1
    while depth > 0:
        depth -= 1
        episode[size], is_answer[size], on_stack[stack[depth]] = stack[depth], True, 0
        size += 1
    return size
