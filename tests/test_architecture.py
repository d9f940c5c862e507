"""Who may import whom. Packages stand alone but for runtime, which stands on nothing of ours."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("datasets", "losses", "metrics", "models", "runtime")
COMMANDS = tuple(sorted(path.stem for path in ROOT.glob("*.py")))
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LEAN = (
    "datasets.masks",
    "datasets.pairs",
    "datasets.label_mapping",
    "datasets.checks",
    "datasets.visualize",
    "datasets.sample",
    "runtime.files",
    "runtime.workers",
    "generate_masks",
)


def imported_names(path: Path) -> set[str]:
    """The first part of every module that a file imports by its full name, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def run_python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_three_commands_are_there() -> None:
    assert {"generate_masks", "train", "inference"} <= set(COMMANDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_packages_import_no_command_and_no_other_package_than_runtime(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {package} if package == "runtime" else {package, "runtime"}
    assert imported_names(path) & {*PACKAGES, *COMMANDS} <= allowed


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_an_init_file_that_says_what_it_holds(package: str) -> None:
    module = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_init_file_names_every_module_of_its_package(package: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))) or ""
    modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert modules <= {line.split()[0] for line in text.splitlines() if line.strip()}


def test_the_init_file_of_datasets_imports_nothing() -> None:
    assert imported_names(ROOT / "datasets" / "__init__.py") == set()


def test_tests_are_flat_so_that_none_hides_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert list((ROOT / "tests").glob("*/test_*.py")) == []


@pytest.mark.parametrize("module", LEAN)
def test_making_masks_and_checking_paths_load_no_torch(module: str) -> None:
    assert run_python("-c", f"import {module}, sys; print('torch' in sys.modules)") == "False\n"


def test_the_help_of_generate_masks_loads_no_torch() -> None:
    script = (
        "import runpy, sys, contextlib; sys.argv = ['generate_masks.py', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "print('torch' in sys.modules)"
    )
    output = run_python("-c", script)
    assert output.startswith("usage: generate_masks.py")
    assert output.endswith("\nFalse\n")
