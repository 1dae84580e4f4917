"""The fifteen tasks of Neural Networks and the Chomsky Hierarchy, in one alphabet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources import _chomsky_kernels as kernels
from uprior.sources._base import Draw
from uprior.sources._tasks import TaskSource
from uprior.spec import parameter

TASKS = (
    "even_pairs", "modular_arithmetic", "parity_check", "cycle_navigation",
    "stack_manipulation", "reverse_string", "modular_arithmetic_brackets", "solve_equation",
    "duplicate_string", "missing_duplicate_string", "odds_first", "binary_addition", "binary_multiplication",
    "compute_sqrt", "bucket_sort",
)  # fmt: skip
GROUPS = {
    "all": range(15),
    "regular": range(4),
    "context_free": range(4, 8),
    "context_sensitive": range(8, 15),
}
SYMBOLS = ("0", "1", "2", "3", "4", "+", "*", "-", "(", ")", "x", "=", "POP", "PUSH 0", "PUSH 1", ".", ":")


@dataclass(frozen=True)
class Chomsky(TaskSource):
    """Fifteen tasks of three levels of the Chomsky hierarchy, from parity to square roots, in one alphabet of 17 symbols.

    Machine: a task and a number of items n, the length of the question; 15 times max_items exist, and all of a row's
    episodes belong to one. An episode is question . answer : and, with D digits 0..4 and bits 0 1,

    ==========================  ==========================================  =================================================
    regular
    even_pairs                  n bits                                      1 if an odd number of neighbours differ, else 0
    modular_arithmetic          n symbols D o D o D, o one of + - *         value modulo 5; * binds tighter; n odd (even: n-1)
    parity_check                n bits                                      number of ones modulo 2
    cycle_navigation            n moves + (right) - (left) 0 (stay)         end position on a cycle of 5, from 0
    (deterministic) context-free
    stack_manipulation          1..n-1 bits, bottom first; POP, PUSH 0/1    the final stack, top first, then :
    reverse_string              n bits                                      reversed
    modular_arithmetic_brackets (expression o expression), (-D), (D), -D    value modulo 5
    solve_equation              the same with + - only, one digit hidden    the digit; n >= 3
                                (x), = and its value modulo 5
    context-sensitive
    duplicate_string            n bits                                      twice
    missing_duplicate_string    a string of bits twice, one hidden (x)      the bit; n even, at least 2 (odd: n-1)
    odds_first                  n bits                                      those at positions 1, 3, ..., then 0, 2, ...
    binary_addition             bits + bits, both > 0, lowest bit first     the sum, lowest bit first, then :   n >= 4
    binary_multiplication       bits * bits, likewise                       the product, likewise   n >= 4
    compute_sqrt                a number > 0, highest bit first             its integer square root, ceil(n/2) bits; n >= 2
    bucket_sort                 n letters 0..4                              sorted
    ==========================  ==========================================  =================================================

    Alphabet: 0..4 digits, 5 + 6 * 7 - 8 ( 9 ) 10 x 11 = 12 POP 13 PUSH 0 14 PUSH 1 15 . 16 : (also the blank after the only
    episode of a row that is not packed). ``announce`` begins a row with the task's number 0..14 as two digits in base 5.

    Splits of brackets, positions of operators and sizes of stacks are uniform, digits and operators too. Lengths are uniform
    in min_items..max_items (published: 1..40, tested to 100 and 500); with ``lengths`` = "episode" each episode of a row draws
    its own, and ``items`` is the largest. With ``answers`` = "padded" the answers that end with a mark are filled with zeros to
    their published length: n+1 symbols, n for products.

    Floor: exact, 0 on answers; questions are charged for random symbols and for what only they can tell (where the first
    number ends, how brackets nest). With lengths per episode it is exact for questions of independent symbols, whose length
    is then charged too, and unknown (NaN) for rows of the other seven tasks. ``info``: items, task (0..14).
    Cost: about 25 ns per token; products and roots take time as the square of n.

    Deletang et al. 2023 (arXiv 2207.02098) and their code (neural_networks_chomsky_hierarchy): preset ``chomsky``, one episode
    per row. Where we depart: one alphabet, so that a symbol means the same in every task (there: task by task); the empty
    symbol of odd missing_duplicate_string and lengths with a single question are left out; the hidden digit is
    the *last* one, not the first, when there is none after the place drawn, which makes floors exact; the second distinct
    length of modular arithmetic does not raise an error. Preset ``solomonoff``: episodes of different lengths in a row, each
    part ended by a delimiter, from Grau-Moya et al. 2024 (arXiv 2401.14953), whose code defines this alphabet but
    does not apply it, draws lengths per batch instead of per row, and crashes on stack manipulation.
    """

    name: ClassVar[str] = "chomsky"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "chomsky": {"packed": False, "end_token": False, "announce": False, "answers": "padded"},
        "solomonoff": {"lengths": "episode", "announce": False, "answers": "padded"},
    }
    max_items: int = parameter(40, "largest difficulty of a row, length of a question in symbols", low=1, high=4096)
    task: str = parameter("all", "a task, a class of tasks, or all", choices=(*GROUPS, *TASKS))
    lengths: str = parameter("row", "what draws the length of a question", choices=("row", "episode"))
    announce: bool = parameter(True, "begin each row with the number of its task, two digits in base 5")
    answers: str = parameter("ended", "answers of varying length: ended, or padded too", choices=("ended", "padded"))

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return len(SYMBOLS)

    @property
    def tasks(self) -> tuple[int, ...]:
        """The numbers of the tasks that rows are drawn from."""
        return tuple(GROUPS[self.task]) if self.task in GROUPS else (TASKS.index(self.task),)

    def _longest(self, items: int) -> int:
        return 2 * self.announce + max(self._longest_of(task, items) for task in self.tasks)

    def _longest_of(self, task: int, items: int) -> int:
        """Symbols of the longest episode of a task."""
        size = kernels.question_size(task, items)
        if task in kernels.MARKED:
            padded = self.answers == "padded"
            fixed = size + (task != kernels.BINARY_MULTIPLICATION) + self.end_token
            answer = fixed if padded else size + (task == kernels.STACK_MANIPULATION)
        else:
            of = {"duplicate_string": 2 * size, "compute_sqrt": -(-size // 2), "odds_first": size}
            of |= {"reverse_string": size, "bucket_sort": size}
            answer = of.get(TASKS[task], 1) + self.end_token
        return int(size + 1 + answer)

    def _machines(self, info: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        machines: NDArray[np.int64] = info["task"] << 16 | info["items"]
        return machines

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: NDArray[np.unsignedinteger[Any]],
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        if self.lengths == "episode":
            items[:] = self._most_items(tokens.shape[1])
        task = np.array(self.tasks)[draw("tasks").integers(0, len(self.tasks), len(items))]
        most = max(int(items.max()), 4)
        nested = bool(np.isin(task, (kernels.MODULAR_ARITHMETIC_BRACKETS, kernels.SOLVE_EQUATION)).any())
        kernels.write_rows(
            draw("rows").random((len(items), tokens.shape[1] + most + 4)), task, items, self.min_items,
            self.lengths == "episode", self.announce, self.answers == "padded", self.end_token, self.packed,
            most, most // 4 + 2 if nested else 1, tokens, answer, floor,
        )  # fmt: skip
        if self.lengths == "episode":
            floor[~np.isin(task, kernels.FREE)] = np.nan
        return {"task": task}
