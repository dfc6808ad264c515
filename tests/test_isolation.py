"""Decoders kept apart: time limits, worker processes, and what is left when they end."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from siglipcli import images, pipeline
from siglipcli.embeddings import Embedded
from siglipcli.errors import ImageError, SiglipError, UsageError
from siglipcli.images import DEFAULT_LIMITS, Limits
from siglipcli.images import readers as readers_module
from siglipcli.images import worker as worker_module
from siglipcli.images.decoders import Decoder, Policy
from siglipcli.images.readers import MOST_LOST, Clock, Readers
from siglipcli.images.worker import CannotStartError, Worker
from siglipcli.images.worker_main import READY, REPLY, REQUEST
from siglipcli.pipeline import LoadOptions, embed
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from fake_encoder import FakeEncoder

DEADLINE = 120.0  # seconds for what must happen: nothing is waited for when all is well
ROOT = str(Path(images.__file__).parents[2])
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or needs its limits")


def image(kind: str = "GIF", side: int = 40) -> bytes:
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


HANG = "load = lambda self: [open({0!r}, 'a').close(), signal.sigwait([signal.SIGUSR1])]"  # a mark first


def decoded(worker: Worker, data: bytes, **options: float) -> np.ndarray:
    return worker.decode(data, 32, DEFAULT_LIMITS, exact=True, **options)


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def process_of(worker: Worker) -> int:
    assert worker.pid
    return worker.pid


# --- one worker -----------------------------------------------------------------------------------


def test_pixels_and_complaints_are_the_same_there(worker: Worker) -> None:
    """A worker gives what the process itself would give."""
    for kind in ("GIF", "JPEG", "PNG", "TIFF", "WEBP"):
        data = image(kind)
        expected = images.decode(data, 32, exact=True)
        np.testing.assert_array_equal(decoded(worker, data), expected)
    for data in (b"", b"text", image()[:60], image("TIFF")[:50]):
        with pytest.raises(ImageError) as here:
            images.decode(data, 32)
        with pytest.raises(ImageError) as there:
            decoded(worker, data)
        assert (there.value.kind, str(there.value)) == (here.value.kind, str(here.value))


def test_limits_reach_the_worker(worker: Worker) -> None:
    """The caller's limit on megapixels holds there too."""
    with pytest.raises(ImageError, match="megapixels") as error:
        worker.decode(image(), 32, Limits(max_megapixels=0.001), exact=True)
    assert error.value.kind == "too_large"


def test_a_large_file_is_passed_whole(worker: Worker) -> None:
    """What is larger than any pipe arrives as it was sent."""
    data = image("PNG") + bytes(9_000_000)
    np.testing.assert_array_equal(decoded(worker, data), images.decode(data, 32))


def test_one_process_serves_many_images(worker: Worker) -> None:
    """It is started once, and kept."""
    data = image()
    decoded(worker, data)
    first = process_of(worker)
    for _ in range(5):
        decoded(worker, data)
    assert process_of(worker) == first


@posix_only
def test_a_process_killed_between_images_costs_none(worker: Worker) -> None:
    """What ended the worker was no fault of the next image: that is tried in a fresh one."""
    data = image()
    decoded(worker, data)
    first = process_of(worker)
    os.kill(first, signal.SIGKILL)
    assert decoded(worker, data).any()
    assert process_of(worker) != first


@posix_only
def test_a_image_that_kills_is_told_and_the_next_is_answered(
    worker: Worker, spoil: Callable[[str], None]
) -> None:
    """A crash is that image's, with the signal's name."""
    spoil("load = lambda self: os.kill(os.getpid(), signal.SIGBUS)")
    for _ in range(2):
        assert decoded(worker, image("TIFF")).any()
        with pytest.raises(ImageError, match="SIGBUS") as error:
            decoded(worker, image())
        assert error.value.kind == "crashed"


