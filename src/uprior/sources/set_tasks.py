"""Seven tasks on one string of symbols: copy, reverse, sort, set, union, delete, and a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, bars
from uprior.sources._set_kernels import DELETE, IDENTITY, POP, REVERSE, SET, SORT, STACK, UNION, Tokens, write_rows
from uprior.sources._tasks import TaskSource
from uprior.spec import parameter

# The published runs: one episode of 64 symbols per row, then blanks; uniform symbols; only the output counts.
_ROWS = {"symbols": 100, "min_items": 64, "max_items": 64, "packed": False, "end_token": False}
_PUBLISHED = {**_ROWS, "variety": 0.0}


@dataclass(frozen=True)
class _SymbolTask(TaskSource):
    """Base of all seven: the alphabet, and the kernel that writes their rows."""

    task: ClassVar[int]
    max_items: int = parameter(64, "largest difficulty of a row, in symbols", low=1, high=1 << 16)
    symbols: int = parameter(100, "symbols are 1..symbols-1; 0 is the pop of a stack", low=3, high=(1 << 16) - 2)

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.symbols + 2

    @property
    def _option(self) -> bool:
        """What the kernel must know beyond the task: delete a symbol that is there; write every symbol popped."""
        return False

    def _pools(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] how many different symbols a question of each row draws from."""
        return np.full_like(items, self.symbols - 1)

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: Tokens,
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        room = self._longest(int(items.max()))
        write_rows(
            draw("rows"), self.task, items, self._pools(items), self.symbols, self.packed, self.end_token, self._option,
            room, tokens, answer, floor,
        )  # fmt: skip
        return {}


