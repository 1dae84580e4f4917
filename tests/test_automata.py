"""Automata: well-known truths about cellular automata, and floors of hidden states against sums over all paths."""

import itertools
import math

import numpy as np
import pytest
from references import _walks
from references import elementary_ca as elementary_reference
from references import ndfa as ndfa_reference
from references import probabilistic_automaton as automaton_reference

from uprior.errors import SpecError
from uprior.sources import get
from uprior.sources._automata import sort_by_symbol
from uprior.sources._base import Draw
from uprior.sources.automatic_sequence import write_row
from uprior.sources.cellular_automaton import CellularAutomaton
from uprior.sources.elementary_ca import CLASS_OF_RULE, ElementaryCA, equivalent
from uprior.sources.ndfa import NDFA
from uprior.sources.probabilistic_automaton import KINDS, ProbabilisticAutomaton


def draw_of(spec, index=0, split="train"):
    return Draw((spec.fingerprint, 3, split, index), split, index)


# ------------------------------------------------------------------ elementary cellular automata


def diagram(rule, width, steps, **changes):
    """[steps, width] the space-time diagram of a rule, from one live cell in the middle unless told otherwise."""
    source = ElementaryCA(rules=(rule,), holdout="none", width=width, **({"initial": "single"} | changes))
    return source.block(0, 0, rows=1, length=width * steps).tokens.reshape(steps, width).astype(int)


