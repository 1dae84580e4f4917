"""Shuffled runs of consecutive tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, machine_of_row
from uprior.sources._exact import kernel
from uprior.sources._formal import choose, laws_of_machines, sizes
from uprior.spec import parameter
from uprior.types import Block


def _chiang(block: int) -> dict[str, Any]:
    return {"alphabet_size": 29995, "min_block": block, "max_block": block, "exponent": 1.0, "shuffled": False}


@dataclass(frozen=True)
class ShuffleN(Source):
    """Shuffled runs: blocks of N consecutive tokens, each block in random order.

    Machine: N, in min_block..max_block with probability proportional to 1/N, and which starts are frequent: a random order of
    a Zipf law over the alphabet (one order where ``shuffled`` is false, 0 the most frequent). A block is start..start+N-1,
    where the start is drawn from that law and lowered to alphabet_size - N if need be. Blocks follow each other; the last is
    cut.

    Floor: exact given N and the law, not the start: after tokens between a and b, the starts b-N+1..a are possible in
    proportion to the law, and each start leaves the rest of its block equally likely. Cost: about 25 ns per token. ``info``:
    block, which is N.

    Chiang and Lee (AAAI 2022), Shuffle-N: 29,995 tokens; presets ``chiang-4`` to ``chiang-64``. Starts follow Zipf's law with
    exponent 1, not frequencies counted on Wikipedia. Their code limits starts as if N were at most 5, so that long blocks may
    leave the vocabulary; ours do not. Their lines hold 22..29 blocks of 4, 7 of 16 or 2 of 64 tokens; rows here are filled.
    """

    name: ClassVar[str] = "shuffle_n"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {f"chiang-{n}": _chiang(n) for n in (4, 6, 8, 16, 32, 64)}
    alphabet_size: int = parameter(256, "number of tokens", low=2, high=1 << 16)
    min_block: int = parameter(2, "shortest block, tokens", low=2, high=1 << 16)
    max_block: int = parameter(64, "longest block, tokens", low=2, high=1 << 16)
    exponent: float = parameter(1.0, "exponent of the Zipf law over starts; 0 is uniform", low=0.0, high=2.0)
    shuffled: bool = parameter(True, "each machine has its own order of the starts; false: 0 is the most frequent")
    rows_per_machine: int = parameter(16, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_block > self.alphabet_size:
            self.reject("max_block", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_block > self.max_block:
            self.reject("min_block", f"2 to max_block = {self.max_block}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        laws, law = laws_of_machines(draw("machines"), self.alphabet_size, self.exponent, self.shuffled, count)
        below = np.concatenate([np.zeros((len(laws.chance), 1)), np.cumsum(laws.chance, axis=1)], axis=1)
        block = sizes(draw("sizes"), self.min_block, self.max_block, count)[machine]
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.empty((rows, length), dtype=np.float32)
        _write(draw("rows"), law[machine], laws.keep, laws.other, below, block, tokens, floor)
        return Block(tokens=tokens, machine=draw.machine_ids(machine), floor_nats=floor, info={"block": block})


@kernel
def _write(
    rng: np.random.Generator,
    law: NDArray[np.int64],
    keep: NDArray[np.float64],
    other: NDArray[np.int32],
    below: NDArray[np.float64],
    block: NDArray[np.int64],
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
) -> None:
    """Fill tokens and floor [N, T]; ``below`` [M, V + 1] is the probability of a start below each token."""
    rows, length = tokens.shape
    order = np.empty(block.max(), dtype=np.int64)
    for row in range(rows):
        m, size = law[row], block[row]
        top = keep.shape[1] - size  # the greatest start, which all greater ones become
        for begin in range(0, length, size):
            start = min(choose(rng.random(), keep[m], other[m]), top)
            for i in range(size):
                order[i] = start + i
            least, greatest, before = 0, top, below[m, keep.shape[1]]  # starts still possible, and their probability
            for i in range(min(size, length - begin)):
                j = i + int(rng.random() * (size - i))
                token = order[j]
                order[j] = order[i]
                least, greatest = max(least, token - size + 1), min(greatest, token)
                now = below[m, keep.shape[1] if greatest == top else greatest + 1] - below[m, least]
                tokens[row, begin + i] = token
                floor[row, begin + i] = max(np.log(before / now * (size - i)), 0.0)
                before = now
