"""Several machines: what docs/clusters.md shows is parsed, and run between two hosts.

The hosts are two network namespaces of this machine with a name each, joined by a cable that can be
pulled; that needs root on Linux.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from training import ROOT, SMALL, metrics, same, wait_for_step, write_data

import train
from models.checkpoint import load_checkpoint

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
EPOCHS = 30  # of three steps each
FLAGS = ("--epochs", str(EPOCHS), "--batch_size", "2", "--checkpoint_steps", "1", "--resume")
NAMES, ADDRESSES = ("left", "right"), ("10.213.7.1", "10.213.7.2")


def manifests() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return [one for block in blocks for one in yaml.safe_load_all(block)]


def test_manifests_have_what_kubernetes_requires() -> None:
    # https://kubernetes.io/docs/reference/kubernetes-api: Job v1 batch, Service v1 core
    found = manifests()
    assert [one["kind"] for one in found].count("Job") >= 2
    services = {one["metadata"]["name"]: one for one in found if one["kind"] == "Service"}
    for service in services.values():
        assert service["apiVersion"] == "v1"
        assert service["spec"]["clusterIP"] == "None"  # so that pods have names
    for job in (one for one in found if one["kind"] == "Job"):
        assert job["apiVersion"] == "batch/v1"
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
        spec = job["spec"]
        assert set(spec) <= {
            "completions",
            "parallelism",
            "completionMode",
            "backoffLimit",
            "template",
        }
        pod = spec["template"]["spec"]
        assert pod["restartPolicy"] in {"Never", "OnFailure"}  # all that a Job allows
        if spec["completions"] > 1:
            assert spec["completionMode"] == "Indexed"
            assert spec["parallelism"] == spec["completions"]
        if name := pod.get("subdomain"):
            assert services[name]["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {"name", "image", "command"} <= set(container)
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            given = {entry["name"]: entry["value"] for entry in container.get("env", ())}
            assert all(isinstance(value, str) for value in given.values())
            if "JOB_COMPLETIONS" in given:
                assert int(given["JOB_COMPLETIONS"]) == spec["completions"]
            script = container["command"][-1]
            assert ("JOB_COMPLETIONS" in given) == ("torchrun" not in script)
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def slurm(script: str, shared: Path, tools: Path, **variables: str) -> None:
    """Run a script as sbatch does, with stand-ins for what Slurm brings, on ``shared``."""
    tools.mkdir(exist_ok=True)
    (tools / "python3").unlink(missing_ok=True)
    executable(tools / "python3", f'exec {sys.executable} "$@"')
    executable(tools / "scontrol", "echo left; echo right")
    executable(tools / "srun", 'exec "$@"')
    small = " ".join(SMALL)
    executable(
        tools / "torchrun",
        f'while [ "$1" != train.py ]; do shift; done; exec python3 "$@" {small} --epochs 1',
    )
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **variables}
    for name in ("RANK", "WORLD_SIZE"):
        environment.pop(name, None)
    command = ["bash", "-eu", "-c", script.replace("/shared", str(shared))]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def slurm_scripts(word: str) -> list[str]:
    scripts = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE, re.DOTALL)
    return [script for script in scripts if word in script]


def test_the_array_of_slurm_makes_the_masks_of_one_machine(tiny_coco: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "coco_dataset").mkdir(parents=True)
    for name in ("train2017", "annotations"):
        shutil.copytree(tiny_coco / name, shared / "coco_dataset" / name)
    (script,) = slurm_scripts("generate_masks.py")
    (_, last), count = re.search(r"--array=(\d+)-(\d+)", script).groups(), 8  # type: ignore[union-attr]
    assert int(last) + 1 == count
    common = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": str(count)}
    for task in range(count):
        slurm(script, shared, tmp_path / "tools", SLURM_ARRAY_TASK_ID=str(task), **common)
    masks = shared / "coco_dataset" / "masks_train"
    assert len(list(masks.glob("masks.shard-*-of-8.json"))) == 8
    assert len(list(masks.glob("*.png"))) == 3


def test_the_training_script_of_slurm_trains_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write_data(tmp_path / "shared" / "coco_dataset")
    (script,) = slurm_scripts("train.py")
    for _ in range(2):
        slurm(
            script,
            tmp_path / "shared",
            tmp_path / "tools",
            SLURM_JOB_NODELIST="x",
            SLURM_JOB_ID="1",
        )
    last = tmp_path / "shared" / "runs" / "big" / "checkpoints" / "last.pt"
    assert load_checkpoint(last)["epoch"] == 1


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """What runs a command on each of two hosts, which know each other by name."""
    names = tmp_path_factory.mktemp("etc") / "hosts"
    rows = zip(("127.0.0.1", *ADDRESSES), ("localhost", *NAMES), strict=True)
    names.write_text("".join(f"{address} {name}\n" for address, name in rows))
    spaces = [f"{name}{os.getpid()}" for name in NAMES]
    setup = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'
    own = ["unshare", "--uts", "--mount", "sh", "-c", setup, "sh"]
    commands = {
        name: ["ip", "netns", "exec", space, *own, name, str(names)]
        for name, space in zip(NAMES, spaces, strict=True)
    }
    try:
        for space in spaces:
            ip("netns", "add", space)
        ends = [("name", "eth0", "netns", space) for space in spaces]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for space, address in zip(spaces, ADDRESSES, strict=True):
            ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield commands
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"hosts cannot be made here; needs root and ip, on Linux ({error})")
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def torchrun(*flags: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *flags, "train.py"]


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("GLOO_SOCKET_IFNAME", None)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def start_pair(
    hosts: dict[str, list[str]], data_dir: Path, run_dir: Path, port: int
) -> list[subprocess.Popen[str]]:
    """The command of docs/clusters.md on each host."""
    rendezvous = ("--rdzv_backend", "c10d", "--rdzv_endpoint", f"left:{port}")
    command = torchrun("--nnodes", "2", "--nproc_per_node", "1", *rendezvous)
    command += ["--data_dir", str(data_dir), "--run_dir", str(run_dir), *SMALL, *FLAGS]
    return [start([*host, *command]) for host in hosts.values()]


def finish(*jobs: subprocess.Popen[str]) -> None:
    said = [job.communicate(timeout=240)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs), "\n".join(said)


def kill_all(jobs: list[subprocess.Popen[str]]) -> None:
    for job in jobs:
        for pid in family(job.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        job.wait()
        if job.stdout:
            job.stdout.close()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [pid, *(one for child in listed.split() for one in family(int(child)))]


def steps_of(run_dir: Path) -> int:
    last = load_checkpoint(run_dir / "checkpoints" / "last.pt")
    return int(3 * last["epoch"] + last["step"])


@pytest.fixture(scope="module")
def whole(
    hosts: dict[str, list[str]], data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run between the two hosts that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(*start_pair(hosts, data_dir, folder, 29500))
    return folder


def assert_equal_runs(folder: Path, whole: Path) -> None:
    found, expected = (
        load_checkpoint(each / "checkpoints" / "last.pt") for each in (folder, whole)
    )
    assert same({**found, "args": 0}, {**expected, "args": 0})
    assert metrics(folder) == metrics(whole)


@pytest.mark.slow
def test_two_hosts_score_exactly_as_one_process(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def keep(counts: torch.Tensor, names: object, **_: object) -> str:
        seen.append(counts)
        return ""

    monkeypatch.setattr("metrics.scores.score_table", keep)
    assert train.main(["--eval_only", str(whole), "--workers", "0"]) == 0
    counts = load_checkpoint(whole / "checkpoints" / "best.pt")["best_counts"]["val"]
    assert counts.sum() == 5 * 16 * 16  # each validation image once
    assert torch.equal(seen[0], counts)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a host dies", "the cable is pulled"])
def test_after_a_fault_the_same_command_on_both_hosts_ends_in_the_undisturbed_run(
    hosts: dict[str, list[str]], data_dir: Path, whole: Path, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "run"
    jobs = start_pair(hosts, data_dir, folder, 29501)
    wait_for_step(folder, jobs[0])
    assert jobs[0].poll() is None
    right = hosts["right"][3]
    if fault == "a host dies":
        kill_all(jobs[1:])
    else:
        ip("-n", right, "link", "set", "eth0", "down")
        time.sleep(2)
    before = steps_of(folder)
    assert before < 3 * EPOCHS
    time.sleep(2)
    assert steps_of(folder) <= before + 1  # without the other host nothing goes on
    kill_all(jobs)
    ip("-n", right, "link", "set", "eth0", "up")
    finish(*start_pair(hosts, data_dir, folder, 29502))
    assert_equal_runs(folder, whole)


@pytest.mark.slow
def test_torchrun_starts_anew_by_itself_when_a_process_is_killed(
    data_dir: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command = torchrun("--standalone", "--nproc_per_node", "2", "--max_restarts", "1")
    command = ["env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1", *command]
    job = start([*command, "--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *FLAGS])
    wait_for_step(folder, job)
    os.kill(family(job.pid)[-1], signal.SIGKILL)
    finish(job)
    found, expected = (
        load_checkpoint(each / "checkpoints" / "last.pt") for each in (folder, whole)
    )
    assert same(found["model_state"], expected["model_state"])
    assert metrics(folder) == metrics(whole)
