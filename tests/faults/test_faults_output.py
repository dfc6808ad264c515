"""Readers that leave, disks that fill, signals, and bugs: what is left behind."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import DEADLINE, HANGS, HEART, LABELS, STAR, Siglip, assert_none_left, spoilt

from siglipcli import demo

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
OLD = '{"file": "old.jpg", "status": "ok"}\n'  # as an earlier run wrote it
CLASSIFY = ("classify", "--model", "demo", *LABELS)


def test_head(siglip: Siglip) -> None:
    """`| head -1`: one row, status 0, nothing on stderr but the end of the run."""
    script = '{ "$@"; echo "status $?" >&2; } | head -1'
    for form in ("jsonl", "csv", "json", "table"):
        done = siglip.shell(script, *CLASSIFY, "-f", form, *[demo.IMAGES] * 30)
        assert done.stdout.count(b"\n") == 1
        assert done.stderr.splitlines()[-1] == "status 0", form
        assert "Broken pipe" not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_dies(siglip: Siglip) -> None:
    """A reader killed in the middle ends the run quietly."""
    with siglip.start(*CLASSIFY, "--no-cache", *[demo.IMAGES] * 100) as run:
        assert run.stdout.readline()
        run.stdout.close()
        stderr = run.stderr.read().decode()
    assert run.returncode == 0
    assert "Broken pipe" not in stderr
    assert "Traceback" not in stderr


def assert_write_error(status: int, stderr: str) -> None:
    assert status == 3
    assert re.search("^siglip: write error: ", stderr, re.MULTILINE)
    assert "Traceback" not in stderr
    assert "bug" not in stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "table"])
def test_dev_full(siglip: Siglip, form: str) -> None:
    """`>/dev/full`, or as --output: status 3 and one line."""
    done = siglip.shell('"$@" >/dev/full', *CLASSIFY, "-q", "-f", form, HEART)
    assert_write_error(done.status, done.stderr)
    assert done.stderr.count("\n") == 1
    done = siglip(*CLASSIFY, "-q", "-f", form, "-o", "/dev/full", HEART)
    assert_write_error(done.status, done.stderr)


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))
"""


