"""Facts about chains, counting, grammars, rewriting and ListOps: hand-worked rows, published numbers, errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprior.errors import SpecError
from uprior.sources import PCFG, Champernowne, Lindenmayer, ListOps, MarkovChain, MergeLanguage, Zipf
from uprior.sources._alias import fill_alias
from uprior.sources._base import Draw
from uprior.sources.listops import CLOSE, MAX, MED, MIN, SUM, _value
from uprior.sources.markov_chain import _draw_distribution

# ------------------------------------------------------------------ tables, chains, Zipf's law


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda w: sum(w) > 0.01))
def test_alias_table_gives_every_symbol_its_weight(weights):
    weight = np.array(weights) / sum(weights)
    size = len(weight)
    keep, other = np.empty(size), np.empty(size, dtype=np.uint16)
    fill_alias(weight, keep, other, np.empty(size, dtype=np.int64))
    share = np.minimum(keep, 1) / size
    np.add.at(share, other, (1 - np.minimum(keep, 1)) / size)
    np.testing.assert_allclose(share, weight, atol=1e-12)


@pytest.mark.parametrize(("symbols", "concentration"), [(2, 1.0), (5, 0.5), (10, 20.0)])
def test_chain_distributions_are_dirichlet(symbols, concentration):
    """E p = 1/S and E sum p^2 = (a/S + 1) / (a + 1)."""
    rng, drawn = np.random.default_rng(0), np.empty((4000, symbols))
    room = np.empty(symbols), np.empty(symbols, dtype=np.uint16), np.empty(symbols, dtype=np.int64)
    for row in drawn:
        _draw_distribution(rng, concentration, row, *room)
    squares = (drawn**2).sum(axis=1)
    expected = (concentration / symbols + 1) / (concentration + 1)
    assert abs(squares.mean() - expected) < 4 * squares.std() / math.sqrt(len(drawn)) + 1e-3
    assert np.abs(drawn.mean(axis=0) - 1 / symbols).max() < 4.5 * drawn.std(axis=0).max() / math.sqrt(len(drawn))


def test_chain_writes_what_its_floor_says():
    """One binary chain of order 2: how often each transition occurs is what the floor claims."""
    spec = MarkovChain(alphabet_size=2, max_symbols=2, min_order=2, max_order=2, rows_per_machine=64)
    block = spec.block(0, 0, rows=64, length=500)
    tokens, p = block.tokens.astype(int), np.exp(-block.floor_nats.astype(float))
    context = 2 * tokens[:, :-2] + tokens[:, 1:-1]
    for c in range(4):
        wrote = tokens[:, 2:][context == c]
        stated = np.where(tokens == 1, p, 1 - p)[:, 2:][context == c]
        assert np.ptp(stated) < 1e-6
        assert abs(wrote.mean() - stated[0]) < 5 * math.sqrt(0.25 / len(wrote))
    np.testing.assert_allclose(p[:, :2], 0.5)


def test_zipf_frequencies_fall_as_the_rank_to_the_exponent():
    spec = Zipf(min_symbols=50, max_symbols=50, min_exponent=1.0, max_exponent=1.0, rows_per_machine=100)
    block = spec.block(0, 0, rows=100, length=1000)
    law = 1 / np.arange(1, 51) / sum(1 / k for k in range(1, 51))
    counts = np.sort(np.bincount(block.tokens.ravel(), minlength=256))[::-1]
    assert (counts[50:] == 0).all()
    assert np.abs(counts[:50] / 1e5 - law).max() < 5 * math.sqrt(0.25 / 1e5)
    assert abs(block.floor_nats.mean() + (law * np.log(law)).sum()) < 0.02
    assert abs(block.info["entropy"][0] + (law * np.log(law)).sum()) < 1e-5


# ------------------------------------------------------------------ counting


def test_counting_by_hand():
    spec = Champernowne(min_base=2, max_base=2, max_step=1, min_bits=1, max_bits=1)
    assert spec.block(0, 0, rows=1, length=17).tokens[0].tolist() == [1, 2, 1, 0, 2, 1, 1, 2, 1, 0, 0, 2, 1, 0, 1, 2, 1]
    spec = Champernowne(min_base=10, max_base=10, max_step=1, below=1, numbers=11, separator="none")
    row = spec.block(0, 0, rows=1, length=16).tokens[0].tolist()
    assert row == [*range(10), 1, 0, 0, 1, 2, 3]  # the second run begins at 0 again


def test_first_number_costs_what_is_still_possible():
    """Starts 0..11 in base 10: one digit (ten of them, each 1/10), or 1 and then 0 or 1."""
    spec = Champernowne(min_base=10, max_base=10, max_step=1, below=12)
    block = spec.block(0, 0, rows=200, length=2)
    long = block.info["digits"] == 2
    np.testing.assert_allclose(block.floor_nats[long], [[0, math.log(2)]] * long.sum(), atol=1e-6)
    np.testing.assert_allclose(block.floor_nats[~long], [[math.log(10), 0]] * (~long).sum(), atol=1e-6)
    assert abs(long.mean() - 2 / 12) < 4 * math.sqrt(2 / 12 * 10 / 12 / 200)


def test_bloem_champ_looks_uniform_to_counts():
    """Published: 4.02 bits per character for a trained model of order 0, 3.37 for one that adapts in context."""
    tokens = Champernowne.preset("bloem").block(0, 0, rows=64, length=6148).tokens
    share = np.bincount(tokens.ravel(), minlength=17) / tokens.size
    assert 3.95 < -(share * np.log2(share)).sum() < 4.03
    assert 1 / 1600 < share[16] < 1 / 1400  # one delimiter in 256 numbers of at most 6 digits


# ------------------------------------------------------------------ grammars


@pytest.mark.parametrize(("shape", "growth"), [("right", 0.6), ("greibach", 0.5), ("greibach", 0.8), ("chomsky", 0.6)])
def test_sentence_length_is_that_of_a_branching_process(shape, growth):
    """Mean number of nonterminals 1 / (1 - growth); each writes one terminal, or in Chomsky form only the leaves do."""
    spec = PCFG(shape=shape, min_growth=growth, max_growth=growth, max_depth=1000, rows_per_machine=1)
    block = spec.block(0, 0, rows=60, length=3000)
    sizes = np.concatenate([np.diff(np.flatnonzero(row == 0)) - 1 for row in block.tokens])
    leaves = 1 - growth / 2 if shape == "chomsky" else 1.0
    expected = leaves / (1 - growth)
    assert abs(sizes.mean() - expected) < 5 * sizes.std() / math.sqrt(len(sizes)) + 0.01 * expected


def test_depth_is_bounded_and_recorded():
    block = PCFG(shape="centre", max_depth=5, min_growth=0.97, max_growth=0.97).block(0, 0, rows=40, length=300)
    assert block.info["depth"].max() == 5
    sentences = [s for row in block.tokens for s in np.split(row, np.flatnonzero(row == 0))[1:-1]]
    assert max(len(s) - 1 for s in sentences) == 9  # four pairs around a leaf


def test_fixed_trees_have_fixed_length():
    block = PCFG(shape="tree").block(0, 0, rows=40, length=400)
    for row, levels in zip(block.tokens, block.info["levels"], strict=True):
        gaps = set(np.diff(np.flatnonzero(row == 0)) - 1)
        assert len(gaps) <= 1
        assert gaps <= {2**levels, 3**levels}


def test_tree_floor_is_the_probability_of_the_sentence():
    """One grammar, sentences of four tokens: each occurs as often as its floor says."""
    spec = PCFG(
        shape="tree", alphabet_size=4, min_terminals=2, max_terminals=3, max_productions=2, max_nonterminals=2,
        max_levels=2, rows_per_machine=4000,
    )  # fmt: skip
    block = next(b for i in range(20) if (b := spec.block(0, i, rows=4000, length=5)).tokens[0, 4] == 0)
    rows, first, counts = np.unique(block.tokens, axis=0, return_index=True, return_counts=True)
    p = np.exp(-block.floor_nats[first].sum(axis=1))
    assert len(rows) > 3
    assert np.abs(counts / 4000 - p).max() < 5 * math.sqrt(0.25 / 4000)
    assert 0.97 < p.sum() < 1 + 1e-5


# ------------------------------------------------------------------ merge, agree, move


def test_clauses_move_as_often_as_their_lexicon_says():
    """Without growth every phrase but the one with a gap is a landmark and a head; moves are uniform in 0..0.5."""
    spec = MergeLanguage(min_growth=0.0, max_growth=0.0, rows_per_machine=1)
    block = spec.block(0, 0, rows=300, length=300)
    share = block.info["moves"] / (block.info["sentences"] + 1)
    assert abs(share.mean() - 0.25) < 4 * share.std() / math.sqrt(300)
    none = MergeLanguage(max_moves=0.0, min_growth=0.0, max_growth=0.0).block(0, 0, rows=10, length=30)
    assert (none.tokens[:, 2::3] == 0).all()  # landmark, head, end


def test_agreement_reaches_far():
    block = MergeLanguage().block(0, 0, rows=200, length=512)
    assert np.quantile(block.info["distance"], 0.5) > 10
    assert (block.info["agreements"] > 0).mean() > 0.8


# ------------------------------------------------------------------ rewriting


def factors(row, size):
    return {tuple(row[i : i + size]) for i in range(len(row) - size + 1)}


def test_fibonacci_word_is_sturmian():
    """n + 1 factors of every length n, and golden frequencies."""
    for row in Lindenmayer.preset("fibonacci").block(0, 0, rows=4, length=1000).tokens.tolist():
        assert [len(factors(row, n)) for n in range(1, 15)] == list(range(2, 16))
        golden = (math.sqrt(5) - 1) / 2
        assert abs(max(row.count(token) for token in set(row)) / 1000 - golden) < 0.003


def test_thue_morse_word_has_no_overlaps():
    """No factor a w a w a; p(1..6) = 2, 4, 6, 10, 12, 16."""
    (row,) = Lindenmayer.preset("thue-morse").block(0, 0, rows=1, length=600).tokens.tolist()
    assert [len(factors(row, n)) for n in range(1, 7)] == [2, 4, 6, 10, 12, 16]
    for period in range(1, 100):
        same = [a == b for a, b in zip(row, row[period:], strict=False)]
        assert max(len(run) for run in "".join("x" if s else " " for s in same).split(" ")) <= period


def test_random_systems_are_not_trivial():
    block = Lindenmayer(rows_per_machine=1).block(0, 0, rows=300, length=256)
    changes = [(block.tokens[:, p:] != block.tokens[:, :-p]).sum(axis=1) for p in range(1, 9)]
    assert (np.min(changes, axis=0) > 0).all()
    assert block.floor_nats.sum(axis=1).max() < math.log(256) + 1e-3


# ------------------------------------------------------------------ ListOps


def test_operations_by_hand():
    count = np.bincount([2, 9, 4, 7], minlength=10)
    assert [_value(operator, count) for operator in (MIN, MAX, MED, SUM)] == [2, 9, 5, 2]  # the median is 5.5
    assert _value(MED, np.bincount([8, 3, 8], minlength=10)) == 8


def law_of_sizes():
    """Exact: the chance of each size below 2000 of a Long Range Arena tree, by convolution from the leaves up."""
    sizes = np.zeros(2000)
    sizes[1] = 1.0
    for _ in range(9):
        several, power = np.zeros(2000), sizes
        for _ in range(2, 11):
            power = np.convolve(power, sizes)[:2000]
            several += power / 9
        sizes = np.concatenate([[0.0, 0.75, 0.0], 0.25 * several[1:-2]])
    return sizes


@pytest.fixture(scope="module")
def lra():
    return ListOps.preset("lra").block(0, 0, rows=4000, length=2001)


def test_lra_sizes_follow_the_exact_law(lra):
    """Published: 8.25 % of trees qualify, their mean size is 1047 (8,511 examples; the exact law says 1035.0)."""
    law, size = law_of_sizes(), np.arange(2000)
    kept = law[501:].sum()
    mean = (law * size)[501:].sum() / kept
    assert abs(kept - 0.0825) < 0.001
    assert abs(mean - 1047) < 15
    items = lra.info["items"]
    assert (items.min(), items.max()) >= (501, 1900)
    assert abs(items.mean() - mean) < 4 * items.std() / math.sqrt(len(items))


def test_lra_labels_are_skewed_as_published(lra):
    """0: 17.2 %, 9: 16.9 %, others 7.5 to 9.2 %."""
    share = np.bincount(lra.info["value"], minlength=10) / len(lra.tokens)
    assert abs(share[0] - 0.172) < 0.024
    assert abs(share[9] - 0.169) < 0.024
    assert ((share[1:9] > 0.057) & (share[1:9] < 0.11)).all()


def test_legacy_layout_loses_brackets_and_tails(lra):
    """Published: 87.8 % of bracket-free sequences exceed 512 tokens, mean 898; 14 kinds of token and padding."""
    text = [row[:n] for row, n in zip(lra.tokens, lra.info["items"], strict=True)]
    sizes = np.array([(row != CLOSE).sum() for row in text])
    assert abs((sizes > 512).mean() - 0.878) < 0.02
    assert abs(sizes.mean() - 898) < 25
    legacy = ListOps.preset("fpt-legacy").block(0, 0, rows=200, length=513)
    assert set(np.unique(legacy.tokens)) == {*range(14), 16}
    assert legacy.scored.sum() == legacy.scored[:, 512].sum() == 200
    assert (legacy.tokens[:, 512] == legacy.info["value"]).all()
    assert abs((legacy.tokens[:, 511] != 16).mean() - 0.878) < 0.1


def test_listops_floor_is_the_frequency_of_the_expression():
    """All expressions of at most five tokens with two arguments: as often as the floor says."""
    spec = ListOps(min_items=4, max_items=4, packed=False)
    block = spec.block(0, 0, rows=20_000, length=7)
    assert np.allclose(block.floor_nats.sum(axis=1), math.log(400))
    kinds = np.unique(block.tokens[:, :4], axis=0, return_counts=True)[1]
    assert len(kinds) == 400
    assert ((kinds - 50) ** 2 / 50).sum() < 399 + 5 * math.sqrt(2 * 399)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: MarkovChain(min_order=3, max_order=2), "min_order"),
        (lambda: MarkovChain(min_symbols=32, max_order=3), "max_contexts"),
        (lambda: Zipf(alphabet_size=100), "max_symbols"),
        (lambda: Zipf(min_exponent=3.0), "min_exponent"),
        (lambda: Champernowne(min_base=20), "min_base"),
        (lambda: PCFG(alphabet_size=64), "max_terminals"),
        (lambda: PCFG(max_productions=9), "max_productions"),
        (lambda: PCFG(min_growth=0.98), "min_growth"),
        (lambda: MergeLanguage(alphabet_size=64), "alphabet_size"),
        (lambda: Lindenmayer(system="fibonacci", variants=2), "variants"),
        (lambda: Lindenmayer(min_symbols=9), "min_symbols"),
        (lambda: ListOps(sampling="rejection"), "packed"),
        (lambda: ListOps(min_items=65), "min_items"),
    ],
)
def test_impossible_specs_are_told(make, field):
    with pytest.raises(SpecError, match=f"{field} = "):
        make()


def test_hopeless_rejection_is_told():
    spec = ListOps(sampling="rejection", packed=False, min_items=4, max_items=6, p_operator=0.99, max_arguments=1000)
    with pytest.raises(SpecError, match="min_items = 4"):
        spec.block(0, 0, rows=1, length=10)


@pytest.mark.parametrize("spec", [PCFG(), MergeLanguage(), ListOps(), Lindenmayer()], ids=lambda s: s.name)
def test_pictures_show_the_row_at_work(spec):
    draw = Draw((spec.fingerprint, 0, "train", 0), "train", 0)
    picture = spec.picture(length=128)
    assert picture.shape[1] == 128
    if "depth" in (info := spec._generate(draw, 1, 128).info):
        assert picture.max() in (info["depth"][0], info["depth"][0] - 1)  # the deepest may begin where the row ends
