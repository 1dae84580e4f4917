"""Shards as tasks on a Ray cluster (extra ``ray``): one task per shard, made again elsewhere when its worker is lost.

Tasks write files and return a number; nothing goes through Ray's object store but the stream's spec.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from uprior.data.claims import Claims
from uprior.data.shards import Plan, make_shard
from uprior.data.stream import BatchStream
from uprior.errors import MissingExtraError, RunDirectoryError, UpriorError

RETRIES = 5  # of a shard whose worker was lost


def make_shards(stream: BatchStream, plan: Plan, wanted: Sequence[int], workers: int) -> Iterator[int]:
    """Make the shards, yielding each as it is finished.

    Uses the cluster that is running or that RAY_ADDRESS names; else starts one here of ``workers`` processes, and ends it.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    mine = not ray.is_initialized()
    if mine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        local: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level="ERROR", **local)
    try:
        stream_ref = ray.put(stream)
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_task)
        pending = [task.remote(stream_ref, plan, shard) for shard in wanted]
        while pending:
            finished, pending = ray.wait(pending)
            yield from ray.get(finished)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UpriorError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise RunDirectoryError(
            f"Ray lost the worker of a shard {RETRIES + 1} times ({type(error).__name__}); what was made is intact: see why "
            "workers end (memory?), then type the same command to go on"
        ) from error
    finally:
        if mine:
            ray.shutdown()


def _task(stream: BatchStream, plan: Plan, shard: int) -> int:
    with Claims(plan) as claims:
        claims.take([shard])
        make_shard(stream, plan, shard)
    return shard
