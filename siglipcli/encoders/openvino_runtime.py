"""The same towers compiled for the CPU by OpenVINO: built once from the open_clip model, then no torch.

Graphs take what the pipeline has (uint8 pixels, token ids) and give unit rows: normalising pixels and
embeddings is inside. `precisions` says how the weights of a graph are stored.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli import machine
from siglipcli.encoders import engines, precisions
from siglipcli.encoders.tokens import Tokenizer
from siglipcli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.encoders.checkpoint import Checkpoint

__all__ = ["OpenVINOEncoder", "is_installed", "library", "streams", "version"]

_TEXT_CHUNK = 64  # prompts encoded at a time
_STREAM_PROCESSORS = 4
_BLOCK = 1 << 16  # bytes, fewer than which a disk that is being written to is full

logger = logging.getLogger("siglipcli")


def is_installed() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return find_spec("openvino") is not None


def library() -> Any:
    """Return the openvino module, imported without its telemetry.

    That asks for consent at the terminal and reports use over the network. A None in `sys.modules` is
    a failed import to Python, for which OpenVINO has a stub.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # Bindings are made ready at their first use: two threads at once can make that a deadlock.
    openvino.Tensor(np.zeros(1, np.uint8)).data  # noqa: B018
    return openvino


def version() -> str:
    """Return what engines are built by: the library and its version.

    Read off the name of its metadata folder: to import importlib.metadata takes 25 ms of every run.
    """
    spec = find_spec("openvino")
    assert spec is not None
    assert spec.origin is not None
    for folder in Path(spec.origin).parents[1].glob("openvino-[0-9]*.dist-info"):
        return folder.name.removesuffix(".dist-info").replace("-", " ")
    from importlib import metadata

    return f"openvino {metadata.version('openvino')}"


def streams(processors: int) -> int:
    """Return how many images are encoded side by side for throughput.

    Two processors do best on one image together (measured: 0.148 s an image against 0.155 s apart);
    beyond four, one image no longer keeps them all busy.
    """
    return max(1, processors // _STREAM_PROCESSORS)


class OpenVINOEncoder:
    """An `Encoder` on OpenVINO, of which a tower is compiled when first used.

    Both towers stay where `tower_memory` (bytes) is enough for them; else the one replaces the other.
    Making one builds the engine if need be (seconds to minutes, once a checkpoint and precision).
    Raises DeviceError for a precision that OpenVINO does not run on a CPU.
    """

    runtime = "openvino"

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: str,
        cache_dir: Path,
        *,
        text_cleaning: str | None = None,
        tower_memory: int = 0,
    ) -> None:
        has_bf16 = machine.has_bf16()
        row = precisions.choose(precision, "openvino", "cpu", has_bf16=has_bf16)
        self.precision = row.name
        self.manifest = _manifest(checkpoint, self.precision)
        _require_utf8(cache_dir)
        self.folder = engines.open_engine(
            cache_dir / "engines",
            self.manifest,
            lambda draft: _build(checkpoint, row.graph_weights, draft),
            cache_dir,
        )
        self.name = checkpoint.name
        self.head = self.manifest.head
        self.preprocess = checkpoint.preprocess
        self.tokenizer = Tokenizer.of(
            checkpoint, path=self.folder / "tokenizer.json", cleaning=text_cleaning
        )
        self.fingerprint = f"{self.manifest.fingerprint}-openvino-{self.precision}"
        self.text_fingerprint = self.fingerprint + self.tokenizer.suffix
        self.in_flight = streams(machine.available_cpus())
        self.batch_size = 1
        self.batch_limit = sys.maxsize
        self._lock = threading.Lock()
        self._keeps_both = _memory_of_towers(self.folder) <= tower_memory
        self._towers: dict[str, _Tower] = {}
        self._images = 0

    @property
    def description(self) -> str:
        """What runs, in a few words."""
        return f"OpenVINO on cpu at {self.precision}"

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode uint8[n, size, size, 3] → float32[n, d], unit rows. Threads may call it at once.

        The first image is encoded for latency, by all processors. A second one tells of a folder: where
        `in_flight` calls side by side are faster, the tower is compiled once more for them.
        """
        with self._lock:
            self._images += len(pixels)
            count = self.in_flight if self._images > 1 else 1
            tower = self._tower("image", count)
        return tower.run(pixels)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows."""
        ids = self.tokenizer(texts)
        parts = [ids[i : i + _TEXT_CHUNK] for i in range(0, len(ids), _TEXT_CHUNK)]
        with self._lock:
            tower = self._tower("text", 1)
            if (
                not self._keeps_both
            ):  # until the end: an image meanwhile would bring the other tower
                return np.concatenate([tower.run(part) for part in parts])
        return np.concatenate([tower.run(part) for part in parts])

    def _tower(self, name: str, count: int) -> _Tower:
        """Return a tower compiled for `count` streams; what it replaces is let go first."""
        tower = self._towers.get(name)
        if tower is None or tower.count != count:
            self._towers.pop(name, None)
            if not self._keeps_both:
                self._towers.clear()
            tower = None  # the last reference, so that its memory is free for the next
            compiled = _compile(self.folder, name, self.precision, count)
            tower = self._towers[name] = _Tower(count, compiled)
        return tower


