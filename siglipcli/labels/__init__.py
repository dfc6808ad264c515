"""Label sets: their records, the built-in ones, and how they are read from files and Python objects.

What the YAML form means is in `schema`, how its text is read in `nodes`, what a model reads of the prompts
in `model_view`; they are imported where a set is read, since most of the program only handles the records.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from siglipcli.errors import LabelError, UsageError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "DEFAULT_TEMPLATE",
    "Calibration",
    "Label",
    "LabelSet",
    "builtin_names",
    "check_calibration",
    "check_names",
    "examine",
    "load",
    "load_builtin",
    "parse",
    "read",
]

DEFAULT_TEMPLATE = "a photo of a {}."


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a set. `path` is its full name, parents first (`bird/owl`).

    `prompts` are final texts, templates filled in; there is at least one.
    `threshold` is None where the label has none of its own.
    """

    path: str
    prompts: tuple[str, ...]
    threshold: float | None = None
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a set's thresholds and `bias_shift` were fitted on.

    `fingerprint` is the encoder's: of its checkpoint, runtime and precision. `images` counts those that the
    fit has used; `date` is ISO 8601. Only `model` is always there; the others may be "" and 0.
    """

    model: str
    fingerprint: str = ""
    precision: str = ""
    images: int = 0
    date: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class LabelSet:
    """Labels that are scored together; the YAML form is described in the documentation.

    `aggregate` is `mean` (unit embeddings averaged, then renormalised) or `max` (best prompt).
    `threshold` is None where the set has none of its own. `bias_shift` is added to every logit.
    `calibrated` says which model the thresholds were fitted on, where they were.
    """

    name: str
    labels: tuple[Label, ...]
    description: str = ""
    aggregate: str = "mean"
    threshold: float | None = None
    exclusive: bool = False
    bias_shift: float = 0.0
    calibrated: Calibration | None = None

    def __repr__(self) -> str:
        count = len(self.labels)
        return f"<LabelSet {self.name!r}: {count:,} label{'' if count == 1 else 's'}>"

    @classmethod
    def load(
        cls, reference: str | os.PathLike[str], *, templates: str | Iterable[str] | None = None
    ) -> LabelSet:
        """Return the set in a file (YAML, JSON, or one name per line), or the built-in of that name.

        `templates` take the place of the set's own. Raises LabelError for a set that is not there or cannot
        be used, TypeError for anything but a name or path.
        """
        return load(reference, templates=templates)

    @classmethod
    def of(
        cls,
        names: str | Iterable[str],
        *,
        name: str = "labels",
        templates: str | Iterable[str] | None = None,
    ) -> LabelSet:
        """Return a set of plain names; a single string is one label.

        Each name is filled into `templates` (default: "a photo of a {}."; a name that begins with an article,
        or is a sentence, is then used as it is). Raises LabelError for names that cannot be used, TypeError
        for what is no text.
        """
        from siglipcli.labels.schema import read_names

        labels, complaints = read_names(
            _texts(names, "labels"), _text(name, "name"), _templates(templates)
        )
        if complaints:
            raise LabelError(complaints[0])
        return labels

    @classmethod
    def from_dict(cls, schema: Mapping[str, Any], *, name: str = "labels") -> LabelSet:
        """Return the set that `schema` describes, with the keys and values of the YAML form.

        `name` is the set's where `schema` has none. Raises LabelError as `load` does, TypeError for values
        that YAML would not hold.
        """
        from siglipcli.labels.schema import from_mapping

        labels, complaints = from_mapping(schema, _text(name, "name"))
        if complaints:
            raise LabelError(complaints[0])
        return labels

    def check_calibration(self, model: str, fingerprint: str, precision: str) -> str | None:
        """Return a warning if the thresholds were fitted on another model or precision than this, or None.

        The arguments are an encoder's `name`, `fingerprint` and `precision`. A set that is not calibrated,
        or a field that it does not give, draws no warning.
        """
        fitted = self.calibrated
        if fitted is None:
            return None
        start = f"label set {self.name}: its thresholds were fitted on"
        if fitted.fingerprint:
            is_same = _checkpoint(fitted.fingerprint) == _checkpoint(fingerprint)
        else:
            is_same = fitted.model == model
        if not is_same and fitted.model == model:
            return f"{start} other weights of {model}. Calibrate it again for these."
        if not is_same:
            return f"{start} {fitted.model}, and mean nothing for {model}. Calibrate it again."
        if fitted.precision and fitted.precision != precision:
            return f"{start} {fitted.precision} scores; at {precision} tags near a threshold may differ."
        if fitted.precision and _tuning(fitted.fingerprint) != _tuning(fingerprint):
            return f"{start} another {precision} engine; tags near a threshold may differ."
        return None


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError where two label sets have one name, which results could not tell apart."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two label sets are called {twice!r}; give one of them another name")


class _Model(Protocol):
    """What is asked of an encoder here, which may be open on another machine."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def precision(self) -> str: ...