def test_a_status_is_told_too(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A decoder that ends its process in good order is no better."""
    spoil("load = lambda self: os._exit(7)")
    with pytest.raises(ImageError, match="with status 7"):
        decoded(worker, image())


@posix_only
def test_a_hang_ends_by_kill(worker: Worker, spoil: Callable[[str], None], tmp_path: Path) -> None:
    """Whoever is tired of waiting ends the decode, from any thread, and the worker for good."""
    mark = tmp_path / "hangs"
    spoil(HANG.format(str(mark)))
    caught: list[ImageError] = []

    def decode() -> None:
        try:
            decoded(worker, image())
        except ImageError as error:
            caught.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    assert wait_until(mark.exists)
    worker.kill()
    thread.join(DEADLINE)
    assert [error.kind for error in caught] == ["crashed"]
    with pytest.raises(ImageError):
        decoded(worker, image("TIFF"))
    assert worker.pid is None


ORPHAN = """
import ctypes, types
def library(name, *more, plain=ctypes.CDLL):  # one whose kernel does not tell that the parent ended
    return plain(name, *more) if name else types.SimpleNamespace(prctl=lambda *_: -1)
ctypes.CDLL = library
def soon(which, seconds, set_timer=signal.setitimer):
    open({0!r}, "a").write(f"{{seconds}} ")
    set_timer(which, seconds and 0.001)
signal.setitimer = soon
load = lambda self: signal.sigwait([signal.SIGUSR1])
"""


@posix_only
@pytest.mark.parametrize("how", ["plain", "blocked", "ignored"])
def test_a_hang_ends_by_itself(
    worker: Worker, spoil: Callable[[str], None], tmp_path: Path, how: str
) -> None:
    """A worker that nobody looks after ends long after its limit, whatever signals it inherits."""
    spoil(ORPHAN.format(str(tmp_path / "alarms")))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM] if how == "blocked" else [])
    handled = signal.getsignal(signal.SIGALRM)
    if how == "ignored":
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with pytest.raises(ImageError, match="raise that timeout") as error:
            decoded(worker, image(), seconds=20)
    finally:
        signal.signal(signal.SIGALRM, handled)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert error.value.kind == "timeout"
    assert (tmp_path / "alarms").read_text() == "180.0 "


@linux_only
def test_an_alarm_is_for_orphans_only(
    worker: Worker, spoil: Callable[[str], None], tmp_path: Path
) -> None:
    """Where a worker ends with its parent no alarm is set: a paused machine must not set it off."""
    spoil(ORPHAN.format(str(tmp_path / "alarms")).replace("ctypes.CDLL = library", ""))
    assert decoded(worker, image("TIFF"), seconds=20).any()
    assert set((tmp_path / "alarms").read_text().split()) == {"0"}


@linux_only
def test_a_reply_is_whole_though_its_writing_is_interrupted() -> None:
    """A worker that is stopped and continued in the middle of a reply loses nothing of it."""
    import fcntl
    import termios

    process = worker_module._new_process()
    assert process.stdin
    assert process.stdout
    size, data = 512, image()  # the reply is larger than the pipe
    worker_module._read(process, len(READY))
    room = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
    assert room < size * size * 3
    process.stdin.write(REQUEST.pack(len(data), size, 100, 0, True, True, False) + data)
    process.stdin.close()  # the worker ends after its reply

    def waits_for_us() -> bool:
        held = fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4))
        return int.from_bytes(held, sys.byteorder) > room * 3 // 4 and state_of(process.pid) == "S"

    assert wait_until(waits_for_us)
    os.kill(process.pid, signal.SIGSTOP)
    assert wait_until(lambda: state_of(process.pid) == "T")
    os.kill(process.pid, signal.SIGCONT)
    with process:
        assert len(process.stdout.read()) == REPLY.size + size * size * 3


@linux_only
@pytest.mark.parametrize("megapixels", [1e12, 1e300, float("inf")])
def test_any_number_of_megapixels_may_be_allowed(worker: Worker, megapixels: float) -> None:
    """A limit beyond what a system counts is no limit, and no crash."""
    assert worker.decode(image(), 32, Limits(max_megapixels=megapixels), exact=True).any()


@pytest.mark.parametrize("seconds", [1e300, float("inf")])
def test_any_time_limit_is_bearable_there(worker: Worker, seconds: float) -> None:
    """Nor is a time beyond what a timer counts."""
    assert decoded(worker, image(), seconds=seconds).any()


@linux_only
def test_what_decoders_leak_costs_no_image(worker: Worker, spoil: Callable[[str], None]) -> None:
    """An image that finds memory used up by those before it is tried again in a fresh process."""
    code = "kept = []\nplain = GifImagePlugin.GifImageFile.load\n"
    spoil(code + "load = lambda self: [kept.append(bytearray(60 << 20)), plain(self)][1]")
    pids = set()
    for _ in range(6):
        assert worker.decode(image(), 32, Limits(max_megapixels=0.1), exact=True).any()
        pids.add(process_of(worker))
    assert 1 < len(pids) < 6


def test_a_process_is_retired(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many images it is replaced, and nobody sees more of it."""
    monkeypatch.setattr(worker_module, "_MOST_IMAGES", 2)
    pids = []
    for _ in range(5):
        assert decoded(worker, image()).any()
        pids.append(process_of(worker))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]