def test_rule_90_is_pascals_triangle_modulo_2():
    width, steps = 131, 64
    seen = diagram(90, width, steps)
    for t in range(steps):
        expected = np.zeros(width, dtype=int)
        for j in range(t + 1):
            expected[width // 2 - t + 2 * j] = math.comb(t, j) % 2
        np.testing.assert_array_equal(seen[t], expected)


def test_rule_110_grows_to_the_left_as_published():
    rows = ["1", "11", "111", "1101", "11111", "110001", "1110011", "11010111", "111111101", "1100000111"]
    seen = diagram(110, 41, len(rows))
    for line, expected in zip(seen, rows, strict=True):
        assert "".join(map(str, line[:21])).lstrip("0") == expected
        assert not line[21:].any()


def test_rule_30_centre_column():
    # OEIS A051023
    published = "1101110011000101100100111010111001110101"
    assert "".join(map(str, diagram(30, 101, 40)[:, 50])) == published


@pytest.mark.parametrize("width", [17, 64, 65, 200])
def test_rule_184_conserves_the_number_of_cars(width):
    seen = diagram(184, width, 30, initial="uniform")
    assert len(set(seen.sum(axis=1))) == 1
    assert (seen[1:] != seen[:-1]).any()


def test_rule_170_moves_everything_one_cell_to_the_left():
    seen = diagram(170, 100, 20, initial="uniform")
    for now, then in itertools.pairwise(seen):
        np.testing.assert_array_equal(then, np.roll(now, -1))


def test_steps_ahead_writes_every_kth_step_and_burn_in_skips():
    base = ElementaryCA(width=50, cells=130)
    draw = draw_of(base)
    every = base._generate(draw, 4, 50 * 25).tokens.reshape(4, 25, 50)
    third = base.replace(steps_ahead=3)._generate(draw, 4, 50 * 8).tokens.reshape(4, 8, 50)
    np.testing.assert_array_equal(third, every[:, :24:3])
    later = base.replace(burn_in=9)._generate(draw, 4, 50 * 8)
    for n, skipped in enumerate(later.info["burn_in"]):
        np.testing.assert_array_equal(later.tokens[n].reshape(8, 50), every[n, skipped : skipped + 8])


def test_equivalent_rules_are_known():
    assert {rule for rule in range(256) if equivalent(rule) == 110} == {110, 124, 137, 193}
    assert {rule for rule in range(256) if equivalent(rule) == 30} == {30, 86, 135, 149}
    assert all(equivalent(rule) == min(elementary_reference.orbit(rule)) for rule in range(256))


def test_splits_share_no_rule_nor_mirror_image():
    source = ElementaryCA()
    own = {
        split: set(source._allowed(draw_of(source, split=split)).tolist()) for split in ("train", "validation", "test")
    }
    assert sorted(rule for rules in own.values() for rule in rules) == list(range(256))
    classes = {split: {int(CLASS_OF_RULE[rule]) for rule in rules} for split, rules in own.items()}
    assert [len(classes[split]) for split in ("train", "validation", "test")] == [66, 11, 11]
    drawn = source.block(0, 0, rows=3000, length=2, split="test").info["rule"]
    assert set(drawn.tolist()) == own["test"]


def test_rules_and_starts_are_uniform():
    block = ElementaryCA(holdout="none", width=64).block(0, 0, rows=25_600, length=64)
    counts = np.bincount(block.info["rule"], minlength=256)
    assert abs(((counts - 100) ** 2 / 100).sum() - 255) < 5 * math.sqrt(2 * 255)
    assert abs(block.tokens.mean() - 0.5) < 5 * 0.5 / math.sqrt(block.tokens.size)
    pairs = (block.tokens[:, 1:] != block.tokens[:, :-1]).mean()
    assert abs(pairs - 0.5) < 5 * 0.5 / math.sqrt(block.tokens.size)


def test_density_is_what_is_asked_for_and_what_the_floor_says():
    sparse = ElementaryCA(initial="density", density=0.1, width=100, holdout="none").block(0, 0, rows=2000, length=100)
    assert abs(sparse.tokens.mean() - 0.1) < 5 * 0.3 / math.sqrt(sparse.tokens.size)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert sparse.floor_nats.mean() == pytest.approx(entropy, abs=0.006)
    varied = ElementaryCA(initial="random_density", width=100, holdout="none").block(0, 0, rows=2000, length=100)
    assert varied.info["density"].mean() == pytest.approx(0.5, abs=5 * 0.289 / math.sqrt(2000))
    share = varied.tokens.mean(axis=1) - varied.info["density"]
    assert abs(share.mean()) < 5 * 0.5 / math.sqrt(varied.tokens.size)


def test_floor_is_known_where_nothing_is_hidden():
    whole = ElementaryCA(width=20).block(0, 0, rows=3, length=50)
    np.testing.assert_allclose(whole.floor_nats[:, :20], math.log(2), rtol=1e-6)
    assert not whole.floor_nats[:, 20:].any()
    assert whole.scored is None

    def floor(**changes):
        return ElementaryCA(**({"width": 20} | changes)).block(0, 0, rows=3, length=90).floor_nats

    assert floor(cells=30) is None
    assert floor(cells=30, score="later") is None
    assert floor(burn_in=5) is None
    for changes in (
        {"cells": 30, "score": "predictable", "burn_in": 5},
        {"burn_in": 5, "score": "later"},
        {"initial": "single", "cells": 30, "burn_in": 5},
    ):
        assert not floor(**changes).any()


def test_what_counts_on_a_ring_larger_than_what_shows():
    source = ElementaryCA(width=10, cells=40, steps_ahead=2, score="predictable")
    assert source.shortest_row == 13
    scored = source.block(0, 0, rows=2, length=25).scored
    for row in scored:
        assert np.flatnonzero(row).tolist() == [12, 13, 14, 15, 16, 17, 22, 23, 24]


def test_preset_is_a_window_of_60_steps_by_100_cells_of_rule_110():
    source = ElementaryCA.preset("edge-of-chaos")
    block = source.block(0, 0, rows=40, length=6000)
    assert set(block.info["rule"].tolist()) == {110}
    assert block.info["burn_in"].max() <= 1000 - 60
    assert block.scored[:, :100].sum() == 0
    assert block.scored[:, 100:].all()
    # The ether of rule 110 has 8 live cells in every 14.
    assert block.tokens.mean() == pytest.approx(8 / 14, abs=0.02)


def test_picture_is_the_space_time_diagram():
    source = ElementaryCA(width=30)
    picture = source.picture(seed=5, length=100)
    row = source.block(5, 0, rows=1, length=100).tokens[0]
    assert picture.shape == (4, 30)
    np.testing.assert_array_equal(picture.ravel()[:100], row)
    assert (picture.ravel()[100:] == -1).all()


# ------------------------------------------------------------------ cellular automata with random rules


def test_langtons_lambda_is_the_share_of_live_entries():
    source = CellularAutomaton(min_lambda=0.3, max_lambda=0.3, min_colours=4, min_radius=1, max_radius=1)
    info = source.block(0, 0, rows=2000, length=2).info
    assert set(info["entries"]) == {64}
    assert info["lambda"].mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 64 / 2000))
    assert info["lambda"].std() == pytest.approx(math.sqrt(0.21 / 64), rel=0.1)
    dead = CellularAutomaton(min_lambda=0.0, max_lambda=0.0, width=16).block(0, 0, rows=9, length=64)
    assert not dead.tokens[:, 16:].any()
    assert dead.tokens[:, :16].any()


