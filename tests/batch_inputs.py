"""Inputs of batch runs, made by the tests: the same images as files, tars, and Parquet of bytes and of paths."""

from __future__ import annotations

import io
import json
import random
import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image, ImageDraw
from pyarrow import dataset, parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pytest

Images = dict[str, bytes]


def drawings(count: int, seed: int = 0) -> Images:
    """Small JPEGs, no two alike, by name."""
    draw = random.Random(seed)
    made = {}
    for index in range(count):
        image = Image.new("RGB", (48, 40), tuple(draw.randrange(256) for _ in range(3)))
        corners = sorted(draw.randrange(40) for _ in range(4))
        ImageDraw.Draw(image).ellipse(corners, fill=tuple(draw.randrange(256) for _ in range(3)))
        data = io.BytesIO()
        image.save(data, "JPEG")
        made[f"{index:04d}.jpg"] = data.getvalue()
    return made


def tar(images: Images, mode: str = "w", **texts: str) -> bytes:
    """A WebDataset tar of the images; each keyword is one more member of every sample."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=mode) as archive:
        for name, data in images.items():
            key = name.rpartition(".")[0]
            add(archive, name, data)
            for extension, text in texts.items():
                add(archive, f"{key}.{extension}", text.replace("KEY", key).encode())
    return written.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def table(columns: dict[str, Any], path: Path, rows: int | None = None) -> Path:
    """Write a Parquet file, `rows` a row group."""
    parquet.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def shards(images: Images, size: int) -> Iterator[Images]:
    names = list(images)
    for start in range(0, len(names), size):
        yield {name: images[name] for name in names[start : start + size]}


def rows_of(output: str | Path, filesystem: Any = None) -> list[dict[str, Any]]:
    """All rows of a run's output, as a data scientist reads them."""
    return (
        dataset.dataset(str(output), format="parquet", filesystem=filesystem).to_table().to_pylist()
    )


def scores(row: dict[str, Any]) -> dict[str, tuple[float, float, float, bool]]:
    """One row's numbers by label, of a part or of `siglip classify --format jsonl`."""
    return {
        each["label"]: (each["score"], each["softmax"], each["logit"], each["tag"])
        for each in row["labels"]
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, made where it is not there, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def store_credentials(patch: pytest.MonkeyPatch) -> None:
    """Give clients of an object store what they ask for, and no way to ask elsewhere."""
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@contextmanager
def s3_server(failing: float = 0.0, failed: list[str] | None = None) -> Iterator[str]:
    """An object store on this machine; yields what follows `s3://bucket/…` to reach it.

    It answers 500 or 503 to this part of all requests, drawn with a seed; `failed` collects their paths.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    draw, lock = random.Random(0), threading.Lock()

    def answer(environ: Any, start: Any) -> Any:
        with lock:
            fails = draw.random() < failing
            status = draw.choice(["500 Internal Server Error", "503 Slow Down"])
        if not fails:
            return app(environ, start)
        if failed is not None:
            failed.append(environ["PATH_INFO"])
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(status, [("Content-Type", "application/xml"), ("Content-Length", "0")])
        return [b""]

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = f"127.0.0.1:{server.server_port}"
    try:
        yield f"?endpoint_override={where}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def upload(query: str, files: dict[str, bytes]) -> Any:
    """Put files into the store, `bucket/key` → bytes, and return its file system."""
    from pyarrow import fs

    store, _ = fs.FileSystem.from_uri(f"s3://bucket/{query}")
    for bucket in {name.partition("/")[0] for name in files}:
        store.create_dir(bucket)
    for name, data in files.items():
        with store.open_output_stream(name) as stream:
            stream.write(data)
    return store


def jsonl(text: str) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
