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
from typing import TypeAlias

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
    or `-` for standard input. `given` is a path, or the bytes themselves; None where the name is
    the path.
    """

    name: str
    given: Path | bytes | None = None

    @property
    def content(self) -> Path | bytes:
        """The path, made on demand (most files of a warm run are never opened), or the bytes."""
        return Path(self.name) if self.given is None else self.given

    def __repr__(self) -> str:
        if self.given is None:
            return f"Source({self.name!r})"
        if isinstance(self.given, bytes):
            return f"Source({self.name!r}, <{len(self.given):,} bytes>)"
        return f"Source({self.name!r}, {self.given!r})"


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


@dataclass(frozen=True, slots=True)
class Pair:
    """One text's numbers for one image: cosine, logit = logit_scale · cosine + logit_bias, and its sigmoid."""

    text: str
    score: float
    logit: float
    similarity: float


@dataclass(frozen=True, slots=True)
class ImageTextScores:
    """An image scored against texts: one pair per text, in the order of the texts."""

    file: str
    pairs: tuple[Pair, ...]
    model: str = field(default="", kw_only=True)
    stored: bool = field(default=False, kw_only=True)


ScoredImage: TypeAlias = Prediction | Match | ImageTextScores
Result: TypeAlias = ScoredImage | Failure
