"""What is found in a prediction folder, and taken as up to date or not."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import pytest
from inference_command import LABELS, make_run, noise, run, statuses, write_noise
from PIL import Image

from datasets.predictions import photos
from datasets.predictions.folder import PredictionFolder
from datasets.predictions.outputs import Segmented
from datasets.predictions.photo_files import PhotoFile
from datasets.predictions.photos import Photo, read_photo


@pytest.fixture
def folder(tmp_path: Path) -> PredictionFolder:
    made_from = {"checkpoint_sha256": "1"}
    return PredictionFolder(tmp_path / "out", LABELS, made_from, {"mask": "", "overlay": ""})


@pytest.fixture
def file(tmp_path: Path) -> PhotoFile:
    noise(20, 26, 3).save(tmp_path / "a.png")
    return PhotoFile(tmp_path / "a.png", "a.png", "a", True)


def is_kept(folder: PredictionFolder, file: PhotoFile) -> bool:
    found = folder.find(file)
    return found.entry is not None and not folder.lacks(found)


def segmented(photo: Photo) -> Segmented:
    assert photo.image is not None
    return Segmented(photo.image, photo.image[..., 0] % 3, LABELS)


def write(folder: PredictionFolder, file: PhotoFile) -> Path:
    """Predict noise for a photo; where the mask is."""
    photo = read_photo(file)
    folder.write(photo, segmented(photo), folder.find(file))
    return folder.path / "masks" / "a.png"


def test_a_mask_that_a_power_cut_left_is_made_again(
    folder: PredictionFolder, file: PhotoFile
) -> None:
    mask = write(folder, file)
    whole = mask.read_bytes()
    assert is_kept(folder, file)
    for size in (0, 4, 8, 40, len(whole) // 2, len(whole) - 12, len(whole) - 1):
        mask.write_bytes(whole[:size])
        assert not is_kept(folder, file), size
    mask.write_bytes(bytes(len(whole)))
    assert not is_kept(folder, file)


def test_a_photo_that_is_replaced_while_it_is_predicted_is_done_again(
    folder: PredictionFolder, file: PhotoFile
) -> None:
    photo = read_photo(file)
    noise(30, 36, 3).save(file.path)
    folder.write(photo, segmented(photo), folder.find(file))
    assert not is_kept(folder, file)
    write(folder, file)
    assert is_kept(folder, file)


def test_a_photo_carries_its_time_from_before_it_was_read_also_between_processes(
    file: PhotoFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.path.stat()
    read = photos._read

    def replaced_meanwhile(file: PhotoFile, *options: Any) -> Photo:
        photo = read(file, *options)
        noise(30, 36, 3).save(file.path)
        return photo

    monkeypatch.setattr(photos, "_read", replaced_meanwhile)
    status = pickle.loads(pickle.dumps(read_photo(file))).status
    assert (status.st_size, status.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_whole_files_of_others_are_not_ours_to_replace(
    folder: PredictionFolder, file: PhotoFile
) -> None:
    mask = write(folder, file)
    for format in ("PNG", "JPEG"):
        Image.new("L", (26, 20)).save(mask, format)
        with pytest.raises(ValueError, match="is not a mask of this command"):
            folder.find(file)
    mask.write_text("hello")
    with pytest.raises(ValueError, match="is not a mask of this command"):
        folder.find(file)


def test_a_file_that_cannot_be_read_is_not_ours_to_replace(
    folder: PredictionFolder, file: PhotoFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    write(folder, file).write_text("hello")
    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(ValueError, match="is not a mask of this command"):
        folder.find(file)


def test_a_photo_whose_name_is_long_is_done_and_one_too_long_for_a_mask_fails_alone(
    tmp_path: Path,
) -> None:
    photos = write_noise(tmp_path / "in", 4)
    done, taken, failing = ("l" * 250 + ".png", "n" * 250 + ".jpg", "n" * 250 + ".png")
    for number, name in enumerate((done, taken, failing)):
        (photos / f"{number:02}.png").rename(photos / name)
    report = run(photos, make_run(tmp_path / "run"), tmp_path / "out", code=1)
    states = {"03.png": "written", done: "written", taken: "failed", failing: "failed"}
    assert statuses(report) == states  # n.jpg.png is too long, and n.png would be taken for both
    assert "File name too long" in report["images"][-1]["reason"]
