"""Random Turing machines: transition tables drawn at random, on a tape without ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, machine_of_row
from uprior.sources._exact import kernel
from uprior.sources._periods import repeats
from uprior.spec import parameter
from uprior.types import Block

_EMITS = ("read", "written", "trace", "tape")
READ, WRITTEN, TRACE, TAPE = range(4)
FRESH = -1  # a cell not visited yet
# An entry of a table: the symbol to write, whether to go right, and the next state, in one number.
_RIGHT, _STATE = 16, 17
_FACTS = ("steps", "halts", "cells", "redrawn")


@dataclass(frozen=True)
class TuringMachine(Source):
    """Random Turing machines on a two-way infinite tape: what they read, write or do, step by step.

    Machine: a number of states (uniform in 2..max_states) and of symbols (uniform in 2..max_symbols), and for every pair of them
    a symbol to write, a move to the left or right, and a next state, independent and uniform: (2 k m)^(k m) tables for k
    states and m symbols. It starts in state 0 on a tape of 0s ("blank") or of independent uniform symbols ("random").

    ``emit``: "read" writes the symbol under the head before each step, "written" the one after it, "trace" the state and the
    symbol read as state * max_symbols + symbol, "tape" the cells around the head (which stands at length // 2) after
    ``steps_per_token`` * length steps.

    Floor: exact, given the table: 0, and on a random tape ln m in "read" and "trace" where a cell is visited first. None for
    "written" and "tape" on a random tape, where what was read remains hidden.

    Random machines on a blank tape mostly walk straight ahead or to and fro before long, on a random tape few do.
    ``max_period`` p redraws a machine if the second half of what it writes repeats itself after p tokens or fewer, at most 32
    times: with the other defaults 0.3 redraws per row on random tapes, 7 on blank ones, where 7 % give up; 0 keeps every
    machine. On a random tape a machine is tried on a tape of its own, so that floors stay exact. With ``halting`` > 0 each
    entry of the table halts with that probability: ``on_halt`` "restart" goes on with the same machine on a new tape in state
    0, "stay" repeats the last token; "tape" shows the tape as it was left. On a blank tape a machine writes one row, as all
    would be equal.

    ``info``: states, symbols, steps (until it halted for good), halts, cells (visited since the last restart), redrawn
    (machines thrown away before this one).

    Cost: about 30 ns per token; 13 with ``max_period`` 0, 20 with 4 rows per machine, 65 on a blank tape.
    """

    name: ClassVar[str] = "turing_machine"
    family: ClassVar[str] = "machine"
    max_states: int = parameter(16, "most states of a machine", low=2, high=256)
    max_symbols: int = parameter(8, "most symbols of a machine", low=2, high=256)
    emit: str = parameter("trace", "what is written at each step, or at the end", choices=_EMITS)
    start: str = parameter("random", "what is on the tape before the start", choices=("random", "blank"))
    halting: float = parameter(0.0, "probability that an entry of the table halts", low=0.0, high=0.5)
    on_halt: str = parameter("restart", "what follows when the machine halts", choices=("restart", "stay"))
    max_period: int = parameter(8, "longest period for which a machine is redrawn, tokens; 0: none", low=0, high=1024)
    steps_per_token: int = parameter(4, "steps per token of the row before emit = 'tape' shows it", low=1, high=1024)
    rows_per_machine: int = parameter(
        1, "rows that share a machine; more than 1 needs a random tape", low=1, high=1 << 20
    )

    def validate(self) -> None:
        if self.start == "blank" and self.rows_per_machine > 1:
            self.reject(
                "rows_per_machine", "1, as all rows of a machine on a blank tape are equal; or start = 'random'"
            )

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.max_symbols * (self.max_states if self.emit == "trace" else 1)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        tokens, floor, info = self._write(draw, rows, length, np.empty((0, 3), dtype=np.int64))
        machine = machine_of_row(rows, self.rows_per_machine)
        hidden = self.start == "random" and self.emit in ("written", "tape")
        return Block(
            tokens=tokens, machine=draw.machine_ids(machine), floor_nats=None if hidden else floor, info=info
        )  # fmt: skip

    def _write(
        self, draw: Draw, rows: int, length: int, path: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint16], NDArray[np.float32], dict[str, NDArray[Any]]]:
        machines = -(-rows // self.rows_per_machine)
        sizes = draw("sizes").integers(2, [self.max_states + 1, self.max_symbols + 1], (machines, 2))
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.zeros((rows, length), dtype=np.float32)
        facts = np.zeros((rows, len(_FACTS)), dtype=np.int64)
        _write_rows(
            draw("machines"), draw("tapes"), sizes, self.halting, self.max_period, self.max_symbols, _EMITS.index(self.emit),
            self.start == "random", self.on_halt == "restart", self.steps_per_token, tokens, floor, facts, path,
        )  # fmt: skip
        info: dict[str, NDArray[Any]] = {"states": sizes[:, 0], "symbols": sizes[:, 1]}
        machine = machine_of_row(rows, self.rows_per_machine)
        return tokens, floor, {k: v[machine] for k, v in info.items()} | dict(zip(_FACTS, facts.T.copy(), strict=True))

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        """The tape over the first steps of the row, one line each; the head's cell is in another colour.

        Cells not visited yet are blank. At most 257 cells, from the leftmost that the head reaches.
        """
        path = np.full((min(length, 512), 3), -1, dtype=np.int64)
        self._write(draw, 1, length, path)
        path = path[path[:, 0] >= 0]
        heads = path[:, 0] - path[:, 0].min()
        cells = np.full((len(path), min(int(heads.max()) + 1, 257)), FRESH, dtype=np.int64)
        for step in range(1, len(path)):
            if path[step, 2] == path[step - 1, 2]:  # else it halted, and went on with a new tape
                cells[step] = cells[step - 1]
                if heads[step - 1] < cells.shape[1]:
                    cells[step, heads[step - 1]] = path[step - 1, 1]
        inside = np.flatnonzero(heads < cells.shape[1])
        cells[inside, heads[inside]] = self.max_symbols + np.maximum(cells[inside, heads[inside]], 0)
        return cells


@kernel
def draw_table(rng: np.random.Generator, states: int, symbols: int, halting: float, table: NDArray[np.int32]) -> None:
    """A random entry for each state * symbols + symbol; the next state number ``states`` is to halt."""
    for entry in range(states * symbols):
        drawn = int(rng.random() * (2 * states * symbols))
        right, drawn = drawn & 1, drawn >> 1
        state, symbol = drawn // symbols, drawn % symbols
        if halting > 0 and rng.random() < halting:
            state = states
        table[entry] = symbol | right << _RIGHT | state << _STATE


@kernel
def run(
    rng: np.random.Generator,
    table: NDArray[np.int32],
    states: int,
    symbols: int,
    scale: int,
    emit: int,
    random: bool,
    restart: bool,
    steps: int,
    tape: NDArray[np.int32],
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
    path: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Run a machine and write its row; (steps, times it halted, cells visited).

    tape   [2 * steps + 3] all FRESH, and left so
    tokens, floor  [T] the row, with its surprise; steps = T unless the tape is shown
    path   [S, 3] head, symbol written and times it had halted of the first S steps; -1 after the end
    """
    middle = steps + 1
    at = lowest = highest = middle
    state = halts = step = 0
    while step < steps:
        symbol, surprise = tape[at], 0.0
        if symbol == FRESH:
            symbol = 0
            if random:
                symbol, surprise = int(rng.random() * symbols), np.log(symbols)
            lowest, highest = min(lowest, at), max(highest, at)
        entry = table[state * symbols + symbol]
        written = entry & 0xFFFF
        tape[at] = written
        if emit != TAPE:
            tokens[step] = written if emit == WRITTEN else symbol if emit == READ else state * scale + symbol
            floor[step] = surprise
        if step < path.shape[0]:
            path[step, 0], path[step, 1], path[step, 2] = at, written, halts
        at += 1 if entry >> _RIGHT & 1 else -1
        state = entry >> _STATE
        step += 1
        if state == states:
            halts += 1
            if emit == TAPE or not restart:
                break
            if step < steps:
                for cell in range(lowest, highest + 1):
                    tape[cell] = FRESH
                at = lowest = highest = middle
                state = 0
    if emit == TAPE:
        for t in range(tokens.shape[0]):
            cell = at - tokens.shape[0] // 2 + t
            symbol = tape[cell] if lowest <= cell <= highest else FRESH
            if symbol == FRESH:
                symbol = int(rng.random() * symbols) if random else 0
            tokens[t] = symbol
    else:
        for t in range(step, tokens.shape[0]):
            tokens[t], floor[t] = tokens[step - 1], 0.0
    for cell in range(lowest, highest + 1):
        tape[cell] = FRESH
    for t in range(step, path.shape[0]):
        path[t, 0] = -1
    return step, halts, highest - lowest + 1


@kernel
def _write_rows(
    machine_rng: np.random.Generator,
    tape_rng: np.random.Generator,
    sizes: NDArray[np.int64],
    halting: float,
    max_period: int,
    scale: int,
    emit: int,
    random: bool,
    restart: bool,
    steps_per_token: int,
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
    facts: NDArray[np.int64],
    path: NDArray[np.int64],
) -> None:
    """Fill tokens and floor [N, T] and facts [N, 4]; row n belongs to machine n modulo the number of machines."""
    rows, length = tokens.shape
    machines = sizes.shape[0]
    steps = length * (steps_per_token if emit == TAPE else 1)
    tape = np.full(2 * steps + 3, FRESH, dtype=np.int32)
    table = np.empty(sizes[:, 0].max() * sizes[:, 1].max(), dtype=np.int32)
    for m in range(machines):
        states, symbols = sizes[m]
        redrawn = 0
        while True:
            draw_table(machine_rng, states, symbols, halting, table)
            facts[m, 0], facts[m, 1], facts[m, 2] = run(
                machine_rng,
                table,
                states,
                symbols,
                scale,
                emit,
                random,
                restart,
                steps,
                tape,
                tokens[m],
                floor[m],
                path,
            )
            if redrawn == 32 or not repeats(tokens[m, length // 2 :], max_period):
                break
            redrawn += 1
        for row in range(m, rows, machines):
            if random:
                facts[row, 0], facts[row, 1], facts[row, 2] = run(
                    tape_rng,
                    table,
                    states,
                    symbols,
                    scale,
                    emit,
                    random,
                    restart,
                    steps,
                    tape,
                    tokens[row],
                    floor[row],
                    path,
                )
            facts[row, 3] = redrawn
