"""Other people's trainers: the samples of ``stream.batch(step)``, none twice, none left out, resumed by seeking alone."""

import os
import pickle
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from process_server import free_port, ranked, start
from torch.utils.data import DataLoader

from uprior.data.batches import share
from uprior.data.stream import BatchStream, Stream
from uprior.errors import SpecError
from uprior.models.sizes import build
from uprior.sources import Mixture, Pointwise, Uniform
from uprior.train.loss import scored_sum
from uprior.types import Batch

EXAMPLES = Path(__file__).parent.parent / "examples"
SOURCE = Mixture(sources=(Uniform(), Pointwise()), shares=(1, 2))
FAR = 10**12


class Counted(BatchStream):
    """Rows that say which they are, every third token unscored, and a record of the steps that were computed."""

    def __init__(self, batch_size=6, length=8):
        super().__init__(seed=0, batch_size=batch_size, length=length, split="train")
        self.computed = []

    def batch(self, step):
        self.computed.append(step)
        first = step * self.batch_size * self.length
        tokens = (first + np.arange(self.batch_size * self.length)).reshape(self.batch_size, self.length) % 251
        tokens[:, 0] = step % 256
        return Batch(tokens, np.arange(tokens.size).reshape(tokens.shape) % 3 > 0)

    def describe(self):
        return {"counted": 0}


def make(**options):
    return Stream(SOURCE, **({"seed": 0, "batch_size": 6, "length": 16, "block_rows": 16} | options))


def is_step(item, stream, step):
    return np.array_equal(item["input_ids"], stream.batch(step).tokens)


# More workers than cores, on purpose.
many_workers = pytest.mark.filterwarnings("ignore:This DataLoader will create")


# ------------------------------------------------------------------ rows and shares


@given(st.integers(1, 9), st.integers(1, 12))
def test_shares_are_the_batch_whatever_the_number_of_processes(rows, world):
    whole = Counted(batch_size=rows).batch(3)
    parts = [share(whole, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate([p.tokens for p in parts]), whole.tokens)
    assert np.array_equal(np.concatenate([p.scored for p in parts]), whole.scored)
    sizes = [len(p.tokens) for p in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rank", "world"), [(-1, 2), (2, 2), (0, 0)])
def test_an_impossible_rank_is_refused(rank, world):
    with pytest.raises(SpecError, match=f"rank = {rank} of {world} is not allowed; allowed: 0 <= rank < world_size"):
        share(make().batch(0), rank, world)
    with pytest.raises(SpecError, match=f"rank = {rank} of {world}"):
        make().torch_dataset(rank=rank, world_size=world)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=12), st.sampled_from([make, Counted]))
def test_rows_by_number_are_the_rows_of_the_batches_in_any_order(numbers, new):
    stream = new()
    rows = stream.rows(np.array(numbers))
    for i, number in enumerate(numbers):
        whole = stream.batch(number // 6)
        assert np.array_equal(rows.tokens[i], whole.tokens[number % 6])
        assert np.array_equal(rows.scored[i], whole.scored[number % 6])
        if whole.floor_nats is not None:
            assert np.array_equal(rows.floor_nats[i], whole.floor_nats[number % 6], equal_nan=True)


def test_labels_are_tokens_where_scored_and_ignored_elsewhere():
    stream = Counted()
    item = next(iter(stream.torch_dataset(5)))
    batch = stream.batch(5)
    counts = batch.scored.copy()
    counts[:, 0] = False  # given, never predicted
    labels = item["labels"].numpy()
    assert (labels[~counts] == -100).all() and np.array_equal(labels[counts], batch.tokens[counts])
    assert 0 < counts.sum() < counts.size


# ------------------------------------------------------------------ torch DataLoader, whole steps


@many_workers
@pytest.mark.parametrize(("before", "after"), [(0, 3), (1, 0), (2, 1), (3, 2)])
def test_a_resume_loses_and_repeats_nothing_whatever_the_workers(before, after):
    stream = make()
    first = iter(
        DataLoader(stream.torch_dataset(0, 11), batch_size=None, num_workers=before, generator=torch.Generator())
    )
    seen = [next(first) for _ in range(4)]
    del first
    seen += DataLoader(stream.torch_dataset(4, 11), batch_size=None, num_workers=after, generator=torch.Generator())
    assert len(seen) == 11 and all(is_step(item, stream, step) for step, item in enumerate(seen))


@many_workers
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 on torch 2.13
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_torchdatas_loader_resumes_with_workers_that_read_ahead(workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="pip install torchdata").StatefulDataLoader
    stream = make()
    loader = stateful(stream.torch_dataset(2, 15), batch_size=None, num_workers=workers)
    first = iter(loader)
    seen = [next(first) for _ in range(5)]
    state = loader.state_dict()
    del first
    again = stateful(stream.torch_dataset(2, 15), batch_size=None, num_workers=workers)
    again.load_state_dict(state)
    seen += list(again)
    assert len(seen) == 13 and all(is_step(item, stream, 2 + i) for i, item in enumerate(seen))
    assert [int(item["input_ids"].sum()) for item in again] == [int(item["input_ids"].sum()) for item in seen]


def test_where_workers_read_ahead_the_dataset_does_not_pretend_to_know_the_step():
    dataset = make().torch_dataset(0, 6)
    assert dataset.state_dict() == {"next_step": 0}
    list(DataLoader(dataset, batch_size=None, num_workers=1))
    with pytest.raises(SpecError, match=re.escape("resume with stream.torch_dataset(start=step)")):
        dataset.state_dict()
    dataset.seek(4)
    assert dataset.state_dict() == {"next_step": 4}


def test_every_iteration_begins_at_the_start_and_one_where_it_was_sought():
    stream = Counted()
    dataset = stream.torch_dataset(3, 6)
    first_tokens = [int(item["input_ids"][0, 0]) for item in dataset]
    assert first_tokens == [int(item["input_ids"][0, 0]) for item in dataset] == [3, 4, 5]
    dataset.seek(5)
    assert [len(list(dataset)) for _ in range(2)] == [1, 3]
    for step in (2, 7):
        with pytest.raises(SpecError, match=f"step {step} is not allowed; allowed: 3 to 6"):
            dataset.seek(step)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 4)])
