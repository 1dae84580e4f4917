"""Sources whose draws break the contract: they remember, share, or forget what a block depends on. And a good one."""

import random
import threading
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import mtrand

from uprior.sources import Source
from uprior.sources._base import Draw
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Good(Source):
    """Uniform noise, four machines per block, the floor exact, as it should be: what the broken ones below are made of."""

    name: ClassVar[str] = "good"
    alphabet_size: int = parameter(256, low=2, high=1 << 20)
    label: str = parameter("", "unused, but part of the stream's identity")

    def _tokens(self, draw, rows, length):
        return draw("rows").integers(0, self.alphabet_size, (rows, length), dtype=np.uint16)

    def _floor(self, tokens):
        return np.full(tokens.shape, np.log(self.alphabet_size), dtype=np.float32)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        tokens = self._tokens(draw, rows, length)
        return Block(tokens, draw.machine_ids(np.arange(rows) % 4), floor_nats=self._floor(tokens))


_calls = 0


class GlobalCounter(Good):
    """Impure: counts its calls."""

    name = "global_counter"

    def _tokens(self, draw, rows, length):
        global _calls
        _calls += 1
        return (super()._tokens(draw, rows, length) + _calls) % 256


class SharedMemory(Good):
    """Hands out the same array again and again."""

    name = "shared_memory"
    _cache: ClassVar[dict] = {}

    def _tokens(self, draw, rows, length):
        key = (self.fingerprint, draw.key, rows, length)
        if key not in self._cache:
            self._cache[key] = super()._tokens(draw, rows, length).astype(np.uint16)
        return self._cache[key]


class AfterAnother(Good):
    """Block i depends on which block was drawn before, but not on how often."""

    name = "after_another"
    _last: ClassVar[list] = [None]

    def _tokens(self, draw, rows, length):
        offset = int(self._last[0] is not None and self._last[0] < draw.index)
        self._last[0] = draw.index
        return (super()._tokens(draw, rows, length) + offset) % 256


class UsesHash(Good):
    """Depends on PYTHONHASHSEED."""

    name = "uses_hash"

    def _tokens(self, draw, rows, length):
        return (super()._tokens(draw, rows, length) + hash(self.name) % 251).astype(np.uint16) % 256


class KnowsItsThread(Good):
    """Not the same in every thread; a race would be no test, as it may not happen."""

    name = "knows_its_thread"

    def _tokens(self, draw, rows, length):
        offset = int(threading.current_thread() is not threading.main_thread())
        return (super()._tokens(draw, rows, length) + offset) % 256


class TouchesNumpy(Good):
    """Seeds NumPy's global generator."""

    name = "touches_numpy"

    def _tokens(self, draw, rows, length):
        mtrand.seed(int(draw("rows").integers(1 << 31)))
        return mtrand.randint(0, 256, (rows, length)).astype(np.uint16)


class TouchesRandom(Good):
    """Draws from Python's global generator, result unused."""

    name = "touches_random"

    def _tokens(self, draw, rows, length):
        random.random()
        return super()._tokens(draw, rows, length)


class _OwnBlock(Good):
    """Overrides ``block``, as somebody might who did not read the contract."""

    name = "own_block"

    def key(self, seed, index, split):
        raise NotImplementedError

    def block(self, seed, index, *, rows, length, split="train"):
        return self._generate(Draw((self.fingerprint, *self.key(seed, index, split)), split, index), rows, length)


class IgnoresSplit(_OwnBlock):
    """Validation is training data."""

    name = "ignores_split"

    def key(self, seed, index, split):
        return seed, index


class AddsIndexToSeed(_OwnBlock):
    """Block 1 of seed 0 is block 0 of seed 1."""

    name = "adds_index_to_seed"

    def key(self, seed, index, split):
        return seed + index, split


class IgnoresSeed(_OwnBlock):
    """Every seed gives the same data."""

    name = "ignores_seed"

    def key(self, seed, index, split):
        return index, split


class IgnoresIndex(_OwnBlock):
    """Every block is the first block."""

    name = "ignores_index"

    def key(self, seed, index, split):
        return seed, split


class FewMachines(Good):
    """Sixteen machines for all splits: new rows of machines already seen."""

    name = "few_machines"

    def _generate(self, draw, rows, length):
        block = super()._generate(draw, rows, length)
        return Block(block.tokens, np.arange(rows, dtype=np.int64) % 16)


class FewRows(Good):
    """Constant rows, without saying that there are few of them."""

    name = "few_rows"

    def _tokens(self, draw, rows, length):
        return np.repeat(super()._tokens(draw, rows, length)[:, :1], length, axis=1)

    def _floor(self, tokens):
        return np.zeros(tokens.shape, dtype=np.float32) + np.where(np.arange(tokens.shape[1]) == 0, 5.5453, 0).astype(
            "f4"
        )


class SharesFewRows(FewRows):
    """Says that it has few rows, and still writes them in every split."""

    name = "shares_few_rows"
    row_space = 256
