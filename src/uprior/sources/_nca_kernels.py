"""Neural cellular automata on a torus, in exact arithmetic: one step of the grid, and whole trajectories as patch tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import CUT_NATS, Floats, add_product, choose, exp, kernel, largest

Cells = NDArray[np.uint8]

# Shape letters: N rows, M machines, C colours, H hidden units, G grid cells in row-major order, F frames, S tokens per frame.


@kernel
def write_frames(
    rng: np.random.Generator,
    tables: Floats,
    heads: Floats,
    starts: Floats,
    machine: NDArray[np.int64],
    neighbours: NDArray[np.int64],
    patches: NDArray[np.int64],
    powers: NDArray[np.int64],
    steps: NDArray[np.int64],
    identity_bias: Any,
    temperature: Any,
    tokens: NDArray[np.uint16],
    chance: Floats,
) -> Any:
    """Fill tokens and chance [N, F * S] with the frames of each row; returns [N] the share of cells that change per frame.

    tables      [M, 9, C, H] what each colour adds to the hidden units, for each of the nine places of the neighbourhood
    heads       [M, C, H] from hidden units to logits
    starts      [N, C] logits of the colours of the first grid, before ``steps[0]`` steps
    neighbours  [G, 9] cells of the neighbourhood in row-major order, the cell itself in the middle
    patches     [P, Q] cells of each patch; its token is the sum of colour * powers [Q]; powers[Q] is the token START
    steps       [F] steps before each frame
    """
    colours, hidden = heads.shape[1:]
    grid = neighbours.shape[0]
    cells, new, shown = np.empty(grid, dtype=np.uint8), np.empty(grid, dtype=np.uint8), np.empty(grid, dtype=np.uint8)
    certain, count = np.empty(grid, dtype=np.float64), np.empty(grid, dtype=np.uint8)
    units, across = np.empty((grid, hidden), dtype=np.float32), np.empty((hidden, grid), dtype=np.float32)
    logits, top = np.empty((colours, grid), dtype=np.float32), np.empty(grid, dtype=np.float32)
    line, near, weight = (
        np.empty(colours, dtype=np.float32),
        np.empty(colours, dtype=np.int64),
        np.empty(colours, dtype=np.float32),
    )
    changed = np.zeros(tokens.shape[0], dtype=np.float64)
    size = patches.shape[1]
    for row in range(tokens.shape[0]):
        table, head = tables[machine[row]], heads[machine[row]]
        _start(rng, starts[row], cells)
        at = 0
        for frame in range(steps.shape[0]):
            certain[:] = 1.0
            for _ in range(steps[frame]):
                _hidden(table, neighbours, cells, units)
                for j in range(hidden):
                    o = across[j]
                    for i in range(grid):
                        o[i] = units[i, j]
                logits[:] = 0
                add_product(logits, head, across, colours)
                if identity_bias != 0:
                    for i in range(grid):
                        logits[cells[i], i] += identity_bias
                _likeliest(logits, CUT_NATS * temperature, new, top, count)
                certain[:] = 1.0
                for i in range(grid):
                    if count[i] > 1:
                        for k in range(colours):
                            line[k] = logits[k, i]
                        new[i], certain[i] = choose(line, temperature, rng.random(), near, weight)
                cells, new = new, cells
            for i in range(grid):
                if frame > 0:
                    changed[row] += cells[i] != shown[i]
                shown[i] = cells[i]
            tokens[row, at], chance[row, at] = powers[size], 1.0
            for patch in range(patches.shape[0]):
                token, p = 0, 1.0
                for q in range(size):
                    i = patches[patch, q]
                    token += cells[i] * powers[q]
                    p *= certain[i]
                at += 1
                tokens[row, at], chance[row, at] = token, p if frame > 0 else 1.0
            at += 1
            tokens[row, at], chance[row, at] = powers[size] + 1, 1.0
            at += 1
    return changed / (grid * max(steps.shape[0] - 1, 1))


@kernel
def _start(rng: np.random.Generator, logits: Floats, cells: Cells) -> None:
    """Independent cells from softmax(logits), by inverse distribution function."""
    below = np.empty(logits.shape[0], dtype=np.float64)
    top, total = largest(logits), 0.0
    for k in range(logits.shape[0]):
        total += exp(logits[k] - top)
        below[k] = total
    for i in range(cells.shape[0]):
        target, k = rng.random() * total, 0
        while below[k] <= target:
            k += 1
        cells[i] = k


@kernel
def _hidden(table: Floats, neighbours: NDArray[np.int64], cells: Cells, units: Floats) -> None:
    """units [G, H]: the sum of the nine table lines of each cell's neighbourhood, in their order, then ReLU."""
    for i in range(cells.shape[0]):
        n, unit = neighbours[i], units[i]
        a, b, c = table[0, cells[n[0]]], table[1, cells[n[1]]], table[2, cells[n[2]]]
        d, e, f = table[3, cells[n[3]]], table[4, cells[n[4]]], table[5, cells[n[5]]]
        g, h, k = table[6, cells[n[6]]], table[7, cells[n[7]]], table[8, cells[n[8]]]
        for j in range(unit.shape[0]):
            total = a[j] + b[j] + c[j] + d[j] + e[j] + f[j] + g[j] + h[j] + k[j]
            unit[j] = total if total > 0 else np.float32(0)


@kernel
def _likeliest(logits: Floats, margin: Any, best: Cells, top: Floats, count: Cells) -> None:
    """Of logits [C, G]: the first of the largest of each cell, its value, and how many are within ``margin`` of it."""
    top[:] = -np.inf
    for k in range(logits.shape[0]):
        line = logits[k]
        for i in range(top.shape[0]):
            better = line[i] > top[i]
            top[i] = line[i] if better else top[i]
            best[i] = np.uint8(k) if better else best[i]
    count[:] = 0
    for k in range(logits.shape[0]):
        line = logits[k]
        for i in range(top.shape[0]):
            count[i] += np.uint8(line[i] >= top[i] - margin)
