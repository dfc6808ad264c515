"""Where answers go: never half a file, never a torn row, and a plain word when it cannot be."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from siglipcli.errors import OutputError
from siglipcli.outputs.output import is_same, open_binary, open_output

if TYPE_CHECKING:
    from collections.abc import Callable

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files and signals")
linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def child(code: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a process that runs `code` with open_output at hand."""
    head = "import signal, sys, time\nfrom pathlib import Path\nfrom siglipcli.outputs.output import open_output\n"
    # A shell that starts the tests in the background has them, and their children, ignore Ctrl-C.
    head += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", head + code], stderr=subprocess.PIPE, **options
    )


# --- a file ---------------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """While the run goes on the file is not there; at its end it is whole, and nothing else is."""
    path = tmp_path / "out.jsonl"
    with open_output(path) as stream:
        stream.write("naïve 猫\r\n")
        stream.flush()
        assert not path.exists()
        assert all(name.startswith(".") for name in names_in(tmp_path))
    assert path.read_bytes() == "naïve 猫\r\n".encode()
    assert names_in(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize(
    "error", [ValueError(), KeyboardInterrupt(), SystemExit(), OutputError("full")]
)
def test_the_old_file_outlives_a_failed_run(tmp_path: Path, error: BaseException) -> None:
    """A run that fails or is interrupted leaves the earlier answer as it was, and no litter."""
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail() -> None:
        with open_output(path) as stream:
            stream.write("new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["out.csv"]


@posix
def test_an_interrupt_while_the_draft_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes when the draft has just been created takes it away again."""
    drafts = []

    def interrupted(path: Path, _mode: int) -> None:
        drafts.append(path.exists())
        raise KeyboardInterrupt

    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    monkeypatch.setattr(Path, "chmod", interrupted)  # the first step after the creation
    with pytest.raises(KeyboardInterrupt), open_output(path):
        pass
    assert drafts == [True]
    assert names_in(tmp_path) == ["out.jsonl"]
    assert path.read_text() == "old\n"


@posix
def test_a_killed_run_leaves_the_old_file(tmp_path: Path) -> None:
    """After kill -9 in the middle of writing, the old file is there, whole."""
    path = tmp_path / "out.csv"
    path.write_text("old")
    code = f"""
with open_output(Path({str(path)!r})) as stream:
    stream.write("new" * 100_000)
    stream.flush()
    print("ready", flush=True)
    time.sleep(60)
"""
    with child(code, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    assert path.read_text() == "old"


@posix
def test_permissions_are_the_umasks_or_the_old_files(tmp_path: Path) -> None:
    """A new file gets the permissions any program would give it; a replaced one keeps its own."""
    new, old = tmp_path / "new.csv", tmp_path / "old.csv"
    old.touch()
    old.chmod(0o600)
    before = os.umask(0o027)
    try:
        for path in (new, old):
            with open_output(path) as stream:
                stream.write("x")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o640, 0o600]


@posix
@pytest.mark.parametrize("target_exists", [True, False])
def test_a_link_keeps_pointing_where_it_did(tmp_path: Path, target_exists: bool) -> None:
    """Written through a symbolic link, the file behind it changes and the link stays."""
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.csv", tmp_path / "link.csv"
    if target_exists:
        target.write_text("old")
    link.symlink_to(target)
    with open_output(link) as stream:
        stream.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names_in(tmp_path / "elsewhere") == ["real.csv"]


@posix
def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    """The file beside it needs no longer a name than the file itself."""
    path = tmp_path / ("n" * 251 + ".csv")
    with open_output(path) as stream:
        stream.write("x")
    assert path.read_text() == "x"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder as the output is refused in plain words."""
    with pytest.raises(OutputError, match=r"write error: .* is a folder"), open_output(tmp_path):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An output in a folder that does not exist says so before anything is computed."""
    path = tmp_path / "nowhere" / "out.csv"
    with pytest.raises(OutputError, match="folder does not exist"), open_output(path):
        pass


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_an_output_error(tmp_path: Path) -> None:
    """No permission ends the run with a plain message."""
    tmp_path.chmod(0o500)
    with (
        pytest.raises(OutputError, match=r"write error: .*out\.csv"),
        open_output(tmp_path / "out.csv"),
    ):
        pass


@posix
def test_a_link_to_itself_is_an_output_error(tmp_path: Path) -> None:
    """A link that leads nowhere ends the run with a plain message."""
    path = tmp_path / "loop.csv"
    path.symlink_to(path)
    with pytest.raises(OutputError, match=r"write error: .*loop"), open_output(path):
        pass


@posix
@pytest.mark.parametrize("opener", [open_output, open_binary])
def test_a_read_only_file_is_not_replaced(tmp_path: Path, opener: Any) -> None:
    """A file that nobody may write stays as it is, also where root asks."""
    path = tmp_path / "out.csv"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(OutputError, match=r"out\.csv is read-only\."), opener(path):
        pass
    assert path.read_text() == "old"


def refusing(number: int) -> Callable[[Path, Path], None]:
    def replace(self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    return replace


def test_a_mount_point_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that takes no rename, as one that is mounted into a container, gets the whole output."""
    path = tmp_path / "out.csv"
    path.write_text("an older and longer output")
    before = path.stat().st_ino
    monkeypatch.setattr(Path, "replace", refusing(errno.EBUSY))
    with open_output(path) as stream:
        stream.write("new")
    assert path.read_text() == "new"
    assert path.stat().st_ino == before
    assert names_in(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC, errno.EBUSY])
def test_a_complete_output_is_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where neither a rename nor a copy goes, the finished output keeps a name that is said."""
    path = tmp_path / "out.csv"
    monkeypatch.setattr(Path, "replace", refusing(number))
    with (
        pytest.raises(OutputError, match="complete output is in ") as caught,
        open_output(path) as stream,
    ):
        stream.write("new")
    kept = Path(str(caught.value).partition(" is in ")[2].rstrip("."))
    assert kept.read_text() == "new"
    assert kept.suffix == ".csv"
    assert names_in(tmp_path) == [kept.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs mounts")
def test_a_bind_mount_takes_the_output(tmp_path: Path) -> None:
    """The real thing: a file bound over another in a mount namespace of its own."""
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "out.csv").touch()
    code = f"""
import ctypes, os
libc, new_mounts, new_users, private = ctypes.CDLL(None), 0x20000, 0x10000000, 0x44000
if libc.unshare(new_mounts | (new_users if os.geteuid() else 0)):
    sys.exit(77)
if libc.mount(b"none", b"/", None, private, None):
    sys.exit(77)
names = [os.fsencode(p) for p in ({str(tmp_path / "real.csv")!r}, {str(tmp_path / "out.csv")!r})]
if libc.mount(*names, None, 4096, None):
    sys.exit(77)
with open_output(Path({str(tmp_path / "out.csv")!r})) as stream:
    stream.write("new")
"""
    with child(code) as process:
        process.communicate()
    if process.returncode == 77:
        pytest.skip("may not mount")
    assert process.returncode == 0
    assert (tmp_path / "real.csv").read_text() == "new"
    assert names_in(tmp_path) == ["out.csv", "real.csv"]


# --- pipes and devices ----------------------------------------------------------------------------


@posix
def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    """A FIFO as the output gets the answers and stays a FIFO."""
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    with open_output(path) as stream:
        stream.write("row\n")
    reader.join()
    assert read == ["row\n"]
    assert stat.S_ISFIFO(path.stat().st_mode)


@posix
def test_the_null_device_takes_everything() -> None:
    """Answers may go to /dev/null, which stays what it is."""
    with open_output(Path("/dev/null")) as stream:
        stream.write("row\n")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@linux
@pytest.mark.parametrize("flush", [True, False])
def test_a_full_device_is_an_output_error(flush: bool) -> None:
    """A full disk is one plain message, whether it is noticed at a row or at the end."""

    def write() -> None:
        with open_output(Path("/dev/full")) as stream:
            stream.write("row\n")
            if flush:
                stream.flush()

    with pytest.raises(OutputError, match="write error: /dev/full: No space left on device"):
        write()


@posix
def test_a_reader_that_left_is_not_an_output_error(tmp_path: Path) -> None:
    """A closed pipe stays a BrokenPipeError, which the program ends quietly on."""
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def write() -> None:
        with open_output(path) as stream:
            os.close(reader)
            stream.write("row\n")
            stream.flush()

    with pytest.raises(BrokenPipeError):
        write()


# --- standard output ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, Path("-"), Path("/dev/stdout")])
def test_no_path_or_a_dash_is_standard_output(
    path: Path | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without --output, and with `-`, answers go to standard output, after what is there already."""
    print("before")  # noqa: T201
    with open_output(path) as stream:
        stream.write("row\r\n")
    print("after")  # noqa: T201
    assert capfd.readouterr().out.splitlines() == ["before", "row", "after"]


def test_standard_output_may_be_a_stand_in() -> None:
    """A program that put a stream of its own in place of stdout gets the answers there."""
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, "ascii")
    with redirect_stdout(stdout), open_output(None) as stream:
        stream.write("猫\r\n")
    assert raw.getvalue() == "猫\r\n".encode()
    text = io.StringIO()
    with redirect_stdout(text), open_output(None) as stream:
        stream.write("猫\n")
    assert text.getvalue() == "猫\n"


