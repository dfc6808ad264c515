"""The frozen records that pass between rooms. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = [
    "Answer",
    "Comparison",
    "Failure",
    "Head",
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
    """The sigmoid head, fp32 as the checkpoint has it: logit = scale · cosine + bias.

    `scale` is exp(logit_scale) already (SigLIP, arXiv 2303.15343, algorithm 1).
    """

    scale: float
    bias: float


@dataclass(frozen=True, slots=True)
class Score:
    """What one label got for one image.

    `score` = sigmoid(logit), each label on its own; `share` = softmax over the set's logits.
    """

    set: str
    label: str
    score: float
    share: float
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
    """A picture that a search found; `rank` counts from 1, the most similar.

    `similarity` is the cosine of picture and query. `score` = sigmoid(logit) where the query is
    made of texts alone; else None, as the head is trained for pairs of a picture and a text.
    """

    source: Source
    rank: int
    similarity: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What one text got for one picture: cosine, logit = scale · cosine + bias, and its sigmoid."""

    text: str
    score: float
    logit: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A picture held against texts: one pair a text, in the order they were given."""

    source: Source
    pairs: tuple[Pair, ...]
    stored: bool = False


Answer: TypeAlias = Prediction | Match | Comparison
Result: TypeAlias = Answer | Failure
