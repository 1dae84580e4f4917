"""Neural cellular automata grid by grid: the network on a whole grid at once, in float32 sums of the stated order."""

import gzip
import itertools

import numpy as np

from uprior.sources import NeuralCellularAutomaton
from uprior.sources._base import machine_of_row
from uprior.sources._complexity import lempel_ziv_bits
from uprior.sources._exact import exp, normal_quantiles, random_words
from uprior.sources.neural_cellular_automaton import cut_normal_quantiles
from uprior.types import Block

GOLDEN = (1, "680062499f6c29bf")
SPECS = [
    NeuralCellularAutomaton(),
    NeuralCellularAutomaton.preset("nca"),
    NeuralCellularAutomaton.preset("nca-code", band_high=0.55, burn_in=3),
    NeuralCellularAutomaton(temperature=0.7, identity_bias=1.5, colours=4, grid=6, hidden=5, burn_in=0, band_measure="off"),
    NeuralCellularAutomaton(
        grid=6, patch=3, colours=3, stride=3, temperature=0.05, given_frames=2, score_marks=True, rows_per_machine=2,
        band_measure="gzip-cells", band_low=0.02, band_high=0.9,
    ),
    NeuralCellularAutomaton(
        grid=4, patch=1, temperature=0.0, features=7, band_measure="gzip-uint16", band_low=0.05, wrapped_channels=True
    ),
]  # fmt: skip


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    rules, complexity = choose_rules(source, draw, machine.max() + 1)
    size = (source.grid // source.patch) ** 2 + 2
    frames = -(-length // size)
    tokens, floor, changed = trajectories(source, draw.child("rows"), [rules[m] for m in machine], frames)
    scored = np.zeros((rows, length), dtype=bool)
    for t in range(source.given_frames * size, length):
        scored[:, t] = source.score_marks or t % size not in (0, size - 1)
    return Block(
        tokens=np.array(tokens, dtype=np.uint16)[:, :length],
        machine=draw.machine_ids(machine if source.stride == 1 else np.arange(rows)),
        scored=scored,
        floor_nats=np.array(floor, dtype=np.float32)[:, :length],
        info={"changed": np.array(changed)} | ({"complexity": complexity[machine]} if complexity is not None else {}),
    )


def choose_rules(source, draw, count):
    """[(convolution [3, 3, C, H], head [H, C])] of rules in the band, and their scores."""
    rng = draw("rules")
    if source.band_measure == "off":
        return random_rules(source, rng, count), None
    chosen, scores, missing = {}, {}, list(range(count))
    for attempt in range(source.tries):
        candidates = random_rules(source, rng, len(missing))
        tokens, _, _ = trajectories(source, draw.child("score", attempt), candidates, 10)
        still = []
        for m, rule, row in zip(missing, candidates, tokens, strict=True):
            score = complexity_of(source, row)
            if source.band_low < score < source.band_high:
                chosen[m], scores[m] = rule, score
            else:
                still.append(m)
        missing = still
        if not missing:
            break
    return [chosen[m] for m in range(count)], np.array([scores[m] for m in range(count)])


def random_rules(source, rng, count):
    c, f, h = source.colours, source.features, source.hidden
    seen = [c - 1, *range(c), 0] if source.wrapped_channels else list(range(c))
    inputs = len(seen)
    words = random_words(rng, count * (9 * inputs * f + f * h + h * c)).reshape(count, -1)
    rules = []
    for word in words:
        normal = cut_normal_quantiles()[word]
        conv = (normal[: 9 * inputs * f] * np.float32((9 * inputs) ** -0.5)).reshape(9, inputs, f)
        mix = (normal[9 * inputs * f : -h * c] * np.float32(f**-0.5)).reshape(f, h)
        head = (normal[-h * c :] * np.float32(h**-0.5)).reshape(h, c)
        folded = np.zeros((9, c, h), dtype=np.float32)
        by_colour = np.zeros((9, c, f), dtype=np.float32)
        for colour in range(c):
            # The channel of its own first, then the duplicate.
            for channel in sorted((i for i, s in enumerate(seen) if s == colour), key=lambda i: i in (0, inputs - 1)):
                by_colour[:, colour] += conv[:, channel]
        for k in range(f):
            folded += by_colour[:, :, k : k + 1] * mix[k]
        rules.append((folded.reshape(3, 3, c, h), head))
    return rules


def complexity_of(source, row):
    g, p = source.grid, source.patch
    per_frame = (g // p) ** 2 + 2
    patches = [token for t, token in enumerate(row) if 0 < t % per_frame < per_frame - 1]
    if source.band_measure == "lempel-ziv":
        return lempel_ziv_bits(np.array(patches, dtype=np.uint16))
    if source.band_measure == "gzip-cells":
        raw = b"".join(bytes(grid.ravel().tolist()) for grid in grids_of(source, row))
    else:
        raw = b"".join(token.to_bytes(4 if source.band_measure == "gzip-int32" else 2, "little") for token in patches)
    return len(gzip.compress(raw, 9)) / len(raw)


def grids_of(source, row):
    """The whole frames of a row as grids."""
    g, p, c = source.grid, source.patch, source.colours
    side = g // p
    size = side * side + 2
    for first in range(0, len(row) - size + 1, size):
        grid = np.zeros((g, g), dtype=int)
        for q, token in enumerate(row[first + 1 : first + size - 1]):
            for j in range(p * p):
                grid[q // side * p + j // p, q % side * p + j % p] = int(token) // c**j % c
        yield grid


def trajectories(source, draw, rules, frames):
    """Tokens and floors of one row per rule as lists, and the mean share of cells that change."""
    c = source.colours
    normal = normal_quantiles()[random_words(draw("logits"), len(rules) * c)].reshape(len(rules), c)
    rng = draw("cells")
    tokens, floors, changes = [], [], []
    for rule, logits in zip(rules, normal, strict=True):
        grid = first_grid(rng, logits, source.grid)
        chance = np.ones(grid.shape)
        row, floor, shown = [], [], []
        for frame in range(frames):
            for _ in range(source.stride if frame else source.burn_in):
                grid, chance = next_grid(source, rng, rule, grid)
            shown.append(grid)
            a, b = one_frame(source, grid, chance if frame else np.ones(grid.shape))
            row, floor = row + a, floor + b
        tokens.append(row)
        floors.append(floor)
        changes.append(np.mean([(x != y).mean() for x, y in itertools.pairwise(shown)]) if frames > 1 else 0.0)
    return tokens, floors, changes


def first_grid(rng, logits, side):
    weights = [float(exp(value - logits.max())) for value in logits]
    edges = np.cumsum(weights)
    grid = np.zeros((side, side), dtype=int)
    for y in range(side):
        for x in range(side):
            grid[y, x] = np.searchsorted(edges, rng.random() * edges[-1], side="right")
    return grid


def next_grid(source, rng, rule, grid):
    """The grid after, and the probability of each of its cells."""
    convolution, head = rule
    hidden = np.zeros((*grid.shape, source.hidden), dtype=np.float32)
    for y in range(3):
        for x in range(3):
            hidden = hidden + convolution[y, x][np.roll(grid, (1 - y, 1 - x), (0, 1))]
    hidden = np.maximum(hidden, np.float32(0))
    logits = np.zeros((*grid.shape, source.colours), dtype=np.float32)
    for k in range(source.hidden):
        logits = logits + hidden[:, :, k : k + 1] * head[k]
    new, chance = np.zeros_like(grid), np.ones(grid.shape)
    temperature = np.float32(source.temperature)
    for place in np.ndindex(grid.shape):
        line = logits[place].copy()
        line[grid[place]] += np.float32(source.identity_bias)
        near = [k for k in range(source.colours) if line[k] >= line.max() - np.float32(17) * temperature]
        new[place] = near[0]
        if len(near) > 1:
            uniform = rng.random()
            if temperature > 0:
                weights = [float(exp((line[k] - line.max()) / temperature)) for k in near]
                picked = min(np.searchsorted(np.cumsum(weights), uniform * sum(weights), side="right"), len(near) - 1)
                new[place], chance[place] = near[picked], weights[picked] / sum(weights)
    return new, chance


def one_frame(source, grid, chance):
    """A grid as tokens between START and END, and their floors."""
    p, c = source.patch, source.colours
    start = c ** (p * p)
    tokens, floor = [start], [0.0]
    for y in range(0, source.grid, p):
        for x in range(0, source.grid, p):
            tokens.append(sum(int(k) * c**j for j, k in enumerate(grid[y : y + p, x : x + p].flat)))
            floor.append(-np.log(chance[y : y + p, x : x + p]).sum() + 0.0)
    return [*tokens, start + 1], [*floor, 0.0]


def validate(source, block):
    size = (source.grid // source.patch) ** 2 + 2
    length = block.tokens.shape[1]
    place = np.arange(length) % size
    start = source.colours ** (source.patch**2)
    assert np.all(block.tokens[:, place == 0] == start)
    assert np.all(block.tokens[:, place == size - 1] == start + 1)
    assert block.tokens[:, (place > 0) & (place < size - 1)].max() < start
    marks = (place == 0) | (place == size - 1)
    assert np.all(block.floor_nats[:, marks | (np.arange(length) < size)] == 0)
    assert not block.scored[:, : source.given_frames * size].any()
    assert np.array_equal(
        block.scored[0, source.given_frames * size :], source.score_marks | ~marks[source.given_frames * size :]
    )
    if source.temperature == 0:
        assert not block.floor_nats.any()
    if "complexity" in block.info:
        assert source.band_low < block.info["complexity"].min()
        assert block.info["complexity"].max() < source.band_high
    if length % size == 0 and length > size:
        for row, changed in zip(block.tokens, block.info["changed"], strict=True):
            grids = np.array(list(grids_of(source, row)))
            assert np.isclose((grids[1:] != grids[:-1]).mean(), changed)
    rule_is_a_function(source, block)


def rule_is_a_function(source, block):
    """At temperature 0, equal neighbourhoods of one rule have equal successors."""
    if source.temperature > 0 or source.stride > 1:
        return
    for row in block.tokens:
        seen = {}
        grids = list(grids_of(source, row))
        for before, after in itertools.pairwise(grids):
            around = np.stack([np.roll(before, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=-1)
            for place in np.ndindex(before.shape):
                assert seen.setdefault(around[place].tobytes(), after[place]) == after[place]
