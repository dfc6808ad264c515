"""What callers of the library pass in → its records: images, label sets, texts.

Everything is checked at the call: a wrong type is a TypeError, a value that means nothing a ValueError. Only
the items of a lazy stream are checked when their turn comes.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from siglipcli.errors import UsageError
from siglipcli.inputs import expand
from siglipcli.labels import LabelSet, check_names
from siglipcli.results import Failure, Source
from siglipcli.scoring import LabelEmbeddings

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL import Image

    ImageInput: TypeAlias = (
        str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image
        | NDArray[np.uint8] | Source | Failure
    )  # fmt: skip
    """One image: a path (or a folder, or a pattern), an encoded image's bytes or file, pixels, or a record."""

__all__ = ["InMemory", "Labels", "Texts", "as_image", "as_images", "as_label_sets", "as_texts"]

_Set: TypeAlias = os.PathLike[str] | Mapping[str, Any] | LabelSet | LabelEmbeddings
Labels: TypeAlias = str | _Set | Iterable[str | _Set]
"""One label set: a built-in's name, a file, a dict as in YAML, a list of names, or a record; or several sets."""
Texts: TypeAlias = str | Iterable[str]

_PATHS = (str, os.PathLike)
_BYTES = (bytes, bytearray, memoryview)
_SETS = (os.PathLike, Mapping, LabelSet, LabelEmbeddings)
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_TIFF_MODES = {"F", "I", "CMYK", "LAB", "RGBX", "PA", "I;16B"}
_AN_IMAGE = "a path, bytes, a binary file, a PIL image or a uint8[h, w, 3] array"


@dataclass(frozen=True, slots=True)
class InMemory(Source):
    """An input whose bytes the caller has: results do not keep them alive."""


# --- images ---------------------------------------------------------------------------------------


def as_images(images: ImageInput | Iterable[ImageInput]) -> Iterator[Source | Failure]:
    """Return one image or many as a lazy stream of records; folders give their images.

    Images without a name are called `image 0`, `image 1`, … by their place. Raises TypeError or ValueError
    for what is no image, of a list at once.
    """
    if _is_one(images):
        _check_image(images)
        return _records([images])
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise TypeError(f"images are {_AN_IMAGE}, or an iterable of these, not {_kind(images)}")
    if isinstance(images, (Collection, np.ndarray)):
        for item in images:
            _check_image(item)
    return _records(images)


def as_image(image: ImageInput) -> Iterator[Source | Failure]:
    """Do `as_images` for one image. Raises TypeError for several."""
    if not _is_one(image):
        raise TypeError(f"one image is {_AN_IMAGE}, not {_kind(image)}")
    return as_images(image)


def _is_one(images: object) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim <= 3 and images.dtype.kind not in "UO"  # noqa: PLR2004  # height, width, colours
    ones = (*_PATHS, *_BYTES, Source, Failure)
    return isinstance(images, ones) or hasattr(images, "read") or _is_pil(images)


def _is_pil(item: object) -> bool:
    """Whether an item is Pillow's; who has one has imported Pillow already."""
    return is_of(item, "PIL.Image", "Image")


def is_of(item: object, module: str, name: str) -> bool:
    """Whether an item is of a class, without importing its module: who has one has imported that."""
    return isinstance(item, getattr(sys.modules.get(module), name, ()))


def _check_image(item: object) -> None:
    if not _is_one(item):
        raise TypeError(f"an image is {_AN_IMAGE}, not {_kind(item)}")
    if isinstance(item, np.ndarray):
        _check_pixels(item)
    elif isinstance(item, io.TextIOBase):
        raise TypeError('a file of an image is opened in binary mode: open(path, "rb")')
    elif isinstance(item, os.PathLike) and isinstance(item.__fspath__(), bytes):
        raise TypeError("bytes are an image's content; a path of bytes goes through os.fsdecode")


