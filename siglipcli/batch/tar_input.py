"""WebDataset tars → rows: plain, .gz and .zst, read once from start to end.

Members belong together where all before the first dot of the base name (folders included) is the same and they
follow each other; the rest of the name is the extension. Source: the WebDataset format,
https://github.com/webdataset/webdataset (`base_plus_ext`).
"""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import zlib
from typing import TYPE_CHECKING, Any, cast

from siglipcli.arguments import InMemory
from siglipcli.batch.errors import libraries
from siglipcli.batch.rows import Row
from siglipcli.batch.storage import translated
from siglipcli.batch.uris import split
from siglipcli.errors import StorageError, UsageError
from siglipcli.inputs import IMAGE_ENDINGS
from siglipcli.results import Failure
from siglipcli.text import utf8, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from siglipcli.batch.shards import Job, Shard

__all__ = ["ENDINGS", "check_keep", "rows"]

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd")
"""What a tar's name ends in."""
_NAME = re.compile(r"((?:.*/|)[^./][^./]*)[.]([^/]*)", re.DOTALL)
_EXTENSIONS = frozenset(ending.removeprefix(".") for ending in IMAGE_ENDINGS)
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError)
_LARGE_TEXT = 16 << 20


class _CutError(Exception):
    """The archive ends, or makes no sense, before its end marker."""


class _Header(tarfile.TarInfo):
    """A member's header; what is none ends the archive with an error, where tarfile would stop in silence."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if len(buf) < tarfile.BLOCKSIZE:
            raise _CutError("the archive ends without its end marker")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise _CutError(f"a header is damaged ({error})") from error
            raise  # the end marker


class _Raw:
    """A store's stream; what goes wrong in reading it is a StorageError, told from damage in what was read."""

    def __init__(self, stream: BinaryIO, uri: str) -> None:
        self._stream = stream
        self._uri = uri
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        with translated(self._uri):
            return self._stream.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def check_keep(keep: tuple[str, ...]) -> None:
    """Raise UsageError for a member to keep that is the image itself: only texts are kept beside it."""
    for name in keep:
        if name.lower() in _EXTENSIONS:
            raise UsageError(f"the member {name!r} is an image, and only texts are kept beside it.")


def rows(job: Job, shard: Shard) -> Iterator[Row]:
    """Yield a tar's samples in order; where it is cut, one failed row for the rest. Raises StorageError."""
    with job.storage.stream(shard.where) as stream:
        samples = _Samples(job)
        try:
            opened = _decompressed(_Raw(stream, shard.where), shard.where)
            with tarfile.open(fileobj=opened, mode="r|", tarinfo=_Header) as archive:
                for member in archive:
                    yield from samples.add(archive, member)
                    archive.members = []  # type: ignore[attr-defined]  # it remembers every header
        except StorageError:
            raise
        except (*_DAMAGE, _CutError) as error:
            yield from samples.end(is_cut=True)
            yield _rest(job, shard, error)
            return
        yield from samples.end()


def _decompressed(raw: _Raw, uri: str) -> Any:
    name = split(uri)[2].lower()
    if name.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=cast("BinaryIO", raw))
    if name.endswith((".zst", ".zstd")):
        pa, _, _ = libraries()
        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    return raw


def _rest(job: Job, shard: Shard, error: Exception) -> Row:
    name = shard.where.rpartition("/")[2]
    message = (
        f"The tar cannot be read to its end: {visible(str(error))}. What comes after is missing."
    )
    return Row(Failure(name, "truncated", message), (None,) * len(job.keep), is_cut=True)


class _Samples:
    """Puts members together to samples."""

    def __init__(self, job: Job) -> None:
        self._keep = job.keep
        self._wanted = {
            name.partition(".")[0] if name.startswith("json.") else name for name in job.keep
        }
        self._limit = job.load_options.limits.max_bytes
        self._key: str | None = None
        self._image: bytes | Failure | None = None
        self._is_plain = False  # whether the image's whole extension is one: `jpg`, not `seg.png`
        self._texts: dict[str, bytes] = {}

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Row]:
        """Take a member, and yield the sample before it where it begins another."""
        match = _NAME.fullmatch(member.name.removeprefix("./"))
        if not match or not member.isfile():
            return
        key, extension = match[1], match[2].lower()
        if key.rpartition("/")[2].startswith("__") and key.endswith("__"):  # WebDataset's own notes
            return
        if key != self._key:
            yield from self.end()
            self._key = key
        if extension in self._wanted and member.size <= _LARGE_TEXT:
            self._texts[extension] = _content(archive, member)
        elif extension.rpartition(".")[2] in _EXTENSIONS:
            self._take_image(archive, member, is_plain="." not in extension)

    def _take_image(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, *, is_plain: bool
    ) -> None:
        if self._image is not None and (self._is_plain or not is_plain):
            return
        self._is_plain = is_plain
        if member.size > self._limit:
            message = f"The file is larger than {self._limit >> 20:,} MiB."
            self._image = Failure(str(self._key), "too_large", message)
            return
        self._image = _content(archive, member)

    def end(self, *, is_cut: bool = False) -> Iterator[Row]:
        """Yield the sample that is complete, if there is one; where the tar is cut, only one that has its image."""
        key, image, texts = self._key, self._image, self._texts
        self._key, self._image, self._texts = None, None, {}
        if key is None or (is_cut and image is None):
            return
        kept = tuple(_kept(name, texts) for name in self._keep)
        if image is None:
            image = Failure(key, "no_image", "This sample has no member that is an image.")
        yield Row(image if isinstance(image, Failure) else InMemory(key, image), kept)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:  # tarfile gives what is there
        raise _CutError(f"{visible(member.name)} ends early")
    return data


def _kept(name: str, texts: dict[str, bytes]) -> str | None:
    """Return a member's text, or what `json.a.b` leads to in the JSON member: text as it is, all else as JSON."""
    member = "json" if name.startswith("json.") else name
    if member not in texts:
        return None
    text = texts[member].decode("utf-8", "replace")
    if member == name:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for step in name.split(".")[1:]:
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        return None
    return utf8(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
