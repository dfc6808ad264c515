"""Canonicalise and tokenise exactly as open_clip does, without transformers.

open_clip wraps a transformers tokenizer (`open_clip.tokenizer.HFTokenizer`), which takes two seconds to
import. The `tokenizers` library alone gives the same ids when three things are kept: the text is
cleaned first, truncated to the context length, and padded to the *full* context length. A shorter
row is accepted silently by the text tower and is wrong: it pools the last position.
"""

from __future__ import annotations

import html
import string
from functools import cached_property
from typing import TYPE_CHECKING, Any

from siglipcli.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Tokenizer", "canonicalize", "cleaner"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _fixed(text: str) -> str:
    # Printable ASCII without an entity has nothing to fix, and ftfy takes longer to import
    # than ten prompts take to encode.
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def canonicalize(text: str) -> str:
    """Return `text` as SigLIP was trained on it: fixed, no ASCII punctuation, lower case.

    Source: big_vision's `prompt_engineering.py`, by way of `open_clip.tokenizer.canonicalize_text`.
    """
    bare = _fixed(text).replace("_", " ").translate(_PUNCTUATION)
    return " ".join(bare.lower().split())


def _lower(text: str) -> str:
    return " ".join(_fixed(text).split()).lower()


def _whitespace(text: str) -> str:
    return " ".join(_fixed(text).split())


_CLEANERS: dict[str, Callable[[str], str]] = {
    "canonicalize": canonicalize,
    "lower": _lower,
    "whitespace": _whitespace,
}


def cleaner(name: str) -> Callable[[str], str]:
    """Return the cleaning function that a config's `tokenizer_kwargs.clean` names."""
    try:
        return _CLEANERS[name]
    except KeyError:
        known = ", ".join(_CLEANERS)
        raise CheckpointError(
            f"the model's config asks for text cleaning {name!r}; known are {known}"
        ) from None


class Tokenizer:
    """Texts → int64[n, context_length], truncated and padded as open_clip does.

    The file is read at the first call, which raises CheckpointError if it cannot be used.
    """

    def __init__(self, path: Path, context_length: int, pad_token: str, clean: str) -> None:
        self.context_length = context_length
        self.clean = cleaner(clean)
        self._path = path
        self._pad_token = pad_token

    @cached_property
    def _tokenizer(self) -> Any:
        """The file, read when first needed: warm runs have their prompts stored."""
        tokenizer = _load(self._path)
        if tokenizer.token_to_id(self._pad_token) is None:
            raise CheckpointError(
                f"{self._path} does not know the pad token {self._pad_token!r} of its config"
            )
        self._fit(tokenizer)
        return tokenizer

    def _fit(self, tokenizer: Any) -> None:
        tokenizer.enable_truncation(self.context_length)
        tokenizer.enable_padding(
            direction="right",
            pad_id=tokenizer.token_to_id(self._pad_token),
            pad_token=self._pad_token,
            length=self.context_length,
        )

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return int64[len(texts), context_length]."""
        import numpy as np

        encoded = self._tokenizer.encode_batch([self.clean(text) for text in texts])
        return np.array([row.ids for row in encoded], dtype=np.int64).reshape(
            len(texts), self.context_length
        )

    def count(self, text: str) -> int:
        """Return how many tokens `text` has, special ones included, before any cut."""
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        try:
            return len(self._tokenizer.encode(self.clean(text)).ids)
        finally:
            self._fit(self._tokenizer)


def _load(path: Path) -> Any:
    from tokenizers import Tokenizer as Fast

    try:
        return Fast.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise CheckpointError(
            f"{path} is not a tokenizer file: {error}; get the file again"
        ) from error
