"""Automata on a ring of cells: what a row shows of the space-time diagram, what of it counts, and what it costs at least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, machine_of_row
from uprior.spec import parameter
from uprior.types import Block

MAX_CELLS = 1 << 16


@dataclass(frozen=True)
class RingSource(Source):
    """Base of the cellular automata: layout, start, mask and floor. A subclass draws rules and runs them in ``_write``.

    A row is the space-time diagram read like a page: ``width`` cells of one time step after those of the one before, the last
    cut where the row ends. Every ``steps_ahead``-th step is written, the first after ``burn_in`` steps (0..burn_in, uniform per
    machine). ``cells`` is the size of the ring; where it is larger than ``width``, the same ``width`` cells show in every step.
    A uniform start looks the same from everywhere, so which cells are shown needs no random number; a single live cell is
    put in the middle of what shows.
    """

    family: ClassVar[str] = "automaton"
    width: int = parameter(32, "visible cells, tokens per time step", low=1, high=MAX_CELLS)
    cells: int = parameter(0, "size of the ring, cells; 0: as wide as is visible", low=0, high=MAX_CELLS)
    steps_ahead: int = parameter(1, "time steps from one written step to the next", low=1, high=1 << 16)
    burn_in: int = parameter(0, "most time steps before the first written one", low=0, high=1 << 20)
    initial: str = parameter(
        "uniform",
        "start: colours equally likely, live with probability density, the same with a random density, one live cell",
        choices=("uniform", "density", "random_density", "single"),
    )
    density: float = parameter(0.5, "chance that a cell starts live, for initial=density", low=0.0, high=1.0)
    score: str = parameter(
        "all",
        "what counts: all, all but the first step, what follows from visible cells",
        choices=("all", "later", "predictable"),
    )
    rows_per_machine: int = parameter(1, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if 0 < self.cells < self.width:
            self.reject("cells", f"0, or width = {self.width} to {MAX_CELLS}")
        if self.score == "predictable" and self._cropped and self.width <= 2 * self._reach:
            self.reject("score", f"all or later: with width = {self.width}, nothing follows from visible cells alone")

    @property
    def shortest_row(self) -> int:
        if self.score == "all":
            return 2
        return self.width + 1 + (self._reach if self.score == "predictable" and self._cropped else 0)

    @property
    def _ring(self) -> int:
        return self.cells or self.width

    @property
    def _cropped(self) -> bool:
        return self._ring > self.width

    @property
    def _reach(self) -> int:
        """Cells by which influence spreads, to either side, from one written step to the next."""
        raise NotImplementedError(f"{type(self).__name__} does not say _reach")

    def _rules(self, draw: Draw, count: int) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], Any]:
        """For ``count`` machines: [M] number of colours, what is worth knowing name -> [M], and what ``_write`` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not write _rules")

    def _write(
        self,
        rules: Any,
        machine: NDArray[np.int64],
        skipped: NDArray[np.int64],
        start: NDArray[np.uint8],
        tokens: NDArray[np.unsignedinteger[Any]],
    ) -> None:
        """Fill tokens [N, T] from start [N, ring] by the rules of machine [N]; its first ``skipped`` [M] steps do not show."""
        raise NotImplementedError(f"{type(self).__name__} does not write _write")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        count = int(machine.max()) + 1
        colours, info, rules = self._rules(draw, count)
        rng = draw("starts")
        skipped = rng.integers(0, self.burn_in, count, endpoint=True)
        live = rng.random(count) if self.initial == "random_density" else np.full(count, self.density)
        if self.initial == "uniform":
            live = (colours - 1) / colours
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        self._write(rules, machine, skipped, self._start(draw("cells"), live[machine], colours[machine]), tokens)
        if self.initial != "single":
            info = info | {"density": live}
        if self.burn_in:
            info = info | {"burn_in": skipped}
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(machine),
            scored=self._scored(rows, length),
            floor_nats=self._floor(tokens, live[machine], colours[machine]),
            info={name: values[machine] for name, values in info.items()},
        )

    def _start(
        self, rng: np.random.Generator, live: NDArray[np.float64], colours: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """[N, ring] colours at the start; ``live`` [N] is the chance of another colour than 0, those being equally likely."""
        if self.initial == "single":
            cells = np.zeros((len(live), self._ring), dtype=np.uint8)
            cells[:, self.width // 2] = 1
            return cells
        uniform = rng.random((len(live), self._ring))
        return sparse_colours(uniform, live[:, None], colours[:, None])

    def _scored(self, rows: int, length: int) -> NDArray[np.bool_] | None:
        if self.score == "all":
            return None
        step, cell = np.divmod(np.arange(length), self.width)
        counts = step > 0
        if self.score == "predictable" and self._cropped:
            counts &= (cell >= self._reach) & (cell < self.width - self._reach)
        return np.tile(counts, (rows, 1))

    def _floor(
        self, tokens: NDArray[np.unsignedinteger[Any]], live: NDArray[np.float64], colours: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        """[N, T] 0 but in a first step that counts; None where cells hang on what is not seen. What is given costs nothing."""
        known_start = self.initial == "single"
        if (
            self.score != "predictable"
            and not known_start
            and (self._cropped or (self.burn_in and self.score == "all"))
        ):
            return None
        floor = np.zeros(tokens.shape, dtype=np.float32)
        if self.score == "all" and not known_start:
            first, shown = tokens[:, : self.width], floor[:, : self.width]
            shown[:] = -np.log(np.maximum(live, 1e-300) / (colours - 1))[:, None]
            if self.initial != "uniform":
                dead = -np.log(np.maximum(1.0 - live, 1e-300)).astype(np.float32)
                np.copyto(shown, dead[:, None], where=first == 0)
            np.maximum(shown, 0, out=shown)
        return floor

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        row = self._generate(draw, 1, length).tokens[0]
        page = np.full(-(-length // self.width) * self.width, -1, dtype=np.int64)
        page[:length] = row
        return page.reshape(-1, self.width)


def sparse_colours(
    uniform: NDArray[np.float64], live: NDArray[np.float64], colours: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Colour 0 with probability 1 - live, else one of 1..colours - 1; from uniform numbers, all broadcast together.

    >>> sparse_colours(np.array([0.0, 0.24, 0.26, 0.51]), np.array([0.5]), np.array([3])).tolist()
    [1, 1, 2, 0]
    """
    # A number below ``live`` is stretched over the other colours; rounding may not carry it beyond.
    other = np.minimum(uniform * ((colours - 1) / np.maximum(live, 1e-300)), colours - 2) + 1
    return np.where(uniform < live, other, 0).astype(np.uint8)
