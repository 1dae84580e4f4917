"""Runs that several tests compare with, made once."""

import pytest
from distributed_harness import conclude, several_runs, together, train


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The folder of finished runs: alone, ddp-2, fsdp-2, ddp-3, fsdp-3, micro."""
    root = tmp_path_factory.mktemp("runs")
    assert train(root / "alone").finished
    for size in (2, 3):
        assert together(size, several_runs, root) == [None] * size
    return root


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    """A run on two processes that was stopped after step 3 by a signal to one of them."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    result = conclude(path, 2, parallel="fsdp", at=3, rank=1)
    assert not result.finished and result.steps == 3 and not (path / "model").exists()
    return path
