"""What a user names → a lazy stream of inputs: files, folders, patterns, lists of paths."""

from __future__ import annotations

from siglipcli.inputs.files import expand, listed
from siglipcli.inputs.options import IMAGE_ENDINGS, Options, Overlooked

__all__ = ["IMAGE_ENDINGS", "Options", "Overlooked", "expand", "listed"]
