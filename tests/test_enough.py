"""When a warm-up has been long enough: the first doubling that brought little, of any losses and of a run's log."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior.errors import RunDirectoryError
from uprior.train.enough import FIRST_STEPS, first_idle_doubling, octave_means, stopping_step

LOSSES = st.lists(st.floats(0.0, 8.0), min_size=2, max_size=8)


@given(LOSSES, st.floats(0.0, 0.9))
def test_every_doubling_before_the_stop_paid_and_the_stop_did_not(losses: list[float], share: float) -> None:
    def paid(k: int) -> bool:
        return losses[k - 1] - losses[k] > share * (9.0 - losses[k])

    stop = first_idle_doubling(losses, 9.0, share)
    assert all(paid(k) for k in range(1, len(losses) if stop is None else stop))
    assert stop is None or not paid(stop)


@given(LOSSES, LOSSES, st.floats(0.0, 0.9))
def test_nothing_after_the_stop_matters(losses: list[float], later: list[float], share: float) -> None:
    stop = first_idle_doubling(losses, 9.0, share)
    if stop is not None:
        assert first_idle_doubling(losses[: stop + 1] + later, 9.0, share) == stop


@given(LOSSES, st.floats(0.0, 0.4))
def test_who_asks_for_more_stops_no_later(losses: list[float], share: float) -> None:
    patient, strict = (first_idle_doubling(losses, 9.0, s) for s in (share, 2 * share))
    assert patient is None or (strict is not None and strict <= patient)


def test_halving_errors_pay_until_the_floor_is_near() -> None:
    # 4 nats to learn, the distance to the floor halves with every doubling: it brings 2^-k of the first 4.
    losses = [1.0 + 4.0 * 2.0**-k for k in range(1, 8)]
    assert first_idle_doubling(losses, 5.0, share=0.1) == 3  # 4/16 of 4 - 4/16, the first under a tenth
    assert first_idle_doubling(losses, 5.0, share=0.0) is None


def test_means_are_of_second_halves() -> None:
    assert octave_means([9.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 7.0], [2, 4, 8]) == [3.0, 1.5, 0.0]


def write_log(run: Path, losses: list[float]) -> None:
    lines = [{"event": "eval", "step": 0, "bits_mean": 8.0}]
    lines += [{"event": "train", "step": n, "loss_nats": loss} for n, loss in enumerate(losses, start=1)]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_whose_loss_falls_with_the_logarithm_stops_where_a_doubling_is_under_the_share(tmp_path: Path) -> None:
    # One nat for the first step, then 0.1 per doubling: a tenth of 1 + 0.1 k is more than that from the first doubling on.
    write_log(tmp_path, [2.0] + [1.0 - 0.1 * math.log2(n) for n in range(2, 200)])
    assert stopping_step(tmp_path) == 2 * FIRST_STEPS
    assert stopping_step(tmp_path, share=0.05) is None
    # Of 5/n, the means to 16, 32, 64, 128 are 0.414, 0.212, 0.107, 0.054: the last doubling brings 0.053 of 4.9.
    write_log(tmp_path, [5.0 / n for n in range(1, 200)])
    assert [stopping_step(tmp_path, share=share) for share in (0.05, 0.02, 0.01)] == [32, 128, None]


def test_a_run_too_short_to_tell_says_so(tmp_path: Path) -> None:
    write_log(tmp_path, [1.0] * (2 * FIRST_STEPS - 1))
    with pytest.raises(RunDirectoryError, match=r"31 steps.*32 or more"):
        stopping_step(tmp_path)
