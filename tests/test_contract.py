"""The contract of a source: every source of the catalogue keeps it, and every way of breaking it is noticed."""

import dataclasses
import hashlib
import math
import zlib
from itertools import product

import numpy as np
import pytest
from broken_sources import CLAUSE, Good
from hypothesis import given, settings
from hypothesis import strategies as st

from uprior.sources import Pointwise, Uniform, entries, find, get
from uprior.sources._base import Draw
from uprior.sources._check_floor import adaptive_nats
from uprior.sources._check_process import FreshProcess, block_digest
from uprior.sources._check_spec import changes
from uprior.sources._complexity import deflate_ratio, entropy_bits
from uprior.sources._look import (
    describe,
    html_lines,
    look,
    palette,
    png,
    terminal_lines,
)
from uprior.sources.check import CLAUSES, check, tells_little
from uprior.types import Block

# Sources that cannot be made without an argument; and one that writes many times what it emits, by small machines.
EXAMPLES = {
    "mixture": "mixture:sources=(uniform,constant,pointwise),shares=(2,1,1)",
    "buffered": "buffered:source=(random_lstm:hidden=8)",
}


def example(name):
    return get(EXAMPLES.get(name, name))


# ------------------------------------------------------------------ every source of the catalogue


@pytest.fixture(scope="module")
def fresh_process():
    with FreshProcess() as process:
        yield process


@pytest.mark.parametrize("name", sorted(entries()))
def test_source_keeps_the_contract(name, fresh_process):
    report = check(example(name), fresh_process=fresh_process)
    assert report.failures == []
    assert [line.split(":")[0] for line in report.passed] == [clause.__name__ for clause in CLAUSES]


@pytest.mark.parametrize("name", sorted(entries()))
def test_presets_are_legal_and_different(name):
    cls = find(name)
    made = [cls.preset(preset) for preset in cls.presets]
    assert len({spec.fingerprint for spec in made}) == len(made)
    for spec in made:
        length = max(16, spec.shortest_row)
        assert spec.block(0, 0, rows=2, length=length).tokens.shape == (2, length)


# ------------------------------------------------------------------ every way of breaking the contract


@pytest.mark.parametrize("cls", CLAUSE, ids=lambda cls: cls.__name__)
def test_broken_source_is_noticed(cls, fresh_process):
    report = check(cls(), fresh_process=fresh_process)
    assert CLAUSE[cls] in [line.split(":")[0] for line in report.failures]


def test_good_source_passes_at_another_seed_and_with_a_changed_field():
    assert check(Good(alphabet_size=16), seed=123456).failures == []


def test_source_of_main_or_of_a_function_is_told_to_move():
    @dataclasses.dataclass(frozen=True)
    class Local(Good):
        """Defined in a function, machines and floor as above."""

    failures = check(Local()).failures
    assert [line.split(":")[0] for line in failures] == ["fresh_process_gives_the_same"]
    assert "put it at the top of a module file" in failures[0]


def test_raised_text_is_the_finding():
    (cls,) = [cls for cls in CLAUSE if cls.__name__ == "Raises"]
    assert any("KeyError" in line and "missing key" in line for line in check(cls()).failures)


def test_clauses_are_all_exercised_by_a_broken_source():
    assert {clause.__name__ for clause in CLAUSES} == set(CLAUSE.values())


# ------------------------------------------------------------------ the parts of the check


