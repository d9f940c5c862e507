import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("runtime/setup.sh", "pipeline.sh", "tests/run.sh", "tests/oldest.sh", ".ci/run")


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_run_and_stop_at_the_first_error(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


def test_pipeline_help_is_its_head_comment(tmp_path: Path) -> None:
    done = run(ROOT / "pipeline.sh", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "./pipeline.sh COCO_DIR" in done.stdout
    assert "#" not in done.stdout


def test_pipeline_names_a_folder_that_is_missing(tmp_path: Path) -> None:
    done = run(ROOT / "pipeline.sh", "no_such_folder", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "pipeline.sh: no_such_folder: no such folder\n"


@pytest.mark.parametrize("words", [["--coco"], ["--coco", "many"], ["--coco", "0"]])
def test_pipeline_wants_a_number_of_photographs(tmp_path: Path, words: list[str]) -> None:
    done = run(ROOT / "pipeline.sh", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "expected a number of photographs, such as 1000" in done.stderr


def fake_python(folder: Path, version: str) -> Path:
    """An interpreter of another version, as far as setup.sh can see."""
    path = folder / "fake_python"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit\nexit 1\n')
    path.chmod(0o755)
    return path


def copy_of_setup(folder: Path) -> Path:
    """The script in a folder of its own, which it takes for the project."""
    script = folder / "runtime" / "setup.sh"
    script.parent.mkdir()
    script.write_bytes((ROOT / "runtime" / "setup.sh").read_bytes())
    script.chmod(0o755)
    return script


def test_setup_says_which_python_it_needs(tmp_path: Path) -> None:
    script = copy_of_setup(tmp_path)
    done = run(script, cwd=ROOT, PYTHON=str(fake_python(tmp_path, "3.8.1")))
    assert done.returncode == 1
    assert "Python 3.10 or newer is needed, but" in done.stderr
    assert "is Python 3.8.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_setup_installs_a_requirements_file_once_and_again_when_it_changed(tmp_path: Path) -> None:
    script = copy_of_setup(tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text('#!/bin/sh\n[ -z "$3" ] || echo ran pip\n')
    (tmp_path / ".venv/bin/python").chmod(0o755)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("one\n")

    def installs() -> int:
        done = run(script, "requirements.txt", cwd=tmp_path)
        assert done.returncode == 0
        return done.stdout.count("ran pip")

    assert [installs(), installs()] == [1, 0]
    requirements.write_text("two\n")
    assert [installs(), installs()] == [1, 0]


@pytest.mark.parametrize(
    ("flags", "installed"), [([], "requirements.txt"), (["--locked"], "requirements.lock")]
)
def test_pipeline_installs_what_it_is_asked_for(
    tmp_path: Path, flags: list[str], installed: str
) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/setup.sh").write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    (tmp_path / "runtime/setup.sh").chmod(0o755)
    (tmp_path / "pipeline.sh").write_bytes((ROOT / "pipeline.sh").read_bytes())
    done = run("bash", "pipeline.sh", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, f"{installed}\n")


def test_the_lock_has_a_version_and_hashes_of_every_package() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", first) for first, *_ in rows)
    assert all(
        hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes)
        for _, *hashes in rows
    )
    versions = dict(first.split("==") for first, *_ in rows)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for name, bound in (line.split(">=") for line in lines if not line.startswith("#")):
        locked, least = ([*map(int, each.split("."))] for each in (versions[name], bound))
        assert locked >= least
