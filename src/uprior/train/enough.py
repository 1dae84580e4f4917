"""When a warm-up has been long enough, told from the warm-up alone: when its last doubling brought little.

A warm-up can be too long for what comes after it (Hu et al. 2025, arXiv 2502.19249), and no real data may be needed to see it.
The loss is given: that of training, on rows that never repeat, or that on sources which the warm-up does not have: computation
never seen, and no real data either. Made for constant rates: a rate that decays makes the loss fall at a time that it sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uprior.errors import RunDirectoryError
from uprior.files import read_lines

# Of all that was learnt so far, what a doubling must bring to be worth it.
SHARE = 0.1
# Steps of the shortest warm-up that is looked at: before, the rate still rises.
FIRST_STEPS = 16


def first_idle_doubling(losses: Sequence[float], start: float, share: float = SHARE) -> int | None:
    """Which of the lengths, each twice the one before, is the first whose doubling brought little; None if none is.

    losses   [L] at these lengths; ``start`` before the first step
    share    little is at most this share of what has been learnt since the start; 0: nothing
    Nothing after the answer is looked at, so a run can stop there.

    >>> first_idle_doubling([6.0, 5.0, 4.9, 3.0], start=8.0), first_idle_doubling([6.0, 5.0, 4.9, 3.0], 8.0, share=0.0)
    (2, None)
    """
    for place in range(1, len(losses)):
        if losses[place - 1] - losses[place] <= share * (start - losses[place]):
            return place
    return None


def octave_means(losses: Sequence[float], ends: Sequence[int]) -> list[float]:
    """Means of the training losses [steps] over the second halves, end/2 < step <= end: enough steps to be smooth, none later.

    >>> octave_means([4.0, 3.0, 2.0, 1.0], [2, 4])
    [3.0, 1.5]
    """
    return [float(np.mean(losses[end // 2 : end])) for end in ends]


def stopping_step(run: str | Path, share: float = SHARE) -> int | None:
    """The step at which the run's own training loss said: enough. None where it still pays at the run's last doubling.

    run   the directory of a run at a constant rate, finished or not, on rows that never repeat
    Raises RunDirectoryError where its log has not two doublings of FIRST_STEPS.
    """
    losses = training_losses(run)
    if len(losses) < 2 * FIRST_STEPS:
        raise RunDirectoryError(
            f"{run} has a log of {len(losses)} steps, too few to say when to stop; give a run of {2 * FIRST_STEPS} or more"
        )
    ends = _doublings(len(losses))
    place = first_idle_doubling(octave_means(losses, ends), losses[0], share)
    return None if place is None else ends[place]


def has_had_enough(losses: Sequence[float], share: float = SHARE) -> bool:
    """Whether a run at a constant rate ends here by itself: a doubling ends with the last of its training losses [steps].

    >>> has_had_enough([8.0] + 31 * [2.0]), has_had_enough([8.0] + 32 * [2.0]), has_had_enough([8.0] + 15 * [5.0] + 16 * [2.0])
    (True, False, False)
    """
    ends = _doublings(len(losses))
    if len(ends) < 2 or ends[-1] != len(losses):
        return False
    return first_idle_doubling(octave_means(losses, ends), losses[0], share) is not None


def training_losses(run: str | Path) -> list[float]:
    """[steps] nats of every step that was taken, from the run's log; none where there is no log yet."""
    return [line["loss_nats"] for line in read_lines(Path(run) / "log.jsonl") if line["event"] == "train"]


def as_it_ended(recorded: Mapping[str, Any], run: str | Path) -> dict[str, Any]:
    """The record (config.json) of a finished run; where it was to end by itself, with the steps and tokens that it took."""
    if recorded.get("stop") != "auto":
        return dict(recorded)
    done = [line for line in read_lines(Path(run) / "log.jsonl") if line["event"] in ("train", "skipped")]
    if not done:  # a shipped model has no log: its record is mended already
        return dict(recorded)
    last = done[-1]
    return {**recorded, "tokens": last["tokens"], "training": {**recorded["training"], "steps": last["step"]}}


def _doublings(steps: int) -> list[int]:
    """The lengths that are compared: FIRST_STEPS, twice that, and so on, up to ``steps``."""
    return [FIRST_STEPS << k for k in range(int(math.log2(steps / FIRST_STEPS)) + 1)] if steps >= FIRST_STEPS else []
