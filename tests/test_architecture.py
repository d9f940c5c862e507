"""Who may import whom, as a newcomer would be told:

Each command has one room in datasets/ (masks/ for generate_masks.py, training/ for train.py,
predictions/ for inference.py; download/ and sample/ beside them). A room imports only the shared
floor (the plain files of datasets/ and coco/) and runtime/, never another room. No circle anywhere.
Packages stand alone but for runtime/, which stands on nothing of ours.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("datasets", "losses", "metrics", "models", "runtime")
ROOMS = ("masks", "training", "predictions", "download", "sample")
COMMANDS = tuple(sorted(path.stem for path in ROOT.glob("*.py")))
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
NEEDS_TORCH = {
    "datasets.training." + name for name in ("augmentation", "batches", "cache", "dataset")
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in (*FILES, *ROOT.glob("*.py"))}
LEAN = [
    *sorted(name for name in MODULES if name.startswith("datasets.") and name not in NEEDS_TORCH),
    *("generate_masks", "inference", "train", "losses", "metrics", "models"),
    *("runtime.command_line", "runtime.files", "runtime.workers"),
]


def imported_modules(path: Path) -> set[str]:
    """The modules of this project that a file imports by their full names, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which module is meant"
            assert node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            names |= inner or {node.module}
    return names & MODULES.keys()


def run_python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_three_commands_are_there() -> None:
    assert {"generate_masks", "train", "inference"} <= set(COMMANDS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_import_no_command_and_no_other_package_than_runtime(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {package} if package == "runtime" else {package, "runtime"}
    assert {module.split(".")[0] for module in imported_modules(path)} <= allowed


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_other_room(room: str) -> None:
    others = {f"datasets.{other}" for other in ROOMS} - {f"datasets.{room}"}
    for path in (ROOT / "datasets" / room).glob("*.py"):
        used = {".".join(module.split(".")[:2]) for module in imported_modules(path)}
        assert not used & others, name_of(path)


def test_the_shared_floor_imports_no_room() -> None:
    rooms = {f"datasets.{room}" for room in ROOMS}
    for module, path in MODULES.items():
        parts = module.split(".")
        if parts[0] == "datasets" and not {".".join(parts[:2])} & rooms:
            used = {".".join(name.split(".")[:2]) for name in imported_modules(path)}
            assert not used & rooms, name_of(path)


def test_no_file_is_in_a_circle_of_imports() -> None:
    graph = {module: imported_modules(path) - {module} for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_room_has_more_than_twelve_files() -> None:
    for room in ROOMS:
        files = {path.stem for path in (ROOT / "datasets" / room).glob("*.py")} - {"__init__"}
        assert len(files) <= 12, room


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_the_init_file_names_every_module_of_its_package(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    assert modules <= {line.split()[0] for line in text.splitlines() if line.strip()}


def test_the_init_files_of_datasets_import_nothing() -> None:
    for path in (ROOT / "datasets").rglob("__init__.py"):
        assert imported_modules(path) == set(), name_of(path)


def test_tests_are_flat_so_that_none_hides_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert list((ROOT / "tests").glob("*/test_*.py")) == []


def test_commands_tables_and_what_makes_masks_load_no_torch() -> None:
    """One process imports one module after the other: the first that loads torch is named."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(name + ' loads torch')\n"
    )
    assert len(LEAN) > 30
    run_python("-c", script, *(name for name in LEAN if not name.endswith("__main__")))


@pytest.mark.parametrize("command", ["generate_masks", "train", "inference"])
def test_the_help_of_a_command_loads_no_torch(command: str) -> None:
    script = (
        f"import runpy, sys, contextlib; sys.argv = ['{command}.py', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "print('torch' in sys.modules)"
    )
    output = run_python("-c", script)
    assert output.startswith(f"usage: {command}.py")
    assert output.endswith("\nFalse\n")
