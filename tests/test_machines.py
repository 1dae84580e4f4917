"""Universal machines: distributions against the published measurements, hand-worked runs, other interpreters."""

import numpy as np
import pytest
from references.brainphoque import Program, _plain, textbook

from uprior.errors import SpecError
from uprior.rng import generator
from uprior.sources import _brainphoque_kernel as kernels
from uprior.sources import _brainphoque_prior as prior
from uprior.sources import get
from uprior.sources import turing_machine as turing
from uprior.sources._base import Draw
from uprior.sources.brainphoque import prior_edges

# ------------------------------------------------------------------ brainphoque: what uniform programs emit


def emitted(spec, programs):
    """Rows [N, 256] of programs as they come, before any is thrown away, and the facts of each."""
    tokens, scored = np.zeros((programs, 256), dtype=np.uint16), np.zeros((programs, 256), dtype=np.bool_)
    facts, floor = np.zeros((programs, 8), dtype=np.int64), np.zeros((programs, 256), dtype=np.float32)
    kernels.write_rows(
        generator("test", spec.fingerprint), prior_edges(spec.prior, spec.input_instruction), spec.symbols, spec.tape,
        spec.steps, kernels.BLANK, 0, (0, 7), tokens, scored, floor, facts, np.empty((0, 1 + spec.tape), dtype=np.int32),
    )  # fmt: skip
    return tokens, facts


# Measured on the published code: fill, full length, empty, at most one symbol, instructions used (and shortened). The
# uniqueness of outputs depends on how many are looked at: the last column, chosen so that one example fits.
PUBLISHED = {
    "brainphoque@solomonoff-example": (0.040, 0.0, 0.067, 0.236, 38.7, None, 0.56, 53000),
    "brainphoque@solomonoff": (0.27, 0.112, 0.071, 0.247, 42.2, 23.7, 0.61, 17000),
    "brainphoque:prior=uniform,symbols=2,steps=1024": (0.28, 0.108, 0.061, 0.248, 56.3, None, 0.50, 11000),
    "brainphoque@forks": (0.24, 0.093, 0.050, 0.202, 78.4, None, 0.61, 7000),
    "brainphoque@solomonoff-order2": (0.79, 0.461, 0.003, 0.021, 78.1, 70.3, 0.98, 5000),
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_outputs_are_distributed_as_published(text):
    fill, full, empty, simple, used, shortened, unique, programs = PUBLISHED[text]
    tokens, facts = emitted(get(text), programs)
    written = facts[:, kernels.WRITTEN]
    outputs = [row[:size].tobytes() for row, size in zip(tokens, written, strict=True)]
    assert written.mean() / 256 == pytest.approx(fill, abs=0.015)
    for share, expected in (
        (np.mean(written == 256), full),
        (np.mean(written == 0), empty),
        (np.mean([len(np.unique(np.frombuffer(output, dtype=np.uint16))) <= 1 for output in outputs]), simple),
    ):
        assert share == pytest.approx(expected, abs=0.0015 + 4 * np.sqrt(expected * (1 - expected) / 5000))
    # The order-2 prior is fitted to another sample of programs than the published one.
    assert facts[:, kernels.DRAWN].mean() == pytest.approx(used, rel=0.08 if "order2" in text else 0.025)
    if shortened:
        assert facts[:, kernels.SHORT].mean() == pytest.approx(shortened, rel=0.08 if "order2" in text else 0.025)
    assert len(set(outputs)) / programs == pytest.approx(unique, abs=0.025)


def test_prior_is_what_its_fit_gives():
    np.testing.assert_array_equal(prior.fit(), prior.COUNTS)


def test_prior_of_unseen_contexts_is_uniform_and_reads_are_an_eighth():
    chances = np.diff(prior_edges("order2", False), axis=1, prepend=0.0)
    assert prior.COUNTS[1].sum() == 0  # "+-" undo each other: no shortened program has them
    np.testing.assert_allclose(chances[1, :6], 1 / 7)
    assert prior_edges("uniform", True)[0, 6] == pytest.approx(7 / 8)


# ------------------------------------------------------------------ brainphoque: other interpreters


def kernel_program(spec, rng, room=64):
    out, floor = np.zeros(room, dtype=np.uint16), np.zeros(room, dtype=np.float32)
    text, links = np.zeros(spec.steps, dtype=np.int8), np.zeros((4, spec.steps), dtype=np.int32)
    marks = np.zeros((2, max(spec.tape, spec.steps + 1)), dtype=np.int32)
    written, steps, drawn, by_print, _ = kernels.run(
        rng, prior_edges(spec.prior, False), spec.symbols, spec.steps, np.zeros(spec.tape, dtype=np.int32), text, links,
        marks, out, floor, np.empty((0, 1 + spec.tape), dtype=np.int32),
    )  # fmt: skip
    short = np.zeros(spec.steps, dtype=np.int8)
    size = kernels.shorten(text, links, by_print, short)
    return out[:written].tolist(), steps, text[:drawn].tolist(), links, short[:size].tolist()


@pytest.mark.parametrize("text", ["brainphoque", "brainphoque@solomonoff", "brainphoque:symbols=3,tape=4"])
def test_programs_mean_the_same_in_ordinary_brainfuck(text):
    spec, rng = get(text).replace(steps=400), generator("test", text)
    printed = 0
    for _ in range(300):
        output, steps, ops, links, _ = kernel_program(spec, rng)
        ops = [kernels.INSTRUCTIONS[op] for op in ops]
        brackets = [at for at, op in enumerate(ops) if op in "[]"]
        around = {at: int(links[0, at]) if links[0, at] >= 0 else None for at in brackets}
        target = {
            (at, nonzero): int(links[1 if nonzero else 2, at])
            for at in brackets
            for nonzero in (False, True)
            if ops[at] == "[" and links[1 if nonzero else 2, at] >= 0
        }
        plain = _plain(ops, target, around, 0, None)
        assert textbook(plain, spec.symbols, spec.tape, steps, len(output))[0] == output
        printed += len(output)
    assert printed > 3000


@pytest.mark.parametrize("text", ["brainphoque", "brainphoque@solomonoff", "brainphoque:symbols=3,tape=4"])
def test_shortened_program_prints_the_same(text):
    """So 7^-length of it is a lower bound on the chance of the output, up to the limits of steps and length."""
    spec, rng = get(text).replace(steps=400), generator("test", "short", text)
    for _ in range(300):
        output, steps, _, _, short = kernel_program(spec, rng)
        given = iter([kernels.INSTRUCTIONS[op] for op in short])
        again = Program(spec.symbols, spec.tape, steps, len(output), lambda given=given: next(given, None))
        assert again.output == output and again.shortened() == "".join(again.text)


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("+[.+]--.", [1, 2, 3, 2]),  # a loop that counts up to the modulus, and what follows it
        ("]]+.]", [1]),  # unmatched brackets do nothing
        ("[+.", [1]),  # passed over; its body is never needed
        ("+[[>+.<]", [1, 2, 3, 0, 1, 2, 3, 0]),  # two loops entered at once: the inner one never ends
    ],
)
def test_programs_by_hand(text, output):
    given = iter(text)
    program = Program(4, 8, 60, 8, lambda: next(given, None))
    assert program.output == output


