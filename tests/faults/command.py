"""Running the real command as a process, for every test of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from siglipcli import demo
from siglipcli.cli import app

__all__ = ["DEADLINE", "DIES", "HANGS", "HEART", "LABELS", "STAR", "UNPRIVILEGED", "Done", "Siglip"]
__all__ += ["assert_none_left", "spoilt"]

HEART = demo.IMAGES / "blue-heart.jpg"
STAR = demo.IMAGES / "green-star.png"
LABELS = ("-L", "blue heart", "-L", "green star", "-L", "red circle")
DEADLINE = 300  # seconds in which everything here must end, on a busy machine too

# A process started in the background of a shell has Ctrl-C switched off: switch it on again.
_START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
_MAIN = "\nfrom siglipcli.cli import main; main()"
_PEAK = """
import os
def _leave(status, leave=os._exit):
    with open({path!r}, "w") as file:
        file.write(open("/proc/self/status").read())
    leave(status)
os._exit = _leave
"""

# Root reads everything: give up what makes it root (Linux: all capabilities), then modes count.
UNPRIVILEGED = """
import ctypes, sys
if sys.platform == "linux":
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, sets) == 0
"""

# What becomes of a GIF, in the command's process and in every process that it starts.
_GIF = "import os, signal\nfrom PIL import GifImagePlugin\nGifImagePlugin.GifImageFile.load = "
DIES = _GIF + "lambda self: os.kill(os.getpid(), signal.SIGSEGV)\n"
HANGS = _GIF + "lambda self: signal.sigwait([signal.SIGUSR1])\n"


@dataclass(frozen=True)
class Done:
    """A run that ended: exit status, and what it wrote."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The answers: one strict JSON object a line, the last line whole."""
        *lines, rest = self.stdout.split(b"\n")
        assert rest == b"", self.stderr
        return [json.loads(line, parse_constant=_refuse) for line in lines]

    @property
    def row(self) -> dict[str, Any]:
        """The one answer."""
        (row,) = self.rows
        return row

    def by_name(self) -> dict[str, dict[str, Any]]:
        """Base name → answer."""
        return {Path(row["file"]).name: row for row in self.rows}


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@dataclass(frozen=True)
class Siglip:
    """`siglip` in a clean environment; every run shares the cache that `env` names."""

    env: dict[str, str]

    def argv(self, *arguments: str | Path, code: str = "") -> list[str]:
        """The argument vector of `siglip ARGUMENTS`; `code` runs in the process before it."""
        return [sys.executable, "-c", _START + code + _MAIN, *map(str, arguments)]

    def start(self, *arguments: str | Path, code: str = "", **options: Any) -> Any:
        """Start `siglip ARGUMENTS`, its output into pipes."""
        env = self.env | options.pop("env", {})
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen(self.argv(*arguments, code=code), env=env, **(streams | options))

    def __call__(
        self, *arguments: str | Path, data: bytes | None = None, deadline: float = DEADLINE,
        **options: Any,
    ) -> Done:  # fmt: skip
        """Run `siglip ARGUMENTS` to its end; `data` is its stdin."""
        if data is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(*arguments, **options) as process:
            try:
                out, err = process.communicate(data, timeout=deadline)
            finally:
                process.kill()
        return Done(process.returncode, out or b"", (err or b"").decode("utf-8", "surrogateescape"))

    def inside(
        self, *arguments: str | Path, data: bytes | None = None, cwd: Path | None = None
    ) -> Done:
        """Run `siglip ARGUMENTS` in this process: where it is the rows that count, not the process."""
        others = [name for name in os.environ if name not in self.env]
        env = {**dict.fromkeys(others), **self.env}
        before = Path.cwd()
        os.chdir(cwd or before)
        try:
            done = CliRunner().invoke(
                app, [*map(str, arguments)], input=data, env=env, catch_exceptions=False
            )
        finally:
            os.chdir(before)
        return Done(done.exit_code, done.stdout_bytes, done.stderr)

    def rows(self, *arguments: str | Path, **options: Any) -> Done:
        """Run `siglip classify --model demo` with three labels, in this process."""
        return self.inside("classify", "--model", "demo", *LABELS, *arguments, **options)

    def classify(self, *arguments: str | Path, **options: Any) -> Done:
        """Run `siglip classify --model demo` with three labels."""
        return self("classify", "--model", "demo", *LABELS, *arguments, **options)

    def shell(self, script: str, *arguments: str | Path, **options: Any) -> Done:
        """Run a shell script in which "$@" is `siglip ARGUMENTS`."""
        code = options.pop("code", "")
        done = subprocess.run(
            ["sh", "-c", script, "sh", *self.argv(*arguments, code=code)],
            env=self.env, capture_output=True, timeout=DEADLINE, check=False, **options,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))

    def peak(self, note: Path, *arguments: str | Path, **options: Any) -> tuple[Done, float]:
        """Run `siglip ARGUMENTS`; the second value is the most memory it held, in MiB."""
        code = options.pop("code", "") + _PEAK.format(path=str(note))
        done = self(*arguments, code=code, **options)
        (line,) = [line for line in note.read_text().splitlines() if line.startswith("VmHWM")]
        return done, int(line.split()[1]) / 1024


def spoilt(siglip: Siglip, folder: Path, code: str) -> Siglip:
    """The command where every Python that starts runs `code` first; `folder` marks its workers."""
    home = folder / "spoilt"
    home.mkdir()
    (home / "sitecustomize.py").write_text(code)
    return Siglip(siglip.env | {"PYTHONPATH": str(home)})


def assert_none_left(folder: Path) -> None:
    """Check that no process names `folder` among its arguments; a busy machine may take its time (Linux)."""
    end = time.monotonic() + 50  # before a worker's own alarm would end it
    while (left := _naming(os.fsencode(folder))) and time.monotonic() < end:
        time.sleep(0.02)
    assert left == []


def _naming(words: bytes) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if words in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found
