from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from nn.crew import Crew

each_size = pytest.mark.parametrize("n_threads", [1, 2, 3, 8])


@each_size
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 100])
def test_every_number_once(n_threads: int, n: int) -> None:
    given: list[int] = []
    with Crew(n_threads) as crew:
        for _ in range(3):
            given.clear()
            crew.each(given.append, n)
            assert sorted(given) == list(range(n))


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_all_threads_work_at_once(n_threads: int) -> None:
    """Each waits for the others, which a crew of fewer could not do."""
    together = threading.Barrier(n_threads)
    with Crew(n_threads) as crew:
        crew.each(lambda _: together.wait(timeout=10), n_threads)
    assert not together.broken


def test_alone_it_is_the_thread_of_the_caller() -> None:
    names = set()
    with Crew() as crew:
        crew.each(lambda _: names.add(threading.get_ident()), 5)
    assert names == {threading.get_ident()}


@each_size
def test_what_a_task_raises_comes_out_and_the_crew_goes_on(n_threads: int) -> None:
    def fail(index: int) -> None:
        if index == 2:
            raise LookupError("of number 2")

    given: list[int] = []
    with Crew(n_threads) as crew:
        for _ in range(20):
            with pytest.raises(LookupError, match="of number 2"):
                crew.each(fail, 4)
        crew.each(given.append, 5)
    assert sorted(given) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("in_the_crew", [True, False], ids=["in another thread", "in this one"])
def test_what_one_thread_raises_comes_out(in_the_crew: bool) -> None:
    together = threading.Barrier(2)

    def fail(_: int) -> None:
        together.wait(timeout=10)
        if (threading.current_thread() is not threading.main_thread()) == in_the_crew:
            raise LookupError

    with Crew(2) as crew, pytest.raises(LookupError):
        crew.each(fail, 2)


@pytest.mark.parametrize("slow", range(5))
def test_nobody_is_at_work_any_more_once_an_exception_is_out(slow: int) -> None:
    """The buffers that a task works on may be gone by then, or another's."""
    together, finished = threading.Barrier(5), threading.Event()

    def task(_: int) -> None:
        arrived = together.wait(timeout=10)
        if arrived == slow:
            time.sleep(0.05)
            finished.set()
        elif threading.current_thread() is not threading.main_thread():
            raise LookupError

    with Crew(5) as crew:
        with pytest.raises(LookupError):
            crew.each(task, 5)
        assert finished.is_set()


@each_size
def test_its_threads_end_with_it(n_threads: int) -> None:
    before = set(threading.enumerate())
    with Crew(n_threads) as crew:
        crew.each(lambda _: time.sleep(0.001), 20)
        assert len(set(threading.enumerate()) - before) <= n_threads - 1
    assert set(threading.enumerate()) <= before


def test_its_threads_end_after_an_exception_too() -> None:
    def fail(_: int) -> None:
        raise LookupError

    before = set(threading.enumerate())
    with pytest.raises(LookupError), Crew(3) as crew:
        crew.each(fail, 9)
    assert set(threading.enumerate()) <= before


@each_size
@pytest.mark.parametrize("n_each", [0, 1, 3])
@pytest.mark.parametrize("setting", ["ignore", "raise"])
def test_in_every_thread_numpy_takes_an_overflow_as_the_caller_said(n_threads: int, n_each: int, setting: Any) -> None:
    """Else what is an error would depend on the number of threads; without tasks for all there is one."""
    n = n_threads * n_each or 1
    together = threading.Barrier(n_threads if n_each else 1)
    found: list[str] = []

    def overflow(_: int) -> None:
        together.wait(timeout=10)
        try:
            np.multiply(np.array([1e300]), 1e300)
        except FloatingPointError:
            found.append("raise")
        else:
            found.append("ignore")

    with Crew(n_threads) as crew:
        with np.errstate(all=setting):
            crew.each(overflow, n)
        assert np.geterr()["over"] == "warn"
    assert found == [setting] * n
