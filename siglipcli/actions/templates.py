"""Where a sorted image goes: a template of folders and a name, filled in for each image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from siglipcli.actions.names import safe
from siglipcli.errors import UsageError
from siglipcli.images.dates import taken

if TYPE_CHECKING:
    from siglipcli.actions.names import Folders

__all__ = ["DEFAULT", "FIELDS", "Template"]

DEFAULT = "{label}/{name}"
FIELDS = ("set", "label", "year", "month", "day", "name")
_STEM = "\ue000"  # a private character in the place of a name, which is no template's to make safe
_DATES = {"year": "%Y", "month": "%m", "day": "%d"}


@dataclass(frozen=True)
class Template:
    """Folders and, behind the last `/`, the name: `{set}/{label}/{year}-{month}/{name}`.

    `{label}` is one folder for each part of the label's name, or one for all in `Folders` that are flat.
    `{year}`, `{month}` and `{day}` are the image's: EXIF's DateTimeOriginal, else the file's modification
    time in local time. `{name}` is the file's name without its ending, which stays behind whatever the template has there.
    """

    text: str = DEFAULT

    def __post_init__(self) -> None:
        try:
            parts = list(Formatter().parse(self.text))
        except ValueError as error:
            raise UsageError(f"the template {self.text!r} cannot be read: {error}") from error
        fields = [name for _, name, *_ in parts if name is not None]
        unknown = next((name for name in fields if name not in FIELDS), None)
        if unknown is not None:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"the template has {{{unknown}}}; it may have {known}")
        if any(spec or conversion for _, name, spec, conversion in parts if name is not None):
            raise UsageError("a field of the template stands alone in its braces, such as {label}")
        if fields.count("name") != 1 or "{name}" not in self.text.rpartition("/")[2]:
            raise UsageError("the template ends in a name: put {name} behind its last /, once")

    @property
    def _needs_date(self) -> bool:
        return any(f"{{{field}}}" in self.text for field in _DATES)

    def place(
        self, file: str, stem: str, folders: Folders, label: str, label_set: str
    ) -> tuple[tuple[str, ...], str]:
        """Return the folders below the destination, and the name for `stem`, all safe.

        `file` is the image's path. Raises OSError where its time cannot be told.
        """
        values = {"set": label_set, "label": ""} | (_date(file) if self._needs_date else {})
        *places, name = self.text.split("/")
        parts: list[str] = []
        for place in places:
            if place.strip() == "{label}":
                parts += folders.of(label)
            elif place:
                values["label"] = "-".join(folders.of(label))
                parts.append(safe(place.format_map(values)))
        values["label"] = "-".join(folders.of(label))
        around = safe(name.format_map(values | {"name": _STEM}))
        return tuple(parts), around.replace(_STEM, stem)


def _date(file: str) -> dict[str, str]:
    path = Path(file)
    date = taken(path) or datetime.fromtimestamp(path.stat().st_mtime)  # noqa: DTZ006  # as the user sees it
    return {
        field: date.strftime(form).rjust(len(date.strftime(form)), "0")
        for field, form in _DATES.items()
    }
