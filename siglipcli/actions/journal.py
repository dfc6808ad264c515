"""The journal of a destination: what each run is about to do, on the disk before it is done.

A file of JSON lines beside what it tells of. A run begins with `run` and ends with `end`; between them stand
`folder` (one that is about to be made) and `move`, `copy`, `link` and `symlink` (a file that is about to be
put somewhere). `undoing` says that runs are about to be taken back, `undone` that they were, but for the groups
in `left`. Places in the destination are relative to the journal, so that
both may be moved together; where files came from is absolute. The files themselves show what became of a line.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli import __version__
from siglipcli.errors import OutputError, UsageError
from siglipcli.text import named, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from io import FileIO

__all__ = ["NAME", "Entry", "Journal", "Run", "groups", "opened", "origins", "read", "sync_folder"]

NAME = ".siglip-moves.jsonl"
FOLDER = "folder"
KINDS = ("move", "copy", "link", "symlink")
_NUMBERS = ("group", "size", "mtime_ns", "ctime_ns", "inode", "mode")


@dataclass(frozen=True, slots=True)
class Entry:
    """One step: `kind` (folder, move, copy, link, symlink), where from (absolute), where to (relative).

    The rest is the file's state before the step: `size` in bytes, times in ns, `digest` of a file that is
    moved (see `actions.steps`). `group`: an image and what belongs to it have one number within a run.
    """

    kind: str
    target: str
    source: str = ""
    group: int = 0
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    mode: int = 0
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the line."""
        line: dict[str, Any] = {"do": self.kind, **named(self.target, "to")}
        if self.kind == FOLDER:
            return line
        state = {name: getattr(self, name) for name in (*_NUMBERS, "digest")}
        return line | named(self.source, "from") | state

    @classmethod
    def of(cls, line: dict[str, Any]) -> Entry:
        """Return what a line says. Raises KeyError, TypeError or ValueError for one that says nothing."""
        kind = line["do"]
        target = _name(line, "to")
        if os.path.isabs(target) or ".." in Path(target).parts:  # noqa: PTH117
            raise ValueError(target)
        if kind == FOLDER:
            return cls(kind, target)
        if kind not in KINDS:
            raise ValueError(kind)
        numbers = {name: int(line[name]) for name in _NUMBERS}
        return cls(kind, target, _name(line, "from"), **numbers, digest=str(line["digest"]))


def _name(line: dict[str, Any], name: str) -> str:
    raw = line.get(f"{name}_bytes")
    value = line[name] if raw is None else os.fsdecode(base64.b64decode(raw, validate=True))
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(value)
    return value


@dataclass(slots=True)
class Run:
    """What one run was about to do, in order."""

    name: str
    started: str
    entries: list[Entry] = field(default_factory=list)
    has_ended: bool = False
    is_undoing: bool = False

    @property
    def files(self) -> list[Entry]:
        """The steps that put a file somewhere."""
        return [entry for entry in self.entries if entry.kind != FOLDER]

    @property
    def folders(self) -> list[str]:
        """The folders that it made."""
        return [entry.target for entry in self.entries if entry.kind == FOLDER]

    def keep(self, groups: Iterable[int]) -> None:
        """Keep only what an undo could not take back."""
        kept = set(groups)
        self.entries = [e for e in self.entries if e.kind == FOLDER or e.group in kept]
        self.has_ended, self.is_undoing = True, False


