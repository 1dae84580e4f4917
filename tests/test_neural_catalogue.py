"""Neural sources of the catalogue: published numbers, other implementations, and what can be worked out by hand."""

import math

import numpy as np
import pytest
import torch

from uprior.errors import SpecError
from uprior.sources import AutoregressiveTransformer, EchoState, NeuralCellularAutomaton, RandomGRU, RandomMLP
from uprior.sources._base import Draw
from uprior.sources._exact import random_words
from uprior.sources.neural_cellular_automaton import cut_normal_quantiles, layout

DRAW = Draw(("test",), "train", 0)

# ------------------------------------------------------------------ neural cellular automata


def test_gzip_scores_of_random_rules_are_spread_as_measured_on_the_published_generator():
    """Shares of 1000 rules in bands of int32 gzip, share of frozen rules, and the same bands as uint16 and bytes."""
    source, rules = NeuralCellularAutomaton.preset("nca"), 1200
    tables, heads = source._random_rules(DRAW("rules"), rules)
    scores = source._scores(DRAW, tables, heads)
    published = np.array([0.15, 0.065, 0.067, 0.105, 0.15, 0.456])
    found = np.histogram(scores, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 1])[0] / rules
    error = np.sqrt(published * (1 - published) * (1 / 1000 + 1 / rules))
    assert np.abs(found - published).max() < 1
    assert np.all(np.abs(found - published) < 4 * error)
    assert np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95]) == pytest.approx(
        [0.024, 0.25, 0.47, 0.57, 0.62], abs=0.04
    )
    changed = source._trajectories(DRAW, tables, heads, np.arange(rules), 10)[2]
    assert (changed == 0).mean() == pytest.approx(0.10, abs=0.04)
    band = (scores > 0.5) & (scores < 1)
    narrow, cells = (
        source.replace(band_measure=m)._scores(DRAW, tables, heads)[band] for m in ("gzip-uint16", "gzip-cells")
    )
    assert narrow.mean() == pytest.approx(0.935, abs=0.01)
    assert np.quantile(cells, [0.01, 0.99]) == pytest.approx([0.33, 0.48], abs=0.03)


@pytest.mark.parametrize("wrapped", [False, True])
def test_floor_of_an_automaton_is_that_of_torchs_convolution_of_all_axes_padded(wrapped):
    source = NeuralCellularAutomaton(
        wrapped_channels=wrapped, temperature=0.5, identity_bias=0.3, band_measure="off", score_marks=True
    )
    block = source._generate(DRAW, 1, 38 * 4)
    inputs = 12 if wrapped else 10
    sizes = [9 * inputs * 4, 4 * 16, 16 * 10]
    assert sum(sizes) == (656 if wrapped else 584)  # and 4 + 16 + 10 biases, all zero, make the published 686
    normal = cut_normal_quantiles()[random_words(DRAW("rules"), sum(sizes))].astype(np.float64)
    conv, mix, head = np.split(normal, np.cumsum(sizes)[:-1])
    conv = torch.from_numpy(conv.reshape(3, 3, inputs, 4) / math.sqrt(9 * inputs)).permute(3, 2, 0, 1)
    mix, head = mix.reshape(4, 16) / math.sqrt(4), head.reshape(16, 10) / math.sqrt(16)
    grids = source._cells(block.tokens.reshape(4, 38)[:, 1:-1].astype(np.int64)).reshape(4, 12, 12)
    for frame in range(3):
        one_hot = np.eye(10)[grids[frame]]
        padded = np.pad(one_hot, [(1, 1), (1, 1), (1, 1) if wrapped else (0, 0)], mode="wrap")
        features = torch.conv2d(torch.from_numpy(padded).permute(2, 0, 1)[None], conv)[0].permute(1, 2, 0).numpy()
        logits = (np.maximum(features @ mix, 0) @ head + 0.3 * one_hot) / 0.5
        nats = np.log(np.exp(logits).sum(axis=2)) - np.take_along_axis(logits, grids[frame + 1][..., None], 2)[..., 0]
        by_patch = nats.reshape(6, 2, 6, 2).sum(axis=(1, 3)).ravel()
        assert block.floor_nats[0, 38 * (frame + 1) + 1 : 38 * (frame + 2) - 1] == pytest.approx(by_patch, abs=2e-4)


