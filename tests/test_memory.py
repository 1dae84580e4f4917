"""Memory is flat: over steps, checkpoints and evaluations, and whatever the length of the data. (Measured: ``bench memory``.)"""

import contextlib
import ctypes
import gc

import pytest
import torch

import uprior
from uprior.bench import memory
from uprior.data.ahead import Ahead
from uprior.data.export import export
from uprior.errors import SpecError
from uprior.sources import Mixture, Pointwise, Uniform
from uprior.train import Training, fit

linux = pytest.mark.skipif(not memory.Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")


@linux
def test_memory_is_that_of_a_batch_whatever_the_length_of_the_shards(tmp_path):
    small, large = memory.bench_corpus([1 << 20, 48 << 20], tmp_path)
    assert (small["rows"], large["rows"]) == (1 << 10, 48 << 10)
    assert large["sum"] > 47 * small["sum"] > 0  # all of it was read
    assert large["growth_mb"] < 12 and large["flat"]  # the file alone is 50 MB, as batches 400


def test_a_reader_that_keeps_what_it_read_would_be_noticed(tmp_path, monkeypatch):
    export(uprior.Stream(Uniform(), batch_size=64, length=1024), tmp_path / "s", tokens=8 << 20)
    kept, real = [], memory.read_shards

    def keeping(folder, **options):
        stream = real(folder, **options)
        batch = stream.batch
        stream.batch = lambda step: kept.append(batch(step)) or kept[-1]
        return stream

    monkeypatch.setattr(memory, "read_shards", keeping)
    # What tests before freed and this process kept would be used first.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    found = memory.read_all(tmp_path / "s")
    assert found["peak_mb"] - found["before_mb"] > 40  # 8 M tokens as int64


def tensors_alive():
    gc.collect()
    return sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())


def test_a_run_holds_as_much_after_many_checkpoints_and_evaluations_as_after_few(tmp_path):
    source = Mixture(sources=(Pointwise(max_symbols=4), Uniform()), shares=(3, 1))
    stream = uprior.Stream(source, batch_size=4, length=16, block_rows=8)
    tensors, blocks = [], []

    def evaluate(model, step):
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 4, dtype=torch.int64))
        tensors.append(tensors_alive())
        blocks.append(len(stream._blocks))
        return [{"file": "none", "bits_mean": 0.0}]

    model = uprior.build("llama-tiny", context=16)
    fit(
        model, stream, Training(steps=40, checkpoint_every=5, precision="float32"), tmp_path / "run",
        evaluate=evaluate, evaluate_at=frozenset({5, 10, 40}), show=False,
    )  # fmt: skip
    assert len(tensors) == 3 and tensors[1] == tensors[2]
    assert max(blocks) <= stream._held <= 64


def test_reading_ahead_forgets_what_was_handed_out():
    stream = uprior.Stream(Uniform(), batch_size=3, length=4, block_rows=4)
    reader = Ahead(stream, 0, 400, 2, None)
    with reader as batches:
        for _ in range(390):
            next(batches)
            assert len(reader.finished) <= 32 and len(reader.pending) <= 32 and len(stream._blocks) <= 32


@linux
def test_a_loss_over_many_ids_needs_less_than_a_quarter_of_its_logits():
    found = memory.bench_loss(30_000, rows=32, length=128, width=32)
    assert found["whole_mb"] > 32 * 127 * 30_000 * 10e-6  # logits, their float32 twin and a gradient at least
    assert found["share"] < 0.25 and found["flat"]


def test_a_run_too_short_to_compare_its_quarters_is_refused():
    with pytest.raises(SpecError, match="--seconds -3 is not allowed; allowed: 0 for no run, or 8 and more"):
        memory.bench_run(-3.0)
