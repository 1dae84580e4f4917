"""What the operating system gives this process: processors and memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
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
    """The most memory that this process had at a time."""
    try:
        # Linux's getrusage gives the parent's peak where that was larger; this is of this program alone.
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