def test_patches_by_hand():
    """Colours 1 2 / 3 4 in the patch at the upper left make 1 + 20 + 300 + 4000; the corner touches three other corners."""
    source = NeuralCellularAutomaton(grid=4)
    grid = np.zeros((4, 4), dtype=int)
    grid[:2, :2] = [[1, 2], [3, 4]]
    cells = source._cells(np.array([4321, 0, 0, 0]))
    assert np.array_equal(cells.reshape(4, 4), grid)
    neighbours, patches = layout(4, 2)
    assert neighbours[0].tolist() == [15, 12, 13, 3, 0, 1, 7, 4, 5]
    assert patches.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_preset_scores_987_of_1024_targets():
    """27 frames of 38 tokens are 1026; a row of 1025 gives 1024 targets, those of the first frame do not count."""
    block = NeuralCellularAutomaton.preset("nca").block(0, 0, rows=2, length=1025)
    assert block.scored[:, 1:].sum(axis=1).tolist() == [987, 987]
    assert block.tokens[:, ::38].tolist() == [[10000] * 27] * 2
    assert block.tokens[:, 37::38].tolist() == [[10001] * 26] * 2


def test_picture_shows_the_grids_of_the_row():
    source = NeuralCellularAutomaton(grid=4, band_measure="off")
    picture = source.picture(seed=3, length=20)
    row = source.block(3, 0, rows=1, length=20).tokens[0]
    assert picture.shape == (4, 4 * 5 - 1)
    assert np.all(picture[:, 4::5] == -1)
    assert picture[0, 0] + 10 * picture[0, 1] + 100 * picture[1, 0] + 1000 * picture[1, 1] == row[1]
    assert np.all(picture[:, -4:][2:] == -1)  # the last frame is cut after two of its four patches


def test_cut_normal_has_unit_variance_within_its_bounds():
    table = cut_normal_quantiles().astype(np.float64)
    assert np.mean(table**2) == pytest.approx(1, abs=1e-6)
    assert table.max() == pytest.approx(2 / 0.87962566, rel=1e-3)  # the constant by which Flax divides


def test_band_that_no_rule_falls_into_is_an_error_in_one_line():
    source = NeuralCellularAutomaton(band_low=9.0, band_high=10.0, tries=3)
    with pytest.raises(SpecError, match=r"band_low .* a band that rules fall into") as caught:
        source.block(0, 0, rows=2, length=64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"grid": 13}, {"colours": 17}, {"band_low": 2.0, "band_high": 1.0}])
def test_impossible_automata_are_refused(changes):
    with pytest.raises(SpecError, match="allowed"):
        NeuralCellularAutomaton(**changes)


# ------------------------------------------------------------------ networks that write token by token


def parents_of(source, rows, length):
    rng = np.random.default_rng(7)
    condition = rng.integers(0, source.alphabet_size, (rows, length)).astype(np.uint16)
    return condition, rng.integers(0, source.alphabet_size, (rows, source.seed_tokens)).astype(np.uint16)


def as_torch(array):
    return torch.from_numpy(np.ascontiguousarray(array).astype(np.float64))


def assert_floor(source, block, logits):
    """The floor of tokens after the seed is -log softmax of float64 ``logits`` [R, T, A] at the temperature."""
    nats = -torch.log_softmax(logits / source.temperature, dim=2).gather(2, as_torch(block.tokens).long()[..., None])[
        ..., 0
    ]
    written = slice(source.seed_tokens, None)
    assert block.floor_nats[:, written] == pytest.approx(nats.numpy()[:, written], abs=2e-4)
    assert block.floor_nats[:, written].mean() > 0.1


