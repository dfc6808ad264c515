"""What the shell may complete an option's value to. Each is imported only when a shell asks."""

from __future__ import annotations

__all__ = ["choices", "label_sets", "models"]

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def label_sets(incomplete: str) -> list[str]:
    """Return the built-in sets; the shell adds files itself where none fits."""
    from siglipcli.labels import builtin_names

    return _beginning(builtin_names(), incomplete)


def models(incomplete: str) -> list[str]:
    """Return the catalogue's names and `demo`."""
    from siglipcli.encoders.catalog import CATALOG

    return _beginning([*CATALOG, "demo"], incomplete)


def choices(*words: str) -> Callable[[str], list[str]]:
    """Return what completes to one of these words."""
    return lambda incomplete: _beginning(words, incomplete)


def _beginning(words: list[str] | tuple[str, ...], incomplete: str) -> list[str]:
    return [word for word in words if word.lower().startswith(incomplete.lower())]