def test_a_loop_passed_over_first_gets_its_body_where_it_is_entered():
    """Cell 0 is 1: the outer loop; cell 1 is 0, so "[" is passed over and "+<]" ends the turn. In the second turn cell 1 is
    1: its body ".-]" is drawn after everything else, prints 1 and clears the cell."""
    given = iter("+[>[+<].-].")
    program = Program(4, 8, 21, 8, lambda: next(given, None))
    assert program.brainfuck() == "+[>[.-]+<]"
    assert program.output == [1, 1]
    assert textbook("+[>[.-]+<]", 4, 8, 21, 8) == ([1, 1], 21)


# ------------------------------------------------------------------ brainphoque: the source


@pytest.mark.parametrize("text", ["brainphoque", "brainphoque@forks", "brainphoque@bloem:steps=64"])
def test_facts_equal_the_reference(text):
    from references.brainphoque import reference

    spec = get(text)
    draw = Draw((spec.fingerprint, 3, "train", 0), "train", 0)
    made, expected = spec._generate(draw, 6, 96), reference(spec, draw, 6, 96)
    assert set(made.info) == {*expected.info, "timed_out"}
    for name, values in expected.info.items():
        np.testing.assert_allclose(made.info[name], values, rtol=1e-12, err_msg=name)


def test_outputs_held_out_are_in_one_split_only():
    spec = get("brainphoque@solomonoff-example:holdout=output")
    rows = {
        split: {row.tobytes() for row in spec.block(0, 0, rows=400, length=64, split=split).tokens}
        for split in ("train", "validation", "test")
    }
    assert rows["train"].isdisjoint(rows["test"]) and rows["train"].isdisjoint(rows["validation"])
    assert rows["validation"].isdisjoint(rows["test"])


def test_inputs_cost_their_entropy_where_first_printed():
    """Binary with reads: floors are 0 or ln 2, and a token of floor ln 2 is a fair coin."""
    block = get("brainphoque@forks").block(0, 0, rows=600, length=128)
    first = block.floor_nats > 0
    assert np.unique(block.floor_nats[first]).tolist() == [np.float32(np.log(2))]
    assert first.sum() > 2000
    assert block.tokens[first].mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(first.sum()))


