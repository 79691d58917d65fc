from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import resources


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cores by affinity, and a control group that the test writes itself."""
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("6400000 100000", 4),
        ("max 100000", 4),
        ("100000 0", 4),
        ("", 4),
        ("nonsense", 4),
    ],
)
def test_cores_are_those_of_the_process_or_the_quota_where_that_is_less(
    limit: str, expected: int, cgroup: Path
) -> None:
    (cgroup / "cpu.max").write_text(limit)
    assert resources.cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("200000", 2), ("-1", 4), ("nonsense", 4)])
def test_the_quota_of_an_older_cgroup(quota: str, expected: int, cgroup: Path) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert resources.cores() == expected


def test_without_any_cgroup(cgroup: Path) -> None:
    assert resources.cores() == 4


def test_a_system_without_affinity(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert resources.cores() == 1


def test_thread_limits_are_heard_by_the_blas_of_a_new_process() -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads in /proc")
    code = (
        "import os, numpy; numpy.ones((500, 500)) @ numpy.ones((500, 500)); print(len(os.listdir('/proc/self/task')))"
    )
    environment = os.environ | resources.thread_limits(1)
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "1"
