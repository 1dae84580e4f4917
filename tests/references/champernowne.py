"""Counting in plain Python; rows are read back as numbers."""

import math

import numpy as np

from uprior.sources import Champernowne
from uprior.types import Block

GOLDEN = (1, "88829b14713ab85d")
SPECS = [
    Champernowne(),
    Champernowne.preset("bloem"),
    Champernowne.preset("nca"),
    Champernowne(max_base=3, min_bits=1, max_bits=6, numbers=3, separator="runs", max_step=1),
    Champernowne(min_base=9, max_base=1000, below=12_345, numbers=2),
]


def digits_of(number, base):
    digits = [number % base]
    while number >= base:
        number //= base
        digits.insert(0, number % base)
    return digits


def reference(source, draw, rows, length):
    rng, starts = draw("machines"), draw("starts")
    bases = rng.integers(source.min_base, source.max_base, rows, endpoint=True).tolist()
    steps = rng.integers(source.min_step, source.max_step, rows, endpoint=True).tolist()
    bits = rng.integers(source.min_bits, source.max_bits, rows, endpoint=True).tolist()
    tokens, floor = [], []
    for base, step, k in zip(bases, steps, bits, strict=True):
        low, high = (0, source.below) if source.below else (2 ** (k - 1), 2**k)
        row, nats = [], []
        while len(row) < length:
            number = low + int(starts.random() * (high - low))
            size = len(digits_of(number, base))
            possible = range(max(low, base ** (size - 1) if size > 1 else 0), min(high, base**size))
            for i in range(source.numbers or length):
                digits = digits_of(number + i * step, base)
                row += digits
                nats += start_nats(digits, base, possible) if i == 0 else [0.0] * len(digits)
                if source.separator == "numbers" or (source.separator == "runs" and i == source.numbers - 1):
                    row.append(source.max_base)
                    nats.append(0.0)
                if len(row) >= length:
                    break
        tokens.append(row[:length])
        floor.append(nats[:length])
    return Block(tokens=np.array(tokens), machine=draw.machine_ids(np.arange(rows)), floor_nats=np.array(floor))


def start_nats(digits, base, possible):
    """Cost of each digit of a number known to be in a range of numbers with equally many digits."""
    nats, prefix, left = [], 0, len(digits)
    for digit in digits:
        before = sum_of(possible, prefix, base**left)
        prefix, left = prefix * base + digit, left - 1
        nats.append(math.log(before / sum_of(possible, prefix, base**left)))
    return nats


def sum_of(possible, prefix, place):
    return len(range(max(possible.start, prefix * place), min(possible.stop, (prefix + 1) * place)))


def validate(source, block):
    """NumPy's base_repr writes the same digits from the first number on; a run costs ln(number of possible starts)."""
    for row, floor, base, step, size in zip(
        block.tokens, block.floor_nats, *(block.info[name].tolist() for name in ("base", "step", "digits")), strict=True
    ):
        if base > 36 or size > len(row):
            continue
        text = "".join("|" if token == source.max_base else np.base_repr(token, base) for token in row.tolist())
        start = int(text[:size], base)
        count = source.numbers or len(row)
        expected = ("|" if source.separator == "numbers" else "").join(
            np.base_repr(start + i * step, base) for i in range(count)
        )
        assert text[: len(expected)] == expected[: len(text)]
        low, high = (0, source.below) if source.below else (1 << (start.bit_length() - 1), 1 << start.bit_length())
        possible = range(max(low, base ** (size - 1) if size > 1 else 0), min(high, base**size))
        assert abs(floor[: len(expected)].sum() - math.log(len(possible))) < 1e-4
