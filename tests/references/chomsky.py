import math
from itertools import pairwise

import numpy as np

from references._chomsky_laws import law_of_expression, law_of_first_number, law_of_number
from uprior.sources.chomsky import SYMBOLS, TASKS, Chomsky
from uprior.types import Block

GOLDEN = (1, "3604ad5462d4529e")
SPECS = [
    Chomsky(),
    Chomsky.preset("chomsky"),
    Chomsky.preset("solomonoff"),
    Chomsky(task="context_free", max_items=20, announce=False),
    Chomsky(task="modular_arithmetic_brackets", min_items=9, max_items=18, score="all", end_token=False),
    Chomsky(task="context_sensitive", min_items=2, answers="padded"),
]
ID = {symbol: i for i, symbol in enumerate(SYMBOLS)}
FREE = (0, 1, 2, 3, 5, 8, 10, 14)  # tasks whose questions are independent symbols
MARKED = ("stack_manipulation", "binary_addition", "binary_multiplication")


# ------------------------------------------------------------------ episodes


def draw_number(u, size):
    bits = []
    for i in range(size):
        left = size - i
        one = 0.5 if any(bits) or left >= 60 else 0.5 / (1 - 0.5**left)
        bits.append(int(u[i] < one))
    return bits


def draw_expression(u, length, operators):
    """(text, value): the numbers u are used at the place of the symbol that they decide."""

    def node(at, size):
        if size <= 2:
            digit = int(u[at + size - 1] * 5)
            return "-" * (size - 1) + str(digit), (digit if size == 1 else -digit) % 5
        if size <= 4:
            text, value = node(at + 1, size - 2)
            return f"({text})", value
        left = 1 + int(u[at] * (size - 4))
        a, x = node(at + 1, left)
        operator = operators[int(u[at + 1 + left] * len(operators))]
        b, y = node(at + 2 + left, size - 3 - left)
        return f"({a}{operator}{b})", {"+": x + y, "-": x - y, "*": x * y}[operator] % 5

    return node(0, length)


def binary(number):
    return [int(bit) for bit in f"{number:b}"[::-1]]


def whole(bits):
    return int("".join(map(str, bits)), 2)


