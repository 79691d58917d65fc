"""What a figure depends on beside the code: the processor, the libraries, and who else was at work. Free of NumPy."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scikit-learn", "torch")


def describe() -> dict[str, Any]:
    """Processor, cores, BLAS and versions."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "blas": blas(),
        "versions": versions,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
        told = {name.strip(): value.strip() for name, value in fields.items()}
        family = " ".join(f"{name} {told[name]}" for name in ("cpu family", "model") if name in told)
        return f"{told.get('model name', platform.processor())} ({family})"
    return platform.processor()


def blas() -> str:
    """NumPy's BLAS, and the kernel that it chose for this processor where threadpoolctl can tell it."""
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    told = config["Build Dependencies"]["blas"]
    try:
        import threadpoolctl
    except ImportError:
        kernel = "kernel not known"
    else:
        kernels = [pool["architecture"] for pool in threadpoolctl.threadpool_info() if "architecture" in pool]
        kernel = f"{kernels[0]} kernel" if kernels else "kernel not known"
    return f"{told['name']} {told['version']}, {kernel}"


def busy_seconds() -> float | None:
    """Processor time that everything here has taken since the start, what the host took away included."""
    try:
        numbers = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, numbers[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_until_quiet(limit: float, *, busy: float = 0.1, probe: float = 0.25) -> None:
    """Returns once less than `busy` cores are busy over `probe` seconds, and after `limit` seconds at the latest."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = busy_seconds()
        time.sleep(probe)
        after = busy_seconds()
        if before is None or after is None or after - before < busy * probe:
            return


def resident_memory() -> int:
    """The bytes of this process that are in memory; where that is not told, the most that have been."""
    return _status("VmRSS") or _peak_since_start()


def peak_memory() -> int:
    """The most bytes of this process in memory at once, since `forget_peak_memory` where there is such a thing."""
    return _status("VmHWM") or _peak_since_start()


def forget_peak_memory() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def _peak_since_start() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
