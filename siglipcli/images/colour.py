"""Colours to sRGB: by the embedded profile, or by what the file says of its colours in numbers.

A profile that is broken, or that does not describe this kind of image, is passed over, as is one
that is sRGB itself. LittleCMS is loaded when the first other profile is met.

Perceptual intent with black point compensation: white stays white, and a printer's black is black.
Transfer curves of television (BT.601, BT.709, BT.2020) count as sRGB's, which is how they are viewed
and what most encoders mean by them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image

from siglipcli.images.containers import Nclx, colour_box
from siglipcli.images.formats import DECODER_ERRORS
from siglipcli.images.icc import kind_of_profile, matrix_profile, srgb_to_linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["profile_of", "to_srgb"]

_KIND_OF_MODE = {
    **dict.fromkeys(("1", "L", "LA", "La", "I", "F"), "L"),
    **dict.fromkeys(("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr"), "RGB"),
    "CMYK": "CMYK",
}


def profile_of(image: Image.Image, data: bytes) -> bytes | None:
    """Return the profile by which `image` (as it was opened, of file `data`) is to be converted.

    None where it is in sRGB, or where nothing usable is said.
    """
    kind = "L" if image.mode.startswith("I;16") else _KIND_OF_MODE.get(image.mode)
    if kind is None:
        return None
    if profile := _embedded(image, data):
        described = kind_of_profile(profile)
        return profile if described and described == (kind, False) else None
    profile = None if kind == "CMYK" else _of_numbers(image, data)
    return profile if profile and kind_of_profile(profile) == ("RGB", False) else None


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert mode L, RGB or CMYK; the image itself where its profile fails or is None."""
    if profile is None:
        return image
    described = kind_of_profile(profile)
    if described is not None and described.mode != image.mode:
        image = image.convert(described.mode)  # grey that was put on white as RGB, or the reverse
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    converted: Image.Image = transform.apply(image)
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """Return a LittleCMS transform, which many threads may use at once; None for a broken profile."""
    import io

    from PIL import ImageCms

    try:
        return ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, *DECODER_ERRORS):
        return None


# -------------------------------------------------------------------- where it is said


def _embedded(image: Image.Image, data: bytes) -> bytes | None:
    """Return the file's ICC profile; None where it has none, or numbers that come before it."""
    if image.info.get("cicp") is not None:
        return None
    profile = image.info.get("icc_profile")
    if profile is None and image.format == "JPEG2000":
        box = colour_box(data)
        profile = box if isinstance(box, bytes) else None
    if profile is None and image.format == "BMP":
        profile = _bitmap_profile(data)
    return profile if isinstance(profile, bytes) and profile else None


def _bitmap_profile(data: bytes) -> bytes | None:
    """Return the profile in a BMP with the fifth header, which is 124 bytes long and begins at 14."""
    if data[14:18] != (124).to_bytes(4, "little") or data[70:74] != b"DEBM":
        return None
    start, size = (int.from_bytes(data[i : i + 4], "little") for i in (126, 130))
    return data[14 + start : 14 + start + size]


