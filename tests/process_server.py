"""One server from which tests fork real processes: it has imported the heavy libraries and loaded the kernels already.

A process so costs a fraction of a second and not five. The server is multiprocessing's "forkserver", of which a process of
pytest has only one; what it does beforehand is in tests/process_warmth.py.
"""

import multiprocessing
import os
import socket
from multiprocessing import forkserver
from pathlib import Path

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["process_warmth"])


def start(target, *arguments):
    """A process of its own that runs ``target(*arguments)``."""
    # A server is told no paths but by its environment.
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(places))
        forkserver.ensure_running()
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def free_port():
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ranked(rank, size, port):
    """The environment that torchrun gives to process ``rank`` of ``size``."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