def test_an_impossible_range_of_steps_is_refused(start, stop):
    with pytest.raises(SpecError, match=f"start = {start}, stop = {stop} is not allowed; allowed: 0 <= start <= stop"):
        make().torch_dataset(start, stop)


@many_workers
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_see_the_batch(world):
    stream = make()
    loaders = [
        DataLoader(stream.torch_dataset(1, 4, rank=rank, world_size=world), batch_size=None, num_workers=rank % 2)
        for rank in range(world)
    ]
    for step, items in enumerate(zip(*loaders, strict=True), start=1):
        assert is_step({"input_ids": torch.cat([item["input_ids"] for item in items])}, stream, step)


# ------------------------------------------------------------------ rows, map-style


@many_workers
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_rows_by_number_in_a_loader_with_workers(workers):
    stream = make()
    rows = stream.torch_rows(steps=7)
    loader = DataLoader(rows, batch_size=6, sampler=range(2 * 6, len(rows)), num_workers=workers)
    found = list(loader)
    assert len(found) == 5 and all(is_step(item, stream, 2 + i) for i, item in enumerate(found))


def test_a_map_style_dataset_has_a_length_and_ends():
    rows = make().torch_rows(steps=3)
    assert len(rows) == 18 and len(list(rows)) == 18
    assert np.array_equal(rows[-1]["input_ids"], rows[np.int64(17)]["input_ids"])
    for outside in (18, -19):
        with pytest.raises(IndexError):
            rows[outside]
    shuffled = DataLoader(rows, batch_size=18, shuffle=True, generator=torch.Generator().manual_seed(0))
    seen = next(iter(shuffled))["input_ids"].numpy()
    assert {r.tobytes() for r in seen} == {r["input_ids"].tobytes() for r in rows}


def test_views_travel_to_processes_that_are_not_forked():
    rows, steps = make().random_access(steps=9), make().torch_dataset(2)
    assert np.array_equal(pickle.loads(pickle.dumps(rows))[50]["labels"], rows[50]["labels"])
    assert is_step(next(iter(pickle.loads(pickle.dumps(steps)))), make(), 2)


def test_a_length_that_a_shuffling_sampler_would_list_in_memory_is_refused():
    with pytest.raises(
        SpecError, match=r"steps = 1000000000 gives 6000000000 rows.*steps <= 11184810, or stream.torch_dataset"
    ):
        make().torch_rows(steps=10**9)
    with pytest.raises(SpecError, match="steps = 0 is not allowed; allowed: a whole number from 1"):
        make().torch_rows(steps=0)


def test_rows_one_by_one_refuse_workers_because_they_would_change_steps(monkeypatch):
    stream = make()
    rows = stream.torch_dataset(2, 5, rows=True)
    found = list(DataLoader(rows, batch_size=6))
    assert len(found) == 3 and all(is_step(item, stream, 2 + i) for i, item in enumerate(found))
    # As if in a worker: a real one takes torch five seconds to end after an error.
    monkeypatch.setattr("uprior.data.torch_view.get_worker_info", lambda: SimpleNamespace(id=0, num_workers=1))
    with pytest.raises(SpecError, match="num_workers > 0 is not allowed"):
        next(iter(rows))


# ------------------------------------------------------------------ O(1)


def test_seeking_far_computes_nothing_on_the_way():
    stream = Counted()
    first = iter(stream.torch_dataset(FAR))
    assert is_step(next(first), Counted(), FAR)
    first.close()
    sought = stream.torch_dataset()
    sought.load_state_dict({"next_step": FAR})
    assert is_step(next(iter(sought)), Counted(), FAR)
    assert is_step(next(iter(DataLoader(stream.torch_dataset(FAR, rows=True), batch_size=6))), Counted(), FAR)
    assert np.array_equal(stream.random_access(FAR + 1)[FAR * 6 + 4]["input_ids"], Counted().batch(FAR).tokens[4])
    assert min(stream.computed) >= FAR and max(stream.computed) < FAR + 6


