"""Tags of images as keywords in their sidecars or files: what is there, what is to be there, and the change.

    with Tagger(TagOptions(prefix="AI|")) as tagger:
        for result in classifier.classify("photos", "animals"):
            print(tagger.tag(result))

Each image is done on its own, and is whole at any moment; doing it again changes nothing, so a run that was
stopped goes on where it was. A link's target is what is tagged.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli.actions import carrying, sidecar
from siglipcli.actions.fields import OPTIONAL
from siglipcli.actions.keywords import Place, Tag, keyword_of, plan
from siglipcli.actions.reading import file_content
from siglipcli.actions.sidecar import FileChangedError, Sidecar
from siglipcli.actions.watching import Watch
from siglipcli.actions.xmp import EMPTY, MAX_BYTES, Document, XmpError
from siglipcli.errors import ImageError, UsageError
from siglipcli.files import Stamp, stamp
from siglipcli.inputs.pairs import Neighbours, is_raw
from siglipcli.results import Failure, Prediction, Source
from siglipcli.text import named, utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import Self

    from siglipcli.store import Store

__all__ = ["PROGRAMS", "SIDECAR_NAMES", "TagOptions", "Tagged", "Tagger"]

PROGRAMS = tuple(OPTIONAL)
"""For whom more fields are made than dc:subject and lr:hierarchicalSubject."""
SIDECAR_NAMES = ("auto", "full", "stem")
"""`photo.jpg.xmp` is full, `photo.xmp` stem; auto: stem for RAW."""
_TRIES = 3  # where another program writes the same file
_FOLDERS = 64  # that are remembered as swept


@dataclass(frozen=True, slots=True)
class TagOptions:
    """What is written, and where.

    `prefix` goes before every keyword (`AI|` makes it a parent). Of an image's tags those are written whose score is
    at least `min_score`, the `max_tags` best of them (None: all). `embed`: into files, RAW excepted, and into the
    sidecars that exist; else into sidecars. `programs` are names of `PROGRAMS`, `sidecar_name` one of
    `SIDECAR_NAMES`. `keep_times`: a file in which tags are embedded keeps its mtime. `dry_run` changes
    nothing.
    """

    prefix: str = ""
    min_score: float = 0.0
    max_tags: int | None = None
    embed: bool = False
    programs: tuple[str, ...] = ()
    sidecar_name: str = "auto"
    keep_times: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse names that are none. Raises UsageError."""
        for value, choices in [
            (self.sidecar_name, SIDECAR_NAMES),
            *((p, PROGRAMS) for p in self.programs),
        ]:
            if value not in choices:
                raise UsageError(f"{value!r} is none of {', '.join(choices)}")


