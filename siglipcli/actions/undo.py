"""The last run of a journal taken back, group by group from its end, wherever it or an undo was stopped.

The files themselves show what became of a step, so that an undo can be repeated. An image
and what belongs to it go back together, with sidecars that were made since; where one of them has changed, or
its old place is taken, all of them stay. With a run go those before it that were stopped before their end: they
are one piece of work.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli.actions import placing, steps
from siglipcli.actions.companions import Companions, stem, suffix
from siglipcli.actions.journal import Entry, Journal, Run, groups
from siglipcli.errors import OutputError
from siglipcli.results import Failure
from siglipcli.text import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["GroupUndo", "Restored", "undo"]


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


@dataclass(frozen=True, slots=True)
class _Back:
    """How one file is taken back, and how that is taken back in turn, where it can be."""

    kind: str
    file: Path
    target: Path
    do: Callable[[], object]
    revert: Callable[[], object] | None = None

    def refused(self, kind: str, message: str) -> Failure:
        return Failure(str(self.file), kind, message)


def undo(journal: Journal) -> Iterator[Restored | Failure]:
    """Take back the last run; yield what was put back, and a Failure for what is left as it is.

    Kinds of failure: changed, occupied, vanished, permission, not_placed. What is left stays in the journal;
    where nothing of a run can be taken back, the one before it is. Folders that runs made go where they are
    empty, and so does the journal with its last run. Raises OutputError.
    """
    groups_undo = GroupUndo(journal)
    if not journal.runs:
        journal.remove(with_folder=True)
    for runs in _pieces(journal.runs):
        is_back = False
        left: dict[str, list[int]] = {}
        with suppress(OutputError):  # a full disk must not keep files from going back
            journal.start_undo(runs)
        for run in runs:
            placing.remove_parts(run.files, journal.folder)
            for group in reversed(groups(run.files)):
                items = groups_undo.take_back(group)
                yield from items
                if any(isinstance(item, Failure) and item.kind != "vanished" for item in items):
                    left.setdefault(run.name, []).append(group[0].group)
                else:
                    is_back |= bool(items)
        _forget(journal, runs, left)
        if is_back or not left:
            return


def _pieces(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the last run and those just before it that had not ended, then those before them, and so on."""
    pieces: list[list[Run]] = []
    for run in reversed(runs):
        if run.has_ended or not pieces:
            pieces.append([])
        pieces[-1].append(run)
    return pieces


def _forget(journal: Journal, runs: list[Run], left: dict[str, list[int]]) -> None:
    """Take runs out of the journal, and remove the folders that they made, where they are empty."""
    made = [name for run in runs for name in reversed(run.folders)]
    for name in made:
        if name != os.curdir:
            with suppress(OSError):
                (journal.folder / name).rmdir()
    try:
        journal.take_back(runs, left)
    except OutputError:  # a full disk; a journal that goes needs no line more
        if journal.runs:
            raise
    if not journal.runs:
        journal.remove(with_folder=os.curdir in made)


class GroupUndo:
    """Takes groups of steps back, each as a whole or not at all."""

    def __init__(self, journal: Journal) -> None:
        self._into = journal.folder
        self._known = {
            str(self._into / entry.target) for run in journal.runs for entry in run.files
        }
        self._companions: dict[str, Companions] = {}  # by folder

    def take_back(self, group: Sequence[Entry]) -> list[Restored | Failure]:
        """Take one group back; no row for what was not done, or is undone already."""
        backs: list[_Back] = []
        refused: list[Failure] = []
        vanished: list[Failure] = []
        for entry in reversed(group):
            source, target = Path(entry.source), self._into / entry.target
            try:
                if back := _BACK[entry.kind](entry, source, target):
                    backs.append(back)
            except _RefusedError as error:
                failure = Failure(str(target), *error.args)
                (vanished if failure.kind == "vanished" else refused).append(failure)
            except OSError as error:
                refused.append(_failure(target, source, error))
        if backs:
            added, more_refused = self._added(group)
            backs, refused = [*added, *backs], [*refused, *more_refused]
        rows = [*refused, *_stay(backs, refused)] if refused else _done(backs)
        return [*vanished, *rows]

    def _added(self, group: Sequence[Entry]) -> tuple[list[_Back], list[Failure]]:
        """Return how what came to a group since goes along, and what of it cannot."""
        backs: list[_Back] = []
        refused: list[Failure] = []
        leader = group[-1]
        own, folder = stem(os.path.basename(leader.target)), Path(leader.source).parent  # noqa: PTH119
        base = stem(os.path.basename(leader.source))  # noqa: PTH119
        for file in self._others(group):
            target = folder / (base + suffix(file.name, own))
            try:
                backs.append(_back_of_added(leader.kind, file, target))
            except _RefusedError as error:
                refused.append(Failure(str(file), *error.args))
        return backs, refused

    def _others(self, group: Sequence[Entry]) -> list[Path]:
        """Return the files that belong to a group in its place, and that no run has put there."""
        others: set[str] = set()
        for entry in group:
            place = str(self._into / entry.target)
            folder = os.path.dirname(place)  # noqa: PTH120
            companions = self._companions.setdefault(folder, Companions())
            others.update(companions.of(place))
        files = map(Path, sorted(others - self._known))
        return [file for file in files if file.is_file() or file.is_symlink()]


