"""What this machine can do: device, precision, threads."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any

import torch

from uprior.errors import SpecError
from uprior.models.first_weights import needs_float32


def device() -> torch.device:
    """The accelerator if there is one, else the CPU; of several processes on a machine each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.distributed.is_initialized()
        else torch.device("cuda")
    )


def has_fast_bfloat16(where: torch.device) -> bool:
    """True where bfloat16 runs in hardware; elsewhere on CPUs it is slower than float32 by a lot."""
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(probe is not None and probe() for probe in probes)


def resolve_precision(precision: str, where: torch.device, model: Any = None) -> str:
    """``auto`` as what it means here, for this model. SpecError: bfloat16 for one that it would ruin."""
    exact = needs_float32(model)
    if exact and precision == "bfloat16":
        raise SpecError(
            "precision bfloat16 is not allowed for a model that began by counting: its units cancel each other to a thousandth; "
            "allowed: float32, or auto"
        )
    if precision != "auto":
        return precision
    return "bfloat16" if has_fast_bfloat16(where) and not exact else "float32"


def autocast(precision: str, where: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which the forward pass runs."""
    if precision == "bfloat16":
        return torch.autocast(where.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have this process keep the memory it frees, for the next step, which will want as much. Linux with glibc; else nothing.

    By default large blocks go back to the system when they are freed, and the next ones come page by page and zeroed: that took
    a quarter of a training step (docs/LOG.md). Results do not change; resident memory stays at its peak.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
