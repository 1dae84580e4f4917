"""What the three arithmetic tasks must equal, and a checker that reads their rows as numbers."""

from __future__ import annotations

import math

import numpy as np

from references._held_out import split_of
from references._set_tasks import Episode, write_rows


def specs(cls):
    return [
        cls(),
        cls.preset("procedural"),
        cls(min_items=1, max_items=1, end_token=False),
        cls(packed=False, score="all", max_items=3),
        cls(min_items=12, max_items=12),
    ]


def number(digits, backwards):
    return int("".join(map(str, digits[::-1] if backwards else digits)))


def written(value, count, backwards):
    digits = [int(digit) for digit in str(value).zfill(count)]
    return digits[::-1] if backwards else digits


def reference(source, draw, rows, length):
    rng = draw("rows")

    def episode(_, n):
        made, drawn = Episode(), []
        for place in range(2 * n):
            digit = int(rng.random() * 10)
            last = place == 2 * n - 1
            while last and split_of([n, *drawn], digit) != draw.split:
                digit = int(rng.random() * 10)
            drawn.append(digit)
            made.add(digit, math.log({False: 10, True: 8 if draw.split == "train" else 1}[last]))
            if place in (n - 1, 2 * n - 1):
                made.add(10 if place == n - 1 else 11)
        first, second = number(drawn[:n], source.reversed), number(drawn[n:], source.reversed)
        value = first * second if source.multiplies else first + second
        count = 2 * n if source.multiplies else n + 1
        made.add_answer([20 + digit for digit in written(value, count, source.reversed)])
        return made

    block = write_rows(source, draw, rows, length, 30, episode)
    if not source.packed:  # blanks are not the end token
        for row, n in zip(block.tokens, block.info["items"], strict=True):
            row[source._longest(int(n)) :] = 12
    return block


def validate(source, block):
    for row, n in zip(block.tokens.tolist(), block.info["items"].tolist(), strict=True):
        whole = source._longest(n)
        for at in range(0, len(row) - whole + 1 if source.packed else 1, whole):
            a, b = row[at : at + n], row[at + n + 1 : at + 2 * n + 1]
            assert (row[at + n], row[at + 2 * n + 1]) == (10, 11) and max(a + b) < 10
            digits = [token - 20 for token in row[at + 2 * n + 2 : at + whole - source.end_token]]
            assert min(digits) >= 0 and max(digits) < 10
            first, second, value = (number(x, source.reversed) for x in (a, b, digits))
            assert value == (first * second if source.multiplies else first + second)
            assert not source.end_token or row[at + whole - 1] == 30
        if not source.packed:
            assert set(row[whole:]) <= {12}
    if block.scored is not None and not source.packed:
        answers = np.array([source._answer_digits(int(n)) + source.end_token for n in block.info["items"]])
        np.testing.assert_array_equal(block.scored.sum(1), answers)
