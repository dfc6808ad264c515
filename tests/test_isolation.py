"""Decoders kept apart: time limits, worker processes, and what is left when they end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from siglipcli import images
from siglipcli.errors import ImageError, SiglipError
from siglipcli.images import DEFAULT_LIMITS, Limits
from siglipcli.isolation import readers as readers_room
from siglipcli.isolation.readers import Decoder, Readers
from siglipcli.isolation.worker import CannotStartError, Worker
from siglipcli.pipeline import Embedded, Reading, embed
from siglipcli.records import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fake_encoder import FakeEncoder

DEADLINE = 30.0  # seconds for what must happen
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or needs its limits")


def picture(kind: str = "GIF", side: int = 40) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).save(out, kind)
    return out.getvalue()


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker; no process is left of it."""
    made = Worker()
    yield made
    made.close()


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Have code run first in every worker that starts: `load` is what decodes a GIF there."""

    def install(code: str) -> None:
        code = code.replace("load =", "GifImagePlugin.GifImageFile.load =")
        text = "import os, signal\nfrom PIL import GifImagePlugin\n" + code
        (tmp_path / "sitecustomize.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


HANG = "load = lambda self: signal.sigwait([signal.SIGUSR1])"


def decoded(worker: Worker, data: bytes, **options: float) -> np.ndarray:
    return worker.decode(data, 32, DEFAULT_LIMITS, exact=True, **options)


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def process_of(worker: Worker) -> int:
    assert worker._process
    return worker._process.pid


# --- one worker -----------------------------------------------------------------------------------


def test_pixels_and_complaints_are_the_same_there(worker: Worker) -> None:
    """A worker gives what the process itself would give."""
    for kind in ("GIF", "JPEG", "PNG", "TIFF", "WEBP"):
        data = picture(kind)
        expected = images.decode(data, 32, exact=True)
        np.testing.assert_array_equal(decoded(worker, data), expected)
    for data in (b"", b"text", picture()[:60], picture("TIFF")[:50]):
        with pytest.raises(ImageError) as here:
            images.decode(data, 32)
        with pytest.raises(ImageError) as there:
            decoded(worker, data)
        assert (there.value.kind, str(there.value)) == (here.value.kind, str(here.value))


def test_limits_reach_the_worker(worker: Worker) -> None:
    """The caller's limit on megapixels holds there too."""
    with pytest.raises(ImageError, match="megapixels") as error:
        worker.decode(picture(), 32, Limits(max_megapixels=0.001), exact=True)
    assert error.value.kind == "too_large"


def test_a_large_file_is_passed_whole(worker: Worker) -> None:
    """What is larger than any pipe arrives as it was sent."""
    data = picture("PNG") + bytes(9_000_000)
    np.testing.assert_array_equal(decoded(worker, data), images.decode(data, 32))


def test_one_process_serves_many_pictures(worker: Worker) -> None:
    """It is started once, and kept."""
    data = picture()
    decoded(worker, data)
    first = process_of(worker)
    for _ in range(5):
        decoded(worker, data)
    assert process_of(worker) == first


@posix_only
def test_a_process_killed_between_pictures_costs_none(worker: Worker) -> None:
    """What ended the worker was no fault of the next picture: that is tried in a fresh one."""
    data = picture()
    decoded(worker, data)
    first = process_of(worker)
    os.kill(first, signal.SIGKILL)
    assert decoded(worker, data).any()
    assert process_of(worker) != first


@posix_only
def test_a_picture_that_kills_is_told_and_the_next_is_answered(
    worker: Worker, spoil: Callable[[str], None]
) -> None:
    """A crash is that picture's, with the signal's name."""
    spoil("load = lambda self: os.kill(os.getpid(), signal.SIGBUS)")
    for _ in range(2):
        assert decoded(worker, picture("TIFF")).any()
        with pytest.raises(ImageError, match="SIGBUS") as error:
            decoded(worker, picture())
        assert error.value.kind == "crashed"


