"""Lists of paths, read from a file or from stdin: checked at once, read when their turn comes.

And all that one run reads: what is named, and the names in a list.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError
from siglipcli.inputs.files import expand, listed
from siglipcli.inputs.options import Chooser, Options, Overlooked, is_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from siglipcli.results import Failure, Source

__all__ = ["NamedInputs", "check_list", "read_list"]


@dataclass(frozen=True)
class NamedInputs:
    """Paths, folders and patterns, and a list with more of them, as one lazy stream.

    `listed` is a file with one name per line, or ended by NUL with `null`; `-` in either place is stdin.
    `options.skip`, this run's output, is no input. `overlooked` is filled while the stream is consumed.
    """

    paths: Sequence[str]
    listed: str | None = None
    null: bool = False
    options: Options = field(default_factory=Options)
    overlooked: Overlooked = field(default_factory=Overlooked)

    def stream(self) -> Iterator[Source | Failure]:
        """Yield the inputs. Raises UsageError for a name that is `options.skip`, and for a list that cannot be read."""
        return expand(self._but_not_skipped(), self.options, overlooked=self.overlooked)

    def total(self) -> int | None:
        """Count the inputs by walking them once more; None where some can be read only once."""
        if "-" in self.paths or (self.listed and not Path(self.listed).is_file()):
            return None
        return sum(1 for _ in expand(self._names(), self.options))

    def excludes(self) -> Callable[[str], bool]:
        """Return what says of a path whether `options.exclude` leaves it out."""
        chooser = Chooser(self.options, self.overlooked)
        return lambda path: chooser.excludes(path, Path(path).name)

    def _names(self) -> Iterator[str]:
        rest = () if self.listed is None else read_list(self.listed, null=self.null)
        return chain(self.paths, rest)

    def _but_not_skipped(self) -> Iterator[str]:
        """Pass names on; refuse one that is the output file, which would be replaced by results."""
        output = self.options.skip
        there = output is not None and output.is_file()
        for name in self._names():
            if there and output and name != "-" and is_same(name, output):
                raise UsageError(f"the output {output} is one of the inputs")
            yield name


def check_list(name: str) -> None:
    """Raise UsageError for a list that cannot be read; a pipe is left alone. `-` is stdin."""
    if name == "-":
        _stdin()
    elif not Path(name).is_fifo():
        _opened(Path(name)).close()


def read_list(name: str, *, null: bool) -> Iterator[str]:
    """Yield the paths of a list, as `listed` does. Raises UsageError where it cannot be read."""
    with _stream(name) as stream:
        yield from listed(stream, null=null)


@contextmanager
def _stream(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield _stdin()
        return
    with _opened(Path(name)) as stream:
        yield stream


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("cannot read the list on stdin: it is closed")
    return sys.stdin.buffer


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read the list {path}: {error.strerror}") from error
