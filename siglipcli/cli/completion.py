"""What the shell may complete an option's value to; a catalogue is imported only when a shell asks."""

from __future__ import annotations

from siglipcli.terminal.values import beginning

__all__ = ["label_sets", "models"]


def label_sets(incomplete: str) -> list[str]:
    """Return the built-in sets; the shell adds files itself where none fits."""
    from siglipcli.labels import builtin_names

    return beginning(builtin_names(), incomplete)


def models(incomplete: str) -> list[str]:
    """Return the catalogue's names and `demo`."""
    from siglipcli.encoders.catalog import CATALOG

    return beginning([*CATALOG, "demo"], incomplete)
