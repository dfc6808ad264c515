"""Object stores and folders, through pyarrow.fs: names, reading, listing, and files that appear whole.

A URI is `s3://`, `gs://`, `abfs://`, `hdfs://` as pyarrow takes them (region, endpoint_override and the like in
its query), a path, or any scheme that an installed fsspec file system knows. Credentials come from the
environment, as each store's client takes them; those in a URI stay in memory: `redacted` is what records,
messages and parts of the output hold.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from siglipcli.batch.errors import libraries, storage_error
from siglipcli.batch.uris import ARROW, LOCAL, host, redacted, split
from siglipcli.errors import MissingExtraError, SiglipError, StorageError, UsageError
from siglipcli.text import raw_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TEMPORARY", "Entry", "Folder", "Location", "Storage", "patiently", "translated"]

T = TypeVar("T")

TEMPORARY = "_temporary"
_WHOLE = {
    "s3",
    "gcs",
    "abfs",
}  # stores where an object appears when its upload ends, and not before
_COPY = 8 << 20
_PAUSES = (0.5, 2.0)  # seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a listing: its name, whether it is a folder, its bytes (-1: not known)."""

    name: str
    is_folder: bool
    size: int = -1


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file system of pyarrow: `path` is what that file system takes."""

    fs: Any = field(repr=False)
    path: str


@lru_cache(maxsize=64)
def _open(scheme: str, authority: str, query: str) -> tuple[Any, str]:
    """Return a store's file system, and what comes before a path in it."""
    _, fs, _ = libraries()
    if scheme in LOCAL:
        return fs.LocalFileSystem(), "/" if scheme else ""
    where = f"{scheme}://{host(scheme, authority)}"
    try:
        if scheme in ARROW:
            opened, base = fs.FileSystem.from_uri(
                f"{scheme}://{authority}/" + (f"?{query}" if query else "")
            )
        else:
            opened, base = _of_fsspec(scheme, query), authority
    except UsageError:
        raise
    except (
        _arrow_error(),
        OSError,
        ValueError,
        TypeError,
    ) as error:  # it may quote the URI, credentials too
        names = ", ".join(part.partition("=")[0] for part in query.split("&")) or "none"
        raise UsageError(
            f"{where} cannot be opened ({type(error).__name__}). Check its options: {names}."
        ) from None
    return opened, f"{base.rstrip('/')}/"


def _arrow_error() -> type[Exception]:
    error: type[Exception] = libraries()[0].ArrowException
    return error


def _of_fsspec(scheme: str, query: str) -> Any:
    _, fs, _ = libraries()
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(f"{scheme}://", library="fsspec", extra="ray") from error
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"{scheme}:// is not a store that pyarrow or the installed fsspec knows: {error}."
        ) from error
    pairs = (part.partition("=") for part in query.split("&") if part)
    return fs.PyFileSystem(fs.FSSpecHandler(kind(**{name: value for name, _, value in pairs})))