def test_colours_are_equally_likely_at_the_start_and_in_a_rule_of_that_lambda():
    source = CellularAutomaton(
        min_colours=3, max_colours=3, width=300, min_lambda=2 / 3, max_lambda=2 / 3, max_radius=1
    )
    tokens = source.block(0, 0, rows=400, length=600).tokens
    for part in (tokens[:, :300], tokens[:, 300:]):
        shares = np.bincount(part.ravel(), minlength=3) / part.size
        # In the second step the cells of a row share a rule of 27 entries.
        spread = math.sqrt(2 / 9 / (part.size if part is tokens[:, :300] else 400 * 27))
        assert np.abs(shares - 1 / 3).max() < 6 * spread


def test_radius_is_cut_to_what_a_table_may_hold():
    info = CellularAutomaton(max_colours=8, max_radius=4, max_entries=600).block(0, 0, rows=800, length=2).info
    for colours, most in {2: 4, 3: 2, 4: 1, 5: 1, 8: 1}.items():
        assert info["radius"][info["colours"] == colours].max() == most
    assert info["entries"].max() <= 600


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ElementaryCA(rules=(110,), holdout="machine"), "rules"),
        (lambda: ElementaryCA(rules=(256,)), "rules"),
        (lambda: ElementaryCA(cells=10), "cells"),
        (lambda: ElementaryCA(width=8, cells=9, steps_ahead=4, score="predictable"), "score"),
        (lambda: ElementaryCA(density=1.5), "density"),
        (lambda: CellularAutomaton(min_colours=5), "min_colours"),
        (lambda: CellularAutomaton(min_radius=3), "min_radius"),
        (lambda: CellularAutomaton(min_lambda=0.95), "min_lambda"),
        (lambda: CellularAutomaton(max_colours=7), "max_entries"),
        (lambda: ProbabilisticAutomaton(min_states=9), "min_states"),
        (lambda: ProbabilisticAutomaton(alphabet_size=8), "max_symbols"),
        (lambda: ProbabilisticAutomaton(min_symbols=17), "min_symbols"),
        (lambda: NDFA(min_states=33), "min_states"),
        (lambda: NDFA(alphabet_size=8), "max_symbols"),
        (lambda: NDFA(min_symbols=33), "min_symbols"),
    ],
)
def test_bad_fields_are_told_in_one_line(make, field):
    with pytest.raises(SpecError, match=rf": {field} = .* is not allowed; allowed: ") as caught:
        make()
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ automata with hidden states


def small(kind, **changes):
    fields = {"kind": kind, "max_states": 4, "max_symbols": 3, "alphabet_size": 3, "rows_per_machine": 3}
    return ProbabilisticAutomaton(**(fields | changes))


@pytest.mark.parametrize(
    "source", [*(small(kind) for kind in KINDS), NDFA(max_states=4, max_symbols=3, alphabet_size=3)]
)
def test_floor_is_the_sum_over_all_hidden_paths(source):
    rows, length = 24, 5
    draw = draw_of(source)
    machines = (ndfa_reference if isinstance(source, NDFA) else automaton_reference).machines(source, draw, rows)
    block = source._generate(draw, rows, length)
    for n in range(rows):
        for size in range(1, length + 1):
            exact = _walks.probability(machines[n % len(machines)], block.tokens[n, :size].tolist())
            assert block.floor_nats[n, :size].sum() == pytest.approx(-math.log(exact), abs=1e-5)


