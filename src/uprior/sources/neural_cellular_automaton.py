"""Neural cellular automata: grids whose cells are rewritten by a small random network."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, machine_of_row
from uprior.sources._complexity import lempel_ziv_bits
from uprior.sources._exact import Floats, add_product, normal_quantiles, random_words
from uprior.sources._nca_kernels import write_frames
from uprior.spec import parameter
from uprior.types import Block

# A rule is scored on this many frames of a trajectory of its own.
SCORED_FRAMES = 10
_PRESET = {
    "wrapped_channels": True, "score_marks": True, "band_measure": "gzip-int32", "band_low": 0.5, "band_high": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class NeuralCellularAutomaton(Source):
    """Neural cellular automata: a small random network rewrites every cell of a grid from its neighbours, frame after frame.

    Machine: a rule, that is the weights of a network with a 3x3 convolution to ``features``, a linear map to ``hidden``
    units, ReLU, and a linear map to the logits of the colours (LeCun-normal weights, cut at two standard deviations as Flax
    cuts them, no biases: they start at zero), together with the row's first frame; a continuum of them. The grid is a torus.
    Every cell is drawn from softmax((logits + identity_bias * own colour) / temperature), near argmax at 1e-4. The first grid
    has independent cells from softmax(Gaussian logits), its own for each row; ``burn_in`` steps are not shown, then every
    ``stride``-th grid is a frame.

    Tokens: a patch of patch x patch cells is sum(colour_j * colours^j), j in row-major order; START = colours^(patch^2), then
    the patches in row-major order, then END = START + 1. Rows are cut wherever their length ends.

    Floor: exact given the rule and the frames before: 0 at START, END and in the first frame, which is given and unscored,
    else the sum of -ln softmax over the patch's cells, which are independent given the frame before. Under ``stride`` > 1 it
    also knows the frames that are not shown, and every row has a machine number of its own.
    ``info``: changed (mean share of cells that differ from one frame to the next), complexity (of the rule) where it is scored.

    ``band_measure`` keeps rules with band_low < score < band_high only. The score is that of the patch tokens of ten frames of
    another trajectory of the rule: "lempel-ziv" in bits per token (exact integers), or the size of gzip level 9 over the size
    before: "gzip-int32" with tokens as little-endian int32, "gzip-uint16", "gzip-cells" with one byte per cell. Sizes of gzip
    depend on the encoding (uniform random tokens score 0.67 as int32) and on the zlib library that Python was built with, so
    the presets are reproducible only with the same zlib; the default does not use it.

    Cost: about 0.2 µs per token in rows of 1024 without a band, 0.3 µs with the default one; 0.3 and 0.9 µs in rows of 256,
    where the burn-in and the choice of the rule weigh more. The band of "nca-code" takes ten rules for one.

    Lee et al. 2026, arXiv 2603.10055, whose convolution pads all axes by wrapping, the channels too, so that it sees two colours
    twice; ``wrapped_channels``, in the presets. They score START and END (``score_marks``) and, as they draw rules once, give
    one trajectory per rule and pass. Preset "nca" has the band of their runs on web text and mathematics, "nca-code" of code.
    Of their key shared by the first logits and cells nothing is kept.
    """

    name: ClassVar[str] = "neural_cellular_automaton"
    family: ClassVar[str] = "automaton"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "nca": _PRESET,
        "nca-code": {**_PRESET, "band_low": 0.3, "band_high": 0.4},
    }

    grid: int = parameter(12, "cells along each side of the torus, a multiple of patch", low=2, high=256)
    colours: int = parameter(10, "states of a cell", low=2, high=256)
    patch: int = parameter(2, "cells along each side of a patch, which is a token", low=1, high=4)
    features: int = parameter(4, "channels of the 3x3 convolution", low=1, high=256)
    hidden: int = parameter(16, "hidden units of each cell", low=1, high=256)
    wrapped_channels: bool = parameter(False, "the convolution sees the first and last colour twice, as published")
    temperature: float = parameter(1e-4, "sampling temperature; 0 takes the likeliest colour", low=0.0, high=100.0)
    identity_bias: float = parameter(0.0, "added to the logit of a cell's own colour", low=-1000.0, high=1000.0)
    burn_in: int = parameter(10, "steps before the first frame", low=0, high=10_000)
    stride: int = parameter(1, "steps from one frame to the next", low=1, high=1000)
    given_frames: int = parameter(1, "frames at the row's start that are not scored", low=1, high=1000)
    score_marks: bool = parameter(False, "score the tokens START and END")
    band_measure: str = parameter(
        "lempel-ziv",
        "complexity by which rules are chosen",
        choices=("off", "lempel-ziv", "gzip-int32", "gzip-uint16", "gzip-cells"),
    )
    band_low: float = parameter(1.5, "rules score more than this", low=0.0, high=32.0)
    band_high: float = parameter(32.0, "rules score less than this", low=0.0, high=32.0)
    tries: int = parameter(1000, "rules drawn per machine before giving up", low=1, high=1 << 20)
    rows_per_machine: int = parameter(1, "rows that share a rule", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.grid % self.patch:
            self.reject("grid", f"a multiple of patch = {self.patch}")
        if self.alphabet_size > 1 << 16:
            self.reject("colours", f"colours^{self.patch**2} up to 65534 for patch = {self.patch}")
        if self.band_low >= self.band_high:
            self.reject("band_low", f"less than band_high = {self.band_high:g}")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return int(self.colours ** (self.patch**2)) + 2

    @property
    def frame_tokens(self) -> int:
        """Tokens of a frame, START and END included."""
        return (self.grid // self.patch) ** 2 + 2

    @property
    def shortest_row(self) -> int:
        return self.given_frames * self.frame_tokens + (1 if self.score_marks else 2)

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        tables, heads, complexity = self._rules(draw, int(machine.max()) + 1)
        frames = -(-length // self.frame_tokens)
        tokens, chance, changed = self._trajectories(draw.child("rows"), tables, heads, machine, frames)
        place = np.arange(length) % self.frame_tokens
        scored = np.arange(length) >= self.given_frames * self.frame_tokens
        if not self.score_marks:
            scored &= (place > 0) & (place < self.frame_tokens - 1)
        return Block(
            tokens=np.ascontiguousarray(tokens[:, :length]),
            machine=draw.machine_ids(machine if self.stride == 1 else np.arange(rows)),
            scored=np.repeat(scored[None], rows, axis=0),
            floor_nats=np.maximum(-np.log(chance[:, :length]), np.float32(0)),
            info={"changed": changed} | ({} if complexity is None else {"complexity": complexity[machine]}),
        )

    def _picture(self, draw: Draw, length: int) -> NDArray[np.int64]:
        """The frames side by side, a blank column between them; time runs to the right."""
        size = self.frame_tokens
        row = self._generate(draw, 1, length).tokens[0].astype(np.int64)
        patches = np.full((-(-length // size), size), -1)
        patches.flat[:length] = row
        frames = self._cells(patches[:, 1:-1]).reshape(len(patches), self.grid, self.grid)
        apart = np.pad(frames, ((0, 0), (0, 0), (0, 1)), constant_values=-1)
        return apart.transpose(1, 0, 2).reshape(self.grid, -1)[:, :-1]

    # ------------------------------------------------------------------ rules

    def _rules(self, draw: Draw, machines: int) -> tuple[Floats, Floats, NDArray[np.float64] | None]:
        """Tables [M, 9, C, H], heads [M, C, H] and complexity [M] of rules in the band; one round for all that lack one."""
        rng = draw("rules")
        if self.band_measure == "off":
            return *self._random_rules(rng, machines), None
        tables = np.empty((machines, 9, self.colours, self.hidden), dtype=np.float32)
        heads = np.empty((machines, self.colours, self.hidden), dtype=np.float32)
        complexity, missing = np.zeros(machines), np.arange(machines)
        for attempt in range(self.tries):
            table, head = self._random_rules(rng, len(missing))
            score = self._scores(draw.child("score", attempt), table, head)
            kept = (score > self.band_low) & (score < self.band_high)
            tables[missing[kept]], heads[missing[kept]], complexity[missing[kept]] = (
                table[kept],
                head[kept],
                score[kept],
            )
            missing = missing[~kept]
            if not len(missing):
                return tables, heads, complexity
        self.reject(
            "band_low",
            f"a band that rules fall into: none of {self.tries} for each of {len(missing)} machines has "
            f"{self.band_measure} between {self.band_low:g} and {self.band_high:g}",
        )

    def _random_rules(self, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        """Tables [count, 9, C, H] and heads [count, C, H] of fresh rules: the two linear maps before the ReLU are one."""
        c, f, h = self.colours, self.features, self.hidden
        inputs = c + 2 if self.wrapped_channels else c
        shapes = [(9, inputs, f), (f, h), (h, c)]
        sizes = [int(np.prod(shape)) for shape in shapes]
        words = random_words(rng, count * sum(sizes)).reshape(count, -1)
        parts = np.split(cut_normal_quantiles()[words], np.cumsum(sizes)[:-1], axis=1)
        fans = (9 * inputs, f, h)
        conv, mix, head = (
            (part * np.float32(fan**-0.5)).reshape(count, *shape)
            for part, fan, shape in zip(parts, fans, shapes, strict=True)
        )
        if self.wrapped_channels:
            first, last, conv = conv[:, :, 0], conv[:, :, -1], conv[:, :, 1:-1].copy()
            conv[:, :, -1] += first
            conv[:, :, 0] += last
        tables = np.zeros((count, 9, c, h), dtype=np.float32)
        for rule in range(count):
            add_product(tables[rule].reshape(9 * c, h), conv[rule].reshape(9 * c, f), mix[rule], 9 * c)
        return tables, np.ascontiguousarray(head.transpose(0, 2, 1))

    def _scores(self, draw: Draw, tables: Floats, heads: Floats) -> NDArray[np.float64]:
        """[M] complexity of rules, each on a trajectory of its own."""
        tokens, _, _ = self._trajectories(draw, tables, heads, np.arange(len(heads)), SCORED_FRAMES)
        patches = tokens.reshape(len(heads), SCORED_FRAMES, -1)[:, :, 1:-1]
        if self.band_measure == "lempel-ziv":
            return np.array([lempel_ziv_bits(np.ascontiguousarray(p).reshape(-1)) for p in patches])
        if self.band_measure == "gzip-cells":
            raw = [self._cells(p.astype(np.int64)).astype(np.uint8).tobytes() for p in patches]
        else:
            raw = [p.astype("<i4" if self.band_measure == "gzip-int32" else "<u2").tobytes() for p in patches]
        return np.array([len(gzip.compress(data, 9)) / len(data) for data in raw])

    # ------------------------------------------------------------------ trajectories

    def _trajectories(
        self, draw: Draw, tables: Floats, heads: Floats, machine: NDArray[np.int64], frames: int
    ) -> tuple[NDArray[np.uint16], Floats, NDArray[np.float64]]:
        """(tokens [N, F * S], probability of each, mean share of changed cells [N]) from fresh first grids."""
        rows, width = len(machine), frames * self.frame_tokens
        starts = normal_quantiles()[random_words(draw("logits"), rows * self.colours)].reshape(rows, self.colours)
        tokens, chance = np.empty((rows, width), dtype=np.uint16), np.empty((rows, width), dtype=np.float32)
        steps = np.full(frames, self.stride)
        steps[0] = self.burn_in
        neighbours, patches = layout(self.grid, self.patch)
        powers = self.colours ** np.arange(self.patch**2 + 1)
        changed = write_frames(
            draw("cells"), tables, heads, starts, machine, neighbours, patches, powers, steps,
            np.float32(self.identity_bias), np.float32(self.temperature), tokens, chance,
        )  # fmt: skip
        return tokens, chance, changed

    def _cells(self, patches: NDArray[np.int64]) -> NDArray[np.int64]:
        """[..., G] colours in row-major order of the grid from patch tokens [..., P]; a negative token stays what it is."""
        _, places = layout(self.grid, self.patch)
        cells = np.empty((*patches.shape[:-1], self.grid**2), dtype=np.int64)
        digits = patches[..., None] // self.colours ** np.arange(self.patch**2) % self.colours
        cells[..., places] = np.where(patches[..., None] < 0, patches[..., None], digits)
        return cells


@functools.cache
def layout(grid: int, patch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(neighbours [G, 9], patches [P, Q]): cell numbers on a torus; everything in row-major order."""
    cells = np.arange(grid * grid).reshape(grid, grid)
    around = [np.roll(cells, (-dy, -dx), (0, 1)).ravel() for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    side = grid // patch
    patches = cells.reshape(side, patch, side, patch).transpose(0, 2, 1, 3).reshape(side * side, patch * patch)
    return np.stack(around, axis=1), np.ascontiguousarray(patches)


@functools.cache
def cut_normal_quantiles() -> Floats:
    """[65536] like ``normal_quantiles``, of N(0, 1) cut at two standard deviations and rescaled to variance 1."""
    normal = NormalDist()
    low = normal.cdf(-2.0)
    upper = np.array([normal.inv_cdf(0.5 + (0.5 - low) * (i + 0.5) / 32768) for i in range(32768)])
    upper = (upper / np.sqrt((upper**2).mean())).astype(np.float32)
    return np.concatenate([-upper[::-1], upper])
