"""The last run of a journal taken back, step by step from its end, wherever it or an undo was stopped.

What became of a step is told by the files themselves, so that it may be asked any number of times. A file that
has changed since is left where it is. With a run go those before it that were stopped before their end: they
are one piece of work.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli.actions import placing
from siglipcli.actions.journal import FOLDER, Entry, Journal, Run
from siglipcli.files import has_own_ctime
from siglipcli.results import Failure
from siglipcli.text import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Restored", "last_runs", "undo"]

_FINE, _COARSE = 100, 2_000_000_000  # ns: what NTFS and FAT round times to


@dataclass(frozen=True, slots=True)
class Restored:
    """One file that is where it was: it was moved from `file` back to `target`, or a copy or link is gone."""

    file: str
    kind: str
    target: str

    def to_dict(self) -> dict[str, Any]:
        """Return the row that JSON Lines hold."""
        row = {**named(self.file), "status": "ok", "what": "undone", "action": self.kind}
        return row | named(self.target, "to")


class _RefusedError(Exception):
    """A step that is not taken back: kind, message."""


def last_runs(journal: Journal) -> list[Run]:
    """Return the last run and those just before it that had not ended, the last first."""
    if not journal.runs:
        return []
    *before, last = journal.runs
    return [last, *takewhile(lambda run: not run.has_ended, reversed(before))]


def undo(journal: Journal) -> Iterator[Restored | Failure]:
    """Take back the last run; yield what was put back, and a Failure for what is left as it is.

    Kinds of failure: changed, occupied, vanished, permission, not_placed. The journal goes with its last
    run, and so do folders that runs made, where they are empty; a run of which something is left stays in
    the journal.
    """
    runs = last_runs(journal)
    steps = [entry for run in runs for entry in reversed(run.entries)]
    for folder in {os.path.dirname(entry.source) for entry in steps if entry.source}:  # noqa: PTH120
        placing.remove_part(Path(folder))
    for folder in {os.path.dirname(entry.target) for entry in steps}:  # noqa: PTH120
        placing.remove_part(journal.folder / folder)
    is_left = False
    for entry in steps:
        if entry.kind != FOLDER and (item := _undone(entry, journal.folder)):
            is_left |= isinstance(item, Failure) and item.kind != "vanished"
            yield item
    folders = [entry.target for entry in steps if entry.kind == FOLDER]
    _remove_empty(journal.folder, [name for name in folders if name != os.curdir])
    if not is_left:
        _forget(journal, runs, is_made=os.curdir in folders)


def _undone(entry: Entry, into: Path) -> Restored | Failure | None:
    """Take one step back; None where it was not done, or is undone already."""
    source, target = Path(entry.source), into / entry.target
    try:
        is_done = _UNDO[entry.kind](entry, source, target)
    except _RefusedError as error:
        return Failure(str(target), *error.args)
    except FileExistsError:
        return Failure(str(target), "occupied", f"Another file is at {source} now.")
    except PermissionError:
        return Failure(str(target), "permission", f"No permission to put it back to {source}.")
    except OSError as error:
        reason = error.strerror or error
        return Failure(
            str(target), "not_placed", f"It could not be put back to {source}: {reason}."
        )
    return Restored(str(target), entry.kind, str(source)) if is_done else None


def _undo_move(entry: Entry, source: Path, target: Path) -> bool:
    there, here = _info(target), _info(source)
    if there is None and here is None:
        raise _RefusedError(
            "vanished", f"It is neither here nor at {source}: it was moved or deleted."
        )
    if there is None:
        return False
    if here is None:
        _check_unchanged(entry, there)
        source.parent.mkdir(parents=True, exist_ok=True)
        placing.move(target, source)
        os.utime(source, ns=(there.st_atime_ns, entry.mtime_ns))  # which another file system rounds
        return True
    if placing.is_spare(target, source):  # stopped between the copy and the removal
        target.unlink()
        return True
    if _is_unchanged(entry, there):
        raise _RefusedError("occupied", f"Another file is at {source} now.")
    if not _is_unchanged(entry, here):
        _check_unchanged(entry, there)
    return False  # it was never moved: what is at its target is another's


def _undo_copy(entry: Entry, source: Path, target: Path) -> bool:  # noqa: ARG001  # as all of them
    there = _info(target)
    if there is None:
        return False
    if _info(source) is None:
        raise _RefusedError("changed", f"The original {source} is gone; this copy is kept.")
    if not placing.is_spare(target, source):
        raise _RefusedError(
            "changed", "It or its original has changed since; both are left as they are."
        )
    target.unlink()
    return True


def _undo_link(entry: Entry, source: Path, target: Path) -> bool:  # noqa: ARG001  # as all of them
    there = _info(target)
    if there is None:
        return False
    if _info(source) is None or not (source.samefile(target) and placing.is_spare(target, source)):
        raise _RefusedError(
            "changed", f"It and {source} are no longer one file; both are left as they are."
        )
    target.unlink()
    return True


def _undo_symlink(entry: Entry, source: Path, target: Path) -> bool:  # noqa: ARG001  # as all of them
    if _info(target) is None:
        return False
    if not target.is_symlink() or os.readlink(target) != entry.source:  # noqa: PTH115
        raise _RefusedError("changed", "It is no longer the link that was made.")
    target.unlink()
    return True


_UNDO: dict[str, Callable[[Entry, Path, Path], bool]] = {
    "move": _undo_move,
    "copy": _undo_copy,
    "link": _undo_link,
    "symlink": _undo_symlink,
}


def _info(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_unchanged(entry: Entry, info: os.stat_result) -> None:
    if not _is_unchanged(entry, info):
        raise _RefusedError("changed", "It has changed since it was moved; it is left where it is.")


def _is_unchanged(entry: Entry, info: os.stat_result) -> bool:
    """Whether a file has the size and time that it had; the time as its file system can keep it."""
    rounding = _FINE if has_own_ctime(info) else _COARSE
    same_time = abs(info.st_mtime_ns - entry.mtime_ns) < rounding
    return stat.S_ISREG(info.st_mode) and info.st_size == entry.size and same_time


def _remove_empty(into: Path, names: list[str]) -> None:
    for name in names:
        with suppress(OSError):
            (into / name).rmdir()


def _forget(journal: Journal, runs: list[Run], *, is_made: bool) -> None:
    if len(runs) < len(journal.runs):
        journal.take_back(runs)
        return
    journal.remove(with_folder=is_made or not journal.runs)
