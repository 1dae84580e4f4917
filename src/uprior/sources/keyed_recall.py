"""Keyed recall: pairs of keys and values, then a gap, then the keys again, whose values are asked for."""

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

REPEATED, RANDOM, DISTRACTING = range(3)
FILLERS = ("repeated", "random", "distracting")


@dataclass(frozen=True)
class KeyedRecall(TaskSource):
    """Keys and values, a gap of filler of random length, then some of the keys again: which values were theirs?

    Machine: a load (pairs; the items of a row) and a gap (tokens of filler). An episode: k1 v1 .. kn vn SEP filler SEP q1 a1
    .. qm am END. Keys differ from each other; values are independent and uniform; the m = min(queries, n) queries are
    different keys of the episode in random order. Load is uniform in min_items..max_items; the gap is min_gap plus 0, 1, 2-3,
    4-7, .. with equal probability for every doubling, up to max_gap or what the row still holds: a longer row has longer
    gaps.

    Ids with S = symbols: keys 0..S-1, values S..2S-1 (``alphabet`` "shared": values are 0..S-1 too, so that only the place
    tells), filler 2S..3S-1, SEP = 3S, END and blank = 3S + 1. ``filler``: "random" tokens of their own ids; "repeated", the
    token 2S throughout; "distracting", keys and values at random, so that a key is followed by wrong values between pair and
    query.

    Floor: exact given load and gap: ln(S - i) for the key after i others, ln(S) for a value, ln of the number of fillers,
    ln(n - j) for the query after j others, 0 for answers. Machines: loads times gaps. ``info``: load, gap (the distance from
    the last pair to the first query is gap + 2). Cost: about 12 ns per token.

    Long-range retrieval is what synthetic pre-training is reported to improve in 12 of 12 settings (arXiv 2609.39827). The
    probe of Jiang, Shinnick et al. 2026 (arXiv 2601.21725), "Haystack", is n <= 30 pairs, no gap and one query.
    """

    name: ClassVar[str] = "keyed_recall"
    max_items: int = parameter(32, "largest load of a row, pairs", low=1, high=1 << 14)
    min_gap: int = parameter(0, "least filler between pairs and queries, tokens", low=0, high=1 << 20)
    max_gap: int = parameter(1 << 16, "most filler, tokens; cut at what a row holds", low=0, high=1 << 20)
    queries: int = parameter(16, "keys asked for in an episode, at most its load", low=1, high=1 << 14)
    symbols: int = parameter(64, "number of keys, of values and of fillers", low=1, high=1 << 14)
    alphabet: str = parameter("disjoint", "whether values have ids of their own", choices=("disjoint", "shared"))
    filler: str = parameter("random", "what stands in the gap", choices=FILLERS)

    def validate(self) -> None:
        super().validate()
        if self.max_items > self.symbols:
            self.reject("max_items", f"1 to symbols = {self.symbols}, as keys differ")
        if self.min_gap > self.max_gap:
            self.reject("min_gap", f"0 to max_gap = {self.max_gap}")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return 3 * self.symbols + 2

    def _longest(self, items: int) -> int:
        """Of an episode with the least gap."""
        return 2 * items + 2 * min(self.queries, items) + 2 + self.end_token + self.min_gap

    def _machines(self, info: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        pairs = np.stack([info["items"], info["gap"]])
        return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: Tokens,
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        length, queries = tokens.shape[1], np.minimum(self.queries, items)
        least = 2 * items + 2 * queries + 2 + self.end_token + self.min_gap
        gaps = self.min_gap + _every_doubling(draw("gaps"), np.minimum(self.max_gap - self.min_gap, length - least))
        _write_rows(
            draw("rows"), items, gaps, queries, self.symbols, self.alphabet == "shared", FILLERS.index(self.filler),
            self.packed, self.end_token, tokens, answer, floor,
        )  # fmt: skip
        return {"load": items, "gap": gaps}


def _every_doubling(rng: np.random.Generator, most: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] numbers 0..most: first which of 0, 1, 2-3, 4-7, .. (as far as ``most``), then one of these, both uniformly."""
    octaves = np.frexp(most.astype(np.float64))[1].astype(np.int64)  # bits of ``most``
    octave = (rng.random(len(most)) * (octaves + 1)).astype(np.int64)
    low = np.where(octave > 0, 1 << np.maximum(octave - 1, 0), 0)
    high = np.minimum((1 << octave) - 1, most)
    offset: NDArray[np.int64] = (rng.random(len(most)) * (high - low + 1)).astype(np.int64)
    return low + offset


@kernel
def _write_rows(
    rng: np.random.Generator,
    items: NDArray[np.int64],
    gaps: NDArray[np.int64],
    queries: NDArray[np.int64],
    symbols: int,
    shared: bool,
    filler: int,
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
    keys, value_of = np.arange(symbols), np.empty(symbols, dtype=np.int64)
    for row in range(len(items)):
        at, size = 0, 0
        while at < length and (packed or at == 0):
            size = _episode(
                rng, items[row], gaps[row], queries[row], symbols, shared, filler, keys, value_of, episode, nats
            )
            if end_token:
                episode[size], nats[size] = 3 * symbols + 1, 0.0
                size += 1
            first = 2 * items[row] + gaps[row] + 2
            for i in range(size):
                is_answer[i] = i >= first and ((i - first) % 2 == 1 or i - first == 2 * queries[row])
            at = copy_episode(at, size, episode, is_answer, nats, tokens[row], answer[row], floor[row])
        for t in range(at, length):
            tokens[row, t] = 3 * symbols + 1


@kernel
def _episode(
    rng: np.random.Generator,
    load: int,
    gap: int,
    queries: int,
    symbols: int,
    shared: bool,
    filler: int,
    keys: NDArray[np.int64],
    value_of: NDArray[np.int64],
    episode: Tokens,
    nats: NDArray[np.float32],
) -> int:
    """Write one episode and its floors; its size without end token.

    keys       [S] any order of all keys, left in another
    value_of   [S] working space
    """
    lowest, value_nats = 0 if shared else symbols, np.log(float(symbols))
    for i in range(load):
        # A partial shuffle: keys[:load] are the keys of the episode.
        j = i + int(rng.random() * (symbols - i))
        keys[i], keys[j] = keys[j], keys[i]
        value_of[keys[i]] = lowest + int(rng.random() * symbols)
        episode[2 * i], episode[2 * i + 1] = keys[i], value_of[keys[i]]
        nats[2 * i], nats[2 * i + 1] = np.log(float(symbols - i)), value_nats
    at = 2 * load
    episode[at], nats[at] = 3 * symbols, 0.0
    first = 2 * symbols if filler == RANDOM else 0
    many = symbols if filler == RANDOM or shared else 2 * symbols
    usual = 0.0 if filler == REPEATED else np.log(float(many))
    for i in range(at + 1, at + 1 + gap):
        episode[i] = 2 * symbols if filler == REPEATED else first + int(rng.random() * many)
        nats[i] = usual
    at += gap + 2
    episode[at - 1], nats[at - 1] = 3 * symbols, 0.0
    for i in range(queries):
        j = i + int(rng.random() * (load - i))
        keys[i], keys[j] = keys[j], keys[i]
        episode[at + 2 * i], episode[at + 2 * i + 1] = keys[i], value_of[keys[i]]
        nats[at + 2 * i], nats[at + 2 * i + 1] = np.log(float(load - i)), 0.0
    return at + 2 * queries
