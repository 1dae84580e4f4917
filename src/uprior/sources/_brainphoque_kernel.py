"""The lazily sampled Brainfuck machine: drawing and running a program, shortening it, and filling rows with outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel

INSTRUCTIONS = "+-<>[].,"
INCREMENT, DECREMENT, LEFT, RIGHT, OPEN, CLOSE, PRINT, READ = range(8)
# The context of an instruction is the two drawn before it (reads left out), three bits each; 7 stands for "none yet".
START, CONTEXTS = 63, 64
BLANK, REPEAT, PACK = range(3)
# Columns of ``facts``, per row.
PROGRAMS, REDRAWN, STEPS, TIMED_OUT, WRITTEN, DRAWN, SHORT, INPUTS = range(8)
FACTS = ("programs", "redrawn", "steps", "timed_out", "written", "drawn", "shortened", "inputs")
UNKNOWN = -1
# Outputs that have less room belong to all splits: there are too few of them.
DEALT_ROOM = 16

Whole = NDArray[np.int32]


@kernel
def run(
    rng: np.random.Generator,
    edges: NDArray[np.float64],
    symbols: int,
    steps: int,
    tape: Whole,
    text: NDArray[np.int8],
    links: Whole,
    marks: Whole,
    out: NDArray[np.uint16],
    floor: NDArray[np.float32],
    trace: Whole,
) -> tuple[int, int, int, int, int]:
    """Draw a program while it runs; (symbols written, steps, instructions drawn, those drawn by the last print, inputs read
    by the last print).

    edges  [64, 8] cumulative chances of the instructions in each context
    tape   [W] working space, a ring
    text   [steps] the program in the order in which it was drawn
    links  [4, steps] of each bracket: the loop around it (UNKNOWN: none), where to go when the cell is not zero (the body;
           of ``]``: its ``[``), where to go when it is zero, and of ``[`` its ``]``. UNKNOWN: not drawn yet.
    marks  [2, max(W, steps)] of each cell the input it holds (0: none), and of each input whether it is known, printed or tested
    out, floor  [T] what is printed, with its surprise; stops when full
    trace  [S, 1 + W] head and tape before each of the first S steps
    """
    around, body, past, closed = links[0], links[1], links[2], links[3]
    holds, known = marks[0], marks[1]
    width, limit, traced = tape.shape[0], out.shape[0], trace.shape[0]
    for cell in range(width):
        tape[cell], holds[cell] = 0, 0
    context, loop = START, UNKNOWN
    at = head = drawn = written = step = inputs = 0
    drawn_by_print = inputs_by_print = 0
    while step < steps and written < limit:
        if at == drawn:
            uniform, op = rng.random(), 0
            while edges[context, op] <= uniform:
                op += 1
            text[at] = op
            if op != READ:
                context = ((context << 3) | op) & 63
            if op == OPEN:
                around[at], body[at], past[at], closed[at] = loop, UNKNOWN, UNKNOWN, UNKNOWN
            elif op == CLOSE:
                around[at], body[at] = loop, at + 1
                if loop != UNKNOWN:
                    body[at], closed[loop] = loop, at
            drawn += 1
        if step < traced:
            trace[step, 0] = head
            for cell in range(width):
                trace[step, 1 + cell] = tape[cell]
        op = text[at]
        step += 1
        if op == INCREMENT:
            cell = tape[head] + 1
            tape[head] = cell if cell < symbols else 0
        elif op == DECREMENT:
            cell = tape[head]
            tape[head] = cell - 1 if cell > 0 else symbols - 1
        elif op == LEFT:
            head = head - 1 if head > 0 else width - 1
        elif op == RIGHT:
            head = head + 1 if head < width - 1 else 0
        elif op == OPEN:
            if inputs > 0 and holds[head] > 0 and known[holds[head]] == 0:
                known[holds[head]] = 1
            if tape[head] != 0:
                if body[at] == UNKNOWN:
                    body[at], loop = drawn, at
                at = body[at] - 1
            else:
                if past[at] == UNKNOWN:
                    past[at], loop = drawn, around[at]
                at = past[at] - 1
        elif op == CLOSE:
            at = body[at] - 1
        elif op == PRINT:
            out[written] = tape[head]
            floor[written] = 0.0
            if inputs > 0 and holds[head] > 0 and known[holds[head]] == 0:
                known[holds[head]] = 1
                floor[written] = np.log(symbols)
            written += 1
            drawn_by_print, inputs_by_print = drawn, inputs
        else:
            inputs += 1
            tape[head], holds[head], known[inputs] = int(rng.random() * symbols), inputs, 0
        at += 1
    return written, step, drawn, drawn_by_print, inputs_by_print


@kernel
def shorten(text: NDArray[np.int8], links: Whole, drawn: int, short: NDArray[np.int8]) -> int:
    """Length of the program without what does not matter to the output, which is left in ``short``.

    ``drawn`` is the number of instructions drawn by the last print; the others are dropped. So are brackets that never
    looped, pairs that undo each other (+-, -+, <>, ><), arithmetic before a read, which is overwritten, and after a read,
    which can be done to the input instead.
    """
    around, body, closed = links[0], links[1], links[3]
    size = 0
    for at in range(drawn):
        op = text[at]
        if op == OPEN:
            # A body that begins elsewhere, once entered, is reached through its bracket even if it never ends.
            entered_from_afar = body[at] != UNKNOWN and body[at] != at + 1 and body[at] < drawn
            if not entered_from_afar and (closed[at] == UNKNOWN or closed[at] >= drawn):
                continue
        elif op == CLOSE:
            if around[at] == UNKNOWN:
                continue
        elif op == READ:
            while size > 0 and (short[size - 1] == INCREMENT or short[size - 1] == DECREMENT):
                size -= 1
        elif op != PRINT and size > 0:
            last = short[size - 1]
            if op <= DECREMENT and last == READ:
                continue
            if last <= RIGHT and last == op ^ 1:
                size -= 1
                continue
        short[size] = op
        size += 1
    return size


@kernel
def write_rows(
    rng: np.random.Generator,
    edges: NDArray[np.float64],
    symbols: int,
    width: int,
    steps: int,
    fill: int,
    min_output: int,
    parts: tuple[int, int],
    tokens: NDArray[np.uint16],
    scored: NDArray[np.bool_],
    floor: NDArray[np.float32],
    facts: NDArray[np.int64],
    trace: Whole,
) -> None:
    """Fill tokens, scored and floor [N, T] and facts [N, 8], given as zeros; ``trace`` follows the first program of the last row.

    A program whose output is shorter than ``min_output``, or whose hash modulo 8 (of its padded or repeated output,
    if such is the fill) is not in first..last of ``parts``,
    is replaced by another.
    """
    rows, length = tokens.shape
    tape = np.empty(width, dtype=np.int32)
    text, short = np.empty(steps, dtype=np.int8), np.empty(steps, dtype=np.int8)
    links = np.empty((4, steps), dtype=np.int32)
    marks = np.empty((2, max(width, steps + 1)), dtype=np.int32)
    untraced = trace[:0]
    for row in range(rows):
        here = 0
        while here < length:
            written, ran, drawn, by_print, inputs = run(
                rng, edges, symbols, steps, tape, text, links, marks, tokens[row, here:], floor[row, here:],
                trace if row == rows - 1 and here == 0 else untraced,
            )  # fmt: skip
            facts[row, STEPS] += ran
            kept, end = written >= min(min_output, length - here), here + written
            if kept and fill != PACK:
                for t in range(end, length):
                    tokens[row, t], floor[row, t] = tokens[row, t - written] if fill == REPEAT else 0, 0.0
                    scored[row, t] = fill == REPEAT
                end = length
            if not kept or (length - here >= DEALT_ROOM and not _is_ours(tokens[row, here:end], parts)):
                facts[row, REDRAWN] += 1
                continue
            facts[row, PROGRAMS] += 1
            facts[row, TIMED_OUT] += here + written < length
            facts[row, WRITTEN] += written
            facts[row, DRAWN] += drawn
            facts[row, SHORT] += shorten(text, links, by_print, short)
            facts[row, INPUTS] += inputs
            for t in range(here, here + written):
                scored[row, t] = True
            here = end
            if here < length:
                tokens[row, here], scored[row, here], floor[row, here] = symbols, False, 0.0
                here += 1


@kernel
def _is_ours(output: NDArray[np.uint16], parts: tuple[int, int]) -> np.bool_ | bool:
    """Whether the part of the eight that an output belongs to, by its FNV-1a hash, is one of first..last."""
    if parts[0] == 0 and parts[1] == 7:
        return True
    value = np.uint64(14695981039346656037)
    for t in range(output.shape[0]):
        value = (value ^ np.uint64(output[t])) * np.uint64(1099511628211)
    part = (value >> np.uint64(32)) & np.uint64(7)
    return np.uint64(parts[0]) <= part <= np.uint64(parts[1])
