"""A function mapped over many items by worker processes."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

from runtime.interrupts import signals_held

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8  # items sent at once: enough to hide the sending, few enough to end quickly
WAITING = 4  # chunks a worker may be ahead: what bounds the memory

_function: Callable[[Any], Any]  # of this worker process, sent to it once


def available_cores(root: Path = Path("/")) -> int:
    """The processor cores that this process may use: by its affinity, and by quotas of its time.

    Containers and schedulers set either. A part of a core counts as one. ``root`` has /proc, /sys.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = float(affinity or 1)
    with suppress(OSError, ValueError):  # of a system without control groups
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):  # of version 2, or 1
                group = root / f"sys/fs/cgroup/{'cpu' if controllers else ''}{path}"
                # In a container it may be the host's path: then a parent is the group itself.
                cores = min(cores, *map(_quota, (group, *group.parents)))
    return max(1, math.ceil(cores))


def _quota(group: Path) -> float:
    """Seconds of cores that a control group gives in a second."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # it has no such file, or "max"
            quota, period = map(int, " ".join((group / name).read_text() for name in names).split())
            return quota / period if quota > 0 else math.inf
    return math.inf


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    chunk: int = CHUNK,
    ahead: int = WAITING,
) -> Generator[Result, None, None]:
    """``map`` by worker processes: results in the order of the items, memory bounded.

    When the consumer closes the generator, what workers have begun is finished, and no more begun.

    Args:
        function: of one item; it and the items must be picklable.
        items: taken only as workers become free.
        workers: processes; up to 1 means this process.
        chunk: items sent to a worker at once.
        ahead: chunks that each worker may be ahead of the consumer.

    Raises:
        RuntimeError: a worker died, most likely for want of memory.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    remaining = iter(items)
    chunks = iter(lambda: list(islice(remaining, chunk)), [])
    executor = ProcessPoolExecutor(
        workers, _context(), initializer=_start_worker, initargs=(function,)
    )

    def submit(items: list[Item]) -> Future[list[Result]]:
        with signals_held():  # a worker half started would end in a traceback
            return executor.submit(_map_chunk, items)

    try:
        for _, results in in_order(submit, chunks, most=workers * ahead):
            yield from results
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended unexpectedly, most likely for want of memory; "
            "try fewer --workers"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def in_order(
    submit: Callable[[Item], Future[Result]],
    items: Iterable[Item],
    *,
    most: int,
    weight: Callable[[Item], int] = lambda item: 0,
    most_weight: int = 0,
) -> Generator[tuple[Item, Result], None, None]:
    """Give items to a pool, and the items with their results back in order, memory bounded.

    Args:
        submit: gives an item to a pool.
        items: taken as results are asked for, so many ahead as the next three allow.
        most: items that are under way at a time.
        weight: of an item.
        most_weight: sum of the weights under way, unless a single item weighs more.
    """
    pending: deque[tuple[Item, Future[Result], int]] = deque()
    total = 0
    try:
        for item in items:
            added = weight(item)
            while pending and (len(pending) >= most or total + added > most_weight):
                done, future, removed = pending.popleft()
                total -= removed
                yield done, future.result()
            pending.append((item, submit(item), added))
            total += added
        while pending:
            done, future, _ = pending.popleft()
            yield done, future.result()
    finally:
        for _, future, _ in pending:
            future.cancel()


def _context() -> Any:
    """A start method that copies neither this process's memory nor its threads' locks.

    Workers are as deaf to Ctrl-C as the process that makes them, or one that is still importing
    would show a traceback. That process imports nothing of ours: it would look in the current
    folder first, where something else may have the name.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numpy", "PIL.Image"])
    resource_tracker.ensure_running()  # or starting it would undo the blocking
    with signals_held():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # is inherited
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next item for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _map_chunk(chunk: list[Any]) -> list[Any]:
    return [_function(item) for item in chunk]
