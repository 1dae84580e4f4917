"""A loss or a gradient that is NaN or infinite: the step is named, and the last good checkpoint is kept."""

import math
import random

import pytest
from fault_harness import Kill, Poison, checkpoints, finish, pretrain, repeats, run, trace

from uprior.files import read_lines, verify_folder

VALUES = {"NaN": math.nan, "infinite": math.inf}


def cases():
    rng = random.Random("steps")
    kinds = (("loss", "NaN"), ("gradient", "infinite"), ("loss", "infinite"), ("gradient", "NaN"))
    return [(*kinds[n % 4], rng.randrange(1, 13)) for n in range(repeats(2))]


@pytest.mark.fault("NaN or infinity in loss or gradients")
@pytest.mark.parametrize(("what", "value", "step"), cases())
def test_the_step_is_named_and_the_last_good_checkpoint_kept(tmp_path, data, whole, what, value, step):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    ended = run(words, tmp_path, Poison(str(folder), steps=(step,), what=what, value=VALUES[value]))
    good = (step - 1) // 3 * 3
    said = ended.err.splitlines()[-1]
    assert ended.status == 2 and "the loss became " in said, ended.err
    assert f" at step {step}; the checkpoint of step {good} is good" in said
    assert checkpoints(folder)[-1] == good
    verify_folder(folder / "checkpoints" / f"step-{good:08d}")
    assert read_lines(folder / "log.jsonl")[-1]["step"] == step - 1
    finish(words, tmp_path)  # a cause outside the run (a flipped bit) is gone the next time
    assert trace(folder) == whole.trace


def skipping(folder, data, what, steps, *injuries):
    words = pretrain(folder, data, "--skip-nonfinite", 2)
    return run(words, folder.parent, Poison(str(folder), steps=steps, what=what), *injuries)


@pytest.mark.fault("NaN or infinity, the step skipped and counted")
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_may_be_skipped_and_is_counted(tmp_path, data, what):
    folder = tmp_path / "run"
    assert skipping(folder, data, what, (5, 8)).status == 0
    lines = read_lines(folder / "log.jsonl")
    skipped = [(line["step"], line["skipped"]) for line in lines if line["event"] == "skipped"]
    assert skipped == [(5, 1), (8, 2)]
    assert [line["step"] for line in lines if line["event"] in ("train", "skipped")] == list(range(1, 13))


@pytest.mark.fault("NaN or infinity, the step skipped and counted")
def test_the_count_of_skipped_steps_survives_the_process_and_ends_the_run(tmp_path, data):
    folder, again, other = (tmp_path / name for name in ("run", "again", "other"))
    assert skipping(folder, data, "loss", (5, 8)).status == 0
    assert skipping(again, data, "loss", (5,), Kill(str(again), event="os.mkdir", path="/.step-00000009.tmp")).killed
    assert skipping(again, data, "loss", (2,)).status == 0  # step 8, the second of the process that goes on from step 6
    assert trace(again) == trace(folder)

    ended = skipping(other, data, "loss", (5, 8, 9))
    assert ended.status == 2 and "at step 9 after 2 skipped; the checkpoint of step 6 is good" in ended.err, ended.err
