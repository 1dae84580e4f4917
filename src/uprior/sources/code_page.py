"""Random languages in code pages: symbols of one kind have neighbouring codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.sources import _language_layout as layout
from uprior.sources._base import Draw, Source
from uprior.sources.random_language import RandomLanguage
from uprior.types import Block

# The kinds, as ranges of local symbols: letters and their second forms, digits, what delimits, leads of wide letters.
_KINDS = (
    (0, layout.SECOND),
    (layout.SECOND, layout.DIGIT),
    (layout.DIGIT, layout.SEPARATOR),
    (layout.SEPARATOR, layout.LEAD),
    (layout.LEAD, layout.SYMBOLS),
)
_DELIMITERS = layout.LEAD - layout.SEPARATOR


@dataclass(frozen=True)
class CodePage(Source):
    """Random languages as machines encode them: every kind of symbol in a block of codes of its own.

    ``random_language`` gives its symbols any codes at all. Whoever lays out a code for machines to read puts symbols that are
    used alike side by side, and begins each kind where its leading bits are its own, so that a test of a few bits tells the
    kind; and takes no more bits than are needed, or some more. Here letters, their second forms, digits, what delimits
    (separators, marks, ends of sentences and lines, brackets), and leads of letters of two tokens have a block of codes each, as
    large as the least power of two that holds the kind and beginning at a multiple of its size. Blocks lie anywhere in the page,
    which is a block itself, of any size that holds them all, and lies anywhere. Within a block the order is random, so a code
    says nothing of how frequent its symbol is; letters and their second forms have the same order. Who predicts such rows well
    has learnt that symbols with the same leading bits are used alike, and that what is new is mostly of a kind that is known.

    No code page of the world is copied: places, sizes and orders are drawn for every machine, every code as likely as any other.
    Machines, floor and ``info``: as of the language. Cost: about 100 ns per token more than the language's, with four rows of 512
    per machine.

    That bytes should be predicted bit by bit, so that those with common leading bits share what was learnt, is an assumption
    of predictors (Tjalkens, Willems and Shtarkov 1997, "Multi-alphabet universal coding using a binary decomposition context
    tree weighting algorithm"); most sources of ours give symbols any codes, and hardly reward it.
    """

    name: ClassVar[str] = "code_page"
    family: ClassVar[str] = "language"
    language: RandomLanguage = field(default=RandomLanguage(), metadata={"text": "the language"})

    def validate(self) -> None:
        size, letters = self.language.alphabet_size, _block_size(self.language.max_letters)
        needed = _block_size(2 * letters + layout.MAX_BASE + _block_size(_DELIMITERS) + layout.MAX_LEADS)
        if size != _block_size(size) or size < needed:
            raise SpecError(
                f"{self.name}: language.alphabet_size = {size} is not allowed; allowed: a power of two, {needed} or more"
            )

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.language.alphabet_size

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        tokens, machine, machines = self.language.write(draw.child("language"), rows, length)
        rng, pages = draw("pages"), np.empty((len(machines), self.alphabet_size), dtype=self.token_dtype)
        for page, code in zip(pages, machines["code"], strict=True):
            lay_out(rng, code, page)
        return self.language.as_block(draw, pages[machine[:, None], tokens], machine, machines)


def _block_size(symbols: int) -> int:
    """The least power of two that is not below."""
    return 1 << (symbols - 1).bit_length()


def lay_out(rng: np.random.Generator, code: NDArray[np.int32], page: NDArray[np.unsignedinteger[Any]]) -> None:
    """Fill page [A] where a machine has symbols: the new code of each token. ``code`` [SYMBOLS]: tokens of symbols, or -1."""
    symbols = code.tolist()
    kinds = [np.array([*dict.fromkeys(token for token in symbols[a:b] if token >= 0)], np.int64) for a, b in _KINDS]
    letters, *others = (_places(rng, len(kind)) for kind in kinds[:1] + kinds[2:])
    blocks = [(kind, places) for kind, places in zip(kinds, (letters, letters, *others), strict=True) if len(kind)]
    # Large blocks first: a block is then free where its first code is.
    blocks.sort(key=lambda block: -len(block[0]))
    least = _block_size(sum(_block_size(len(kind)) for kind, _ in blocks))
    size = least << int(rng.integers((len(page) // least).bit_length()))
    free, first = np.ones(size, dtype=bool), size * int(rng.integers(len(page) // size))
    for kind, places in blocks:
        block = _block_size(len(kind))
        begins = np.flatnonzero(free[::block])
        begin = int(begins[rng.integers(len(begins))]) * block
        page[kind] = first + begin + places
        free[begin : begin + block] = False


def _places(rng: np.random.Generator, symbols: int) -> NDArray[np.int64]:
    """Different places of the block that holds so many symbols, side by side but for some bits that are flipped in all."""
    return rng.permutation(symbols) ^ int(rng.integers(_block_size(max(symbols, 1))))
