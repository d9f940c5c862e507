"""From a server that is slow, cuts, lies, fails or lacks: files whole or absent, and continued."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from coco_server import ANNOTATIONS, CocoServer, annotations_of, coco_files, serving, zip_of
from PIL import Image

import datasets.download.__main__ as command
from datasets.download import server as web

ROOT = Path(__file__).parents[1]
NAMES = [f"{number:012d}.jpg" for number in range(1, 13)]
FEW = ("--train_images", 5, "--val_images", 2)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CocoServer]:
    monkeypatch.setattr(web, "WAITS", (0.01,) * 5)
    monkeypatch.setattr(web, "TIMEOUT", 0.3)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of before
    with serving(coco_files()) as started:
        yield started


def run(server: CocoServer, folder: Path, *flags: object) -> int:
    words = ["--output_dir", folder, "--base_url", server.url, "--workers", 4, *flags]
    return command.main([str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def expected(server: CocoServer, train: int, val: int) -> dict[str, bytes]:
    """A folder's files after so many photographs: nothing beside them and the annotations."""
    splits = {"train2017": train, "val2017": val}
    photos = [f"{split}/{name}" for split, count in splits.items() for name in NAMES[:count]]
    with web.zipfile.ZipFile(io.BytesIO(server.files[ANNOTATIONS])) as archive:
        names = [f"annotations/instances_{split}.json" for split in splits]
        return {
            **{name: server.files[name] for name in photos},
            **{name: archive.read(name) for name in names},
        }


