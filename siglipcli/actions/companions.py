"""What belongs to an image: sidecars, the RAW beside a JPEG of the same name, the video of a live photo."""

# Names stay the strings that were typed: Path would drop their `./`.
# ruff: noqa: PTH118, PTH122

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from siglipcli.actions.names import key
from siglipcli.inputs import IMAGE_ENDINGS, RAW_ENDINGS
from siglipcli.inputs.pairs import Neighbours, is_jpeg, is_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENDINGS", "Companions", "stem", "suffix"]

_APPENDED = (".xmp", ".pp3", ".dop", ".json")
"""Behind the whole name, `a.jpg.xmp`: darktable and digiKam, RawTherapee, DxO, Google Takeout."""
_REPLACING = (".xmp", ".pp3", ".dop", ".aae", ".thm")
"""In the ending's place, `a.xmp`: Lightroom, RawTherapee, DxO, Apple Photos, Canon."""
_VIDEOS = (".mov",)
ENDINGS = frozenset({*_APPENDED, *_REPLACING, *_VIDEOS})
"""Of files that are no images themselves, and go with one."""
_HEIF = (".heic", ".heif", ".hif", ".avif")
_MEDIA = (*IMAGE_ENDINGS, *RAW_ENDINGS)
_VERSION = re.compile(r"(.+)_\d\d")  # darktable's further edits of one image: a_01.jpg.xmp


def stem(name: str) -> str:
    """Return what files that belong together share: `a` of a.jpg, a.NEF, a.xmp, a.mov and a.jpg.xmp."""
    base, ending = os.path.splitext(name)
    if ending.lower() not in _APPENDED:
        return base
    inner, media = os.path.splitext(base)
    return inner if media.lower() in _MEDIA else base


def suffix(name: str, own: str) -> str:
    """Return what stands behind the stem of a file that belongs to an image with the stem `own`."""
    base = next((base for base in _stems(name) if key(base) == key(own)), own)
    return name[len(base) :]


def _keys(name: str) -> tuple[str, ...]:
    return tuple(map(key, _stems(name)))


def _stems(name: str) -> tuple[str, ...]:
    own = stem(name)
    match = _VERSION.fullmatch(own) if name.lower().endswith(".xmp") else None
    return (own, match[1]) if match else (own,)


class Companions:
    """What belongs to images; one folder's names are read at a time.

    A name that differs by case (A.JPG, a.jpg.xmp) belongs to an image unless another has it exactly: programs
    write such names where the file system takes them for one.
    """

    def __init__(self) -> None:
        self._neighbours = Neighbours(_keys)

    def leader(self, path: str) -> str:
        """Return the image that a RAW file follows, by its path: itself where there is none.

        A JPEG before HEIF before other images before RAW; only RAW files follow.
        """
        return _beside(path, self._first(path)) if is_raw(path) else path

    def of(self, path: str) -> list[str]:
        """Return the paths of what belongs to an image, sorted, without its own.

        What several images of one name could claim belongs to the first of them, by `leader`'s order.
        """
        name = os.path.basename(path)  # noqa: PTH119
        names = self._family(path)
        shared: list[str] = []
        if name == self._first(path):
            shared = [other for other in names if is_raw(other) or _is_shared(other)]
        images = [name, *filter(is_raw, shared)]
        sidecars = [other for image in images for other in self._appended(path, image, names)]
        return [_beside(path, other) for other in sorted({*shared, *sidecars} - {name})]

    def _family(self, path: str) -> list[str]:
        """Return the names that have an image's stem, exactly or where no image has theirs exactly."""
        names = self._neighbours.of(path)
        images = [name for name in names if name.lower().endswith(_MEDIA)]
        leaders = {stem(name) for name in images if not is_raw(name)} or set(map(stem, images))
        own = stem(os.path.basename(path))  # noqa: PTH119
        first = min(leaders, default=own)
        shared = own if own in leaders else first

        def belongs(name: str) -> bool:
            stems = (base for base in _stems(name) if key(base) == key(own))
            return any((base if base in leaders else first) == shared for base in stems)

        return [name for name in names if belongs(name)]

    def _first(self, path: str) -> str:
        name = os.path.basename(path)  # noqa: PTH119
        images = (other for other in self._family(path) if other.lower().endswith(_MEDIA))
        return min(images, key=_rank, default=name)

    def _appended(self, path: str, image: str, names: Sequence[str]) -> list[str]:
        """Choose an image's own sidecars: `a.jpg.xmp`, and `a_01.jpg.xmp` where no a_01.jpg is."""
        base, ending = os.path.splitext(image)
        version = re.compile(rf"{re.escape(base)}_\d\d{re.escape(ending)}\.xmp", re.IGNORECASE)
        return [
            name
            for name in names
            if _is_appended(name, image, names)
            or (version.fullmatch(name) and not self._is_there(path, name[: -len(".xmp")]))
        ]

    def _is_there(self, path: str, name: str) -> bool:
        return name in self._neighbours.of(_beside(path, name))


def _is_appended(name: str, image: str, names: Sequence[str]) -> bool:
    base, ending = os.path.splitext(name)
    if ending.lower() not in _APPENDED or key(base) != key(image):
        return False
    return base == image or base not in names


def _rank(name: str) -> tuple[int, str]:
    ending = os.path.splitext(name)[1].lower()
    kinds = (is_jpeg(name), ending in _HEIF, not is_raw(name), True)
    return kinds.index(True), name


def _is_shared(name: str) -> bool:
    """Whether a file belongs to all images of its name but for the ending: `a.xmp`, `a.mov`."""
    base, ending = os.path.splitext(name)
    return ending.lower() in {*_REPLACING, *_VIDEOS} and base == stem(name)


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)  # noqa: PTH120
