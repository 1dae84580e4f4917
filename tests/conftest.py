"""Shared set-up: one thread, no network, and the library's caches in place."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # two threads that spin beside a busy neighbour take minutes
os.environ["HF_HUB_OFFLINE"] = "1"

# --doctest-modules would import those of two folders under one name.
collect_ignore_glob = ["*/conftest.py"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Neighbours stay on one worker, so that fixtures and kernels are made once; a worker without work takes over half."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """fsync waits for the disk, a sixth of the time of many tests, against power cuts, which no test makes: what a killed process
    has written the kernel still has. Processes that tests start wait as ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A file of real data, small: 13,889 bytes of numbers that count up."""
    path = tmp_path_factory.mktemp("data") / "counting.txt"
    path.write_text(" ".join(str(n) for n in range(3000)))
    return str(path)
