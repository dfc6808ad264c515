"""The frozen records that pass between rooms. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = [
    "Answer",
    "Failure",
    "Head",
    "ImageTextScores",
    "Match",
    "Pair",
    "Prediction",
    "Result",
    "Score",
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
        """The path, made when it is asked for (most files of a warm run never are), or the bytes."""
        return Path(self.name) if self.given is None else self.given


@dataclass(frozen=True, slots=True)
class Head:
    """The sigmoid head, fp32 as the checkpoint has it: logit = logit_scale · cosine + logit_bias.

    `logit_scale` is exp(logit_scale) already (SigLIP, arXiv 2303.15343, algorithm 1).
    """

    logit_scale: float
    logit_bias: float


@dataclass(frozen=True, slots=True)
class Score:
    """What one label got for one image.

    `score` = sigmoid(logit), each label on its own; `softmax`: over the set's logits.
    """

    set: str
    label: str
    score: float
    softmax: float
    logit: float
    tag: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answered input. `scores` holds the labels asked for: set by set, best first.

    `stored` if its embedding was not made now but came from the store.
    """

    source: Source
    scores: tuple[Score, ...]
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that could not be answered: `kind` is a stable word, `message` is for people."""

    source: Source
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Match:
    """An image that a search found; `rank` counts from 1, the most similar.

    `similarity` is the cosine of image and query. `score` = sigmoid(logit) where the query is
    made of texts alone; else None, as the head is trained for pairs of an image and a text.
    """

    source: Source
    rank: int
    similarity: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What one text got for one image: cosine, logit = logit_scale · cosine + logit_bias, and its sigmoid."""

    text: str
    score: float
    logit: float
    similarity: float


@dataclass(frozen=True, slots=True)
class ImageTextScores:
    """An image held against texts: one pair a text, in the order they were given."""

    source: Source
    pairs: tuple[Pair, ...]
    stored: bool = False


Answer: TypeAlias = Prediction | Match | ImageTextScores
Result: TypeAlias = Answer | Failure
