"""The copy language: random words, each written twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.sources._formal import sizes
from uprior.spec import parameter
from uprior.types import Block

# Hypotheses about where words begin are dropped below this probability, far below what float32 resolves.
_NEGLIGIBLE = 1e-18


@dataclass(frozen=True)
class WW(Source):
    """The copy language ww: random words, each written twice in a row, one after the other.

    Machine: the number of symbols, n in min_symbols..max_symbols with probability proportional to 1/n, so there are
    max_symbols - min_symbols + 1; tokens 0..n-1. Each word has a length uniform in min_length..max_length and independent
    uniform symbols. Nothing marks where a word ends and its copy begins; the last one is cut at the end of the row.

    Floor: exact given the machine alone, so *not* told where words begin. It is the Bayes mixture over every division of the
    prefix into words: within a word the chance that the copy begins rises with each token, and a token that fits a copy
    counts for it. In the first tokens of a copy of a long word the floor is therefore high. Cost: about 42 ns per token, 12
    ns with words as long as those of ``hu``; many times more with two or three symbols and words of a few tokens, when a row
    can be read in many ways. ``info``: symbols, and words begun.

    Presets: ``hu`` (Hu et al., arXiv 2502.19249: 64 symbols, lengths 10..510) and ``vit`` (arXiv 2511.13945: 64 symbols,
    lengths 3..32; only the configuration is public, and one word per row is as likely a reading as words to the end of the
    row).
    """

    name: ClassVar[str] = "ww"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "hu": {"alphabet_size": 64, "min_symbols": 64, "max_symbols": 64, "min_length": 10, "max_length": 510},
        "vit": {"alphabet_size": 64, "min_symbols": 64, "max_symbols": 64, "min_length": 3, "max_length": 32},
    }
    alphabet_size: int = parameter(64, "number of symbols of the alphabet", low=2, high=1 << 16)
    min_symbols: int = parameter(8, "fewest symbols of a machine", low=2, high=1 << 16)
    max_symbols: int = parameter(64, "most symbols of a machine", low=2, high=1 << 16)
    min_length: int = parameter(4, "shortest word, tokens", low=1, high=1 << 20)
    max_length: int = parameter(64, "longest word, tokens", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.min_length > self.max_length:
            self.reject("min_length", f"1 to max_length = {self.max_length}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        symbols = sizes(draw("machines"), self.min_symbols, self.max_symbols, rows)
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.empty((rows, length), dtype=np.float32)
        words = _write(draw("rows"), symbols, self.min_length, self.max_length, tokens)
        written = np.arange(min(self.max_length, length))
        ends = np.where(written < self.min_length, 0.0, 1.0 / (self.max_length - written + 1))
        _predict(tokens, symbols, self.min_length, self.max_length, -np.log1p(-ends), floor)
        info = {"symbols": symbols, "words": words}
        return Block(tokens=tokens, machine=draw.machine_ids(symbols), floor_nats=floor, info=info)


@kernel
def _write(
    rng: np.random.Generator, symbols: NDArray[np.int64], shortest: int, longest: int, tokens: NDArray[np.uint16]
) -> NDArray[np.int64]:
    """Fill tokens [N, T]; return the number of words begun in each row [N]."""
    rows, length = tokens.shape
    words = np.zeros(rows, dtype=np.int64)
    for row in range(rows):
        t = 0
        while t < length:
            size = shortest + int(rng.random() * (longest - shortest + 1))
            middle, end = min(t + size, length), min(t + 2 * size, length)
            for i in range(t, middle):
                tokens[row, i] = int(rng.random() * symbols[row])
            for i in range(middle, end):
                tokens[row, i] = tokens[row, i - size]
            t = end
            words[row] += 1
    return words


@kernel
def _predict(
    tokens: NDArray[np.uint16],
    symbols: NDArray[np.int64],
    shortest: int,
    longest: int,
    goes_on: NDArray[np.float64],
    floor: NDArray[np.float32],
) -> None:
    """Fill the floor [N, T], by the forward algorithm over what may be going on.

    goes_on[n] is the nats of the word not being complete after n tokens.

    Either a word that began at ``start`` is being written for the first time, or it is being copied from ``lag`` tokens back
    until ``end``. Each has its posterior probability.
    """
    length = tokens.shape[1]
    start, writing, started = np.zeros(16, dtype=np.int64), np.zeros(16), 1
    lag, end, copying, copies = np.zeros(16, dtype=np.int64), np.zeros(16, dtype=np.int64), np.zeros(16), 0
    for number in range(tokens.shape[0]):
        row, nats, n = tokens[number], floor[number], symbols[number]
        nats_symbol = np.log(n)
        start[0], writing[0], started, copies = 0, 1.0, 1, 0
        for t in range(length):
            if started == 0 and copies == 1:  # nothing but a copy
                nats[t] = 0.0
                if end[0] == t + 1:
                    start[0], writing[0], started, copies = t + 1, 1.0, 1, 0
                continue
            if started == 1 and copies == 0:  # nothing but a new word, and if a copy begins here, then of this word
                size = t - start[0]
                if size < shortest or (size < longest and row[t] != row[start[0]]):
                    nats[t] = nats_symbol + goes_on[size]
                    continue
            if copies + started > lag.shape[0]:
                lag, end, copying = _longer(lag), _longer(end), _longer(copying)
            if started == start.shape[0]:
                start, writing = _longer(start), _longer(writing)
            fresh = 0.0
            for i in range(started):
                size = t - start[i]
                if size >= shortest:  # the word may be complete
                    share = writing[i] / (longest - size + 1)
                    lag[copies], end[copies], copying[copies] = size, t + size, share
                    copies += 1
                    writing[i] = writing[i] - share if size < longest else 0.0
                fresh += writing[i]
            kept, copied = 0, 0.0
            for i in range(copies):
                if row[t - lag[i]] == row[t]:
                    lag[kept], end[kept], copying[kept] = lag[i], end[i], copying[i]
                    copied += copying[i]
                    kept += 1
            chance = fresh / n + copied
            nats[t] = max(-np.log(chance), 0.0)
            copies, kept, complete = kept, 0, 0.0
            for i in range(copies):
                probability = copying[i] / chance
                if end[i] == t + 1:
                    complete += probability
                elif probability > _NEGLIGIBLE:
                    lag[kept], end[kept], copying[kept] = lag[i], end[i], probability
                    kept += 1
            copies, kept = kept, 0
            for i in range(started):
                probability = writing[i] / (n * chance)
                if probability > _NEGLIGIBLE:
                    start[kept], writing[kept] = start[i], probability
                    kept += 1
            started = kept
            if complete > _NEGLIGIBLE:
                start[started], writing[started] = t + 1, complete
                started += 1


@kernel
def _longer(values: NDArray[Any]) -> NDArray[Any]:
    """The values with as much room again."""
    out = np.zeros(2 * values.shape[0], dtype=values.dtype)
    for i in range(values.shape[0]):
        out[i] = values[i]
    return out
