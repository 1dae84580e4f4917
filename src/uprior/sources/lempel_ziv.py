"""Rows that random programs of a Lempel-Ziv decoder write: literals and copies of what stands before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import fill_alias, shuffle_first, take
from uprior.sources._base import Draw, Source
from uprior.sources._exact import exp, kernel
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class LempelZiv(Source):
    """Random programs for a Lempel-Ziv decoder: write a literal, or copy from somewhere before, for a while, with errors.

    What a decoder of Ziv and Lempel's code of 1977 writes when it is fed random codes. A machine draws its literals from Zipf's
    law over random symbols (exponent uniform in 0..max_exponent). A program is a sequence of steps; a step is a literal with the
    machine's literal share (uniform in 0..max_literal), else a copy that begins at a uniformly random earlier token or, in
    ``lag_share`` of the machines, always the same number of tokens back (period, line, picture: log-uniform up to half the row).
    A copy goes on with probability 1 - 1/L after each token, with L, its mean length, log-uniform in 1..max_copy; it may run into
    what it writes. In half of the machines a copied token is replaced by a literal now and then (log-uniform from 1 in 1000 up to
    ``max_error``), and the copy goes on behind it.

    Machine: its law, symbols, shares and lag, *and* the pointer of the copy in progress, so every row is a machine of its own.
    Floor: exact for who knows the pointer; a reader of the row alone has to guess which of the places that agree it is.
    Machines: a continuum. Cost: about 30 ns per token. ``info``: symbols, literal_share, mean_copy, lag (0: none), error.

    In-context copying ("induction", Olsson et al. 2022) is all there is to learn, on every scale.
    """

    name: ClassVar[str] = "lempel_ziv"
    family: ClassVar[str] = "statistical"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=2, high=1 << 16)
    max_symbols: int = parameter(256, "most symbols of a machine", low=2, high=1 << 16)
    max_exponent: float = parameter(2.0, "largest Zipf exponent of literals", low=0.0, high=8.0)
    max_literal: float = parameter(1.0, "largest share of literals among steps", low=0.0, high=1.0)
    max_copy: float = parameter(64.0, "largest mean length of copies, tokens", low=1.0, high=1e6)
    max_error: float = parameter(0.3, "largest share of miscopied tokens", low=0.001, high=1.0)
    lag_share: float = parameter(0.25, "share of machines that copy from one distance", low=0.0, high=1.0)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        rng = draw("machines")
        settings = self._settings(rng, rows, length)
        symbols, exponent, literal, stop, error, lag = settings
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float64)
        log_rank = np.log(np.arange(1, self.max_symbols + 1)).astype(np.float32)
        _write_block(
            rng, draw("rows"), symbols, exponent, literal, stop, error, lag, log_rank, np.arange(self.alphabet_size),
            tokens, probability,
        )  # fmt: skip
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(np.arange(rows)),
            floor_nats=np.maximum(-np.log(probability), 0).astype(np.float32),
            info={"symbols": symbols, "literal_share": literal, "mean_copy": 1 / stop, "lag": lag, "error": error},
        )

    def _settings(self, rng: np.random.Generator, rows: int, length: int) -> tuple[NDArray[Any], ...]:
        """Per row [N]: symbols, Zipf exponent, literal share, chance that a copy ends, chance of an error, lag."""
        ratio = (self.max_symbols + 1) / self.min_symbols
        symbols = np.minimum((self.min_symbols * ratio ** rng.random(rows)).astype(np.int64), self.max_symbols)
        exponent = self.max_exponent * rng.random(rows)
        literal = self.max_literal * rng.random(rows)
        stop = self.max_copy ** -rng.random(rows)
        error = np.where(rng.random(rows) < 0.5, 0.001 * (self.max_error / 0.001) ** rng.random(rows), 0.0)
        lag = (max(2, length // 2) ** rng.random(rows)).astype(np.int64)
        return symbols, exponent, literal, stop, error, np.where(rng.random(rows) < self.lag_share, lag, 0)


@kernel
def _write_block(
    machine_rng: np.random.Generator,
    row_rng: np.random.Generator,
    symbols_N: NDArray[np.int64],
    exponent_N: NDArray[np.float64],
    literal_N: NDArray[np.float64],
    stop_N: NDArray[np.float64],
    error_N: NDArray[np.float64],
    lag_N: NDArray[np.int64],
    log_rank: NDArray[np.float32],
    injection: NDArray[np.int64],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    probability_NT: NDArray[np.float64],
) -> None:
    """Write all rows: row n is written by machine n."""
    rows, length = tokens_NT.shape
    most = len(log_rank)
    weight, keep = np.empty(most), np.empty(most)
    other, work = np.empty(most, dtype=np.uint16), np.empty(most, dtype=np.int64)
    count, history = np.empty(most, dtype=np.int64), np.empty(length, dtype=np.int64)
    for row in range(rows):
        symbols, total, exponent = symbols_N[row], 0.0, np.float32(exponent_N[row])
        literal, stop, error, lag = literal_N[row], stop_N[row], error_N[row], lag_N[row]
        shuffle_first(machine_rng, injection, symbols)
        for i in range(symbols):
            weight[i] = exp(-exponent * log_rank[i])
            total += weight[i]
            count[i] = 0
        for i in range(symbols):
            weight[i] /= total
        fill_alias(weight[:symbols], keep, other, work)
        pointer = -1  # the place that a copy in progress has come to; -1 for none
        for t in range(length):
            copied = history[pointer] if pointer >= 0 else -1  # what comes if the copy goes on
            begins = max(lag, 1) <= t  # whether there is anything to begin a copy from
            if pointer >= 0 and row_rng.random() < stop:
                pointer = -1
            if pointer < 0 and begins and row_rng.random() >= literal:
                pointer = t - lag if lag > 0 else int(row_rng.random() * t)
            if pointer < 0 or (error > 0 and row_rng.random() < error):
                symbol = take(row_rng.random(), symbols, 0, keep, other)
            else:
                symbol = history[pointer]
            afresh = weight[symbol]
            if begins:
                found = (1.0 if history[t - lag] == symbol else 0.0) if lag > 0 else count[symbol] / t
                afresh = literal * weight[symbol] + (1 - literal) * (error * weight[symbol] + (1 - error) * found)
            p = afresh
            if copied >= 0:
                going_on = error * weight[symbol] + (1 - error if copied == symbol else 0.0)
                p = (1 - stop) * going_on + stop * afresh
            if pointer >= 0:
                pointer += 1
            history[t] = symbol
            count[symbol] += 1
            tokens_NT[row, t] = injection[symbol]
            probability_NT[row, t] = p
