"""Results → places: which file goes where, decided for all before the first is touched; then done.

A group is an image and what belongs to it. It keeps its name in common: where one of its names is taken by
another file, the whole group gets ` (2)`. In a folder of the destination no two groups share a name but for
the ending, or the one's sidecar would be taken for the other's.
"""

# Names stay the strings that were typed: Path would drop their `./`, and resolve would follow links.
# ruff: noqa: PTH100, PTH110, PTH113, PTH114, PTH118, PTH119, PTH120, PTH208

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli.actions import placing, steps
from siglipcli.actions.companions import Companions, stem, suffix
from siglipcli.actions.journal import FOLDER, Entry, Journal
from siglipcli.actions.names import Folders, key, numbered
from siglipcli.actions.templates import Template
from siglipcli.errors import OutputError
from siglipcli.results import Failure, Prediction
from siglipcli.text import named, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from siglipcli.results import Score

__all__ = ["ACTIONS", "Layout", "Placement", "Plan", "apply"]

ACTIONS = ("move", "copy", "link", "symlink")
_DO: dict[str, Callable[[Path, Path], None]] = {
    "move": placing.move,
    "copy": placing.copy,
    "link": placing.link,
    "symlink": placing.symlink,
}
_BATCH = 64
"""Groups whose steps are put on the disk together, before the first of them is done."""
_NO_SPACE = (
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
)
_TRIES = 8  # names that other programs may take in the instant before we do

PLACED, THERE, IN_PLACE, UNTAGGED, FOLLOWS = "placed", "there", "in_place", "untagged", "follows"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a destination is laid out. `untagged`: the folder of images without a tag; None: they stay.

    `alone`: images go without what belongs to them. `action`: one of `ACTIONS`; None only says what would
    be done.
    """

    into: Path
    action: str | None = None
    template: Template = field(default_factory=Template)
    folders: Folders = field(default_factory=Folders)
    untagged: str | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """What becomes of one image.

    `what`: placed (or would be), there (the same content is at `target` already), in_place, untagged (it
    stays), follows (it goes with the image at `target`). `members` are (from, to), the image's own last.
    """

    file: str
    what: str
    score: Score | None = None
    target: str = ""
    members: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the row that JSON Lines hold."""
        row: dict[str, Any] = {**named(self.file), "status": "ok", "what": self.what}
        if self.score:
            row |= {name: self.score.to_dict()[name] for name in ("label", "score", "set")}
        if self.target:
            row |= named(self.target, "to")
        others = [named(s) | named(t, "to") for s, t in self.members if s != self.file]
        return row | ({"with": others} if others else {})


