"""Files and folders that vanish, refuse, loop, block or have odd names."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from command import DEADLINE, HEART, STAR, UNPRIVILEGED, Siglip
from zoo import ODD_NAMES

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the file system of POSIX")
FIRST = 30  # seconds to the first row of very many files, on a busy machine too
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, drops capabilities")


def kinds(rows: list[dict[str, Any]]) -> list[str]:
    """`ok`, or the kind of the error, row by row."""
    return [row["error"]["kind"] if row["status"] == "error" else "ok" for row in rows]


def shown(rows: list[dict[str, Any]], folder: Path) -> list[str]:
    """The rows' files, below `folder`."""
    return [os.path.relpath(row["file"], folder) for row in rows]


def linked(folder: Path, count: int) -> Path:
    """Make a folder of so many images, all of one content."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}.jpg").hardlink_to(HEART)
    return folder


@pytest.mark.full
def test_deleted_between_listing_and_reading(siglip: Siglip, tmp_path: Path) -> None:
    """A file that was listed and is gone when its turn comes is a row, `vanished`."""
    folder = linked(tmp_path / "in", 1500)  # more rows than the pipe and what is read ahead hold
    with siglip.start("classify", "--model", "demo", "-L", "x" * 200, "--no-cache", folder) as run:
        first = run.stdout.readline()
        (folder / "01499.jpg").unlink()
        rest, stderr = run.stdout.read(), run.stderr.read()
    rows = [json.loads(line) for line in (first + rest).splitlines()]
    assert kinds(rows) == ["ok"] * 1499 + ["vanished"]
    assert run.returncode == 1
    assert b" 1 failed, " in stderr


@linux
def test_no_permission(siglip: Siglip, tmp_path: Path) -> None:
    """A file that may not be read is a row, named or found; the others are answered."""
    folder = linked(tmp_path / "in", 2)
    (folder / "locked.jpg").write_bytes(HEART.read_bytes())
    (folder / "locked.jpg").chmod(0)
    done = siglip.classify(folder, folder / "locked.jpg", "--no-cache", code=UNPRIVILEGED)
    assert kinds(done.rows) == ["ok", "ok", "permission", "permission"]
    assert done.status == 1


@linux
def test_an_unreadable_folder(siglip: Siglip, tmp_path: Path) -> None:
    """A folder that may not be read is a row with status 1; what is beside it is answered."""
    folder = linked(tmp_path / "in", 2)
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0)
    done = siglip.classify(folder, "--no-cache", code=UNPRIVILEGED)
    (folder / "locked").chmod(0o700)
    assert shown(done.rows, folder) == ["00000.jpg", "00001.jpg", "locked"]
    assert kinds(done.rows) == ["ok", "ok", "permission"]
    assert done.status == 1
    assert " 1 failed, " in done.stderr


def test_loops_and_dangling_links(siglip: Siglip, tmp_path: Path) -> None:
    """Links that lead back or to nothing do not keep a run from ending; each image comes once."""
    folder = linked(tmp_path / "in", 1)
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "self").symlink_to("self")
    (folder / "deep" / "self.jpg").symlink_to("self.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "here.jpg").symlink_to("00000.jpg")
    done = siglip.rows(folder)
    assert shown(done.rows, folder) == ["00000.jpg", "deep/self.jpg", "gone.jpg", "here.jpg"]
    assert kinds(done.rows) == ["ok", "missing", "missing", "ok"]
    assert done.status == 1


def test_pipes_sockets_and_devices(siglip: Siglip, tmp_path: Path, monkeypatch: Any) -> None:
    """In a folder they are passed over; named, they are a row; nothing waits for one of them."""
    folder = linked(tmp_path / "in", 1)
    os.mkfifo(folder / "fifo.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(folder)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind("socket.jpg")
        done = siglip.rows(folder)
        assert (shown(done.rows, folder), done.status) == (["00000.jpg"], 0)
        done = siglip.rows(folder / "fifo.jpg", folder / "socket.jpg", "/dev/zero", HEART)
    assert kinds(done.rows) == ["not_a_file", "not_a_file", "not_a_file", "ok"]
    assert done.status == 1


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with one image whose name is not UTF-8."""
    folder = tmp_path / "raw"
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"\xff\xe9.jpg")).write_bytes(HEART.read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    return folder


@pytest.mark.parametrize(
    ("locale", "form"),
    [("C", "jsonl"), ("C", "csv"), ("C", "table"), ("POSIX", "jsonl"), ("C.UTF-8", "table")],
)
def test_names_that_are_not_utf8(siglip: Siglip, raw: Path, locale: str, form: str) -> None:
    """A name of any bytes is read in every locale; what is written is UTF-8 and gives it back."""
    env = {"LC_ALL": locale, "PYTHONUTF8": "0"}
    done = siglip.classify(raw, "--format", form, env=env)
    assert done.status == 0, done.stderr
    text = done.stdout.decode()
    if form == "jsonl":
        assert base64.b64decode(done.row["file_bytes"]).rpartition(b"/")[2] == b"\xff\xe9.jpg"
    elif form == "csv":
        assert "%FF%E9.jpg" in text
    else:
        assert r"\xff\xe9.jpg" in text


def test_names_that_break_careless_writers(siglip: Siglip, tmp_path: Path) -> None:
    """Newlines, quotes, escapes, markup, formulas, dashes: one record each, names as they are."""
    folder = tmp_path / "in"
    folder.mkdir()
    names = sorted(name for name in ODD_NAMES if name.isprintable() or name.isascii())
    for name in names:
        (folder / name).hardlink_to(STAR)
    given = [f"./{name}" for name in names]
    for arguments in ([folder], ["--no-recursive", "--", *given]):
        done = siglip.rows("--top", "1", "--format", "jsonl", *arguments, cwd=folder)
        assert sorted(done.by_name()) == names
        assert kinds(done.rows) == ["ok"] * len(names)
    done = siglip.rows(folder, "--top", "1", "--format", "csv")
    records = list(csv.DictReader(io.StringIO(done.stdout.decode(), newline="")))
    assert sorted(Path(each["file"]).name for each in records) == names
    done = siglip.rows("--top", "1", "--", "-leading-dash.png", cwd=folder)
    assert done.row["file"] == "-leading-dash.png"


def test_names_on_a_terminal(siglip: Siglip, tmp_path: Path) -> None:
    """In a table and on stderr no name moves the cursor, changes a colour or is taken as markup."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("esc\x1b[31mred.png", "[bold]markup[red].png", "two\nlines.png", "a\u202eb.png"):
        (folder / name).hardlink_to(STAR)
    done = siglip.rows(folder, "--top", "1", "--format", "table")
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert "[bold]markup[red].png" in text
    assert r"esc\x1b[31mred.png" in text
    assert r"two\nlines.png" in text
    assert r"a\u202eb.png" in text
    done = siglip.rows(HEART, "--labels", "no\x1b[31m\nsuch.yaml")
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (b"%s\n\n\n%s\n", []),
        (b"%s\r\n\r\n%s\r\n", []),
        (b"\n%s\n%s", []),
        (b"\xef\xbb\xbf%s\r\n%s", []),
        (b"%s\0\0%s\0", ["--null"]),
        (b"%s\0%s", ["-0"]),
    ],
)
def test_lists(siglip: Siglip, tmp_path: Path, text: bytes, options: list[str]) -> None:
    """Empty entries, CRLF, a byte order mark and a missing last newline or NUL change nothing."""
    data = text % (os.fsencode(HEART), os.fsencode(STAR))
    done = siglip.rows("--files-from", "-", *options, data=data)
    assert [row["file"] for row in done.rows] == [str(HEART), str(STAR)]
    assert (kinds(done.rows), done.status) == (["ok", "ok"], 0)


def test_a_missing_argument(siglip: Siglip, tmp_path: Path) -> None:
    """A path that leads nowhere is a row with status 1; the others are answered."""
    done = siglip.rows(tmp_path / "gone.jpg", HEART, tmp_path / "gone" / "a.jpg")
    assert kinds(done.rows) == ["missing", "ok", "missing"]
    assert done.status == 1
    assert " 2 failed, " in done.stderr


def test_an_empty_folder(siglip: Siglip, tmp_path: Path) -> None:
    """No images: no rows, status 1, said on stderr; with `--allow-empty` status 0."""
    for options, status in (((), 1), (("--allow-empty",), 0)):
        done = siglip.rows(tmp_path, *options)
        assert (done.status, done.stdout) == (status, b"")
        assert done.stderr == "siglip: no images found\n"


def memory(pid: int) -> float:
    """The memory a process holds now, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


@linux
def test_a_list_without_end(siglip: Siglip, tmp_path: Path) -> None:
    """The first row is out while the list still grows, and memory does not grow with it."""
    folder = linked(tmp_path / "in", 100)
    entries = [os.fsencode(path) + b"\n" for path in sorted(folder.iterdir())]
    siglip.classify(folder)  # now they are stored, and quick
    run = siglip.start("classify", "--model", "demo", "-L", "cat", "--files-from", "-", stdin=-1)
    with run:
        run.stdin.write(entries[0])
        run.stdin.flush()
        assert json.loads(run.stdout.readline())["file"] == str(folder / "00000.jpg")
        Thread(target=_feed, args=(run, entries * 300)).start()
        held = [_after(run, count) for count in (10_000, 19_000)]  # the pipe is full: it is running
        assert run.stdout.read().count(b"\n") == 1_000
    assert run.returncode == 0
    assert held[1] < held[0] * 1.05 + 8


def _feed(run: Any, entries: list[bytes]) -> None:
    with run.stdin:
        run.stdin.writelines(entries)


def _after(run: Any, count: int) -> float:
    """Read so many answers; return the memory then held."""
    for _ in range(count):
        assert run.stdout.readline()
    return memory(run.pid)


@pytest.mark.full
@linux
@pytest.mark.parametrize("count", [25_000, pytest.param(1_000_000, marks=pytest.mark.stress)])
def test_a_million_files(siglip: Siglip, tmp_path: Path, count: int) -> None:
    """Folders of 1,000 images each, up to 1,000 of them: the first row at once, then flat memory."""
    shutil.copyfile(HEART, tmp_path / "0")
    folder = tmp_path / "in"
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:03}").mkdir(parents=True)
        if number % 50_000 == 0:  # file systems bound the links to one file
            source = tmp_path / f"source-{number}"
            shutil.copyfile(HEART, source)
        os.link(source, folder / f"{number // 1000:03}" / f"{number % 1000:03}.jpg")
    begun = time.monotonic()
    with siglip.start("classify", "--model", "demo", "-L", "cat", folder) as run:
        assert run.stdout.readline()
        first = time.monotonic() - begun
        held = [_after(run, count) for count in (5_000, 15_000)]
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=DEADLINE)
    assert run.returncode == 143
    assert first < FIRST
    assert held[1] < held[0] * 1.05 + 8


def test_few_descriptors(own: Siglip, tmp_path: Path) -> None:
    """`ulimit -n 64` is enough, for a deep tree and with the store too."""
    folder = tmp_path / "in"
    deep = folder
    for _ in range(80):
        deep /= "d"
    deep.mkdir(parents=True)
    for number in range(150):
        (folder / f"{number}.jpg").hardlink_to(HEART)
    (deep / "a.jpg").hardlink_to(STAR)
    run = ("classify", "--model", "demo", "-L", "cat", folder, "--workers", "8")
    for _ in range(2):
        done = own.shell('ulimit -n 64; exec "$@"', *run)
        assert done.status == 0, done.stderr
        assert kinds(done.rows) == ["ok"] * 151
        assert "going on without" not in done.stderr
