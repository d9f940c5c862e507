"""The workflow file runs what this project calls its checks."""

from pathlib import Path

import yaml

WORKFLOW = yaml.safe_load(Path(".github/workflows/tests.yml").read_text())


def commands(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_pushes_run_the_whole_check_on_every_python_that_is_claimed():
    assert "push" in WORKFLOW[True]  # YAML reads the key "on" as true
    assert commands("newest") == ["bash .ci/run"]
    assert WORKFLOW["jobs"]["newest"]["strategy"]["matrix"]["python"][0] == "3.10"


def test_pushes_run_the_suite_on_the_oldest_versions():
    (command,) = commands("oldest")
    assert Path(command).stat().st_mode & 0o100


def test_the_oldest_versions_are_those_of_the_requirements():
    lines = [line for line in Path("requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert all(">=" in line for line in lines)  # what tests/oldest.sh makes ==