# ------------------------------------------------------------------ Hugging Face Trainer


def arguments(**changes):
    given = {"train_batch_size": 3, "gradient_accumulation_steps": 2, "world_size": 1, "dataloader_num_workers": 0}
    return SimpleNamespace(**(given | {"ignore_data_skip": True, "seed": 0, "process_index": 0} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world_size": 2}, "processes = 12 is not allowed; allowed: 6, the stream's batch size"),
        ({"ignore_data_skip": False}, "allowed: ignore_data_skip=True"),
        ({"dataloader_num_workers": 2}, "dataloader_num_workers = 2 is not allowed; allowed: 0"),
    ],
)
def test_trainer_arguments_that_would_change_the_samples_are_refused(changes, message):
    from uprior.data.trainers import SeekCallback

    seek = SeekCallback(Counted())
    seek.on_train_begin(arguments(), SimpleNamespace(global_step=4), None)
    assert is_step(next(iter(DataLoader(seek.rows, batch_size=6))), Counted(), 4)
    with pytest.raises(SpecError, match=re.escape(message)):
        seek.on_train_begin(arguments(**changes), SimpleNamespace(global_step=4), None)


def test_the_trainer_sees_each_step_once_and_resumes_without_reading_what_was_read(tmp_path):
    pytest.importorskip("accelerate", reason="pip install 'uprior[accelerate]'")
    from transformers import Trainer, TrainingArguments

    from uprior.data.trainers import SeekCallback

    class Recording(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            seen.append(inputs["input_ids"].numpy().copy())
            return super().training_step(model, inputs, num_items_in_batch)

    def train(steps, resume):
        model = build("llama-tiny", context=8)
        seek = SeekCallback(Counted(), start=10)
        trainer = Recording(
            model,
            TrainingArguments(
                str(tmp_path),
                max_steps=steps,
                per_device_train_batch_size=3,
                gradient_accumulation_steps=2,
                ignore_data_skip=True,
                save_steps=3,
                logging_steps=1,
                use_cpu=True,
                disable_tqdm=True,
                report_to=[],
            ),
            train_dataset=seek.rows,
            callbacks=[seek],
        )
        trainer.train(resume_from_checkpoint=resume)
        return [line["loss"] for line in trainer.state.log_history if "loss" in line], seek.stream.computed

    seen = []
    train(3, None)
    losses, computed = train(5, f"{tmp_path}/checkpoint-3")
    steps = np.concatenate(seen).reshape(5, 6, 8)
    assert all(np.array_equal(tokens, Counted().batch(10 + i).tokens) for i, tokens in enumerate(steps))
    assert min(computed) == 13
    # The labels mean to the trainer what ``scored`` means to our own loss.
    batch = Counted().batch(10)
    tokens, scored = torch.from_numpy(batch.tokens), torch.from_numpy(batch.scored)
    ours, _ = scored_sum(build("llama-tiny", context=8)(tokens, use_cache=False).logits, tokens, scored)
    assert losses[0] == pytest.approx(ours.item() / batch.scored[:, 1:].sum(), rel=1e-6)


# ------------------------------------------------------------------ examples

# What an example needs beyond the package, and the extra that brings it.
NEEDS = {
    "hf_trainer": "accelerate",
    "accelerate_loop": "accelerate",
    "lightning_module": "lightning",
    "grain_loader": "grain",
}


@pytest.mark.filterwarnings(
    "ignore:Checkpoint directory",  # Lightning: the second run goes on in the folder of the first, as a resumed run does
    "ignore:.*isinstance.treespec, LeafSpec",  # Lightning 2.6 on torch 2.13
    "ignore:.*does not have many workers",  # Lightning on any loader without workers
)
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_proves_what_it_says(path, capsys):
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem], reason=f"pip install 'uprior[{NEEDS[path.stem]}]'")
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


def accelerated(rank, port, said):
    """The example in a process of two, as torchrun starts them."""
    for number in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ |= ranked(rank, 2, port)
    runpy.run_path(str(EXAMPLES / "accelerate_loop.py"), run_name="__main__")


def test_two_processes_with_accelerate_see_the_same_samples_and_lose_the_same(capsys, tmp_path):
    pytest.importorskip("accelerate", reason="pip install 'uprior[accelerate]'")
    runpy.run_path(str(EXAMPLES / "accelerate_loop.py"), run_name="__main__")
    port = free_port()
    children = [start(accelerated, rank, port, tmp_path / f"said-{rank}") for rank in range(2)]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0], [path.read_text() for path in tmp_path.iterdir()]
    said = [capsys.readouterr().out, *(path.read_text() for path in sorted(tmp_path.iterdir()))]
    one, first, second = ([float(x) for x in re.findall(r"\d\.\d{6}", text)] for text in said)
    two = first + second  # one of them speaks
    assert len(two) == 6 and two == pytest.approx(one, abs=2e-6)