def test_picture_shows_the_head_walk_over_the_tape():
    spec = get("brainphoque:tape=9")
    picture = spec.picture(length=256)
    heads = (picture >= spec.symbols).argmax(axis=1)
    assert ((picture >= spec.symbols).sum(axis=1) == 1).all() and heads[0] == 4
    assert set((np.diff(heads) % 9).tolist()) <= {0, 1, 8}
    assert picture[0].max() == spec.symbols  # all cells are 0


@pytest.mark.parametrize("text", ["brainphoque:min_output=1", "brainphoque@bloem:min_output=13"])
def test_outputs_that_no_program_could_be_kept_for_are_refused(text):
    with pytest.raises(SpecError, match="min_output"):
        get(text)


# ------------------------------------------------------------------ turing_machine

# The machines that halt latest, a letter and what it does on 0 and on 1: symbol written, move, next state (H halts).
BUSY_BEAVERS = {
    "1RB 1LB  1LA 1RH": (6, 4),
    "1RB 1RH  1LB 0RC  1LC 1LA": (21, 5),
    "1RB 1LB  1LA 0LC  1RH 1LD  1RD 0RA": (107, 13),
}


def as_table(text):
    entries = text.split()
    states = len(entries) // 2
    return states, np.array(
        [
            int(e[0])
            | (e[1] == "R") << turing._RIGHT
            | (states if e[2] == "H" else ord(e[2]) - ord("A")) << turing._STATE
            for e in entries
        ],
        dtype=np.int32,
    )


@pytest.mark.parametrize("text", BUSY_BEAVERS)
def test_busy_beavers_halt_after_the_known_number_of_steps(text):
    """S(2) = 6, S(3) = 21, S(4) = 107 (Rado 1962, Lin and Rado 1965, Brady 1983), leaving 4, 5 and 13 ones."""
    steps, ones = BUSY_BEAVERS[text]
    states, table = as_table(text)
    tape, row = np.full(2 * 200 + 3, turing.FRESH, dtype=np.int32), np.zeros(200, dtype=np.uint16)
    floor, path = np.zeros(200, dtype=np.float32), np.empty((0, 3), dtype=np.int64)
    rng = generator("not used")
    ran, halts, cells = turing.run(
        rng, table, states, 2, 2, turing.TAPE, False, False, 200, tape, row, floor, path
    )  # fmt: skip
    assert (ran, halts, row.sum()) == (steps, 1, ones) and cells >= ones
    assert (tape == turing.FRESH).all()
    # Started again and again on a new tape, what it does repeats after so many steps.
    turing.run(rng, table, states, 2, 2, turing.TRACE, False, True, 200, tape, row, floor, path)
    assert (row[steps:] == row[:-steps]).all() and not (floor > 0).any()


def test_every_entry_of_a_table_is_as_likely():
    states, symbols, tables = 3, 2, 4000
    table = np.empty(6, dtype=np.int32)
    seen, halted, rng = np.zeros(3 * 2 * 2), 0, generator("tables")
    for _ in range(tables):
        turing.draw_table(rng, states, symbols, 0.25, table)
        state, right, symbol = table >> turing._STATE, table >> turing._RIGHT & 1, table & 0xFFFF
        halted += (state == states).sum()
        np.add.at(seen, (state * 4 + right * 2 + symbol)[state < states], 1)
    assert halted / (6 * tables) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 6 / tables))
    expected = seen.sum() / 12
    assert ((seen - expected) ** 2 / expected).sum() < 11 + 5 * np.sqrt(22)


def test_few_machines_on_random_tapes_are_redrawn_and_most_on_blank_ones():
    """Of random machines with 2..16 states and 2..8 symbols; the shares that the docstring gives."""
    for start, redraws in (("random", 0.28), ("blank", 6.8)):
        info = get(f"turing_machine:start={start},emit=read").block(0, 0, rows=500, length=256).info
        assert info["redrawn"].mean() == pytest.approx(redraws, rel=0.25)


def test_picture_of_a_machine_has_one_head_per_line_and_keeps_what_it_wrote():
    spec = get("turing_machine:halting=0.05,max_states=4")
    picture = spec.picture(length=120)
    heads = (picture >= spec.max_symbols).argmax(axis=1)
    assert ((picture >= spec.max_symbols).sum(axis=1) == 1).all()
    trace = Draw((spec.fingerprint, 0, "train", 0), "train", 0)
    read = spec._generate(trace, 1, 120).tokens[0] % spec.max_symbols
    lines = np.arange(120)
    later = lines[1:][(picture[:-1] >= 0).sum(axis=1) <= (picture[1:] >= 0).sum(axis=1)]
    assert len(later) > 50
    known = [t for t in later if picture[t - 1, heads[t]] in range(spec.max_symbols)]
    assert [picture[t, heads[t]] - spec.max_symbols for t in known] == [read[t] for t in known]


def test_blank_tapes_have_one_row_per_machine():
    with pytest.raises(SpecError, match="rows_per_machine"):
        get("turing_machine:start=blank,rows_per_machine=2")