def _check_pixels(pixels: NDArray[Any]) -> None:
    if pixels.dtype != np.uint8:
        raise TypeError(f"an image's array is uint8 with values from 0 to 255, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:  # noqa: PLR2004
        raise ValueError(
            f"an image's array has the shape [h, w, 3] (RGB), not {list(pixels.shape)}"
        )


def _records(images: Iterable[Any]) -> Iterator[Source | Failure]:
    for index, item in enumerate(images):
        if isinstance(item, (Source, Failure)):
            yield item
        elif isinstance(item, _PATHS):
            _check_image(item)
            yield from expand([os.fspath(item)])
        else:
            _check_image(item)
            yield _in_memory(item, _name(item, index))


def _name(item: object, index: int) -> str:
    name = getattr(item, "filename" if _is_pil(item) else "name", None)
    return name if isinstance(name, str) and name else f"image {index}"


def _in_memory(item: Any, name: str) -> Source | Failure:
    if isinstance(item, _BYTES):
        return InMemory(name, bytes(item))
    from PIL import Image

    from siglipcli.images.formats import DECODER_ERRORS

    try:
        if isinstance(item, np.ndarray):
            return InMemory(name, _encoded(Image.fromarray(np.ascontiguousarray(item))))
        if _is_pil(item):
            return InMemory(name, _encoded(item))
        data = item.read()
    except DECODER_ERRORS as error:  # OSError too: a file that cannot be read
        return Failure(name, "decode", f"The image cannot be read: {error}.")
    if not isinstance(data, _BYTES):
        raise TypeError(
            f"{name}: read() gave {_kind(data)}, not bytes; open the file in binary mode"
        )
    return InMemory(name, bytes(data))


def _encoded(image: Image.Image) -> bytes:
    """Write an image without loss, with its orientation and colour profile, for the decoder to read."""
    from PIL import ExifTags, Image

    # premultiplied alpha, HSV and the like, and YCbCr, whose TIFF Pillow 12 writes but cannot read
    if image.mode not in _PNG_MODES | _TIFF_MODES:
        image = image.convert("RGBA" if image.mode in {"La", "RGBa"} else "RGB")
    written = io.BytesIO()
    exif = image.getexif()
    kept = Image.Exif()
    if ExifTags.Base.Orientation in exif:
        kept[ExifTags.Base.Orientation] = exif[ExifTags.Base.Orientation]
    if image.mode in _PNG_MODES:
        image.save(written, "PNG", compress_level=0, exif=kept)
    else:
        image.save(written, "TIFF", exif=kept)
    return written.getvalue()


# --- labels and texts -----------------------------------------------------------------------------


def as_label_sets(labels: Labels) -> list[LabelSet | LabelEmbeddings]:
    """Return one label set or several as records.

    A string names one set (a built-in or a file); a list of strings is one set of these labels. Raises
    LabelError for a set that cannot be used, TypeError for what is none, ValueError for no label.
    """
    if isinstance(labels, (str, *_SETS)):
        return [_label_set(labels)]
    if not isinstance(labels, Iterable):
        raise TypeError(_no_labels(labels))
    items: list[Any] = list(labels)
    if not items:
        raise UsageError("there is no label; give at least one")
    if all(isinstance(item, str) for item in items):
        return [LabelSet.of(items)]
    for item in items:
        if not isinstance(item, (str, *_SETS)):
            raise TypeError(_no_labels(item))
        if isinstance(item, str):
            raise TypeError("a list holds the names of labels, or label sets, not both")
    sets = [_label_set(item) for item in items]
    check_names(
        [(item.labels if isinstance(item, LabelEmbeddings) else item).name for item in sets]
    )
    return sets


def _label_set(labels: Any) -> LabelSet | LabelEmbeddings:
    if isinstance(labels, (LabelSet, LabelEmbeddings)):
        return labels
    return LabelSet.from_dict(labels) if isinstance(labels, Mapping) else LabelSet.load(labels)


def _no_labels(item: object) -> str:
    return (
        "labels are the name or path of a set, a list of strings, a dict as in YAML, or a LabelSet"
        f" (or a list of these sets), not {_kind(item)}"
    )


def as_texts(texts: Texts) -> list[str]:
    """Return one text or several as a list. Raises TypeError for what is no text, ValueError for none."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        raise TypeError(f"texts are a string or an iterable of strings, not {_kind(texts)}")
    items: list[Any] = list(texts)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"a text is a string, not {_kind(item)}")
    if not items:
        raise UsageError("there is no text; give at least one")
    return items


def _kind(item: object) -> str:
    if isinstance(item, np.ndarray):
        return f"a {item.dtype}{list(item.shape)} array"
    return type(item).__name__
