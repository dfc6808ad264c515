"""Canonicalise and tokenise exactly as open_clip does, without transformers.

open_clip wraps a transformers tokenizer (`open_clip.tokenizer.HFTokenizer`), which takes two seconds to
import. The `tokenizers` library alone gives the same ids when three things are kept: the text is
cleaned first, truncated to the context length, and padded to the *full* context length. A shorter
row is accepted silently by the text tower and is wrong: it pools the last position.
"""

from __future__ import annotations

import string
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from siglipcli.encoders.local_files import TOKENIZER_LIMIT, Origin, read
from siglipcli.encoders.spec import CLEANINGS
from siglipcli.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.encoders.checkpoint import Checkpoint

__all__ = ["Tokenizer", "canonicalize", "cleaner"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _fixed(text: str) -> str:
    # Printable ASCII without an entity has nothing to fix, and ftfy takes longer to import
    # than ten prompts take to encode.
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()
    import html

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
            f"the model's config asks for text cleaning {name!r}; known are {known}",
            code="config",
            found=name,
        ) from None


class Tokenizer:
    """Texts → int64[n, context_length], truncated and padded as open_clip does.

    The file is read at the first call, which raises CheckpointError if it cannot be used. `cleaning` names
    how texts are cleaned first; `suffix` is what it adds to a fingerprint of texts' embeddings: nothing
    where it is the model's own. Threads may share a tokenizer.
    """

    def __init__(
        self,
        path: Path,
        context_length: int,
        pad_token: str,
        cleaning: str,
        *,
        unk: str = "<unk>",
        vocab_size: int | None = None,
        origin: Origin | None = None,
        suffix: str = "",
    ) -> None:
        self.context_length = context_length
        self.cleaning = cleaning
        self.clean = cleaner(cleaning)
        self.suffix = suffix
        self._path = path
        self._pad_token = pad_token
        self._unk = unk
        self._vocab_size = vocab_size
        self._origin = origin or Origin(str(path))
        self._lock = threading.Lock()  # truncation and padding are settings of the shared object

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, *, path: Path | None = None, cleaning: str | None = None
    ) -> Tokenizer:
        """Return a checkpoint's tokenizer; from a copy of its file, or with another `cleaning`, if given.

        Raises CheckpointError for a cleaning in the model's config that is not known, UsageError for a
        `cleaning` that is not.
        """
        c = checkpoint
        if cleaning is not None and cleaning not in CLEANINGS:
            raise UsageError(f"text cleaning is one of {', '.join(CLEANINGS)}, not {cleaning!r}")
        return cls(
            path or c.tokenizer,
            c.context_length,
            c.pad_token,
            cleaning or c.clean,
            unk=c.unk_token,
            vocab_size=c.vocab_size,
            origin=c.origin,
            suffix=f"-{cleaning}" if cleaning not in {None, c.clean} else "",
        )

    @classmethod
    def cached(cls, model: str) -> Tokenizer:
        """Return the tokenizer of a model whose files are here; nothing is fetched. Raises OfflineError, ModelError."""
        from siglipcli.encoders.checkpoint import locate

        return cls.of(locate(model, offline=True))

    @cached_property
    def _tokenizer(self) -> Any:
        """The file, read when first needed: warm runs have their prompts stored."""
        tokenizer = _load(self._path, self._origin)
        if tokenizer.token_to_id(self._pad_token) is None:
            raise self._origin.damaged(
                self._path, f"does not know the pad token {self._pad_token!r} of its config"
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

        cleaned = [self.clean(text) for text in texts]
        with self._lock:
            encoded = self._tokenizer.encode_batch(cleaned)
        ids = np.array([row.ids for row in encoded], dtype=np.int64)
        ids = ids.reshape(len(texts), self.context_length)
        if self._vocab_size and ids.size and ids.max() >= self._vocab_size:
            raise self._origin.damaged(
                self._path,
                f"gives token {ids.max()}, where the model has {self._vocab_size:,} of them",
            )
        return ids

    def count(self, text: str) -> int:
        """Return how many tokens `text` has, special ones included, before it is truncated."""
        with self._lock:
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            try:
                return len(self._tokenizer.encode(self.clean(text)).ids)
            finally:
                self._fit(self._tokenizer)

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids that the model reads of `text`: cleaned and truncated, padding left out.

        Texts with equal ids have equal embeddings.
        """
        with self._lock:
            encoded = self._tokenizer.encode(self.clean(text))
        rows = zip(encoded.ids, encoded.attention_mask, strict=True)
        return tuple(token for token, is_read in rows if is_read)

    def pieces(self, text: str) -> tuple[str, ...]:
        """Return the same tokens as text: `▁` is the space before a word, `<unk>` what is not known."""
        return tuple(self._tokenizer.id_to_token(token) for token in self.ids(text))

    def unknown(self, text: str) -> bool:
        """Whether the model reads something in `text` only as "unknown": other such texts look the same."""
        return self._tokenizer.token_to_id(self._unk) in self.ids(text)


def _load(path: Path, origin: Origin) -> Any:
    from tokenizers import Tokenizer as Fast

    data = read(path, TOKENIZER_LIMIT, origin)
    try:
        return Fast.from_buffer(data)
    except Exception as error:  # the library raises a bare Exception
        raise origin.damaged(path, f"is not a tokenizer file: {error}") from error
