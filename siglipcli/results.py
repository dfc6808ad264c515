"""The records that the library takes and gives: inputs, scores, results. Standard library only.

    Result ── Prediction        an image and its labels      (classify)
           ├─ Match             an image that a search found (search)
           ├─ ImageTextScores   an image and its texts       (score)
           └─ Failure           an input without a result    (all three)

Results are frozen, compare by value, fit in one line of `repr`, pickle, and hold no image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from siglipcli.text import named, utf8

__all__ = [
    "Failure",
    "Head",
    "ImageTextScores",
    "Match",
    "Pair",
    "Prediction",
    "Result",
    "Score",
    "ScoredImage",
    "Source",
]


@dataclass(frozen=True, slots=True)
class Source:
    """One input: the name it is reported under, and where its bytes are.

    `name` is the path as the user gave it (undecodable bytes as surrogates, `os.fsdecode`'s rule),
    or `-` for standard input. `origin` is a path, or the bytes themselves; None where the name is
    the path.
    """

    name: str
    origin: Path | bytes | None = None

    @property
    def content(self) -> Path | bytes:
        """The path, made on demand (most files of a warm run are never opened), or the bytes."""
        return Path(self.name) if self.origin is None else self.origin

    def __repr__(self) -> str:
        if self.origin is None:
            return f"Source({self.name!r})"
        if isinstance(self.origin, bytes):
            return f"Source({self.name!r}, <{len(self.origin):,} bytes>)"
        return f"Source({self.name!r}, {self.origin!r})"


@dataclass(frozen=True, slots=True)
class Head:
    """The sigmoid head, fp32 as the checkpoint has it: logit = logit_scale · cosine + logit_bias.

    `logit_scale` is exp(logit_scale) already (SigLIP, arXiv 2303.15343, algorithm 1).
    """

    logit_scale: float
    logit_bias: float


@dataclass(frozen=True, slots=True)
class Score:
    """One label's score for one image.

    `score` = sigmoid(logit), each label on its own, from 0 to 1; `softmax`: over the set's logits.
    `tag`: whether the score reaches the label's threshold, and no rule of the set forbids it.
    """

    set: str
    label: str
    score: float
    softmax: float
    logit: float
    tag: bool

    def to_dict(self) -> dict[str, Any]:
        """Return what `labels` of a JSON row holds for this label."""
        return {
            "label": utf8(self.label),
            "score": self.score,
            "softmax": self.softmax,
            "logit": self.logit,
            "set": utf8(self.set),
            "tag": self.tag,
        }


@dataclass(frozen=True, slots=True)
class Prediction:
    """An image and its labels: set by set, best first.

    `file` is the path as it was given, or an in-memory image's name. `stored`: whether the embedding
    came from the store. `source` is where the image can be read again, if not at `file`; it is no part
    of the value (`repr`, `==` and pickle leave it out).
    """

    file: str
    scores: tuple[Score, ...]
    model: str = field(default="", kw_only=True)
    stored: bool = field(default=False, kw_only=True)
    source: Source | None = field(default=None, kw_only=True, repr=False, compare=False)

    @property
    def best(self) -> Score | None:
        """The label with the highest score (of several sets, of all); None where there is none."""
        return max(self.scores, key=_by_score, default=None)

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the labels that are tags, in the order of `scores`."""
        return tuple(score.label for score in self.scores if score.tag)

    def to_dict(self) -> dict[str, Any]:
        """Return the row that JSON and JSON Lines hold for this image."""
        labels = [score.to_dict() for score in self.scores]
        return _row(self.file, self.model) | {"labels": labels}

    def __repr__(self) -> str:
        shown = [
            f"{score.label} {score.score:.4g}{'✓' * score.tag}" for score in self.scores[:_SHOWN]
        ]
        more = len(self.scores) - len(shown)
        return f"Prediction({self.file!r}: {', '.join(shown) or 'no labels'}{f', {more} more' * bool(more)})"

    def __reduce__(self) -> tuple[object, ...]:
        return _prediction, (self.file, self.scores, self.model, self.stored)


def _prediction(file: str, scores: tuple[Score, ...], model: str, stored: bool) -> Prediction:
    return Prediction(file, scores, model=model, stored=stored)


@dataclass(frozen=True, slots=True)
class Failure:
    """An input without a result: `kind` is a stable word for programs, `message` is for people."""

    file: str
    kind: str
    message: str

    def to_dict(self, of: type[ScoredImage] | None = None) -> dict[str, Any]:
        """Return the row that JSON and JSON Lines hold for this input.

        `of` is the class of results among which it stands (None: Prediction): their list is empty here,
        so that a loop over rows needs no check.
        """
        empty: dict[str, Any] = {key: [] for key in _LISTS[of or Prediction]}
        error = {"kind": self.kind, "message": utf8(self.message)}
        return named(self.file) | {"status": "error"} | empty | {"error": error}


@dataclass(frozen=True, slots=True)
class Match:
    """An image that a search found; `rank` counts from 1, the most similar.

    `similarity` is the cosine of image and query. `score` = sigmoid(logit) where the query is
    made of texts alone; else None, as the head is trained for pairs of an image and a text.
    """

    file: str
    rank: int
    similarity: float
    score: float | None = None
    model: str = field(default="", kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the row that JSON and JSON Lines hold; `score` only where there is one."""
        numbers = {} if self.score is None else {"score": self.score}
        row = _row(self.file, self.model) | {"rank": self.rank}
        return row | numbers | {"similarity": self.similarity}


@dataclass(frozen=True, slots=True)
class Pair:
    """One text's numbers for one image: cosine, logit = logit_scale · cosine + logit_bias, and its sigmoid."""

    text: str
    score: float
    logit: float
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Return what `texts` of a JSON row holds for this text."""
        return {
            "text": utf8(self.text),
            "score": self.score,
            "logit": self.logit,
            "similarity": self.similarity,
        }


@dataclass(frozen=True, slots=True)
class ImageTextScores:
    """An image scored against texts: one pair per text, in the order of the texts."""

    file: str
    pairs: tuple[Pair, ...]
    model: str = field(default="", kw_only=True)
    stored: bool = field(default=False, kw_only=True)

    @property
    def best(self) -> Pair | None:
        """The text with the highest score; None where there is none."""
        return max(self.pairs, key=_by_score, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the row that JSON and JSON Lines hold for this image."""
        return _row(self.file, self.model) | {"texts": [pair.to_dict() for pair in self.pairs]}

    def __repr__(self) -> str:
        shown = [f"{pair.text[:_LONG]!r} {pair.score:.4g}" for pair in self.pairs[:_SHOWN]]
        more = len(self.pairs) - len(shown)
        return f"ImageTextScores({self.file!r}: {', '.join(shown)}{f', {more} more' * bool(more)})"


ScoredImage: TypeAlias = Prediction | Match | ImageTextScores
Result: TypeAlias = ScoredImage | Failure

_LISTS: dict[type[ScoredImage], tuple[str, ...]] = {
    Prediction: ("labels",),
    Match: (),
    ImageTextScores: ("texts",),
}
_SHOWN, _LONG = 5, 40  # labels or texts in a repr, characters of a text


def _row(file: str, model: str) -> dict[str, Any]:
    return named(file) | {"status": "ok", "model": utf8(model)}


def _by_score(item: Score | Pair) -> float:
    return item.logit  # of two scores that float32 rounds to 1, the higher
