"""The README tells the flags that there are, and the label table that the code has."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

import generate_masks
import inference
import train
from datasets.label_sets import GROUPS

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
COMMANDS = {"generate_masks.py": generate_masks, "train.py": train, "inference.py": inference}


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}


def flags_of_section(title: str) -> set[str]:
    """Flags in the first column of the tables of one README section."""
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`-.*?) \|", section, re.MULTILINE)
    return {flag for cell in cells for flag in re.findall(r"`(--?\w+)", cell)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_stands_in_the_readme_and_every_flag_there_exists(name: str) -> None:
    assert flags_of_section(name) == flags_of(COMMANDS[name].build_parser())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readmes_command_lines_use_flags_that_exist(name: str) -> None:
    commands = re.findall(rf"python3 {name}((?:[^\n]*\\\n)*[^\n]*)", README)
    used = {flag for command in commands for flag in re.findall(r"--\w+", command)}
    assert used
    assert used <= flags_of(COMMANDS[name].build_parser())


def test_the_label_table_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \| ([\d.]+) \| (.*) \|$", README, re.MULTILINE)
    assert rows == [
        (str(index), label.name, str(label.priority), ", ".join(label.categories))
        for index, label in enumerate(GROUPS.labels)
        if index
    ]


def test_the_cluster_examples_are_scripts_and_flags_that_parse() -> None:
    section = README.split("\n## Several GPUs, several machines\n")[1].split("\n## ")[0]
    scripts = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert len(scripts) == 2
    job = re.findall(r"^args:\n  - \|\n((?:    .*\n)+)", section, re.MULTILINE)
    assert len(job) == 1
    scripts += job
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    lines = [line for script in scripts for line in script.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if "torchrun" in line]
    assert len(commands) == 4
    for words in commands:
        words = words[words.index("torchrun") + 1 :]
        script_at = words.index("train.py")
        get_args_parser().parse_args([*words[:script_at], "train.py"])
        flags = [word for word in words[script_at + 1 :] if word != "$what"]  # see the script
        train.build_parser().parse_args(flags)
