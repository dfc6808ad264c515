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
    from siglipcli.classifier import Classifier
    from siglipcli.errors import SiglipError
    from siglipcli.labelsets import Label, LabelSet
    from siglipcli.pipeline import Reading
    from siglipcli.records import (
        Comparison,
        Failure,
        Head,
        Match,
        Pair,
        Prediction,
        Result,
        Score,
        Source,
    )
    from siglipcli.scoring import LabelBank, Selection
    from siglipcli.search import Query, Ranking
    from siglipcli.store import Store
    from siglipcli.vectors import SavedVectors

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Comparison",
    "Failure",
    "Head",
    "Label",
    "LabelBank",
    "LabelSet",
    "Match",
    "Pair",
    "Prediction",
    "Query",
    "Ranking",
    "Reading",
    "Result",
    "SavedVectors",
    "Score",
    "Selection",
    "SiglipError",
    "Source",
    "Store",
]

_HOME = {
    "Classifier": "classifier",
    "Comparison": "records",
    "Failure": "records",
    "Head": "records",
    "Label": "labelsets",
    "LabelBank": "scoring",
    "LabelSet": "labelsets",
    "Match": "records",
    "Pair": "records",
    "Prediction": "records",
    "Query": "search",
    "Ranking": "search",
    "Reading": "pipeline",
    "Result": "records",
    "SavedVectors": "vectors",
    "Score": "records",
    "Selection": "scoring",
    "SiglipError": "errors",
    "Source": "records",
    "Store": "store",
}


def __getattr__(name: str) -> object:
    """Import a public name from its room when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
