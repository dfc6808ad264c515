"""The frozen records that pass between rooms. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Failure",
    "Head",
    "Prediction",
    "Result",
    "Score",
    "Source",
]


@dataclass(frozen=True, slots=True)
class Source:
    """One input: the name it is reported under, and where its bytes are.

    `name` is the path as the user gave it (undecodable bytes as surrogates, `os.fsdecode`'s rule),
    or `-` for standard input. `content` is a path, or the bytes themselves.
    """

    name: str
    content: Path | bytes


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


Result: TypeAlias = Prediction | Failure
