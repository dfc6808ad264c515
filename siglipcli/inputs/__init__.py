"""What a user names → a lazy stream of inputs: files, folders, patterns, lists of paths."""

from __future__ import annotations

from siglipcli.inputs.files import expand, listed
from siglipcli.inputs.lists import NamedInputs, check_list, read_list
from siglipcli.inputs.options import (
    IMAGE_ENDINGS,
    RAW_ENDINGS,
    Options,
    Overlooked,
    can_read_raw,
)

__all__ = [
    "IMAGE_ENDINGS",
    "RAW_ENDINGS",
    "NamedInputs",
    "Options",
    "Overlooked",
    "can_read_raw",
    "check_list",
    "expand",
    "listed",
    "read_list",
]
