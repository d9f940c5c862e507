"""README and docs/ tell the flags, defaults and labels of the code; commands and links work."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from torch.distributed.run import get_args_parser

import generate_masks
import inference
import train
from datasets.download.__main__ import build_parser as download_parser
from datasets.label_sets import GROUPS

ROOT = Path(__file__).parents[1]
PAPERS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAPERS["README.md"]
PARSERS = {
    "generate_masks.py": generate_masks.build_parser(),
    "train.py": train.build_parser(),
    "inference.py": inference.build_parser(),
    "datasets.download": download_parser(),
}
CELLS = re.compile(r"^\| (`--.*?) \| (.*?) ?\| (.+) \|$", re.MULTILINE)


class Row(NamedTuple):
    """What a table tells of a flag."""

    flag: str
    takes: str
    default: str
    meaning: str


def actions_of(name: str) -> dict[str, argparse.Action]:
    actions = (action for action in PARSERS[name]._actions if action.dest != "help")
    return {flag: action for action in actions for flag in action.option_strings}


def flag_rows(name: str) -> list[Row]:
    """The flags in the tables of a command's page."""
    page = PAPERS[f"docs/{name.removeprefix('datasets.').removesuffix('.py')}.md"]
    return [
        Row(flag, takes, default, meaning)
        for cell, default, meaning in CELLS.findall(page)
        for flag, takes in re.findall(r"`(--?\w+) ?(.*?)`", cell)
    ]


def value(cell: str) -> object:
    """The default that a table's cell tells."""
    if cell == "off":
        return False
    try:
        numbers = [float(word) for word in cell.split()]
    except ValueError:
        return cell.strip("`")
    return numbers[0] if len(numbers) == 1 else numbers


def command_lines(text: str, program: str) -> list[list[str]]:
    """The words after a program's name, of each shell command that starts it."""
    scripts = re.findall(r"```(?:bash|console|yaml)\n(.*?)```", text, re.DOTALL)
    lines = [line for script in scripts for line in script.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line.lstrip("$ "), comments=True) for line in lines if program in line]
    return [found[found.index(program) + 1 :] for found in words if program in found]


def anchors(text: str) -> set[str]:
    """GitHub's anchor of each heading: lower case, only letters, digits, - and _, - for spaces."""
    outside_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", outside_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def internal_links() -> Iterator[tuple[str, str]]:
    for name, text in PAPERS.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("https://", "http://")):
                yield name, target


def test_the_readme_has_200_lines_at_most() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("name", PARSERS)
def test_every_flag_stands_once_on_its_commands_page_and_every_flag_there_exists(name: str) -> None:
    assert sorted(row.flag for row in flag_rows(name)) == sorted(actions_of(name))


@pytest.mark.parametrize("name", PARSERS)
def test_the_tables_tell_the_defaults_that_the_parsers_have(name: str) -> None:
    for row in flag_rows(name):
        action = actions_of(name)[row.flag]
        if action.required:
            assert row.default == "required", row
        elif action.dest == "workers" and name.endswith(".py"):
            assert "cores" in row.default, "the default depends on the machine"
        elif action.default is not None:
            assert value(row.default) == action.default, row


@pytest.mark.parametrize("name", PARSERS)
def test_the_tables_tell_what_a_flag_takes_as_help_does(name: str) -> None:
    for row in flag_rows(name):
        action = actions_of(name)[row.flag]
        if action.choices and not action.metavar:  # --help lists them
            assert row.takes.isupper(), row
        elif action.nargs != 0:
            assert row.takes == f"{action.metavar}{' ...' if action.nargs == '+' else ''}", row
        told = re.findall(r"`(\S+?)`", f"{row.default} {row.meaning}")
        assert {str(choice) for choice in action.choices or ()} <= set(told), row


@pytest.mark.parametrize("name", PARSERS)
def test_every_command_line_parses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (described,) = re.findall(r"```json\n(.*?)```", PAPERS["docs/camvid.md"], re.DOTALL)
    (tmp_path / "camvid.json").write_text(described, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = [words for text in PAPERS.values() for words in command_lines(text, name)]
    assert commands
    for words in commands:
        PARSERS[name].parse_args(words)


def test_every_flag_in_the_text_exists() -> None:
    known = {"--help"} | {flag for name in PARSERS for flag in actions_of(name)}
    known |= set(re.findall(r"== (--\w+)", (ROOT / "pipeline.sh").read_text(encoding="utf-8")))
    for page, text in PAPERS.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for script in re.findall(r"tests/benchmarks/\w+\.py", prose):
            known |= set(re.findall(r'"(--\w+)"', (ROOT / script).read_text(encoding="utf-8")))
        assert set(re.findall(r"(?<!-)--[a-z]\w+", prose)) <= known, page


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {target.partition("#")[0] for name, target in internal_links() if name == "README.md"}
    assert PAPERS.keys() - reached == {"README.md"}


def test_every_internal_link_leads_somewhere() -> None:
    links = list(internal_links())
    assert links
    for name, target in links:
        path, _, anchor = target.partition("#")
        file = ROOT / (Path(name).parent / path if path else name)
        assert file.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{name}: {target}"


def test_the_file_tree_names_every_command_package_and_room() -> None:
    tree = README.split("\n## Files\n")[1].split("```")[1]
    names = re.findall(r"^ *((?:\S+, )*\S+)  ", tree, re.MULTILINE)
    named = {name for line in names for name in line.split(", ")}
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    rooms = [path.parent for path in (ROOT / "datasets").glob("*/__init__.py")]
    folders = {f"{path.name}/" for path in (*packages, *rooms)} | {"docs/", "tests/"}
    assert named == folders | {path.name for path in ROOT.glob("*.py")}


def test_the_label_table_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \| ([\d.]+) \| (.*) \|$", README, re.MULTILINE)
    assert rows == [
        (str(index), label.name, str(label.priority), ", ".join(label.categories))
        for index, label in enumerate(GROUPS.labels)
        if index
    ]


def test_the_cluster_examples_are_scripts_and_flags_that_parse() -> None:
    page = PAPERS["docs/clusters.md"]
    scripts = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    assert len(scripts) == 5
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    commands = command_lines(page, "torchrun")
    assert len(commands) == 5
    for words in commands:
        get_args_parser().parse_args([*words[: words.index("train.py")], "train.py"])
