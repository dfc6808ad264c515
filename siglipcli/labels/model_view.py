"""What a model reads of prompts and texts, and a warning where that is not what was written.

A model cleans a text (SigLIP's cleaning deletes ASCII punctuation), splits it into tokens, some of which
may be unknown to it, and cuts it at its context length. All of that is silent in the scores.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli.labels.tree import quoted
from siglipcli.text import and_more

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from siglipcli.labels import LabelSet

__all__ = [
    "AnyModelView",
    "ModelView",
    "TextWarning",
    "Tokenizer",
    "View",
    "capped",
    "prompts",
    "set_warnings",
    "text_warnings",
    "watched",
]

MULTILINGUAL = "ViT-B-16-SigLIP2-256"
_CHUNK = 256  # texts looked at together

# A vocabulary has every letter of these, so a text of them alone has no unknown token, and two such texts
# have equal tokens only if they are equal: the tokenizer's file need not be read, which takes 0.1 s.
_PLAIN = re.compile("[a-z0-9 ]*")
# Punctuation within a word, whose parts are joined when it is deleted; an apostrophe changes no sense.
_WITHIN_WORD = re.compile(r"(?<=\w)(?!['_])[!-/:-@\[-`{-~]+(?=\w)")
_SYMBOL = re.compile(r"[#$%&*+<=>@^|~]")  # says something of its own: C++, 50 %, R&B


class Tokenizer(Protocol):
    """What is asked of a model's tokenizer; `encoders.tokens.Tokenizer` is one."""

    context_length: int

    @property
    def clean(self) -> Callable[[str], str]:
        """The model's own cleaning of a text."""

    def __call__(self, texts: Sequence[str]) -> Any:
        """Return int64[len(texts), context_length]."""

    def count(self, text: str) -> int:
        """Return how many tokens a text has before it is cut."""

    def unknown(self, text: str) -> bool:
        """Return whether a token of the text stands for what the model does not know."""


class View(Protocol):
    """How one model reads texts."""

    context_length: int

    def clean(self, text: str) -> str:
        """Return the text as the model's tokenizer gets it."""

    def keys(self, texts: Sequence[str]) -> Sequence[Hashable]:
        """Return a key for each text; those with equal keys have one embedding."""

    def is_cut(self, text: str) -> bool:
        """Return whether the text has more tokens than the model reads."""

    def is_unknown(self, text: str) -> bool:
        """Return whether the model reads some of the text as unknown only."""


class ModelView:
    """How the model of a tokenizer reads texts; its file is read only for texts that need it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.context_length = tokenizer.context_length
        self._tokenizer = tokenizer

    def clean(self, text: str) -> str:
        """Return the text as the tokenizer gets it."""
        return self._tokenizer.clean(text)

    def keys(self, texts: Sequence[str]) -> Sequence[Hashable]:
        """Return the token ids as bytes; the cleaned texts where they say the same."""
        cleaned = [self.clean(text) for text in texts]
        if all(_PLAIN.fullmatch(text) and self._is_short(text) for text in cleaned):
            return cleaned
        return [row.tobytes() for row in self._tokenizer(texts)]

    def is_cut(self, text: str) -> bool:
        """Return whether the text has more tokens than the model reads."""
        return (
            not self._is_short(self.clean(text))
            and self._tokenizer.count(text) > self.context_length
        )

    def is_unknown(self, text: str) -> bool:
        """Return whether a token stands for what the model does not know."""
        return not _PLAIN.fullmatch(self.clean(text)) and self._tokenizer.unknown(text)

    def _is_short(self, cleaned: str) -> bool:
        # A token stands for a byte or more, but for the end mark and a mark of the start.
        return len(cleaned.encode(errors="surrogatepass")) + 2 <= self.context_length


class AnyModelView:
    """How SigLIP models read texts at best, without any model at hand; `clean` is their cleaning.

    Each word counts as one token and the end mark as another, the least they can be. Letters of other
    scripts than Latin count as unknown, as they are to the English models.
    """

    def __init__(self, clean: Callable[[str], str], context_length: int = 64) -> None:
        self.clean = clean
        self.context_length = context_length

    def keys(self, texts: Sequence[str]) -> Sequence[Hashable]:
        """Return the cleaned texts."""
        return [self.clean(text) for text in texts]

    def is_cut(self, text: str) -> bool:
        """Return whether the text has more words than the model reads."""
        return len(self.clean(text).split()) + 1 > self.context_length

    def is_unknown(self, text: str) -> bool:
        """Return whether the text has letters that are not Latin."""
        return not text.isascii() and any(
            letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN")
            for letter in unicodedata.normalize("NFKC", text)
        )


@dataclass(frozen=True)
class TextWarning:
    """A warning of one `kind`: `nothing`, `same`, `cut`, `unknown` or `joined`."""

    kind: str
    message: str


def prompts(labels: LabelSet) -> Iterator[tuple[str, str]]:
    """Yield every prompt of a set after its label's full name."""
    return ((label.path, prompt) for label in labels.labels for prompt in label.prompts)


