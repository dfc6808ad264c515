"""What file systems say, as errors of this package; and the library that reaches them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from siglipcli.errors import MissingExtraError, StorageError

__all__ = ["cleaned", "libraries", "storage_error"]

_MISSING = re.compile(
    r"HTTP response code 404|PATH_NOT_FOUND|NO_SUCH_|Path does not exist", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"ACCESS_DENIED|HTTP response code 403|Permission denied", re.IGNORECASE)
_NO_FILE = re.compile(r"Not a regular file|Is a directory", re.IGNORECASE)
_SECRETS = re.compile(
    r"(?<=://)[^/@\s]+:[^@\s]+@|\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"
    r"|(?:secret|signature|token|credential|[\w-]*key|password|sig|sas)[\w-]*=[^&\s]+",
    re.IGNORECASE,
)
_LONG = 300


def cleaned(text: str) -> str:
    """Return what a library said, short and without credentials."""
    return _SECRETS.sub("…", " ".join(text[:4096].split()))[:_LONG]


def storage_error(name: str, error: Exception, *, is_final: bool | None = None) -> StorageError:
    """Translate what a file system said about the file `name`: no credential is in it.

    `is_final`: None where the kind of error tells whether another try may help.
    """
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    missing = isinstance(error, FileNotFoundError) or bool(_MISSING.search(text))
    forbidden = isinstance(error, PermissionError) or bool(_FORBIDDEN.search(text))
    reason = cleaned(text) or type(error).__name__
    why = "there is no such file" if missing else "no permission" if forbidden else reason
    return StorageError(
        f"{name}: {why}.",
        is_missing=missing,
        is_forbidden=forbidden,
        is_final=bool(_NO_FILE.search(text))
        or (not isinstance(error, OSError) if is_final is None else is_final),
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
