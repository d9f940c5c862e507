"""Writes that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from runtime.files import HOST, replacing, write_json, write_text

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("flush", [False, True])
def test_the_file_appears_whole_under_its_name(tmp_path: Path, flush: bool) -> None:
    path = tmp_path / "a.tar.gz"
    with replacing(path, flush=flush) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".") and temporary.suffix == ".tmp"
    assert path.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.ENOSPC, "")])
@pytest.mark.parametrize("old", [None, b"old"])
def test_after_an_error_the_old_file_stands_and_no_other(
    tmp_path: Path, error: BaseException, old: bytes | None
) -> None:
    path = tmp_path / "a.json"
    if old:
        path.write_bytes(old)
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([old] if old else [])


def test_an_error_of_writing_names_the_file_unless_it_names_one(tmp_path: Path) -> None:
    for named, expected in ((None, tmp_path / "a"), ("b", "b")):
        with pytest.raises(OSError) as error, replacing(tmp_path / "a"):
            raise OSError(errno.ENOSPC, "full", named)
        assert str(error.value) == f"[Errno {errno.ENOSPC}] full: {str(expected)!r}"
    with pytest.raises(OSError, match=r"^mine$"), replacing(tmp_path / "a"):
        raise OSError("mine")


def test_an_error_before_anything_is_written_is_that_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), replacing(tmp_path / "a"):
        raise ValueError("mine")
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "missing" / "a", "x")


def test_what_is_left_over_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    dead, living = subprocess.Popen(["true"]), os.getppid()
    dead.wait()
    left = [f".a.png.{HOST}-{dead.pid}.tmp", ".c.00000000-7.tmp"]
    kept = [f".a.png.{HOST}-{living}.tmp", ".d.00000000-7.tmp", ".e.tmp", f"f.{HOST}-1.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / left[1], (0, 0))
    write_text(tmp_path / "a.json", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", *kept}


@pytest.mark.parametrize("name", ["a.png", "a.json", "a.tar.png"])
def test_no_pattern_of_data_matches_what_is_unfinished(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("half")
        assert not list(tmp_path.glob(f"*{Path(name).suffix}"))
        assert [path.name[0] for path in tmp_path.iterdir()] == ["."]


@pytest.mark.skipif(os.name != "posix", reason="open files cannot be replaced")
def test_who_reads_the_old_file_meanwhile_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old old old")
    with path.open() as reader:
        assert reader.read(3) == "old"
        os.lseek(reader.fileno(), 0, os.SEEK_SET)
        write_text(path, "new")
        assert os.read(reader.fileno(), 100) == b"old old old"
    assert path.read_text() == "new"


def test_different_names_have_different_temporary_names(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.json") as one, replacing(tmp_path / "a.png") as two:
        assert one != two
        one.touch()
        two.touch()


@pytest.mark.parametrize(
    "value", [{}, [1, 2.5, None], {"\u00e9": "\U0001f40d"}, {"a": "\udce9\ud800"}]
)
def test_json_is_read_back_equal_also_with_text_that_utf8_cannot_hold(
    tmp_path: Path, value: object
) -> None:
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_json_that_others_could_not_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "\u00e9\nx\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\nx\n".replace(b"\n", os.linesep.encode())


def test_writers_of_several_machines_have_temporary_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    with replacing(path) as here:
        monkeypatch.setattr("runtime.files.HOST", "00000000")
        with replacing(path) as there:
            here.write_text("here")
            there.write_text("there")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["here"]  # renamed last


@pytest.mark.parametrize(
    "name",
    [
        *("a" * length + ".png" for length in (240, 248, 251)),
        "\u00e9" * 125 + ".png",
        "\U0001f40d" * 63 + "xyz",
        "a." + "b" * 253,
    ],
)
def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as temporary:
        assert temporary.name.startswith(".") and temporary.suffix == ".tmp"
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_long_names_that_start_alike_have_different_temporary_names(tmp_path: Path) -> None:
    start = "a" * 249
    with replacing(tmp_path / f"{start}1.png") as one, replacing(tmp_path / f"{start}2.png") as two:
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / f"{start}1.png").read_text() == "1"


PROGRAM = """
    import os, sys
    sys.path.insert(0, {root!r})
    from pathlib import Path
    from runtime.files import replacing

    with replacing(Path({path!r})) as temporary:
        with temporary.open("w") as file:
            file.write("half")
            file.flush()
            os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    program = textwrap.dedent(PROGRAM.format(root=str(ROOT), path=str(path)))
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert path.read_text() == "old"
    write_text(path, "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]