def _of_numbers(image: Image.Image, data: bytes) -> bytes | None:
    """Return a profile for what is said without one; None for sRGB and for nothing."""
    info = image.info
    if codes := info.get("cicp"):
        return _coded(Nclx(*codes[:2]))
    if image.format == "HEIF" and isinstance(nclx := info.get("nclx_profile"), dict):
        return _coded(Nclx(nclx["color_primaries"], nclx["transfer_characteristics"]))
    if image.format == "AVIF" and isinstance(box := colour_box(data), Nclx):
        return _coded(box)
    if image.format == "PNG" and "srgb" not in info and ("gamma" in info or "chromaticity" in info):
        return _calibrated(info.get("gamma"), info.get("chromaticity"))
    if image.format != "PNG" and _is_adobe_rgb(image):
        return _ADOBE_RGB
    return None


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether a camera says so in EXIF: the interoperability index R03 (DCF 2.0), or colour space 2."""
    if "exif" not in image.info:
        return False
    try:
        exif = image.getexif()
        if exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == _ADOBE_RGB_CODE:
            return True
        index = exif.get_ifd(ExifTags.IFD.Interop).get(1, "")
    except DECODER_ERRORS:
        return False
    return str(index).startswith("R03")


# ------------------------------------------------------------------- spaces by their numbers

_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
_PRIMARIES: dict[int, Sequence[float]] = {  # ITU-T H.273, table 2
    1: _BT709,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65),
    7: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *_D65),
    11: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *_DCI),
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *_D65),
    22: (0.63, 0.34, 0.295, 0.605, 0.155, 0.077, *_D65),
}
_ADOBE_RGB_CODE = 2  # not in the standard, and written by many cameras
_SAMPLES = np.linspace(0, 1, 4096)
_POWERS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}  # H.273's codes of transfer curves → their gamma
_PQ, _HLG = 16, 18
_SDR_WHITE, _HDR_PEAK = 203.0, 1000.0  # cd/m²: ITU-R BT.2408
_NO_GAMMA, _MOST_GAMMA = 0.05, 20.0  # libpng's own threshold; nonsense
_ADOBE_RGB = matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), _SAMPLES ** (563 / 256))


@lru_cache(maxsize=32)
def _coded(nclx: Nclx) -> bytes | None:
    """Return the profile of H.273's codes; None for sRGB and for codes that say nothing."""
    primaries = _PRIMARIES.get(nclx.primaries, _BT709)
    curve = _curve_of(nclx.transfer)
    if primaries == _BT709 and curve is None:
        return None
    return matrix_profile(primaries, srgb_to_linear(_SAMPLES) if curve is None else curve)


def _curve_of(transfer: int) -> NDArray[np.float64] | None:
    """Return linear light at `_SAMPLES` (ITU-T H.273, table 3); None for sRGB and what counts as it."""
    if transfer in _POWERS:
        return np.asarray(_SAMPLES ** _POWERS[transfer])
    if transfer == _PQ:  # SMPTE ST 2084: cd/m², 1 standing for 10,000
        root = _SAMPLES ** (1 / 78.84375)
        ratio = (root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)
        return _tone_mapped(10_000 * ratio ** (1 / 0.1593017578125))
    if transfer == _HLG:  # ARIB STD-B67, on a screen of 1,000 cd/m² (gamma 1.2)
        high = (np.exp((_SAMPLES - 0.55991073) / 0.17883277) + 0.28466892) / 12
        scene = np.where(np.arange(len(_SAMPLES)) * 2 < len(_SAMPLES), _SAMPLES**2 / 3, high)
        return _tone_mapped(_HDR_PEAK * scene**1.2)
    return None


def _tone_mapped(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring cd/m² up to the peak into 0 to 1, each band by itself (Reinhard's extended curve)."""
    relative, peak = light / _SDR_WHITE, _HDR_PEAK / _SDR_WHITE
    return np.asarray((relative * (1 + relative / peak**2) / (1 + relative)).clip(0, 1))


@lru_cache(maxsize=32)
def _calibrated(gamma: float | None, chromaticity: Sequence[float] | None) -> bytes | None:
    """Return the profile of a PNG's gAMA and cHRM; None where they are sRGB's or nonsense.

    A gamma of 1/2.2 counts as sRGB's curve, as the PNG specification has sRGB images say it.
    """
    power = 1 / (2.2 * gamma) if gamma else 1.0
    if abs(power - 1) < _NO_GAMMA:
        power = 1.0
    if not 1 / _MOST_GAMMA < power < _MOST_GAMMA:
        return None
    primaries = (*chromaticity[2:], *chromaticity[:2]) if chromaticity else _BT709
    try:
        return matrix_profile(primaries, srgb_to_linear(_SAMPLES**power))
    except ValueError:
        return None
