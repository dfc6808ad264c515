"""What lives long and is shared: the encoder, the processes and threads that decode, the store.

Calls come from any number of threads; nothing that they do changes the session. `close` ends every
process and thread.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import machine, pipeline
from siglipcli.encoders import open_encoder
from siglipcli.errors import ModelError
from siglipcli.pipeline import LoadOptions
from siglipcli.resources import Resources
from siglipcli.store import Entry, text_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from siglipcli.embeddings import Batch
    from siglipcli.encoders import Encoder, ModelSpec
    from siglipcli.encoders.checkpoint import Progress
    from siglipcli.images.decoders import DecoderPool
    from siglipcli.online import Online
    from siglipcli.results import Failure, Source
    from siglipcli.store import Space, Store

    Counting = Callable[[int, int], object]

__all__ = ["Session"]

_TEXTS = 256  # encoded between two looks at the store
_TOWERS_PART = 4
"""The part of the memory that both towers may take, or only one of them is loaded at a time."""


class Session:
    """An open model with all that lives long beside it; any number of threads may share one.

    >>> from siglipcli import Classifier, LoadOptions, ModelSpec, Session, demo
    >>> with Session.open(ModelSpec("demo", runtime="torch")) as session:
    ...     sharing = [Classifier(session), Classifier(session, LoadOptions(exact=True))]
    ...     images = [each.encode_images(demo.IMAGES / "blue-heart.jpg") for each in sharing]
    ...     texts, stored = session.encode_texts(["a blue heart"])
    >>> texts.shape, stored
    ((1, 64), [False])

    A `Classifier` opens one of its own; several share the one that they are given, each with its own
    `LoadOptions`. `decoding_memory`: bytes for all images that are read and decoded at once, by all calls
    together; what needs more waits. By default an eighth of the machine's or cgroup's memory, 256 MiB to
    1 GiB. `spec` is what the encoder was opened by, if anything.
    """

    def __init__(
        self,
        encoder: Encoder,
        load_options: LoadOptions | None = None,
        store: Store | None = None,
        *,
        decoding_memory: int | None = None,
        spec: ModelSpec | None = None,
    ) -> None:
        self.spec = spec
        self.encoder = encoder
        self.load_options = load_options or LoadOptions()
        self.store = store
        workers = self.load_options.workers or machine.available_cpus()
        self._resources = Resources(encoder.in_flight, workers, decoding_memory)
        # for a session that nobody closes, on whatever thread that is seen, so that it waits for none;
        # the store needs no such care
        weakref.finalize(self, self._resources.close, wait=False)

    @classmethod
    def open(
        cls,
        spec: ModelSpec,
        load_options: LoadOptions | None = None,
        *,
        store: Store | None = None,
        progress: Progress | None = None,
        keep_towers: bool | None = None,
    ) -> Session:
        """Open the model that `spec` describes, fetching its files where needed unless `spec.offline`.

        With a `store`, which is closed with the session, what was encoded before is not encoded again.
        `keep_towers`: whether the towers of images and texts both stay loaded on the CPU: always, never
        (the lowest peak of memory), or (None) where they take at most a quarter of the memory that
        this machine or cgroup has. Raises ModelError or DeviceError.
        """
        memory = machine.memory()
        tower_memory = {None: memory // _TOWERS_PART, True: memory, False: 0}[keep_towers]
        encoder = open_encoder(spec, progress, tower_memory=tower_memory)
        return cls(encoder, load_options, store, spec=spec)

    @property
    def decoders(self) -> DecoderPool:
        """The worker processes and the memory that all decoding of this session shares."""
        return self._resources.decoders

    def batches(
        self, inputs: Iterable[Source | Failure], load_options: LoadOptions | None = None
    ) -> Iterator[Batch]:
        """Yield embeddings and failures in columns, in input order, as they are ready.

        `load_options` are the session's own unless given. Raises UsageError (code `closed`) where the
        session is or gets closed.
        """
        self._resources.check()
        options = load_options or self.load_options
        space = self._space(self.encoder.fingerprint, _pixels_name(options))
        batches = pipeline.batches(inputs, self.encoder, options, space, self._resources)
        return self._while_open(batches)

    def online(self, heard: Callable[[int], object] = int) -> Online:
        """Return what encodes images as they come, from many callers; close it before the session.

        `heard` is called with how many images of a batch have an embedding: with 0 where the model gave
        values that are not finite for all of them.
        """
        from siglipcli.online import Online  # only a server needs it

        self._resources.check()
        options = self.load_options
        space = self._space(self.encoder.fingerprint, _pixels_name(options))
        return Online(self.encoder, options, space, self._resources, heard)

    def _while_open(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Keep the session for as long as its stream is read, though nobody else may."""
        yield from batches

    def encode_texts(
        self, texts: Sequence[str], progress: Counting | None = None
    ) -> tuple[NDArray[np.float32], list[bool]]:
        """Encode texts → float32[len(texts), d], unit rows, and which of them the store had.

        `progress` is called with how many of how many are encoded, where they are more than a few
        hundred. Raises ModelError for values that are not finite, UsageError where the session is closed.
        """
        self._resources.check()
        space = self._space(self.encoder.text_fingerprint, "text")
        digests = [text_digest(text) for text in texts]
        known = space.vectors(digests) if space else {}
        stored = [digest in known for digest in digests]
        missing = {d: text for d, text in zip(digests, texts, strict=True) if d not in known}
        rest = list(missing)
        for done in range(0, len(rest), _TEXTS):
            part = rest[done : done + _TEXTS]
            if progress and done:
                progress(done, len(rest))
            rows = self._finite_rows([missing[digest] for digest in part])
            known |= dict(zip(part, rows, strict=True))
            if space:
                space.keep([Entry(digest, known[digest]) for digest in part])
        return np.stack([known[digest] for digest in digests]), stored

    def _finite_rows(self, texts: list[str]) -> NDArray[np.float32]:
        rows = self.encoder.encode_texts(texts)
        if not np.isfinite(rows).all():
            raise ModelError("the model gives values that are not finite for these labels")
        return rows

    def _space(self, fingerprint: str, kind: str) -> Space | None:
        """Return the store's part for one kind of this model's embeddings: texts, or a way to decode."""
        return self.store.space(f"{fingerprint}-{kind}", self.encoder.name) if self.store else None

    def close(self) -> None:
        """End every thread and process, and close the store, which is pruned to its limit.

        Calls that are under way in other threads raise UsageError (code `closed`). Closing again does
        nothing.
        """
        self._resources.close()
        if self.store:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pixels_name(options: LoadOptions) -> str:
    """Name what decides an image's pixels; the number rises when they change for the same options."""
    scale = "exact" if options.exact else "reduced"
    colours = "srgb" if options.color_management else "unmanaged"
    return f"2-{scale}-{colours}{'-partial' if options.allow_truncated else ''}"
