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


def blas_threads(code: str, limit: int) -> int:
    """The threads of a process that multiplies matrices after `code`; its environment holds BLAS to `limit`."""
    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads in /proc")
    code += "; import os, numpy; x = numpy.ones((900, 900), 'f4'); x @ x; print(len(os.listdir('/proc/self/task')))"
    environment = os.environ | resources.thread_limits(limit)
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return int(told.stdout)


def test_thread_limits_are_heard_by_the_blas_of_a_new_process() -> None:
    assert blas_threads("pass", 1) == 1


class TestTrainingThreads:
    @pytest.mark.parametrize(("asked", "expected"), [(None, 4), (1, 1), (2, 2), (9, 9)])
    def test_of_a_network_for_pictures_are_as_many_as_cores_unless_asked(
        self, asked: int | None, expected: int, cgroup: Path
    ) -> None:
        assert resources.training_threads(True, asked) == expected

    @pytest.mark.parametrize("asked", [None, 1])
    def test_of_a_dense_network_is_one(self, asked: int | None, cgroup: Path) -> None:
        assert resources.training_threads(False, asked) == 1

    @pytest.mark.parametrize(
        ("pictures", "asked", "expected"), [(False, 3, 3), (False, 1, 1), (False, None, 1), (True, 3, 1)]
    )
    def test_what_is_asked_for_goes_to_blas_where_there_are_no_pictures(
        self, pictures: bool, asked: int | None, expected: int
    ) -> None:
        """As in a training process, whose environment holds BLAS to one; beside NumPy's own thread there are others."""
        code = f"import numpy; from service import resources; resources.training_threads({pictures}, {asked})"
        assert blas_threads(code, 1) == expected
