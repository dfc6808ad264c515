"""Zero-shot image classification with SigLIP: a command line (`siglip`) and this small library.

>>> from siglipcli import Classifier, LabelSet
>>> clf = Classifier.load("demo")
>>> for result in clf.classify(["photo.jpg"], LabelSet.load("animals")): ...

Names are imported when first used, so that `import siglipcli` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siglipcli.api import Classifier
    from siglipcli.embedding_files import SavedVectors
    from siglipcli.errors import SiglipError
    from siglipcli.labels import Label, LabelSet
    from siglipcli.pipeline import LoadOptions
    from siglipcli.results import (
        Failure,
        Head,
        ImageTextScores,
        Match,
        Pair,
        Prediction,
        Result,
        Score,
        Source,
    )
    from siglipcli.scoring import LabelEmbeddings, ScoringOptions
    from siglipcli.search import Query, Ranking
    from siglipcli.store import Store

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Failure",
    "Head",
    "ImageTextScores",
    "Label",
    "LabelEmbeddings",
    "LabelSet",
    "LoadOptions",
    "Match",
    "Pair",
    "Prediction",
    "Query",
    "Ranking",
    "Result",
    "SavedVectors",
    "Score",
    "ScoringOptions",
    "SiglipError",
    "Source",
    "Store",
]

_HOME = {
    "Classifier": "api",
    "ImageTextScores": "results",
    "Failure": "results",
    "Head": "results",
    "Label": "labels",
    "LabelEmbeddings": "scoring",
    "LabelSet": "labels",
    "Match": "results",
    "Pair": "results",
    "Prediction": "results",
    "Query": "search",
    "Ranking": "search",
    "LoadOptions": "pipeline",
    "Result": "results",
    "SavedVectors": "embedding_files",
    "Score": "results",
    "ScoringOptions": "scoring",
    "SiglipError": "errors",
    "Source": "results",
    "Store": "store",
}


def __getattr__(name: str) -> object:
    """Import a public name from its room when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
