"""Short runs: the compute of sources by hand, batches that grow, runs done once, windows measured as ``uprior eval`` does."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from study_tools import refuse_to_train

from uprior import corpora, evals, sources
from uprior.data import Stream
from uprior.errors import SpecError
from uprior.sources import Buffered, Dyck, Iterated, Mixture, Packed, RandomLSTM, Source, Uniform
from uprior.studies import _short_runs
from uprior.studies._compute import SYMBOLIC, generation_flops_per_token
from uprior.studies._growing import GrowingStream, steps_for
from uprior.studies._short_runs import Panel, Recipe, Trial, measured, model_of, write_records
from uprior.train.loop import Result

# ------------------------------------------------------------------ compute

LSTM = 2 * (3 * 64 * 4 * 64 + 64 * 256) + SYMBOLIC  # own token, other token and state into four gates; then the head


def flops(text, length=256):
    return generation_flops_per_token(sources.get(text) if isinstance(text, str) else text, length=length)


def test_the_operations_of_sources_by_hand():
    lstm = RandomLSTM.preset("final-paper")
    assert flops("dyck") == SYMBOLIC
    assert flops(lstm) == LSTM == 131_572
    assert flops(Iterated(source=lstm)) == LSTM + SYMBOLIC  # uniform depth: one pass per row
    assert flops(Iterated(source=lstm, depth="fixed", max_depth=3)) == 3 * LSTM + SYMBOLIC
    assert flops(Iterated(source=lstm, start_share=0.5)) == 0.5 * LSTM + SYMBOLIC
    assert flops(Buffered.preset("fork")) == 100 / 40 * LSTM + SYMBOLIC
    assert flops(Buffered.preset("fork", spin_up=0)) == flops(Buffered.preset("fork"))
    mixed = Mixture(sources=(lstm, Dyck()), shares=(1, 3))
    assert flops(mixed) == pytest.approx((LSTM + 3 * SYMBOLIC) / 4 + SYMBOLIC)
    assert flops(Packed(source=lstm, episode_length=64, shortest_episode=32)) == pytest.approx(
        64 / 48 * LSTM + SYMBOLIC
    )
    attention = 2 * (2 * (12 * 64**2 + 64 * 128) + 64 * 256) + SYMBOLIC
    assert flops("random_transformer:width=64,layers=2,heads=4", length=128) == attention


def test_every_network_of_the_catalogue_is_known():
    for name in sources.entries():
        source = sources.find(name)()
        if source.family == "neural" or name == "neural_cellular_automaton":
            assert flops(source) > 4 * SYMBOLIC, name


@dataclass(frozen=True)
class Unknown(Uniform):
    name: ClassVar[str] = "own_network"
    family: ClassVar[str] = "neural"


def test_a_network_of_ones_own_is_refused():
    with pytest.raises(SpecError, match="own_network"):
        flops(Mixture(sources=(Dyck(), Unknown())))


# ------------------------------------------------------------------ growing batches


def test_batches_grow_over_the_rows_of_the_plain_stream():
    plain = Stream(Uniform(), seed=3, batch_size=6, length=8)
    growing = GrowingStream(Uniform(), seed=3, batch_size=6, length=8, first_rows=2, grow_from=4, grow_to=12)
    batches = list(growing.batches(0, 8))
    assert [len(batch.tokens) for batch in batches] == [2, 2, 2, 3, 4, 6, 6, 6]
    assert growing.rows_before(8) == 31 and steps_for(growing, 31) == 8 and steps_for(growing, 32) == 9
    both = np.concatenate([batch.tokens for batch in batches])
    assert np.array_equal(both, plain.rows(np.arange(31)).tokens)
    assert growing.describe() != plain.describe() and growing.describe()["grow_to"] == 12


# ------------------------------------------------------------------ runs


def panel(names=("python_stdlib",), positions=6):
    return Panel({name: name for name in names}, context=32, positions=positions)


def trial(**changes):
    recipe = changes.pop("recipe", Recipe(rows=2, learning_rate=0.01))
    given = {"arm": "an arm", "source": Dyck(), "seed": 1, "tokens": 600, "model": "32x1", "length": 32, **changes}
    return Trial(recipe=recipe, **given)


def test_a_run_is_done_once_and_tells_what_it_cost(tmp_path, monkeypatch):
    records = measured(trial(evaluate_at=(100,)), tmp_path, panel(), show=False)
    assert [(r["step"], r["tokens"]) for r in records] == [
        (2, 128),
        (10, 640),
    ]  # rounded up to whole steps of 64 tokens
    parameters = records[0]["parameters"]
    assert parameters == sum(p.numel() for p in model_of("32x1", context=32, seed=0).parameters())
    assert records[1]["train_flops"] == 6 * (parameters - 3 * 32) * 640  # norms do not multiply
    assert records[1]["generation_flops"] == SYMBOLIC * 640
    assert records[1]["bits_mean"] == pytest.approx(np.mean(records[1]["window_bits"]), abs=1e-4)
    refuse_to_train(monkeypatch)
    assert measured(trial(evaluate_at=(100,)), tmp_path, panel(), show=False) == records
    write_records(tmp_path / "records.jsonl", records)
    written = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert written[0] == {key: value for key, value in records[0].items() if key != "window_bits"}


def test_another_seed_budget_recipe_or_window_is_another_run(tmp_path):
    others = [trial(), trial(seed=2), trial(tokens=700), trial(recipe=Recipe(rows=2, learning_rate=0.02))]
    for one in others:
        measured(one, tmp_path, panel(), show=False)
    measured(trial(), tmp_path, panel(positions=7), show=False)
    assert len(list(tmp_path.iterdir())) == 5


def test_growing_batches_are_counted_as_they_are(tmp_path):
    recipe = Recipe(rows=4, first_rows=1, grow_from=0.25, grow_to=0.5, warmup=0.1, schedule="constant")
    records = measured(trial(recipe=recipe, tokens=16 * 32), tmp_path, panel(), show=False)
    assert records[-1]["tokens"] == 32 * trial(recipe=recipe, tokens=16 * 32).stream().rows_before(records[-1]["step"])
    log = next(tmp_path.glob("*/log.jsonl")).read_text().splitlines()
    first = next(json.loads(line) for line in log if json.loads(line)["event"] == "train")
    assert first["tokens"] == 32


def test_windows_are_those_of_eval_and_bits_nearly_too(tmp_path):
    model = model_of("32x1", context=32, seed=0).eval()
    ours = panel(positions=20).measure(model)[0]
    theirs = evals.evaluate([evals.ModelPredictor(model)], corpora.get("python_stdlib"), context=32, positions=20)[0]
    assert ours["bits_mean"] == pytest.approx(theirs["bits_mean"], abs=0.02)  # bfloat16 where hardware has it
    assert ours["bits_last"] == pytest.approx(theirs["bits_last"], abs=0.1)
    assert ours["positions"] == theirs["positions"] == 20


def test_markov_lines_are_computed_once(tmp_path, monkeypatch):
    path = tmp_path / "baselines.jsonl"
    lines = panel().lines(path)
    assert 0 < lines["python_stdlib"]["markov"] < 8.5
    monkeypatch.setattr(evals, "baselines", lambda *_a, **_o: pytest.fail("computed again"))
    assert panel().lines(path) == lines


def test_a_stopped_run_ends_the_study_and_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(_short_runs, "fit", lambda *_a, **_o: Result(1, 5.0, finished=False))
        with pytest.raises(KeyboardInterrupt):
            measured(trial(), tmp_path, panel(), show=False)
    assert measured(trial(), tmp_path, panel(), show=False)[-1]["step"] == 10


def test_what_does_not_fit_is_told(tmp_path):
    with pytest.raises(SpecError, match="--length 8"):
        trial(source=sources.get("packed"), length=8).stream()
    assert isinstance(trial().source, Source)
