"""Threads that share the blocks of a batch; NumPy lets go of the interpreter's lock while it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Self


class Crew:
    """So many threads, this one among them; a context manager that ends the others.

    Whatever their number, each task works on buffers of its own, so that the results are the same bit for bit.
    """

    def __init__(self, threads: int = 1) -> None:
        self._n_others = threads - 1
        self._others = ThreadPoolExecutor(self._n_others) if self._n_others else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._others is not None:
            self._others.shutdown()

    def each(self, task: Callable[[int], object], n: int) -> None:
        """Calls `task` with every number below `n`; returns when all are done, and raises what any of them raised."""
        if self._others is None or n == 1:
            for index in range(n):
                task(index)
            return
        numbers = iter(range(n))  # `next` on it is one step of the interpreter: no number is given twice
        # Each thread works in a copy of this one's context, in which NumPy keeps what is to be done about overflows.
        others = [
            self._others.submit(copy_context().run, _work, task, numbers) for _ in range(min(self._n_others, n - 1))
        ]
        try:
            _work(task, numbers)
        finally:
            wait(others)  # the buffers are theirs until they are done, whatever has happened
        for other in others:
            other.result()


def _work(task: Callable[[int], object], numbers: Iterator[int]) -> None:
    for number in numbers:
        task(number)