def test_changes_reach_every_field_of_a_nested_spec():
    mixture = get("mixture:sources=(uniform,pointwise:max_symbols=4),shares=(2,1)")
    changed = [other for _, other in changes(mixture)]
    pairs = [other.sources for other in changed if [s.name for s in other.sources] == ["uniform", "pointwise"]]
    assert {pointwise.max_symbols for _, pointwise in pairs} > {4}
    assert {uniform.alphabet_size for uniform, _ in pairs} > {256}
    assert {other.shares for other in changed} > {(2, 1)}
    assert all(other != mixture for other in changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: dataclasses.replace(b, machine=b.machine + 1),
        lambda b: dataclasses.replace(b, floor_nats=b.floor_nats + np.float32(1e-6)),
        lambda b: dataclasses.replace(b, floor_nats=None),
        lambda b: dataclasses.replace(b, scored=np.ones(b.tokens.shape, dtype=bool)),
        lambda b: dataclasses.replace(b, tokens=b.tokens.astype(np.uint32)),
        lambda b: dataclasses.replace(b, info={"symbols": b.info["symbols"] + 1}),
        lambda b: dataclasses.replace(b, info={"sizes": b.info["symbols"]}),
        lambda b: b.take(np.array([1, 0])),
    ],
)
def test_digest_sees_every_part_of_a_block(change):
    block = Pointwise().block(0, 0, rows=2, length=8)
    assert block_digest(change(block)) != block_digest(block)
    assert block_digest(block.take(np.array([0, 1]))) == block_digest(block)


def test_rows_that_tell_little():
    random_row = np.arange(256) * np.arange(256) * 97 % 251
    period_3 = np.tile([1, 2, 3], 86)[:256]
    with_one_slip = period_3.copy()
    with_one_slip[100] = 9  # differs from what was 3 before, and what comes 3 later differs from it: 2 places
    period_5 = np.tile([1, 2, 3, 4, 5], 52)[:256]
    period_20 = np.tile(np.arange(20), 13)[:256]
    rows = np.array([random_row, np.zeros(256), period_3, with_one_slip, period_5, period_20], dtype=np.uint16)
    assert tells_little(rows).tolist() == [False, True, True, True, True, False]


def test_adaptive_predictor_by_hand():
    """Two symbols, row 0 0. First token: 1/2 in every order. Second token: order 0 gives (1 + 1/2) / 2 = 3/4; order 1 has
    seen no successor of 0, so it gives order 0's 3/4; order 2 has no context yet and falls back to its share of uniform."""
    nats = adaptive_nats(np.array([[0, 0]], dtype=np.uint16), 2)
    first = 1 / 2
    second = (1 / 2 + 3 / 4 + 3 / 4 + 3 / 4) / 4
    np.testing.assert_allclose(nats, [[-math.log(first), -math.log(second)]], rtol=1e-12)


def test_adaptive_predictor_is_a_probability():
    """Over all rows of length 4 from an alphabet of 3, the probabilities add up to 1."""
    rows = np.array(list(product(range(3), repeat=4)), dtype=np.uint16)
    assert np.exp(-adaptive_nats(rows, 3).sum(axis=1)).sum() == pytest.approx(1.0, abs=1e-12)


def test_adaptive_predictor_learns_a_period():
    row = np.tile(np.array([[7, 1, 4, 4]], dtype=np.uint16), 64)
    assert adaptive_nats(row, 256)[0, 128:].mean() < 0.05


# ------------------------------------------------------------------ purity, as a property


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**40), rows=st.integers(1, 9), length=st.integers(2, 40))
def test_any_block_is_pure_and_its_neighbours_are_others(seed, index, rows, length):
    source = get("pointwise:max_symbols=64")
    block = source.block(seed, index, rows=rows, length=length)
    assert block.tokens.shape == (rows, length)
    assert block_digest(source.replace().block(seed, index, rows=rows, length=length)) == block_digest(block)
    others = [
        source.block(seed + 1, index, rows=rows, length=length),
        source.block(seed, index + 1, rows=rows, length=length),
    ]
    assert all(set(block.machine.tolist()).isdisjoint(other.machine.tolist()) for other in others)


def test_draw_is_named_not_sequential():
    draw = Draw(("a", 1), "train", 0)
    late = draw("machines").random(), draw("rows").random()
    early = draw("rows").random(), draw("machines").random()
    assert late == early[::-1]
    assert draw.child("x")("rows").random() != draw("rows").random()


