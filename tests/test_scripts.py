import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("runtime/setup.sh", "pipeline.sh", "tests/run.sh", ".ci/run")


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
