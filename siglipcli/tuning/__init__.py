"""Int8 engines, tuned on a user's own images and checked on others of them before they are used.

draw images, no copies ─> a third is kept back ─> quantize, choose by some of the rest ─> compare on those kept back ─> install
"""

from __future__ import annotations

from siglipcli.tuning.records import (
    Agreement,
    Floors,
    Proportion,
    SetAgreement,
    Tuning,
    TuningOptions,
)
from siglipcli.tuning.run import needed, tune

__all__ = [
    "Agreement",
    "Floors",
    "Proportion",
    "SetAgreement",
    "Tuning",
    "TuningOptions",
    "needed",
    "tune",
]