@posix_only
def test_the_cause_told_is_the_true_one(
    worker: Worker, spoil: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose pipes close a while before it ends is not said to have been killed."""
    monkeypatch.setattr(worker_module, "_LAST_MOMENT", DEADLINE)
    spoil("load = lambda self: [os.closerange(0, 64), sum(range(10**6)), os._exit(7)]")
    with pytest.raises(ImageError, match="with status 7"):
        decoded(worker, image())


@linux_only
def test_memory_is_bounded(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A decoder that asks for more than any image needs is refused, and no other is hurt."""
    spoil("load = lambda self: bytearray(5 << 30)")
    with pytest.raises(ImageError, match="Not enough memory") as error:
        decoded(worker, image())
    assert error.value.kind == "too_large"
    first = process_of(worker)
    assert decoded(worker, image("TIFF")).any()
    assert process_of(worker) == first


def test_what_a_decoder_prints_is_lost(worker: Worker, spoil: Callable[[str], None]) -> None:
    """A library that writes on stdout or reads stdin disturbs nothing."""
    noise = "os.write(1, b'x' * 99), os.write(2, b'y'), os.read(0, 9)"
    spoil(f"load = lambda self: [{noise}, exec('raise OSError(\"so\")')]")
    with pytest.raises(ImageError, match="so"):
        decoded(worker, image())
    assert decoded(worker, image("TIFF")).any()


def test_a_bug_there_is_a_bug_here(worker: Worker, spoil: Callable[[str], None]) -> None:
    """What no decoder raises is not blamed on the image."""
    spoil("load = lambda self: exec('assert False, \"so\"')")
    with pytest.raises(RuntimeError, match="AssertionError: so"):
        decoded(worker, image())


@pytest.mark.parametrize("path", ["", ".", "sub"])
def test_the_folder_one_goes_to_is_not_imported_from(tmp_path: Path, path: str) -> None:
    """A `numpy.py` among a stranger's images is never run, though the prompt imports from `""`."""
    for folder in (tmp_path, tmp_path / "sub"):
        folder.mkdir(exist_ok=True)
        for name in ("numpy", "PIL", "sys", "os", "struct", "sitecustomize"):
            (folder / f"{name}.py").write_text("import os; os._exit(9)")
    code = f"sys.path.insert(0, {path!r})\n" + DECODING
    code = code.replace("HERE", f"os.chdir({str(tmp_path)!r})")
    env = os.environ | {"PYTHONPATH": path}
    assert printed(code, env=env) == "(32, 32, 3)\n"


DECODING = """
from siglipcli.images import DEFAULT_LIMITS
from siglipcli.images.worker import Worker
HERE
worker = Worker()
print(worker.decode(sys.stdin.buffer.read(), 32, DEFAULT_LIMITS, exact=True).shape)
worker.close()
"""


def printed(code: str, *flags: str, env: dict[str, str] | None = None) -> str:
    """What a fresh Python prints that gets an image on stdin."""
    code = f"import os, sys\nsys.path.insert(0, {ROOT!r})\n" + code
    done = subprocess.run([sys.executable, *flags, "-c", code], input=image(), capture_output=True, timeout=DEADLINE, check=False, env=env)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_flags_of_python_are_handed_on(tmp_path: Path) -> None:
    """Who keeps a Python to itself, by `-I`, has workers that keep to themselves."""
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(9)")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert printed(DECODING.replace("HERE", ""), "-I", env=env) == "(32, 32, 3)\n"


def test_a_python_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No executable, a frozen program, a Python that ends at once: one error that says which."""
    worker = Worker()
    monkeypatch.setattr(worker_module, "_PATHS", ["/nowhere"])
    with pytest.raises(CannotStartError, match="ended at once, with status 1"):
        decoded(worker, image())
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(CannotStartError, match="cannot start another"):
        decoded(worker, image())


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@posix_only
@pytest.mark.parametrize("first", ["", "echo; echo; echo usage: no python at all"])
def test_a_program_that_is_no_python_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """What is not ready in time is not waited for, nor is what it prints taken for an answer."""
    monkeypatch.setattr(worker_module, "_START_SECONDS", 0)
    monkeypatch.setattr(worker_module, "_LAST_MOMENT", 0.0)
    monkeypatch.setattr(sys, "executable", program(tmp_path / "python", f"{first}\nread word"))
    heard: list[bool] = []
    with pytest.raises(CannotStartError, match=r"not ready after 0 s|ended at once"):
        decoded(Worker(heard.append), image())
    assert heard == [False]


@posix_only
def test_a_start_that_was_killed_is_tried_again(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process that the machine ended at once is bad luck."""
    text = (
        f'[ -e {tmp_path}/twice ] && exec {sys.executable} "$@"\ntouch {tmp_path}/twice\nkill -9 $$'
    )
    monkeypatch.setattr(sys, "executable", program(tmp_path / "python", text))
    assert decoded(worker, image()).any()


@linux_only
def test_nothing_is_left(spoil: Callable[[str], None]) -> None:
    """Neither a process, nor a zombie, nor a descriptor, however a worker ended."""
    spoil("load = lambda self: os.kill(os.getpid(), signal.SIGKILL)")
    before = len(list(Path("/proc/self/fd").iterdir()))
    worker = Worker()
    for _ in range(4):
        with pytest.raises(ImageError):
            decoded(worker, image())
        decoded(worker, image("TIFF"))
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
    mark = tmp_path / "at-it"
    spoil(HANG.format(str(mark)) if hangs else "")
    code = (
        "import pathlib, sys, threading\n"
        "from siglipcli.images import DEFAULT_LIMITS\nfrom siglipcli.images.worker import Worker\n"
        "worker, data = Worker(), sys.stdin.buffer.read()\n"
        "def decode():\n"
        "    worker.decode(data, 32, DEFAULT_LIMITS, exact=True)\n"
        f"    pathlib.Path({str(mark)!r}).touch()\n    threading.Event().wait()\n"
        "threading.Thread(target=decode, daemon=True).start()\n"
        f"while not pathlib.Path({str(mark)!r}).exists(): pass\n"
        "print(worker.pid, flush=True)\nthreading.Event().wait()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        parent.stdin.write(image())
        parent.stdin.close()
        pid = int(parent.stdout.readline())
        parent.kill()
    assert wait_until(lambda: is_gone(pid))


def state_of(pid: int) -> str:
    """The letter of a process's state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; who inherits orphans may not have looked yet."""
    try:
        return state_of(pid) == "Z"
    except OSError:
        return True


# --- which images -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "is_delicate"),
    [
        *[(image(kind), kind not in {"JPEG", "PNG"}) for kind in images.FORMATS],
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


class Stepped(Clock):
    """A clock that goes on by what is waited, at once, while a reader is known to be stuck.

    Who waits for others waits in truth, and no time passes by this clock. `used`: the processor
    time that the stuck ones use meanwhile, a second.
    """

    def __init__(self) -> None:
        self.stuck: set[object] = set()
        self.time = 0.0
        self.used = 0.0
        self.waits: list[float] = []
        self.pause = 0.0  # that comes on top of every wait

    def now(self) -> float:
        return self.time

    def wait(self, future: Future[Any], seconds: float | None) -> None:
        assert wait_until(lambda: future.done() or bool(self.stuck))
        if not future.done() and seconds is not None:
            self.waits.append(seconds)
            self.time += seconds + self.pause

    def spent(self, thread: int | None, process: int | None) -> float:
        return self.time * self.used


class Run:
    """Readers whose work is a function of a number; what is late is its negative."""

    def __init__(
        self,
        work: Callable[[int, Run], int],
        seconds: float = 60,
        count: int = 1,
        most_lost: int = MOST_LOST,
    ) -> None:
        self.clock = Stepped()
        self.event = threading.Event()
        self.readers: Readers[int, int] = Readers(
            count, lambda n, _: work(n, self), self.late, seconds=seconds, isolate=None,
            clock=self.clock, most_lost=most_lost,
        )  # fmt: skip

    def sticks(self, n: int) -> int:
        """Be stuck, until somebody gives up or the test is over."""
        self.clock.stuck.add(n)
        self.event.wait()
        return n

    def late(self, n: int) -> int:
        self.clock.stuck.discard(n)
        return -n

    def results(self, items: range) -> list[int]:
        tasks = [self.readers.submit(n) for n in items]
        return [task.result() for task in tasks]

    def threads(self) -> list[threading.Thread]:
        return [*self.readers._threads, *self.readers._lost]

    def end(self) -> None:
        """Let go what is stuck; no thread is left."""
        threads = self.threads()
        self.event.set()
        self.readers.close()
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Make readers that are ended after the test."""
    runs: list[Run] = []

    def make(*args: Any, **options: Any) -> Run:
        runs.append(Run(*args, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What stuck work waits for; set at the end."""
    event = threading.Event()
    yield event
    event.set()


def test_stuck_work_is_given_up_and_the_rest_is_done(start: Callable[..., Run]) -> None:
    """One thread, three inputs that hang: those are late, the others are done, in order."""
    run = start(lambda n, run: n if n % 3 else run.sticks(n), seconds=2.5)
    assert run.results(range(1, 10)) == [1, 2, -3, 4, 5, -6, 7, 8, -9]
    # the limit, and a second to see whether it is at work
    assert run.clock.waits == [1, 1, 0.5, 1] * 3


def test_waiting_in_line_does_not_count(start: Callable[..., Run]) -> None:
    """The limit is for one input, not for those before it."""
    run = start(lambda n, run: run.sticks(n) if n == 1 else n, seconds=3)
    last = [run.readers.submit(n) for n in (1, 2, 3)][-1]
    for step in range(100):
        run.readers.wait(last)
        assert not run.readers.is_over(last), step
    run.late(1)
    run.event.set()
    assert last.result() == 3


def test_inputs_that_hang_side_by_side_have_their_time_together(start: Callable[..., Run]) -> None:
    """Four at once in four threads cost the run one limit, not four."""
    run = start(lambda n, run: run.sticks(n), seconds=10, count=4)
    tasks = [run.readers.submit(n) for n in range(4)]
    assert wait_until(lambda: len(run.clock.stuck) == 4)
    assert [task.result() for task in tasks] == [0, -1, -2, -3]
    assert run.clock.time == 10 + 4


def test_a_machine_that_slept_is_no_hang(start: Callable[..., Run]) -> None:
    """An hour that passed while nothing ran counts as a second, however often."""
    run = start(lambda n, run: run.sticks(n), seconds=30)
    run.clock.pause = 3600
    task = run.readers.submit(5)
    for _ in range(29):
        run.readers.wait(task)
        assert not run.readers.is_over(task)
    run.late(5)
    run.event.set()
    assert task.result() == 5


@pytest.mark.parametrize(("share", "seconds"), [(0.0, 11), (0.001, 11), (0.25, 40), (1.0, 11)])
def test_a_busy_machine_gives_more_time(
    start: Callable[..., Run], share: float, seconds: float
) -> None:
    """What is at work is given up after so much processor time; what is not, by the clock."""
    run = start(lambda n, run: run.sticks(n), seconds=10)
    run.clock.used = share
    assert run.results(range(1, 2)) == [-1]
    assert run.clock.time == seconds


@linux_only
def test_processor_time_is_told_of_threads_and_processes() -> None:
    """Work is seen where it is done; what has ended, or is unknown, used none."""
    clock, here = Clock(), time.pthread_getcpuclockid(threading.get_ident())
    before = clock.spent(here, None), clock.spent(None, os.getpid())
    while clock.spent(here, None) < before[0] + 0.05:
        pass
    assert clock.spent(None, os.getpid()) >= before[1] + 0.03  # in hundredths
    assert clock.spent(None, None) == clock.spent(None, 2**22 + 1) == 0


def test_no_limit_waits(start: Callable[..., Run]) -> None:
    """0 seconds are no limit."""
    run = start(lambda n, run: run.sticks(n), seconds=0)
    task = run.readers.submit(1)
    assert wait_until(lambda: bool(run.clock.stuck))
    for _ in range(3):
        run.readers.wait(task)
        assert not run.readers.is_over(task)
    assert run.clock.waits == []
    run.event.set()
    assert task.result() == 1


@linux_only
def test_the_start_of_a_worker_does_not_count(spoil: Callable[[str], None], tmp_path: Path) -> None:
    """An image's time begins when its worker is ready."""
    began, goes_on = tmp_path / "began", tmp_path / "goes-on"
    spoil(f"open({str(began)!r}, 'w').close()\nwhile not os.path.exists({str(goes_on)!r}): pass\n")
    clock = Stepped()

    def work(n: int, decoder: Decoder) -> int:
        decoder.decode(image(), 32, DEFAULT_LIMITS, exact=True)
        return n

    readers = Readers(1, work, lambda n: -n, seconds=2, isolate=True, clock=clock)
    task = readers.submit(7)
    assert wait_until(began.exists)
    clock.stuck.add(7)
    for _ in range(9):
        readers.wait(task)
        assert not readers.is_over(task)
    clock.stuck.clear()
    goes_on.touch()
    assert task.result() == 7
    readers.close()


def test_an_error_that_is_kept_keeps_no_image(start: Callable[..., Run]) -> None:
    """What failed is forgotten with its error, without the help of the garbage collector."""
    kept: list[weakref.ref[Image.Image]] = []

    def work(n: int, run: Run) -> int:
        large = Image.new("L", (9, 9))
        kept.append(weakref.ref(large))
        raise RuntimeError("so")

    gc.collect()
    gc.disable()
    try:
        task = start(work).readers.submit(1)
        with suppress(RuntimeError):
            task.result()
        del task
        assert wait_until(lambda: kept[0]() is None)
    finally:
        gc.enable()


def test_an_error_is_passed_on_though_it_is_one_of_time(start: Callable[..., Run]) -> None:
    """What the work raises comes out, also where waiting raises the same."""

    def work(n: int, run: Run) -> int:
        raise TimeoutError("of the disk")

    with pytest.raises(TimeoutError, match="of the disk"):
        start(work, seconds=5).results(range(1))


def test_too_many_stuck_threads_end_the_run(start: Callable[..., Run]) -> None:
    """Where file after file hangs it is the disk: the run stops and says so."""
    run = start(lambda n, run: run.sticks(n), most_lost=2)
    with pytest.raises(SiglipError, match="look whether the disk"):
        run.results(range(5))


def test_threads_that_come_back_are_not_counted(start: Callable[..., Run]) -> None:
    """A slow disk is no dead one: who was given up and ended after all may be forgotten."""
    run = start(lambda n, run: run.sticks(n), most_lost=1)
    for n in range(1, 9):
        run.event.clear()
        assert run.results(range(n, n + 1)) == [-n]
        (lost,) = run.readers._lost
        run.event.set()
        lost.join(DEADLINE)


def test_close_drops_what_waits(start: Callable[..., Run]) -> None:
    """Nothing more is begun, who waits is told, and threads end."""
    begun: list[int] = []
    run = start(lambda n, run: begun.append(n) or run.sticks(n))
    tasks = [run.readers.submit(n) for n in range(5)]
    assert wait_until(lambda: begun == [0])
    run.readers.close()
    assert [task.future.cancelled() for task in tasks] == [False, *[True] * 4]
    assert run.readers.submit(9).future.cancelled()


def test_threads_are_as_many_as_asked_for(start: Callable[..., Run]) -> None:
    """One input starts one thread, many start no more than the count."""
    at_it: list[threading.Thread] = []
    run = start(lambda n, run: at_it.append(threading.current_thread()) or run.sticks(n), count=3)
    for expected in (1, 2, 3, 3, 3):
        run.readers.submit(0)
        assert len(run.threads()) == expected
    assert wait_until(lambda: len(set(at_it)) == 3)


def test_a_machine_without_more_threads_makes_do(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that cannot be started are no bug: those that there are do the work, or none is said."""
    run, none = start(lambda n, run: n, count=3), start(lambda n, run: n)
    assert run.results(range(1)) == [0]

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(readers_module.Thread, "start", fail)
        assert run.results(range(9)) == [*range(9)]
        with pytest.raises(SiglipError, match="no thread can be started"):
            none.results(range(1))


@linux_only
def test_no_worker_is_left_when_too_many_are_stuck(
    spoil: Callable[[str], None], tmp_path: Path
) -> None:
    """The last straw's worker is ended too, and the run can end."""
    mark, clock = tmp_path / "hangs", Stepped()
    spoil(HANG.format(str(mark)))
    decoders: list[Decoder] = []

    def work(n: int, decoder: Decoder) -> int:
        decoders.append(decoder)
        decoder.decode(image(), 32, DEFAULT_LIMITS, exact=True)
        return n

    readers = Readers(1, work, lambda n: -n, seconds=2, isolate=None, clock=clock, most_lost=0)
    task = readers.submit(1)
    assert wait_until(mark.exists)
    (pid,) = (decoder.worker.pid for decoder in decoders)
    assert pid
    clock.stuck.add(1)
    with pytest.raises(SiglipError, match="block the run"):
        task.result()
    assert wait_until(lambda: is_gone(pid))
    readers.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings so far."""
    return lambda: [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


def test_isolation_is_given_up_only_for_good_reason(said: Callable[[], list[str]]) -> None:
    """What may pass is tried again; where no start ever succeeded there is an end, said once."""
    passing = CannotStartError("too many open files", may_pass=True)
    policy, gif = Policy(None), image()
    for _ in range(2):
        policy.failed(passing)
        assert policy.wants_worker(gif)
    for _ in range(9):
        policy.failed(passing)
        assert not policy.wants_worker(gif)
    assert said() == ["too many open files; all images are decoded in this one"]


def test_isolation_that_worked_once_is_kept(said: Callable[[], list[str]]) -> None:
    """A machine that started a worker will do so again."""
    policy = Policy(None)
    policy.started()
    for may_pass in (True, False) * 9:
        policy.failed(CannotStartError("no memory", may_pass=may_pass))
    assert policy.wants_worker(image())
    assert said() == []


def test_isolation_does_not_flip(said: Callable[[], list[str]]) -> None:
    """A hang where no process can be started changes nothing any more, nor is anything said twice."""
    policy = Policy(None)
    for _ in range(3):
        policy.hangs()
        policy.failed(CannotStartError("no such program"))
    assert not policy.wants_worker(image())
    assert [message.split(";")[0] for message in said()] == ["a decoder hangs", "no such program"]


def test_a_demand_is_kept_to(said: Callable[[], list[str]]) -> None:
    """Who asks for workers gets them or an error; who asks for none gets none."""
    policy = Policy(True)
    with pytest.raises(CannotStartError):
        policy.failed(CannotStartError("no such program"))
    assert policy.wants_worker(b"")
    policy = Policy(False)
    policy.hangs()
    assert not policy.wants_worker(image())
    assert said() == []


@linux_only
def test_a_worker_that_cannot_start_now_costs_no_image(
    monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    """While no descriptor is free images are decoded here, and in workers again afterwards."""
    plain, failing = worker_module._new_process, [True] * 4 + [False]

    def new_process() -> subprocess.Popen[bytes]:
        if failing.pop(0):
            raise CannotStartError("no descriptor", may_pass=True)
        return plain()

    monkeypatch.setattr(worker_module, "_new_process", new_process)
    decoder = Decoder(Policy(None), 60, bool)
    inside = []
    for _ in range(4):
        assert decoder.decode(image(), 32, DEFAULT_LIMITS, exact=True).any()
        inside.append(decoder.worker.pid is None)
    decoder.worker.close()
    assert inside == [True, True, False, False]
    assert said() == []


@linux_only
@pytest.mark.parametrize("hangs", [False, True])
def test_close_ends_worker_processes(
    spoil: Callable[[str], None], tmp_path: Path, hangs: bool
) -> None:
    """Whether they work or not, and without a zombie."""
    mark = tmp_path / "hangs"
    spoil(HANG.format(str(mark)) if hangs else "")
    workers: list[Worker] = []

    def work(n: int, decoder: Decoder) -> int:
        workers.append(decoder.worker)
        decoder.decode(image("TIFF" if n else "GIF"), 32, DEFAULT_LIMITS, exact=True)
        return n

    readers = Readers(2, work, lambda n: -n, seconds=60, isolate=None)
    tasks = [readers.submit(n) for n in range(6)]
    for task in tasks[hangs:]:
        task.result()
    assert not hangs or wait_until(mark.exists)
    pids = {worker.pid for worker in workers} - {None}
    assert pids
    readers.close()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


# --- the loop -------------------------------------------------------------------------------------


def test_a_disk_that_hangs_costs_its_files(
    encoder: FakeEncoder, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose reading never ends is a row of kind `timeout`; the others are answered."""
    plain, told, clock = images.load_bytes, pipeline.too_slow, Stepped()

    def load_bytes(source: Source, limits: Limits) -> bytes:
        if source.name in {"2", "5"}:
            clock.stuck.add(source.name)
            release.wait()
            raise ImageError("vanished", "after the test")
        return plain(source, limits)

    def too_slow(seconds: float) -> ImageError:
        clock.stuck.clear()
        return told(seconds)

    monkeypatch.setattr(readers_module, "Clock", lambda: clock)
    monkeypatch.setattr(pipeline, "too_slow", too_slow)
    monkeypatch.setattr(images, "load_bytes", load_bytes)
    sources = [Source(str(n), image("PNG")) for n in range(8)]
    batches = embed(sources, encoder, LoadOptions(workers=1, timeout=0.6))
    items = [item for batch in batches for item in batch]
    assert [item.file for item in items] == [str(n) for n in range(8)]
    failed = {i.file: (i.kind, i.message) for i in items if isinstance(i, Failure)}
    assert set(failed) == {"2", "5"}
    assert {kind for kind, _ in failed.values()} == {"timeout"}
    assert "after 0.6 s" in failed["2"][1]


@pytest.mark.parametrize("timeout", [-1, 86_401, 1e300, float("inf"), float("nan")])
def test_a_time_limit_that_is_none_is_refused(timeout: float) -> None:
    """A library's user hears of it before anything is read."""
    with pytest.raises(UsageError, match="give from 0"):
        LoadOptions(timeout=timeout)


def test_images_take_the_way_that_is_asked_for(
    encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a JPEG is decoded in the process itself and a GIF is not."""
    here: list[bytes] = []
    plain = images.decode
    monkeypatch.setattr(
        images, "decode", lambda data, *a, **k: here.append(data) or plain(data, *a, **k)
    )
    gif, jpeg = image("GIF"), image("JPEG")
    for isolate, expected in ((None, [jpeg]), (True, []), (False, [gif, jpeg])):
        here.clear()
        sources = [Source("a", gif), Source("b", jpeg)]
        batches = embed(sources, encoder, LoadOptions(workers=1, isolate=isolate))
        assert all(isinstance(item, Embedded) for batch in batches for item in batch)
        assert here == expected


STUCK = """
import sys, threading
sys.path.insert(0, {tests!r})
from fake_encoder import FakeEncoder
from siglipcli import images
from siglipcli.pipeline import LoadOptions, embed
from siglipcli.results import Source
images.load_bytes = lambda source, limits: threading.Event().wait()
(batch,) = embed([Source("a", b"")], FakeEncoder(), LoadOptions(timeout=0.2))
print(batch[0].kind)
"""


def test_a_stuck_thread_does_not_hold_the_exit() -> None:
    """A program that uses the library ends, though an image of it still hangs."""
    code = STUCK.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "timeout\n"), done.stderr


@linux_only
def test_a_decoder_knows_no_secret(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """API keys and tokens of the environment are not in the process that decodes a stranger's image."""
    for name in ("SIGLIP_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SIGLIP_PLAIN"):
        monkeypatch.setenv(name, "a-value")
    decoded(worker, image())
    environment = Path(f"/proc/{process_of(worker)}/environ").read_bytes().split(b"\0")
    assert [each for each in environment if each.endswith(b"a-value")] == [b"SIGLIP_PLAIN=a-value"]