@dataclass(frozen=True, slots=True)
class Storage:
    """Opens what a run names: `roots` are its URIs as typed, whose options hold for all of a store."""

    roots: tuple[str, ...] = field(default=(), repr=False)

    def at(self, uri: str) -> Location:
        """Return where a URI, with or without its options, leads. Raises UsageError."""
        scheme, authority, path, query = split(uri)
        if not query and "@" not in authority:
            authority, query = self._options(scheme, authority)
        fs, base = _open(scheme, authority, query)
        return Location(fs, base + path)

    def _options(self, scheme: str, authority: str) -> tuple[str, str]:
        """Return the authority and the query that the store's URIs were typed with, of the first that has any."""
        same = (split(root) for root in self.roots)
        typed = [
            (full, query)
            for other, full, _, query in same
            if other == scheme and host(scheme, full) == host(scheme, authority)
        ]
        return next((pair for pair in typed if pair[1] or "@" in pair[0]), (authority, ""))

    def endpoint(self, uri: str) -> str:
        """Return the server that a store's URIs name, "" where that is the usual one."""
        scheme, authority, _, query = split(uri)
        options = (query or self._options(scheme, authority)[1]).split("&") if scheme else []
        return next(
            (o.partition("=")[2] for o in options if o.startswith("endpoint_override=")), ""
        )

    def open(self, uri: str) -> BinaryIO:
        """Open a file to read it at any place. Raises StorageError."""
        place = self.at(uri)
        with translated(uri):
            if _is_odd(place):
                return open(place.path, "rb")  # noqa: PTH123
            return cast("BinaryIO", place.fs.open_input_file(place.path))

    def stream(self, uri: str) -> BinaryIO:
        """Open a file to read it from start to end. Raises StorageError."""
        place = self.at(uri)
        with translated(uri):
            if _is_odd(place):
                return open(place.path, "rb")  # noqa: PTH123
            return cast(
                "BinaryIO",
                place.fs.open_input_stream(place.path, compression=None, buffer_size=1 << 20),
            )

    def read(self, uri: str) -> bytes:
        """Return a file's bytes. Raises StorageError."""
        with translated(uri), self.stream(uri) as file:
            return file.read()

    def kind(self, uri: str) -> str:
        """Return `file`, `folder` or `missing`. Raises StorageError."""
        _, fs, _ = libraries()
        place = self.at(uri)
        with translated(uri):
            info = place.fs.get_file_info(place.path.rstrip("/") or "/")
        names = {fs.FileType.NotFound: "missing", fs.FileType.Directory: "folder"}
        return names.get(info.type, "file")

    def entries(self, uri: str) -> list[Entry]:
        """Return what is directly in a folder, in the order of names. Raises StorageError."""
        _, fs, _ = libraries()
        place = self.at(uri)
        selector = fs.FileSelector(place.path.rstrip("/") or ".", allow_not_found=True)
        with translated(uri):
            infos = place.fs.get_file_info(selector)
        entries = [
            Entry(info.base_name, info.type == fs.FileType.Directory, info.size or 0)
            for info in infos
            if info.base_name
        ]
        return sorted(entries, key=lambda entry: entry.name)

    def file_names(self, uri: str) -> Iterator[str]:
        """Yield the names of the files directly in a folder, in any order. Raises StorageError."""
        _, fs, _ = libraries()
        place = self.at(uri)
        selector = fs.FileSelector(place.path.rstrip("/") or ".", allow_not_found=True)
        with translated(uri):
            infos = place.fs.get_file_info(selector)
        return (info.base_name for info in infos if info.type == fs.FileType.File)


