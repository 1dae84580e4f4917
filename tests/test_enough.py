"""When a warm-up has been long enough: the first doubling that brought little, of any losses and of a run's log."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior.data.stream import Stream
from uprior.errors import RunDirectoryError, SpecError, UnknownNameError
from uprior.experiment import pretrain
from uprior.models import build
from uprior.sources import Uniform
from uprior.train.enough import (
    FIRST_STEPS,
    as_it_ended,
    first_idle_doubling,
    has_had_enough,
    octave_means,
    stopping_step,
)

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


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
def test_who_watches_every_step_stops_where_the_log_says(share: float, tmp_path: Path) -> None:
    losses = [2.0 + 3.0 / n for n in range(1, 600)]
    write_log(tmp_path, losses)
    ends = [n for n in range(1, 600) if has_had_enough(losses[:n], share)]
    assert (ends[0] if ends else None) == stopping_step(tmp_path, share)


def pretrained(out: Path, **options: object) -> object:
    """Noise: nothing to learn after the first steps, which tell that there are four symbols."""
    stream = Stream(Uniform(alphabet_size=4), seed=0, batch_size=4, length=16, vocab=8)
    model = build("32x1", vocab=8, context=16)
    return pretrain(model, stream, out=out, steps=500, learning_rate=1e-2, warmup_steps=2, show=False, **options)  # type: ignore[arg-type]


def test_a_run_ends_by_itself_and_again_after_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = pretrained(tmp_path / "run", stop="auto")
    steps = stopping_step(tmp_path / "run")
    assert steps is not None and done.steps == steps < 500 and done.finished  # type: ignore[attr-defined]
    again = pretrained(tmp_path / "run", stop="auto")
    assert again.steps == steps  # type: ignore[attr-defined]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["tokens"] == 500 * 64 and as_it_ended(config, tmp_path / "run")["tokens"] == steps * 64

    def killed(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr("uprior.train.loop.save_model", killed)
        pretrained(tmp_path / "killed", stop="auto")
    assert not (tmp_path / "killed" / "model").exists()
    assert pretrained(tmp_path / "killed", stop="auto").steps == steps  # type: ignore[attr-defined]
    assert (tmp_path / "killed" / "log.jsonl").read_bytes() == (tmp_path / "run" / "log.jsonl").read_bytes()


def test_stop_is_for_constant_rates(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="given: wsd"):
        pretrained(tmp_path / "run", stop="auto", schedule="wsd")
    with pytest.raises(UnknownNameError, match="did you mean 'auto'"):
        pretrained(tmp_path / "run", stop="autom")
    assert not (tmp_path / "run").exists()
