"""What the machine, or the container, grants."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The processor cores this process may use: its affinity, or the cgroup's quota where that is less."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return granted if quota is None else max(1, min(granted, math.ceil(quota)))


def _quota() -> float | None:
    """The cores of the cgroup's quota, version 2 or 1; None where there is none."""
    v1 = CGROUP / "cpu"
    for files in ((CGROUP / "cpu.max",), (v1 / "cpu.cfs_quota_us", v1 / "cpu.cfs_period_us")):
        try:
            quota, period = " ".join(file.read_text() for file in files).split()
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue  # not this version, or "max"
    return None


def thread_limits(threads: int) -> dict[str, str]:
    """The environment that holds a BLAS to so many threads; heard only before NumPy is imported."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return dict.fromkeys(names, str(threads))


def training_threads(pictures: bool, asked: int | None) -> int:
    """How many threads `nn.train` is to use, here and now, for a network with or without layers for pictures.

    Those of a network for pictures are its own: as many as there are cores, unless another number is asked for. A dense
    network is trained by one, and what is asked for goes to BLAS.
    """
    if pictures:
        return asked or cores()
    if asked is not None and asked > 1:
        from threadpoolctl import threadpool_limits

        threadpool_limits(asked, user_api="blas")
    return 1
