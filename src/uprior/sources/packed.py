"""Rows of several episodes: change points in context."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.sources._wrappers import can_share_machines, rows_of_machines
from uprior.sources.context_tree import ContextTree
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Packed(Source):
    """Several short rows of another source one after the other in each row: change points in context.

    An episode is the beginning of a row of ``episode_length`` tokens of the source: all of it, or with ``shortest_episode`` > 0
    a uniform number of tokens from that up to episode_length. The last one is cut where the row ends. Where the source scores
    only part of its rows, the first episode is whole, so that something counts in every row. With ``separator`` each episode is
    followed by one more symbol, the last of the alphabet, which is not scored: where an episode ends is no part of what its
    machine computes. With ``same_machine`` all episodes of a row are rows of one machine (asked of a source with
    rows_per_machine, which is set as needed); else they are neighbouring rows of the source, which come from different
    machines wherever a block holds enough of them.

    Machine: the machines and lengths of a row's episodes, so every row is a machine of its own. Floor: the source's own, exact
    where that is, for the predictor that knows where episodes begin; 0 at separators. A row with an episode of unknown floor has
    none. ``info``: episodes (begun in the row), and the mean over them of each number in the source's info. Cost: about
    8 ns per token and the source's own; of rows longer than drawn episodes the rest is written in vain.

    Piecewise stationary rows with change points that the learner has to notice: Genewein et al. 2023 (arXiv 2302.03067).
    """

    name: ClassVar[str] = "packed"
    family: ClassVar[str] = "wrapper"
    source: Source = field(default=ContextTree(), metadata={"text": "the source of the episodes"})
    episode_length: int = parameter(
        64, "tokens of an episode, the most of them where lengths vary", low=2, high=1 << 24
    )
    shortest_episode: int = parameter(0, "fewest tokens of an episode; 0: all are alike", low=0, high=1 << 24)
    separator: bool = parameter(False, "end every episode with one more symbol")
    same_machine: bool = parameter(False, "one machine for all episodes of a row")

    def validate(self) -> None:
        if self.episode_length < self.source.shortest_row:
            self.reject("episode_length", f"at least {self.source.shortest_row} tokens, or this source has no room")
        if self.shortest_episode > self.episode_length:
            self.reject("shortest_episode", f"0 to episode_length = {self.episode_length}")
        if self.same_machine and not can_share_machines(self.source):
            self.reject("same_machine", f"false, as {self.source.name} has no field rows_per_machine")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.source.alphabet_size + self.separator

    @property
    def shortest_row(self) -> int:
        return self.episode_length

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        sizes = self._sizes(draw, rows, length)
        most = int(self._begun(sizes, length).max())
        here = draw.child("source")
        if self.same_machine:
            block = rows_of_machines(self.source, here, rows, most, self.episode_length)
        else:
            block = self.source._generate(here, rows * most, self.episode_length)
        if block.scored is not None and self.shortest_episode:
            sizes[:, 0] = self.episode_length
        begun = self._begun(sizes, length)
        place = np.empty((rows, length), dtype=np.int64)
        _lay_out(sizes, self.separator, most, self.episode_length, place)
        gap = place < 0
        tokens, scored, floor = (_at(values, place) for values in (block.tokens, block.scored, block.floor_nats))
        assert tokens is not None
        tokens = tokens.astype(self.token_dtype, copy=False)
        if self.separator:
            tokens = np.where(gap, self.token_dtype(self.alphabet_size - 1), tokens)
            scored = ~gap if scored is None else scored & ~gap
            floor = None if floor is None else np.where(gap, np.float32(0), floor)
        if floor is not None:
            floor[np.isnan(floor).any(axis=1)] = np.nan
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(np.arange(rows)),
            scored=scored,
            floor_nats=floor,
            info=_means(block.info, begun, most) | {"episodes": begun},
        )

    def _sizes(self, draw: Draw, rows: int, length: int) -> NDArray[np.int64]:
        """[N, E] tokens of each episode, enough of them to fill every row."""
        shortest = self.shortest_episode or self.episode_length
        shape = (rows, -(-length // (shortest + self.separator)))
        if shortest == self.episode_length:
            return np.full(shape, shortest, dtype=np.int64)
        return draw("lengths").integers(shortest, self.episode_length, shape, endpoint=True)

    def _begun(self, sizes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """[N] how many episodes begin within the row."""
        ends = np.cumsum(sizes + self.separator, axis=1)
        return np.asarray((ends[:, :-1] < length).sum(axis=1) + 1)


@kernel
def _lay_out(sizes: NDArray[np.int64], gap: int, most: int, longest: int, place: NDArray[np.int64]) -> None:
    """Fill ``place`` [N, T]: where each token stands among N * most * longest tokens of episodes; -1 for a separator."""
    rows, length = place.shape
    for row in range(rows):
        episode, at = 0, 0
        for t in range(length):
            if at == sizes[row, episode] + gap:
                episode, at = episode + 1, 0
            place[row, t] = (row * most + episode) * longest + at if at < sizes[row, episode] else -1
            at += 1


def _at(values: NDArray[Any] | None, place: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else np.take(values.ravel(), place, mode="wrap")


def _means(info: dict[str, NDArray[Any]], begun: NDArray[np.int64], most: int) -> dict[str, NDArray[Any]]:
    """[N] per entry: the mean over the episodes begun in each row."""
    counts = np.arange(most) < begun[:, None]
    numbers = {name: values.reshape(counts.shape) for name, values in info.items() if values.dtype.kind in "biuf"}
    return {name: np.where(counts, values, 0).sum(axis=1) / begun for name, values in numbers.items()}