def test_the_encoding_is_utf8_unless_the_terminals_is_asked_for() -> None:
    """JSON is UTF-8 whatever the locale; the table keeps what the terminal can show."""
    for encoding, expected in (("utf-8", "é✓".encode()), (None, b"\xe9\\u2713")):
        raw = io.BytesIO()
        stdout = io.TextIOWrapper(raw, "latin-1")
        with redirect_stdout(stdout), open_output(None, encoding) as stream:
            stream.write("é✓")
        assert raw.getvalue() == expected


def test_a_closed_standard_output_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program started without a standard output says so, and what to do."""
    monkeypatch.setattr(sys, "stdout", None)
    with (
        pytest.raises(OutputError, match=r"standard output is closed\."),
        open_output(None),
    ):
        pass


@linux
def test_a_full_standard_output_is_told_once() -> None:
    """On a full device the interpreter adds nothing of its own while it shuts down."""
    code = """
from siglipcli.errors import OutputError
try:
    with open_output(None) as stream:
        stream.write("row\\n")
        stream.flush()
except OutputError as error:
    sys.exit(str(error))
"""
    with Path("/dev/full").open("wb") as full, child(code, stdout=full) as process:
        _, errors = process.communicate()
    assert errors == b"write error: standard output: No space left on device\n"
    assert process.returncode == 1


@posix
def test_a_reader_that_leaves_ends_it_quietly() -> None:
    """`| head -1` leaves no complaint of the interpreter's behind."""
    code = """
try:
    with open_output(None) as stream:
        while True:
            stream.write("row\\n")
            stream.flush()
except BrokenPipeError:
    sys.exit(0)
"""
    with child(code, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"row\n"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


@posix
def test_an_interrupt_never_tears_a_row() -> None:
    """Interrupted while a slow reader holds it up, the rows so far are whole."""
    code = """
import json
row = json.dumps({"file": "x" * 300_000}) + "\\n"
sys.stderr.write("ready\\n")
sys.stderr.flush()
try:
    with open_output(None) as stream:
        while True:
            stream.write(row)
            stream.flush()
except KeyboardInterrupt:
    sys.exit(130)
"""
    with child(code, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == b"ready\n"
        first = process.stdout.read(1)  # it is writing, and soon the pipe is full
        process.send_signal(signal.SIGINT)
        rows = (first + process.stdout.read()).decode()
    assert process.returncode == 130
    assert rows.endswith("\n")
    assert {len(json.loads(row)["file"]) for row in rows.splitlines()} == {300_000}


# --- is it an input? ------------------------------------------------------------------------------


@posix
def test_two_names_of_one_file_are_the_same(tmp_path: Path) -> None:
    """An output is recognised as an input through links, `..`, and before it exists."""
    (tmp_path / "folder").mkdir()
    there, link = tmp_path / "a.jpg", tmp_path / "link.jpg"
    there.touch()
    link.symlink_to(there)
    hard = tmp_path / "hard.jpg"
    hard.hardlink_to(there)
    assert is_same(there, link)
    assert is_same(there, hard)
    assert is_same(tmp_path / "folder" / ".." / "new.csv", str(tmp_path / "new.csv"))
    assert not is_same(there, tmp_path / "new.csv")
