"""exiftool as one long-running process: commands over stdin, a line each argument.

Source: `-stay_open` and `-@` in exiftool's documentation. A line that starts with `#[CSTR]` may hold an escaped
newline, so that any name and any keyword is one argument.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import IO, TYPE_CHECKING

from siglipcli.actions.fields import FIELDS, HIERARCHY, IPTC, LAST_KEYWORD, SUBJECT, TAGS_LIST
from siglipcli.actions.xmp import as_structure
from siglipcli.errors import SiglipError
from siglipcli.processes import NO_CONSOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Self

    from siglipcli.actions.keywords import Place, Record

__all__ = ["ExifTool", "ExifToolError", "arguments"]

_OLDEST = (
    12,
    20,
)  # structures and #[CSTR] are older; WebP is written from 12.54 on, and says so itself
_CONFIG = Path(__file__).with_name("exiftool.config")
_TAGS = {
    SUBJECT: "XMP-dc:Subject",
    HIERARCHY: "XMP-lr:HierarchicalSubject",
    TAGS_LIST: "XMP-digiKam:TagsList",
    LAST_KEYWORD: "XMP-microsoft:LastKeywordXMP",
    IPTC: "IPTC:Keywords",
}
_SPECIAL = re.compile(r"([|,{}\[\]])")  # in the text form of a structure
_SECONDS = 120.0  # that one file may take
_INSTALL = (
    "Install it: apt install libimage-exiftool-perl (Debian, Ubuntu), brew install exiftool (macOS),"
    " winget install OliverBetz.ExifTool (Windows), or see https://exiftool.org"
)


class ExifToolError(Exception):
    """A command of exiftool failed; the message is exiftool's own."""


class ExifTool:
    """An exiftool that waits for commands. Raises SiglipError (code `exiftool`) where there is none to be used.

    Not for several threads at once. `close`, or leaving the `with` block, ends it.
    """

    def __init__(self, program: str = "exiftool", seconds: float = _SECONDS) -> None:
        path = shutil.which(program)
        if not path:
            raise SiglipError(f"embedding keywords needs exiftool. {_INSTALL}", code="exiftool")
        self._command = [
            *(path, "-config", str(_CONFIG), "-stay_open", "True", "-@", "-"),
            *("-common_args", "-charset", "filename=UTF8", "-q"),
        ]
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Queue[bytes | None] = Queue()
        self._complaints: Queue[bytes | None] = Queue()
        self._check_version()

    def _check_version(self) -> None:
        version = self.run("-ver").strip()
        match = re.match(r"(\d+)\.(\d+)", version)
        if not match or tuple(map(int, match.groups())) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            self.close()
            raise SiglipError(
                f"exiftool {oldest} or newer is needed; here is {version or 'one that gives no version'}. {_INSTALL}",
                code="exiftool",
            )

    def run(self, *arguments: str) -> str:
        """Run one command and return what it prints. Raises ExifToolError with what it complains of."""
        process = self._started()
        assert process.stdin is not None
        lines = [_line(argument) for argument in arguments]
        lines += [b"-echo4", b"{done}", b"-execute1"]  # with a number, as -q has no other end
        try:
            process.stdin.write(b"".join(line + b"\n" for line in lines))
            process.stdin.flush()
            printed = self._until(self._lines, b"{ready1}")
            complaints = self._until(self._complaints, b"{done}")
        except (OSError, Empty) as error:
            self._kill()
            raise ExifToolError("exiftool ended or hangs") from error
        errors = [line for line in complaints if line.startswith("Error")]
        if errors:
            raise ExifToolError(errors[0].removeprefix("Error: "))
        return "\n".join(printed)

    def _until(self, lines: Queue[bytes | None], last: bytes) -> list[str]:
        """Return the lines up to the one that ends a command. Raises Empty where it does not come."""
        result = []
        while (line := lines.get(timeout=self._seconds)) != last:
            if line is None:
                raise OSError
            result.append(line.decode("utf-8", "replace"))
        return result

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._kill()
            self._lines, self._complaints = Queue(), Queue()
            self._process = subprocess.Popen(  # noqa: S603  # found on PATH
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                creationflags=NO_CONSOLE,
                start_new_session=True,  # Ctrl-C is for us: it ends with its command done
            )
            for stream, lines in (
                (self._process.stdout, self._lines),
                (self._process.stderr, self._complaints),
            ):
                threading.Thread(target=_read, args=(stream, lines), daemon=True).start()
        return self._process

    def close(self) -> None:
        """End the process."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            assert process.stdin is not None
            process.stdin.write(b"-stay_open\nFalse\n")
            process.stdin.close()
            process.wait(2)
            return
        self._kill()

    def _kill(self) -> None:
        if (process := self._process) is not None:
            process.kill()
            process.wait()
            if process.stdin:
                with suppress(OSError):  # what it did not read any more
                    process.stdin.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(stream: IO[bytes], lines: Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip(b"\r\n"))
    lines.put(None)


def _line(argument: str) -> bytes:
    """Return an argument as a line; what would end the line early is escaped."""
    if any(sign in argument for sign in "\n\r") or argument.startswith(("#", " ", "\t")):
        argument = argument.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
        argument = f"#[CSTR]{argument}"
    return os.fsencode(argument) if os.name == "posix" else argument.encode("utf-8", "replace")


# --- what is to be written ------------------------------------------------------------------------


def arguments(before: Place, after: Place) -> list[str]:
    """Return the arguments that turn one place's keywords and records into the other's."""
    result = []
    for field, tag in _TAGS.items():
        old, new = before.fields.get(field, ()), after.fields.get(field, ())
        result += [f"-{tag}-={value}" for value in dict.fromkeys(old) if value not in new]
        result += [f"-{tag}+={value}" for value in dict.fromkeys(new) if value not in old]
        if field == IPTC and old != new and before.iptc_digest == "match":
            # else IPTC would no longer count for programs that compare it, captions and all
            result.append("-IPTCDigest=new")
    if set(before.records) != set(after.records):
        result += _list("XMP-siglip:SiglipTags", map(_structure, after.records))
    if before.made != after.made:
        result += _list("XMP-siglip:SiglipFields", [f for f in FIELDS if f in after.made])
    if before.copies != after.copies:
        pairs = (f"{field}={value}" for field, value in sorted(after.copies))
        result += _list("XMP-siglip:SiglipCopies", pairs)
    return result


def _list(tag: str, values: Sequence[str] | Iterator[str]) -> list[str]:
    return [f"-{tag}={value}" for value in values] or [f"-{tag}="]


def _structure(record: Record) -> str:
    pairs = (f"{name}={_escaped(value)}" for name, value in as_structure(record))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return _SPECIAL.sub(r"|\1", value)
