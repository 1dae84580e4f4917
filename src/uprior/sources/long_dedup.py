"""A long stream with repeats, then its different symbols in the order of their first appearance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._exact import kernel
from uprior.sources._tasks import TaskSource, copy_episode
from uprior.spec import parameter

Tokens = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class LongDedup(TaskSource):
    """A stream of symbols as long as the row allows, then its different symbols in the order of their first appearance.

    Machine: the number of different symbols d (the items of a row) and the length of the stream n. An episode: x SEP set(x)
    END. The places of first appearances are uniform among those with x1 first, the symbols that appear are a uniform choice
    in random order, and every other token repeats one of the symbols seen so far, each equally likely. n is ``stream``; where
    that is 0, one episode fills the row exactly and repeats are at least half of its stream. Ids: symbols 0..symbols-1, SEP =
    symbols, END and blank = symbols + 1.

    Floor: exact given d and n: with s symbols seen and r tokens of the stream to come, a token is new with probability
    (d - s) / r and is then any of the symbols - s unseen ones, else any of the s seen. Cost: about 12 ns per token.
    ``info``: stream, tokens of x.

    The task ``set`` stretched to the context of a row, where answers lie hundreds of tokens behind their question: set
    deduplication is one of the tasks of arXiv 2609.39827, where long-range retrieval is what is reported to improve.
    """

    name: ClassVar[str] = "long_dedup"
    min_items: int = parameter(4, "fewest different symbols of a row", low=1, high=1 << 15)
    max_items: int = parameter(128, "most different symbols of a row", low=1, high=1 << 15)
    symbols: int = parameter(256, "number of symbols", low=2, high=(1 << 16) - 2)
    stream: int = parameter(
        0, "tokens of a stream; 0: as many as the row holds, one stream per row", low=0, high=1 << 20
    )

    def validate(self) -> None:
        super().validate()
        most = min(self.symbols, self.stream or self.symbols)
        if self.max_items > most:
            self.reject("max_items", f"min_items to {most}, as many as there are symbols and tokens in a stream")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.symbols + 2

    def _longest(self, items: int) -> int:
        return (self.stream or 2 * items) + 1 + items + self.end_token

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: Tokens,
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        rest = tokens.shape[1] - items - 1 - self.end_token
        streams = np.full_like(items, self.stream) if self.stream else rest
        log = np.log(np.maximum(np.arange(max(tokens.shape[1], self.symbols) + 1), 1))
        _write_rows(draw("rows"), items, streams, self.symbols, log, self.packed, self.end_token, tokens, answer, floor)
        return {"stream": streams}


@kernel
def _write_rows(
    rng: np.random.Generator,
    items: NDArray[np.int64],
    streams: NDArray[np.int64],
    symbols: int,
    log: NDArray[np.float64],
    packed: bool,
    end_token: bool,
    tokens: Tokens,
    answer: NDArray[np.bool_],
    floor: NDArray[np.float32],
) -> None:
    """Fill all rows, one episode after the other; each fits into a row."""
    length = tokens.shape[1]
    episode = np.empty(length, dtype=np.uint16)
    is_answer = np.zeros(length, dtype=np.bool_)
    nats = np.zeros(length, dtype=np.float32)
    order = np.arange(symbols)
    for row in range(len(items)):
        at, n = 0, streams[row]
        while at < length and (packed or at == 0):
            _write_stream(rng, n, items[row], symbols, order, log, episode, nats)
            episode[n], nats[n], is_answer[n] = symbols, 0.0, False
            size = n + 1 + items[row]
            for i in range(n + 1, size):
                episode[i], nats[i], is_answer[i] = order[i - n - 1], 0.0, True
            if end_token:
                episode[size], nats[size], is_answer[size] = symbols + 1, 0.0, True
                size += 1
            for i in range(n):
                is_answer[i] = False
            at = copy_episode(at, size, episode, is_answer, nats, tokens[row], answer[row], floor[row])
        for t in range(at, length):
            tokens[row, t] = symbols + 1


@kernel
def _write_stream(
    rng: np.random.Generator,
    n: int,
    different: int,
    symbols: int,
    order: NDArray[np.int64],
    log: NDArray[np.float64],
    episode: Tokens,
    nats: NDArray[np.float32],
) -> None:
    """Fill episode[:n]; ``order`` [S] holds all symbols and begins, afterwards, with those of the stream as they appear.

    log   logarithms of 0, 1, 2, .. with 0 for that of 0
    """
    seen = 0
    for i in range(n):
        rest, to_come = n - i, different - seen
        new = 1.0 if seen == 0 else to_come / rest
        if rng.random() < new:
            j = seen + int(rng.random() * (symbols - seen))
            order[seen], order[j] = order[j], order[seen]
            episode[i], nats[i] = order[seen], log[symbols - seen]
            if seen > 0:
                nats[i] += log[rest] - log[to_come]
            seen += 1
        else:
            episode[i], nats[i] = order[int(rng.random() * seen)], log[seen] + log[rest] - log[rest - to_come]
