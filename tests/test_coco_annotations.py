"""Annotation files as people have them: odd ids, odd entries, and whose annotation is whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.coco import json_index
from datasets.coco.annotations import AnnotationFiles, AnnotationsByImage
from datasets.coco.records import MAX_PIXELS, Id, normal_id

CATEGORY = {"id": 1, "name": "person"}

TOO_LARGE = f"image has more than {MAX_PIXELS:,} pixels; cut it into tiles"


def image(id: Any, **changes: Any) -> dict[str, Any]:
    return {"id": id, "file_name": f"{id}.jpg", "height": 3, "width": 4, **changes}


def write(folder: Path, **lists: Any) -> Path:
    path = folder / "a.json"
    data = {"images": [image(1)], "annotations": [], "categories": [CATEGORY], **lists}
    path.write_text(json.dumps(data))
    return path


def owners(path: Path) -> dict[Id, list[Any]]:
    """Image id -> the ids of its annotations, as the file's index gives them out."""
    with AnnotationFiles([path]) as file:
        found = AnnotationsByImage(file, file.images)
        return {
            entry.id: [json.loads(text)["id"] for text in found.of_image(number)]
            for number, entry in enumerate(file.images)
        }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7), ("7", 7), (" 7 ", 7), ("007", 7), (7.0, 7), (0, 0), ("0", 0), (-3, -3), ("-3", -3),
        ("a7", "a7"), ("5f3a", "5f3a"), (2**70, 2**70), (str(2**70), 2**70), ("x" * 9, "x" * 9),
        (None, None), (True, None), ("", None), ("  ", None), (7.5, None), (float("nan"), None),
        (float("inf"), None), ([1], None), ({}, None),
    ],
)  # fmt: skip
def test_an_id_is_a_number_where_it_says_one(value: Any, expected: Id | None) -> None:
    got = normal_id(value)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("in_images", "in_annotations"),
    [
        (1, 1), (1, "1"), ("1", 1), ("1", "1"), (1.0, 1), (1, 1.0), ("1", 1.0), (0, 0), (0, "0"),
        (1, " 1"), (10**17 + 1, str(10**17 + 1)), (2**63 - 1, str(2**63 - 1)),
        (2**63, str(2**63)), ("64af", "64af"), ("\u00e9t\u00e9", "\u00e9t\u00e9"),
        ('a"b\\', 'a"b\\'), ("\ud800", "\ud800"), ("image_id", "image_id"), (-5, -5),
    ],
)  # fmt: skip
def test_an_annotation_finds_its_image_however_the_id_is_spelled(
    tmp_path: Path, in_images: Any, in_annotations: Any
) -> None:
    annotations = [{"id": 1, "image_id": in_annotations}, {"id": 2, "image_id": 77}]
    path = write(tmp_path, images=[image(in_images), image(77)], annotations=annotations)
    assert owners(path) == {normal_id(in_images): [1], 77: [2]}


IDS = st.sampled_from(
    [0, 1, 2, 3, "1", "2.0", " 3", 3.0, 1e0, True, None, [], {"image_id": 2}, "x"]
)
EXTRAS = st.sampled_from(
    [
        {},
        {"attributes": {"image_id": 2}},
        {"attributes": {"image_id": 2.0, "other": [{"image_id": 3}]}},
        {"caption": '"image_id": 1, "image_id": 2'},
        {"type": "image_id", "text": "}{][", "image_id ": 1},
        {"segmentation": [[1, 2, 3]], "bbox": []},
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(IDS, EXTRAS, EXTRAS, st.booleans()), max_size=12),
    block=st.integers(1, 300),
)
def test_annotations_belong_to_the_image_that_json_says(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], block: int
) -> None:
    annotations: list[Any] = []
    expected: dict[Any, list[int]] = {0: [], 1: [], 2: [], 3: []}
    unknown = unreadable = 0
    for number, (image_id, before, behind, has_null) in enumerate(rows):
        record = {**before, "image_id": image_id, "id": number}
        record.update({k: v for k, v in behind.items() if k not in record})
        annotations += [None, record] if has_null else [record]
        unreadable += has_null
        wanted = normal_id(image_id)
        if wanted is None:
            unreadable += 1
        elif wanted in expected:
            expected[wanted].append(number)
        else:
            unknown += 1
    path = write(tmp_path_factory.mktemp("a"), images=list(map(image, range(4))),
                 annotations=[*annotations, {"id": 99, "image_id": 0}])  # fmt: skip
    expected[0].append(99)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_index, "BLOCK", block)
        assert owners(path) == expected
        with AnnotationFiles([path]) as file:
            found = AnnotationsByImage(file, file.images)
    assert found.remarks["annotation of an image that is not listed"] == unknown
    unlike = ("annotation without an image_id", "annotation is not an object")
    assert sum(found.remarks[reason] for reason in unlike) == unreadable


