"""Objects found by their offsets, against json.loads of the whole file."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_annotations
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.coco import json_index
from datasets.coco.json_index import JsonIndex

# Strings that a scanner which does not know strings would trip over.
NASTY = st.text('[]{}",:\\ \n\u00e9\U0001f40d\ud800ab', max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NASTY
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NASTY, VALUES, max_size=4)
LISTS = st.lists(OBJECTS | st.none() | st.integers() | NASTY | st.lists(VALUES, max_size=3))
DOCUMENTS = st.dictionaries(NASTY, LISTS | VALUES, max_size=5)


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values."""
    return json.dumps(left) == json.dumps(right)


def everything(index: JsonIndex) -> dict[str, Any]:
    """The whole document, put together from what the index gives out."""
    return {key: [*index.values(key)] if key in index.lists else index.rest[key]
            for key in index.rest}  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(
    document=DOCUMENTS,
    chunk=st.integers(1, 40),
    block=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
)
def test_any_document_reads_as_json_loads_reads_it(
    document: dict[str, Any],
    chunk: int,
    block: int,
    indent: int | None,
    ascii_only: bool,
    bom: bool,
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    data = text.encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(json_index, "CHUNK", chunk)
        patch.setattr(json_index, "BLOCK", block)
        path = Path(folder) / "a.json"
        path.write_bytes(b"\xef\xbb\xbf" * bom + data)
        index = JsonIndex(path)
        assert same(everything(index), json.loads(data))
        for key, found in index.lists.items():
            texts = [
                index.read(start, stop)
                for start, stop in zip(found.starts.tolist(), found.stops.tolist(), strict=True)
            ]
            brackets = [value for value in document[key] if isinstance(value, dict | list)]
            assert same([json.loads(text) for text in texts], brackets)
            pieces = list(index.blocks(key))
            assert b"".join(piece for _, piece in pieces) == index.read(found.start, found.stop)
        index.close()


def test_offsets_are_those_of_the_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"id": 1}, {"b": "}"}], "info": {"a": {}}, "no": [1, 2]}')
    index = JsonIndex(path)
    assert set(index.lists) == {"images"}
    assert index.lists["images"].starts.tolist() == [12, 23]
    assert index.lists["images"].stops.tolist() == [21, 33]
    assert index.rest == {"images": [], "info": {"a": {}}, "no": [1, 2]}
    assert index.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    index.close()


@pytest.mark.parametrize("chunk", [7, 2**21])
def test_a_file_cut_at_any_byte_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_index, "CHUNK", chunk)
    data = tiny_annotations()
    data["annotations"] = data["annotations"][-2:]
    data["info"] = {"quote": 'a "b" \\', "list": [1, [2]]}
    whole = json.dumps(data).encode()
    path = tmp_path / "cut.json"
    for size in range(0, len(whole), 1 if chunk > 7 else 17):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.json: "):
            JsonIndex(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not a JSON object"),
        (b"   \n", "is not a JSON object"),
        (b"hello", "is not a JSON object, but begins with b'hello'"),
        (b"<!DOCTYPE html>", "is not a JSON object, but begins with b'<!DOCTYPE"),
        (b"\x89PNG\r\n\x1a\n", "is not a JSON object"),
        (b"PK\x03\x04", "is not a JSON object"),
        (b'[{"image_id": 1}]', "starts with a list, as results do"),
        (b'{"images": []} x', "not valid JSON"),
        (b'{"images": []}{}', "more after the first object"),
        (b'{"images": []}}', "not valid JSON"),
        (b'{"images": [{}}]', "not valid JSON"),
        (b'{"images": [{}], }', "not valid JSON"),
        (b'{"images": [{"a": 1}', "ends inside an object or list"),
        (b'{"images": ["abc', "ends inside a string"),
        (b'{"images": ["abc\\"]}', "ends inside a string"),
        (b"{images: [{}]}", "not valid JSON|no key"),
        (b'{"a": [{}], "a": [{}]}', "the key 'a' stands 2 times at the top level"),
        (b'{"a": [{}], "\\u0061": [{}]}', "the key 'a' stands 2 times at the top level"),
        (b'{"a": [], "b": 1, "a": [{}]}', "the key 'a' stands 2 times at the top level"),
        (b'{"a": [{}], "a": []}', "the key 'a' stands 2 times at the top level"),
        (b'{"a": null, "a": [{}], "a": []}', "the key 'a' stands 3 times at the top level"),
        (b'{"a": [], "a": []}', "the key 'a' stands 2 times at the top level"),
        (b'{"\xff": 1}', "not valid JSON"),
        (b'{"a": NUL}', "not valid JSON"),
        (b'{"a": {"b": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}", "not valid JSON"),
    ],
)
def test_what_is_no_json_object_is_an_error_that_says_so(
    tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=rf"bad\.json: .*({message})"):
        JsonIndex(path)


def test_an_object_that_is_not_json_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"images": [{"id": 1}, {"id": x}], "categories": [{"id": 1}]}')
    index = JsonIndex(path)
    assert list(index.values("categories")) == [{"id": 1}]
    with pytest.raises(ValueError, match=r"bad\.json: .*'images'.*from byte 12"):
        list(index.values("images"))
    index.close()


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ('{"images": {"1": {}}}', "a dict"),
        ("{}", "none beside "),
        ('{"a": 1, "b": []}', "none beside 'a', 'b'"),
        ('{"images": "x"}', "a str"),
    ],
)
def test_a_missing_list_is_named_with_what_is_there(tmp_path: Path, text: str, got: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    index = JsonIndex(path)
    with pytest.raises(ValueError, match=rf"a\.json: expected a list 'images'.*got {got}"):
        list(index.values("images"))
    index.close()


def test_a_gzip_file_reads_as_the_file_in_it(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.json", tmp_path / "packed"
    plain.write_text(json.dumps(tiny_annotations()))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, two = JsonIndex(plain), JsonIndex(packed)
    assert same(everything(one), everything(two))
    assert two.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest() != one.sha256
    one.close()
    two.close()


def test_a_damaged_gzip_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(json.dumps(tiny_annotations()).encode()))
    path = tmp_path / "a.json.gz"
    damaged = [whole[:2], whole[:11], whole[:-1], whole[:-9], whole[: len(whole) // 2]]
    for position in (2, 12, len(whole) // 2, len(whole) - 6):
        damaged.append(bytearray(whole))
        damaged[-1][position] ^= 0x55
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.json\.gz: a gzip file that is truncated or"):
            JsonIndex(path)


def test_a_long_run_of_backslashes_at_a_chunks_end_takes_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_index, "CHUNK", 2**18)
    value = "x" * (2**18 - 20) + "\\" * 2**18
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{"name": value}, {"name": '\\"'}]}))
    index = JsonIndex(path)
    assert [image["name"] for image in index.values("images")] == [value, '\\"']
    index.close()


@pytest.mark.parametrize("key", ['a"b', "c\\", "x" * 500, "\u00e9", ""])
def test_a_lists_key_may_be_any_string(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"first": [{}], key: [{"id": 1}]}, indent=300))
    index = JsonIndex(path)
    assert list(index.values(key)) == [{"id": 1}]
    index.close()
