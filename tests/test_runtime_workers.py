"""ordered_map: the order, the bound, and what happens when something ends early."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from runtime.workers import CHUNK, WAITING, available_cores, in_order, ordered_map

ROOT = Path(__file__).parents[1]


def slow_first(number: int) -> tuple[int, int]:
    """The number, later for the first ones, and the process that did it."""
    time.sleep(0.02 if number < CHUNK else 0)
    return number, os.getpid()


def fail_at(limit: int, number: int) -> int:
    if number >= limit:
        raise ValueError(f"{number} is too much")
    return number


def die_at(limit: int, number: int) -> int:
    if number == limit:
        os._exit(1)
    return number


def test_no_worker_is_this_process() -> None:
    assert list(ordered_map(slow_first, range(5), 1)) == [(n, os.getpid()) for n in range(5)]
    assert list(ordered_map(slow_first, range(5), 0)) == [(n, os.getpid()) for n in range(5)]


def test_results_come_in_the_order_of_the_items_from_other_processes() -> None:
    results = list(ordered_map(slow_first, range(100), 2))
    assert [number for number, _ in results] == list(range(100))
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1])
def test_few_items_are_enough(count: int) -> None:
    assert list(ordered_map(abs, range(-count, 0), 2)) == list(range(count, 0, -1))


def test_items_are_taken_only_as_results_are_used() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    with closing(ordered_map(abs, items(), 2)) as results:
        for _ in range(20):
            next(results)
        assert len(taken) <= 20 + CHUNK * (2 * WAITING + 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_the_function_reaches_the_caller(workers: int) -> None:
    results = ordered_map(partial(fail_at, 30), range(1000), workers)
    with pytest.raises(ValueError, match="is too much"):
        list(results)


def test_an_error_in_the_items_reaches_the_caller() -> None:
    def items() -> Iterator[int]:
        yield from range(30)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ordered_map(abs, items(), 2))


def test_a_worker_that_dies_is_told_with_a_way_out() -> None:
    with pytest.raises(RuntimeError, match=r"ended unexpectedly.*fewer --workers"):
        list(ordered_map(partial(die_at, 50), range(1000), 2))


def test_closing_early_begins_nothing_more(tmp_path: Path) -> None:
    with closing(ordered_map(partial(touch, tmp_path), range(5000), 2)) as results:
        next(results)
    done = len(list(tmp_path.iterdir()))
    assert 0 < done <= CHUNK * (2 * WAITING + 1)
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == done


def touch(folder: Path, number: int) -> None:
    (folder / str(number)).touch()
    time.sleep(0.001)


def test_it_works_in_a_thread_and_leaves_the_interrupt_handler_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.extend(ordered_map(abs, range(20), 2)))
    thread.start()
    thread.join()
    assert results == list(range(20))
    assert list(ordered_map(abs, range(3), 2)) == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is before


def test_there_is_at_least_one_core() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f.slice"
UNLIMITED = {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}
# Lines of /proc/self/cgroup; files below /sys/fs/cgroup; cores of 64.
LAYOUTS: dict[str, tuple[str, dict[str, str], int]] = {
    "a computer, version 2": (
        "0::/user.slice/user-1000.slice/session-2.scope",
        {"cpu.stat": "usage_usec 1\n", "user.slice/cpu.max": "max 100000\n"},
        64,
    ),
    "a computer, version 1": (
        "11:memory:/user.slice\n4:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice\n0::/user.slice",
        {f"cpu{at}/{name}": text for at in ("", "/user.slice") for name, text in UNLIMITED.items()},
        64,
    ),
    "docker --cpus 2, version 1": (
        "12:memory:/docker/4f0e\n4:cpuacct,cpu:/docker/4f0e\n0::/system.slice/containerd.service",
        {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2,
    ),
    "docker --cpus 1.5, version 2": ("0::/", {"cpu.max": "150000 100000\n"}, 2),
    "docker --cpus 0.1, version 2": ("0::/", {"cpu.max": "10000 100000\n"}, 1),
    "kubernetes, limit of the container, version 1": (
        f"6:cpu,cpuacct:{POD}/cri-containerd-9d.scope",
        {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        4,
    ),
    "kubernetes, limit of the pod, version 2": (
        f"0::{POD}/cri-containerd-9d.scope",
        {
            f"{POD[1:]}/cri-containerd-9d.scope/cpu.max": "max 100000\n",
            f"{POD[1:]}/cpu.max": "350000 100000\n",
        },
        4,
    ),
    "slurm, limit of the job, version 1": (
        "5:cpuacct,cpu:/slurm/uid_1000/job_7/step_0/task_0",
        {
            **{f"cpu/slurm/uid_1000/job_7/step_0/{n}": text for n, text in UNLIMITED.items()},
            "cpu/slurm/uid_1000/job_7/cpu.cfs_quota_us": "1600000\n",
            "cpu/slurm/uid_1000/job_7/cpu.cfs_period_us": "100000\n",
        },
        16,
    ),
    "slurm, cores but no quota, version 2": (
        "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
        {"system.slice/slurmstepd.scope/job_7/cpu.max": "max 100000\n"},
        64,
    ),
    "the tighter of two, one in the other": (
        "0::/outer/inner",
        {"outer/cpu.max": "300000 100000\n", "outer/inner/cpu.max": "800000 100000\n"},
        3,
    ),
    "both versions, time in the first": (
        "1:cpu,cpuacct:/job\n0::/job",
        {"cpu/job/cpu.cfs_quota_us": "250000\n", "cpu/job/cpu.cfs_period_us": "50000\n"},
        5,
    ),
    "outside its own namespace": ("0::/../other", {"cpu.max": "700000 100000"}, 7),
    "a quota beyond the cores": ("0::/", {"cpu.max": "9900000 100000"}, 64),
    "nothing that can be read": ("what\n", {"cpu.max": "0"}, 64),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_quotas_of_time_bound_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    groups, files, expected = LAYOUTS[layout]
    layout_files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups + "\n", **layout_files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert available_cores(tmp_path) == expected


def test_where_there_are_no_control_groups_the_affinity_alone_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A control group whose processes have half a core."""
    limits = (("cpu/", "cpu.cfs_quota_us", "50000"), ("", "cpu.max", "50000 100000"))
    for parent, name, limit in limits:
        group = Path("/sys/fs/cgroup", parent, f"coco-unet-{os.getpid()}")
        with suppress(OSError):
            group.mkdir()
            try:
                if (group / name).exists():
                    (group / name).write_text(limit)
                    yield group
                    return
            finally:
                group.rmdir()
    pytest.skip("control groups may not be made here; needs root, on Linux")


