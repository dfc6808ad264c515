"""What an output may take the place of: nothing that the run reads, and no file of the user's own.

A shell expands `-o *.jpg` to `-o first.jpg second.jpg …`: without this rule the first photo would be lost.
An existing file is replaced only if this program could have written it.
"""

from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError
from siglipcli.inputs import IMAGE_ENDINGS, RAW_ENDINGS
from siglipcli.outputs.output import check as check_place
from siglipcli.outputs.output import is_same

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check", "check_figures", "check_label_set", "check_report", "is_own"]

_LABEL_SETS = (".yaml", ".yml")
_IMAGES = (*IMAGE_ENDINGS, *RAW_ENDINGS)
_HEAD, _TAIL = 1 << 16, 1 << 20
_MOST_JSON = 64 << 20  # bytes of a document that is read whole

_RECORD = (
    rb'\A\[?\s*\{"(?:file|text)": "(?:[^"\\]|\\.)*", '
    rb'(?:"\w+_bytes": "[^"]*", )?"status": "(?:ok|error)"'
)
_NAMES = rb'\A\{"model": "(?:[^"\\]|\\.)*", "fingerprint": "'  # beside a .npy


def check(
    output: Path | None,
    inputs: Iterable[str | os.PathLike[str] | None] = (),
    *,
    force: bool = False,
    plain: bool = False,
) -> None:
    """Raise UsageError where an output would replace what the run reads, or a file of another origin.

    `inputs` are the images, lists, label sets and saved embeddings that the run names; they are never
    replaced. `force` lets any other file be. `plain`: the format is plain text, so any text may be its
    own. Nothing is made; pipes and devices pass.
    """
    if output is None or not _is_file(output):
        return
    for name in inputs:
        if name is not None and str(name) != "-" and is_same(name, output):
            raise UsageError(
                f"The output {output} is one of the inputs.",
                code="output_is_input",
                path=str(output),
            )
    if not force and not is_own(output, plain=plain):
        raise UsageError(
            f"{output} exists, and {_kind(output)}.", code="foreign_output", path=str(output)
        )


def check_report(
    path: Path, inputs: Iterable[str | os.PathLike[str] | None], *, force: bool = False
) -> None:
    """Raise UsageError for a report whose name is no page's, or that `check` refuses."""
    if path.suffix.lower() not in {".html", ".htm"}:  # so it takes the place of no image
        raise UsageError(f"A report is a page for a browser: {str(path)!r} should end in .html.")
    check(path, inputs, force=force)


def check_figures(
    output: Path | None, images: Iterable[str], data: str, *, force: bool = False
) -> None:
    """Raise UsageError where figures would replace one of the `images` of the `data`, or `check` refuses.

    Raises OutputError for a place where no file can be.
    """
    if output is None:
        return
    if output.is_file() and any(is_same(image, output) for image in images):
        raise UsageError(f"the output {output} is one of the images in {data}")
    check(output, force=force, plain=output.suffix.lower() != ".json")
    check_place(output)


def check_label_set(output: Path | None, *, force: bool = False) -> None:
    """Raise UsageError where a label set would replace a file that is none, unless `force`."""
    if force or output is None or not _is_file(output):
        return
    head = _head(output)
    if output.suffix.lower() in _IMAGES or not (head.isspace() or _has_labels(head)):
        raise UsageError(
            f"{output} exists, and is no label set.", code="foreign_output", path=str(output)
        )


def is_own(path: Path, *, plain: bool = False) -> bool:
    """Whether a file could be an earlier output of this program; an empty one could."""
    if path.suffix.lower() in {*_IMAGES, *_LABEL_SETS}:
        return False
    head = _head(path)
    if not head or head.isspace():
        return True
    return (
        _is_text_output(path, head) or _is_binary_output(path, head) or (plain and _is_text(head))
    )


def _is_text_output(path: Path, head: bytes) -> bool:
    if head.startswith(b"file,"):  # a manifest of `evaluate` starts so, but has no score
        columns = head.split(b"\n", 1)[0].strip().split(b",")
        return b"score" in columns
    if head.lstrip()[:1] in {b"{", b"["}:
        return bool(re.match(_RECORD, head) or re.match(_NAMES, head)) or _is_document(path, head)
    return head[:15].lower() == b"<!doctype html>" and b"require-trusted-types-for" in head


def _is_document(path: Path, head: bytes) -> bool:
    """Whether a file is one JSON document of ours: figures of `evaluate` and its like, or provenance."""
    if head.strip() == b"[]":
        return True
    if path.stat().st_size > _MOST_JSON:
        return False
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and not {"dataset", "siglipcli"}.isdisjoint(document)


def _is_binary_output(path: Path, head: bytes) -> bool:
    if head.startswith(b"PAR1"):
        return any(key in _tail(path) for key in (b"siglipcli", b"fingerprint"))
    if head.startswith(b"\x93NUMPY"):
        return path.with_name(f"{path.name}.jsonl").is_file()
    return head.startswith(b"PK") and b"vectors.npy" in head[:64]


def _is_text(head: bytes) -> bool:
    """Whether it could be a table or a list of paths, and is neither data of another kind nor labels."""
    return b"\0" not in head and not _has_labels(head)


def _has_labels(head: bytes) -> bool:
    return not head or bool(re.search(rb'^[\s{]*["\']?labels["\']?\s*:', head, re.MULTILINE))


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _IMAGES:
        return "its ending is an image's"
    if suffix in _LABEL_SETS:
        return "its ending is a label set's"
    return "this program did not write it"


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b"\0"  # what cannot be read is not ours


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL, 0))
        return file.read()
