"""A contestant's process: ``python -m uprior.bench.worker LINE``, started by ``turns.Worker``; LINE is a file descriptor."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from multiprocessing.connection import Connection
from typing import Any

from uprior.bench.turns import Finished, Turn, die_with_parent
from uprior.host import peak_resident_bytes


def main(descriptor: int) -> None:
    """Take the task, take turns until there are no more, then say what became of it; errors are one line."""
    die_with_parent()
    line = Connection(descriptor)
    import torch

    turn = Turn(line, torch.cuda.is_available())
    task = turn.receive()
    try:
        if task["job"]["threads"]:
            torch.set_num_threads(task["job"]["threads"])
        turn.send(**_compete(task, turn))
    except Exception as error:
        turn.send(error=f"{type(error).__name__}: {error}".partition("\n")[0][:500])
        raise


def _compete(task: dict[str, Any], turn: Turn) -> dict[str, Any]:
    """Run the contestant to its end; its account of itself."""
    from uprior import environment
    from uprior.bench import contestants

    job = contestants.Job(**task["job"])
    run = contestants.matmul if task["name"] == contestants.YARDSTICK else contestants.CONTESTANTS[task["name"]].run
    try:
        run(job, turn)
    except Finished:
        pass
    else:
        raise RuntimeError(f"{task['name']} stopped training by itself")
    return {
        "losses": [float(loss) for loss in turn.losses],
        **_peaks(),
        "machine": environment.hardware() | {"versions": _versions(), "commit": environment.commit()},
    }


def _versions() -> dict[str, str]:
    from uprior import environment

    versions = environment.versions()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["accelerate"] = importlib.metadata.version("accelerate")  # what the Trainer runs on
    return versions


def _peaks() -> dict[str, int | None]:
    """Most memory that this process had at a time, in bytes: resident, and allocated on the card."""
    import torch

    card = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"peak_resident_bytes": peak_resident_bytes(), "peak_cuda_bytes": card}


if __name__ == "__main__":
    main(int(sys.argv[1]))