# ------------------------------------------------------------------ a look at a source


def test_look_at_noise_and_at_constant_rows():
    noise = look(Uniform(), rows=4, length=512, seed=0)
    assert noise["floor_bits"] == pytest.approx(8.0, rel=1e-6)
    assert 7.0 < noise["entropy_bits"] < 8.0  # 512 draws do not show all 256 symbols equally often
    assert noise["deflate_ratio"] > 0.95
    constant = look(get("constant"), rows=4, length=512, seed=0)
    assert constant["entropy_bits"] == constant["floor_bits"] == 0.0
    assert constant["deflate_ratio"] < 0.03
    assert (constant["scored_share"], len(constant["rows"]), len(constant["rows"][0])) == (1.0, 4, 512)


def test_look_counts_machines_and_ranges():
    seen = look(get("pointwise:rows_per_machine=2"), rows=6, length=32, seed=0)
    assert seen["machines"] == 3
    low, high = seen["info"]["symbols"]
    assert 2 <= low <= high <= 19


def test_entropy_and_deflate_by_hand():
    assert entropy_bits(np.array([1, 1, 1, 2], dtype=np.uint16)) == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))
    row = np.arange(300, dtype=np.uint16)
    raw = row.astype("<u2").tobytes()
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert deflate_ratio(row, 300) == len(compressor.compress(raw) + compressor.flush()) / 600


@pytest.mark.parametrize(
    "text",
    [
        "uniform",
        "pointwise:max_symbols=4,concentration=0.25",
        "mixture:sources=((pointwise:max_symbols=4),uniform),shares=(3,1)",
    ],
)
def test_description_is_read_back(text):
    assert describe(get(text)) == text
    assert get(describe(get(text))) == get(text)


def test_rows_in_plain_text_have_one_character_per_token_and_no_codes():
    tokens = np.arange(256, dtype=np.uint16)[None]
    (line,) = terminal_lines(tokens, 256, colour=False)
    assert len(line) == len(set(line)) == 256
    assert line.isprintable() and not set(line) & set(" \x1b<>&\"'`")
    assert terminal_lines(tokens, 256) == [line]  # pytest's standard output is no terminal


def test_rows_in_colour_are_reset_and_large_alphabets_are_blocks():
    (line,) = terminal_lines(np.array([[3, 70_000]], dtype=np.uint32), 1 << 20, colour=True)
    assert line.count("█") == 2 and line.endswith("\x1b[0m")
    (small,) = terminal_lines(np.array([[3, 3, 1]], dtype=np.uint16), 4, colour=True)
    assert [small.count("3"[0] + end) for end in ("\x1b",)] == [2]  # the glyph, just before the next cell's code


def test_rows_as_html_are_escaped_spans():
    text = html_lines(np.arange(256, dtype=np.uint16).reshape(2, 128), 256)
    assert text.count("<span") == 256 and text.count("<div>") == 2
    assert len(set(palette())) == 256


def test_picture_is_a_png_with_one_pixel_per_token():
    tokens = np.array([[0, 1, 2], [255, 256, 257]], dtype=np.uint16)
    data = png(tokens)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data[16:24] == (3).to_bytes(4, "big") + (2).to_bytes(4, "big")
    at = data.index(b"IDAT")
    pixels = zlib.decompress(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")])
    assert pixels == bytes([0, 0, 1, 2, 0, 255, 0, 1])  # a filter byte before each line; colour 256 is colour 0
    assert data[at + 4 :].endswith(b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big"))


def test_golden_digest_of_the_good_block():
    """The digest's own recipe: it must not change, or every golden hash of the other tests would."""
    block = Block(np.array([[1, 2]], dtype=np.uint16), np.array([3], dtype=np.int64))
    expected = hashlib.sha256(b"tokens <u2 (1, 2) \x01\x00\x02\x00machine <i8 (1,) \x03\0\0\0\0\0\0\0").hexdigest()
    assert block_digest(block) == expected
