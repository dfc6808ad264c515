"""The formats that clients speak: one module per format, each with `routes(engine, settings)`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["MODULES", "modules"]

MODULES = (
    "pages",
    "classify",
    "chat",
    "huggingface",
    "embeddings",
    "label_sets",
    "models",
    "health",
)
"""In the order in which routes are tried."""


def modules() -> list[ModuleType]:
    """Import every format."""
    return [import_module(f"siglipcli.serve.wire.{name}") for name in MODULES]
