"""A function in a process of its own: what it imports leaves with it, all else is as if it were called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from siglipcli.encoders.build_process import run
from siglipcli.errors import CheckpointError

posix = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")


def test_what_is_imported_stays_there(tmp_path: Path) -> None:
    """Another process does the work; this one has none of its modules, and stdout may be written to."""
    run("built_apart:note_process", tmp_path / "pid")
    assert (tmp_path / "pid").read_text() != str(os.getpid())
    assert "wave" not in sys.modules


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/true"])
def test_where_no_process_can_be_started(executable: str, tmp_path: Path) -> None:
    """A program that carries its Python does the work itself."""
    run("built_apart:note_process", tmp_path / "pid", executable=executable)
    assert (tmp_path / "pid").read_text() == str(os.getpid())
    sys.modules.pop("wave")


def test_logs_arrive(caplog: pytest.LogCaptureFixture) -> None:
    """With their level, where this process logs that level."""
    run("built_apart:log", "hello")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", "hello here")]


def test_errors_arrive() -> None:
    """Class, message, code and facts are those that were raised there; the cause is the traceback there."""
    with pytest.raises(CheckpointError, match=r"^x\.bin is damaged$") as own:
        run("built_apart:fail", "own")
    assert (own.value.code, own.value.facts) == ("damaged_file", {"path": "x.bin", "reason": "5"})
    assert "built_apart.py" in str(own.value.__cause__)
    with pytest.raises(OSError, match="No space left") as disk:
        run("built_apart:fail", "disk")
    assert disk.value.filename == "/cache/engines"
    with pytest.raises(RuntimeError, match="basic_ios") as library:
        run("built_apart:fail", "library")
    assert type(library.value) is RuntimeError
    with pytest.raises(RuntimeError, match="no number"):
        run("built_apart:fail", "unpicklable")


@posix
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, r"was ended by SIGSEGV$"),
        (signal.SIGKILL, r"was ended by SIGKILL, as it is where memory runs out$"),
    ],
)
def test_a_crash_is_one_sentence(number: int, words: str) -> None:
    """A process that dies is said to have died, and of what."""
    with pytest.raises(RuntimeError, match=words):
        run("built_apart:end_by", int(number))


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent(number: int, tmp_path: Path) -> None:
    """Kill -9, and Ctrl-C to both as a terminal sends it, leave nothing that goes on working."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from siglipcli.encoders.build_process import run\n"
        "run('built_apart:sleep', Path(sys.argv[2]))\n"
    )
    note = tmp_path / "pid"
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(note)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as parent:
        child = int(eventually(lambda: note.exists() and note.read_text()))
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
        assert parent.wait(20) != 0
    eventually(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie that its new parent has not looked at yet."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def eventually(condition: object) -> str:
    """Wait until a condition holds, and return its value."""
    for _ in range(600):
        if value := condition():  # type: ignore[operator]
            return value  # type: ignore[no-any-return]
        time.sleep(0.05)
    raise AssertionError("it never came to be")
