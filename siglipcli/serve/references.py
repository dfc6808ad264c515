"""What a request says for an image → its bytes: base64, a data: URI or a URL."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from siglipcli.results import Failure

if TYPE_CHECKING:
    from siglipcli.serve.settings import ServeSettings

__all__ = ["decoded", "is_url", "too_large"]

_MOST_PERCENT = 200_000
"""Characters of a data: URI that is not base64: unquoting them takes 75 bytes of memory for each."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATA = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")


def is_url(reference: str) -> bool:
    """Whether this names a resource elsewhere, of whatever scheme."""
    return _URL.match(reference) is not None


def decoded(reference: str, settings: ServeSettings, name: str) -> bytes | Failure:
    """Return the bytes of base64 text or a data: URI; a Failure called `name` where there are none."""
    start = _DATA.match(reference)
    text = reference[start.end() :] if start else reference
    if len(text) > settings.max_image_bytes * 3:  # percent-encoded bytes, at the worst
        return too_large(settings, name)
    is_base64 = not start or start[1].lower().endswith(";base64")
    if not is_base64 and len(text) > _MOST_PERCENT:
        return Failure(name, "not_base64", "A data: URI that is this long has to be base64.")
    try:
        data = _from_base64(text) if is_base64 else unquote_to_bytes(text)
    except (ValueError, binascii.Error):
        return Failure(name, "not_base64", "The image is neither base64, a data: URI nor a URL.")
    if not data:
        return Failure(name, "not_base64", "The image is empty.")
    return too_large(settings, name) if len(data) > settings.max_image_bytes else data


def _from_base64(text: str) -> bytes:
    """Return the bytes of either alphabet, with or without padding and line breaks."""
    if not text.isascii():  # translating other text holds the interpreter for seconds
        raise ValueError
    if "%" in text[-12:]:  # the padding of a data: URI may be percent-encoded
        text = text[:-12] + unquote_to_bytes(text[-12:]).decode("ascii")
    text = text.translate(_BLANKS).rstrip("=")
    if "-" in text or "_" in text:
        text = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def too_large(settings: ServeSettings, name: str) -> Failure:
    """Say that an image has too many bytes."""
    return Failure(
        name, "too_large", f"The image is larger than {settings.max_image_bytes:,} bytes."
    )
