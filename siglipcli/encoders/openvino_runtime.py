"""The same towers compiled for the CPU by OpenVINO: built once from the open_clip model, then no torch.

Graphs take what the pipeline has (uint8 pixels, token ids) and give unit rows: normalising pixels and
embeddings is inside. `precisions` says how the weights of a graph are stored.
"""

from __future__ import annotations

import copy
import errno
import logging
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from siglipcli import files, machine
from siglipcli.encoders import engines, precisions
from siglipcli.encoders.openvino_library import core, version
from siglipcli.encoders.tokens import Tokenizer
from siglipcli.errors import DeviceError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from siglipcli.encoders.checkpoint import Checkpoint
    from siglipcli.encoders.precisions import Precision
    from siglipcli.encoders.tuned import TunedEngine

__all__ = ["OpenVINOEncoder", "manifest", "streams"]

T = TypeVar("T")

_TOWERS = ("image", "text")
_TEXT_CHUNK = 64  # prompts encoded at a time
_STREAM_PROCESSORS = 4
_CONVERT = "siglipcli.encoders.openvino_convert:convert_towers"

logger = logging.getLogger("siglipcli")


def streams(processors: int) -> int:
    """Return how many images are encoded side by side for throughput.

    Two processors do best on one image together (measured: 0.148 s an image against 0.155 s apart);
    beyond four, one image no longer keeps them all busy.
    """
    return max(1, processors // _STREAM_PROCESSORS)


class OpenVINOEncoder:
    """An `Encoder` on OpenVINO, of which a tower is compiled when first used.

    Both towers stay where `tower_memory` (bytes) is enough for them; else the one replaces the other. Where it is 0,
    texts pass through one part of theirs after another, and none of it stays.
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
        row = precisions.choose(precision, "openvino", "cpu", has_bf16=machine.has_bf16())
        self.precision = row.name
        _require_utf8(cache_dir)
        self.checkpoint, self.cache_dir = checkpoint, cache_dir
        self.tuned = _tuned(checkpoint, row, cache_dir) if row.is_tuned else None
        reference = precisions.PRECISIONS[self.tuned.reference] if self.tuned else row
        self.reference = reference.name
        self.manifest = manifest(checkpoint, reference.name)
        built = _Engine(partial(_built, checkpoint, self.manifest, reference, cache_dir))
        same = partial(_same_tuned, self.tuned, checkpoint, row, cache_dir)
        images = _Engine(same) if self.tuned else built
        self._engines = {"image": images, "text": built}
        self.name = checkpoint.name
        self.head = checkpoint.head
        self.preprocess = checkpoint.preprocess
        self.tokenizer = Tokenizer.of(checkpoint, cleaning=text_cleaning)
        space = f"{checkpoint.fingerprint}-openvino"
        self.fingerprint = f"{space}-{self.precision}"
        if self.tuned:  # another tuning gives other embeddings; texts are the reference's
            self.fingerprint += f"-{self.tuned.digest}"
        self.text_fingerprint = f"{space}-{reference.name}{self.tokenizer.suffix}"
        self.in_flight = streams(machine.available_cpus())
        self.batch_size = 1
        self.batch_limit = sys.maxsize
        self._lock = threading.Lock()
        self._keeps_both = _memory_of_towers(self._engines) <= tower_memory
        self._keeps_texts = tower_memory > 0
        self._towers: dict[str, _Tower] = {}
        self._images = 0
        for words in self.tuned.warnings(machine.processor()) if self.tuned else ():
            logger.warning("%s", words)

    @property
    def folder(self) -> Path:
        """Where the image tower's graph is."""
        return self._engines["image"].folder

    def with_images_by(self, folder: Path) -> OpenVINOEncoder:
        """Return an encoder that differs in the graph of the image tower: the one in `folder`."""
        other = copy.copy(self)
        other._engines = self._engines | {"image": _Draft(folder)}  # noqa: SLF001
        other._lock, other._towers, other._images = threading.Lock(), {}, 0  # noqa: SLF001
        return other

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
        chunks = [ids[i : i + _TEXT_CHUNK] for i in range(0, len(ids), _TEXT_CHUNK)]
        with self._lock:
            if not self._keeps_texts:
                return np.concatenate(self._in_parts(chunks))
            tower = self._tower("text", 1)
            if not self._keeps_both:  # an image waits until the end: it would bring its tower
                return np.concatenate([tower.run(chunk) for chunk in chunks])
        return np.concatenate([tower.run(chunk) for chunk in chunks])

    def _in_parts(self, chunks: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Encode chunks of token ids by one part of the tower after another, of which none stays."""
        self._towers.clear()

        def encode(graphs: list[str]) -> list[NDArray[np.float32]]:
            rows = chunks
            for graph in graphs:
                part = _Tower(1, [self._compiled("text", graph, 1)])
                rows = [part.run(chunk) for chunk in rows]
                del part  # so that its memory is free for the next
            return rows

        return self._engines["text"].whole("text", encode)

    def _tower(self, name: str, count: int) -> _Tower:
        """Return a tower compiled for `count` streams; what it replaces is let go first."""
        tower = self._towers.get(name)
        if tower is None or tower.count != count:
            self._towers.pop(name, None)
            if not self._keeps_both:
                self._towers.clear()
            tower = None  # the last reference, so that its memory is free for the next
            compiled = self._engines[name].whole(
                name, lambda graphs: [self._compiled(name, graph, count) for graph in graphs]
            )
            tower = self._towers[name] = _Tower(count, compiled)
        return tower

    def _compiled(self, name: str, graph: str, count: int) -> Any:
        """Compile a graph of a tower; an engine that was cleared since it was opened is built again."""
        engine = self._engines[name]
        while True:
            try:
                compiled = _compile(engine.folder, self.name, graph, self.reference, count)
            except DeviceError:
                if engine.is_as_opened():
                    raise
            else:  # one that was replaced may have other graphs
                if engine.is_as_opened():
                    return compiled
            engine.open()


class _Engine:
    """A folder with graphs that `find` returns, building them if need be.

    `graphs` are their names by tower, in the order in which they run.
    """

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find
        self.open()

    def open(self) -> None:
        """Find the engine, or build it; once more where another process clears it at this moment."""
        while True:
            self.folder = self._find()
            self._seal = engines.seal(self.folder)
            sealed = engines.facts(self.folder)["files"]
            if self._seal and self.is_as_opened():
                break
        self.graphs = {tower: _graphs(sealed, tower) for tower in _TOWERS}

    def is_as_opened(self) -> bool:
        """Whether it is there, and the same one."""
        return engines.seal(self.folder) == self._seal

    def whole(self, tower: str, work: Callable[[list[str]], T]) -> T:
        """Return what `work` makes of a tower's graphs, all of one build: it starts over where another is opened."""
        while True:
            seal = self._seal
            result = work(self.graphs[tower])
            if self._seal == seal:
                return result


class _Draft(_Engine):
    """A folder with an image tower that nobody else knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graphs = {"image": ["image"]}
        self._seal = None

    def is_as_opened(self) -> bool:
        """Whether it is the same one."""
        return True


class _Tower:
    """A tower's compiled graphs, or some of them, and requests of its own for every thread that runs it."""

    def __init__(self, count: int, compiled: list[Any]) -> None:
        self.count = count  # streams
        self._compiled = compiled
        self._takes_one = compiled[0].input(0).get_partial_shape()[0].is_static
        self._own = threading.local()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run the graphs in order on a batch of any size; return what the last one gives, float32[n, …]."""
        if self._takes_one and len(batch) > 1:
            return np.concatenate([self.run(batch[i : i + 1]) for i in range(len(batch))])
        if not hasattr(self._own, "requests"):
            self._own.requests = [graph.create_infer_request() for graph in self._compiled]
        for graph, request in zip(self._compiled, self._own.requests, strict=True):
            batch = request.infer({0: batch})[graph.output(0)]
        return np.array(batch, dtype=np.float32)


def _graphs(files: Iterable[str], tower: str) -> list[str]:
    """Return the names of a tower's graphs, in order."""
    names = [name.removesuffix(".xml") for name in files if name.endswith(".xml")]
    mine = [name for name in names if name.partition("-")[0] == tower]
    return sorted(mine, key=lambda name: (len(name), name))


def _require_utf8(cache_dir: Path) -> None:
    try:
        str(cache_dir).encode()
    except UnicodeEncodeError:
        reason = "OpenVINO opens only files whose names are UTF-8"
        raise OSError(errno.EINVAL, reason, visible(str(cache_dir))) from None


def manifest(checkpoint: Checkpoint, precision: str) -> engines.Manifest:
    """Return what an engine of this installation is, for a checkpoint and a precision."""
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


def _tuned(checkpoint: Checkpoint, row: Precision, cache_dir: Path) -> TunedEngine:
    from siglipcli.encoders import tuned

    return tuned.find(cache_dir / "engines", manifest(checkpoint, row.name), cache_dir)


def _same_tuned(
    known: TunedEngine | None, checkpoint: Checkpoint, row: Precision, cache_dir: Path
) -> Path:
    """Find a tuned engine again. Raises DeviceError for another, whose embeddings may not be mixed with its own."""
    engine = _tuned(checkpoint, row, cache_dir)
    if known is None or engine.digest != known.digest:
        raise DeviceError(
            f"the {row.name} engine of {checkpoint.name} was made anew while this one was in use",
            code="retuned",
        )
    return engine.folder


def _built(
    checkpoint: Checkpoint, wanted: engines.Manifest, row: Precision, cache_dir: Path
) -> Path:
    build = partial(_build, checkpoint, row.graph_weights)
    return engines.open_engine(cache_dir / "engines", wanted, build, cache_dir)


def _build(checkpoint: Checkpoint, weights: str, draft: Path) -> None:
    """Convert both towers into `draft`, in a process of its own: torch stays out of this one."""
    from siglipcli.encoders import build_process

    logger.info("preparing %s for this processor; this is done once …", checkpoint.name)
    started = perf_counter()
    build_process.run(_CONVERT, checkpoint, weights, draft)
    logger.info("prepared in %.0f s", perf_counter() - started)


def _compile(folder: Path, model: str, name: str, precision: str, count: int) -> Any:
    """Compile a graph, from OpenVINO's own cache of it where that is as it was left.

    Raises DeviceError where OpenVINO cannot be loaded or cannot compile.
    """
    blobs = folder / "compiled" / f"{name}-{count}"
    options = {
        "INFERENCE_PRECISION_HINT": precisions.PRECISIONS[precision].openvino_hint,
        "NUM_STREAMS": str(count),
        "INFERENCE_NUM_THREADS": str(machine.available_cpus()),
    }
    cached = {
        "CACHE_DIR": str(blobs),
        "CACHE_MODE": "OPTIMIZE_SIZE",  # the weights stay in the graph's own file
    }
    graph = str(folder / f"{name}.xml")
    try:
        with _ready(folder, model, blobs) as usable:
            return core().compile_model(graph, "CPU", options | cached if usable else options)
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(
            f"OpenVINO cannot run the model: {error}", code="openvino", reason=error
        ) from error


def _memory_of_towers(opened: dict[str, _Engine]) -> int:
    """Return about how many bytes both towers take when loaded: their weights, and those repacked."""
    return 2 * sum(
        (engine.folder / f"{graph}.bin").stat().st_size
        for tower, engine in opened.items()
        for graph in engine.graphs[tower]
    )


@contextmanager
def _ready(folder: Path, model: str, blobs: Path) -> Iterator[bool]:
    """Tell whether OpenVINO's cache may be used: one process fills it, and notes what it left.

    A folder that cannot be written to costs time, nothing else.
    """
    note = blobs / "state.json"
    if _state(blobs) == files.read_note(note):
        yield True
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(engines.lock(folder.parent, folder.name, model))
            if _state(blobs) != files.read_note(
                note
            ):  # written to since, or by a process that was killed
                files.delete(blobs)
                files.make_folder(blobs)
        except OSError:
            yield False
            return
        yield True
        with suppress(OSError):
            for blob in blobs.glob("*.blob"):
                blob.chmod(0o600)
            files.write_note(note, _state(blobs))


def _state(blobs: Path) -> dict[str, list[int]]:
    """Return what tells each compiled blob from other states of it."""
    states = {}
    with suppress(FileNotFoundError):  # another process clears them at this moment
        for path in blobs.glob("*.blob"):
            states[path.name] = list(files.stamp(path.stat()))
    return states
