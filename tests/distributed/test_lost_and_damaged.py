"""A process that is lost, a disk that is full for one of several, slices that are damaged: told by all, and nothing is lost."""

import json
import shutil
import signal

import pytest
import torch
from distributed_harness import conclude, largest_difference, together, train, weights
from safetensors import SafetensorError
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from uprior.errors import CheckpointError, TrainingError, UpriorError
from uprior.train import checkpoint, sharded


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_killed_process_ends_the_others_with_a_clear_line_and_fewer_go_on(runs, tmp_path, way):
    first, killed, third = together(3, train, tmp_path, parallel=way, at=6, rank=1, how="SIGKILL")
    assert killed == -signal.SIGKILL
    for rank, error in ((0, first), (2, third)):
        assert isinstance(error, TrainingError)
        assert f"process {rank} of 3 lost another process" in str(error) and "type the same command" in str(error)
        assert "\n" not in str(error)
    assert checkpoint.folders(tmp_path)[-1].name == "step-00000004"
    fewer = conclude(tmp_path, 2, parallel="fsdp") if way == "ddp" else train(tmp_path)
    assert fewer.finished
    assert largest_difference(runs / "alone", tmp_path, "train", "loss_nats") < 1e-5


def _with_a_full_disk(path, group):
    """Twice: full for process 1 while it writes slices after step 4, then while it writes its share of the finished model."""
    write_data, save_file = HuggingFaceStorageWriter.write_data, sharded.save_file
    errors = []

    def full(writer, plan, planner):
        if group.rank == 1 and "step-00000004" in str(writer.path):
            raise OSError(28, "No space left on device")
        return write_data(writer, plan, planner)

    def full_too(tensors, file, metadata):
        if group.rank == 1:
            raise SafetensorError("while serializing: I/O error: No space left on device (os error 28)")
        save_file(tensors, file, metadata)

    for name, broken in (("write_data", full), ("save_file", full_too)):
        setattr(HuggingFaceStorageWriter if name == "write_data" else sharded, name, broken)
        try:
            train(path, group, parallel="fsdp")
        except UpriorError as error:
            errors.append(str(error))
        finally:
            HuggingFaceStorageWriter.write_data, sharded.save_file = write_data, save_file
        group.any(False)
        names = [folder.name for folder in checkpoint.folders(path)]
        errors.append([names[-1], (path / "model").exists(), len(list(path.rglob(".*.tmp")))])
    return errors


def test_a_disk_that_is_full_for_one_process_is_told_by_all_and_harms_nothing(runs, tmp_path):
    for told in together(2, _with_a_full_disk, tmp_path):
        first, after_first, second, after_second = told
        for error in (first, second):
            assert "No space left on device; what was saved before is intact" in error and "\n" not in error
        assert after_first == ["step-00000000", False, 0] and after_second == ["step-00000009", False, 0]
    conclude(tmp_path, 2, parallel="fsdp")
    assert (tmp_path / "log.jsonl").read_bytes() == (runs / "fsdp-2" / "log.jsonl").read_bytes()
    whole = weights(runs / "fsdp-2")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(tmp_path).items())


def test_a_checkpoint_with_a_damaged_slice_is_passed_over_by_all(runs, stopped, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    newest = checkpoint.folders(path)[-1]
    kinds = {p.suffix for p in newest.rglob("*") if p.is_file()}
    assert kinds == {".safetensors", ".json"}  # nothing that would have to be unpickled
    slices = sorted((newest / checkpoint.SLICES).iterdir())
    assert len(slices) == 2
    slices[1].write_bytes(slices[1].read_bytes()[:-8])
    conclude(path, 3, parallel="fsdp")
    assert len((path / "samples-0.jsonl").read_text().splitlines()) == 3 + 9  # from step 0 again
    assert largest_difference(runs / "alone", path, "train", "loss_nats") < 1e-5


def test_missing_slices_and_other_architectures_are_refused_by_name(stopped, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    with pytest.raises(CheckpointError, match=r"no good checkpoint left .*another architecture"):
        train(path, dropout=0.1)
    for folder in checkpoint.folders(path):
        lost = sorted((folder / checkpoint.SLICES).iterdir())[0]
        lost.unlink()
        checksums = json.loads((folder / "checksums.json").read_text())
        del checksums[f"{checkpoint.SLICES}/{lost.name}"]
        (folder / "checksums.json").write_text(json.dumps(checksums))
    with pytest.raises(CheckpointError, match=r"no good checkpoint left .*slices of .* are missing"):
        train(path)
