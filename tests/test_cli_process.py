"""The command as a process: its streams, signals, terminals and last words."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from settings import with_engine

from siglipcli import demo

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, FIFOs and terminals of POSIX")

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
LABELS = ["-L", "blue heart", "-L", "green star"]
CLASSIFY = ["classify", "--model", "demo", *LABELS]
RATE = re.compile(r"[\d–]/s ")  # in a bar
DEADLINE = 60  # seconds for what must happen

# A process started in the background of a shell has Ctrl-C switched off: switch it on again.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
MAIN = "from siglipcli.cli import main; main()"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """One cache for all, with the demo's engine."""
    cache = tmp_path_factory.mktemp("cache")
    with_engine(prepared, cache)
    return cache


@pytest.fixture
def env(cache: Path, tmp_path: Path) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("SIGLIP_", "HF_"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "CI", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        plain.pop(name, None)
    return {
        **plain,
        "SIGLIP_CACHE_DIR": str(cache), "SIGLIP_OFFLINE": "1", "TMPDIR": str(tmp_path),
        "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40",
    }  # fmt: skip


def command(*arguments: str | Path, code: str = "") -> list[str]:
    """The argument vector of `siglip ARGUMENTS`; `code` runs before it."""
    return [sys.executable, "-c", START + code + MAIN, *map(str, arguments)]


def siglip(
    *arguments: str | Path, env: dict[str, str], code: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `siglip ARGUMENTS` to its end."""
    options = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    return subprocess.run(
        command(*arguments, code=code), env=env, text=True, timeout=DEADLINE, check=False,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def shell(script: str, *arguments: str | Path, env: dict[str, str]) -> tuple[int, str, str]:
    """Run a shell script in which "$@" is `siglip ARGUMENTS`: status, stdout and stderr."""
    run = subprocess.run(
        ["sh", "-c", script, "sh", *command(*arguments)], env=env, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout, run.stderr


# --- stdout ---------------------------------------------------------------------------------------


def test_answers_go_to_stdout_and_nothing_else_does(env: dict[str, str]) -> None:
    """Stdout holds JSON Lines only; counts are on stderr, with no colour and no bar."""
    run = siglip(*CLASSIFY, demo.IMAGES, env=env)
    assert run.returncode == 0
    assert len([json.loads(line) for line in run.stdout.splitlines()]) == 8
    assert " 0 failed, " in run.stderr.splitlines()[-1]
    assert "\x1b" not in run.stderr


@pytest.mark.parametrize("arguments", [[*CLASSIFY, demo.IMAGES], ["labels", "show", "imagenet"]])
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(
    env: dict[str, str], arguments: list[str | Path]
) -> None:
    """`| head -1`: status 0 and no complaint."""
    script = '{ "$@"; echo "status $?" >&2; } | head -1'
    _, stdout, stderr = shell(script, *arguments, env=env)
    assert len(stdout.splitlines()) == 1
    assert stderr.splitlines()[-1] == "status 0"
    assert "Broken pipe" not in stderr
    assert "Traceback" not in stderr


def test_help_into_a_closed_pipe_is_quiet(env: dict[str, str]) -> None:
    """Help that nobody reads is no error."""
    load_options, writing = os.pipe()
    os.close(load_options)
    run = siglip("classify", "--help", env=env, stdout=writing)
    os.close(writing)
    assert (run.returncode, run.stderr) == (0, "")


PRINTING = [
    [*CLASSIFY, HEART, "-q"], ["labels", "list", "--format", "json"], ["labels", "list"], ["--help"],
    ["--version"],
]  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", PRINTING)
def test_a_full_disk_is_status_3_and_one_line(env: dict[str, str], arguments: list[str]) -> None:
    """`> /dev/full`: a write error, said once, without a traceback."""
    with Path("/dev/full").open("wb") as full:
        run = siglip(*arguments, env=env, stdout=full)
    assert run.returncode == 3
    assert run.stderr.startswith("siglip: write error: ")
    assert "No space left on device" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", PRINTING)
def test_a_closed_stdout_is_status_3_and_one_line(
    env: dict[str, str], arguments: list[str]
) -> None:
    """`>&-`: nowhere to write answers to is a write error."""
    status, _, stderr = shell('"$@" >&-', *arguments, env=env)
    assert status == 3
    assert stderr.startswith("siglip: write error: standard output is closed.")
    assert stderr.count("\n") == 1


def test_a_file_can_be_written_without_stdout(env: dict[str, str], tmp_path: Path) -> None:
    """`-o FILE >&-` needs no stdout."""
    file = tmp_path / "a.jsonl"
    status, _, stderr = shell('"$@" >&-', *CLASSIFY, HEART, "-o", file, env=env)
    assert (status, stderr) == (0, "")
    assert json.loads(file.read_text())["file"] == HEART


def test_a_closed_stderr_leaves_stdout_clean(env: dict[str, str]) -> None:
    """`2>&-`: what would be said on stderr is not put among the answers."""
    status, stdout, _ = shell('"$@" 2>&-', *CLASSIFY, demo.IMAGES, env=env)
    assert status == 0
    assert len([json.loads(line) for line in stdout.splitlines()]) == 8
    status, stdout, _ = shell('"$@" 2>&-', "classify", "--bogus", env=env)
    assert (status, stdout) == (2, "")


def test_a_closed_stdin_is_said(env: dict[str, str]) -> None:
    """`--files-from - <&-`: a usage error, not a bug."""
    status, _, stderr = shell('"$@" <&-', *CLASSIFY, "--files-from", "-", env=env)
    assert status == 2
    assert stderr == "siglip: cannot read the list on stdin: it is closed\n"


def test_names_that_are_not_utf8(env: dict[str, str], tmp_path: Path) -> None:
    """A name of any bytes is read and reported, also where the locale knows ASCII only."""
    name = os.fsencode(tmp_path) + b"/\xff\xe9.jpg"
    try:
        Path(os.fsdecode(name)).write_bytes(Path(HEART).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    env |= {"LC_ALL": "C"}
    run = siglip(*CLASSIFY, "--files-from", "-", env=env, stdin=None, input="", code=_typed(name))
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["labels"][0]["label"] == "blue heart"


def _typed(name: bytes) -> str:
    """Code that makes stdin hold a name."""
    return f"import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO({name + bytes([10])!r}))\n"


# --- signals --------------------------------------------------------------------------------------


class Slow:
    """A run fed from a FIFO: it answers what was named and waits for more."""

    def __init__(self, env: dict[str, str], folder: Path, *options: str) -> None:
        fifo = folder / "list"
        os.mkfifo(fifo)
        self.process = subprocess.Popen(
            command(*CLASSIFY, "--files-from", fifo, *options),
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.list = fifo.open("w")  # waits for the run to open it
        self.answers = ""

    def name(self, *paths: str) -> None:
        self.list.writelines(f"{path}\n" for path in paths)
        self.list.flush()

    def wait_for(self, count: int) -> None:
        """Read answers until so many images are in them."""
        assert self.process.stdout
        descriptor = self.process.stdout.fileno()
        while self.answers.count('"file"') < count:
            assert select.select([descriptor], [], [], DEADLINE)[0], "no answer"
            chunk = os.read(descriptor, 1 << 16)
            assert chunk, "the answers ended"
            self.answers += chunk.decode()

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; return the status and what was said on stderr."""
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        self.answers += stdout.decode()
        return self.process.returncode, stderr.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.list.close()


@pytest.fixture
def slow(env: dict[str, str], tmp_path: Path) -> Iterator[Slow]:
    run = Slow(env, tmp_path)
    yield run
    run.close()


def test_a_list_that_grows_is_answered_as_it_grows(slow: Slow) -> None:
    """A watcher's list: each image is answered though the list is not at its end; then status 0."""
    for count, path in enumerate((HEART, STAR, HEART), 1):
        slow.name(path)
        slow.wait_for(count)
        assert json.loads(slow.answers.splitlines()[-1])["file"] == path
    slow.list.close()
    assert slow.process.wait(DEADLINE) == 0


def test_an_interrupt_keeps_the_old_output(env: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C while --output is written: the old file stays, nothing is left beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    old = '{"file": "old.jpg", "status": "ok"}\n'
    (folder / "a.jsonl").write_text(old)
    run = Slow(env, tmp_path, "--output", str(folder / "a.jsonl"))
    run.name(HEART, "gone.jpg")
    end = time.monotonic() + DEADLINE
    while len(list(folder.iterdir())) == 1 and time.monotonic() < end:
        time.sleep(0.02)
    assert len(list(folder.iterdir())) == 2
    assert run.end(signal.SIGINT)[0] == 130
    run.close()
    assert [p.name for p in folder.iterdir()] == ["a.jsonl"]
    assert (folder / "a.jsonl").read_text() == old


def test_an_interrupted_array_is_closed(env: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C while an array is written leaves JSON that can be read."""
    run = Slow(env, tmp_path, "--format", "json")
    run.name(HEART)
    run.wait_for(1)
    status, _ = run.end(signal.SIGINT)
    run.close()
    assert status == 130
    assert [answer["file"] for answer in json.loads(run.answers)] == [HEART]


# --- terminals ------------------------------------------------------------------------------------


class Screen:
    """A pseudo-terminal: what a run writes on it, read as it comes, as a full one would stop the run."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        self._shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.ours, 1 << 16):
                self._shown += chunk
        except OSError:  # Linux says so at the end
            pass

    def text(self) -> str:
        """Everything that was written, once the run has ended."""
        os.close(self.theirs)
        self._reader.join()
        os.close(self.ours)
        return self._shown.decode()


def on_screen(
    stream: str, *arguments: str | Path, env: dict[str, str], **options: Any
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run `siglip` with one of its streams on a terminal, or `both`; the others are pipes."""
    screen = Screen()
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for name in streams if stream == "both" else (stream,):
        streams[name] = screen.theirs
    if "input" not in options:
        streams["stdin"] = subprocess.DEVNULL
    run = subprocess.run(
        command(*arguments),
        env=env,
        text=True,
        timeout=DEADLINE,
        check=False,
        **(streams | options),
    )
    return run, screen.text()


def test_a_terminal_gets_a_table(env: dict[str, str]) -> None:
    """On a terminal answers are a table for people, in colour unless NO_COLOR is set."""
    run, shown = on_screen("stdout", *CLASSIFY, HEART, env=env)
    assert run.returncode == 0
    assert "blue-heart.jpg" in shown
    assert '{"file"' not in shown
    assert "\x1b[" in shown
    _, plain = on_screen("stdout", *CLASSIFY, HEART, env=env | {"NO_COLOR": "1"})
    assert "blue heart" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)
    _, lines = on_screen("stdout", *CLASSIFY, HEART, "-f", "jsonl", env=env)
    assert json.loads(lines)["file"] == HEART


def test_progress_shows_on_a_terminal_only(env: dict[str, str]) -> None:
    """With stderr on a terminal a bar counts the images there; stdout stays data only."""
    run, shown = on_screen("stderr", *CLASSIFY, demo.IMAGES, env=env)
    assert run.returncode == 0
    assert len([json.loads(line) for line in run.stdout.splitlines()]) == 8
    assert "\x1b[" in shown
    assert " 0 failed, " in shown
    _, without = on_screen("stderr", *CLASSIFY, demo.IMAGES, "--no-progress", env=env)
    assert "\x1b" not in without
    _, silent = on_screen("stderr", *CLASSIFY, demo.IMAGES, "-q", env=env)
    assert silent == ""


def test_no_bar_is_drawn_over_the_table(env: dict[str, str], tmp_path: Path) -> None:
    """Rows that appear on the same screen show the progress themselves; in a file they do not."""
    _, shown = on_screen("both", *CLASSIFY, demo.IMAGES, env=env)
    assert "blue-heart.jpg" in shown
    assert not RATE.search(shown.partition(" failed, ")[0])
    _, beside = on_screen("both", *CLASSIFY, demo.IMAGES, "-o", tmp_path / "rows.csv", env=env)
    assert RATE.search(beside.partition(" failed, ")[0])


def test_counting_for_the_bar_takes_nothing_from_the_run(
    env: dict[str, str], tmp_path: Path
) -> None:
    """A list or an image that can be read only once is not read by the progress bar."""
    many = "".join(f"{path}\n" for path in [HEART, STAR] * 20)
    run, _ = on_screen("stderr", *CLASSIFY, "--files-from", "/dev/stdin", env=env, input=many)
    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 40
    file = tmp_path / "image"
    file.write_bytes(Path(HEART).read_bytes())
    load_options, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(file.read_bytes())
    run, _ = on_screen("stderr", *CLASSIFY, "-", env=env, stdin=load_options)
    os.close(load_options)
    assert json.loads(run.stdout)["labels"][0]["label"] == "blue heart"
