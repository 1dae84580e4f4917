"""Independent tokens from a random, nearly sparse distribution: in-context frequencies and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uprior.sources._base import Draw, Source, machine_of_row
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Pointwise(Source):
    """Independent tokens from a random near-sparse distribution, another one per machine.

    Machine: a random set of 2..max_symbols symbols with Dirichlet(concentration) weights; a continuum of them. Floor: exact,
    -ln of the symbol's weight. Cost: about 10 ns per token. Bloem's ablation (arXiv 2506.20057; repository source ``pointwise``:
    fewer than 20 symbols). We draw the set's size uniformly and record it in ``info``; a machine there writes one row.
    """

    name: ClassVar[str] = "pointwise"
    family: ClassVar[str] = "statistical"
    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    max_symbols: int = parameter(19, "largest number of different symbols in a row", low=2, high=1 << 16)
    concentration: float = parameter(0.5, "Dirichlet concentration; small is sparse", low=1e-3, high=1e3)
    rows_per_machine: int = parameter(1, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        machines, widest = int(machine.max()) + 1, self.max_symbols
        rng = draw("machines")
        sizes = rng.integers(2, widest + 1, machines)
        used = np.arange(widest) < sizes[:, None]
        # The ``widest`` smallest of random keys: a random set in random order.
        keys = rng.random((machines, self.alphabet_size), dtype=np.float32)
        symbols = (
            np.argpartition(keys, widest - 1, axis=1)[:, :widest] if widest < self.alphabet_size else keys.argsort(1)
        )
        weights = np.where(used, rng.standard_gamma(self.concentration, (machines, widest)) + 1e-30, 0.0)
        weights /= weights.sum(1, keepdims=True)
        edges = np.cumsum(weights, axis=1)
        edges[np.arange(machines), sizes - 1] = 2.0  # nothing falls past the last symbol
        uniform = draw("rows").random((rows, length))
        choice = np.empty((rows, length), dtype=np.int64)
        for row in range(rows):
            choice[row] = np.searchsorted(edges[machine[row], : sizes[machine[row]]], uniform[row], side="right")
        floor = -np.log(np.take_along_axis(weights[machine], choice, axis=1))
        return Block(
            tokens=np.take_along_axis(symbols[machine], choice, axis=1).astype(self.token_dtype),
            machine=draw.machine_ids(machine),
            floor_nats=np.maximum(floor, 0).astype(np.float32),
            info={"symbols": sizes[machine]},
        )