def test_hmm_floor_is_the_textbook_forward_algorithm():
    source = small("hmm", max_states=6, max_symbols=8, alphabet_size=8)
    draw = draw_of(source)
    machines = automaton_reference.machines(source, draw, 12)
    block = source._generate(draw, 12, 60)
    for n, row in enumerate(block.tokens):
        machine = machines[n % len(machines)]
        states = len(machine["edges"])
        emission, transition = np.zeros((states, 8)), np.zeros((states, states))
        for s, leaving in enumerate(machine["edges"]):
            for x, target, weight in leaving:
                emission[s, machine["names"][x]] += weight
                transition[s, target] += weight
        for s, leaving in enumerate(machine["edges"]):  # the next state does not depend on the symbol
            for x, target, weight in leaving:
                assert weight == pytest.approx(emission[s, machine["names"][x]] * transition[s, target], abs=1e-6)
        forward, nats = np.full(states, 1 / states), []
        for token in row:
            joint = forward * emission[:, token]
            nats.append(-math.log(joint.sum()))
            forward = joint / joint.sum() @ transition
        np.testing.assert_allclose(block.floor_nats[n], nats, atol=2e-3)


def test_kinds_are_what_they_are_called():
    source = ProbabilisticAutomaton(rows_per_machine=1)
    machines = automaton_reference.machines(source, draw_of(source), 300)
    ambiguous = dict.fromkeys(range(3), False)
    for machine in machines:
        for leaving in machine["edges"]:
            symbols = [x for x, _, _ in leaving]
            ambiguous[machine["kind"]] |= len(set(symbols)) < len(symbols)
            assert sum(weight for _, _, weight in leaving) == pytest.approx(1, abs=1e-12)
    assert ambiguous == {0: False, 1: True, 2: True}
    kinds = np.bincount([machine["kind"] for machine in machines]) / 300
    assert np.abs(kinds - 1 / 3).max() < 5 * math.sqrt(2 / 9 / 300)


@pytest.mark.parametrize("source", [small("mixed", rows_per_machine=1 << 20), NDFA(rows_per_machine=1 << 20)])
def test_rows_are_as_frequent_as_their_floors_say(source):
    for index in range(3):
        block = source.block(1, index, rows=4000, length=3)
        _, first, counts = np.unique(block.tokens, axis=0, return_index=True, return_counts=True)
        chance = np.exp(-block.floor_nats[first].sum(axis=1, dtype=np.float64))
        assert chance.sum() <= 1 + 1e-5
        assert (np.abs(counts - 4000 * chance) <= 5 * np.sqrt(4000 * chance * (1 - chance)) + 1).all()


def test_nothing_is_lost_on_long_rows():
    block = ProbabilisticAutomaton(min_symbols=16).block(0, 0, rows=8, length=20_000)
    assert np.isfinite(block.floor_nats).all()
    assert block.floor_nats[:, 10_000:].mean() == pytest.approx(block.floor_nats[:, :10_000].mean(), rel=0.05)


def test_bloems_automata_have_ten_states_and_symbols_on_average():
    rows = 20_000
    info = NDFA.preset("bloem").block(0, 0, rows=rows, length=2).info
    for name in ("states", "symbols"):
        # Geometric from 1 on: mean 10, standard deviation sqrt(90), 1 with probability 0.1.
        assert info[name].mean() == pytest.approx(10, abs=5 * math.sqrt(90 / rows))
        assert (info[name] == 1).mean() == pytest.approx(0.1, abs=5 * 0.3 / math.sqrt(rows))
        assert (info[name] > 20).mean() == pytest.approx(0.9**20, abs=5 * 0.33 / math.sqrt(rows))
    probability = info["edge_probability"]
    assert probability.mean() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / rows))
    large = (info["states"] >= 10) & (probability > 0.5)
    share = info["edges"][large] / info["states"][large] ** 2
    assert (share - probability[large]).mean() == pytest.approx(0, abs=0.005)


