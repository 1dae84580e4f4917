"""Tasks: rows of episodes, each a question and the answer that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._exact import kernel
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class TaskSource(Source):
    """Base of the tasks. A subclass writes ``_longest`` and ``_episodes``; the rest is the same for all.

    An *item* is the unit of difficulty (a symbol to sort, a pair to remember, a digit to add). Each row draws one number of
    items, which is part of its machine and stands in ``info["items"]``: curricula and length-generalisation tests only filter or
    change ``min_items`` and ``max_items``. Where a row is too short for ``max_items``, the range ends at what fits, so that every
    row holds at least one whole episode.

    ``packed`` rows go on with further episodes of the same difficulty, cut where the row ends; others hold one episode and then
    blanks, which never count. An answer may end with an end token, which counts, so that models learn to stop; packed episodes
    need it where an answer's length cannot be told from the question.
    """

    family: ClassVar[str] = "task"
    min_items: int = parameter(1, "least difficulty of a row, in items", low=1, high=1 << 16)
    max_items: int = parameter(16, "largest difficulty of a row, in items", low=1, high=1 << 16)
    packed: bool = parameter(True, "fill each row with further episodes; false: one episode, then blanks")
    end_token: bool = parameter(True, "end every answer with an end token, which counts in the loss")
    score: str = parameter("answers", "what counts in the loss", choices=("answers", "all"))

    def validate(self) -> None:
        if self.min_items > self.max_items:
            self.reject("min_items", f"1 to max_items = {self.max_items}")

    @property
    def shortest_row(self) -> int:
        return max(2, self._longest(self.min_items))

    @property
    def longest_episode(self) -> int:
        """Tokens of a row that holds an episode of any difficulty."""
        return max(2, self._longest(self.max_items))

    def _longest(self, items: int) -> int:
        """Tokens of the longest episode of this difficulty, end token included; grows with ``items``."""
        raise NotImplementedError(f"{type(self).__name__} does not write _longest")

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: NDArray[np.unsignedinteger[Any]],
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        """Fill the rows; return what else is worth knowing per row.

        items   [N] the difficulty of each row
        tokens  [N, T] to be written whole, blanks included
        answer  [N, T] all False; True where a token belongs to an answer (its end token included)
        floor   [N, T] all 0; -ln of the probability of each token given its prefix, the task and the row's items
        """
        raise NotImplementedError(f"{type(self).__name__} does not write _episodes")

    def _machines(self, info: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """[N] a number for what each row's machine knows, from ``info``: the items, and where there is one, the task."""
        return info["items"]

    def _most_items(self, length: int) -> int:
        """The largest difficulty, up to max_items, whose episodes fit into a row."""
        low, high = self.min_items, self.max_items
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._longest(middle) <= length else (low, middle - 1)
        return low

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        most = self._most_items(length)
        items = draw("items").integers(self.min_items, most, rows, endpoint=True)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        answer = np.zeros((rows, length), dtype=np.bool_)
        floor = np.zeros((rows, length), dtype=np.float32)
        info = {"items": items} | self._episodes(draw, items, tokens, answer, floor)
        return Block(
            tokens=tokens,
            scored=answer if self.score == "answers" else None,
            floor_nats=floor,
            machine=draw.machine_ids(self._machines(info)),
            info=info,
        )


@kernel
def copy_episode(
    at: int,
    size: int,
    episode: NDArray[Any],
    is_answer: NDArray[np.bool_],
    nats: NDArray[np.float32],
    tokens: NDArray[Any],
    answer: NDArray[np.bool_],
    floor: NDArray[np.float32],
) -> int:
    """Copy the first ``size`` entries of an episode into a row from position ``at``, cut at the row's end; where it ends."""
    size = min(size, len(tokens) - at)
    for i in range(size):
        tokens[at + i] = episode[i]
        answer[at + i] = is_answer[i]
        floor[at + i] = nats[i]
    return at + size