@dataclass(frozen=True)
class _StringTask(_SymbolTask):
    """Base of the six whose question is a string of symbols drawn from a random pool."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"procedural": _PUBLISHED}
    variety: float = parameter(0.5, "different symbols a question draws from, per item; 0: all", low=0.0, high=64.0)

    def _pools(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.variety == 0:
            return super()._pools(items)
        return np.clip((self.variety * items + 0.5).astype(np.int64), 1, self.symbols - 1)

    def _longest(self, items: int) -> int:
        return 2 * items + 1 + self.end_token


@dataclass(frozen=True)
class Identity(_StringTask):
    """A string of symbols, a separator, and the same string again.

    Machine: the number of items n, the length of the string; max_items - min_items + 1 of them. A row: x SEP x END, then the
    next episode. Ids: symbols 1..symbols-1, SEP = symbols, END (and the blank of rows that are not packed) = symbols + 1; 0 is
    not used. Symbols are independent and uniform on a pool of round(variety * n) different ones, another random pool per
    question, so that strings of all lengths hold repeats; variety 0 draws from all symbols. Floor: exact given n; a symbol
    that the question has shown costs ln(pool), the others share the rest; SEP, answers and END cost 0. Cost: 15 to 20 ns per
    token.

    Jiang, Shinnick et al. 2026 (arXiv 2601.21725), "Identity", with their ids, V = symbols. Preset ``procedural``: L = 64,
    V = 100, one episode of 2L + 1 tokens, then blanks; the loss on exactly the L output tokens. Their validation examples
    were training examples (number i of validation is number 10,000 + i of training); here no two splits share a generator.
    Rows of one short episode are few: without ``packed``, splits repeat each other's rows where n is below about 5.
    """

    name: ClassVar[str] = "identity"
    task: ClassVar[int] = IDENTITY


@dataclass(frozen=True)
class Reverse(_StringTask):
    """A string of symbols, a separator, and the string backwards.

    Machine: the number of items n, the length of the string. A row: x SEP reversed(x) END, then the next episode; ids, pools,
    floor (exact given n), cost and preset as in ``identity``; "Reverse" of Jiang, Shinnick et al. 2026 (arXiv 2601.21725).
    """

    name: ClassVar[str] = "reverse"
    task: ClassVar[int] = REVERSE


@dataclass(frozen=True)
class Sort(_StringTask):
    """A string of symbols, a separator, and the same symbols in ascending order, repeats kept.

    Machine: the number of items n, the length of the string. A row: x SEP sorted(x) END, then the next episode; ids, pools,
    floor (exact given n) and preset as in ``identity``; "Sort" of Jiang, Shinnick et al. 2026 (arXiv 2601.21725). Cost: about
    25 ns per token.
    """

    name: ClassVar[str] = "sort"
    task: ClassVar[int] = SORT


@dataclass(frozen=True)
class Set(_StringTask):
    """A string of symbols, a separator, and its different symbols in the order of their first appearance.

    Machine: the number of items n, the length of the string. A row: x SEP set(x) END, then the next episode; ids, pools,
    floor (exact given n), cost and preset as in ``identity``. With the default pool some 43 % of n symbols are different; the
    published draw from all 99 symbols has 47.2 different ones in 64, and hardly a repeat in short strings. "Set" of Jiang,
    Shinnick et al. 2026 (arXiv 2601.21725).
    """

    name: ClassVar[str] = "set"
    task: ClassVar[int] = SET


@dataclass(frozen=True)
class Union(_StringTask):
    """Two strings of symbols, and their union in the order of first appearance.

    Machine: the number of items n; both strings hold n // 2 symbols of one pool. A row: x1 SEP x2 SEP set(x1 x2) END, then
    the next episode; ids, pools, floor (exact given n), cost and preset as in ``identity``; "Union" of Jiang, Shinnick et al.
    2026 (arXiv 2601.21725), whose L is our n: 2L + 2 tokens.
    """

    name: ClassVar[str] = "union"
    task: ClassVar[int] = UNION
    min_items: int = parameter(2, "least difficulty of a row, symbols in both strings", low=2, high=1 << 16)
    max_items: int = parameter(64, "largest difficulty of a row, symbols in both strings", low=2, high=1 << 16)

    def _longest(self, items: int) -> int:
        return 4 * (items // 2) + 2 + self.end_token


@dataclass(frozen=True)
class Delete(_StringTask):
    """A string of symbols, one symbol to delete, and the string without the first such symbol.

    Machine: the number of items n, the length of the string. A row: x SEP d SEP y END, then the next episode; y is x without
    the first d. With ``query`` "present", d is the symbol at a random place of x (its floor is -ln of its share of x);
    "independent" draws it from all symbols, and a question without d is a copy. Ids, pools, floor (exact given n) and cost as
    in ``identity``.

    "Delete" of Jiang, Shinnick et al. 2026 (arXiv 2601.21725): 2L + 3 tokens. Preset ``procedural`` draws d as they do,
    independently of x, whereby (98/99)^64 = 52 % of the questions are plain copies.
    """

    name: ClassVar[str] = "delete"
    task: ClassVar[int] = DELETE
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"procedural": {**_PUBLISHED, "query": "independent"}}
    query: str = parameter("present", "which symbol is deleted", choices=("present", "independent"))

    def validate(self) -> None:
        super().validate()
        if self.min_items < 2 and not self.end_token:
            self.reject("min_items", "2 or more without end_token: one symbol less one leaves no answer to score")

    @property
    def _option(self) -> bool:
        return self.query == "present"

    def _longest(self, items: int) -> int:
        return 2 * items + 3 + self.end_token - self._option


@dataclass(frozen=True)
class Stack(_SymbolTask):
    """Pushes and pops, and the symbols that come off the stack.

    Machine: the number of items n, the operations of an episode. An operation is 0, which pops, or a symbol 1..symbols-1, which
    is pushed and is uniform among those not on the stack. With at most one symbol on the stack: push. The last operation pops;
    of the others the first floor(2n/3) push with probability 3/4 and the rest with 1/4; where no symbol is unused: pop. Then
    SEP = symbols, the stack from top to bottom and END = symbols + 1 (also the blank). With ``readout`` "every" each pop is
    followed by the symbol it removes, so that every symbol pushed is asked for once and 37 % of the tokens count; with "final"
    only the last stack is. Floor: exact given n. Cost: about 20 ns per token. The picture is the stack's height.

    "Stack" of Jiang, Shinnick et al. 2026 (arXiv 2601.21725). Preset ``procedural``: L = 64 operations, V = 100, readout
    "final": in rows of 2L tokens 11.0 count on average and 41 % are blanks. They cut at 2L tokens, which from L = 3 on cuts
    nothing; here the whole episode always fits.
    """

    name: ClassVar[str] = "stack"
    task: ClassVar[int] = STACK
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"procedural": {**_ROWS, "readout": "final"}}
    max_items: int = parameter(64, "largest difficulty of a row, in operations", low=1, high=1 << 16)
    readout: str = parameter(
        "every", "symbols asked for: each one popped, or the last stack", choices=("every", "final")
    )

    @property
    def _option(self) -> bool:
        return self.readout == "every"

    def _longest(self, items: int) -> int:
        pushes = items if items < 3 else items - 1
        pops = items - pushes
        return items + 1 + self.end_token + (pushes if self._option else pushes - pops)

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]]:
        heights, height, reading, skip = [], 0, False, False
        for token in self._generate(draw, 1, length).tokens[0].tolist():
            if token > self.symbols:  # the end
                height = 0
            if token >= self.symbols:
                reading = token == self.symbols
            elif skip:  # the symbol that was popped
                skip = False
            else:
                height += -1 if reading or token == POP else 1
                skip = token == POP and self._option
            heights.append(height)
        return bars(np.array(heights, dtype=np.int64))
