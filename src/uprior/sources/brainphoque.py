"""BrainPhoque: outputs of random programs, drawn while they run, on a universal machine with seven instructions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources import _brainphoque_kernel as kernels
from uprior.sources._base import Draw, Source
from uprior.sources._brainphoque_prior import COUNTS
from uprior.spec import parameter
from uprior.types import Block

_FILLS = {"blank": kernels.BLANK, "repeat": kernels.REPEAT, "pack": kernels.PACK}


@dataclass(frozen=True)
class BrainPhoque(Source):
    """Outputs of random Brainfuck-like programs, each instruction drawn only when it is reached.

    Machine: a program, one per row, or as many as a packed row holds; there are 7^N of N instructions. The tape is a ring of
    cells, all 0, that count modulo ``symbols``. ``+ -`` change the cell, ``< >`` move the head, ``[`` begins a loop that is
    passed over while the cell is 0, ``]`` jumps back to its ``[`` (or does nothing if it has none), ``.`` prints the cell;
    with ``input_instruction``, ``,`` writes a uniform random symbol. An instruction is drawn and executed at once when control
    reaches a place not drawn yet, so the text of a program only grows at its end: the body of a loop that is passed over at
    first stands where it was first entered, after what follows the loop. Every string is a program, and none of it is
    unused. A program runs until the row is full or ``steps`` are over; a jump back and the test that follows are two steps.

    ``fill``: "pack" puts outputs one after the other, each followed by an unscored separator, token number ``symbols``
    (so ``alphabet_size`` is one more), and cuts the last one; "blank" pads one output with unscored symbol 0; "repeat" writes
    one output again and again. A program with an output below ``min_output`` (or below the room left, if that is less) is
    replaced by another: of uniform programs 7 % print nothing.

    ``prior``: "uniform" draws instructions independently, a program of N has probability 7^-N; "order2" is a Markov chain
    over pairs of instructions with add-1/2 estimates, fitted by ``_brainphoque_prior.fit`` to the shortened uniform programs
    that fill 256 tokens with at least 3 symbols and no period up to 16 in the second half. With ``input_instruction`` both
    draw ``,`` with probability 1/8, invisible to the chain.

    Floor: exact, given the program and every input that it tests before printing it: 0, but ln(symbols) where a random input
    is first printed. One machine writes one row. Short outputs have many programs: 53,000 uniform ones of 17 symbols print
    30,000 different outputs, so that rows of one output can coincide; packed rows hardly ever do. ``holdout=output`` gives
    every output (padded or repeated, with room for 16 symbols) to one split, by its hash, and redraws programs of others: no
    leaks, 8 times the cost outside training, and splits of different distributions, as the commonest outputs weigh much.
    ``none`` gives all splits the same distribution.

    ``info``: programs, redrawn (programs thrown away), steps (of all programs, redrawn ones included), timed_out (programs
    that ran out of steps), written (symbols printed: tokens but for padding, repeats and separators), drawn (instructions),
    shortened (instructions that matter to the output), inputs (read by the last print), and program_nats = shortened * ln 7
    + inputs * ln(symbols) (ln 8 with ``,``): the probability of the shortened program, hence an upper bound on the log-loss
    of Solomonoff's mixture on what was printed. Sums over the programs of a row.

    Cost: 5 to 8 ns per step; 14 steps per symbol printed by uniform programs, 4 to 5 by those of ``order2``: 35 ns per token of
    the default.

    Presets: "solomonoff" and "solomonoff-order2" (Grau-Moya et al. 2024, arXiv 2401.14953: 17 symbols, tape 200, 1000 steps),
    "solomonoff-example" (their example script; its programs are limited to 100 instructions, which 100 steps cannot
    exceed), "forks" (binary with ``,``), "bloem" (arXiv 2506.20057, source ``utm``; the map into 256 tokens is the stream's
    vocabulary). Their prior counts are of unpublished programs: ours are fitted anew. Their ``,`` ignores the seed; ours does
    not.
    """

    name: ClassVar[str] = "brainphoque"
    family: ClassVar[str] = "machine"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "solomonoff": {"prior": "uniform", "fill": "blank"},
        "solomonoff-order2": {"prior": "order2", "fill": "blank"},
        "solomonoff-example": {"prior": "uniform", "fill": "blank", "symbols": 9, "tape": 10, "steps": 100},
        "forks": {"prior": "uniform", "fill": "blank", "symbols": 2, "steps": 1024, "input_instruction": True},
        "bloem": {"prior": "uniform", "fill": "repeat", "symbols": 128, "tape": 10, "steps": 100, "min_output": 1},
    }
    symbols: int = parameter(17, "number of values of a cell", low=2, high=1 << 15)
    tape: int = parameter(200, "cells of the tape, a ring", low=1, high=1 << 16)
    steps: int = parameter(1000, "most steps of a program", low=16, high=1 << 20)
    prior: str = parameter("order2", "how instructions are drawn", choices=("uniform", "order2"))
    input_instruction: bool = parameter(False, "whether programs can read random symbols")
    fill: str = parameter("pack", "what follows an output shorter than the row", choices=tuple(_FILLS))
    min_output: int = parameter(2, "fewest symbols that a program must print", low=1, high=1 << 10)
    holdout: str = parameter("none", "what is dealt to train, validation and test", choices=("none", "output"))

    def validate(self) -> None:
        if self.fill != "repeat" and self.min_output < 2:
            self.reject("min_output", "2 and more, as a row needs a second token to score; 1 with fill = 'repeat'")
        if 8 * self.min_output > self.steps:
            self.reject("min_output", f"1 to steps / 8 = {self.steps // 8}")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.symbols + (self.fill == "pack")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        tokens, scored, floor, facts = self._write(draw, rows, length, np.empty((0, 1 + self.tape), dtype=np.int32))
        info: dict[str, NDArray[Any]] = {name: facts[:, i].copy() for i, name in enumerate(kernels.FACTS)}
        instructions = 7 + self.input_instruction
        info["program_nats"] = info["shortened"] * math.log(instructions) + info["inputs"] * math.log(self.symbols)
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(np.arange(rows)),
            scored=None if self.fill == "repeat" else scored,
            floor_nats=floor,
            info=info,
        )

    def _write(self, draw: Draw, rows: int, length: int, trace: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
        tokens = np.empty((rows, length), dtype=np.uint16)
        scored = np.empty((rows, length), dtype=np.bool_)
        floor = np.empty((rows, length), dtype=np.float32)
        facts = np.zeros((rows, len(kernels.FACTS)), dtype=np.int64)
        part = {"train": (0, 5), "validation": (6, 6), "test": (7, 7)}[draw.split]
        kernels.write_rows(
            draw("programs"), prior_edges(self.prior, self.input_instruction), self.symbols, self.tape, self.steps,
            _FILLS[self.fill], self.min_output, part if self.holdout == "output" else (0, 7), tokens, scored, floor, facts,
            trace,
        )  # fmt: skip
        return tokens, scored, floor, facts

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        """The tape over the first steps of the row's first program, one line each; the head's cell is in other colours.

        A window of 65 cells around where the head starts.
        """
        trace = np.full((min(self.steps, 256), 1 + self.tape), -1, dtype=np.int32)
        self._write(draw, 1, length, trace)
        trace = trace[trace[:, 0] >= 0]
        cells = trace[:, 1:].astype(np.int64)
        cells[np.arange(len(cells)), trace[:, 0]] += self.symbols
        around = np.arange(-32, 33) if self.tape > 65 else np.arange(self.tape) - self.tape // 2
        return cells[:, around % self.tape]


@functools.cache
def prior_edges(prior: str, reads: bool) -> NDArray[np.float64]:
    """[64, 8] cumulative chances of the instructions ``+-<>[].,`` after each pair; read only."""
    counts = COUNTS if prior == "order2" else np.zeros_like(COUNTS)
    chances = (counts + 0.5) / (counts.sum(axis=1, keepdims=True) + 3.5)
    if reads:
        chances = np.hstack([chances * 0.875, np.full((len(counts), 1), 0.125)])
    edges = np.full((len(counts), 8), 2.0)  # nothing falls past the last instruction
    edges[:, : chances.shape[1] - 1] = np.cumsum(chances[:, :-1], axis=1)
    edges.flags.writeable = False
    return edges