def size_of(name, items):
    if name == "modular_arithmetic":
        return items if items % 2 else items - 1
    if name == "missing_duplicate_string":
        return max(2, items // 2 * 2)
    least = {"solve_equation": 3, "binary_addition": 4, "binary_multiplication": 4, "compute_sqrt": 2}
    return max(items, least.get(name, 1))


def episode(name, u, place, size):
    """(question, nats, answer) as lists of symbols' names or digits."""
    if name == "stack_manipulation":
        height = 1 + int(place * (size - 1)) if size > 1 else 1
        question = [
            int(x * 2) if i < height else ("POP", "PUSH 0", "PUSH 1")[int(x * 3)] for i, x in enumerate(u[:size])
        ]
        stack = []
        for symbol in question:
            if symbol == "POP":
                stack = stack[:-1]
            else:
                stack.append({"PUSH 0": 0, "PUSH 1": 1}.get(symbol, symbol))
        places = [size - i for i in range(size)]
        nats = [0.0 if i == 0 else -math.log(1 - 1 / places[i]) for i in range(height)]
        nats = [n + math.log(2) for n in nats]
        nats += [math.log(3 * places[i]) if i == height else math.log(3) for i in range(height, size)]
        return question, nats, stack[::-1]
    if name == "modular_arithmetic_brackets":
        text, value = draw_expression(u, size, "+*-")
        return list(text), law_of_expression(text, 3), [value]
    if name == "solve_equation":
        text, value = draw_expression(u, size - 2, "+-")
        nats = law_of_expression(text, 2)
        digits = [i for i, symbol in enumerate(text) if symbol.isdigit()]
        chosen = int(place * len(text))
        hidden = min((i for i in digits if i >= chosen), default=digits[-1])
        before = -1
        for i in digits[: digits.index(hidden) + 1]:
            chance = 1.0 if i == digits[-1] else (i - before) / (len(text) - 1 - before)
            nats[i] += -math.log(5 * chance) if i == hidden else -math.log(1 - chance)
            before = i
        question = [*text[:hidden], "x", *text[hidden + 1 :], "=", value]
        return question, [*nats, 0.0, math.log(5)], [int(text[hidden])]
    if name == "missing_duplicate_string":
        half = [int(x * 2) for x in u[: size // 2]]
        question, place = half + half, int(place * size)
        answer, question[place] = question[place], "x"
        nats = []
        for i in range(size):
            hidden = 1 / (size - i) if i <= place else 0.0
            known = i >= size // 2 and question[i - size // 2] != "x"
            nats.append(-math.log(hidden if i == place else (1 - hidden) * (1.0 if known else 0.5)))
        return question, nats, [answer]
    if name in ("binary_addition", "binary_multiplication"):
        first = 1 + int(place * (size - 2))
        a, b = draw_number(u, first), draw_number(u[first + 1 :], size - 1 - first)
        x, y = whole(a[::-1]), whole(b[::-1])
        sign, result = ("+", x + y) if name == "binary_addition" else ("*", x * y)
        return [*a, sign, *b], law_of_first_number(a, size) + law_of_number(b), binary(result)
    if name == "compute_sqrt":
        bits = draw_number(u, size)
        root = binary(math.isqrt(whole(bits)))[::-1]
        return bits, law_of_number(bits), [0] * (-(-size // 2) - len(root)) + root
    u = u[:size]
    if name == "modular_arithmetic":
        question = [int(x * 5) if i % 2 == 0 else "+*-"[int(x * 3)] for i, x in enumerate(u)]
        nats = [math.log(5) if i % 2 == 0 else math.log(3) for i in range(size)]
        return question, nats, [answer_of(name, question)]
    symbols = {"cycle_navigation": "-0+", "bucket_sort": range(5)}.get(name, range(2))
    question = [symbols[int(x * len(symbols))] for x in u]
    answer = answer_of(name, question)
    return question, [math.log(len(symbols))] * size, answer if isinstance(answer, list) else [answer]


def answer_of(name, question):
    if name == "even_pairs":
        return sum(a != b for a, b in pairwise(question)) % 2
    if name == "modular_arithmetic":
        return evaluate("".join(map(str, question)))
    if name == "parity_check":
        return sum(question) % 2
    if name == "cycle_navigation":
        return sum({"+": 1, "-": -1}.get(move, 0) for move in question) % 5
    return {
        "reverse_string": question[::-1],
        "duplicate_string": question * 2,
        "odds_first": question[1::2] + question[::2],
        "bucket_sort": sorted(question),
    }[name]


def evaluate(text):
    """Python's own arithmetic. The text holds digits, brackets and + - * only."""
    assert set(text) <= set("01234+-*()")
    return eval(text) % 5


def reference(source, draw, rows, length):
    most = source._most_items(length)
    items = draw("items").integers(source.min_items, most, rows, endpoint=True)
    if source.lengths == "episode":
        items[:] = most
    chosen = draw("tasks").integers(0, len(source.tasks), rows)
    uniform = draw("rows").random((rows, length + max(int(items.max()), 4) + 4)).tolist()
    tokens, scored, floor = [], [], []
    for n in range(rows):
        task, u = source.tasks[chosen[n]], uniform[n]
        name = TASKS[task]
        row = [task // 5, task % 5] if source.announce else []
        mask, nats = [False] * len(row), [0.0] * len(row)
        while len(row) < length:
            at = len(row)
            vary = source.lengths == "episode"
            drawn = source.min_items + int(u[at] * (items[n] - source.min_items + 1)) if vary else int(items[n])
            size = size_of(name, drawn)
            question, law, answer = episode(name, u[at + 2 :], u[at + 1], size)
            law = [*law, 0.0]
            if vary:
                sizes = [size_of(name, k) for k in range(source.min_items, items[n] + 1)]
                for i in range(size + 1):
                    stop = sizes.count(i) / sum(s >= i for s in sizes)
                    law[i] -= math.log(stop if i == size else 1 - stop)
            if name in MARKED:
                answer.append(":")
                if source.answers == "padded":
                    answer += [0] * (size + (name != "binary_multiplication") - len(answer))
            if source.end_token and (name not in MARKED or source.answers == "padded"):
                answer.append(":")
            row += [ID[str(symbol)] for symbol in (*question, ".", *answer)]
            mask += [False] * (size + 1) + [True] * len(answer)
            nats += law + [0.0] * len(answer)
            if not source.packed:
                break
        blank = length - len(row)
        tokens.append((row + [ID[":"]] * blank)[:length])
        scored.append((mask + [False] * blank)[:length])
        known = source.lengths == "row" or TASKS.index(name) in FREE
        floor.append((nats + [0.0] * blank)[:length] if known else [math.nan] * length)
    task = np.array(source.tasks)[chosen]
    return Block(
        tokens=np.array(tokens, dtype=np.uint16),
        scored=np.array(scored) if source.score == "answers" else None,
        floor_nats=np.array(floor, dtype=np.float32),
        machine=draw.machine_ids(task * 65536 + items),
        info={"items": items, "task": task},
    )


# ------------------------------------------------------------------ what rows must be


def validate(source, block):
    complete = 0
    for n, row in enumerate(block.tokens.tolist()):
        name = TASKS[block.info["task"][n]]
        if source.announce:
            assert 5 * row[0] + row[1] == block.info["task"][n]
            row = row[2:]
        text = [SYMBOLS[token] for token in row]
        while "." in text:
            stop = text.index(".")
            question, rest = text[:stop], text[stop + 1 :]
            size = answer_size(source, name, question, rest)
            if size > len(rest):
                break
            check(name, question, rest[:size], source)
            complete += 1
            text = rest[size:]
            if not source.packed:
                assert set(text) <= {":"}
                break
        assert len(text) < source._longest(int(block.info["items"][n])) or not source.packed
    assert complete >= len(block.tokens)


def answer_size(source, name, question, rest):
    n = len(question)
    if name in MARKED:
        full = n + (name != "binary_multiplication") + source.end_token
        return full if source.answers == "padded" else rest.index(":") + 1 if ":" in rest else len(rest) + 1
    sizes = {
        "duplicate_string": 2 * n,
        "compute_sqrt": (n + 1) // 2,
        "reverse_string": n,
        "odds_first": n,
        "bucket_sort": n,
    }
    return sizes.get(name, 1) + source.end_token


def check(name, question, answer, source):
    if name in MARKED:
        if source.answers == "padded":
            tail = answer[answer.index(":") + 1 :]
            assert set(tail[: len(tail) - source.end_token]) <= {"0"}
        answer = answer[: answer.index(":")]
    elif source.end_token:
        assert answer.pop() == ":"
    text, result = "".join(question), "".join(answer)
    if name == "stack_manipulation":
        stack = ""
        for symbol in question:
            stack = stack[:-1] if symbol == "POP" else stack + symbol[-1]
        assert result == stack[::-1]
    elif name in ("modular_arithmetic", "modular_arithmetic_brackets"):
        assert int(result) == evaluate(text)
    elif name == "solve_equation":
        expression, value = text.split("=")
        right = [d for d in "01234" if evaluate(expression.replace("x", d)) == int(value)]
        assert right == [result]
    elif name == "missing_duplicate_string":
        filled, half = text.replace("x", result), len(text) // 2
        assert filled[:half] == filled[half:]
    elif name in ("binary_addition", "binary_multiplication"):
        a, b = (int(part[::-1], 2) for part in text.replace("*", "+").split("+"))
        assert a > 0 and b > 0
        assert result == f"{a + b if name == 'binary_addition' else a * b:b}"[::-1]
    elif name == "compute_sqrt":
        root, number = int(result, 2), int(text, 2)
        assert root**2 <= number < (root + 1) ** 2
        assert number > 0
    elif name == "odds_first":
        assert [result[i // 2 if i % 2 else i // 2 + len(text) // 2] for i in range(len(text))] == question
    elif name == "duplicate_string":
        assert result == text + text
    elif name == "reverse_string":
        assert list(result) == list(reversed(question))
    elif name == "bucket_sort":
        assert all(text.count(s) == result.count(s) for s in "01234")
        assert list(result) == sorted(result)
    elif name == "cycle_navigation":
        assert int(result) == (text.count("+") - text.count("-")) % 5
    elif name == "even_pairs":
        assert int(result) == (text.count("01") + text.count("10")) % 2
    else:
        assert name == "parity_check"
        assert int(result) == text.count("1") % 2
