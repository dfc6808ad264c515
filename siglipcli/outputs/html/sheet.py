"""A report: a stream of results gathered for one page, and the page written."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from siglipcli import scoring
from siglipcli.digits import shortest
from siglipcli.outputs.html.page import as_data, pieces, text
from siglipcli.outputs.html.rows import NONE, kept
from siglipcli.outputs.html.sections import Section, place, table
from siglipcli.outputs.html.thumbnails import CHUNK, MIME, Thumbnails
from siglipcli.outputs.output import translated
from siglipcli.results import Failure, Source
from siglipcli.scoring import ScoringOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from typing_extensions import Self

    from siglipcli.labels import LabelSet
    from siglipcli.outputs.html.sections import Html
    from siglipcli.pipeline import LoadOptions
    from siglipcli.results import Prediction

__all__ = ["ERRORS", "IMAGES", "THUMBS", "Heading", "Sheet"]

THUMBS = 2000
"""Images that get a thumbnail, unless another number is asked for: about 5 KB each."""
IMAGES = 20_000
"""Images that the page lists; it says how many more there were."""
ERRORS = 500
"""Inputs that failed, likewise."""

_IN_MEMORY = 8 << 20  # bytes of rows kept before a file is made


@dataclass(frozen=True, slots=True)
class Heading:
    """What holds for the whole report; `selection` decided what is a tag.

    `notes` are said above the images. `page` is where the page will be: names link to the files from there.
    """

    title: str
    model: str
    sets: Sequence[LabelSet]
    selection: ScoringOptions = field(default_factory=ScoringOptions)
    notes: Sequence[str] = ()
    page: Path | None = None


class Sheet:
    """Gathers results, in order, with thumbnails of the first `thumbs` images; then `write`s.

    `reading` says how images are read for their thumbnails: as the run itself reads them. Results are expected with `widened(selection)`'s labels. Memory does not grow with their
    number: rows and thumbnails are in temporary files until they are written. To be closed.
    """

    def __init__(
        self,
        heading: Heading,
        load_options: LoadOptions,
        *,
        thumbs: int = THUMBS,
        limit: int = IMAGES,
    ) -> None:
        self._limit = limit
        self._heading = heading
        self._sets = {each.name: each for each in heading.sets}
        labels = [(each.name, label.path) for each in heading.sets for label in each.labels]
        self._numbers = {label: i for i, label in enumerate(labels)}
        self._thumbs = Thumbnails(min(thumbs, limit), load_options)
        self._rows = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # `close` is ours
        self._images = self._errors = 0
        self._failures: list[Failure] = []
        self._floor = NONE
        self._crc = 0

    @property
    def left_out(self) -> int:
        """Images that the page does not list, as there are more than it holds."""
        return max(self._images - self._limit, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let threads and temporary files go."""
        self._thumbs.close()
        self._rows.close()

    def add(self, result: Prediction | Failure, note: str = "") -> None:
        """Take the next result, with a line to show below its name.

        Raises OutputError where the temporary file cannot be written.
        """
        if isinstance(result, Failure):
            self._errors += 1
            if self._errors <= ERRORS:
                self._failures.append(result)
            return
        self._images += 1
        if self._images <= self._limit:
            self._thumbs.add(result.source or Source(result.file))
            self._keep(result, note)

    def write(self, stream: TextIO, sections: Sequence[Section] = ()) -> None:
        """Write the page, `sections` before the images. Raises what the stream does, and OutputError."""
        slots: dict[str, Iterable[str]] = {
            "title": [text(self._heading.title)],
            "lede": self._lede(),
            "sections": (place(each, f"section-{i}") for i, each in enumerate(sections, 1)),
            "notices": self._notices(),
            "errors": self._error_section(),
            "footer": [_footer()],
            "about": [as_data(self._about())],
            "rows": self._written_rows(),
            "thumbs": self._written_thumbs(),
        }
        stream.writelines(pieces(slots))

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
        """Return what the script needs to know of the labels: columns, one entry a label."""
        sets = self._heading.sets
        limits = [
            shortest(scoring.thresholds(each, self._heading.selection)).tolist() for each in sets
        ]
        labels = [label for each in sets for label in each.labels]
        return {
            "id": self._identity(),
            "model": visible(self._heading.model),
            **_places(self._heading.page),
            "sets": [visible(each.name) for each in sets],
            "labels": [visible(label.path) for label in labels],
            "set_of": [i for i, each in enumerate(sets) for _ in each.labels],
            "thresholds": [limit for column in limits for limit in column],
            "negative": [i for i, label in enumerate(labels) if label.negative],
            "floor": self._floor,
            "thumbs": {"chunk": CHUNK, "type": MIME},
        }

    def _identity(self) -> str:
        """Return what tells this page from another: the browser keeps a review under it."""
        content = f"{self._heading!r}{self._images}{self._crc}"
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _written_rows(self) -> Iterator[str]:
        with translated("temporary file"):
            self._rows.seek(0)
            for i, line in enumerate(self._rows):
                yield ("," if i else "[") + line.decode()
        yield "]" if self._images else "[]"

    def _written_thumbs(self) -> Iterator[str]:
        for chunk in self._thumbs.chunks():
            yield f'<script type="application/json" class="thumbs">{as_data(chunk)}</script>\n'

    def _lede(self) -> Iterator[Html]:
        heading = self._heading
        images = f"<strong>{_plural(self._images, 'image')}</strong>"
        errors = f', <a href="#errors">{self._errors:,} could not be read</a>' * bool(self._errors)
        sets = "; ".join(
            f"<bdi>{text(each.name)}</bdi> ({_plural(len(each.labels), 'label')})"
            for each in heading.sets
        )
        yield f"<p>{images}{errors} · <bdi>{text(heading.model)}</bdi> · {sets}</p>"

    def _notices(self) -> Iterator[Html]:
        yield from map(_notice, self._heading.notes)
        if self.left_out:
            yield _notice(
                f"The first {self._limit:,} images are here, and the counts are theirs;"
                f" {self.left_out:,} more are not (--report-limit)."
            )
        if len(self._thumbs) < min(self._images, self._limit):
            count = _plural(len(self._thumbs), "image")
            yield _notice(
                f"Thumbnails: the first {count} (--report-thumbs)."
                if self._thumbs
                else "There are no thumbnails (--report-thumbs 0)."
            )

    def _error_section(self) -> Iterator[Html]:
        if not self._failures:
            return
        rows = [(each.file, each.kind, each.message) for each in self._failures]
        listed = table(["file", "kind", "what happened"], rows, caption="Errors", css="errors")
        more = self._errors - len(self._failures)
        rest = _notice(f"{more:,} more are not listed here.") if more else ""
        yield place(Section("Could not be read", listed + rest), "errors")


def _places(page: Path | None) -> dict[str, str | None]:
    """Return what leads from the page to relative names and to absolute ones; None for nowhere."""
    try:
        folder = page and os.path.dirname(os.path.realpath(page))  # noqa: PTH120
        ways = [os.path.relpath(place, folder) for place in (os.curdir, os.sep)] if folder else []
    except ValueError:  # another drive
        ways = []
    base, root = [quote(way.replace(os.sep, "/")) for way in ways] or (None, None)
    return {"base": base, "root": root}


def _footer() -> Html:
    return (
        "<p>Scores are sigmoids: each label on its own, so they do not sum to 1, and they are small"
        " by design. What counts is the order, and a threshold that fits the label. This file holds"
        " everything that it shows and fetches nothing.</p>"
    )


def _notice(line: str) -> Html:
    return f'<p class="notice">{text(line)}</p>'


def _plural(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + "s" * (count != 1)
