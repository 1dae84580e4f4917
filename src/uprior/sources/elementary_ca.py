"""Elementary cellular automata: the 256 rules by which a cell and its two neighbours decide its next state."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw
from uprior.sources._exact import inlined, kernel
from uprior.sources._ring import RingSource
from uprior.spec import parameter

RULES = 256


def equivalent(rule: int) -> int:
    """The smallest rule that is this one with left and right, or dead and live, or both exchanged.

    >>> equivalent(137), equivalent(124), len({equivalent(rule) for rule in range(256)})
    (110, 110, 88)
    """
    mirror = sum((rule >> (b >> 2 | b & 2 | (b & 1) << 2) & 1) << b for b in range(8))
    return min(f(r) for r in (rule, mirror) for f in (int, lambda r: sum((~r >> (7 - b) & 1) << b for b in range(8))))


# The 88 classes of equivalent rules: what is given to splits, as a model that knows a rule nearly knows its mirror image.
CLASSES = sorted({equivalent(rule) for rule in range(RULES)})
CLASS_OF_RULE = np.array([CLASSES.index(equivalent(rule)) for rule in range(RULES)])


@dataclass(frozen=True)
class ElementaryCA(RingSource):
    """Elementary cellular automata: each cell's next state is a rule of itself and its two neighbours, on a ring.

    Machine: a rule, drawn from ``rules`` (all 256, in Wolfram's numbering: bit 4l + 2c + r of the rule is the next state after
    left l, centre c, right r), with its density and burn-in where those are random. Alphabet: 0 dead, 1 live. The layout, the
    start and what counts are ``RingSource``'s: time steps of ``width`` cells one after the other; ``steps_ahead`` k writes
    every k-th step, so that each step is to be predicted k steps ahead.

    Floor: exact, given the rule: 0 but in the first step, where each cell costs -ln of its density (ln 2 if uniform). None
    where it cannot be known: on a ring larger than what shows, whose hidden cells decide those at the edges, and in the first
    step after a burn-in, which is no longer as random as the start. There ``score`` = "predictable" (or "later", where the
    whole ring shows) counts only what follows from visible cells, and the rest is given: the floor is 0 again.

    The rules are so few that they belong to splits, in the 88 classes of rules that are one up to exchange of left and right, of
    dead and live, or both (``holdout`` = "machine"; "auto" is that unless ``rules`` are named, which then serve all splits).
    ``info``: rule, density, burn_in.

    Cost: 2 to 4 ns per token; burn-in and hidden cells cost 1 ns per 125 cells more.

    Presets ``edge-of-chaos`` and ``edge-of-chaos-k5``: Zhang et al. 2024 (arXiv 2410.02536): rule 110 on a ring of 1000, random
    start, 1000 steps, of which 60 are shown, 100 cells wide; each step is predicted 1 or 5 steps ahead; 6000 tokens are one of
    their windows. They train one model per rule: set ``rules``. Theirs reads a step as one vector of 100 numbers, ours token by
    token. Their training and validation windows are cut from one trajectory and overlap; here every row has its own start.
    """

    name: ClassVar[str] = "elementary_ca"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "edge-of-chaos": {
            "rules": (110,), "cells": 1000, "width": 100, "burn_in": 940, "score": "later",
        },
        "edge-of-chaos-k5": {
            "rules": (110,), "cells": 1000, "width": 100, "burn_in": 700, "score": "later",
            "steps_ahead": 5,
        },
    }  # fmt: skip
    rules: tuple[int, ...] = parameter((), "Wolfram numbers to draw from; empty: all", low=0, high=RULES - 1)
    holdout: str = parameter(
        "auto", "what splits do not share: classes of equivalent rules, or nothing", choices=("auto", "machine", "none")
    )

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return 2

    @property
    def row_space(self) -> int | None:  # type: ignore[override]  # depends on fields here
        starts = self.burn_in + 1 if self.initial == "single" else 1 << min(self._ring, 24)
        return len(self.rules or range(RULES)) * starts if starts < 1 << 24 else None

    @property
    def _reach(self) -> int:
        return self.steps_ahead

    def validate(self) -> None:
        super().validate()
        for split in ("train", "validation", "test"):
            if not len(self._allowed(Draw((), split, 0))):
                self.reject(
                    "rules", f"with holdout=machine, some rule of each split ({split} has none); or holdout=none"
                )

    def _allowed(self, draw: Draw) -> NDArray[np.int64]:
        """The rules that a split may draw."""
        rules: NDArray[np.int64] = np.array(sorted(set(self.rules)) or range(RULES))
        if self.holdout == "machine" or (self.holdout == "auto" and not self.rules):
            rules = rules[_own_classes(draw.split)[CLASS_OF_RULE[rules]]]
        return rules

    def _rules(self, draw: Draw, count: int) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], Any]:
        allowed = self._allowed(draw)
        rule = allowed[draw("machines").integers(0, len(allowed), count)]
        return np.full(count, 2), {"rule": rule}, rule

    def _start(
        self, rng: np.random.Generator, live: NDArray[np.float64], colours: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        if self.initial != "uniform":
            return super()._start(rng, live, colours)
        # Random bytes are eight cells each.
        return rng.integers(0, 256, (len(live), -(-self._ring // 8)), dtype=np.uint8)

    def _write(
        self,
        rules: Any,
        machine: NDArray[np.int64],
        skipped: NDArray[np.int64],
        start: NDArray[np.uint8],
        tokens: NDArray[np.unsignedinteger[Any]],
    ) -> None:
        if self.initial != "uniform":
            start = np.packbits(start, axis=1, bitorder="little")
        padded = np.zeros((len(start), -(-self._ring // 64) * 8), dtype=np.uint8)
        padded[:, : start.shape[1]] = start
        words = padded.view("<u8").astype(np.uint64, copy=False)
        _run(rules[machine], skipped[machine], words, self._ring, self.width, self.steps_ahead, _BITS, tokens)


@functools.cache
def _own_classes(split: str) -> NDArray[np.bool_]:
    """[88] True for the classes of rules that belong to a split."""
    return np.isin(np.arange(len(CLASSES)), Draw((), split, 0).own_machines(ElementaryCA.name, len(CLASSES)))


_BITS = np.array([1 << b for b in range(16)], dtype=np.uint16)
_ONE, _SIXTEEN, _63 = np.uint64(1), np.uint64(16), np.uint64(63)


@inlined
def _chosen(where: Any, one: Any, zero: Any) -> Any:
    """Bit by bit: ``one`` where the bit is set, else ``zero``."""
    return zero ^ (where & (zero ^ one))


@kernel
def _step(ring: NDArray[np.uint64], after: NDArray[np.uint64], case: NDArray[np.uint64], cells: int) -> None:
    """One time step. Cell i is bit i of the words from ring[1] on; bits beyond the last cell are arbitrary.

    ``case`` [8] is all ones where the rule says live after that neighbourhood. Words are as good as 64 cells: neighbours
    stand one bit further, and the eight cases are chosen from bit by bit.
    """
    last = np.int64(cells - 1)
    first_cell = ring[1] & _ONE
    last_cell = ring[1 + (last >> 6)] >> np.uint64(last & 63) & _ONE
    # The ring closes: cell -1 is the last, and cell number ``cells`` is the first.
    ring[0] = last_cell << _63
    beyond, bit = 1 + (cells >> 6), np.uint64(cells & 63)
    ring[beyond] = (ring[beyond] & ~(_ONE << bit)) | first_cell << bit
    for j in range(1, ring.shape[0] - 1):
        centre = ring[j]
        left = centre << _ONE | ring[j - 1] >> _63
        right = centre >> _ONE | ring[j + 1] << _63
        dead = _chosen(centre, _chosen(right, case[3], case[2]), _chosen(right, case[1], case[0]))
        live = _chosen(centre, _chosen(right, case[7], case[6]), _chosen(right, case[5], case[4]))
        after[j] = _chosen(left, live, dead)


@kernel
def _show(ring: NDArray[np.uint64], bits: NDArray[np.uint16], tokens: NDArray[np.uint16]) -> None:
    """Write the first cells of the ring as tokens, sixteen at a time."""
    size = tokens.shape[0]
    for first in range(0, size - 15, 16):
        part = np.uint16(ring[1 + (first >> 6)] >> np.uint64(first & 63))
        for b in range(16):
            tokens[first + b] = np.uint16((part & bits[b]) != 0)
    first = size - size % 16
    for i in range(first, size):
        tokens[i] = np.uint16(ring[1 + (i >> 6)] >> np.uint64(i & 63) & _ONE)


@kernel
def _run(
    rule: NDArray[np.int64],
    skipped: NDArray[np.int64],
    start: NDArray[np.uint64],
    cells: int,
    width: int,
    stride: int,
    bits: NDArray[np.uint16],
    tokens: NDArray[np.uint16],
) -> None:
    """Fill tokens [N, T] from start [N, W], 64 cells per word, by rule [N]."""
    length, words = tokens.shape[1], start.shape[1]
    ring, after = np.zeros(words + 2, dtype=np.uint64), np.zeros(words + 2, dtype=np.uint64)
    case = np.empty(8, dtype=np.uint64)
    for row in range(tokens.shape[0]):
        for b in range(8):
            case[b] = np.uint64(0) - np.uint64(rule[row] >> b & 1)
        for j in range(words):
            ring[1 + j] = start[row, j]
        steps = skipped[row]
        for first in range(0, length, width):
            for _ in range(steps):
                _step(ring, after, case, cells)
                ring, after = after, ring
            _show(ring, bits, tokens[row, first : min(first + width, length)])
            steps = stride
