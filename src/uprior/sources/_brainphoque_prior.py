"""The order-2 prior over instructions: counts of what programs with interesting outputs are made of, and their fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uprior.rng import generator
from uprior.sources._brainphoque_kernel import START, run, shorten
from uprior.sources._exact import kernel
from uprior.sources._periods import repeats

# The filter: an output is counted if it fills ROW symbols, has at least MIN_DISTINCT different ones, and if its second half
# has no period of MAX_PERIOD or less.
SYMBOLS, TAPE, STEPS, ROW, MIN_DISTINCT, MAX_PERIOD = 17, 200, 1000, 256, 3, 16
PROGRAMS = 1 << 18


def fit(programs: int = PROGRAMS) -> NDArray[np.int64]:
    """[64, 7] how often each instruction of ``+-<>[].`` follows each pair, in shortened programs that pass the filter.

    Programs are drawn with independent uniform instructions. The pair (a, b) is row 8 a + b; 7 stands for "before the
    program". ``fit()`` is ``COUNTS``: 2^18 programs, a few seconds.
    """
    counts = np.zeros((64, 7), dtype=np.int64)
    edges = np.full((64, 8), 2.0)
    edges[:, :6] = np.arange(1, 7) / 7
    _count(generator("brainphoque prior"), edges, programs, counts)
    return counts


@kernel
def _count(rng: np.random.Generator, edges: NDArray[np.float64], programs: int, counts: NDArray[np.int64]) -> None:
    tape = np.empty(TAPE, dtype=np.int32)
    text, short = np.empty(STEPS, dtype=np.int8), np.empty(STEPS, dtype=np.int8)
    links = np.empty((4, STEPS), dtype=np.int32)
    marks = np.empty((2, max(TAPE, STEPS + 1)), dtype=np.int32)
    out, floor = np.empty(ROW, dtype=np.uint16), np.empty(ROW, dtype=np.float32)
    trace = np.empty((0, 1 + TAPE), dtype=np.int32)
    for _ in range(programs):
        written, _, _, by_print, _ = run(
            rng, edges, SYMBOLS, STEPS, tape, text, links, marks, out, floor, trace
        )  # fmt: skip
        if written < ROW or not _passes(out):
            continue
        context = START
        for at in range(shorten(text, links, by_print, short)):
            counts[context, short[at]] += 1
            context = ((context << 3) | short[at]) & 63


@kernel
def _passes(output: NDArray[np.uint16]) -> bool:
    """Whether a full output passes the filter above."""
    distinct = 0
    for t in range(output.shape[0]):
        new = True
        for earlier in range(t):
            if output[earlier] == output[t]:
                new = False
                break
        distinct += new
        if distinct == MIN_DISTINCT:
            break
    if distinct < MIN_DISTINCT:
        return False
    return not repeats(output[output.shape[0] // 2 :], MAX_PERIOD)


# What ``fit()`` gives; at the end of each line the two instructions before.
COUNTS: NDArray[np.int64] = np.array(
    [
        [208, 0, 209, 178, 179, 66, 294],  # ++
        [0, 0, 0, 0, 0, 0, 0],
        [216, 191, 213, 0, 73, 100, 292],  # +<
        [193, 234, 0, 194, 63, 101, 323],  # +>
        [134, 106, 147, 154, 103, 1, 259],  # +[
        [58, 55, 52, 54, 4, 20, 90],  # +]
        [259, 170, 241, 262, 204, 202, 436],  # +.
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 184, 198, 180, 195, 63, 287],  # --
        [186, 215, 179, 0, 84, 103, 326],  # -<
        [220, 236, 0, 200, 60, 80, 323],  # ->
        [140, 113, 181, 185, 94, 1, 238],  # -[
        [42, 59, 37, 50, 5, 28, 71],  # -]
        [202, 257, 280, 293, 200, 176, 428],  # -.
        [0, 0, 0, 0, 0, 0, 0],
        [201, 0, 199, 207, 186, 71, 324],  # <+
        [0, 213, 207, 209, 194, 59, 342],  # <-
        [238, 231, 249, 0, 41, 90, 335],  # <<
        [0, 0, 0, 0, 0, 0, 0],
        [57, 48, 60, 76, 32, 3, 91],  # <[
        [69, 73, 70, 77, 1, 38, 110],  # <]
        [324, 303, 291, 261, 57, 192, 484],  # <.
        [0, 0, 0, 0, 0, 0, 0],
        [220, 0, 184, 199, 183, 61, 339],  # >+
        [0, 221, 215, 229, 203, 71, 373],  # >-
        [0, 0, 0, 0, 0, 0, 0],
        [243, 247, 0, 266, 37, 89, 344],  # >>
        [33, 40, 55, 54, 32, 2, 85],  # >[
        [76, 80, 70, 71, 3, 28, 101],  # >]
        [311, 330, 303, 300, 74, 189, 480],  # >.
        [0, 0, 0, 0, 0, 0, 0],
        [86, 0, 66, 76, 51, 103, 149],  # [+
        [0, 60, 57, 66, 46, 88, 139],  # [-
        [75, 84, 119, 0, 27, 100, 210],  # [<
        [79, 92, 0, 101, 26, 115, 230],  # [>
        [62, 54, 39, 39, 26, 0, 152],  # [[
        [1, 1, 2, 2, 0, 2, 1],  # []
        [152, 137, 195, 170, 85, 16, 294],  # [.
        [0, 0, 0, 0, 0, 0, 0],
        [57, 0, 61, 66, 53, 64, 97],  # ]+
        [0, 78, 55, 64, 61, 56, 104],  # ]-
        [71, 66, 50, 0, 34, 46, 87],  # ]<
        [69, 84, 0, 71, 20, 52, 109],  # ]>
        [3, 0, 4, 2, 0, 0, 11],  # ][
        [28, 33, 28, 35, 0, 13, 33],  # ]]
        [98, 96, 80, 98, 0, 35, 129],  # ].
        [0, 0, 0, 0, 0, 0, 0],
        [323, 0, 313, 330, 201, 208, 516],  # .+
        [0, 294, 315, 309, 213, 193, 525],  # .-
        [350, 385, 318, 0, 108, 196, 597],  # .<
        [323, 360, 0, 337, 95, 199, 580],  # .>
        [102, 95, 129, 133, 85, 2, 213],  # .[
        [124, 117, 95, 116, 7, 48, 130],  # .]
        [482, 493, 495, 446, 139, 276, 662],  # ..
        [0, 0, 0, 0, 0, 0, 0],
        [39, 0, 53, 52, 51, 0, 56],  # +
        [0, 57, 46, 62, 40, 0, 67],  # -
        [52, 52, 56, 0, 0, 0, 66],  # <
        [59, 59, 0, 57, 0, 0, 78],  # >
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [63, 63, 69, 64, 0, 0, 80],  # .
        [251, 272, 226, 253, 0, 0, 339],  # none
    ]
)