class Folder:
    """The output of a run: small notes and large parts, each of which appears whole or not at all."""

    def __init__(self, uri: str, storage: Storage | None = None) -> None:
        self.uri = uri
        self._storage = storage or Storage((uri,))
        scheme, authority, path, query = split(uri)
        start = f"{scheme}://{authority}/" if scheme else ""
        self._under = (start, path.rstrip("/"), query)

    def __str__(self) -> str:
        return redacted(self.uri).rstrip("/") or "/"

    def at(self, name: str) -> str:
        """Return the URI of something in the folder; of the folder itself for no name."""
        start, path, query = self._under
        below = f"{path}/{name}" if name else path
        return f"{start}{below.removeprefix('/') if start else below}" + (
            f"?{query}" if query else ""
        )

    def names(self, folder: str = "") -> Iterator[str]:
        """Yield the names of the files in it, in any order; nothing for one that is not there."""
        place = self._storage.at(self.at(folder))
        if _type(place.fs) == "local":
            return _local_names(place.path)
        return self._storage.file_names(self.at(folder))

    def has(self, name: str) -> bool:
        """Whether there is a file of this name. Raises StorageError."""
        return patiently(lambda: self._storage.kind(self.at(name)) == "file")

    def read(self, name: str) -> bytes | None:
        """Return a small file's bytes; None where there is none. Raises StorageError."""
        try:
            return patiently(lambda: self._storage.read(self.at(name)))
        except StorageError as error:
            if error.is_missing:
                return None
            raise

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it at any place. Raises StorageError."""
        return self._storage.open(self.at(name))

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write a small file, whole. Raises StorageError."""

        def write() -> None:
            with self.put(name, durable=durable) as file:
                file.write(data)

        patiently(write)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one; of two at once, only one succeeds locally. Raises StorageError."""
        place = self._storage.at(self.at(name))
        if _type(place.fs) == "local":
            with translated(self.at(name)):
                os.makedirs(place.path.rpartition("/")[0] or ".", exist_ok=True)  # noqa: PTH103
                try:
                    with open(place.path, "xb") as file:  # noqa: PTH123
                        file.write(data)
                except FileExistsError:
                    return False
                return True
        if self.has(name):
            return False
        self.write(name, data)
        return True

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is no error. Raises StorageError."""
        place = self._storage.at(self.at(name))

        def delete() -> None:
            with translated(self.at(name)):
                place.fs.delete_file(place.path)

        try:
            patiently(delete)
        except StorageError as error:
            if not error.is_missing:
                raise

    def clear(self, name: str) -> None:
        """Delete a folder in it with all that it holds, as far as that can be done."""
        place = self._storage.at(self.at(name))
        if _type(place.fs) not in _WHOLE:  # where there are no folders
            with suppress(OSError):
                place.fs.delete_dir(place.path)

    @contextmanager
    def put(self, name: str, *, durable: bool = True) -> Iterator[BinaryIO]:
        """Lend a file; what was written becomes `name` in one step when the block ends well.

        `durable`: a local one is on the disk by then, which a note that is soon deleted need not be.

        A local one is written beside it and renamed. An object store gets the finished file in one upload,
        which shows nothing before its end; other stores rename too. Raises StorageError.
        """
        place = self._storage.at(self.at(name))
        if _type(place.fs) == "local":
            drafts = self._storage.at(self.at(TEMPORARY)).path
            with translated(self.at(name)), _renamed(place.path, drafts, durable=durable) as file:
                yield file
            return
        with tempfile.TemporaryFile() as file:
            yield cast("BinaryIO", file)
            file.seek(0)
            with translated(self.at(name)):
                self._upload(cast("BinaryIO", file), place, name)

    def _upload(self, file: BinaryIO, place: Location, name: str) -> None:
        if _type(place.fs) in _WHOLE:
            _copy(file, place)
            return
        draft = self._storage.at(self.at(f"{TEMPORARY}/{secrets.token_hex(8)}"))
        for path in (draft.path, place.path):
            place.fs.create_dir(path.rpartition("/")[0], recursive=True)
        _copy(file, draft)
        if self._storage.kind(self.at(name)) == "file":
            place.fs.delete_file(place.path)
        place.fs.move(draft.path, place.path)


def patiently(call: Callable[[], T]) -> T:
    """Call, and again after pauses where a store fails; its own client has tried a few times already."""
    for pause in _PAUSES:
        try:
            return call()
        except StorageError as error:
            if error.is_final:
                raise
            time.sleep(pause)
    return call()


def _is_odd(place: Location) -> bool:
    """Whether a local name is not UTF-8, which pyarrow cannot open."""
    return _type(place.fs) == "local" and raw_name(place.path) is not None


def _type(fs: Any) -> str:
    return str(fs.type_name)


def _local_names(path: str) -> Iterator[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        yield from (entry.name for entry in entries if not entry.is_dir())


@contextmanager
def _renamed(path: str, drafts: str, *, durable: bool) -> Iterator[BinaryIO]:
    folder, _, name = path.rpartition("/")
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    os.makedirs(drafts, exist_ok=True)  # noqa: PTH103
    draft = os.path.join(drafts, f"{name}.{secrets.token_hex(4)}")  # noqa: PTH118
    try:
        with open(draft, "xb") as file:  # noqa: PTH123
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(draft, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)  # noqa: PTH108
        raise


def _copy(file: BinaryIO, place: Location) -> None:
    with place.fs.open_output_stream(place.path, compression=None) as stream:
        shutil.copyfileobj(file, stream, _COPY)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what a store says into a StorageError that names the file and holds no credential."""
    try:
        yield
    except SiglipError:
        raise
    except (OSError, _arrow_error()) as error:
        raise storage_error(redacted(uri), error) from None
    except Exception as error:
        if split(uri)[0] in (*ARROW, *LOCAL):
            raise
        raise storage_error(
            redacted(uri), error, is_final=False
        ) from None  # fsspec's clients raise their own
