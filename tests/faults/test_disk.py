"""A disk that fills up: the checkpoint before is intact, the error is one clear line, and with room again the run goes on.

What a full disk does to the loop without a process of its own is in tests/test_train.py.
"""

import os
import random
import shutil
import subprocess
import sys

import pytest
from fault_harness import FillDisk, SmallFiles, checkpoints, finish, pretrain, repeats, run, trace

from uprior.files import verify_folder

# The moment that room ends, as (disk event, path), the steps between checkpoints, and the checkpoints that must be left.
MOMENTS = {
    "a checkpoint": ("os.mkdir", "/.step-00000006.tmp", 3, [0, 3]),
    "the first checkpoint": ("os.mkdir", "/.step-00000000.tmp", 3, []),
    "the model at the end": ("os.mkdir", "/.model.tmp", 3, [0, 9, 12]),
    "the weights of the start": ("os.mkdir", "/.start.tmp", 3, []),
}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root, to mount a small tmpfs")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def is_one_clear_line(ended, folder, reason):
    errors = [line for line in ended.err.splitlines() if line.startswith("uprior: error: ")]
    assert ended.status == 2 and len(errors) == 1 and errors[0] == ended.err.splitlines()[-1], ended.err
    assert f"uprior: error: cannot write {folder}" in errors[0] and reason in errors[0]
    assert "what was saved before is intact" in errors[0]


def nothing_is_lost(folder, steps):
    assert checkpoints(folder) == steps
    for step in steps:
        verify_folder(folder / "checkpoints" / f"step-{step:08d}")


@pytest.mark.fault("disk full while saving (a small tmpfs)")
@pytest.mark.parametrize("what", [name for _ in range(max(1, repeats(1) // 4)) for name in MOMENTS][: repeats(1)])
def test_a_disk_that_is_full_while_saving(tmp_path, small_disk, data, whole, what, request):
    event, path, every, left = MOMENTS[what]
    folder = small_disk / "run"
    words = pretrain(folder, data, every=every)
    room = random.Random(request.node.name).randrange(0, 130_000)
    ended = run(words, tmp_path, FillDisk(str(folder), event=event, path=path, left=room))
    is_one_clear_line(ended, folder, "No space left on device")
    nothing_is_lost(folder, left)
    (small_disk / "filler").unlink()
    finish(words, tmp_path)
    assert trace(folder) == whole.trace


@pytest.mark.fault("disk full while logging (a small tmpfs)")
@pytest.mark.parametrize("n", range(repeats(1)))
def test_a_disk_that_is_full_while_logging(tmp_path, small_disk, data, n):
    folder = small_disk / "run"
    # Sixty lines are more than the page that the file has already.
    words = pretrain(folder, data, steps=60, every=60)
    injury = FillDisk(str(folder), event="os.rename", path="/.step-00000000.tmp", left=4096 * (n % 3))
    ended = run(words, tmp_path, injury)
    is_one_clear_line(ended, folder, "No space left on device")
    nothing_is_lost(folder, [0])
    (small_disk / "filler").unlink()
    finish(words, tmp_path)
    other = tmp_path / "other"
    finish(pretrain(other, data, steps=60, every=60), tmp_path)
    assert trace(folder) == trace(other)


@pytest.mark.fault("no more room for a file (a limit of its size)")
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize("n", range(repeats(1)))
def test_a_file_that_may_not_grow(tmp_path, data, whole, n):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    room = random.Random(n).randrange(8_000, 130_000)
    ended = run(words, tmp_path, SmallFiles(str(folder), event="os.mkdir", path="/.step-00000006.tmp", size=room))
    is_one_clear_line(ended, folder, "File too large")
    nothing_is_lost(folder, [0, 3])
    finish(words, tmp_path)
    assert trace(folder) == whole.trace