def test_only_the_annotations_of_the_wanted_images_are_given_out(tmp_path: Path) -> None:
    rows = [{"id": n, "image_id": n % 4} for n in range(12)]
    path = write(tmp_path, images=[image(n) for n in range(3)], annotations=rows)
    with AnnotationFiles([path]) as file:
        found = AnnotationsByImage(file, [file.images[2], file.images[0]])
        assert [json.loads(text)["id"] for text in found.of_image(0)] == [2, 6, 10]
        assert [json.loads(text)["id"] for text in found.of_image(1)] == [0, 4, 8]
        assert (found.count(0), found.count(1)) == (3, 3)
        assert found.remarks == {
            "annotation of an image that is not listed": 3
        }  # image 1 is known, only not wanted


def test_what_is_no_annotation_is_counted_by_reason(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text().replace(
        '"annotations": []',
        '"annotations": [null, {"id": 1, "image_id": 1}, null, {"id": 2, "image_id": 1}, null, '
        '{"id": 3, "image_id": 1}, 5, "x", {"id": 4}, {"id": 5 "image_id" 1}, [1, {"a": 2}]]',
    )
    path.write_text(text)
    with AnnotationFiles([path]) as file:
        found = AnnotationsByImage(file, file.images)
        assert found.count(0) == 3
    assert found.remarks == {
        "annotation is not an object": 5,
        "annotation is a list, nested once too often": 1,
        "annotation is not valid JSON": 1,
        "annotation without an image_id": 1,
    }


def test_annotations_in_a_list_of_their_own_are_an_error_by_name(tmp_path: Path) -> None:
    rows = [{"id": n, "image_id": 1, "category_id": 1} for n in range(3)]
    for wrapped in ([rows], [[rows]], [rows, rows]):
        path = write(tmp_path, annotations=wrapped)
        with AnnotationFiles([path]) as file, pytest.raises(ValueError, match="nested once too"):
            AnnotationsByImage(file, file.images)


def test_images_are_in_ascending_order_of_id_numbers_before_texts(tmp_path: Path) -> None:
    path = write(tmp_path, images=list(map(image, [30, "b", "4", 5.0, "a", 100])))
    with AnnotationFiles([path]) as file:
        assert [entry.id for entry in file.images] == [4, 5, 30, 100, "a", "b"]


def test_an_image_entry_that_is_repeated_is_counted_once(tmp_path: Path) -> None:
    rows = [image(1), image("1", file_name="1.jpg", license=3), image(2), image(1)]
    with AnnotationFiles([write(tmp_path, images=rows)]) as file:
        assert [entry.id for entry in file.images] == [1, 2]
        assert file.remarks == {"image entry repeated": 2}


@pytest.mark.parametrize("changes", [{"file_name": "b.jpg"}, {"height": 5}])
def test_two_images_of_one_id_are_an_error_by_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write(tmp_path, images=[image(1), image(1, **changes)])
    with pytest.raises(ValueError, match=r"a\.json: two images have the id 1: '1\.jpg' and"):
        AnnotationFiles([path])


@pytest.mark.parametrize(
    ("entry", "reason", "name"),
    [
        (None, "image entry is not an object", "entry 2 of 'images'"),
        ("photo.jpg", "image entry is not an object", "entry 2 of 'images'"),
        ([], "image entry is not an object", "entry 2 of 'images'"),
        ({"file_name": "a.jpg", "height": 3, "width": 4}, "image entry without an id", "a.jpg"),
        (image(None, file_name="a.jpg"), "image entry without an id", "a.jpg"),
        (image(True, file_name="a.jpg"), "image entry without an id", "a.jpg"),
        (image([2], file_name="a.jpg"), "image entry without an id", "a.jpg"),
        (image(2, file_name=None), "image entry without a file_name", "2"),
        (image(2, file_name=""), "image entry without a file_name", "2"),
        (image(2, file_name=" "), "image entry without a file_name", " "),
        (image(2, file_name=5), "image entry without a file_name", "5"),
        (image(2, file_name=["a"]), "image entry without a file_name", "2"),
        (image(2, height=None), "image height or width is not a positive whole number", "2.jpg"),
        (image(2, height=0), "image height or width is not a positive whole number", "2.jpg"),
        (image(2, width=-4), "image height or width is not a positive whole number", "2.jpg"),
        (image(2, width=4.5), "image height or width is not a positive whole number", "2.jpg"),
        (image(2, width="wide"), "image height or width is not a positive whole number", "2.jpg"),
        (image(2, width=float("nan")), "image height or width is not a positive whole", "2.jpg"),
        (image(2, width=True), "image height or width is not a positive whole number", "2.jpg"),
        (
            image(2, height=2, width=MAX_PIXELS // 2 + 1),
            TOO_LARGE,
            "2.jpg",
        ),
        (
            image(2, width=10**40),
            TOO_LARGE,
            "2.jpg",
        ),
        (
            image(2, width=1e300),
            TOO_LARGE,
            "2.jpg",
        ),
    ],
)
def test_an_unusable_image_entry_is_skipped_alone_with_its_reason(
    tmp_path: Path, entry: Any, reason: str, name: str
) -> None:
    with AnnotationFiles([write(tmp_path, images=[image(1), entry])]) as file:
        assert [found.id for found in file.images] == [1]
        assert len(file.skipped_images) == 1
        assert file.skipped_images[0][0] == name
        assert file.skipped_images[0][1].startswith(reason)


def test_sizes_are_read_as_text_and_as_whole_floats_and_up_to_the_limit(tmp_path: Path) -> None:
    rows = [image(1, height="3", width=4.0), image(2, height=1, width=MAX_PIXELS)]
    with AnnotationFiles([write(tmp_path, images=rows)]) as file:
        assert [(entry.height, entry.width) for entry in file.images] == [(3, 4), (1, MAX_PIXELS)]


def test_categories_are_in_ascending_order_of_id(tmp_path: Path) -> None:
    rows = [{"id": "10", "name": "c"}, {"id": 9, "name": "b"}, {"id": 0, "name": "a"}]
    rows.append({"id": 9.0, "name": "b"})  # the same again
    with AnnotationFiles([write(tmp_path, categories=rows)]) as file:
        assert list(file.categories[0].items()) == [(0, "a"), (9, "b"), (10, "c")]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"categories": [CATEGORY, {"id": 1, "name": "dog"}]}, "two categories have the id 1"),
        ({"categories": []}, "'categories' is empty"),
        ({"categories": [{"id": 1}]}, "a category without id or name"),
        ({"categories": [{"name": "dog"}]}, "a category without id or name"),
        ({"categories": ["dog"]}, "a category without id or name"),
        ({"categories": {"1": "dog"}}, "expected a list 'categories' .*got a dict"),
        ({"images": None}, "expected a list 'images' .*got a NoneType"),
        ({"annotations": {"1": {}}}, "expected a list 'annotations' .*got a dict"),
        ({"annotations": [1, None]}, "'annotations' holds no objects"),
    ],
)
def test_a_file_without_usable_lists_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, lists: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"a\.json: .*{message}"):
        AnnotationFiles([write(tmp_path, **lists)])


@pytest.mark.parametrize("missing", ["images", "annotations", "categories"])
def test_a_missing_list_is_an_error_by_name(tmp_path: Path, missing: str) -> None:
    path = write(tmp_path)
    data = json.loads(path.read_text())
    del data[missing]
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=rf"a\.json: expected a list '{missing}'.*got none"):
        AnnotationFiles([path])


def test_captions_which_have_no_categories_are_called_so(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[{"id": 1, "image_id": 1, "caption": "A dog."}])
    data = json.loads(path.read_text())
    del data["categories"]
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"'categories'.*first annotation is a caption"):
        AnnotationFiles([path])
