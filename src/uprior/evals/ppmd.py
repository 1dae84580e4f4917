"""PPMd as a predictor, through the optional pyppmd."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uprior.errors import MissingExtraError, UpriorError
from uprior.evals._base import Windows
from uprior.evals.compressors import Compressor, installed

ORDERS = (2, 3, 4, 5, 6, 8, 12, 16)
MEMORY_BYTES = 1 << 20
# pyppmd (1.3.1) never gives back 19 KB of each encoder. So they live in other processes, at most this many in each: under 80 MB.
ENCODERS_PER_PROCESS = 4096


class Ppmd(Compressor):
    """PPMd variant H of one order: prediction by partial matching, the strongest of the ready-made compressors on short texts.

    Raises MissingExtraError when pyppmd is not installed.
    """

    def __init__(self, order: int) -> None:
        if not installed("ppmd"):
            raise MissingExtraError("pyppmd", "ppmd")
        super().__init__("ppmd", {"order": order})
        self.order = order

    def lengths(self, windows: Windows, edges: Sequence[int]) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = _lengths(windows, edges, [self.order])[0]
        return lengths


def fit_ppmd(windows: Windows) -> Ppmd:
    """PPMd with the order that compresses these windows best; give it others than those it is judged on."""
    costs = _lengths(windows, [windows.shape[1]], ORDERS).sum(axis=(1, 2))
    return Ppmd(ORDERS[int(costs.argmin())])


def _lengths(windows: Windows, edges: Sequence[int], orders: Sequence[int]) -> NDArray[np.int64]:
    """[orders, W, edges] compressed lengths in bytes, of the first ``edges`` bytes of each window by each order."""
    step = max(1, ENCODERS_PER_PROCESS // (len(orders) * len(edges)))
    parts = [_in_a_process(windows[n : n + step], edges, orders) for n in range(0, len(windows), step)]
    return np.concatenate(parts, axis=1)


def _in_a_process(windows: Windows, edges: Sequence[int], orders: Sequence[int]) -> NDArray[np.int64]:
    job = {"context": windows.shape[1], "edges": list(edges), "orders": list(orders), "memory": MEMORY_BYTES}
    command = [sys.executable, "-P", str(Path(__file__).with_name("_ppmd_process.py"))]
    given = json.dumps(job).encode() + b"\n" + windows.tobytes()
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UpriorError(f"pyppmd failed ({' '.join(last) or f'status {done.returncode}'}); leave ppmd out of names")
    return np.array(json.loads(done.stdout), dtype=np.int64)
