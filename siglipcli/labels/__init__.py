"""Label sets: their records, the built-in ones, and `load` from YAML or `of` plain names.

What the YAML form means is in `schema`, how its text is read in `nodes`; both
are imported where a set is read, since most of the program only handles the records.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.errors import LabelError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "DEFAULT_TEMPLATE",
    "Label",
    "LabelSet",
    "builtin_names",
    "examine",
    "load",
    "parse",
    "read",
    "warnings",
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
class LabelSet:
    """Labels that are scored together; the YAML form is described in the README.

    `aggregate` is `mean` (unit embeddings averaged, then renormalised) or `max` (best prompt).
    `threshold` is None where the set has none of its own. `bias_shift` is added to every logit.
    """

    name: str
    labels: tuple[Label, ...]
    description: str = ""
    aggregate: str = "mean"
    threshold: float | None = None
    exclusive: bool = False
    bias_shift: float = 0.0

    @classmethod
    def load(cls, reference: str | Path) -> LabelSet:
        """Return the set in a YAML file, or the built-in of that name. Raises `LabelError`."""
        return load(reference)

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        *,
        name: str = "labels",
        templates: Sequence[str] = (DEFAULT_TEMPLATE,),
    ) -> LabelSet:
        """Return a set of plain names, filled into `templates`. Raises `LabelError`."""
        from siglipcli.labels.schema import read_names

        labels, complaints = read_names(names, name, templates)
        if complaints:
            raise LabelError(complaints[0])
        return labels


def load(reference: str | Path) -> LabelSet:
    """Return the set in a YAML file, or the built-in set of that name; a file wins.

    Raises `LabelError`: nothing of that name (with the nearest built-in), a file that cannot be
    read, or a set that cannot be used (`file:line: key: what was expected`).
    """
    text, file = read(reference)
    return parse(text, file)


def read(reference: str | Path) -> tuple[str, str]:
    """Return a set's YAML text, and the file's name as complaints show it. Raises `LabelError`."""
    from siglipcli.labels.nodes import MAX_BYTES, decode

    path = _find(reference)
    file = visible(str(path))
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise LabelError(f"{file}: cannot be read: {error.strerror}.") from error
    return decode(raw, file), file


def parse(text: bytes | str, name: str) -> LabelSet:
    """Return the set in YAML `text`; `name` is its file's, for complaints and if it has no other.

    Raises `LabelError` with the first complaint and how many more there are.
    """
    labels, complaints = examine(text, name)
    if labels is None:
        more = len(complaints) - 1
        raise LabelError(complaints[0] + (f" ({more} more: `siglip labels check`)" if more else ""))
    return labels


def examine(text: bytes | str, name: str) -> tuple[LabelSet | None, list[str]]:
    """Return the set in `text`, or None and every complaint (of very many, the first hundred)."""
    from siglipcli.labels.nodes import compose, decode
    from siglipcli.labels.schema import read_set

    file = visible(name)
    try:
        root = compose(decode(text, file) if isinstance(text, bytes) else text, file)
        labels, complaints = read_set(root, file)
    except LabelError as error:
        return None, [str(error)]
    return (None, complaints) if complaints else (labels, [])


def builtin_names() -> list[str]:
    """Return the names of the sets that come with the program, sorted."""
    return sorted(path.stem for path in _builtin_folder().glob("*.yaml"))


def warnings(
    labels: LabelSet,
    canonicalize: Callable[[str], str],
    count_tokens: Callable[[str], int] | None = None,
    context_length: int = 64,
) -> list[str]:
    """Return where a model of `context_length` tokens reads less than was written, one line each.

    `canonicalize` is the model's own cleaning of a text; `count_tokens` takes the cleaned text.
    Without it each word counts as one token and the end mark as another: the least they can be.
    """
    from siglipcli.labels.nodes import quoted

    found: dict[str, None] = {}  # a set that keeps its order
    owners: dict[str, Label] = {}
    prompts = ((label, prompt) for label in labels.labels for prompt in label.prompts)
    for label, prompt in prompts:
        clean = canonicalize(prompt)
        tokens = count_tokens(clean) if count_tokens else len(clean.split()) + 1
        other = owners.setdefault(clean, label)
        if not clean:
            found[f"{label.path}: the model reads nothing of the prompt {quoted(prompt)}"] = None
        elif other is not label:
            found[f"{label.path}: the model reads the same prompt as for {other.path}"] = None
        if tokens > context_length:
            cut = f"cut after {context_length} tokens, the most this model reads"
            found[f"{label.path}: the prompt {quoted(prompt)} is {cut}"] = None
    return list(found)


def _builtin_folder() -> Path:
    here = Path(__file__).resolve().parent
    packaged = here / "builtin"
    return packaged if packaged.is_dir() else here.parents[1] / "labelsets"


def _find(reference: str | Path) -> Path:
    from siglipcli.labels.nodes import quoted

    # os.path, since Path.exists raises on names the system refuses.
    folder = os.path.isdir(reference)  # noqa: PTH112
    if os.path.exists(reference) and not folder:  # noqa: PTH110
        return Path(reference)
    names = builtin_names()
    if reference in names:
        return _builtin_folder() / f"{reference}.yaml"
    if folder:
        raise LabelError(f"{quoted(str(reference))} is a folder; name a YAML file in it.")
    near = difflib.get_close_matches(Path(reference).stem[:100], names, n=1)
    hint = (
        f"the nearest built-in is {near[0]}" if near else "`siglip labels list` names the built-in"
    )
    raise LabelError(f"no file and no built-in label set {quoted(str(reference))}; {hint}.")