def test_the_first_photographs_by_id_come_one_by_one_and_only_once(
    server: CocoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert run(server, tmp_path / "coco", *FEW) == 0
    assert contents(tmp_path / "coco") == expected(server, 5, 2)
    assert "5 of 5 photographs are there, 5 of them new" in caplog.text
    assert sorted(path for path, _ in server.asked) == sorted(
        {*expected(server, 5, 2), ANNOTATIONS}
        - {"annotations/instances_train2017.json", "annotations/instances_val2017.json"}
    )
    server.asked.clear()
    assert run(server, tmp_path / "coco", "--train_images", 6, "--val_images", 2) == 0
    assert server.asked == [("train2017/000000000006.jpg", None)]


def test_what_one_agrees_to_is_said_before_the_first_byte(
    server: CocoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[bool] = []
    server.fault = lambda path, times: said.append("#termsofuse" in caplog.text) or ""
    with caplog.at_level("INFO"):
        assert run(server, tmp_path, *FEW) == 0
    assert len(said) == 8 and all(said)


@pytest.mark.parametrize("ranges", [True, False])
def test_connections_cut_at_random_bytes_bring_every_byte(
    server: CocoServer, tmp_path: Path, ranges: bool
) -> None:
    server.ranges = ranges
    server.fault = lambda path, times: "cut" if times < 4 else ""
    assert run(server, tmp_path, *FEW) == 0
    assert contents(tmp_path) == expected(server, 5, 2)
    assert any(asked for _, asked in server.asked)


@pytest.mark.parametrize("fault", ["longer", "shorter", "html", "silent", "500", "503", "429"])
def test_a_fault_that_passes_leaves_no_trace(
    server: CocoServer, tmp_path: Path, fault: str
) -> None:
    server.fault = lambda path, times: fault if times < 1 and path != ANNOTATIONS else ""
    assert run(server, tmp_path, *FEW) == 0
    assert contents(tmp_path) == expected(server, 5, 2)


def test_a_slow_server_is_waited_for(server: CocoServer, tmp_path: Path) -> None:
    server.fault = lambda path, times: "slow"
    assert run(server, tmp_path, *FEW) == 0
    assert contents(tmp_path) == expected(server, 5, 2)


@pytest.mark.parametrize(
    ("fault", "why", "tries"),
    [
        ("404", "HTTP Error 404: Not Found", 1),
        ("403", "HTTP Error 403: Forbidden", 1),
        ("500", "HTTP Error 500: Internal Server Error", 6),
        ("html", "what came cannot be read as a picture", command.BAD_TRIES),
        ("shorter", "what came cannot be read as a picture", command.BAD_TRIES),
    ],
)
def test_what_does_not_come_is_named_and_the_others_come(
    server: CocoServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    why: str,
    tries: int,
) -> None:
    bad = f"train2017/{NAMES[2]}"
    server.fault = lambda path, times: fault if path == bad else ""
    assert run(server, tmp_path, *FEW) == 1
    assert f"missing  {bad}: {why}" in caplog.messages
    assert "1 photographs are missing; the same command tries again" in caplog.text
    assert server.times[bad] == tries
    whole = expected(server, 5, 2)
    assert contents(tmp_path) == {name: data for name, data in whole.items() if name != bad}
    server.fault = lambda path, times: ""
    assert run(server, tmp_path, *FEW) == 0
    assert contents(tmp_path) == whole


def test_a_server_that_answers_no_more_ends_the_run(
    server: CocoServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "LOST", 3)
    server.fault = lambda path, times: "503" if path > "train2017/000000000002" else ""
    assert run(server, tmp_path, *FEW) == 1
    told = capsys.readouterr().err
    assert "3 photographs in a row did not come, the last: HTTP Error 503" in told
    assert told.endswith("the same command goes on from here\n")


def test_without_a_server_it_is_said_that_there_is_none(
    server: CocoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, tmp_path, "--base_url", "http://127.0.0.1:9") == 1
    assert "refused" in capsys.readouterr().err


@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_goes_on_where_it_was_cut_off_or_anew(
    server: CocoServer, tmp_path: Path, ranges: bool
) -> None:
    server.ranges = ranges
    (tmp_path / ".annotations_trainval2017.zip.part").write_bytes(server.files[ANNOTATIONS][:300])
    assert run(server, tmp_path, *FEW) == 0
    assert server.asked[0] == (ANNOTATIONS, "bytes=300-")
    assert contents(tmp_path) == expected(server, 5, 2)


@pytest.mark.parametrize("more", [b"", b"too much"])
def test_a_part_that_is_whole_or_of_another_file_is_told_apart(
    server: CocoServer, tmp_path: Path, more: bytes
) -> None:
    part = server.files[ANNOTATIONS] + more
    (tmp_path / ".annotations_trainval2017.zip.part").write_bytes(part)
    assert run(server, tmp_path, *FEW) == 0
    assert server.times[ANNOTATIONS] == 1 + bool(more)
    assert contents(tmp_path) == expected(server, 5, 2)


@pytest.mark.parametrize("damage", ["member", "end", "html", "start of another"])
def test_a_damaged_archive_replaces_nothing_and_is_fetched_anew(
    server: CocoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    whole = server.files[ANNOTATIONS]
    if damage == "start of another":
        (tmp_path / ".annotations_trainval2017.zip.part").write_bytes(b"PK" * 150)
    else:
        at = whole.index(b"instances_train2017.json") + 40
        server.files[ANNOTATIONS] = {
            "member": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
            "end": whole[:-30],
            "html": b"<html>not found</html>",
        }[damage]
    assert run(server, tmp_path, *FEW) == 1
    assert f"{ANNOTATIONS} is damaged, and removed: " in capsys.readouterr().err
    assert contents(tmp_path) == {}
    server.files[ANNOTATIONS] = whole
    assert run(server, tmp_path, *FEW) == 0
    assert contents(tmp_path) == expected(server, 5, 2)


EVIL = (
    *("../evil.jpg", "/tmp/evil.jpg", "a/evil.jpg", "..", ".evil.jpg", "evil\\x.jpg"),
    *("e" * 300, "evil\n.jpg", "evil?x=.jpg"),
)


def test_no_name_leads_out_of_the_folder(
    server: CocoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = {"height": 20, "width": 30}
    images = [{"id": n, "file_name": name, **size} for n, name in enumerate([NAMES[0], *EVIL])]
    names = (f"annotations/instances_{split}2017.json" for split in ("train", "val"))
    members = {name: annotations_of(images) for name in names}
    server.files[ANNOTATIONS] = zip_of({"../evil.json": b"{}", "/evil.json": b"{}", **members})
    photo = server.files[f"train2017/{NAMES[0]}"]
    photos = {f"train2017/{name}": photo for name in (NAMES[0], *EVIL)}
    server.files["zips/train2017.zip"] = zip_of(photos)
    for flags in (("--train_images", 99), ("--all",)):
        caplog.clear()
        assert run(server, tmp_path / "coco", *flags) == 1
        assert caplog.text.count("its name in the annotation file is no plain one") == 2 * len(EVIL)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    kept = {f"coco/{split}/{NAMES[0]}" for split in ("train2017", "val2017")}
    written = {f"coco/{name}" for name in (*members, "annotations", "train2017", "val2017")}
    assert files == {"coco", *kept, *written}
    assert not {path for path, _ in server.asked if "evil" in path}


def test_all_photographs_come_as_archives_which_do_not_stay(
    server: CocoServer, tmp_path: Path
) -> None:
    assert run(server, tmp_path, "--all") == 0
    assert contents(tmp_path) == expected(server, 12, 4)
    assert [path for path, _ in server.asked] == [
        *(ANNOTATIONS, "zips/train2017.zip", "zips/val2017.zip")
    ]
    server.asked.clear()
    assert run(server, tmp_path, "--all") == 0
    assert server.asked == []


def test_what_an_archive_lacks_or_has_damaged_is_named(
    server: CocoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = {name: data for name, data in server.files.items() if name.startswith("train2017/")}
    del photos[f"train2017/{NAMES[0]}"]
    data = zip_of(photos)
    at = data.index(photos[f"train2017/{NAMES[1]}"]) + 300
    server.files["zips/train2017.zip"] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert run(server, tmp_path, "--all") == 1
    assert f'train2017/{NAMES[0]}: "There is no item named' in caplog.text
    assert f"train2017/{NAMES[1]}: Bad CRC-32 for file" in caplog.text
    whole = expected(server, 12, 4)
    lost = {f"train2017/{name}" for name in NAMES[:2]}
    assert contents(tmp_path) == {name: data for name, data in whole.items() if name not in lost}


def test_a_torn_photograph_is_replaced_and_somebodys_picture_is_not(
    server: CocoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(server, tmp_path, *FEW) == 0
    torn, other = (tmp_path / "train2017" / name for name in NAMES[:2])
    torn.write_bytes(torn.read_bytes()[:-100])
    Image.new("RGB", (9, 7)).save(other)
    mine = other.read_bytes()
    assert run(server, tmp_path, *FEW) == 1
    assert f"{other} is 9x7, annotated 31x21; move it away" in caplog.text
    assert other.read_bytes() == mine
    assert torn.read_bytes() == server.files[f"train2017/{NAMES[0]}"]


@pytest.mark.parametrize("free", [10, 600_000])
def test_room_on_the_disk_is_checked_before_photographs(
    server: CocoServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free: int,
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free))
    assert run(server, tmp_path, *FEW) == 1
    assert re.search(r"\d MB are needed, \d MB are free; make room", capsys.readouterr().err)
    assert [path for path, _ in server.asked] == [ANNOTATIONS]
    assert not list(tmp_path.rglob("*.jpg"))


def test_the_proxy_of_the_environment_is_asked(
    server: CocoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    assert run(server, tmp_path, *FEW, "--base_url", "http://coco.invalid/") == 0
    assert contents(tmp_path) == expected(server, 5, 2)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--base_url", "ftp://x"], "expected http://... or https://..."),
        (["--train_images", "0"], "expected a whole number, 1 or more"),
        (["--output_dir", __file__], "is a file, expected a folder"),
    ],
)
def test_impossible_flags_are_refused(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(flags)
    assert told in capsys.readouterr().err


def start(server: CocoServer, folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    words = ["--output_dir", str(folder), "--base_url", server.url, "--workers", "4", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "datasets.download", *words],
        cwd=ROOT,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        stderr=subprocess.DEVNULL,
    )


def test_ctrl_c_ends_at_once_and_the_same_command_goes_on(
    server: CocoServer, tmp_path: Path
) -> None:
    server.fault = lambda path, times: "slow" if path == f"train2017/{NAMES[3]}" else ""
    process = start(server, tmp_path, "--train_images=12", "--val_images=4")
    while len(server.asked) < 4:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert not [name for name in contents(tmp_path) if name.endswith(".tmp")]
    assert run(server, tmp_path, "--train_images", 12, "--val_images", 4) == 0
    assert contents(tmp_path) == expected(server, 12, 4)


@pytest.mark.slow
@pytest.mark.parametrize("everything", [False, True])
def test_25_kills_at_random_moments_end_byte_identical(
    server: CocoServer, tmp_path: Path, everything: bool
) -> None:
    server.files = coco_files(12, 4)
    server.fault = lambda path, times: ("slow", "cut", "")[times % 3]
    flags = ["--all"] if everything else ["--train_images=12", "--val_images=4"]
    ended = 0
    for _ in range(25):
        process = start(server, tmp_path, *flags)
        asked = len(server.asked)
        while len(server.asked) == asked and process.poll() is None:
            time.sleep(0.005)
        time.sleep(float(server.chance.random()) * 0.2)
        process.kill()
        ended += process.wait() == 0
        for name, data in contents(tmp_path).items():
            if not name.startswith(".") and not name.endswith(".tmp"):
                assert data == expected(server, 12, 4)[name], name
        if ended:
            shutil.rmtree(tmp_path)  # and from the start again
            tmp_path.mkdir()
            ended = 0
    assert start(server, tmp_path, *flags).wait(60) == 0
    assert contents(tmp_path) == expected(server, 12, 4)
