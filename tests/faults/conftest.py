"""What the tests of faults share: how often each fault is repeated, and the table of what came of it."""

import collections

import pytest


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "fault(name): the fault that a test makes happen, as the table of faults counts it"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        report.user_properties.append(("fault", marker.args[0]))
    return report