@dataclass(frozen=True, slots=True)
class Tagged:
    """An image whose keywords are as they are to be.

    `keywords` are ours, as in lr:hierarchicalSubject (`bird|owl`); `added` and `removed` say what has changed (or
    would, in a dry run), `written` in which files. `outdated`: other keywords that were embedded before are in the
    file still.
    """

    file: str
    keywords: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    model: str = field(default="", kw_only=True)
    stored: bool = field(default=False, kw_only=True)
    outdated: bool = field(default=False, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the row that JSON Lines hold for this image."""
        lists = {
            name: [utf8(item) for item in getattr(self, name)]
            for name in ("keywords", "added", "removed", "written")
        }
        model = {"model": utf8(self.model)} if self.model else {}
        return named(self.file) | {"status": "ok"} | model | lists


@dataclass(slots=True)
class _Open:
    """A place with the file behind it: the document of a sidecar; None for the image file itself."""

    place: Place
    path: Path
    stamp: Stamp | None
    document: Document | None
    is_linked: bool = False


class Tagger:
    """Writes tags as keywords, image by image. Not for several threads at once.

    With a `store`, a file's embedding is known again after keywords were embedded. `now` is the time in records,
    ISO 8601. Raises MissingExtraError without lxml, and SiglipError (code `exiftool`) where keywords are to be
    embedded and there is no exiftool.
    """

    def __init__(
        self, options: TagOptions | None = None, store: Store | None = None, now: str | None = None
    ) -> None:
        self.options = options or TagOptions()
        self._now = now or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._optional = {name for program in self.options.programs for name in OPTIONAL[program]}
        from siglipcli.actions.embedding import Embedder  # numpy, with the store

        self._embedder = Embedder(store, keep_times=self.options.keep_times)
        self._watch = Watch()
        self._swept: dict[Path, None] = {}
        self._neighbours = Neighbours()
        Document(EMPTY)  # without lxml nothing goes on
        if self.options.embed and not self.options.dry_run:
            self._embedder.check()

    def tag(self, result: Prediction | Failure) -> Tagged | Failure:
        """Make the tags of a prediction the image's keywords, in place of those that we wrote before.

        A failure is passed on; what cannot be written is one.
        """
        if isinstance(result, Failure):
            return result
        source = result.source or Source(result.file)
        done = self._apply(source, result.file, self._tags(result))
        self._watch.done(result.file)
        if isinstance(done, Failure):
            return done
        return replace(done, model=result.model, stored=result.stored)

    def watched(self, sources: Iterable[Source | Failure]) -> Iterator[Source | Failure]:
        """Pass inputs on to be scored: a file that has changed before it is tagged is a failure (kind `changed`)."""
        return self._watch.passing(sources)

    def remove(self, source: Source | Failure) -> Tagged | Failure:
        """Take away the keywords that we wrote, in sidecars and file, and nothing else."""
        if isinstance(source, Failure):
            return source
        return self._apply(source, source.name, (), remove=True)

    def is_tagged(self, source: Source | Failure) -> bool:
        """Whether keywords of ours are in the image's sidecars or its file."""
        path = None if isinstance(source, Failure) else _path(source)
        try:
            places = [item.place for item in self._opened(path, ())] if path else []
        except (OSError, ImageError):
            return False
        return any(place.records for place in places)

    @property
    def store(self) -> Store | None:
        """Where embeddings are known again after keywords were embedded."""
        return self._embedder.store

    @store.setter
    def store(self, store: Store | None) -> None:
        self._embedder.store = store

    def tell_store(self) -> None:
        """Enter the last files that were written; what is not entered is read again, but not encoded."""
        self._embedder.tell_store()

    def close(self) -> None:
        """End exiftool."""
        self._embedder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tags(self, result: Prediction) -> list[Tag]:
        """Return the tags that are to be keywords, the best first; of two with one keyword, the better."""
        options = self.options
        scores = [s for s in result.scores if s.tag and s.score >= options.min_score]
        scores.sort(key=lambda score: -score.logit)
        tags = {
            path: Tag(path, s.label, s.score, s.set, result.model, self._now)
            for s in reversed(scores)
            if (path := keyword_of(s.label, options.prefix))
        }
        return list(reversed(tags.values()))[: options.max_tags]

    def _apply(
        self, source: Source, name: str, tags: Sequence[Tag], *, remove: bool = False
    ) -> Tagged | Failure:
        path = _path(source)
        if path is None:
            return Failure(
                name, "no_file", "This is no file of its own, so it cannot have keywords."
            )
        try:
            for _ in range(_TRIES):
                with suppress(FileChangedError):
                    return self._applied(path, name, tags, remove=remove)
        except ImageError as error:
            return Failure(name, error.kind, str(error))
        except OSError as error:
            return Failure(
                name, "not_written", f"Keywords cannot be written: {error.strerror or error}."
            )
        return Failure(name, "busy", "Another program keeps writing this image or its sidecar.")

    def _applied(self, path: Path, name: str, tags: Sequence[Tag], *, remove: bool) -> Tagged:
        here = self._opened(path, tags, remove=remove)
        if self._watch.has_changed(name, here[0].stamp):
            raise ImageError(
                "changed", "The file has changed since it was scored. Run the command again."
            )
        before = [item.place for item in here]
        after = plan(before, tags, self._optional)
        written = []
        for item, new in zip(here, after, strict=True):
            if new == item.place:
                continue
            written.append(str(item.path))
            if not self.options.dry_run:
                self._sweep(item.path.parent)
                self._write(item, new, path)
        old, now = _keywords(before), _keywords(after)
        added = tuple(word for word in now if word not in old)
        removed = tuple(word for word in old if word not in now)
        outdated = not remove and any(_is_outdated(place, tags) for place in before)
        return Tagged(name, tuple(now), added, removed, tuple(written), outdated=outdated)

    # --- what is there ----------------------------------------------------------------------------

    def _opened(self, path: Path, tags: Sequence[Tag], *, remove: bool = False) -> list[_Open]:
        """Open the image's file and its sidecars, and the one that is to be made. Raises ImageError, OSError."""
        target = _followed(path)
        info = target.stat()
        content = file_content(target)
        file = _Open(content.place, target, stamp(info), None)
        embeds = self.options.embed and _takes_embedding(target)
        is_written = embeds or (remove and bool(file.place.records or file.place.made))
        file.place = replace(file.place, is_written=is_written)
        sidecars = [_opened_sidecar(item) for item in sidecar.existing(target, self._neighbours)]
        if tags and not sidecars and not embeds:
            made = sidecar.fresh(target, self.options.sidecar_name, self._neighbours)
            sidecars = [
                _Open(
                    Place(made.kind),
                    made.path,
                    None,
                    Document(carrying.beginning(content.documents)),
                )
            ]
        return [file, *sidecars]

    # --- the change -------------------------------------------------------------------------------

    def _write(self, item: _Open, new: Place, path: Path) -> None:
        if item.document is None:
            self._embedder.write(item.path, item.stamp, item.place, new, path)
            self._watch.wrote(item.stamp, stamp(item.path.stat()))
            return
        try:
            data = item.document.with_place(new)
        except XmpError as error:
            raise _unreadable(item.path, error) from error
        if not new.records:
            document = Document(data)
            if carrying.is_bare(document) and not item.is_linked:
                sidecar.removed(item.path, item.stamp)
                return
            data = document.without(carrying.CARRIED)
        sidecar.replaced(item.path, lambda draft: draft.write_bytes(data), item.stamp)

    def _sweep(self, folder: Path) -> None:
        """Delete what killed runs left in a folder, when it is first written to."""
        if folder in self._swept:
            return
        sidecar.sweep(folder)
        self._swept[folder] = None
        if len(self._swept) > _FOLDERS:
            del self._swept[next(iter(self._swept))]


def _path(source: Source) -> Path | None:
    """Return where an input is on the disk; None for one that is in memory, in an archive, or on stdin."""
    content = source.origin
    if content is None:
        return None if source.name == "-" else Path(source.name)
    return content if isinstance(content, Path) else None


def _followed(path: Path) -> Path:
    """Return the file that a link leads to; another path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _takes_embedding(path: Path) -> bool:
    """Whether keywords may go into a file: of RAW formats into DNG alone, the only one that is documented."""
    return not is_raw(path.name) or path.suffix.lower() == ".dng"


def _opened_sidecar(beside: Sidecar) -> _Open:
    """Read a sidecar, or what its link leads to. Raises ImageError (kind `sidecar`), OSError."""
    path = _followed(beside.path)
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            data = file.read(MAX_BYTES + 1)
        document = Document(data)
        place = document.place(beside.kind)
    except FileNotFoundError as error:
        raise _unreadable(beside.path, "it is a link that leads nowhere") from error
    except XmpError as error:
        raise _unreadable(beside.path, error) from error
    return _Open(place, path, stamp(info), document, is_linked=path != beside.path)


def _unreadable(path: Path, error: XmpError | str) -> ImageError:
    return ImageError("sidecar", f"{path.name} is left as it is: {error}. Repair or remove it.")


def _is_outdated(place: Place, tags: Iterable[Tag]) -> bool:
    paths = {record.path for record in place.records}
    return not place.is_written and bool(paths) and paths != {tag.path for tag in tags}


def _keywords(places: Iterable[Place]) -> list[str]:
    """Return our keywords in all places, each once, as in lr:hierarchicalSubject."""
    return list(dict.fromkeys("|".join(record.path) for p in places for record in p.records))
