"""What the tests of faults share: the uninterrupted run, and the table of what came of every fault."""

import collections
import os

import pytest
from fault_harness import Watch, pretrain, run, trace


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(name): the fault that a test makes happen, as the table of faults has it")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small text to evaluate on; the same path in every run, for a run records it."""
    path = tmp_path_factory.mktemp("data") / "counting.txt"
    path.write_text(" ".join(map(str, range(3000))))
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory, data):
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    events = folder.parent / "events"
    ended = run(pretrain(folder, data), folder.parent, Watch(str(folder), record=str(events)))
    assert ended.status == 0, ended.err
    return Whole(trace(folder), [line.split('"')[1::2] for line in events.read_text().splitlines()], folder)


Whole = collections.namedtuple("Whole", "trace events folder")


# ------------------------------------------------------------------ the table


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        report.user_properties.append(("fault", marker.args[0]))
    return report


def pytest_terminal_summary(terminalreporter):
    """fault / repetitions / failures; asked for by UPRIOR_FAULT_REPEATS."""
    if "UPRIOR_FAULT_REPEATS" not in os.environ:
        return
    counts = collections.defaultdict(collections.Counter)
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            for name, fault in getattr(report, "user_properties", ()):
                if name == "fault":
                    counts[fault][outcome] += 1
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':<68}{'repetitions':>12}{'failures':>10}{'skipped':>9}{'known gap':>11}")
    for fault, outcomes in sorted(counts.items()):
        failures = outcomes["failed"] + outcomes["error"]
        done = failures + outcomes["passed"]
        terminalreporter.write_line(
            f"{fault:<68}{done:>12}{failures:>10}{outcomes['skipped'] or '':>9}{outcomes['xfailed'] or '':>11}"
        )