def test_a_state_without_edges_goes_back_to_the_start():
    source = NDFA(min_states=3, max_states=3, rows_per_machine=1)
    block, draw = source._generate(draw_of(source), 300, 40), draw_of(source)
    for n, machine in enumerate(ndfa_reference.machines(source, draw, 300)):
        if machine["edges"][0] == [(0, 0, 1.0)]:
            assert (block.tokens[n] == machine["names"][0]).all()
            assert not block.floor_nats[n].any()


def test_symbols_are_a_uniform_choice_from_the_alphabet():
    source = NDFA(alphabet_size=16, min_symbols=4, max_symbols=4, rows_per_machine=1)
    first = source.block(0, 0, rows=8000, length=2).tokens[:, 0]
    counts = np.bincount(first, minlength=16)
    assert ((counts - 500) ** 2 / 500).sum() < 15 + 5 * math.sqrt(30)


def test_edges_by_symbol_are_the_same_edges():
    rng = np.random.default_rng(0)
    leaving = np.sort(rng.integers(0, 7, 40))
    first_edge = np.searchsorted(leaving, np.arange(8))
    symbol, target, weight = rng.integers(0, 5, 40), rng.integers(0, 7, 40), rng.random(40)
    first_of, weight_ = np.empty(6, dtype=int), np.empty(40)
    source_, target_ = np.empty((2, 40), dtype=np.uint16)
    sort_by_symbol(first_edge, 7, 5, symbol, target, weight, first_of, source_, target_, weight_)
    order = np.argsort(symbol, kind="stable")
    np.testing.assert_array_equal(first_of, np.searchsorted(symbol[order], np.arange(6)))
    for found, expected in ((source_, leaving), (target_, target), (weight_, weight)):
        np.testing.assert_array_equal(found, expected[order])


@pytest.mark.parametrize("source", [ProbabilisticAutomaton(), NDFA()])
def test_picture_shows_one_state_at_a_time_and_what_it_wrote(source):
    for seed in range(5):
        picture = source.picture(seed=seed, length=70)
        assert picture.shape[1] == 70
        assert ((picture >= 0).sum(axis=0) == 1).all()
        np.testing.assert_array_equal(picture.max(axis=0), source.block(seed, 0, rows=1, length=70).tokens[0])


# ------------------------------------------------------------------ automatic sequences


def digit_sums(base, modulus, start, length):
    """The row of the automaton whose state is the sum of the digits so far."""
    table = np.array([(s + d) % modulus for s in range(modulus) for d in range(base)])
    tokens = np.empty(length, dtype=np.uint16)
    write_row(base, table, np.arange(modulus), start, np.empty(64, dtype=int), np.empty(65, dtype=int), tokens)
    return tokens.tolist()


def test_two_states_in_base_2_write_thue_and_morse():
    assert "".join(map(str, digit_sums(2, 2, 0, 32))) == "01101001100101101001011001101001"
    for start in (2**10 - 1, 2**40 - 100, 2**48 - 1):
        assert digit_sums(2, 2, start, 200) == [n.bit_count() % 2 for n in range(start, start + 200)]


@pytest.mark.parametrize(("base", "modulus"), [(3, 2), (10, 7), (64, 64)])
def test_sums_of_digits_in_other_bases(base, modulus):
    def total(n):
        return n % base + total(n // base) if n else 0

    for start in (0, base - 1, base**6 - 150, 2**45 + 1):
        for length in (1, 2, 300):
            assert digit_sums(base, modulus, start, length) == [
                total(n) % modulus for n in range(start, start + length)
            ]


def test_lines_of_an_automatic_picture_are_no_more_than_states():
    for seed in range(20):
        source = get("automatic_sequence:max_bits=0,max_states=4")
        picture = source.picture(seed=seed, length=4096)
        assert len(np.unique(picture[(picture >= 0).all(axis=1)], axis=0)) <= 4
