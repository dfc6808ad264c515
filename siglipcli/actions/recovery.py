"""A run that was killed: the step at which it stopped is undone, and so is the group of which only a part came in."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.actions import placing, steps
from siglipcli.actions.journal import groups
from siglipcli.actions.undo import GroupUndo

if TYPE_CHECKING:
    from siglipcli.actions.journal import Entry, Journal

__all__ = ["recover"]

_UNCERTAIN = 1_000
"""Steps at the end of a run that was killed, of which the last may be half done: more than a batch has."""


def recover(journal: Journal) -> None:
    """Leave no file in two places or in part, and each group of the last run in one place.

    The next run has listed and scored its images before, and may have other labels: a file that was half
    moved stays where it was listed, and a sidecar that came in goes back to its image.
    """
    if not journal.runs:
        return
    run = journal.runs[-1]
    if run.has_ended and not run.is_undoing:
        return
    last = run.files[-_UNCERTAIN:] if not run.is_undoing else run.files
    placing.remove_parts(last, journal.folder)
    undo = GroupUndo(journal)
    for group in groups(last):
        if _is_partial(group, journal.folder):
            undo.take_back(group)


def _is_partial(group: list[Entry], into: Path) -> bool:
    states = {_is_done(entry, into / entry.target) for entry in group} - {None}
    return len(states) > 1


def _is_done(entry: Entry, target: Path) -> bool | None:
    """Whether a step is done, a half of a move being taken back; None where its file is gone altogether."""
    source = Path(entry.source)
    there, here = steps.info(target), steps.info(source)
    if there is None:
        return None if here is None else False
    if entry.kind != "move" or here is None:
        return True
    is_same_file = os.path.samestat(there, here)
    if (
        (is_same_file or steps.is_original(entry, here))
        and steps.is_like(entry, there)
        and placing.is_spare(source, target)
    ):
        with suppress(OSError):  # then it stays in two places, and an undo makes one of them
            target.unlink()
        return False
    return steps.is_unchanged(entry, target)
