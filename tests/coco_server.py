"""A web server on the loopback with the layout of COCO's, and with the faults of any server."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

ANNOTATIONS = "annotations/annotations_trainval2017.zip"


def photo_bytes(number: int, height: int, width: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def annotations_of(images: list[dict[str, Any]]) -> bytes:
    rows = [
        {
            "id": number,
            "image_id": image["id"],
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": [[2, 2, 12, 2, 12, 12, 2, 12]],
        }
        for number, image in enumerate(images, 1)
    ]
    categories = [{"id": 1, "name": "person"}]
    return json.dumps({"images": images, "annotations": rows, "categories": categories}).encode()


def coco_files(train: int = 12, val: int = 4) -> dict[str, bytes]:
    """What the server has, by path; the ids of photographs do not ascend in the annotation file."""
    files: dict[str, bytes] = {}
    members: dict[str, bytes] = {"annotations/captions_val2017.json": b"{}"}
    for split, count in (("train2017", train), ("val2017", val)):
        images, photos = [], {}
        for number in range(count):
            height, width = 20 + number, 30 + number
            name = f"{number + 1:012d}.jpg"
            size = {"height": height, "width": width}
            images.append({"id": number + 1, "file_name": name, **size})
            photos[f"{split}/{name}"] = photo_bytes(number, height, width)
        members[f"annotations/instances_{split}.json"] = annotations_of(images[::-1])
        files |= photos
        files[f"zips/{split}.zip"] = zip_of(photos)
    files[ANNOTATIONS] = zip_of(members, zipfile.ZIP_DEFLATED)
    return files


class CocoServer(ThreadingHTTPServer):
    """Attributes: files by path, what is asked for, and how it is answered.

    ``fault`` is told a path and how often it was asked for before, and names what goes wrong:
    "cut", "longer", "shorter", "silent", "slow", "html", a status, or nothing.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.ranges = True
        self.fault: Callable[[str, int], str] = lambda path, times: ""
        self.asked: list[tuple[str, str | None]] = []  # path and range
        self.times: Counter[str] = Counter()
        self.chance = np.random.default_rng(0)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: CocoServer

    def do_GET(self) -> None:
        path = self.path.removeprefix("http://coco.invalid").lstrip("/")  # as of a proxy
        asked = self.headers["Range"]
        with self.server.lock:
            fault = self.server.fault(path, self.server.times[path])
            self.server.times[path] += 1
            self.server.asked.append((path, asked))
            cut = float(self.server.chance.random())
        with suppress(OSError):  # whoever asked may be dead
            self._answer(self.server.files.get(path), asked, fault, cut)

    def _answer(self, data: bytes | None, asked: str | None, fault: str, cut: float) -> None:
        if fault == "silent":
            time.sleep(1)
            return
        if data is None or fault.isdigit():
            self.send_error(int(fault or 404))
            return
        if fault == "html":
            data, asked = b"<html>Please log in</html>", None
        start = 0
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        length = {"longer": 2 * len(body), "shorter": len(body) // 2}.get(fault, len(body))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault == "cut":
            body = body[: int(cut * len(body))]
        step = 400 if fault == "slow" else len(body) or 1
        for at in range(0, len(body), step):
            self.wfile.write(body[at : at + step])
            time.sleep(0.002 * (fault == "slow"))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[CocoServer]:
    server = CocoServer(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
