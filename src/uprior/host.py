"""What the operating system gives this process: processors and memory."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_TOPOLOGY = Path("/sys/devices/system/cpu")
_MEMORY = Path("/proc/self/status")
_QUOTAS = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")


def cores() -> tuple[int, int]:
    """(physical, logical) processors that this process may use: affinity, a container's quota and the processes beside it.

    Of several processes that torchrun starts on a machine, each has its share; at least 1.
    """
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        allowed = list(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        path = _TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        siblings.add(path.read_text("utf-8") if path.exists() else str(cpu))
    most = _quota() or len(allowed)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(len(siblings), most) // here), max(1, min(len(allowed), most) // here)


def _quota() -> int | None:
    """Whole processors that the control group allows, rounded up; None without a limit."""
    for name in _QUOTAS:
        try:
            words = Path(name).read_text("utf-8").split()
            period = words[1] if len(words) == 2 else Path(name).with_name("cpu.cfs_period_us").read_text("utf-8")
            if words[0].isdecimal():
                return max(1, -(-int(words[0]) // int(period)))
        except (OSError, ValueError, IndexError):
            continue
    return None


def memory_bytes() -> int | None:
    """All memory of this machine; None where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def peak_resident_bytes() -> int:
    """The most memory that this process had at a time, since it started or since ``peak_of_work`` began to count anew."""
    try:
        return _resident(
            "VmHWM"
        )  # Linux's getrusage gives the parent's peak where that was larger; this is of this program alone
    except (OSError, KeyError):
        pass
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


Result = TypeVar("Result")


def peak_of_work(work: Callable[[], Result]) -> tuple[Result, int | None]:
    """What ``work()`` returns, and how much more memory this process had at its peak meanwhile than just before, in bytes.

    Freed memory goes back to the system before, so that none of it is used again unnoticed. None where it cannot be told: not
    on Linux with glibc, or because other processes worked for this one. What other threads do meanwhile counts too; an
    accelerator's memory does not.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak is counted anew
        before = _resident("VmRSS")
    except (OSError, AttributeError, KeyError, TypeError):
        return work(), None
    import resource  # not on Windows

    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    result = work()
    alone = others == resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    return result, max(0, _resident("VmHWM") - before) if alone else None


def _resident(field: str) -> int:
    """A line of what Linux tells of this process's memory, in bytes."""
    lines = (line.split() for line in _MEMORY.read_text("utf-8").splitlines())
    return 1024 * {words[0]: int(words[1]) for words in lines if words[0].startswith("Vm")}[f"{field}:"]
