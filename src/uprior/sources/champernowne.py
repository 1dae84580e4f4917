"""Counting: consecutive integers, digit after digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block

# More digits than any number can have: 2^48 to begin with, and at most 2^24 steps of 2^20.
_ROOM = 64


@dataclass(frozen=True)
class Champernowne(Source):
    """Integers counted up from a random start, written in digits: no n-gram helps, arithmetic makes all of it certain.

    A row holds runs of ``numbers`` integers (0: one run as long as the row), each ``step`` after the one before, most
    significant digit first, without leading zeros. Digit d is token d; the separator, if there is one, is token ``max_base``
    and stands after every number ("numbers") or after every run ("runs").

    Machine: base (uniform in min_base..max_base), step (uniform in min_step..max_step), and how many digits each run's first
    number has; some hundred million. With ``below`` = 0 a row draws a number of bits k, uniform in min_bits..max_bits, and its
    starts are uniform in 2^(k-1)..2^k - 1; otherwise starts are uniform in 0..below - 1.

    Floor: exact. Only the digits of a run's first number cost anything: ln of the number of starts of that many digits that
    are still possible, before and after the digit; everything else is certain. Cost: 2 to 4 ns per token.
    ``info``: base, step, digits (of the row's first number).

    Presets: ``bloem``, the validation set "champ" of Bloem (arXiv 2506.20057; repository, ``gen_champ``): 256 integers in base
    16 without separators, start uniform in 0..2^24 - 257, runs joined by "|". The draft says digits, the code writes base 16.
    ``nca``, the baseline of arXiv 2603.10055: 255 integers in base 10 from a uniform 24-bit start. There rows are cut to 1024
    or padded; here a row that has room left goes on with another run.
    """

    name: ClassVar[str] = "champernowne"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "bloem": {
            "min_base": 16, "max_base": 16, "max_step": 1, "below": (1 << 24) - 256, "numbers": 256, "separator": "runs",
        },
        "nca": {
            "min_base": 10, "max_base": 10, "max_step": 1, "below": 1 << 24, "numbers": 255, "separator": "none",
        },
    }  # fmt: skip
    min_base: int = parameter(2, "least base of a row", low=2, high=1 << 15)
    max_base: int = parameter(16, "largest base of a row", low=2, high=1 << 15)
    min_step: int = parameter(1, "least difference of neighbouring numbers", low=1, high=1 << 20)
    max_step: int = parameter(8, "largest difference of neighbouring numbers", low=1, high=1 << 20)
    min_bits: int = parameter(16, "fewest bits of a row's starts", low=1, high=48)
    max_bits: int = parameter(40, "most bits of a row's starts", low=1, high=48)
    below: int = parameter(
        0, "starts are uniform below this; 0: by bits, so that short ones are common", low=0, high=1 << 48
    )
    numbers: int = parameter(0, "numbers of a run; 0: until the row ends", low=0, high=1 << 20)
    separator: str = parameter("numbers", "what a separator ends", choices=("none", "numbers", "runs"))

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.max_base + (self.separator != "none")

    def validate(self) -> None:
        for low, high in (("min_base", "max_base"), ("min_step", "max_step"), ("min_bits", "max_bits")):
            if getattr(self, low) > getattr(self, high):
                self.reject(low, f"at most {high} = {getattr(self, high)}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        rng = draw("machines")
        base = rng.integers(self.min_base, self.max_base, rows, endpoint=True)
        step = rng.integers(self.min_step, self.max_step, rows, endpoint=True)
        bits = rng.integers(self.min_bits, self.max_bits, rows, endpoint=True)
        first = np.zeros(rows, dtype=np.int64) if self.below else 1 << (bits - 1)
        last = np.full(rows, self.below) if self.below else 1 << bits
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        floor = np.zeros((rows, length), dtype=np.float32)
        digits = np.empty(rows, dtype=np.int64)
        _count(
            draw("starts"), base, step, first, last, self.numbers, self.separator == "numbers", self.separator == "runs",
            self.max_base, tokens, floor, digits,
        )  # fmt: skip
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(np.arange(rows)),
            floor_nats=floor,
            info={"base": base, "step": step, "digits": digits},
        )


@kernel
def _digits_of(number: int, base: int, digits: NDArray[np.int64]) -> int:
    """Write the digits of a number, the least significant first; how many there are."""
    size = 0
    while number > 0 or size == 0:
        digits[size] = number % base
        number //= base
        size += 1
    return size


@kernel
def _choices(prefix: int, place: int, low: int, high: int) -> int:
    """How many numbers in low..high-1 begin with this prefix, at which further digits are worth less than ``place``."""
    return min(high, (prefix + 1) * place) - max(low, prefix * place)


@kernel
def _count(
    rng: np.random.Generator,
    base_N: NDArray[np.int64],
    step_N: NDArray[np.int64],
    first_N: NDArray[np.int64],
    last_N: NDArray[np.int64],
    numbers: int,
    separate: bool,
    delimit: bool,
    separator: int,
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    floor_NT: NDArray[np.float32],
    digits_N: NDArray[np.int64],
) -> None:
    """Write the rows; starts are in first_N..last_N - 1."""
    digits = np.empty(_ROOM, dtype=np.int64)
    rows, length = tokens_NT.shape
    for row in range(rows):
        base, tokens, floor = base_N[row], tokens_NT[row], floor_NT[row]
        t, size, counted = 0, 0, 0
        while t < length:
            if counted == 0:
                start = first_N[row] + int(rng.random() * (last_N[row] - first_N[row]))
                size = _digits_of(start, base, digits)
                if t == 0:
                    digits_N[row] = size
                place = base ** (size - 1)
                low = max(first_N[row], place if size > 1 else 0)
                high = min(last_N[row], place * base)
                before, prefix = high - low, 0
                for i in range(min(size, length - t)):
                    prefix = prefix * base + digits[size - 1 - i]
                    now = _choices(prefix, place, low, high)
                    floor[t + i] = np.log(before / now)
                    before, place = now, place // base
            for i in range(min(size, length - t)):
                tokens[t + i] = digits[size - 1 - i]
            t += size
            counted += 1
            run_ends = counted == numbers
            if (separate or (delimit and run_ends)) and t < length:
                tokens[t] = separator
                t += 1
            if run_ends:
                counted = 0
            carry, i = step_N[row], 0
            while carry > 0:
                if i == size:
                    digits[size] = 0
                    size += 1
                carry += digits[i]
                digits[i] = carry % base
                carry //= base
                i += 1