class Plan:
    """Decides for each result of a run, in order, where its group goes; `states`: of images when they were read."""

    def __init__(self, layout: Layout, results: Sequence[Prediction | Failure],
                 origins: dict[str, Entry] | None = None,
                 states: dict[str, steps.State] | None = None) -> None:  # fmt: skip
        self.layout = layout
        self.results = results
        self._companions = Companions()
        self._occupied = _Occupied(layout.into, origins or {})
        self._states = states or {}
        self._scored = {os.path.abspath(r.file) for r in results if isinstance(r, Prediction)}

    def __iter__(self) -> Iterator[Placement | Failure]:
        seen: set[str] = set()
        for result in self.results:
            if isinstance(result, Failure):
                yield result
            elif (path := os.path.abspath(result.file)) not in seen:
                seen.add(path)
                yield self.place(result)

    def place(self, result: Prediction) -> Placement | Failure:
        """Decide where one image goes, and keep the names for it."""
        try:
            return self._placement(result)
        except OSError as error:
            return failed(result.file, error)

    def again(self, placement: Placement) -> Placement:
        """Decide anew, another program having taken a name."""
        folder, name = os.path.split(placement.target)
        self._occupied.forget(folder)
        sources = [source for source, _ in placement.members]
        return self._settled(placement.file, placement.score, folder, stem(name), sources)

    def _placement(self, result: Prediction) -> Placement | Failure:
        leader = result.file if self.layout.alone else self._companions.leader(result.file)
        if leader != result.file and os.path.abspath(leader) in self._scored:
            return Placement(result.file, FOLLOWS, target=leader)
        best = max((s for s in result.scores if s.tag), key=lambda s: s.logit, default=None)
        label = best.label if best else self.layout.untagged
        if label is None:
            return Placement(result.file, UNTAGGED)
        if self.layout.action in {"move", None} and os.path.islink(result.file):
            message = "A symbolic link: what it leads to can be sorted where that is."
            return Failure(result.file, "link", message)
        if self._states.get(result.file, state := steps.state(result.file)) != state:
            return Failure(result.file, "changed", "It has changed since it was scored; it stays.")
        group = self._group(result.file, leader)
        if link := self._link_in(group):
            name = visible(os.path.basename(link))
            message = f"{name} belongs to it, a symbolic link that cannot go along; both stay."
            return Failure(result.file, "link", message)
        own = stem(os.path.basename(result.file))
        parts, name = self.layout.template.place(
            result.file, own, self.layout.folders, label, _set_of(result, best)
        )
        folder = os.path.join(self.layout.into, *parts)
        return self._settled(result.file, best, folder, name, group)

    def _link_in(self, group: Sequence[str]) -> str | None:
        """Return a link that would lead nowhere once it is moved, or leads nowhere already."""
        moves = self.layout.action in {"move", None}
        links = filter(os.path.islink, group[:-1])
        return next((p for p in links if moves or not os.path.exists(p)), None)

    def _group(self, file: str, leader: str) -> list[str]:
        if self.layout.alone:
            return [file]
        others = {leader, *self._companions.of(leader)} - {file}
        files = (p for p in others if os.path.isfile(p) or os.path.islink(p))
        return [*sorted(files), file]

    def _settled(
        self, file: str, score: Score | None, folder: str, name: str, sources: Sequence[str]
    ) -> Placement:
        """Find the number with which a group's names are free, or the place where it is already."""
        own = stem(os.path.basename(file))
        suffixes = [suffix(os.path.basename(source), own) for source in sources]
        longest = max(len(os.fsencode(suffix)) for suffix in suffixes)
        for number in count(1):
            base = numbered(name, number, longest)
            target = os.path.join(folder, base + suffixes[-1])
            if _is_at(file, target):
                return Placement(file, IN_PLACE, score, target)
            if self._occupied.has_same(file, target):
                return Placement(file, THERE, score, target)
            targets = [os.path.join(folder, base + suffix) for suffix in suffixes]
            members = tuple(zip(sources, targets, strict=True))
            if (missing := self._occupied.take(folder, base, members)) is not None:
                return Placement(file, PLACED, score, target, missing)
        raise AssertionError  # numbers do not end


class _Occupied:
    """The names that are taken in the destination: on the disk, and by this plan."""

    def __init__(self, into: Path, origins: dict[str, Entry]) -> None:
        self._into = into
        self._origins = origins
        self._folders: dict[str, dict[str, dict[str, str | None]]] = {}

    def forget(self, folder: str) -> None:
        """Look at a folder again when it is next asked for."""
        self._folders.pop(folder, None)

    def has_same(self, file: str, target: str) -> bool:
        """Whether the same content is at `target`, or will be by this plan."""
        folder, name = os.path.split(target)
        there = self._stems(folder).get(key(stem(name)), {})
        match = next((other for other in there if key(other) == key(name)), None)
        if match is None:
            return False
        source = there[match]
        planned = source if source and not os.path.lexists(os.path.join(folder, match)) else None
        other = planned or os.path.join(folder, match)
        return os.path.abspath(other) != os.path.abspath(file) and placing.same_content(
            Path(other), Path(file)
        )

    def take(
        self, folder: str, base: str, members: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str], ...] | None:
        """Keep a group's names, and return the members that are still to be put there; None where taken.

        The journal knows the group that was on its way when a run was killed: the names in its folder are
        its own.
        """
        there = self._stems(folder).setdefault(key(base), {})
        group = _group_of(members[-1][0])
        if any(source is None or _group_of(source) != group for source in there.values()):
            return None
        names = {key(name) for name in there}
        missing: list[tuple[str, str]] = []
        for source, target in members:
            if key(os.path.basename(target)) not in names:
                missing.append((source, target))
            elif not placing.same_content(Path(source), Path(target)):
                return None
        there.update({os.path.basename(t): os.path.abspath(s) for s, t in missing})
        return tuple(missing)

    def _stems(self, folder: str) -> dict[str, dict[str, str | None]]:
        """Return stem → name → where it came from, None for a file of another origin."""
        if folder not in self._folders:
            stems: dict[str, dict[str, str | None]] = {}
            below = os.path.relpath(folder, self._into)
            with suppress(OSError):
                for name in os.listdir(folder):
                    entry = self._origins.get(os.path.normpath(os.path.join(below, name)))
                    stems.setdefault(key(stem(name)), {})[name] = entry.source if entry else None
            self._folders[folder] = stems
        return self._folders[folder]


def _set_of(result: Prediction, best: Score | None) -> str:
    score = best or result.best
    return score.set if score else ""


