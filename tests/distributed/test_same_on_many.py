"""One machine to many: the same samples, losses and weights on any number of processes."""

import json
import shutil

import pytest
import torch
from distributed_harness import conclude, largest_difference, log_of, samples, stream, tiny, together, train, weights

from uprior.files import read_lines
from uprior.train import Training, loop
from uprior.train.distributed import ALONE, Group
from uprior.train.optimizer import make_optimizer
from uprior.train.parallel import spread_over


@pytest.mark.parametrize(("name", "size"), [("ddp-2", 2), ("ddp-3", 3), ("fsdp-2", 2), ("fsdp-3", 3), ("micro", 3)])
def test_samples_losses_and_evaluations_do_not_depend_on_processes_or_micro_batches(runs, name, size):
    alone, many = runs / "alone", runs / name
    expected = [stream().hashes(step) for step in range(9)]
    assert samples(alone, 1) == expected and samples(many, size) == expected
    for field in ("loss_nats", "above_floor_nats", "gradient_norm"):
        assert largest_difference(alone, many, "train", field) < 1e-5, field
    assert largest_difference(alone, many, "eval", "bits_mean") < 1e-4
    assert [line["step"] for line in read_lines(many / "timing.jsonl")] == list(range(1, 10))  # one process writes


def test_a_process_without_a_row_changes_no_sample_and_no_mean(tmp_path):
    few, fewer = tmp_path / "few", tmp_path / "fewer"
    train(few, rows=3)
    conclude(fewer, 4, parallel="fsdp", rows=3, micro_batch=1)
    assert samples(few, 1) == samples(fewer, 4) == [stream(batch_size=3).hashes(step) for step in range(9)]
    assert {len(json.loads(line)) for line in (fewer / "samples-0.jsonl").read_text().splitlines()} == {0}
    assert largest_difference(few, fewer, "train", "loss_nats") < 1e-5
    assert largest_difference(few, fewer, "train", "gradient_norm") < 1e-4


def test_gradients_travel_once_per_step():
    """Reductions with four passes per step are those with one."""
    for counts in together(2, _count_reductions):
        assert counts["ddp"][0] == counts["ddp"][1] == 2  # one bucket, and the loss
        assert counts["fsdp"][0] == counts["fsdp"][1] > 2


def _count_reductions(group):
    cpu, counts = torch.device("cpu"), {}
    for way in ("ddp", "fsdp"):
        model, counts[way] = tiny(), []
        spread = spread_over(model, group, way, cpu)
        loop._step(spread, make_optimizer(model, Training()), stream().batch(0), Training(), 0.0)
        for micro in (1, 0):
            training = Training(micro_batch=micro)
            optimizer = make_optimizer(model, training)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                loop._step(spread, optimizer, stream().batch(0), training, 1e-3)
            names = [event.name for event in profile.events()]
            counts[way].append(names.count("gloo:all_reduce") + names.count("c10d::_reduce_scatter_base_"))
    return counts


# ------------------------------------------------------------------ stopping and going on


def test_two_processes_then_one_then_three(runs, stopped, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    second = train(path, at=6)
    assert not second.finished and second.steps == 6
    assert conclude(path, 3, parallel="ddp").finished
    # What each process saw, over the legs it took part in: 2 x 3 steps, then 1 x 3, then 3 x 3.
    legs = [[json.loads(line) for line in (path / f"samples-{r}.jsonl").read_text().splitlines()] for r in range(3)]
    assert [len(leg) for leg in legs] == [9, 6, 3]
    seen = [legs[0][s] + legs[1][s] for s in range(3)] + legs[0][3:6]
    seen += [legs[0][6 + s] + legs[1][3 + s] + legs[2][s] for s in range(3)]
    alone = runs / "alone"
    assert seen == samples(alone, 1)
    assert largest_difference(alone, path, "train", "loss_nats") < 1e-5
    assert largest_difference(alone, path, "eval", "bits_mean") < 1e-4
    own, other = weights(alone), weights(path)
    assert own.keys() == other.keys() and all(torch.allclose(own[n], other[n], atol=1e-5) for n in own)


def _whole_and_stopped(path, group, **options):
    for name, at in (("whole", None), ("stopped", 5)):
        train(path / name, group, at=at, rank=group.size - 1, **options)


@pytest.mark.parametrize(("way", "size"), [("ddp", 3), ("fsdp", 2)])
def test_the_same_number_of_processes_goes_on_bit_for_bit_with_dropout(tmp_path, way, size):
    together(size, _whole_and_stopped, tmp_path, parallel=way, dropout=0.2)
    whole, path = tmp_path / "whole", tmp_path / "stopped"
    assert log_of(path)[-1]["step"] == 5 and not (path / "model").exists()
    assert conclude(path, size, parallel=way, dropout=0.2).finished
    assert (path / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    for file in sorted((whole / "model").iterdir()):
        assert (path / "model" / file.name).read_bytes() == file.read_bytes(), file.name


def test_processes_drop_different_activations():
    seeds = {Group(rank, size).seed(0, step) for size in (2, 3) for rank in range(size) for step in (0, 5)}
    assert len(seeds) == 10 and ALONE.seed(7, 0) == 7
