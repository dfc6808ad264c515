"""Zero-shot image classification with SigLIP: a library, and the command line `siglip`.

>>> from siglipcli import Classifier
>>> with Classifier("demo") as clf:
...     for result in clf.classify(["photo.jpg"], ["red circle", "blue heart"]):
...         print(result)
Failure(file='photo.jpg', kind='missing', message='No such file or folder.')

Names are imported on first use, so that `import siglipcli` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siglipcli.api import Classifier
    from siglipcli.embedding_files import SavedVectors
    from siglipcli.embeddings import Batch, Embedded
    from siglipcli.encoders import ModelSpec
    from siglipcli.errors import (
        DeviceError,
        ImageError,
        LabelError,
        MissingExtraError,
        ModelError,
        OutputError,
        SiglipError,
        UsageError,
    )
    from siglipcli.evaluating import calibrate, compare, evaluate
    from siglipcli.evaluation.calibration import Aim, Calibration, LabelFit, Quality
    from siglipcli.evaluation.comparison import Difference, LabelComparison, SetComparison
    from siglipcli.evaluation.metrics import Bin, Confusion, LabelMeasures, Measures
    from siglipcli.images import Limits
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
    from siglipcli.session import Session
    from siglipcli.store import Store
    from siglipcli.tuning import (
        Agreement,
        Floors,
        Proportion,
        SetAgreement,
        Tuning,
        TuningOptions,
        tune,
    )

__version__ = "0.1.0"

__all__ = [
    "Agreement",
    "Aim",
    "Batch",
    "Bin",
    "Calibration",
    "Classifier",
    "Confusion",
    "DeviceError",
    "Difference",
    "Embedded",
    "Failure",
    "Floors",
    "Head",
    "ImageError",
    "ImageTextScores",
    "Label",
    "LabelComparison",
    "LabelEmbeddings",
    "LabelError",
    "LabelFit",
    "LabelMeasures",
    "LabelSet",
    "Limits",
    "LoadOptions",
    "Match",
    "Measures",
    "MissingExtraError",
    "ModelError",
    "ModelSpec",
    "OutputError",
    "Pair",
    "Prediction",
    "Proportion",
    "Quality",
    "Query",
    "Ranking",
    "Result",
    "SavedVectors",
    "Score",
    "ScoringOptions",
    "Session",
    "SetAgreement",
    "SetComparison",
    "SiglipError",
    "Source",
    "Store",
    "Tuning",
    "TuningOptions",
    "UsageError",
    "calibrate",
    "compare",
    "evaluate",
    "tune",
]

_HOME = {
    "Agreement": "tuning",
    "Aim": "evaluation.calibration",
    "Batch": "embeddings",
    "Bin": "evaluation.metrics",
    "Calibration": "evaluation.calibration",
    "Classifier": "api",
    "Confusion": "evaluation.metrics",
    "DeviceError": "errors",
    "Difference": "evaluation.comparison",
    "Embedded": "embeddings",
    "Failure": "results",
    "Floors": "tuning",
    "Head": "results",
    "ImageError": "errors",
    "ImageTextScores": "results",
    "Label": "labels",
    "LabelComparison": "evaluation.comparison",
    "LabelEmbeddings": "scoring",
    "LabelError": "errors",
    "LabelFit": "evaluation.calibration",
    "LabelMeasures": "evaluation.metrics",
    "LabelSet": "labels",
    "Limits": "images",
    "LoadOptions": "pipeline",
    "Match": "results",
    "Measures": "evaluation.metrics",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelSpec": "encoders",
    "OutputError": "errors",
    "Pair": "results",
    "Prediction": "results",
    "Proportion": "tuning",
    "Quality": "evaluation.calibration",
    "Query": "search",
    "Ranking": "search",
    "Result": "results",
    "SavedVectors": "embedding_files",
    "Score": "results",
    "ScoringOptions": "scoring",
    "Session": "session",
    "SetAgreement": "tuning",
    "SetComparison": "evaluation.comparison",
    "SiglipError": "errors",
    "Source": "results",
    "Store": "store",
    "Tuning": "tuning",
    "TuningOptions": "tuning",
    "UsageError": "errors",
    "calibrate": "evaluating",
    "compare": "evaluating",
    "evaluate": "evaluating",
    "tune": "tuning",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
