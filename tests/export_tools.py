"""What the tests of exports share: a small stream, its rows, and the command."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from uprior import sources
from uprior.cli import main
from uprior.data import Stream

LENGTH = 20  # no multiple of 8: the mask's rows end inside a byte
COMMAND = [sys.executable, "-m", "uprior.cli", "export"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "RANK", "WORLD_SIZE"))}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}


def make(name="uniform", **options):
    return Stream(sources.get(name), **({"seed": 1, "batch_size": 8, "length": LENGTH, "block_rows": 16} | options))


def contents(folder):
    """Name -> bytes of everything an export wrote."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def live(stream, rows):
    """([rows, T] ids, [rows, T] scored) of the stream's first rows, by its batches."""
    batches = [stream.batch(step) for step in range(-(-rows // stream.batch_size))]
    return tuple(np.concatenate([getattr(b, name) for b in batches])[:rows] for name in ("tokens", "scored"))


def run(capsys, *argv):
    """(exit status, stdout, stderr) of an export."""
    with pytest.raises(SystemExit) as caught:
        main(["export", *map(str, argv)])
    shown = capsys.readouterr()
    return caught.value.code, shown.out, shown.err
