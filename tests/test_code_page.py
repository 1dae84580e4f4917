"""Code pages: every kind of symbol in a block of its own, and a language that is otherwise as it was."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprior.errors import SpecError
from uprior.sources import _language_layout as layout
from uprior.sources import get
from uprior.sources._base import Draw
from uprior.sources.code_page import CodePage, lay_out
from uprior.sources.random_language import RandomLanguage

# Letters, second forms, digits, what delimits, leads: first and last symbols of each kind, written out.
KINDS = {"letter": (0, 63), "second": (64, 127), "digit": (128, 143), "delimiter": (144, 158), "lead": (159, 160)}
FIRST = {
    "letters": 0, "second": layout.SECOND, "digits": layout.DIGIT, "separators": layout.SEPARATOR, "marks": layout.MARK,
    "ends": layout.END, "lines": layout.LINE, "pairs": layout.OPEN, "closes": layout.CLOSE, "leads": layout.LEAD,
}  # fmt: skip


def code_of(tokens, mirrored=0, **counts):
    """[SYMBOLS] the tokens of a machine with these numbers of symbols, taken one by one; mirrored pairs share theirs."""
    code, tokens = np.full(layout.SYMBOLS, -1, dtype=np.int32), iter(tokens)
    for name, count in {**counts, "lines": 1, "closes": counts["pairs"]}.items():
        for i in range(count):
            code[FIRST[name] + i] = next(tokens)
    for i in range(min(mirrored, counts["pairs"])):
        code[layout.CLOSE + i] = code[layout.OPEN + i]
    return code


def page_of(code, codes, rng):
    page = np.full(codes, -1, dtype=np.int64)
    lay_out(rng, code, page)
    return page


def blocks_of(code, page):
    """{kind: (first code, size)} of a page, when its kinds are runs, but for flipped bits, in aligned blocks of their own."""
    blocks, taken = {}, set()
    for kind, (first, last) in KINDS.items():
        codes = sorted({int(page[token]) for token in code[first : last + 1] if token >= 0})
        if not codes:
            continue
        size = next(2**n for n in range(20) if 2**n >= len(codes))
        begin = codes[0] // size * size
        assert any(sorted(begin + (place ^ flipped) for place in range(len(codes))) == codes for flipped in range(size))
        assert taken.isdisjoint(range(begin, begin + size)) and begin + size <= len(page)
        taken.update(range(begin, begin + size))
        blocks[kind] = begin, size
    assert (page >= 0).sum() == len({int(token) for token in code if token >= 0})
    return blocks


@cache
def smallest_alphabet(max_letters):
    for size in (64, 128, 256):
        try:
            return CodePage(RandomLanguage(alphabet_size=size, min_letters=2, max_letters=max_letters)).alphabet_size
        except SpecError:
            continue
    raise AssertionError(f"{max_letters} letters do not go into 256 codes")


def write(rows, length, **fields):
    """Rows of the language, the same rows in code pages, their machines [N], and the machines [M]."""
    spec = CodePage(RandomLanguage(**fields))
    draw = Draw((spec.fingerprint, 0, "train", 0), "train", 0)
    tokens, machine, machines = spec.language.write(draw.child("language"), rows, length)
    return tokens, spec._generate(draw, rows, length).tokens, machine, machines


class Backwards:
    """A generator whose orders are backwards and whose numbers are the largest."""

    def permutation(self, n):
        return np.arange(n)[::-1]

    def integers(self, n):
        return n - 1


def test_a_page_by_hand():
    """Three letters go to the last four codes, their second forms before them, then what delimits, digits and a lead.

    Orders are backwards and then all bits flipped, so forwards from the block's second code where it has four.
    """
    code = code_of(
        range(32), letters=3, second=3, digits=2, separators=1, marks=0, ends=0, pairs=1, mirrored=1, leads=1
    )
    assert code[[0, 1, 2]].tolist() == [0, 1, 2] and code[[64, 65, 66]].tolist() == [3, 4, 5]
    assert code[[128, 129]].tolist() == [6, 7] and code[[144, 152, 153, 156]].tolist() == [8, 11, 9, 9]
    page = page_of(code, 32, Backwards())
    assert page[[0, 1, 2]].tolist() == [29, 30, 31]
    assert page[[3, 4, 5]].tolist() == [25, 26, 27]
    # By their symbols: separator, line, the pair that is one symbol.
    assert page[[8, 11, 9]].tolist() == [21, 22, 23]
    assert page[[6, 7]].tolist() == [18, 19]
    assert page[10] == 17
    assert (page >= 0).sum() == 12


COUNTS = st.fixed_dictionaries({
    "digits": st.integers(2, 16), "separators": st.integers(1, 3), "marks": st.integers(1, 3), "ends": st.integers(0, 2),
    "pairs": st.integers(1, 3), "mirrored": st.integers(0, 3), "leads": st.integers(0, 2),
})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(data=st.data(), max_letters=st.integers(2, 64), second_forms=st.booleans(), counts=COUNTS, seed=st.integers(0))
def test_every_kind_has_a_block_of_its_own_in_the_smallest_alphabet(data, max_letters, second_forms, counts, seed):
    codes, rng = smallest_alphabet(max_letters), np.random.default_rng(seed)
    letters = data.draw(st.integers(2, max_letters), "letters")
    code = code_of(rng.permutation(codes), letters=letters, second=letters * second_forms, **counts)
    page = page_of(code, codes, rng)
    blocks = blocks_of(code, page)
    assert ("second" in blocks, "lead" in blocks) == (second_forms, counts["leads"] > 0)
    assert {"letter", "digit", "delimiter"} <= set(blocks)
    if second_forms:
        places = [
            page[code[first : first + letters]] - blocks[kind][0] for kind, first in (("letter", 0), ("second", 64))
        ]
        assert places[0].tolist() == places[1].tolist()


@pytest.mark.parametrize("max_letters", [2, 7, 8, 33, 64])
def test_the_fullest_machine_has_room(max_letters):
    full = {"digits": 16, "separators": 3, "marks": 3, "ends": 2, "pairs": 3, "leads": 2}
    codes = smallest_alphabet(max_letters)
    code = code_of(range(codes), letters=max_letters, second=max_letters, **full)
    for seed in range(20):
        assert len(blocks_of(code, page_of(code, codes, np.random.default_rng(seed)))) == 5


def test_rows_are_those_of_the_language_relabelled_machine_by_machine():
    for fields in ({}, {"alphabet_size": 64, "max_letters": 7, "rows_per_machine": 2, "absence": 0.0}):
        tokens, codes, machine, machines = write(24, 400, **fields)
        back = np.empty_like(tokens)
        for m, one in enumerate(machines):
            mine = machine == m
            page = dict(zip(tokens[mine].ravel().tolist(), codes[mine].ravel().tolist(), strict=True))
            token = {code: token for token, code in page.items()}
            assert len(token) == len(page)  # no two tokens have one code
            back[mine] = [[token[code] for code in row] for row in codes[mine].tolist()]
            # What these rows show of the page lies as the kinds say.
            for first, last in KINDS.values():
                shown = [page[token] for token in one["code"][first : last + 1].tolist() if token in page]
                size = next(2**n for n in range(9) if 2**n >= len(set(one["code"][first : last + 1]) - {-1}))
                assert len({code // size for code in shown}) <= 1
        assert np.array_equal(back, tokens)


def test_info_and_machines_are_those_of_the_language():
    spec = CodePage()
    draw = Draw((spec.fingerprint, 0, "train", 0), "train", 0)
    ours, theirs = spec._generate(draw, 9, 100), spec.language._generate(draw.child("language"), 9, 100)
    assert {name: values.tolist() for name, values in ours.info.items()} == {
        name: values.tolist() for name, values in theirs.info.items()
    }
    assert (ours.machine - ours.machine[0]).tolist() == (theirs.machine - theirs.machine[0]).tolist()
    assert ours.floor_nats is None and ours.scored is None and ours.tokens.dtype == np.uint16


def test_blocks_lie_anywhere_and_orders_are_any():
    """Over pages of one machine, each kind's block has each of its places equally often, and so has a symbol in its block."""
    counts = {"letters": 20, "second": 20, "digits": 10, "separators": 1, "marks": 3, "ends": 1, "pairs": 1, "leads": 2}
    code, rng, many = code_of(range(256), **counts), np.random.default_rng(0), 1500
    pages = [page_of(code, 256, rng) for _ in range(many)]
    blocks = [blocks_of(code, page) for page in pages]
    for kind, (first, _) in KINDS.items():
        size = blocks[0][kind][1]
        begins = np.bincount([block[kind][0] // size for block in blocks], minlength=256 // size)
        places = np.bincount([page[code[first]] - block[kind][0] for page, block in zip(pages, blocks, strict=True)])
        assert len(begins) == 256 // size and len(places) == size
        for drawn in (begins, places):
            assert abs(drawn - many / len(drawn)).max() < 6 * math.sqrt(many / len(drawn))


def test_every_code_is_as_likely_as_any_other():
    """Over machines of the default language, each code has a symbol in about as many pages as any other code."""
    language, many, rng = RandomLanguage(rows_per_machine=1), 1000, np.random.default_rng(0)
    _, _, machines = language.write(Draw((language.fingerprint, 0, "train", 0), "train", 0), many, 1)
    pages = [page_of(code, 256, rng) for code in machines["code"]]
    times = np.bincount(np.concatenate([page[page >= 0] for page in pages]), minlength=256)
    share = times.mean() / many
    assert abs(times - share * many).max() < 6 * math.sqrt(share * (1 - share) * many)


def test_pages_are_of_all_sizes():
    """Blocks of 8, 8, 16 and 8 codes: a page has 64, 128 or 256, each as often, so a third lie in 64, and a few others do."""
    code = code_of(range(256), letters=5, second=5, digits=10, separators=1, marks=2, ends=1, pairs=1, leads=0)
    rng = np.random.default_rng(0)
    used = np.array([page_of(code, 256, rng)[:27] for _ in range(1500)])
    within = {size: np.mean(np.ptp(used // size, axis=1) == 0) for size in (32, 64, 128)}
    assert within[32] == 0 and 1 / 3 - 0.05 < within[64] < 0.45 and 2 / 3 - 0.05 < within[128] < 0.85


def test_machines_differ_in_pages():
    spec = CodePage(RandomLanguage(rows_per_machine=1))
    block = spec.block(0, 0, rows=200, length=600)
    used = {tuple(np.unique(row).tolist()) for row in block.tokens}
    assert len(used) > 190
    # Any sixteen codes that share their leading bits are used by about as many machines as any other sixteen.
    share = np.array([np.bincount(row // 16, minlength=16) > 0 for row in block.tokens.astype(int)]).mean(0)
    assert abs(share - share.mean()).max() < 6 * math.sqrt(share.mean() * (1 - share.mean()) / 200)


def test_a_code_says_nothing_of_how_frequent_its_symbol_is():
    """Among the letters of a machine, frequency goes with the language's rank, but not with the place in the block."""
    with_rank, with_code = [], []
    tokens, codes, _, machines = write(400, 600, rows_per_machine=1, min_letters=16)
    for row, paged, one in zip(tokens, codes, machines, strict=True):
        letters = one["code"][: one["letters"]]
        page, counts = dict(zip(row.tolist(), paged.tolist(), strict=True)), np.bincount(row, minlength=256)
        shown = [(rank, page[token], counts[token]) for rank, token in enumerate(letters.tolist()) if token in page]
        if len(shown) >= 8:
            ranks, places, frequencies = np.array(shown).T
            with_rank.append(np.corrcoef(ranks, frequencies)[0, 1])
            with_code.append(np.corrcoef(places, frequencies)[0, 1])
    assert len(with_code) > 200 and np.mean(with_rank) < -0.15
    assert abs(np.mean(with_code)) < 6 * np.std(with_code) / math.sqrt(len(with_code)) < 0.15


@pytest.mark.parametrize(
    ("language", "allowed"),
    [
        ("alphabet_size=300", "a power of two, 256 or more"),
        ("alphabet_size=65535", "a power of two, 256 or more"),
        ("alphabet_size=255,max_letters=32", "a power of two, 128 or more"),
        # Large enough for the language, but not for its blocks.
        ("alphabet_size=64,max_letters=9", "a power of two, 128 or more"),
        ("alphabet_size=128,max_letters=33", "a power of two, 256 or more"),
        ("alphabet_size=48,max_letters=7", "a power of two, 64 or more"),
    ],
)
def test_alphabets_without_room_are_refused(language, allowed):
    with pytest.raises(
        SpecError, match=rf"^code_page: language\.alphabet_size = \d+ is not allowed; allowed: {allowed}$"
    ):
        get(f"code_page:language=(random_language:{language})")


def test_what_the_language_refuses_is_refused():
    with pytest.raises(SpecError, match=r"^random_language: max_letters"):
        get("code_page:language=(random_language:alphabet_size=64)")


def test_the_least_alphabets_do():
    assert [smallest_alphabet(n) for n in (2, 8, 9, 32, 33, 64)] == [64, 64, 128, 128, 256, 256]