def check_calibration(
    sets: Iterable[LabelSet], model: _Model, warn: Callable[[str], None], *, strict: bool = False
) -> None:
    """Give `warn` where thresholds were fitted on another model or precision; with `strict`, raise LabelError."""
    for label_set in sets:
        warning = label_set.check_calibration(model.name, model.fingerprint, model.precision)
        if warning and strict:
            raise LabelError(warning, code="calibrated_elsewhere", name=label_set.name)
        if warning:
            warn(warning)


def load(
    reference: str | os.PathLike[str], *, templates: str | Iterable[str] | None = None
) -> LabelSet:
    """Return the set in a file, or the built-in set of that name; a file wins.

    `templates` take the place of the set's own. Raises `LabelError`: nothing of that name (with the nearest
    built-in), a file that cannot be read, or a set that cannot be used (`file:line: key: what was expected`).
    """
    text, file = read(reference)
    return parse(text, file, templates=templates)


def read(reference: str | os.PathLike[str]) -> tuple[str, str]:
    """Return a set's text, and the file's name as messages show it. Raises `LabelError`, TypeError."""
    from siglipcli.labels.nodes import MAX_BYTES, decode

    path = _find(reference)
    file = visible(str(path))
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise LabelError(f"{file}: cannot be read: {error.strerror}.") from error
    return decode(raw, file), file


def parse(
    text: bytes | str, name: str, *, templates: str | Iterable[str] | None = None
) -> LabelSet:
    """Return the set in `text`; `name` is its file's, for messages and if it has no other.

    A name that ends in `.txt` says that the text is one label per line; one that ends in neither this nor
    `.yaml`, `.yml` or `.json` leaves it to the first line. Raises `LabelError` with the first complaint and
    how many more there are.
    """
    labels, complaints = examine(text, name, templates=templates)
    if labels is None:
        if more := len(complaints) - 1:
            message = f"{complaints[0]} ({more} more.)"
            raise LabelError(message, code="label_errors", file=visible(name), more=more)
        raise LabelError(complaints[0])
    return labels


def examine(
    text: bytes | str, name: str, *, templates: str | Iterable[str] | None = None
) -> tuple[LabelSet | None, list[str]]:
    """Return the set in `text`, or None and every complaint (of very many, the first hundred)."""
    from siglipcli.labels.nodes import compose, decode
    from siglipcli.labels.schema import read_set

    file = visible(name)
    try:
        root = compose(decode(text, file) if isinstance(text, bytes) else text, file)
        labels, complaints = read_set(root, file, _templates(templates))
    except LabelError as error:
        return None, [str(error)]
    return (None, complaints) if complaints else (labels, [])


def builtin_names() -> list[str]:
    """Return the names of the sets that come with the program, sorted."""
    return sorted(path.stem for path in _builtin_folder().glob("*.yaml"))


def load_builtin(name: str) -> LabelSet:
    """Return the built-in set of that name, whatever files there are. Raises LabelError."""
    if name not in builtin_names():
        raise LabelError(
            f"there is no built-in label set {visible(name)}",
            code="unknown_label_set",
            name=visible(name),
        )
    return load(_builtin_folder() / f"{name}.yaml")


def _builtin_folder() -> Path:
    here = Path(__file__).resolve().parent
    packaged = here / "builtin"
    return packaged if packaged.is_dir() else here.parents[1] / "labelsets"


def _find(reference: str | os.PathLike[str]) -> Path:
    from siglipcli.labels.tree import quoted

    if not isinstance(reference, (str, os.PathLike)):
        raise TypeError(f"a label set is loaded by name or path, not from {_kind(reference)}")
    # os.path, since Path.exists raises on names the system refuses.
    folder = os.path.isdir(reference)  # noqa: PTH112
    if os.path.exists(reference) and not folder:  # noqa: PTH110
        return Path(reference)
    names = builtin_names()
    if reference in names:
        return _builtin_folder() / f"{reference}.yaml"
    shown = quoted(str(reference))
    if folder:
        raise LabelError(f"{shown} is a folder; name a label file in it.")
    near = difflib.get_close_matches(Path(reference).stem[:100], names, n=1)
    hint = f" The nearest built-in set is {near[0]!r}." if near else ""
    raise LabelError(
        f"there is no file and no built-in label set {shown}.{hint}",
        code="unknown_label_set",
        name=shown,
    )


def _texts(texts: str | Iterable[str], what: str) -> list[str]:
    """Return one text or many as a list. Raises TypeError for anything else."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        raise TypeError(f"{what} are a string or a list of strings, not {_kind(texts)}")
    return [_text(text, f"{what}[{at}]") for at, text in enumerate(texts)]


def _text(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a string, not {_kind(text)}")
    return text


def _templates(templates: str | Iterable[str] | None) -> list[str] | None:
    return None if templates is None else _texts(templates, "templates")


def _kind(value: object) -> str:
    return type(value).__name__


def _checkpoint(fingerprint: str) -> str:
    """Return the part of an encoder's fingerprint that runtime and precision do not change."""
    return fingerprint.partition("-")[0]


def _tuning(fingerprint: str) -> str:
    """Return which tuned engine a fingerprint is of: `…-int8-DIGEST`; empty for others."""
    return fingerprint.partition("-int8-")[2]