def _stay(backs: Sequence[_Back], refused: Sequence[Failure]) -> list[Restored | Failure]:
    """Return rows of files that could go back, but for those that they belong to."""
    why = refused[0]
    name = os.path.basename(why.file)  # noqa: PTH119
    message = f"It stays with {name}, which cannot be taken back."
    return [back.refused(why.kind, message) for back in backs]


def _done(backs: Sequence[_Back]) -> list[Restored | Failure]:
    """Take files back: all, or none where one cannot be."""
    done: list[_Back] = []
    for back in backs:
        try:
            back.do()
        except OSError as error:
            why = _failure(back.file, back.target, error)
            kept = [back for back in done if not _is_reverted(back)]
            stays = [other for other in backs if other not in kept and other is not back]
            return [*_rows(kept), why, *_stay(stays, [why])]
        done.append(back)
    return _rows(done)


def _rows(backs: Sequence[_Back]) -> list[Restored | Failure]:
    return [Restored(str(back.file), back.kind, str(back.target)) for back in backs]


def _is_reverted(back: _Back) -> bool:
    if back.revert is None:
        return False
    try:
        back.revert()
    except OSError:
        return False
    return True


def _failure(file: Path, source: Path, error: OSError) -> Failure:
    if isinstance(error, FileExistsError):
        return Failure(str(file), "occupied", f"Another file is at {source} now.")
    if isinstance(error, PermissionError):
        return Failure(str(file), "permission", f"No permission to put it back to {source}.")
    reason = error.strerror or error
    return Failure(str(file), "not_placed", f"It could not be put back to {source}: {reason}.")


# --- each kind of step ----------------------------------------------------------------------------


def _back_of_move(entry: Entry, source: Path, target: Path) -> _Back | None:
    there, here = steps.info(target), steps.info(source)
    if there is None and here is None:
        raise _RefusedError(
            "vanished", f"It is neither here nor at {source}: it was moved or deleted."
        )
    if there is None:
        return None
    make = partial(_Back, entry.kind, target, source)
    if here is None:
        _check_unchanged(entry, target)
        revert = partial(placing.move, source, target)
        return make(partial(_move_back, entry, source, target), revert)
    if placing.is_spare(target, source):  # stopped between copy and removal, or copied back since
        return make(_one_of_two(entry, source, target, there, here))
    if steps.is_unchanged(entry, target):
        raise _RefusedError("occupied", f"Another file is at {source} now.")
    if not steps.is_unchanged(entry, source):
        _check_unchanged(entry, target)
    return None  # it was never moved: what is at its target is another's


def _one_of_two(
    entry: Entry, source: Path, target: Path, there: os.stat_result, here: os.stat_result
) -> Callable[[], object]:
    """Choose which of two files of one content stays: the original, with its times and mode."""
    if os.path.samestat(there, here) or steps.is_original(entry, here):
        return target.unlink
    if steps.is_like(entry, there):
        return partial(placing.replace, target, source)
    if steps.is_like(entry, here):
        return target.unlink
    raise _RefusedError("changed", f"It and the file at {source} have changed; both are kept.")


def _move_back(entry: Entry, source: Path, target: Path) -> None:
    source.parent.mkdir(parents=True, exist_ok=True)
    placing.move(target, source)
    back = source.stat()
    if back.st_mtime_ns != entry.mtime_ns:  # which another file system rounds
        with suppress(OSError):  # a file of another owner
            os.utime(source, ns=(back.st_atime_ns, entry.mtime_ns))


def _back_of_copy(entry: Entry, source: Path, target: Path) -> _Back | None:
    if steps.info(target) is None:
        return None
    if steps.info(source) is None:
        raise _RefusedError("changed", f"The original {source} is gone; this copy is kept.")
    if not placing.is_spare(target, source):
        raise _RefusedError(
            "changed", "It or its original has changed since; both are left as they are."
        )
    return _Back(entry.kind, target, source, target.unlink)


def _back_of_link(entry: Entry, source: Path, target: Path) -> _Back | None:
    if steps.info(target) is None:
        return None
    is_one = steps.info(source) is not None and source.samefile(target)
    if not (is_one and placing.is_spare(target, source)):
        raise _RefusedError(
            "changed", f"It and {source} are no longer one file; both are left as they are."
        )
    return _Back(entry.kind, target, source, target.unlink)


def _back_of_symlink(entry: Entry, source: Path, target: Path) -> _Back | None:
    if steps.info(target) is None:
        return None
    if not target.is_symlink() or os.readlink(target) != entry.source:  # noqa: PTH115
        raise _RefusedError("changed", "It is no longer the link that was made.")
    return _Back(entry.kind, target, source, target.unlink)


_BACK: dict[str, Callable[[Entry, Path, Path], _Back | None]] = {
    "move": _back_of_move,
    "copy": _back_of_copy,
    "link": _back_of_link,
    "symlink": _back_of_symlink,
}


def _back_of_added(kind: str, file: Path, target: Path) -> _Back:
    if kind != "move":
        raise _RefusedError("changed", "It was put beside a copy or link since; all are kept.")
    if file.is_symlink():
        raise _RefusedError("changed", "A symbolic link that was made since; it cannot go along.")
    if steps.info(target) is not None:
        raise _RefusedError("occupied", f"Another file is at {target} now.")
    revert = partial(placing.move, target, file)
    return _Back("move", file, target, partial(_move_added, file, target), revert)


def _move_added(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    placing.move(file, target)


def _check_unchanged(entry: Entry, target: Path) -> None:
    if not steps.is_unchanged(entry, target):
        raise _RefusedError("changed", "It has changed since it was moved; it is left where it is.")
