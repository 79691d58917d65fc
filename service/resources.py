"""What the machine, or the container, grants."""

from __future__ import annotations

import math
import os
from pathlib import Path


def cores() -> int:
    """The processor cores this process may use: its affinity, or the cgroup's quota where that is less."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return granted
    return granted if quota == "max" else max(1, min(granted, math.ceil(int(quota) / int(period))))


def thread_limits(threads: int) -> dict[str, str]:
    """The environment that holds a BLAS to so many threads; heard only before NumPy is imported."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return dict.fromkeys(names, str(threads))
