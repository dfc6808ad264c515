"""Whether an image is still the one that was scored when its keywords are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.files import stamp
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from siglipcli.files import Stamp
    from siglipcli.results import Failure

__all__ = ["Watch"]

_REMEMBERED = 4_096  # images between reading and writing, and those that were written


class Watch:
    """The states that images had before they were read. Our own changes are none."""

    def __init__(self) -> None:
        self._read: dict[str, Stamp] = {}
        self._written: dict[Stamp, Stamp] = {}

    def passing(self, sources: Iterable[Source | Failure]) -> Iterator[Source | Failure]:
        """Pass inputs on, and remember the state of each that is a file."""
        for source in sources:
            if isinstance(source, Source) and not isinstance(source.content, bytes):
                self._note(source.name, source.content)
            yield source

    def _note(self, name: str, path: Path) -> None:
        try:
            self._read[name] = stamp(path.stat())
        except OSError:  # its row will say why
            return
        _forget(self._read)

    def has_changed(self, name: str, now: Stamp | None) -> bool:
        """Whether an input that was passed on has another state now, by another program."""
        then = self._read.get(name)
        while then is not None and then != now and then in self._written:
            then = self._written[then]
        return then is not None and then != now

    def done(self, name: str) -> None:
        """Forget an input."""
        self._read.pop(name, None)

    def wrote(self, before: Stamp | None, after: Stamp) -> None:
        """Remember a change of our own."""
        if before is not None and before != after:
            self._written[before] = after
            _forget(self._written)


def _forget(remembered: dict[str, Stamp] | dict[Stamp, Stamp]) -> None:
    if len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]  # type: ignore[arg-type]
