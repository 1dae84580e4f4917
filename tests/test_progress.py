"""Progress in a log: how far, and the time left once that can be known."""

import pytest

from uprior import progress
from uprior.progress import Reporter


@pytest.fixture
def lines(monkeypatch):
    """lines(seconds at each update, total): what is written when steps 1, 2, .. are done then; a line every second at most."""
    clock, written = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "_write", written.append)

    def write(times, total, done=0):
        reporter = Reporter("run", total, done, seconds_between=1.0)
        for step, clock[0] in enumerate(times, done + 1):
            reporter.update(step, "x")
        return written

    return write


def test_the_first_step_which_loads_and_compiles_tells_no_time_left(lines):
    assert lines([50.0, 52.0, 54.0], total=13) == ["run  1/13  x", "run  2/13  x  left 0:22", "run  3/13  x  left 0:20"]


def test_steps_of_an_earlier_process_say_nothing_about_the_rate(lines):
    assert lines([9.0, 10.0], total=14, done=10) == ["run  11/14  x", "run  12/14  x  left 0:02"]


def test_the_last_step_is_always_told(lines):
    assert lines([0.1], total=1) == ["run  1/1  x  left 0:00"]