@pytest.mark.parametrize(("hidden", "layers"), [(64, 1), (12, 3)])
def test_floor_of_a_gru_is_torchs_log_probability(hidden, layers):
    source = RandomGRU(
        hidden=hidden,
        layers=layers,
        temperature=0.5,
        multiplier_low=1.5,
        seed_tokens=3,
        rows_per_machine=4,
        alphabet_size=40,
    )
    condition, seeds = parents_of(source, 4, 30)
    block = source._write(DRAW, condition, seeds)
    w = source._weights(DRAW("weights"), float(block.info["multiplier"][0]))
    gru = torch.nn.GRU(2 * hidden, hidden, layers, batch_first=True).double()
    state = {}
    for layer in range(layers):
        below = np.concatenate([w.inputs[0], w.inputs[1]]) if layer == 0 else w.up[layer - 1]
        state |= {f"weight_ih_l{layer}": as_torch(below.T), f"weight_hh_l{layer}": as_torch(w.recurrent[layer].T)}
        state |= {
            f"bias_ih_l{layer}": as_torch(w.input_bias[layer]),
            f"bias_hh_l{layer}": as_torch(w.recurrent_bias[layer]),
        }
    gru.load_state_dict(state)
    embedding = as_torch(w.embedding)
    heard = torch.cat([embedding[block.tokens[:, :-1].astype(int)], embedding[condition[:, 1:].astype(int)]], dim=2)
    with torch.no_grad():
        output, _ = gru(heard)
    logits = torch.zeros(4, 30, 40, dtype=torch.float64)
    logits[:, 1:] = output @ as_torch(w.head) + as_torch(w.head_bias)
    assert_floor(source, block, logits)


def test_gru_weights_have_pytorchs_ranges():
    weights = RandomGRU(hidden=16, layers=2, head_multiplier=2.0)._weights(np.random.default_rng(0), 0.5)
    for part in (weights.inputs, weights.up, weights.recurrent, weights.input_bias, weights.recurrent_bias):
        assert 0.5 / 4 * 0.95 < np.abs(part).max() < 0.5 / 4
    assert 2 / 4 * 0.99 < np.abs(weights.head).max() < 2 / 4
    assert weights.embedding.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("layers", [1, 3])
def test_floor_of_an_mlp_is_torchs_log_probability(layers):
    source = RandomMLP(layers=layers, temperature=0.7, window=5, seed_tokens=2, rows_per_machine=4, alphabet_size=40)
    condition, seeds = parents_of(source, 4, 30)
    block = source._write(DRAW, condition, seeds)
    rng = DRAW("weights")
    window = 1 + int(rng.random() * 5)
    assert np.all(block.info["window"] == window)
    w = source._weights(rng, float(block.info["multiplier"][0]), window)
    table = torch.cat([as_torch(w.embedding), torch.zeros(1, 16, dtype=torch.float64)])  # line 40 stands before the row
    heard = [table[condition.astype(int)]]
    for back in range(1, window + 1):
        before = np.pad(block.tokens.astype(int), ((0, 0), (back, 0)), constant_values=40)[:, :30]
        heard.append(table[before])
    x = torch.cat(heard, dim=2)
    for layer in range(layers):
        x = torch.tanh(x @ as_torch(w.inputs if layer == 0 else w.up[layer - 1]) + as_torch(w.bias[layer]))
    assert_floor(source, block, x @ as_torch(w.head) + as_torch(w.head_bias))


def test_mlp_forgets_what_is_outside_its_window_and_ends_in_a_cycle():
    source = RandomMLP(temperature=0.0, window=2, alphabet_size=8, seed_tokens=4, rows_per_machine=2)
    condition = np.full((2, 400), 3, dtype=np.uint16)
    seeds = np.array([[0, 1, 2, 3], [4, 5, 2, 3]], dtype=np.uint16)
    rows = source._write(DRAW, condition, seeds).tokens
    assert np.array_equal(rows[0, 2:], rows[1, 2:])
    # 64 pairs of tokens: after as many steps one has come back, and everything repeats from there.
    row = rows[0].tolist()
    pair = row[100:102]
    period = next(p for p in range(1, 65) if row[100 + p : 102 + p] == pair)
    assert row[100:-period] == row[100 + period :]


def test_windows_are_uniform():
    windows = RandomMLP(window=4, hidden=2, rows_per_machine=1).block(0, 0, rows=800, length=4).info["window"]
    counts = np.bincount(windows, minlength=5)[1:]
    assert np.abs(counts - 200).max() < 4.5 * math.sqrt(800 * 0.25 * 0.75)