def test_a_status_is_told_too(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A decoder that ends its process in good order is no better."""
    spoil("load = lambda self: os._exit(7)")
    with pytest.raises(ImageError, match="with status 7"):
        decoded(worker, picture())


@posix_only
def test_a_hang_ends_by_kill(worker: Worker, spoil: Callable[[str], None]) -> None:
    """Whoever is tired of waiting ends the decode, from any thread, and the worker for good."""
    spoil(HANG)
    caught: list[ImageError] = []

    def decode() -> None:
        try:
            decoded(worker, picture())
        except ImageError as error:
            caught.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    assert wait_until(lambda: worker._process is not None)
    worker.kill()
    thread.join(DEADLINE)
    assert [error.kind for error in caught] == ["crashed"]
    with pytest.raises(ImageError):
        decoded(worker, picture("TIFF"))
    assert worker._process is None


@posix_only
def test_a_hang_ends_by_itself(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A worker that nobody looks after any more is ended by the kernel, some time after its limit."""
    spoil(HANG)
    with pytest.raises(ImageError, match="raise --image-timeout") as error:
        decoded(worker, picture(), seconds=-4.5)  # 5 are added
    assert error.value.kind == "timeout"


@linux_only
def test_memory_is_bounded(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A decoder that asks for more than any picture needs is refused, and no other is hurt."""
    spoil("load = lambda self: bytearray(5 << 30)")
    with pytest.raises(ImageError, match="Not enough memory") as error:
        decoded(worker, picture())
    assert error.value.kind == "too_large"
    first = process_of(worker)
    assert decoded(worker, picture("TIFF")).any()
    assert process_of(worker) == first


def test_what_a_decoder_prints_is_lost(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A library that writes on stdout or reads stdin disturbs nothing."""
    noise = "os.write(1, b'x' * 99), os.write(2, b'y'), os.read(0, 9)"
    spoil(f"load = lambda self: [{noise}, exec('raise OSError(\"so\")')]")
    with pytest.raises(ImageError, match="so"):
        decoded(worker, picture())
    assert decoded(worker, picture("TIFF")).any()


def test_a_bug_there_is_a_bug_here(worker: Worker, spoil: Callable[[str], None]) -> None:
    """What no decoder raises is not blamed on the picture."""
    spoil("load = lambda self: exec('assert False, \"so\"')")
    with pytest.raises(RuntimeError, match="AssertionError: so"):
        decoded(worker, picture())


def test_the_folder_one_is_in_is_not_imported_from(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A `numpy.py` among a stranger's pictures is never run."""
    for name in ("numpy", "PIL", "sys", "os", "struct"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert decoded(worker, picture()).any()


def test_a_python_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No executable, a frozen program, a Python that ends at once: one error that says which."""
    worker = Worker()
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pytest.raises(CannotStartError, match="ended at once, with status 1"):
        decoded(worker, picture())
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(CannotStartError, match="cannot start another"):
        decoded(worker, picture())


@linux_only
def test_nothing_is_left(spoil: Callable[[str], None]) -> None:
    """Neither a process, nor a zombie, nor a descriptor, however a worker ended."""
    spoil("load = lambda self: os.kill(os.getpid(), signal.SIGKILL)")
    before = len(list(Path("/proc/self/fd").iterdir()))
    worker = Worker()
    for _ in range(4):
        with pytest.raises(ImageError):
            decoded(worker, picture())
        decoded(worker, picture("TIFF"))
    last = process_of(worker)
    worker.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not Path(f"/proc/{last}").exists()


@linux_only
@pytest.mark.parametrize("hangs", [False, True])
def test_a_worker_ends_with_its_parent(
    tmp_path: Path, spoil: Callable[[str], None], hangs: bool
) -> None:
    """`kill -9` of the parent takes its worker along, idle or in a decoder that hangs."""
    spoil(HANG if hangs else "")
    code = (
        "import sys, threading, time\n"
        "from siglipcli.images import DEFAULT_LIMITS\nfrom siglipcli.isolation.worker import Worker\n"
        "worker, data = Worker(), sys.stdin.buffer.read()\n"
        "def decode():\n"
        "    worker.decode(data, 32, DEFAULT_LIMITS, exact=True)\n    time.sleep(99)\n"
        "threading.Thread(target=decode, daemon=True).start()\n"
        "while not worker._decoded: time.sleep(0.01)\n"
        "print(worker._process.pid, flush=True)\ntime.sleep(99)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        parent.stdin.write(picture())
        parent.stdin.close()
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    assert wait_until(lambda: is_gone(pid))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; who inherits orphans may not have looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- which pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "is_delicate"),
    [
        *[(picture(kind), kind not in {"JPEG", "PNG"}) for kind in images.FORMATS],
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60), True),
        (b"\xff\x0a" + bytes(60), True),
        (b"", False),
        (b"plain text", False),
        (b"%PDF-1.7\n", False),
        (b"%!PS", False),
        (b"<svg/>", False),
        (b"RIFF\0\0\0\0AVI ", False),
    ],
)
def test_rarer_formats_are_delicate(data: bytes, is_delicate: bool) -> None:
    """JPEG and PNG are not, nor is what no decoder is asked about."""
    assert images.is_delicate(data) is is_delicate


# --- readers --------------------------------------------------------------------------------------


class Run:
    """Readers whose work is a function of a number; what is late is its negative."""

    def __init__(self, work: Callable[[int], int], seconds: float, count: int = 1) -> None:
        self.readers: Readers[int, int] = Readers(
            count, lambda n, _: work(n), lambda n: -n, seconds=seconds, isolate=None
        )

    def results(self, items: range) -> list[int]:
        tasks = [self.readers.submit(n) for n in items]
        return [task.result() for task in tasks]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What stuck work waits for; set at the end, after which no reader is left."""
    event = threading.Event()
    yield event
    event.set()
    assert wait_until(lambda: not [t for t in threading.enumerate() if "siglip" in t.name])


def test_stuck_work_is_given_up_and_the_rest_is_done(release: threading.Event) -> None:
    """One thread, three inputs that hang: those are late, the others are done, in order."""
    run = Run(lambda n: n if n % 3 else release.wait(DEADLINE) and n, seconds=0.6)
    assert run.results(range(1, 10)) == [1, 2, -3, 4, 5, -6, 7, 8, -9]
    run.readers.close()


def test_waiting_in_line_does_not_count(release: threading.Event) -> None:
    """The limit is for one input, not for those before it."""
    run = Run(lambda n: time.sleep(0.2) or n, seconds=1)
    assert run.results(range(8)) == [*range(8)]
    run.readers.close()


def test_a_machine_that_slept_is_no_hang(release: threading.Event) -> None:
    """All the time may have passed while nothing ran: then a moment more is given."""
    run = Run(lambda n: time.sleep(0.2) or n, seconds=30)
    task = run.readers.submit(5)
    assert wait_until(lambda: task.begun is not None)
    task.begun = time.monotonic() - 3600
    assert task.result() == 5
    run.readers.close()


def test_no_limit_waits(release: threading.Event) -> None:
    """0 seconds are no limit."""
    run = Run(lambda n: time.sleep(0.8) or n, seconds=0)
    assert run.results(range(1, 2)) == [1]
    run.readers.close()


def test_an_error_is_passed_on_though_it_is_one_of_time(release: threading.Event) -> None:
    """What the work raises comes out, also where waiting raises the same."""

    def work(n: int) -> int:
        raise TimeoutError("of the disk")

    run = Run(work, seconds=5)
    with pytest.raises(TimeoutError, match="of the disk"):
        run.results(range(1))
    run.readers.close()


def test_too_many_stuck_threads_end_the_run(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where file after file hangs it is the disk: the run stops and says so."""
    monkeypatch.setattr(readers_room, "_MOST_LOST", 2)
    run = Run(lambda n: release.wait(DEADLINE) and n, seconds=0.1)
    with pytest.raises(SiglipError, match="look whether the disk"):
        run.results(range(5))
    run.readers.close()


def test_threads_that_come_back_are_not_counted(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk is no dead one: who was given up and ended after all may be forgotten."""
    monkeypatch.setattr(readers_room, "_MOST_LOST", 5)
    run = Run(lambda n: time.sleep(1.3) or n, seconds=0.1)
    assert run.results(range(1, 9)) == [-n for n in range(1, 9)]
    run.readers.close()


def test_close_drops_what_waits(release: threading.Event) -> None:
    """Nothing more is begun, who waits is told, and threads end."""
    begun: list[int] = []
    run = Run(lambda n: begun.append(n) or (release.wait(DEADLINE) and n), seconds=60)
    tasks = [run.readers.submit(n) for n in range(5)]
    assert wait_until(lambda: begun == [0])
    run.readers.close()
    assert [task.future.cancelled() for task in tasks] == [False, *[True] * 4]
    assert run.readers.submit(9).future.cancelled()


def test_threads_are_as_many_as_asked_for(release: threading.Event) -> None:
    """One input starts one thread, many start no more than the count."""
    run = Run(lambda n: release.wait(DEADLINE) and n, seconds=60, count=3)
    for expected in (1, 2, 3, 3, 3):
        run.readers.submit(0)
        alive = [t for t in threading.enumerate() if t.name == "siglip-reader"]
        assert len(alive) == expected
    run.readers.close()


@linux_only
def test_close_ends_worker_processes(release: threading.Event) -> None:
    """Whether they work or not, and without a zombie."""
    pids: list[int] = []

    def work(n: int, decoder: Decoder) -> int:
        decoder.decode(picture(), 32, DEFAULT_LIMITS, exact=True)
        pids.append(process_of(decoder._worker))
        return n

    readers = Readers(2, work, lambda n: -n, seconds=60, isolate=None)
    for task in [readers.submit(n) for n in range(6)]:
        task.result()
    readers.close()
    assert pids
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


# --- the loop -------------------------------------------------------------------------------------


def test_a_disk_that_hangs_costs_its_files(
    encoder: FakeEncoder, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose reading never ends is a row of kind `timeout`; the others are answered."""
    plain = images.load_bytes

    def load_bytes(source: Source, limits: Limits) -> bytes:
        if source.name in {"2", "5"}:
            release.wait(DEADLINE)
        return plain(source, limits)

    monkeypatch.setattr(images, "load_bytes", load_bytes)
    sources = [Source(str(n), picture("PNG")) for n in range(8)]
    batches = embed(sources, encoder, Reading(workers=2, timeout=0.6))
    items = [item for batch in batches for item in batch]
    assert [item.source.name for item in items] == [str(n) for n in range(8)]
    failed = {i.source.name: (i.kind, i.message) for i in items if isinstance(i, Failure)}
    assert set(failed) == {"2", "5"}
    assert {kind for kind, _ in failed.values()} == {"timeout"}
    assert "after 0.6 s" in failed["2"][1]


def test_pictures_take_the_way_that_is_asked_for(
    encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a JPEG is decoded in the process itself and a GIF is not."""
    here: list[bytes] = []
    plain = images.decode
    monkeypatch.setattr(
        images, "decode", lambda data, *a, **k: here.append(data) or plain(data, *a, **k)
    )
    gif, jpeg = picture("GIF"), picture("JPEG")
    for isolate, expected in ((None, [jpeg]), (True, []), (False, [gif, jpeg])):
        here.clear()
        sources = [Source("a", gif), Source("b", jpeg)]
        batches = embed(sources, encoder, Reading(workers=1, isolate=isolate))
        assert all(isinstance(item, Embedded) for batch in batches for item in batch)
        assert here == expected


STUCK = """
import sys, threading
sys.path.insert(0, {tests!r})
from fake_encoder import FakeEncoder
from siglipcli import images
from siglipcli.pipeline import Reading, embed
from siglipcli.records import Source
images.load_bytes = lambda source, limits: threading.Event().wait()
(batch,) = embed([Source("a", b"")], FakeEncoder(), Reading(timeout=0.2))
print(batch[0].kind)
"""


def test_a_stuck_thread_does_not_hold_the_exit() -> None:
    """A program that uses the library ends, though a picture of it still hangs."""
    code = STUCK.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "timeout\n"), done.stderr