class Journal:
    """An open journal, which no other run writes meanwhile."""

    def __init__(self, path: Path, file: FileIO, runs: list[Run]) -> None:
        self.path = path
        self.runs = runs
        self._file = file
        self._begun: list[dict[str, Any]] = []  # what stands before the first step of this run
        self._groups = count(1)

    @property
    def folder(self) -> Path:
        """The destination."""
        return self.path.parent

    def begin(self, action: str, entries: Sequence[Entry] = ()) -> None:
        """Begin a run, which has made what `entries` say; it is written with its first step."""
        run = Run(secrets.token_hex(4), time.strftime("%Y-%m-%dT%H:%M:%S%z"), list(entries))
        self.runs.append(run)
        self._groups = count(1)
        about = {"action": action, "version": __version__}
        begun = {"do": "run", "run": run.name, "started": run.started, **about}
        self._begun = [begun, *(entry.to_dict() for entry in entries)]

    def new_group(self) -> int:
        """Return the number of another group of this run."""
        return next(self._groups)

    def intend(self, entries: Iterable[Entry]) -> None:
        """Put steps on the disk, before they are done. Raises OutputError."""
        steps = list(entries)
        if steps:
            self.runs[-1].entries += steps
            self._write([*self._begun, *(entry.to_dict() for entry in steps)])
            self._begun = []

    def end(self) -> None:
        """Say that the run came to its end; of one without a step nothing is kept, nor what it made."""
        run = self.runs[-1]
        run.has_ended = True
        if not self._begun:
            self._write([{"do": "end", "run": run.name}])
            return
        self.runs.remove(run)
        if not self.runs:
            self.remove(with_folder=bool(run.entries))

    def start_undo(self, runs: list[Run]) -> None:
        """Say that runs are about to be taken back. Raises OutputError."""
        self._write([{"do": "undoing", "runs": [run.name for run in runs]}])

    def take_back(self, runs: list[Run], left: dict[str, list[int]]) -> None:
        """Say that runs are undone, but for the groups that are `left` of each. Raises OutputError."""
        for run in runs:
            run.keep(left.get(run.name, ()))
        self.runs = [run for run in self.runs if run not in runs or run.files]
        line: dict[str, Any] = {"do": "undone", "runs": [run.name for run in runs]}
        self._write([line | ({"left": left} if left else {})])

    def remove(self, *, with_folder: bool) -> None:
        """Delete the journal where that can be, and the destination too where it is empty then and `with_folder`."""
        if sys.platform == "win32":  # an open file cannot be deleted there
            self._file.close()
        with suppress(OSError):
            self.path.unlink()
            if with_folder:
                self.folder.rmdir()

    def _write(self, lines: list[dict[str, Any]]) -> None:
        data = b"".join(json.dumps(line, ensure_ascii=True).encode() + b"\n" for line in lines)
        start = self._file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # half a line would spoil the next
                self._file.truncate(start)
            raise _unwritable(self.path, error) from error


@contextmanager
def opened(path: Path, *, must_exist: bool = False) -> Iterator[Journal]:
    """Open a journal for one run, made where there is none; a torn last line is cut off.

    Raises UsageError where another run has it or it cannot be understood, OutputError where it cannot be
    written.
    """
    try:
        file = path.open("r+b" if must_exist else "a+b", buffering=0)
    except FileNotFoundError:
        raise UsageError(f"There is no journal {visible(str(path))}.") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        _lock(file, path)
        try:
            file.seek(0)
            data = file.read()
            runs = _runs(data, path)
            if (whole := data.rfind(b"\n") + 1) < len(data):
                file.truncate(whole)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _unwritable(path, error) from error
        sync_folder(path.parent)
        yield Journal(path, file, runs)


def read(path: Path) -> list[Run]:
    """Return the runs that are not undone, oldest first; none where there is no journal. Raises UsageError."""
    try:
        return _runs(path.read_bytes(), path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read {visible(str(path))}: {error.strerror}") from error


def origins(runs: Sequence[Run], folder: Path) -> dict[str, Entry]:
    """Return place → the step that put a file there, of groups that were on their way when a run was killed.

    Those that came in whole vouch for no other file: a second card's IMG_1.heic is another shot than the
    IMG_1.jpg of an earlier run.
    """
    by_place: dict[str, Entry] = {}
    for run in takewhile(lambda run: not run.has_ended, reversed(runs)):
        for group in groups(run.files):
            if not all(os.path.lexists(folder / entry.target) for entry in group):
                by_place.update({entry.target: entry for entry in group})
    return by_place


def groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the steps of each group, in order."""
    return [list(group) for _, group in groupby(entries, lambda entry: entry.group)]


def _runs(data: bytes, path: Path) -> list[Run]:
    runs: dict[str, Run] = {}
    current = Run("", "")
    *lines, _torn = data.split(b"\n")  # what stands behind the last newline was never acted upon
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if line["do"] == "run":
                current = runs[line["run"]] = Run(str(line["run"]), str(line["started"]))
            elif line["do"] == "end":
                runs[line["run"]].has_ended = True
            elif line["do"] == "undoing":
                for name in line["runs"]:
                    runs[name].is_undoing = True
            elif line["do"] == "undone":
                _keep(runs, line["runs"], line.get("left", {}))
            else:
                current.entries.append(Entry.of(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError(
                f"{visible(str(path))}:{number}: not a line of a journal that siglip writes.",
                code="damaged_journal",
            ) from None
    return list(runs.values())


def _keep(runs: dict[str, Run], names: list[str], left: dict[str, list[int]]) -> None:
    for name in names:
        runs[name].keep(map(int, left.get(name, ())))
        if not runs[name].files:
            del runs[name]


def _lock(file: FileIO, path: Path) -> None:
    """Keep other runs out for as long as the file is open, however this process ends; not on Windows."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"Another run is at work in {visible(str(path.parent))}. Wait until it ends."
        ) from None
    except OSError:  # a file system without locks
        return


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk, where a folder can be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"write error: {visible(str(path))}: {error.strerror or error}. Nothing more was moved."
    )
