"""What a run records about where it ran, and what ``uprior doctor`` prints."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from uprior.host import memory_bytes

PACKAGES = ("uprior", "torch", "transformers", "tokenizers", "safetensors", "numpy", "numba")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what is computed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str | None:
    """The git commit of this code, with a plus sign if files were changed since; None outside a checkout."""
    here = str(Path(__file__).parent)
    try:
        head = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        inside = subprocess.run(["git", "-C", here, "ls-files", __file__], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            ["git", "-C", here, "status", "--porcelain"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if head.returncode != 0 or not inside.stdout.strip():
        return None  # installed into somebody else's repository
    return head.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def command() -> str:
    """The command line that started this process, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def record() -> dict[str, Any]:
    """What a run keeps about how it was made: versions, commit, command."""
    return {"versions": versions(), "commit": commit(), "command": command()}


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, accelerator, and whether bfloat16 runs in hardware. Imports torch."""
    import torch

    from uprior.train.hardware import device, has_fast_bfloat16

    where, memory = device(), memory_bytes()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "accelerator": torch.cuda.get_device_name() if where.type == "cuda" else None,
        "bfloat16_in_hardware": has_fast_bfloat16(where),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
