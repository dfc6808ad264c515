"""The report as a sink: results are gathered for one page, which is written at the end."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from siglipcli import scoring
from siglipcli.digits import shortest
from siglipcli.outputs import Header
from siglipcli.outputs.html.rows import NONE, kept, narrowed, widened
from siglipcli.outputs.html.sections import Section, table
from siglipcli.outputs.html.templates import as_data, page, part
from siglipcli.outputs.html.thumbnails import CHUNK, MIME, Thumbnails
from siglipcli.outputs.output import translated
from siglipcli.results import Failure, Prediction, Source
from siglipcli.scoring import ScoringOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from siglipcli.api import Classifier
    from siglipcli.images.decoders import DecoderPool
    from siglipcli.labels import LabelSet
    from siglipcli.pipeline import LoadOptions
    from siglipcli.results import Result

__all__ = ["ERRORS", "IMAGES", "THUMBS", "ReportHeader", "ReportSink", "title"]

THUMBS = 2000
"""Images that get a thumbnail by default: about 5 KB each."""
IMAGES = 20_000
"""Images that the page lists by default; it says how many more there were."""
ERRORS = 500
"""Inputs that failed, likewise."""

_IN_MEMORY = 8 << 20  # bytes of rows kept before a file is made
_NAMES = 3  # of inputs in a title


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHeader(Header):
    """What holds for the whole report.

    `scoring` decided what is a tag; `load_options` say how images are read for their thumbnails: as the run
    itself reads them, with its `decoders` where they are shared. `notes` are said above the images. `page` is where the page will be: names link to the
    files from there. `thumbs`, `limit` and `errors` are how many thumbnails, images and failures it holds.
    """

    title: str
    label_sets: Sequence[LabelSet]
    load_options: LoadOptions
    decoders: DecoderPool | None = None
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    notes: Sequence[str] = ()
    page: Path | None = None
    thumbs: int = THUMBS
    limit: int = IMAGES
    errors: int = ERRORS

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        label_sets: Sequence[LabelSet],
        scoring: ScoringOptions,
        names: Sequence[str],
        **more: Any,
    ) -> ReportHeader:
        """Return the header of a classifier's run; `names` say what it reads, `more` are the other fields.

        Thresholds that were fitted on another model draw a note.
        """
        model = classifier.encoder
        warnings = (
            label_set.check_calibration(model.name, model.fingerprint, model.precision)
            for label_set in label_sets
        )
        return cls(
            model.name,
            title=title(names),
            label_sets=label_sets,
            scoring=scoring,
            load_options=classifier.load_options,
            decoders=classifier.session.decoders,
            notes=[warning for warning in warnings if warning],
            **more,
        )


def title(names: Sequence[str]) -> str:
    """Return a report's title: the first names of what was read, and how many more there are."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")


