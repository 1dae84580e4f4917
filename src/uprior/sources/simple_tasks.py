"""Eighteen simple tasks on strings of tokens, each named by the token that a row begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._simple_kernels import TASKS, order_size, query_size, write_rows
from uprior.sources._tasks import TaskSource
from uprior.spec import parameter

Tokens = NDArray[np.unsignedinteger[Any]]

# Ids after the symbols: ten digits, yes, no, the empty result, the mark between words, the divider, the end, the tasks.
OTHERS = 16 + len(TASKS)


@dataclass(frozen=True)
class SimpleTasks(TaskSource):
    """Eighteen simple text-to-text tasks: copy, sort, count, search, replace, set operations and others.

    Machine: a task (``task``; "mixed" draws one per row) and the number of items n. An episode: TASK DIV argument (DIV
    argument) DIV answer END. Symbols are 0..S-1, S = symbols; then the digits 0..9 from S on, yes S + 10, no S + 11, the
    empty result S + 12, the mark between words S + 13, DIV S + 14, END and blank S + 15, and the tasks from S + 16 on, in
    this order:

    copy, reverse; set (different tokens, first appearances in order); deduplicate (runs become one token); duplicate (each
    token twice); first_token, last_token; length (decimal; of 1..n tokens, uniform); longest_word (the first longest piece
    between marks, each token a mark with probability 1/5); count (how often a token occurs, decimal; with probability 1/2 it
    is the token at a random place, else any); delete (the first occurrence of a string of min(3, 1 + n // 8) tokens; with
    probability 3/4 it stands at a random place, else its tokens are random); search (yes or no; the same with probability
    1/2); sort (an order list of min(S, 1 + n // 4) symbols, then n tokens of it); replace (a token of the argument and what
    to put for it, everywhere); union, intersection, set1_minus_set2, set2_minus_set1 (two strings, n tokens together, at
    least one each).

    Arguments are n independent tokens, uniform on all symbols or, for set, count, delete, search, replace and the set
    operations, on a random pool of max(1, n // 2) different ones; in deduplicate a token repeats the last with probability
    1/2. Results of set operations stand in the order of first appearance; the published target order is that of iterating a
    Python set of one interpreter, which is no function of the arguments. Floor: exact given task and n. Cost: about 25 ns per
    token. ``info``: task, its place in the list above from 0 on.

    Wu, Li, Liang 2022, "Insights into pre-training via simpler synthetic tasks" (NeurIPS). Preset ``wu``: arguments of 10 to
    220 tokens over T5's 32,000 pieces, one episode per row, answers only. How many repeats arguments
    have, and the lengths of words, queries and order lists, are our choices.
    """

    name: ClassVar[str] = "simple_tasks"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "wu": {"symbols": 32000, "min_items": 10, "max_items": 220, "packed": False},
    }
    max_items: int = parameter(32, "largest difficulty of a row, tokens of its argument", low=1, high=1 << 16)
    symbols: int = parameter(222, "number of symbols", low=2, high=(1 << 16) - OTHERS)
    task: str = parameter("mixed", "which of the tasks, or one drawn per row", choices=("mixed", *TASKS))

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.symbols + OTHERS

    def _longest(self, items: int) -> int:
        """Of any task that a row may have."""
        most = _most_tokens(items, self.symbols)
        return 3 + self.end_token + (max(most.values()) if self.task == "mixed" else most[self.task])

    def _machines(self, info: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        machines: NDArray[np.int64] = info["task"] << 20 | info["items"]
        return machines

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: Tokens,
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        if self.task == "mixed":
            task = (draw("tasks").random(len(items)) * len(TASKS)).astype(np.int64)
        else:
            task = np.full(len(items), TASKS.index(self.task), dtype=np.int64)
        room = self._longest(int(items.max()))
        write_rows(draw("rows"), task, items, self.symbols, self.packed, self.end_token, room, tokens, answer, floor)
        return {"task": task}


def _most_tokens(n: int, symbols: int) -> dict[str, int]:
    """Task -> most tokens of argument and answer together, dividers between arguments included."""
    digits, query, order, half = len(str(n)), query_size(n), order_size(n, symbols), max(1, n // 2)
    return {
        **dict.fromkeys(("copy", "reverse", "set", "deduplicate", "longest_word"), 2 * n),
        "duplicate": 3 * n,
        **dict.fromkeys(("first_token", "last_token"), n + 1),
        "length": n + digits,
        "count": n + 2 + digits,
        "delete": 2 * n + 1 + query,
        "search": n + 2 + query,
        "sort": order + 1 + 2 * n,
        "replace": 2 * n + 3,
        **dict.fromkeys(("union", "intersection", "set1_minus_set2", "set2_minus_set1"), max(n, 2) + 1 + half),
    }
