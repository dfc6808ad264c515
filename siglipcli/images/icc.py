"""ICC profiles: what a profile is for, whether it is sRGB, and profiles of spaces that have only numbers.

Read here without LittleCMS, so that images in sRGB, most of them, never load it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Curve = NDArray[np.float64]

__all__ = ["MOST_BYTES", "Kind", "kind_of_profile", "matrix_profile", "srgb_to_linear"]

MOST_BYTES = 16 << 20
"""Larger profiles are not used; printers' are 0.5 to 3 MB."""

_HEADER, _ENTRY = 128, 12
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}  # what describes one device's colours
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_SRGB = np.array(  # XYZ of red, green, blue (rows) relative to D50
    [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]]
)
_NEAR = 0.002  # of XYZ: roundings of one and the same profile
_STEPS = np.linspace(0, 1, 256)
_HALF_STEP = 0.5 / 255
_FROM_ZERO = {1, 2}
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}  # of a parametric curve, by its type


class Kind(NamedTuple):
    """The mode of the images that a profile describes (L, RGB, CMYK), and whether it is sRGB's."""

    mode: str
    is_srgb: bool


@lru_cache(maxsize=32)
def kind_of_profile(profile: bytes) -> Kind | None:
    """Tell what a profile describes; None where it cannot be used for an image."""
    if not _HEADER < len(profile) <= MOST_BYTES or profile[36:40] != b"acsp":
        return None
    mode = _SPACES.get(profile[16:20])
    if mode is None or profile[12:16] not in _CLASSES:
        return None
    try:
        return Kind(mode, mode != "CMYK" and _is_srgb(_tags(profile), mode))
    except (struct.error, ValueError, IndexError):  # LittleCMS may still understand it
        return Kind(mode, is_srgb=False)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    entries = (
        struct.unpack_from(">4sII", profile, _HEADER + 4 + _ENTRY * i)
        for i in range(min(count, 100))
    )
    return {name: profile[start : start + size] for name, start, size in entries}


def _is_srgb(tags: dict[bytes, bytes], mode: str) -> bool:
    if any(name.startswith(b"A2B") for name in tags):  # a table counts before the matrix
        return False
    if mode == "L":
        return b"kTRC" in tags and _is_srgb_curve(tags[b"kTRC"])
    if not {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= tags.keys():
        return False
    primaries = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    is_near = np.abs(np.array(primaries) / 65536 - _SRGB).max() < _NEAR
    curves = {tags[name] for name in (b"rTRC", b"gTRC", b"bTRC")}
    return bool(is_near) and all(map(_is_srgb_curve, curves))


def _is_srgb_curve(tag: bytes) -> bool:
    return bool(np.abs(linear_to_srgb(_curve(tag)) - _STEPS).max() < _HALF_STEP)


def _curve(tag: bytes) -> Curve:
    """Evaluate a tone curve at 256 steps from 0 to 1."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        points = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
        if count > 1:
            return np.interp(_STEPS, np.linspace(0, 1, count), points / 65535)
        return _STEPS ** (points[0] / 256) if count else _STEPS
    if tag[:4] == b"para":
        (shape,) = struct.unpack_from(">H", tag, 8)
        values = struct.unpack_from(f">{_PARAMETERS.get(shape, 0)}i", tag, 12)
        return _parametric(shape, [value / 65536 for value in values])
    raise ValueError("no curve")


def _parametric(shape: int, values: Sequence[float]) -> Curve:
    """Evaluate ICC's parametric curves: (a·x + b)^g + e from d on, c·x + f below."""
    g, a, b, c, d, e, f = (*values, *(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)[len(values) - 1 :])
    if shape in _FROM_ZERO:  # the power begins where it is 0; type 2 adds a constant to all
        c, d, e, f = 0.0, -b / (a or 1), c, c
    power = np.clip(a * _STEPS + b, 0, None) ** g + e
    return np.asarray(np.where(d <= _STEPS, power, c * _STEPS + f).clip(0, 1))


_KNEE = 0.0031308  # linear light below which sRGB's curve is a line


def srgb_to_linear(values: Curve) -> Curve:
    """Return linear light for sRGB's samples, both 0 to 1 (IEC 61966-2-1)."""
    return np.where(values <= _KNEE * 12.92, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: Curve) -> Curve:
    """Return sRGB's samples for linear light, both 0 to 1."""
    return np.where(values <= _KNEE, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


# ------------------------------------------------------------------------ profiles of numbers

_D50 = np.array([0.9642, 1.0, 0.8249])
_MOST_LIGHT = 100.0  # XYZ of a primary; white's is 1
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def matrix_profile(chromaticities: Sequence[float], curve: Curve) -> bytes:
    """Return a profile of an RGB space that is known by its numbers.

    `chromaticities`: x and y of red, green, blue and white. `curve`: linear light, 0 to 1, at even
    steps of the samples, at most 4,096. Raises ValueError for primaries that span no space.
    """
    xyz = [_xyz(values) for values in _primaries(chromaticities)]
    samples = np.rint(curve.clip(0, 1) * 65535).astype(">u2").tobytes()
    tone = b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + samples
    names = (b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
    start = _HEADER + 4 + _ENTRY * len(names)
    body = b"".join([_xyz(_D50), *xyz, tone])
    starts = [start + 20 * min(i, 4) for i in range(len(names))]  # three names share one curve
    entries = b"".join(
        struct.pack(">4sII", name, where, 20 if name.endswith((b"XYZ", b"wtpt")) else len(tone))
        for name, where in zip(names, starts, strict=True)
    )
    return _profile_header(start + len(body)) + struct.pack(">I", len(names)) + entries + body


def _profile_header(size: int) -> bytes:
    start = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    return (start.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + _s15(_D50).ljust(60, b"\0")


def _s15(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _xyz(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + _s15(values)


def _primaries(chromaticities: Sequence[float]) -> NDArray[np.float64]:
    """Return XYZ of red, green, blue (rows), adapted to D50 by Bradford's method."""
    xy = np.array(chromaticities, np.float64).reshape(4, 2)
    if not np.isfinite(xy).all() or (xy[:, 1] <= 0).any():
        raise ValueError("not chromaticities")
    xyz = np.column_stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    try:
        amounts = np.linalg.solve(xyz[:3].T, xyz[3])
    except np.linalg.LinAlgError:
        raise ValueError("primaries that span no space") from None
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ xyz[3]))
    adapted = (np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ (xyz[:3] * amounts[:, None]).T).T
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > _MOST_LIGHT:
        raise ValueError("primaries that span no space")
    return np.asarray(adapted)
