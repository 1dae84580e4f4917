"""The lazily sampled Brainfuck machine in plain Python, and an ordinary Brainfuck interpreter to check it against."""

import math

import numpy as np

from uprior.sources import get
from uprior.sources._brainphoque_prior import COUNTS
from uprior.types import Block

GOLDEN = (1, "aed4fc5dbc4cddfe")
SPECS = [
    get("brainphoque"),
    get("brainphoque@solomonoff"),
    get("brainphoque@forks:steps=300"),
    get("brainphoque@bloem"),
    get("brainphoque:input_instruction=true,symbols=3,tape=5,steps=120,holdout=output"),
    get("brainphoque:tape=1,symbols=2,steps=16"),
]
OPPOSITE = {"+": "-", "-": "+", "<": ">", ">": "<"}


class Program:
    """A program that is drawn while it runs: ``draw()`` gives the next instruction, ``symbol()`` the next input."""

    def __init__(self, symbols, width, steps, room, draw, symbol=None):
        self.text = []
        self.loop_around = {}  # bracket -> position of the "[" around it, or None
        self.target = {}  # (position of a bracket, whether the cell is not zero) -> where to go on
        self.end_of_loop = {}  # position of "[" -> position of its "]"
        self.output, self.floor = [], []
        self.drawn_by_print = self.inputs_by_print = self.steps = 0
        tape, holds, known = [0] * width, {}, set()
        at, head, inputs, loop = 0, 0, 0, None
        while self.steps < steps and len(self.output) < room:
            if at == len(self.text):
                op = draw()
                if op is None:
                    return
                self.text.append(op)
                if op in "[]":
                    self.loop_around[at] = loop
                if op == "]" and loop is not None:
                    self.end_of_loop[loop] = at
            op = self.text[at]
            self.steps += 1
            go_on = at + 1
            if op == "+":
                tape[head] = (tape[head] + 1) % symbols
            elif op == "-":
                tape[head] = (tape[head] - 1) % symbols
            elif op == "<":
                head = (head - 1) % width
            elif op == ">":
                head = (head + 1) % width
            elif op == ".":
                self.output.append(tape[head])
                hidden = head in holds and holds[head] not in known
                self.floor.append(math.log(symbols) if hidden else 0.0)
                known.add(holds.get(head))
                self.drawn_by_print, self.inputs_by_print = len(self.text), inputs
            elif op == ",":
                inputs += 1
                tape[head], holds[head] = symbol(), inputs
            elif op == "[":
                known.add(holds.get(head))
                branch = (at, tape[head] != 0)
                if branch not in self.target:
                    self.target[branch] = len(self.text)
                    loop = at if tape[head] != 0 else self.loop_around[at]
                go_on = self.target[branch]
            elif op == "]" and self.loop_around[at] is not None:
                go_on = self.loop_around[at]
            at = go_on

    def shortened(self):
        """The instructions that matter to what was printed, in the order in which they are drawn."""
        end, short = self.drawn_by_print, []
        for at, op in enumerate(self.text[:end]):
            if op == "[":
                looped = self.end_of_loop.get(at, end) < end
                body = self.target.get((at, True), end)
                if not looped and (body == at + 1 or body >= end):
                    continue
            elif op == "]" and self.loop_around[at] is None:
                continue
            elif op == ",":
                while short and short[-1] in "+-":
                    short.pop()
            elif op in "+-" and short and short[-1] == ",":
                continue
            elif op in OPPOSITE and short and short[-1] == OPPOSITE[op]:
                short.pop()
                continue
            short.append(op)
        return "".join(short)

    def brainfuck(self):
        """The same program as ordinary Brainfuck: the pieces put where they belong, loops never entered left empty."""
        return _plain(self.text, self.target, self.loop_around, 0, None)


def _plain(text, target, loop_around, at, loop):
    written = []
    while at is not None and at < len(text):
        op = text[at]
        if op == "[":
            body = target.get((at, True))
            written += ["[", "" if body is None else _plain(text, target, loop_around, body, at), "]"]
            at = target.get((at, False))
            continue
        if op == "]" and loop_around[at] is not None:
            assert loop_around[at] == loop
            break
        if op != "]":
            written.append(op)
        at += 1
    return "".join(written)


def textbook(program, symbols, width, steps, room):
    """(output, steps) of ordinary Brainfuck without input, on a ring tape of cells modulo ``symbols``."""
    match, stack = {}, []
    for i, op in enumerate(program):
        if op == "[":
            stack.append(i)
        elif op == "]":
            match[i] = stack.pop()
            match[match[i]] = i
    assert not stack
    cells, head, at, step, output = np.zeros(width, dtype=np.int64), 0, 0, 0, []
    while at < len(program) and step < steps and len(output) < room:
        op = program[at]
        step += 1
        if op in "+-":
            cells[head] = (cells[head] + (1 if op == "+" else symbols - 1)) % symbols
        elif op in "<>":
            head = (head + (1 if op == ">" else width - 1)) % width
        elif op == ".":
            output.append(int(cells[head]))
        elif op == "]":
            at = match[at] - 1
        elif op == "[" and cells[head] == 0:
            at = match[at]
        at += 1
    return output, step


