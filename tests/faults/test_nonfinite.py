"""A loss or a gradient that is NaN or infinite: the step is named, and the last good checkpoint is kept."""

import json
import math
import random

import pytest
from fault_harness import Poison, checkpoints, finish, pretrain, repeats, run, trace

from uprior.files import read_lines, verify_folder
from uprior.train import Training

VALUES = {"NaN": math.nan, "infinite": math.inf}


def cases():
    rng = random.Random("steps")
    kinds = [(what, value) for what in ("loss", "gradient") for value in VALUES]
    return [(*kinds[n % 4], rng.randrange(1, 13)) for n in range(repeats(4))]


@pytest.mark.fault("NaN or infinity in loss or gradients")
@pytest.mark.parametrize(("what", "value", "step"), cases())
def test_the_step_is_named_and_the_last_good_checkpoint_kept(tmp_path, data, whole, what, value, step):
    folder = tmp_path / "run"
    words = pretrain(folder, data)
    ended = run(words, tmp_path, Poison(str(folder), steps=(step,), what=what, value=VALUES[value]))
    good = (step - 1) // 3 * 3
    said = ended.err.splitlines()[-1]
    assert ended.status == 2 and f" at step {step}; the checkpoint of step {good} is good" in said, ended.err
    assert checkpoints(folder)[-1] == good
    verify_folder(folder / "checkpoints" / f"step-{good:08d}")
    assert read_lines(folder / "log.jsonl")[-1]["step"] == step - 1
    finish(words, tmp_path)  # a cause outside the run (a flipped bit) is gone the next time
    assert trace(folder) == whole.trace


SKIP = "Training.skip_nonfinite"


@pytest.mark.fault("NaN or infinity, the step skipped and counted")
@pytest.mark.skipif(
    "skip_nonfinite" not in Training.__dataclass_fields__, reason="Training has no field skip_nonfinite yet"
)
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_may_be_skipped_and_is_counted(tmp_path, data, what):
    folder = tmp_path / "run"
    words = pretrain(folder, data, "--skip-nonfinite", 2)
    ended = run(words, tmp_path, Poison(str(folder), steps=(5, 8), what=what))
    assert ended.status == 0, ended.err
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    skipped = [line for line in lines if line["event"] == "skipped"]
    assert [(line["step"], line["skipped"]) for line in skipped] == [(5, 1), (8, 2)]
    assert [line["step"] for line in lines if line["event"] in ("train", "skipped")] == list(range(1, 13))

    other = tmp_path / "other"
    ended = run(pretrain(other, data, "--skip-nonfinite", 2), tmp_path, Poison(str(other), steps=(5, 8, 9), what=what))
    assert ended.status == 2 and "at step 9" in ended.err and "2 skipped" in ended.err