def test_floor_of_an_autoregressive_transformer_is_that_of_torch_reading_the_whole_row_at_once():
    source = AutoregressiveTransformer(
        hidden=24, heads=3, layers=2, temperature=0.7, bias_deviation=0.5, seed_tokens=3, rows_per_machine=4,
        alphabet_size=40, position_multiplier=1.0, multiplier_low=1.0, head_multiplier=1.5,
    )  # fmt: skip
    condition, seeds = parents_of(source, 4, 30)
    block = source._write(DRAW, condition, seeds)
    w = source._weights(DRAW("weights"), float(block.info["multiplier"][0]), 30)
    w = type(w)(*(as_torch(part) for part in w))
    x = w.own[block.tokens[:, :-1].astype(int)] + w.beside[condition[:, 1:].astype(int)] + w.positions[1:]
    norm = torch.nn.functional.layer_norm
    for layer in range(2):
        parts = (x @ w.qkv[layer]).chunk(3, dim=2)
        query, key, value = (part.reshape(4, 29, 3, 8).transpose(1, 2) for part in parts)
        seen = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = norm(x + seen.transpose(1, 2).reshape(4, 29, 24) @ w.unify[layer] + w.unify_bias[layer], (24,))
        inner = torch.relu(x @ w.up[layer] + w.up_bias[layer])
        x = norm(x + inner @ w.down[layer] + w.down_bias[layer], (24,))
    logits = torch.cat([torch.zeros(4, 1, 40, dtype=torch.float64), x @ w.head + w.head_bias], dim=1)
    assert_floor(source, block, logits)


@pytest.mark.parametrize("changes", [{"hidden": 30, "heads": 4}, {"multiplier_low": 5.0}, {"layers": 0}])
def test_impossible_transformers_are_refused(changes):
    with pytest.raises(SpecError, match="allowed"):
        AutoregressiveTransformer(**changes)


# ------------------------------------------------------------------ echo-state networks


def test_floor_of_a_reservoir_is_that_of_a_dense_one_in_float64():
    source = EchoState(units=40, connections=5, temperature=0.5, start_tokens=3, rows_per_machine=4, variance_low=0.25)
    block = source._generate(DRAW, 4, 30)
    alphabet, _, sources, weights, inputs, readout = source._machine(DRAW("machines"))
    dense = np.zeros((40, 40))
    for unit in range(40):
        np.add.at(dense[unit], sources[unit], weights[unit].astype(float))
    number_of = {token: i for i, token in enumerate(alphabet.tolist())}
    assert np.all(block.floor_nats[:, :3] == np.float32(math.log(len(alphabet))))
    for row, floor in zip(block.tokens.tolist(), block.floor_nats, strict=True):
        state = np.zeros(40)
        for t, token in enumerate(row):
            logits = readout @ state / 0.5
            if t >= 3:
                true = np.log(np.exp(logits).sum()) - logits[number_of[token]]
                assert floor[t] == pytest.approx(true, abs=1e-4)
            state = np.tanh(dense @ state + inputs[:, number_of[token]])


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.2])
def test_exponent_of_a_reservoir_that_hears_nothing_is_the_logarithm_of_its_gain(gain):
    """Around 0 the twin's distance grows by the spectral radius of W, which is near the gain in a large network."""
    variance = gain**2 / 16
    source = EchoState(
        units=1024,
        input_deviation=0.0,
        lyapunov=True,
        variance_low=variance,
        variance_high=variance,
        rows_per_machine=1,
    )
    found = source.block(0, 0, rows=3, length=150).info
    assert found["gain"] == pytest.approx(gain)
    assert found["lyapunov"].mean() == pytest.approx(math.log(gain), abs=0.04)


def test_published_reservoir_is_chaotic_and_a_quiet_one_is_not():
    published = EchoState.preset("bloem", lyapunov=True).block(0, 0, rows=16, length=120)
    assert published.info["gain"] == pytest.approx(math.sqrt(16 * 0.21))
    assert published.info["lyapunov"].min() > 0
    quiet = EchoState(lyapunov=True, variance_high=0.03).block(0, 0, rows=16, length=120)
    assert quiet.info["lyapunov"].max() < 0


def test_numbers_of_symbols_are_uniform():
    symbols = EchoState(units=4, rows_per_machine=1, max_symbols=5).block(0, 0, rows=1000, length=2).info["symbols"]
    counts = np.bincount(symbols, minlength=6)[2:]
    assert np.abs(counts - 250).max() < 4.5 * math.sqrt(1000 * 0.25 * 0.75)


@pytest.mark.parametrize(
    "changes", [{"alphabet_size": 8}, {"min_symbols": 17}, {"variance_low": 0.5}, {"connections": 0}]
)
def test_impossible_reservoirs_are_refused(changes):
    with pytest.raises(SpecError, match="allowed"):
        EchoState(**changes)
