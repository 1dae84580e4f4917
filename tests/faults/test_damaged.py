"""A newest checkpoint that is damaged is noticed, said aloud, and the one before is used."""

import random
import shutil

import pytest
import torch
from fault_harness import Kill, checkpoints, finish, pretrain, repeats, run, trace
from safetensors.torch import load_file

from uprior.errors import CheckpointError
from uprior.models import build
from uprior.train import Training, checkpoint
from uprior.train.optimizer import make_optimizer

FILES = ("model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json", "checksums.json")
WAYS = ("truncated", "emptied", "bit flipped", "byte added", "missing", "zeroed", "of another step")


@pytest.fixture(scope="module")
def killed(tmp_path_factory, data):
    """A run that died with checkpoints 0, 3 and 6, and lines of its log beyond."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    ended = run(pretrain(folder, data), folder.parent, Kill(str(folder), event="os.mkdir", path="/.step-00000009.tmp"))
    assert ended.killed and checkpoints(folder) == [0, 3, 6]
    return folder


def cases():
    every = [(way, file) for way in WAYS for file in FILES]
    chosen = random.Random("damage").sample(every, min(len(every), repeats(1)))
    # Without its checksums nothing else tells whether a checkpoint is whole.
    return list(dict.fromkeys([*chosen, ("missing", "checksums.json")]))


def hurt(folder, way, name):
    """Damage a file of the run's newest checkpoint."""
    file, rng = folder / "checkpoints" / "step-00000006" / name, random.Random(f"{way} {name}")
    data = bytearray(file.read_bytes())
    if way == "missing":
        file.unlink()
        return
    if way == "of another step":
        shutil.copy(file.parents[1] / "step-00000003" / file.name, file)
        if file.read_bytes() == data:  # the state of the generators is the same at all steps
            file.write_bytes(data + b"\0")
        return
    if way == "bit flipped":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == "zeroed":  # as after a power cut on a file system that had kept the length alone
        data = bytearray(len(data))
    elif way == "byte added":
        data += b"\0"
    else:
        data = data[: 0 if way == "emptied" else rng.randrange(1, len(data))]
    file.write_bytes(data)


def tells(said, file):
    """A checksum that changed accuses the file that it is of."""
    accused = FILES if file == "checksums.json" else (file, "checksums.json")
    return "step-00000006" in said and any(name in said for name in accused)


@pytest.mark.fault("newest checkpoint truncated, bit-flipped, or missing a file")
@pytest.mark.parametrize(("way", "file"), cases())
def test_a_damaged_checkpoint_is_passed_over(tmp_path, killed, data, whole, way, file):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    hurt(folder, way, file)
    ended = finish(pretrain(folder, data), tmp_path)
    said = next(line for line in ended.err.splitlines() if line.startswith("passed over a checkpoint: "))
    assert tells(said, file) and "going on from step 3" in ended.err
    assert trace(folder) == whole.trace


# ------------------------------------------------------------------ in this process


def restored(folder, name="llama-tiny"):
    """(what was restored, the model into which)"""
    model = build(name, context=32)
    return checkpoint.restore(folder, model, make_optimizer(model, Training())), model


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_every_damage_of_every_file_is_noticed(tmp_path, killed, way, file):
    shutil.copytree(killed, tmp_path / "run")
    hurt(tmp_path / "run", way, file)
    state, model = restored(tmp_path / "run")
    (said,) = state.passed_over
    assert state.step == 3 and tells(said, file)
    saved = load_file(killed / "checkpoints" / "step-00000003" / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.named_parameters())


def test_all_checkpoints_damaged_is_one_line(tmp_path, killed):
    shutil.copytree(killed, tmp_path / "run")
    for folder in checkpoint.folders(tmp_path / "run"):
        (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"no good checkpoint left .* start anew"):
        restored(tmp_path / "run")


def test_a_checkpoint_of_another_architecture_does_not_fit(killed):
    with pytest.raises(CheckpointError, match=r"no good checkpoint left .*another architecture"):
        restored(killed, "gpt2-tiny")