def _group_of(source: str) -> tuple[str, str]:
    folder, name = os.path.split(os.path.abspath(source))
    return folder, key(stem(name))


def _is_at(file: str, target: str) -> bool:
    here, name = os.path.split(os.path.abspath(file))
    folder, wanted = os.path.split(target)
    return name == wanted and os.path.realpath(here) == os.path.realpath(folder)


def failed(file: str, error: OSError) -> Failure:
    """Say why a file could not be put where it should be."""
    if isinstance(error, FileNotFoundError):
        return Failure(file, "vanished", "The file is gone: it was moved or deleted.")
    if isinstance(error, PermissionError):
        return Failure(file, "permission", "No permission to put it there; it stays where it is.")
    reason = error.strerror or str(error)
    return Failure(
        file, "not_placed", f"It could not be put there: {reason}. It stays where it is."
    )


# --- doing it -------------------------------------------------------------------------------------


def apply(plan: Plan, journal: Journal, *, made: bool = False) -> Iterator[Placement | Failure]:
    """Do what a plan says, and yield what became of each image.

    Each step is in the journal, on the disk, before it is done. Raises OutputError where nothing more can
    be written; what was done till then stays, and can be undone. `made`: the destination was made for this
    run, and goes with it.
    """
    assert plan.layout.action
    journal.begin(plan.layout.action, [Entry(FOLDER, os.curdir)] if made else [])
    batch: list[Placement | Failure] = []
    waiting = 0
    for item in plan:
        batch.append(item)
        waiting += isinstance(item, Placement) and item.what == PLACED
        if waiting >= _BATCH:
            yield from _applied(batch, plan, journal)
            batch, waiting = [], 0
    yield from _applied(batch, plan, journal)
    journal.end()


def _applied(
    batch: Iterable[Placement | Failure], plan: Plan, journal: Journal
) -> Iterator[Placement | Failure]:
    placed = [item for item in batch if isinstance(item, Placement) and item.what == PLACED]
    lost = _intend(placed, plan.layout, journal)
    for item in batch:
        if isinstance(item, Failure) or item.what != PLACED:
            yield item
        elif id(item) in lost:
            yield lost[id(item)]
        else:
            yield _done(item, plan, journal)


def _intend(placed: Sequence[Placement], layout: Layout, journal: Journal) -> dict[int, Failure]:
    """Write the steps of groups into the journal; return, by identity, the groups that are gone."""
    entries: list[Entry] = []
    lost: dict[int, Failure] = {}
    folders: set[str] = set()
    for item in placed:
        try:
            group = journal.new_group()
            done = [_step(layout, source, target, group) for source, target in item.members]
        except OSError as error:
            lost[id(item)] = failed(item.file, error)
            continue
        entries += steps.new_folders(os.path.dirname(item.target), layout.into, folders)
        entries += done
    journal.intend(entries)
    return lost


def _step(layout: Layout, source: str, target: str, group: int) -> Entry:
    below = os.path.relpath(target, layout.into)
    return steps.step(layout.action or "", source, below, group)


def _done(item: Placement, plan: Plan, journal: Journal) -> Placement | Failure:
    """Put one group where it belongs: all of it, or nothing."""
    for _ in range(_TRIES):
        try:
            _place_all(item, plan.layout)
        except FileExistsError:  # another program was quicker
            item = plan.again(item)
            if item.what != PLACED:
                return item
            if lost := _intend([item], plan.layout, journal):
                return lost[id(item)]
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise OutputError(
                    f"write error: {visible(item.target)}: {error.strerror}. What was done till then stays.",
                    code="sort_stopped",
                    journal=str(journal.path),
                ) from error
            return failed(item.file, error)
        else:
            return item
    return Failure(
        item.file, "not_placed", "Other programs keep taking its name; it stays where it is."
    )


def _place_all(item: Placement, layout: Layout) -> None:
    done: list[tuple[Path, Path]] = []
    try:
        _make_folder(Path(item.target).parent)
        for source, target in item.members:
            _DO[layout.action or ""](Path(source), Path(target))
            done.append((Path(source), Path(target)))
    except OSError:
        for source_path, target_path in reversed(done):
            _take_back(source_path, target_path, layout.action)
        raise


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file where a folder should be
        raise NotADirectoryError(
            errno.ENOTDIR, f"{visible(error.filename or '')} is no folder"
        ) from error


def _take_back(source: Path, target: Path, action: str | None) -> None:
    with suppress(OSError):
        if action == "move":
            placing.move(target, source)
        else:
            target.unlink()