class _Tower:
    """A compiled tower, and a request of its own for every thread that runs it."""

    def __init__(self, count: int, compiled: Any) -> None:
        self.count = count  # streams
        self._compiled = compiled
        self._requests = threading.local()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32[n, d] for a batch of pixels or token ids."""
        if not hasattr(self._requests, "request"):
            self._requests.request = self._compiled.create_infer_request()
        rows = self._requests.request.infer({0: batch})[self._compiled.output(0)]
        return np.array(rows, dtype=np.float32)


def _require_utf8(cache_dir: Path) -> None:
    try:
        str(cache_dir).encode()
    except UnicodeEncodeError:
        reason = "OpenVINO opens only files whose names are UTF-8"
        raise OSError(errno.EINVAL, reason, str(cache_dir)) from None


def _manifest(checkpoint: Checkpoint, precision: str) -> engines.Manifest:
    return engines.Manifest(
        model=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        precision=precision,
        runtime=version(),
        head=checkpoint.head,
        image_size=checkpoint.preprocess.size,
        context_length=checkpoint.context_length,
        pad_token=checkpoint.pad_token,
        clean=checkpoint.clean,
    )


def _build(checkpoint: Checkpoint, weights: str, draft: Path) -> None:
    """Convert both towers and copy the tokenizer into `draft`."""
    logger.info("preparing %s for this processor; this is done once …", checkpoint.name)
    started = perf_counter()
    from siglipcli.encoders.openvino_convert import convert

    try:
        for tower in (
            "text",
            "image",
        ):  # a bad tokenizer is found before the larger tower is converted
            convert(checkpoint, tower, draft / f"{tower}.xml", weights=weights)
    except RuntimeError as error:  # OpenVINO says "basic_ios::clear: iostream error"
        if shutil.disk_usage(draft).free < _BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft.parent)) from error
        raise
    shutil.copyfile(checkpoint.tokenizer, draft / "tokenizer.json")
    logger.info("prepared in %.0f s", perf_counter() - started)


def _compile(folder: Path, tower: str, precision: str, count: int) -> Any:
    """Compile a graph, from OpenVINO's own cache of it where that is as it was left.

    Raises DeviceError where OpenVINO cannot be loaded or cannot compile.
    """
    blobs = folder / "compiled" / f"{tower}-{count}"
    options = {
        "INFERENCE_PRECISION_HINT": precisions.PRECISIONS[precision].openvino_hint,
        "NUM_STREAMS": str(count),
        "INFERENCE_NUM_THREADS": str(machine.available_cpus()),
    }
    cached = {
        "CACHE_DIR": str(blobs),
        "CACHE_MODE": "OPTIMIZE_SIZE",  # the weights stay in the graph's own file
    }
    graph = str(folder / f"{tower}.xml")
    try:
        core = library().Core()
        with _ready(folder, blobs) as usable:
            return core.compile_model(graph, "CPU", options | cached if usable else options)
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(
            f"OpenVINO cannot run the model: {error}", code="openvino", reason=error
        ) from error


def _memory_of_towers(folder: Path) -> int:
    """Return about how many bytes both towers take when loaded: their weights, and those repacked."""
    return 2 * sum(path.stat().st_size for path in folder.glob("*.bin"))


@contextmanager
def _ready(folder: Path, blobs: Path) -> Iterator[bool]:
    """Tell whether OpenVINO's cache may be used: one process fills it, and notes what it left.

    A folder that cannot be written to costs time, nothing else.
    """
    if _state(blobs) == _noted(blobs):
        yield True
        return
    with ExitStack() as held:
        try:
            held.enter_context(engines.lock(folder.parent, folder.name))
        except OSError:
            yield False
            return
        if _state(blobs) != _noted(blobs):  # written to since, or by a process that was killed
            shutil.rmtree(blobs, ignore_errors=True)
        yield True
        _note(blobs)


def _state(blobs: Path) -> dict[str, list[int]]:
    """Return size, mtime and inode of each compiled blob."""
    found = {}
    with suppress(FileNotFoundError):  # another process clears them at this moment
        for path in blobs.glob("*.blob"):
            stat = path.stat()
            found[path.name] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    return found


def _noted(blobs: Path) -> dict[str, list[int]] | None:
    try:
        return dict(json.loads((blobs / "state.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _note(blobs: Path) -> None:
    """Note the blobs as they are now."""
    draft = blobs / f"state.{os.getpid()}"
    with suppress(OSError):
        draft.write_text(json.dumps(_state(blobs)), encoding="ascii")
        draft.replace(blobs / "state.json")