def text_warnings(texts: Iterable[tuple[str, str]], view: View) -> list[TextWarning]:
    """Return what a model does not read as it was written, each warning once, in the texts' order.

    `texts` are (owner, text): a label's name and a prompt of it; the owner is "" for a text of its own.
    """
    rows = list(dict.fromkeys(texts))
    warnings: dict[TextWarning, None] = {}  # a set that keeps its order
    first: dict[Hashable, tuple[str, str]] = {}
    for row, key in zip(rows, view.keys([text for _, text in rows]), strict=True):
        for kind, message in _warnings(row, first.setdefault(key, row), view):
            warnings[TextWarning(kind, f"{row[0]}: {message}" if row[0] else message)] = None
    return list(warnings)


def _warnings(
    row: tuple[str, str], first: tuple[str, str], view: View
) -> Iterator[tuple[str, str]]:
    owner, text = row
    shown = f"the {'prompt' if owner else 'text'} {quoted(text)}"
    clean = view.clean(text)
    is_unknown = view.is_unknown(text)
    if not clean:
        yield "nothing", f"the model reads nothing of {shown}; use words"
    elif first != row and (not owner or first[0] != owner):
        other = f"the same prompt as for {first[0]}" if owner else f"the same as {quoted(first[1])}"
        yield "same", f"the model reads {other}" if owner else f"the model reads {shown} {other}"
    if is_unknown:
        unknown = f"English models do not know all letters of {shown}"
        yield "unknown", f"{unknown}; a multilingual model such as {MULTILINGUAL} does"
    if view.is_cut(text):
        yield "cut", f"{shown} is cut after {view.context_length} tokens, the most this model reads"
    if clean and (_lost(_WITHIN_WORD, text, clean) or _lost(_SYMBOL, text, clean)):
        yield (
            "joined",
            f"of {shown} the model reads {quoted(clean)}; write it with spaces or in words",
        )


def _lost(pattern: re.Pattern[str], text: str, clean: str) -> bool:
    """Return whether the cleaning has deleted a character that `pattern` matches."""
    return any(set(match) - set(clean) for match in pattern.findall(text))


def capped(
    warnings: Iterable[TextWarning], most: int, counts: Counter[str] | None = None
) -> list[str]:
    """Return the messages of the first `most` warnings of each kind, then how many more there are.

    `counts` carries on from one call to the next: those that came before count too.
    """
    counts = Counter() if counts is None else counts
    shown, more = [], 0
    for warning in warnings:
        counts[warning.kind] += 1
        if counts[warning.kind] <= most:
            shown.append(warning.message)
        else:
            more += 1
    return [*shown, *and_more(more)]


def set_warnings(label_set: LabelSet, view: View, most: int) -> list[str]:
    """Return what a model does not read of a set's prompts as written: of each kind the first `most`, and how many more."""
    return capped(text_warnings(prompts(label_set), view), most)


def watched(
    texts: Iterable[str], view: View, warn: Callable[[str], None], most: int
) -> Iterator[str]:
    """Pass a stream of texts on, and give `warn` what the model does not read of them as written.

    They are looked at some hundreds at a time; of each kind the first `most` warnings are given one by one.
    """
    counts, stream = Counter[str](), iter(texts)
    while chunk := list(islice(stream, _CHUNK)):
        for line in capped(text_warnings((("", text) for text in chunk), view), most, counts):
            warn(line)
        yield from chunk
