"""Evaluation: the model, what is told of it and of baselines; errors in one line. Each kind of baseline has tests of its own."""

from __future__ import annotations

import math
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampling_tools import random_words

from uprior import corpora, host
from uprior.corpora.synthetic import SETS
from uprior.errors import CheckpointError, CorpusError, SpecError, UnknownNameError, UpriorError
from uprior.evals import (
    SINGLE_ORDERS,
    Markov,
    ModelPredictor,
    PositionBits,
    Predictor,
    Uniform,
    baselines,
    bits_per_byte,
    compressors,
    evaluate,
    markov,
    model,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> corpora.Corpus:
    return random_words(tmp_path_factory.mktemp("data"))


# ------------------------------------------------------------------ the model


class Counting(torch.nn.Module):
    """Predicts that bytes count upwards with probability one half; the other half goes evenly to the rest."""

    def __init__(self, vocabulary: int = 300, limit: int = 64) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(vocab_size=vocabulary, max_position_embeddings=limit)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.drop = torch.nn.Dropout(0.5)
        self.sizes: list[int] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        assert not use_cache and input_ids.dtype == torch.int64
        self.sizes.append(len(input_ids))
        vocabulary = self.config.vocab_size
        logits = torch.zeros(*input_ids.shape, vocabulary)
        logits.scatter_(-1, (input_ids[..., None] + 1) % 256, math.log(vocabulary - 1))
        return types.SimpleNamespace(logits=self.drop(logits * self.scale))


def test_model_pays_one_bit_where_it_gives_one_half() -> None:
    counting = (np.arange(40)[None] + np.array([[3], [250]])).astype(np.uint8)
    cost = ModelPredictor(Counting()).bits(counting)
    assert cost.edges.tolist() == list(range(1, 41))
    assert cost.bits == pytest.approx(1, abs=1e-6)
    # All other tokens, those beyond the bytes too, share the other half.
    backwards = ModelPredictor(Counting()).nats(np.ascontiguousarray(counting[:, ::-1]))
    assert backwards == pytest.approx(math.log(2 * 299), abs=1e-5)


def test_model_modes_are_restored_and_batches_bounded(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Counting().train()
    network.drop.eval()
    windows = rng.integers(0, 256, (7, 16), dtype=np.uint8)
    whole = ModelPredictor(network).nats(windows)
    assert network.training and not network.drop.training and network.sizes == [7]
    monkeypatch.setattr(model, "CPU_TOKENS", 33)
    network.sizes.clear()
    assert np.array_equal(ModelPredictor(network).nats(windows), whole)
    assert network.sizes == [2, 2, 2, 1]
    monkeypatch.setattr(model, "MAX_LOGITS", 1)
    assert np.array_equal(ModelPredictor(network.train()).nats(windows), whole)  # no dropout
    assert network.drop.training and network.scale.grad is None


def test_model_that_does_not_fit_is_refused() -> None:
    windows = np.zeros((2, 65), np.uint8)
    with pytest.raises(SpecError, match="reads at most 64 tokens; given: windows of 65; give --context 64"):
        ModelPredictor(Counting()).nats(windows)
    with pytest.raises(SpecError, match="has a vocabulary of 128; bytes need 256 or more"):
        ModelPredictor(Counting(vocabulary=128), name="runs/x").nats(windows[:, :64])
    unsaid = Counting(vocabulary=300)
    unsaid.config = types.SimpleNamespace(vocab_size=300)
    assert ModelPredictor(unsaid).nats(windows).shape == (2, 64)


def test_model_that_gives_nan_is_refused_and_restored() -> None:
    network = Counting().train()
    torch.nn.init.constant_(network.scale, math.nan)
    with pytest.raises(CheckpointError, match=r"model gives NaN or infinity for 18 of 18 bytes"):
        ModelPredictor(network).nats(np.zeros((2, 10), np.uint8))
    assert network.training


def test_transformers_model_agrees_with_its_own_loss(rng: np.random.Generator) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=48,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(config)
    windows = rng.integers(0, 256, (5, 48), dtype=np.uint8)
    nats = ModelPredictor(network).nats(windows)
    ids = torch.from_numpy(windows.astype(np.int64))
    assert nats.mean() == pytest.approx(network(input_ids=ids, labels=ids).loss.item(), abs=1e-5)
    # Causal: changing the last byte changes the last position's cost only.
    changed = windows.copy()
    changed[:, -1] ^= 1
    other = ModelPredictor(network).nats(changed)
    assert np.allclose(other[:, :-1], nats[:, :-1], atol=1e-6) and not np.allclose(other[:, -1], nats[:, -1])
    rough = ModelPredictor(network, autocast=True).nats(windows)
    assert rough.mean() == pytest.approx(nats.mean(), abs=0.02) and not np.array_equal(rough, nats)


# ------------------------------------------------------------------ evaluate


def test_uniform_is_exactly_eight_bits(text: corpora.Corpus) -> None:
    (result,) = evaluate([Uniform()], text, context=64, positions=100)
    for stretch in ("last", "mean", "tail"):
        assert (result[f"bits_{stretch}"], result[f"se_{stretch}"]) == (8.0, 0.0)
    assert set(result["curve_bits"]) == set(result["curve_low"]) == set(result["curve_high"]) == {8.0}
    assert list(result)[:8] == [
        "file", "predictor", "context", "positions", "bits_last", "se_last", "bits_mean", "se_mean",
    ]  # fmt: skip
    assert (result["file"], result["predictor"], result["context"], result["positions"]) == (
        "words.txt",
        "uniform",
        64,
        100,
    )
    assert result["n_bytes"] == text.data("test").size


class Recorder(Predictor):
    """Costs its byte values as nats, and keeps what it was shown."""

    name = "recorder"

    def nats(self, windows: np.ndarray) -> np.ndarray:
        self.shown = windows
        return windows[:, 1:].astype(np.float64)


def test_numbers_are_means_over_the_same_windows(text: corpora.Corpus) -> None:
    first, second = Recorder(), Recorder()
    one, two = evaluate([first, second], text, context=64, positions=300, seed=5)
    assert one == two and np.array_equal(first.shown, second.shown)
    held = text.data("test").tobytes()
    assert all(window.tobytes() in held for window in first.shown) and first.shown.shape == (300, 64)
    bits = first.shown[:, 1:] / math.log(2)
    assert one["bits_last"] == pytest.approx(bits[:, -1].mean()) and one["bits_mean"] == pytest.approx(bits.mean())
    assert one["bits_tail"] == pytest.approx(bits[:, -32:].mean())
    # The bootstrap agrees with the textbook's standard error, and the interval with two of them.
    assert one["se_last"] == pytest.approx(bits[:, -1].std() / math.sqrt(300), rel=0.1)
    assert one["se_mean"] == pytest.approx(bits.mean(axis=1).std() / math.sqrt(300), rel=0.1)
    assert one["se_tail"] == pytest.approx(bits[:, -32:].mean(axis=1).std() / math.sqrt(300), rel=0.1)
    middle, low, high = (np.array(one[f"curve_{k}"]) for k in ("bits", "low", "high"))
    assert (low < middle).all() and (middle < high).all()
    assert middle[0] == pytest.approx(bits[:, 0].mean()) and one["curve_positions"][0] == 1.0
    assert evaluate([first], text, context=64, positions=300, seed=6)[0]["bits_last"] != one["bits_last"]


def test_curve_bins_partition_the_positions() -> None:
    for context in (2, 3, 20, 64, 256, 1024):
        bins = bits_per_byte.curve_bins(np.arange(1, context + 1))
        assert bins[0] == 0 and (np.diff(bins) > 0).all() and bins[-1] < context - 1
        assert len(bins) <= bits_per_byte.CURVE_POINTS + 1
    costs = PositionBits(np.arange(1, 513), np.tile(np.arange(1.0, 512.0), (3, 1)))
    edges, columns = bits_per_byte._columns(costs)
    # Where the cost of a position is the position, a bin's cost is its middle.
    assert columns[0, 3:] == pytest.approx((edges[:-1] + edges[1:] - 1) / 2)
    assert (columns[0, 3:] * np.diff(edges)).sum() == pytest.approx(511 * 512 / 2)
    assert columns[0, :3] == pytest.approx([511, 256, (480 + 511) / 2])


def test_stretches_count_by_their_length() -> None:
    cost = PositionBits(np.array([0, 32, 96, 128]), np.array([[320.0, 128.0, 32.0]]))
    edges, columns = bits_per_byte._columns(cost)
    assert edges.tolist() == [0, 32, 96, 128]
    assert columns.tolist() == [[1.0, 480 / 128, 1.0, 10.0, 2.0, 1.0]]
    # Where no stretch begins with the last 32 bytes, the last stretch stands for them.
    whole = PositionBits(np.array([0, 64, 128]), np.array([[320.0, 128.0]]))
    assert bits_per_byte._columns(whole)[1][0, 2] == 2.0


@pytest.mark.parametrize("context", [2, 3, 40, 63, 64, 256])
def test_the_tail_is_the_same_stretch_for_all(text: corpora.Corpus, context: int) -> None:
    class PerByte(Predictor):
        name = "position"

        def nats(self, windows: np.ndarray) -> np.ndarray:
            return np.tile(np.arange(1.0, windows.shape[1]), (len(windows), 1)) * math.log(2)

    class PerPrefix(compressors.Compressor):
        def lengths(self, windows: np.ndarray, edges: Any) -> np.ndarray:
            return np.tile(np.array([sum(range(edge)) for edge in edges]), (len(windows), 1))

    byte, prefix = evaluate([PerByte(), PerPrefix("prefix", {})], text, context=context, positions=3)
    assert prefix["bits_tail"] == prefix["bits_last"] == pytest.approx(8 * byte["bits_tail"])
    assert byte["bits_last"] == pytest.approx(context - 1)


def test_speed_and_memory_are_told_when_asked(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(bits_per_byte.time, "perf_counter", lambda: next(ticks))
    predictors = [Recorder(), compressors.deflate()]
    plain = evaluate(predictors, text, context=64, positions=50)
    timed = evaluate(predictors, text, context=64, positions=50, timed=True)
    assert [set(t) - set(p) for t, p in zip(timed, plain, strict=True)] == [{"bytes_per_second", "peak_bytes"}] * 2
    assert all(p == {k: t[k] for k in p} for t, p in zip(timed, plain, strict=True))
    assert [t["bytes_per_second"] for t in timed] == [50 * 64 / 2, 50 * (32 + 64) / 4]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak of a part of a program")
def test_peak_memory_is_that_of_the_work_alone() -> None:
    large, small, near = 1 << 26, 1 << 25, 4 << 20
    kept, first = host.peak_of_work(lambda: np.ones(large, np.uint8))
    if first is None:
        pytest.skip("this system does not tell")
    # The second time memory that was freed could be used again, unnoticed.
    peaks = [host.peak_of_work(lambda: np.ones(small, np.uint8).sum())[1] for _ in range(2)]
    _, nothing = host.peak_of_work(lambda: kept[:10].sum())
    assert [first, *peaks, nothing] == pytest.approx([large, small, small, 0], abs=near)
    _, elsewhere = host.peak_of_work(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    assert elsewhere is None


def test_fewer_windows_than_asked_are_told(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(range(250)) * 2)
    corpus = corpora.get(str(path))  # 50 bytes for testing: 19 windows of 32
    assert evaluate([Uniform()], corpus, context=32, positions=128)[0]["positions"] == 19
    with pytest.raises(CorpusError, match=r"short has 500 bytes, 50 of them in its test split; .*give --context 32"):
        evaluate([Uniform()], corpus, context=256)
    with pytest.raises(SpecError, match="positions = 1"):
        evaluate([Uniform()], corpus, context=32, positions=1)


def test_a_predictor_that_gives_nan_is_refused(text: corpora.Corpus) -> None:
    class Broken(Recorder):
        name = "broken"

        def nats(self, windows: np.ndarray) -> np.ndarray:
            return np.full((len(windows), windows.shape[1] - 1), math.nan)

    with pytest.raises(UpriorError, match="predictor broken: 189 of 189 costs are NaN"):
        evaluate([Broken()], text, context=64, positions=3)


def test_baselines_are_tuned_on_other_windows(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in compressors.EXTRAS.values():
        monkeypatch.setitem(sys.modules, package, None)
    shown = []
    fit = markov.fit_markov

    def spy(windows: np.ndarray, **options: Any) -> Markov:
        shown.append(windows)
        return fit(windows, **options)

    monkeypatch.setattr(markov, "fit_markov", spy)
    found = baselines(text, 64, windows=50)
    assert [p.name for p in found] == ["uniform", "markov", "markov-mix", "ctw", "deflate", "bz2", "lzma"]
    assert all(w.tobytes() in text.data("train").tobytes() for w in shown[0]) and shown[0].shape == (50, 64)
    results = {r["predictor"]: r for r in evaluate(found, text, context=64, positions=100)}
    assert results["markov"]["order"] in range(6) and results["markov"]["smoothing"] in markov.SMOOTHINGS
    assert results["markov"]["alphabet_size"] == 256
    assert results["markov-mix"]["bits_mean"] < results["markov"]["bits_mean"] < 8
    assert results["ctw"]["bits_mean"] < results["markov"]["bits_mean"]
    (told,) = baselines(text, 64, names=["markov"], windows=50, true_alphabet=True)
    assert told.settings["alphabet_size"] == len(set(text.data("train").tobytes())) <= 27
    assert evaluate([told], text, context=64, positions=100)[0]["bits_mean"] < results["markov"]["bits_mean"]
    with pytest.raises(UnknownNameError, match="did you mean 'deflate'"):
        baselines(text, 64, names=["deflat"])


def test_single_orders_are_fitted_each_by_itself(text: corpora.Corpus) -> None:
    found = baselines(text, 64, names=[*SINGLE_ORDERS, "markov"], windows=50)
    assert [p.name for p in found] == [*SINGLE_ORDERS, "markov"]
    assert [p.settings["order"] for p in found[:6]] == list(range(6))
    tuning = text.windows("train", 50, 64, "tune", 0)
    costs = {(k, s): Markov(k, s).nats(tuning)[:, 31:].mean() for k in range(6) for s in markov.SMOOTHINGS}
    for order, predictor in enumerate(found[:6]):
        assert predictor.settings["smoothing"] == min(markov.SMOOTHINGS, key=lambda s: costs[order, s])
    assert (found[6].settings["order"], found[6].settings["smoothing"]) == min(costs, key=costs.__getitem__)


@pytest.mark.parametrize("name", SETS)
def test_nothing_beats_the_ideal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in compressors.EXTRAS.values():  # slow, and not the same everywhere
        monkeypatch.setitem(sys.modules, package, None)
    corpus = corpora.get(f"synthetic:{name}")
    results = evaluate(baselines(corpus, 512, windows=60), corpus, context=512, positions=90)
    assert min(r["bits_mean"] for r in results) > corpus.ideal_bits
    # A compressor's last stretch may cost less than nothing where all is known: a longer message can be a shorter file.
    assert all(r["bits_last"] + 3 * r["se_last"] >= corpus.ideal_bits - (r["predictor"] == "bz2") for r in results)


def test_rooms_open_without_torch_or_numba() -> None:
    code = "import sys, uprior.evals, uprior.corpora; sys.exit(any(m in sys.modules for m in ('torch', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
