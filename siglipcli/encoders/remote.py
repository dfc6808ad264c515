"""What the hub says of its files: asked over the network, and not believed unchecked."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siglipcli.encoders.local_files import WEIGHTS_LIMIT
from siglipcli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Listing", "Remote", "describe", "listing"]

_SHA1 = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[0-9a-f]{32,64}")
_TIMEOUT = 10.0  # seconds
_LISTING_LIMIT = 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository's revision, the sizes of its files in bytes, and their SHA-256 where it is said."""

    commit: str | None
    sizes: Mapping[str, int | None]
    digests: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Remote:
    """One file as the hub describes it: where it is, its revision, its name by content, its size in bytes.

    Raises ModelError for a description that is none: an ETag or commit that is not hexadecimal, a size
    that no model has.
    """

    url: str
    commit: str
    etag: str
    size: int

    def __post_init__(self) -> None:
        _require(_SHA1.fullmatch(str(self.commit)), "commit", self.commit)
        _require(_ETAG.fullmatch(str(self.etag)), "ETag", self.etag)
        sane = isinstance(self.size, int) and 0 <= self.size <= WEIGHTS_LIMIT
        _require(sane, "size", self.size)


def _require(holds: object, what: str, value: object) -> None:
    if not holds:
        raise ModelError(
            f"the hub sends {str(value)[:60]!r} as the {what} of a file, which is none: it is not to be trusted.",
            code="hub_lies",
        )


def listing(repo: str) -> Listing:
    """Ask for a repository's files. Raises what the HTTP library does, or ModelError."""
    from siglipcli.encoders.download import read_body

    body = read_body(f"{_endpoint()}/api/models/{repo}?blobs=true", _LISTING_LIMIT)
    try:
        info = json.loads(body)
        files = {file["rfilename"]: file for file in info.get("siblings") or ()}
        sizes = {name: file.get("size") for name, file in files.items()}
        digests = {name: (file.get("lfs") or {}).get("sha256") for name, file in files.items()}
        return Listing(info.get("sha"), sizes, digests)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"the hub's list of the files of {repo} cannot be read: {error!r}.", code="hub_lies"
        ) from error


def describe(repo: str, filename: str, listed: Listing) -> Remote:
    """Ask for one file's content name and size; what does not fit the list is not fetched."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repo, filename, revision=listed.commit, endpoint=_endpoint())
    metadata = get_hf_file_metadata(url, timeout=_TIMEOUT)
    commit, etag, size = metadata.commit_hash or "", metadata.etag or "", metadata.size
    remote = Remote(url, commit, etag, -1 if size is None else size)
    expected = (listed.commit or commit, listed.digests[filename] or etag)
    if (commit, etag) != expected or listed.sizes[filename] not in {None, size}:
        raise ModelError(f"the hub describes {repo}/{filename} in two ways.", code="hub_lies")
    return remote


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or str(constants.ENDPOINT)