def test_a_process_knows_the_quota_of_its_control_group(half_a_core: Path) -> None:
    program = """
        import os, pathlib, sys
        os.sched_getaffinity = lambda process: set(range(64))
        pathlib.Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
        from runtime.devices import Machine
        from runtime.workers import available_cores
        print(available_cores(), Machine.choose("cpu"), flush=True)
        """
    command = [sys.executable, "-c", textwrap.dedent(program), str(half_a_core)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 cpu (1 threads)\n", "")


PROGRAM = """
    import os, sys, time
    sys.path.insert(0, {root!r})
    from runtime.workers import ordered_map

    if __name__ == "__main__":
        print("started", flush=True)
        try:
            for result in ordered_map(time.sleep, [0.01] * 100_000, 2):
                print("one", flush=True)
        except KeyboardInterrupt:
            raise SystemExit(130)
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM.format(root=str(ROOT))))
    process = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process
        process.kill()


def members(group: int) -> list[str]:
    """The living processes of a process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [state for pgid, state in rows if int(pgid) == group and not state.startswith("Z")]


@pytest.mark.skipif(os.name != "posix", reason="process groups")
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_at_any_moment_ends_all_processes_without_a_traceback(
    program: subprocess.Popen[str], delay: float
) -> None:
    assert program.stdout is not None
    assert program.stdout.readline() == "started\n"
    time.sleep(delay)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    _, errors = program.communicate(timeout=20)
    assert program.returncode == 130
    assert errors == ""


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_workers_end_when_their_parent_is_killed(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    assert [program.stdout.readline() for _ in range(2)] == ["started\n", "one\n"]
    assert len(members(program.pid)) >= 3
    program.kill()
    deadline = time.monotonic() + 10
    while members(program.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert members(program.pid) == []


def test_a_worker_is_no_more_ahead_than_it_may_be() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = ordered_map(abs, items(), 2, chunk=1, ahead=2)
    with closing(results):
        for number, result in zip(range(20), results, strict=False):
            assert result == number
            assert taken <= number + 1 + 4


def test_results_of_a_pool_come_in_order_with_their_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 * (item % 3 == 0))
        return -item

    with ThreadPoolExecutor(4) as pool:
        pairs = in_order(
            lambda item: pool.submit(slow_first, item),
            range(20),
            most=5,
            weight=lambda item: 1,
            most_weight=100,
        )
        assert list(pairs) == [(item, -item) for item in range(20)]


@pytest.mark.parametrize(
    ("most", "most_weight", "expected"), [(4, 100, 4), (10, 30, 3), (10, 5, 1)]
)
def test_a_pool_has_no_more_under_way_than_it_may_have(
    most: int, most_weight: int, expected: int
) -> None:
    under_way = largest = 0

    def submit(item: int) -> Future[int]:
        nonlocal under_way, largest
        under_way += 1
        largest = max(largest, under_way)
        future: Future[int] = Future()
        future.set_result(item)
        return future

    for _ in in_order(
        submit, range(20), most=most, weight=lambda item: 10, most_weight=most_weight
    ):
        under_way -= 1
    assert largest == expected


def test_what_a_pool_has_not_begun_is_cancelled_when_nobody_wants_it() -> None:
    futures: list[Future[int]] = []

    def submit(item: int) -> Future[int]:
        futures.append(Future())
        if item == 0:
            futures[0].set_result(0)
        return futures[-1]

    pairs = in_order(submit, range(9), most=3, weight=lambda item: 1, most_weight=9)
    assert next(pairs) == (0, 0)
    pairs.close()
    assert [future.cancelled() for future in futures] == [False, True, True]
