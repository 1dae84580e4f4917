"""Random networks that write token by token: what they share, whatever the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, block_by_machines, machine_of_row
from uprior.sources._exact import kernel
from uprior.sources._machines import MachineSource, Tokens
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Autoregressive(MachineSource):
    """A source of random networks; a subclass says in ``_rows`` how a fresh one writes the rows of its parents."""

    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    hidden: int = parameter(64, "hidden width, also of the embedding", low=1, high=4096)
    multiplier_low: float = parameter(0.0, "least multiplier of the inner weights and biases", low=0.0, high=100.0)
    multiplier_high: float = parameter(1.1, "largest multiplier of the inner weights and biases", low=0.0, high=100.0)
    temperature: float = parameter(1e-4, "sampling temperature; 0 takes the likeliest token", low=0.0, high=100.0)
    seed_tokens: int = parameter(8, "tokens copied from the seed row", low=1, high=1 << 16)
    embedding_multiplier: float = parameter(1.0, "multiplier of the embedding", low=1e-12, high=100.0)
    head_multiplier: float = parameter(1.0, "multiplier of the output layer's weights and biases", low=1e-3, high=100.0)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)
    constant_fraction: float = parameter(0.5, "share of constant parents, when used alone", low=0.0, high=1.0)

    def validate(self) -> None:
        if self.multiplier_low > self.multiplier_high:
            self.reject("multiplier_low", f"0 to multiplier_high = {self.multiplier_high:g}")

    @property
    def seed_length(self) -> int:
        return self.seed_tokens

    def _rows(
        self,
        rng: np.random.Generator,
        multiplier: float,
        condition: Tokens,
        seeds: Tokens,
        uniform: NDArray[np.float64],
    ) -> tuple[Tokens, NDArray[np.float32], dict[str, float]]:
        """(tokens [R, T], probability of each [R, T], info) of one machine, its weights drawn from ``rng``.

        ``uniform`` [R, T] in [0, 1) chooses the tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} does not write _rows")

    def _write(self, draw: Draw, condition: Tokens, seeds: Tokens) -> Block:
        rows, length = condition.shape
        tokens, chance = np.empty((rows, length), dtype=self.token_dtype), np.empty((rows, length), dtype=np.float32)
        local = machine_of_row(rows, self.rows_per_machine)
        machines = int(local.max()) + 1
        multiplier = draw("multipliers").uniform(self.multiplier_low, self.multiplier_high, machines)
        uniform = draw("tokens").random((rows, length))
        rng = draw("weights")
        told = []
        for m in range(machines):
            mine = slice(m, rows, machines)  # as machine_of_row deals them
            # Contiguous whatever the number of machines: one layout, one compilation.
            mine_of_each = (np.ascontiguousarray(condition[mine]), np.ascontiguousarray(seeds[mine]))
            tokens[mine], chance[mine], info = self._rows(
                rng, float(multiplier[m]), *mine_of_each, np.ascontiguousarray(uniform[mine])
            )
            told.append({"multiplier": multiplier[m]} | info)
        info_of = {name: np.array([t[name] for t in told]) for name in told[0]}
        return block_by_machines(draw, local, tokens, chance, info_of)


@kernel
def copy_rows(out: NDArray[Any], lines: NDArray[Any]) -> None:
    """The first columns of out [R, ...] become lines [R or 1, J]: as ``out[:, :J] = lines``, which takes seconds to compile."""
    several = lines.shape[0] > 1
    for row in range(out.shape[0]):
        line = lines[row if several else 0]
        for j in range(line.shape[0]):
            out[row, j] = line[j]