def drawer(source, rng):
    """A function that draws one instruction after another from the prior of the source."""
    last = ["", ""]

    def draw():
        counts = [0] * 7
        if source.prior == "order2":
            a, b = ("+-<>[].".find(op) if op else 7 for op in last)
            counts = COUNTS[8 * a + b].tolist()
        chances = [(count + 0.5) / (sum(counts) + 3.5) for count in counts]
        if source.input_instruction:
            chances = [chance * 0.875 for chance in chances] + [0.125]
        uniform, op = rng.random(), 0
        while op < len(chances) - 1 and uniform >= sum(chances[: op + 1]):
            op += 1
        if op < 7:
            last[:] = last[1], "+-<>[]."[op]
        return "+-<>[].,"[op]

    return draw


def part_of(output):
    value = 14695981039346656037
    for symbol in output:
        value = (value ^ symbol) * 1099511628211 % 2**64
    return (value >> 32) % 8


def filled(source, output, room):
    if source.fill == "repeat":
        return [output[t % len(output)] for t in range(room)] if output else []
    return output + [0] * (room - len(output) if source.fill == "blank" else 0)


def row_of_programs(source, rng, split, length):
    """(programs of one row, steps of all programs drawn, number thrown away)."""
    kept, steps, redrawn, room = [], 0, 0, length
    parts = {"train": range(6), "validation": [6], "test": [7]}[split]
    while room > 0:
        symbol = lambda: int(rng.random() * source.symbols)  # noqa: E731
        program = Program(source.symbols, source.tape, source.steps, room, drawer(source, rng), symbol)
        steps += program.steps
        elsewhere = (
            source.holdout == "output" and room >= 16 and part_of(filled(source, program.output, room)) not in parts
        )
        if len(program.output) < min(source.min_output, room) or elsewhere:
            redrawn += 1
            continue
        kept.append(program)
        room = room - len(program.output) - 1 if source.fill == "pack" else 0
    return kept, steps, redrawn


def reference(source, draw, rows, length):
    rng = draw("programs")
    tokens, scored, floor, facts = [], [], [], []
    for _ in range(rows):
        programs, steps, redrawn = row_of_programs(source, rng, draw.split, length)
        row, counts, nats = [], [], []
        for program in programs:
            row += filled(source, program.output, length - len(row))
            counts += [True] * len(program.output)
            nats += program.floor
            if source.fill == "pack":
                row, counts, nats = [*row, source.symbols], [*counts, False], [*nats, 0.0]
        counts += [source.fill == "repeat"] * (length - len(counts))
        nats += [0.0] * (length - len(nats))
        tokens.append(row[:length])
        scored.append(counts[:length])
        floor.append(nats[:length])
        shortened, inputs = sum(len(p.shortened()) for p in programs), sum(p.inputs_by_print for p in programs)
        facts.append({
            "programs": len(programs), "redrawn": redrawn, "steps": steps, "written": sum(len(p.output) for p in programs),
            "drawn": sum(len(p.text) for p in programs), "shortened": shortened, "inputs": inputs,
            "program_nats": shortened * math.log(7 + source.input_instruction) + inputs * math.log(source.symbols),
        })  # fmt: skip
    return Block(
        tokens=np.array(tokens, dtype=np.uint16),
        machine=draw.machine_ids(np.arange(rows)),
        scored=None if source.fill == "repeat" else np.array(scored),
        floor_nats=np.array(floor, dtype=np.float32),
        info={name: np.array([row[name] for row in facts]) for name in facts[0]},
    )


def validate(source, block):
    """Layout of the rows, and what the numbers of ``info`` allow."""
    info = block.info
    for n, row in enumerate(block.tokens.tolist()):
        if source.fill == "pack":
            outputs = "".join(chr(token) for token in row).split(chr(source.symbols))
            lengths = [len(output) for output in outputs if output]
            assert [token == source.symbols for token in row] == (~block.scored[n]).tolist()
            assert len(lengths) == info["programs"][n] and min(lengths[:-1], default=2) >= source.min_output
        else:
            lengths = [info["written"][n]]
            assert info["programs"][n] == 1 and lengths[0] >= source.min_output
        if source.fill == "blank":
            assert not any(row[lengths[0] :]) and block.scored[n].sum() == lengths[0]
            assert block.scored[n, : lengths[0]].all()
        if source.fill == "repeat":
            assert row == (row[: lengths[0]] * len(row))[: len(row)]
        assert sum(lengths) == info["written"][n] and max(row) < source.alphabet_size
    kept, redrawn = info["programs"], info["redrawn"]
    assert (info["timed_out"] <= kept).all() and (info["steps"] <= source.steps * (kept + redrawn)).all()
    assert (info["steps"] >= info["drawn"]).all() and (info["shortened"] <= info["drawn"]).all()
    first_prints = (block.floor_nats > 0).sum(axis=1)
    assert (first_prints <= info["inputs"]).all()
    np.testing.assert_allclose(block.floor_nats.sum(axis=1), first_prints * math.log(source.symbols), rtol=1e-5)
