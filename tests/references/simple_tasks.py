"""SimpleTasks: the reference and a checker of its rows."""

import itertools
import math
import re

import numpy as np

from references._set_tasks import Episode, draw_symbols, write_rows
from uprior.sources import SimpleTasks
from uprior.sources.simple_tasks import TASKS

GOLDEN = (1, "6afa8ceed3c77c28")
SPECS = [
    SimpleTasks(),
    SimpleTasks.preset("wu"),
    SimpleTasks(symbols=2, max_items=9),
    SimpleTasks(symbols=6, max_items=30, packed=False, score="all"),
    SimpleTasks(symbols=40, min_items=3, max_items=20, end_token=False),
    SimpleTasks(task="delete", symbols=3, max_items=30),
]
SETS = TASKS[-4:]


def arguments(rng, task, n, size, made):
    """Write the arguments into ``made``; returns them as lists."""

    def symbol():
        return int(rng.random() * size)

    def write(tokens, nats):
        for token, surprise in zip(tokens, nats, strict=True):
            made.add(token, surprise)
        return list(tokens)

    divider, pool = size + 14, min(size, max(1, n // 2))
    if task == "length":
        x = []
        count = 1 + int(rng.random() * n)
        for i in range(count):
            x.append(symbol())
            made.add(x[-1], math.log(size) + (math.log((n - i + 1) / (n - i)) if i else 0.0))
        return [x]
    if task == "longest_word":
        x = [size + 13 if rng.random() < 0.2 else symbol() for _ in range(n)]
        return [write(x, [-math.log(0.2 if token == size + 13 else 0.8 / size) for token in x])]
    if task == "deduplicate":
        x = []
        for i in range(n):
            repeats = rng.random() < 0.5 and i > 0
            x.append(x[-1] if repeats else symbol())
            p = 1 / size if i == 0 else 0.5 * (x[i - 1] == x[i]) + 0.5 / size
            made.add(x[-1], -math.log(p))
        return [x]
    if task == "sort":
        order = []
        while len(order) < min(size, 1 + n // 4):
            token = symbol()
            if token not in order:
                made.add(token, math.log(size - len(order)))
                order.append(token)
        made.add(divider)
        x, nats = draw_symbols(rng, n, len(order), 0, size, list(order))
        return [order, write(x, nats)]
    if task in SETS:
        seen = []
        first = write(*draw_symbols(rng, max(1, n - n // 2), pool, 0, size, seen))
        made.add(divider)
        return [first, write(*draw_symbols(rng, max(1, n // 2), pool, 0, size, seen))]
    if task not in ("set", "count", "delete", "search", "replace"):
        pool = size
    x = write(*draw_symbols(rng, n, pool, 0, size, []))
    if task in ("count", "delete", "search", "replace"):
        made.add(divider)
        return [x, query(rng, task, x, size, made)]
    return [x]


def query(rng, task, x, size, made):
    length = min(3, 1 + len(x) // 8) if task in ("delete", "search") else 1
    share = {"count": 0.5, "delete": 0.75, "search": 0.5, "replace": 1.0}[task]
    windows = [x[i : i + length] for i in range(len(x) - length + 1)]
    if rng.random() < share:
        asked = windows[int(rng.random() * len(windows))]
    else:
        asked = [int(rng.random() * size) for _ in range(length)]

    def chance(stop):
        matching = sum(window[:stop] == asked[:stop] for window in windows)
        return share * matching / len(windows) + (1 - share) * size**-stop

    for i, token in enumerate(asked):
        made.add(token, math.log(chance(i) / chance(i + 1)))
    if task == "replace":
        value = int(rng.random() * size)
        made.add(value, math.log(size))
        return [asked[0], value]
    return asked


def find(x, part):
    for i in range(len(x) - len(part) + 1):
        if x[i : i + len(part)] == part:
            return i
    return -1


def answer_of(task, given, size):
    x = given[0]
    y = given[1] if len(given) > 1 else []
    if task in ("length", "count"):
        return [size + int(digit) for digit in str(len(x) if task == "length" else x.count(y[0]))]
    if task == "search":
        return [size + (10 if find(x, y) >= 0 else 11)]
    result = {
        "copy": lambda: x,
        "reverse": lambda: x[::-1],
        "set": lambda: dict.fromkeys(x),
        "deduplicate": lambda: [token for token, _ in itertools.groupby(x)],
        "duplicate": lambda: [token for token in x for _ in range(2)],
        "first_token": lambda: x[:1],
        "last_token": lambda: x[-1:],
        "longest_word": lambda: longest_word(x, size + 13),
        "delete": lambda: x[: find(x, y)] + x[find(x, y) + len(y) :] if find(x, y) >= 0 else x,
        "sort": lambda: sorted(y, key=x.index),
        "replace": lambda: [y[1] if token == y[0] else token for token in x],
        "union": lambda: dict.fromkeys(x + y),
        "intersection": lambda: [token for token in dict.fromkeys(x) if token in y],
        "set1_minus_set2": lambda: [token for token in dict.fromkeys(x) if token not in y],
        "set2_minus_set1": lambda: [token for token in dict.fromkeys(y) if token not in x],
    }[task]()
    return list(result) or [size + 12]


def longest_word(x, mark):
    words = [[]]
    for token in x:
        if token == mark:
            words.append([])
        else:
            words[-1].append(token)
    return max(words, key=len)


def reference(source, draw, rows, length):
    rng, size = draw("rows"), source.symbols
    if source.task == "mixed":
        task = [int(u * len(TASKS)) for u in draw("tasks").random(rows)]
    else:
        task = [TASKS.index(source.task)] * rows
    items = draw("items").integers(source.min_items, source._most_items(length), rows, endpoint=True)

    def episode(row, n):
        made = Episode()
        made.add(size + 16 + task[row])
        made.add(size + 14)
        given = arguments(rng, TASKS[task[row]], n, size, made)
        made.add(size + 14, math.log(n - len(given[0]) + 1) if TASKS[task[row]] == "length" else 0.0)
        made.add_answer(answer_of(TASKS[task[row]], given, size))
        return made

    machine = items + np.array(task) * 2**20
    return write_rows(source, draw, rows, length, size + 15, episode, machine, {"task": np.array(task)})


def validate(source, block):
    """Reads rows as text: tasks, dividers and ends are found as letters, sets by numpy."""
    size = source.symbols
    for n, row in enumerate(block.tokens.tolist()):
        name, items = TASKS[block.info["task"][n]], int(block.info["items"][n])
        assert source.task in (name, "mixed") and row[:2] == [size + 16 + block.info["task"][n], size + 14]
        starts = [i for i, token in enumerate(row) if token >= size + 16]
        assert len({row[i] for i in starts}) == 1 and (source.packed or len(starts) == 1)
        for start, stop in itertools.pairwise([*starts, len(row)]):
            episode = row[start:stop]
            dividers = [i for i, token in enumerate(episode) if token == size + 14]
            expected_dividers = 3 if name in ("count", "delete", "search", "sort", "replace", *SETS) else 2
            if len(dividers) < expected_dividers:
                assert stop == len(row) and start != starts[0]
                continue
            *given, found = (episode[a + 1 : b] for a, b in itertools.pairwise([*dividers, len(episode)]))
            if source.end_token and size + 15 in found:
                end = found.index(size + 15)
                assert set(found[end:]) == {size + 15} and (not source.packed or end == len(found) - 1)
                if block.scored is not None:
                    first = stop - len(found)
                    assert block.scored[n, first + end] and not block.scored[n, first + end + 1 : stop].any()
                found = found[:end]
            elif not source.packed:
                found = [token for token in found if token != size + 15]
            given_sizes(name, given, items, size)
            expected = solve(name, given, size)
            assert found == expected[: len(found)] and (len(found) == len(expected) or stop == len(row))
            if block.scored is not None:
                first = start + dividers[-1] + 1
                assert not block.scored[n, start:first].any() and block.scored[n, first : first + len(found)].all()


def given_sizes(name, given, items, size):
    if name == "length":
        assert 1 <= len(given[0]) <= items
    elif name in SETS:
        assert len(given[0]) + len(given[1]) == max(items, 2)
        assert len({*given[0], *given[1]}) <= max(1, items // 2)
    elif name == "sort":
        assert len(set(given[0])) == len(given[0]) == min(size, 1 + items // 4) and len(given[1]) == items
    else:
        assert len(given[0]) == items


def solve(name, given, size):
    """The answer by numpy and by regular expressions on text."""
    x, y = np.array(given[0]), np.array(given[-1])
    text, part = ("".join(map(chr, some)) for some in (given[0], given[-1]))

    def unique(values):
        return values[np.sort(np.unique(values, return_index=True)[1])]

    if name in ("length", "count"):
        return [size + ord(d) - 48 for d in str(len(x) if name == "length" else int((x == y[0]).sum()))]
    if name == "search":
        return [size + 11 - (part in text)]
    if name == "sort":
        rank = np.empty(size, dtype=int)
        rank[x] = np.arange(len(x))
        return y[np.argsort(rank[y], kind="stable")].tolist()
    result = {
        "copy": lambda: text,
        "reverse": lambda: "".join(reversed(text)),
        "set": lambda: unique(x),
        "deduplicate": lambda: re.sub(r"(?s)(.)\1*", r"\1", text),
        "duplicate": lambda: np.repeat(x, 2),
        "first_token": lambda: text[0],
        "last_token": lambda: text[-1],
        "longest_word": lambda: max(text.split(chr(size + 13)), key=len),
        "delete": lambda: text.replace(part, "", 1),
        "replace": lambda: text.replace(part[0], part[-1]),
        "union": lambda: unique(np.concatenate([x, y])),
        "intersection": lambda: unique(x[np.isin(x, y)]),
        "set1_minus_set2": lambda: unique(x[~np.isin(x, y)]),
        "set2_minus_set1": lambda: unique(y[~np.isin(y, x)]),
    }[name]()
    return [ord(t) if isinstance(t, str) else int(t) for t in result] or [size + 12]
