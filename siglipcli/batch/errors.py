"""What file systems say, as errors of this package; and the library that reaches them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from siglipcli.errors import MissingExtraError, StorageError

__all__ = ["libraries", "storage_error"]

_MISSING = re.compile(
    r"HTTP response code 404|PATH_NOT_FOUND|NO_SUCH_|Path does not exist", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"ACCESS_DENIED|HTTP response code 403|Permission denied", re.IGNORECASE)
_SECRETS = re.compile(
    r"(?<=://)[^/@\s]+:[^/@\s]+@|\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"
    r"|(?:secret|signature|token|credential|access_key|password|sig|sas)[\w-]*=[^&\s]+",
    re.IGNORECASE,
)
_LONG = 300


def storage_error(name: str, error: Exception) -> StorageError:
    """Translate what a file system said about the file `name`: no credential is in it."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    missing = isinstance(error, FileNotFoundError) or bool(_MISSING.search(text))
    forbidden = isinstance(error, PermissionError) or bool(_FORBIDDEN.search(text))
    said = _SECRETS.sub("…", text)[:_LONG]
    why = "there is no such file" if missing else "no permission" if forbidden else said
    return StorageError(
        f"{name}: {why}.",
        is_missing=missing,
        is_forbidden=forbidden,
        is_final=not isinstance(error, OSError),
    )


@lru_cache(maxsize=1)
def libraries() -> tuple[Any, Any, Any]:
    """Return pyarrow, pyarrow.fs and pyarrow.parquet. Raises MissingExtraError."""
    try:
        import pyarrow as pa
        from pyarrow import fs, parquet
    except ImportError as error:
        raise MissingExtraError("A batch run", library="pyarrow", extra="parquet") from error
    return pa, fs, parquet
