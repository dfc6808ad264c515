"""Files in other colour spaces than sRGB, made from sRGB images by the textbook's own arithmetic."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from siglipcli.images.icc import matrix_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

D65 = (0.3127, 0.3290)
PRIMARIES = {
    "sRGB": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *D65),
    "Display P3": (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *D65),
    "Adobe RGB": (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *D65),
    "BT.2020": (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *D65),
}


def to_linear(samples: Floats) -> Floats:
    """Undo sRGB's curve; samples and light are 0 to 1."""
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


def from_linear(light: Floats) -> Floats:
    """Do sRGB's curve."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_xyz(primaries: tuple[float, ...]) -> Floats:
    """Return the matrix (3, 3) from linear RGB to XYZ."""
    xy = np.array(primaries).reshape(4, 2)
    xyz = np.column_stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])
    return np.asarray(xyz[:3].T * np.linalg.solve(xyz[:3].T, xyz[3]))


def in_space(
    image: Image.Image, space: str, curve: Callable[[Floats], Floats] = from_linear
) -> Image.Image:
    """Return an sRGB image's colours in another space of white D65."""
    light = to_linear(np.asarray(image) / 255)
    matrix = np.linalg.inv(to_xyz(PRIMARIES[space])) @ to_xyz(PRIMARIES["sRGB"])
    samples = curve((light @ matrix.T).clip(0, 1))
    return Image.fromarray(np.rint(samples * 255).astype(np.uint8))


def profile(space: str, gamma: float | None = None) -> bytes:
    """Return the space's ICC profile: sRGB's curve, or a gamma."""
    steps = np.linspace(0, 1, 4096)
    return matrix_profile(PRIMARIES[space], steps**gamma if gamma else to_linear(steps))


def grey_profile(gamma: float) -> bytes:
    """Return an ICC profile of grey with a gamma."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": white, b"kTRC": curve})


def ink_profile(inks: dict[int, tuple[int, int, int]], black: int = 0) -> bytes:
    """Return an ICC profile of CMYK in which each full ink (0 to 3) alone has this sRGB colour.

    `black`: the least sample that any mixture comes to.
    """
    table = []
    for corner in np.ndindex(2, 2, 2, 2):
        full = [inks[ink] for ink, amount in enumerate(corner) if amount]
        colour = np.prod([np.array(rgb) / 255 for rgb in full], axis=0) * np.ones(3)
        colour = colour.clip(black / 255)
        table.append(_lab(to_linear(colour)))
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *np.rint(np.eye(3).ravel() * 65536).astype(int))
    head = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity
    lut = head + ramp * 4 + bytes(np.concatenate(table).tolist()) + ramp * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"wtpt": white, b"A2B0": lut})


def _lab(light: Floats) -> NDArray[np.uint8]:
    """Return Lab (D50, as 8-bit ICC tables have it) of linear sRGB."""
    d50 = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]])  # fmt: skip
    ratio = (d50 @ light) / [0.9642, 1, 0.8249]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    lab = np.array([(116 * f[1] - 16) * 2.55, 500 * (f[0] - f[1]) + 128, 200 * (f[1] - f[2]) + 128])
    return np.rint(lab).clip(0, 255).astype(np.uint8)


def _profile(space: bytes, pcs: bytes, device: bytes, tags: dict[bytes, bytes]) -> bytes:
    entries, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        entries += name + struct.pack(">II", start + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, device, space, pcs)
    head = head.ljust(36, b"\0") + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(image: Image.Image, *extra: bytes) -> bytes:
    """Return a PNG with chunks put in before the pixels."""
    out = io.BytesIO()
    image.save(out, "PNG")
    data = out.getvalue()
    return data[:33] + b"".join(extra) + data[33:]  # after the signature and IHDR
