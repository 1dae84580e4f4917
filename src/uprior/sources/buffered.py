"""The published buffer of rows that random machines keep rewriting, run from the start of each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source
from uprior.sources._machines import MachineSource, join, start_block
from uprior.sources.random_lstm import RandomLSTM
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Buffered(Source):
    """Bloem's buffer: rows rewritten over and over by random machines, now and then reset, and sampled for training.

    Each step resets ``constant_resets`` + ``noise_resets`` random rows, lets ``source`` rewrite ``source_rows``
    random rows (each one conditions the row that replaces it; seeds are slices, at one offset per step, of
    other random rows), and emits ``batch_rows`` random rows. The buffer starts as constant rows. A block starts
    from the beginning and runs ``spin_up`` silent steps first, so it is a pure function of its index, as the
    published stream, whose buffer lives as long as the run, is not. Kept as published: resets are absolute
    numbers, so depth depends on the batch size: with r resets and n source rows per step a share r/(r+n) of
    rows is at depth 0 and the mean depth is n/r; a row can be emitted twice in a block; most written rows are
    never emitted. ``Iterated`` has the same idea without these.

    Machine, floor: as in ``Iterated``; ``info["depth"]`` counts passes along the conditioning line. Cost:
    (spin_up + rows / batch_rows) * source_rows rows of the source per block, so ask for large blocks: preset
    "fork" at 1,000 rows writes 32 times what it emits. Bloem 2025, arXiv 2506.20057, algorithm 1. Preset
    "repository" is its defaults since 2024-12-29 with a micro-batch of 52, without spin-up as there; "fork" the
    author's later fork and likely the final paper, but for a spin-up of 300 steps in place of 5,000 (which
    would write 502 rows per emitted one): rows are reset every buffer_rows / r = 50 steps on average, so all
    but e^-6 of them have forgotten the start by then. Both run one machine per step.
    """

    name: ClassVar[str] = "buffered"
    family: ClassVar[str] = "wrapper"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "repository": {
            "source": RandomLSTM.preset("repository", rows_per_machine=104),
            "buffer_rows": 2080,
            "source_rows": 104,
            "batch_rows": 52,
            "constant_resets": 50,
            "noise_resets": 50,
            "spin_up": 0,
        },
        "fork": {
            "source": RandomLSTM.preset("final-paper", rows_per_machine=100),
            "buffer_rows": 2000,
            "source_rows": 100,
            "batch_rows": 40,
            "constant_resets": 20,
            "noise_resets": 20,
            "spin_up": 300,
        },
    }

    source: MachineSource = field(default=RandomLSTM(), metadata={"text": "the machines"})
    buffer_rows: int = parameter(64, "rows in the buffer", low=2, high=1 << 20)
    source_rows: int = parameter(32, "rows rewritten per step", low=1, high=1 << 20)
    batch_rows: int = parameter(16, "rows emitted per step", low=1, high=1 << 20)
    constant_resets: int = parameter(4, "rows reset to a constant per step", low=0, high=1 << 20)
    noise_resets: int = parameter(4, "rows reset to noise per step", low=0, high=1 << 20)
    spin_up: int = parameter(16, "steps before the first that emits", low=0, high=1_000_000)

    def validate(self) -> None:
        for name in ("source_rows", "batch_rows"):
            if getattr(self, name) > self.buffer_rows:
                self.reject(name, f"1 to buffer_rows = {self.buffer_rows}")
        if self.constant_resets + self.noise_resets > self.buffer_rows:
            self.reject(
                "noise_resets", f"at most buffer_rows - constant_resets = {self.buffer_rows - self.constant_resets}"
            )

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.source.alphabet_size

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        buffer = self._fresh(draw.child("start"), np.ones(self.buffer_rows, dtype=np.bool_), length)
        batches = []
        for step in range(self.spin_up - (-rows // self.batch_rows)):
            here = draw.child("step", step)
            self._reset(here, buffer)
            self._rewrite(here, buffer)
            if step >= self.spin_up:
                chosen = here("batch").choice(self.buffer_rows, self.batch_rows, replace=False)
                batches.append(buffer.take(chosen))  # a copy
        depth = np.concatenate([batch.info["depth"] for batch in batches])
        return join(batches, {"depth": depth}).take(np.arange(rows))

    def _fresh(self, draw: Draw, constant: NDArray[np.bool_], length: int) -> Block:
        block = start_block(draw, constant, length, self.alphabet_size, emitted=True)
        block.info["depth"] = np.zeros(len(constant), dtype=np.int64)
        return block

    def _reset(self, draw: Draw, buffer: Block) -> None:
        count = self.constant_resets + self.noise_resets
        where = draw("resets").choice(self.buffer_rows, count, replace=False)
        _put(
            buffer,
            where,
            self._fresh(draw.child("reset"), np.arange(count) < self.constant_resets, buffer.tokens.shape[1]),
        )

    def _rewrite(self, draw: Draw, buffer: Block) -> None:
        length = buffer.tokens.shape[1]
        where = draw("rewritten").choice(self.buffer_rows, self.source_rows, replace=False)
        given = min(self.source.seed_length, length)
        first = int(draw("offset").integers(0, length - given + 1))
        others = (where + draw("seed rows").integers(1, self.buffer_rows, self.source_rows)) % self.buffer_rows
        block = self.source._write(
            draw.child("write"), buffer.tokens[where], buffer.tokens[others, first : first + given]
        )
        block.info["depth"] = buffer.info["depth"][where] + 1
        _put(buffer, where, block)


def _put(buffer: Block, where: NDArray[np.int64], block: Block) -> None:
    """Overwrite these rows of the buffer; an entry of ``info`` that the other side lacks is NaN."""
    assert buffer.floor_nats is not None
    buffer.tokens[where], buffer.machine[where] = block.tokens, block.machine
    buffer.floor_nats[where] = np.nan if block.floor_nats is None else block.floor_nats
    for name in buffer.info.keys() | block.info.keys():
        column = buffer.info.setdefault(name, np.full(len(buffer.machine), np.nan))
        column[where] = block.info.get(name, np.nan)