def test_a_disk_that_fills(siglip: Siglip, tmp_path: Path) -> None:
    """A disk that fills while --output is written: status 3, the old file stays, no draft is left."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.jsonl").write_text(OLD)
    run = (*CLASSIFY, "--no-cache", "-o", folder / "a.jsonl", *[demo.IMAGES] * 5)
    done = siglip(*run, code=FULL.format(bytes=4096))
    assert_write_error(done.status, done.stderr)
    assert (folder / "a.jsonl").read_text() == OLD
    assert [path.name for path in folder.iterdir()] == ["a.jsonl"]


def test_a_closed_stdout(siglip: Siglip) -> None:
    """`>&-`: status 3 and one line."""
    done = siglip.shell('"$@" >&-', *CLASSIFY, "-q", HEART)
    assert_write_error(done.status, done.stderr)
    assert done.stderr.count("\n") == 1


class Slow:
    """A run fed from a FIFO: it answers what was named and waits for more."""

    def __init__(self, siglip: Siglip, folder: Path, *options: str | Path, code: str = "") -> None:
        os.mkfifo(folder / "list")
        self.process = siglip.start(*CLASSIFY, "--files-from", folder / "list", *options, code=code)
        self.list = (folder / "list").open("w")  # waits for the run to open it
        self.answers = b""

    def name(self, *paths: Path) -> None:
        self.list.writelines(f"{path}\n" for path in paths)
        self.list.flush()

    def wait_for(self, count: int) -> None:
        """Read answers until so many images are in them."""
        while self.answers.count(b'"file"') < count:
            assert select.select([self.process.stdout], [], [], DEADLINE)[0], "no answer"
            self.answers += os.read(self.process.stdout.fileno(), 1 << 16)

    def end(self, *numbers: int) -> tuple[int, str]:
        """Send signals; return the status and what was said on stderr."""
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(0.01)
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        self.answers += stdout
        return self.process.returncode, stderr.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.list.close()


@pytest.fixture
def slow(siglip: Siglip, tmp_path: Path) -> Iterator[Slow]:
    run = Slow(siglip, tmp_path)
    yield run
    run.close()


@pytest.mark.parametrize(
    ("numbers", "status"), [([signal.SIGINT], 130), ([signal.SIGTERM], 143), ([signal.SIGINT] * 3, 130)]
)  # fmt: skip
def test_signals(slow: Slow, numbers: list[int], status: int) -> None:
    """Ctrl-C (also several) and SIGTERM: whole rows, the status that says which, no traceback."""
    slow.name(HEART, STAR)
    slow.wait_for(1)
    returned, stderr = slow.end(*numbers)
    assert returned in ({status, -signal.SIGINT} if len(numbers) > 1 else {status})
    *rows, rest = slow.answers.split(b"\n")
    assert rest == b""
    assert 1 <= len([json.loads(row) for row in rows]) <= 2
    assert "Traceback" not in stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("options", [(), ("--no-isolate",)])
def test_a_second_interrupt_and_orphans(
    siglip: Siglip, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Neither a decoder that does not return nor anything else outlives two interrupts."""
    run = hanging(siglip, tmp_path, *options)
    status, stderr = run.end(signal.SIGINT, signal.SIGINT)
    run.close()
    assert status in {130, -signal.SIGINT}
    assert "Traceback" not in stderr
    assert_none_left(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_signals_while_a_decoder_hangs(
    siglip: Siglip, tmp_path: Path, number: int, status: int
) -> None:
    """Ctrl-C, SIGTERM, even `kill -9` in a hang: at once, whole rows, and no process stays."""
    run = hanging(siglip, tmp_path)
    returned, stderr = run.end(number)
    run.close()
    assert returned == status
    assert "Traceback" not in stderr
    assert [json.loads(row)["status"] for row in run.answers.splitlines()] == ["ok"]
    assert_none_left(tmp_path)


def hanging(siglip: Siglip, folder: Path, *options: str) -> Slow:
    """A run that answered an image, and in which a GIF now hangs."""
    from PIL import Image

    Image.new("P", (9, 9)).save(folder / "slow.gif")
    said = HANGS.replace("lambda self:", f"lambda self: open({str(folder / 'now')!r}, 'w') and")
    run = Slow(spoilt(siglip, folder, said), folder, *options)
    run.name(HEART, folder / "slow.gif")
    run.wait_for(1)
    end = time.monotonic() + DEADLINE
    while not (folder / "now").exists() and time.monotonic() < end:
        time.sleep(0.02)
    return run


def test_killed_while_writing(siglip: Siglip, tmp_path: Path) -> None:
    """`kill -9` while --output is written: the old file, whole; without one, none."""
    folder = tmp_path / "out"
    folder.mkdir()
    for old in (None, OLD):
        if old:
            (folder / "a.jsonl").write_text(old)
        (tmp_path / str(old is None)).mkdir()
        run = Slow(siglip, tmp_path / str(old is None), "--output", folder / "a.jsonl")
        run.name(HEART, STAR)
        end = time.monotonic() + DEADLINE
        while not any(p.stat().st_size for p in folder.glob(".*.part")) and time.monotonic() < end:
            time.sleep(0.02)
        assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
        run.close()
        (part,) = folder.glob(".*.part")
        part.unlink()
        assert [p.read_text() for p in folder.iterdir()] == ([old] if old else [])


def test_an_output_among_the_inputs(siglip: Siglip, tmp_path: Path) -> None:
    """The output in the scanned folder is not read; one that is a named input is refused, untouched."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = folder / "b.png"
    image.write_bytes(STAR.read_bytes())
    for _ in range(2):
        done = siglip.classify(folder, "--ext", "png", "--ext", "jsonl", "-o", folder / "a.jsonl")
        assert done.status == 0, done.stderr
        rows = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
        assert [row["file"] for row in rows] == [str(image)]
    (tmp_path / "link.png").symlink_to(image)
    for output in (image, folder / ".." / "in" / "b.png", tmp_path / "link.png"):
        done = siglip.classify(image, "-f", "jsonl", "-o", output)
        assert done.status == 2
        assert "one of the inputs" in done.stderr
        assert image.read_bytes() == STAR.read_bytes()


def test_stdout_holds_data_only(siglip: Siglip, tmp_path: Path) -> None:
    """Counts, notes, warnings and what --verbose adds go to stderr."""
    run = ("classify", "--model", "demo", "-v", "--no-cache", demo.IMAGES, tmp_path / "gone.jpg")
    done = siglip(*run)
    assert len(done.rows) == 9
    assert done.status == 1
    for said in ("no labels given", "model demo: ", "8 encoded", "1 failed"):
        assert said in done.stderr


def test_a_bug(siglip: Siglip, tmp_path: Path) -> None:
    """A bug in the program: status 3, never 1; one line that names the file with the traceback."""
    code = "from siglipcli.cli import setup\nsetup.label_sets = lambda *a: 1 / 0\n"
    done = siglip.classify(HEART, code=code)
    assert (done.status, done.stdout) == (3, b"")
    found = re.fullmatch(
        r"siglip: this is a bug in siglip: .*Its traceback is in (.+)\n", done.stderr
    )
    assert found
    assert "ZeroDivisionError" in Path(found[1]).read_text()
    assert Path(found[1]).parent == tmp_path


def test_a_bug_while_answering(siglip: Siglip, tmp_path: Path) -> None:
    """A bug after some rows: they are whole, the status is 3, an old --output stays."""
    code = """
from siglipcli import scoring
def rank(*a, rank=scoring.rank, calls=[]):
    calls.append(1)
    assert len(calls) < 3, "third"
    return rank(*a)
scoring.rank = rank
"""
    done = siglip.classify(*[HEART] * 600, "--no-cache", code=code)
    assert done.status == 3
    assert len(done.rows) > 0
    assert "this is a bug in siglip: AssertionError: third" in done.stderr
    (tmp_path / "a.csv").write_text("file,score\n")
    done = siglip.classify(*[HEART] * 600, "--no-cache", "-o", tmp_path / "a.csv", code=code)
    assert (done.status, (tmp_path / "a.csv").read_text()) == (3, "file,score\n")