class ReportSink:
    """Gathers results, in order, with thumbnails of the first images; `close` writes the page.

    Results are expected with the labels of `self.scoring`. `sections` stand before the images. Memory does not
    grow with the number of results: rows and thumbnails are in temporary files until they are written.
    """

    def __init__(self, stream: TextIO, header: ReportHeader) -> None:
        self.sections: list[Section] = []
        self._stream = stream
        self._header = header
        self._sets = {label_set.name: label_set for label_set in header.label_sets}
        names = [(s.name, label.path) for s in header.label_sets for label in s.labels]
        self._numbers = {name: i for i, name in enumerate(names)}
        self._thumbs = Thumbnails(
            min(header.thumbs, header.limit), header.load_options, header.decoders
        )
        self._rows = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # `abort` closes it
        self._images = self._errors = 0
        self._failures: list[Failure] = []
        self._floor = NONE
        self._crc = 0

    @property
    def scoring(self) -> ScoringOptions:
        """What to score with: with more labels than the header's `scoring` keeps, as the page shows them."""
        return widened(self._header.scoring, self._header.label_sets)

    @property
    def left_out(self) -> int:
        """Images that the page does not list, as there are more than it holds."""
        return max(self._images - self._header.limit, 0)

    def passing(self, results: Iterable[Result]) -> Iterator[Result]:
        """Write results; pass on what the header's `scoring` gives, as it would be without a page."""
        for result in results:
            self.write(result)
            if isinstance(result, Prediction):
                yield narrowed(result, self._header.scoring, self._header.label_sets)
            else:
                yield result

    def write(self, result: Result, note: str = "") -> None:
        """Take the next prediction or failure, with a line to show below its name.

        Raises TypeError for another result, OutputError where the temporary file cannot be written.
        """
        if isinstance(result, Failure):
            self._errors += 1
            if self._errors <= self._header.errors:
                self._failures.append(result)
            return
        if not isinstance(result, Prediction):
            raise TypeError(f"a report lists predictions, not {type(result).__name__}")
        self._images += 1
        if self._images <= self._header.limit:
            self._thumbs.add(result.source or Source(result.file))
            self._keep(result, note)

    def close(self) -> None:
        """Write the page, and let go of threads and temporary files. Raises OutputError, and what the stream does."""
        try:
            self._stream.writelines(page(**self._content()))
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go of threads and temporary files, without a page."""
        self._thumbs.close()
        self._rows.close()

    def _content(self) -> dict[str, object]:
        """Return what the template shows; rows and thumbnails are read from their files as it asks for them."""
        header = self._header
        return {
            "title": header.title,
            "model": header.model,
            "label_sets": header.label_sets,
            "images": self._images,
            "errors": self._errors,
            "sections": self.sections,
            "notices": list(self._notices()),
            "error_section": self._error_section(),
            "about": self._about(),
            "rows": self._written_rows(),
            "thumbnails": self._thumbs.chunks(),
        }

    def _keep(self, result: Prediction, note: str) -> None:
        row = kept(result.scores, self._sets, self._numbers)
        self._floor = max(self._floor, row.floor)
        fields = [visible(result.file), row.labels, row.scores, row.marks]
        line = as_data([*fields, visible(note)] if note else fields)
        written = line.encode() + b"\n"
        self._crc = zlib.crc32(written, self._crc)
        with translated("temporary file"):
            self._rows.write(written)

    def _about(self) -> dict[str, object]:
        """Return what the script needs to know of the labels: columns, one entry per label."""
        sets = self._header.label_sets
        limits = [shortest(scoring.thresholds(s, self._header.scoring)).tolist() for s in sets]
        labels = [label for label_set in sets for label in label_set.labels]
        return {
            "id": self._identity(),
            "model": visible(self._header.model),
            **_places(self._header.page),
            "sets": [visible(label_set.name) for label_set in sets],
            "labels": [visible(label.path) for label in labels],
            "set_of": [i for i, label_set in enumerate(sets) for _ in label_set.labels],
            "thresholds": [limit for column in limits for limit in column],
            "negative": [i for i, label in enumerate(labels) if label.negative],
            "floor": self._floor,
            "thumbs": {"chunk": CHUNK, "type": MIME},
        }

    def _identity(self) -> str:
        """Return what tells this page from another: the browser keeps a review under it."""
        content = f"{self._header!r}{self._images}{self._crc}"
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _written_rows(self) -> Iterator[str]:
        with translated("temporary file"):
            self._rows.seek(0)
            for i, line in enumerate(self._rows):
                yield "," * bool(i) + line.decode()

    def _notices(self) -> Iterator[str]:
        yield from self._header.notes
        if self.left_out:
            yield (
                f"The first {self._header.limit:,} images are here, and the counts are theirs;"
                f" {self.left_out:,} more are not."
            )
        count = len(self._thumbs)
        if count == 0 < self._images:
            yield "There are no thumbnails."
        elif count < min(self._images, self._header.limit):
            yield f"Only the first {count:,} image{'s have' if count > 1 else ' has'} a thumbnail."

    def _error_section(self) -> Section | None:
        if not self._failures:
            return None
        rows = [(failure.file, failure.kind, failure.message) for failure in self._failures]
        body = table(["file", "kind", "what happened"], rows, caption="Errors", css="errors")
        if more := self._errors - len(self._failures):
            body += part("notice", line=f"{more:,} more are not listed here.")
        return Section("Could not be read", body)


def _places(page: Path | None) -> dict[str, str | None]:
    """Return what leads from the page to relative names and to absolute ones; None for nowhere."""
    try:
        folder = page and os.path.dirname(os.path.realpath(page))  # noqa: PTH120
        ways = [os.path.relpath(place, folder) for place in (os.curdir, os.sep)] if folder else []
    except ValueError:  # another drive
        ways = []
    base, root = [quote(way.replace(os.sep, "/")) for way in ways] or (None, None)
    return {"base": base, "root": root}
