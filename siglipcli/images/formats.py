"""What Pillow may open: the formats, told apart by their first bytes, and the plugins they need.

Importing this keeps Pillow's plugins off stderr, and its blocks of memory from piling up.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import struct
import zlib
from contextlib import suppress

from PIL import Image, _imaging

from siglipcli.errors import ImageError

__all__ = [
    "ALLOWED",
    "CAMERA_RAW",
    "DECODER_ERRORS",
    "FORMATS",
    "formats_for",
    "is_delicate",
    "kind_of",
]

_PLUGINS = ("Avif", "Bmp", "Gif", "Ico", "Jpeg", "Jpeg2K", "Mpo", "Png", "Ppm", "Tiff", "WebP")
for _plugin in _PLUGINS:
    with suppress(ImportError):  # a Pillow that is older, or was built without this one
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# Damaged TIFFs: the plugin logs what it also raises, libtiff prints what the plugin also raises
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(AttributeError, OSError):  # a Pillow that does not show its libtiff (Windows)
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

# Pillow allocates large images in blocks of 16 MB, which glibc keeps for the thread that freed them: six
# PNGs of 100 megapixels, one after another in six threads, took 4.2 GB, with blocks over 32 MB 1.2 GB.
with suppress(AttributeError):  # of a later Pillow: then PILLOW_BLOCK_SIZE is the user's to set
    _imaging.set_block_size(64 << 20)

ALLOWED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")
FORMATS = tuple(name for name in ALLOWED if name in Image.OPEN)
"""What Pillow may open. An allow-list: EPS would start Ghostscript, TGA has no signature."""

DECODER_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError),
    *(LookupError, ArithmeticError, struct.error, zlib.error),  # index, key, division, overflow
    *(RuntimeError, NotImplementedError, ImportError),  # a codec this build lacks
)
"""What decoders raise on damaged input: Pillow's own fuzzers, its issues, and ours."""

CAMERA_RAW = "camera RAW"
_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
    "PDF": (b"%PDF-",),
    "PostScript": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "Photoshop": (b"8BPS",),
    CAMERA_RAW: (
        *(b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM"),
        *(b"II\x1a\0\0\0HEAPCCDR", b"IIIITwaR", b"MMMMRawT"),
    ),  # Fujifilm, Panasonic, Olympus, Sigma, Minolta, old Canon, Phase One
    "OpenEXR": (b"\x76\x2f\x31\x01",),
    "Radiance HDR": (b"#?RADIANCE", b"#?RGBE"),
    "FITS": (b"SIMPLE  =",),
    "JPEG XR": (b"II\xbc\x01",),
    "GIMP": (b"gimp xcf",),
    "DirectDraw": (b"DDS ",),
    "QOI": (b"qoif",),
    "Apple icon": (b"icns",),
    "Windows metafile": (b"\xd7\xcd\xc6\x9a",),
    "Matroska or WebM": (b"\x1a\x45\xdf\xa3",),
    "MP3": (b"ID3",),
    "zip archive": (b"PK\3\4", b"PK\5\6"),
    "gzip archive": (b"\x1f\x8b",),
    "7-Zip archive": (b"7z\xbc\xaf\x27\x1c",),
    "RAR archive": (b"Rar!\x1a\7",),
    "HDF5": (b"\x89HDF\r\n\x1a\n",),
    "NumPy": (b"\x93NUMPY",),
    "Parquet": (b"PAR1",),
    "SQLite": (b"SQLite format 3\0",),
    "Git LFS pointer": (b"version https://git-lfs.github.com/",),
}
_AT = {"DICOM": (128, b"DICM"), "tar archive": (257, b"ustar")}
"""Kind → where its signature stands, and the signature."""
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_CANON = b"crx "

_EXPORT = "export it as PNG or JPEG"
_FILM = "save a frame of it as PNG or JPEG"
_UNPACK = "unpack it and give the folder"
_IMAGE_FILES = "give image files, or save what it holds as PNG"
_FOREIGN = {
    **dict.fromkeys(("PDF", "PostScript", "Photoshop", "OpenEXR", "Radiance HDR", "FITS"), _EXPORT),
    **dict.fromkeys(("JPEG XR", "GIMP", "DirectDraw", "QOI", "Apple icon"), _EXPORT),
    **dict.fromkeys(("Windows metafile", "DICOM"), _EXPORT),
    **dict.fromkeys(("video or audio", "Matroska or WebM"), _FILM),
    "MP3": "give image files",
    **dict.fromkeys(("zip archive", "gzip archive", "7-Zip archive"), _UNPACK),
    **dict.fromkeys(("RAR archive", "tar archive"), _UNPACK),
    **dict.fromkeys(("HDF5", "NumPy", "Parquet", "SQLite"), _IMAGE_FILES),
    "Git LFS pointer": "get the image that it stands for with: git lfs pull",
}
"""What is named but never read → what to do with it."""

_PLUGIN_FOR = {
    "HEIC": ("pillow_heif", "HEIF", 'pip install "siglipcli[heif]"'),
    "JPEG XL": ("pillow_jxl", "JXL", "pip install pillow-jxl-plugin"),
}
"""Kind of file → the module that teaches Pillow to read it, Pillow's name for it, the remedy."""


def kind_of(data: bytes) -> str | None:
    """Name the format that the first bytes claim; None where they claim nothing known."""
    if data.startswith(b"RIFF"):
        return "WebP" if data[8:12] == b"WEBP" else "video or audio"
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 4096)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
        # a container's own brand says little (`mif1`): the compatible ones name the codec
        if _CANON in brands:
            return CAMERA_RAW
        if brands & _HEVC_BRANDS:
            return "HEIC"
        return "AVIF" if brands & _AVIF_BRANDS else "video or audio"
    for kind, (where, mark) in _AT.items():
        if data.startswith(mark, where):
            return kind
    return next((kind for kind, starts in _SIGNATURES.items() if data.startswith(starts)), None)


def formats_for(data: bytes) -> tuple[str, ...]:
    """Choose what Pillow may try. Raises ImageError for what it need not be asked about."""
    if not data:
        raise ImageError("unidentified", "The file is empty (0 bytes).")
    kind = kind_of(data)
    if kind in _FOREIGN:
        raise ImageError(
            "unsupported", f"The file's format is {kind}; {_FOREIGN[kind]}.", format=kind
        )
    if kind not in _PLUGIN_FOR:
        return FORMATS
    module, name, remedy = _PLUGIN_FOR[kind]
    if not _plugin_present(module, name):
        raise ImageError("unsupported", f"{kind} needs a plugin: {remedy}, or convert it to JPEG.")
    return (name,)


def is_delicate(data: bytes) -> bool:
    """Whether a decoder other than JPEG's and PNG's will run on `data`: rarer, and met by fewer.

    False where none will: what cannot be an image is told by its first bytes.
    """
    if data.startswith(_SIGNATURES["JPEG"] + _SIGNATURES["PNG"]) or kind_of(data) in _FOREIGN:
        return False
    if kind_of(data) in {*_PLUGIN_FOR, CAMERA_RAW}:
        return True
    start = data[:16]  # as much as Pillow looks at
    tests = (Image.OPEN[name][1] for name in FORMATS)
    return any(accepts is None or accepts(start) for accepts in tests)


def _plugin_present(module: str, name: str) -> bool:
    """Import a plugin once its kind of file is met; registering it twice is harmless."""
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        return False
    getattr(plugin, "register_heif_opener", int)()  # the other plugin registers by being imported
    return name in Image.OPEN
