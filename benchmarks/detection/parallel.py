"""Some processes for work that is independent, each with one thread."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def spread(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> list[Result]:
    """``work`` on every task, results in the order of the tasks; the first error is raised.

    Args:
        work: a function of a module, or an object that can be pickled; the same for tasks and results.
        jobs: processes; with 1 everything runs in this one.
    """
    if jobs == 1 or len(tasks) < 2:
        return [work(task) for task in tasks]
    # Read when numpy is loaded, which is before a worker can be told anything.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    # Spawned, not forked: a library of a rival may have started threads in this process.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, tasks))
