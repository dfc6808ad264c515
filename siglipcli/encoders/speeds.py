"""How fast the catalogue's models are on one machine: measured by benchmarks/models_bench.py, kept in speeds.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siglipcli.encoders.catalog import Entry

__all__ = ["PATH", "Speeds", "tower"]

PATH = Path(__file__).with_name("speeds.json")


def tower(entry: Entry) -> str:
    """Name a model's image tower: SigLIP's and SigLIP 2's of one size are the same."""
    size, patch = entry.name.split("-")[1:3]
    return f"{size}/{patch} {entry.image_size}"


@dataclass(frozen=True, slots=True)
class Speeds:
    """Figures of one machine: `machine` in words, and `towers`, name → images_per_second, peak_mb, precision, int8."""

    machine: str
    towers: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path = PATH) -> Speeds:
        """Return what was measured; nothing where there is no such file."""
        if not path.exists():
            return cls("", {})
        content = json.loads(path.read_text(encoding="utf-8"))
        machine = content["machine"]
        words = f"{machine['cpu']}, {machine['cores']} processors, {machine['date']}"
        return cls(words, content["towers"])

    def of(self, entry: Entry) -> dict[str, Any] | None:
        """Return a model's figures; None where it was not measured."""
        return self.towers.get(tower(entry))
