"""Engines that were tuned on a user's images: finding them, and what was measured before they were installed.

Only the image tower is in such an engine; texts go through the engine that it was made from (its `reference`).
Nothing builds one unasked: `siglipcli.tuning` does, and installs it by `install`.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from siglipcli.encoders import engines
from siglipcli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siglipcli.encoders.engines import Manifest

__all__ = ["FILES", "PRECISION", "TunedEngine", "every", "find", "install"]

PRECISION = "int8"
FILES = ("image.xml", "image.bin")
_DIGITS = 12  # of a SHA-256: what tells two tunings of one model apart


@dataclass(frozen=True, slots=True)
class TunedEngine:
    """A tuned engine: its folder, the model it is of, the library and version that made it, and its facts.

    `reference` is the precision of the engine that it was made from. `digest` is another for another graph or
    other weights. `facts` are what was measured, as JSON has it; see `siglipcli.tuning.Tuning.to_dict`.
    """

    folder: Path
    model: str
    runtime: str
    reference: str
    digest: str
    facts: dict[str, Any]

    @property
    def accepted(self) -> tuple[str, ...]:
        """The floors that it missed and was installed in spite of, in words."""
        return tuple(self.facts.get("missed", ()))

    def warnings(self, processor: str) -> list[str]:
        """Say what a run on `processor` has to know."""
        words = []
        if self.accepted:
            below = "; ".join(self.accepted)
            words.append(f"the {PRECISION} engine was accepted in spite of: {below}")
        if (measured_on := self.facts.get("processor", processor)) != processor:
            words.append(
                f"the {PRECISION} engine was checked on another processor, {measured_on}: its figures may not"
                " hold on this one"
            )
        return words


def find(root: Path, manifest: Manifest, cache_dir: Path) -> TunedEngine:
    """Return the tuned engine that `manifest` describes. Raises DeviceError, code `untuned`, if there is none."""
    folder = root / manifest.folder
    if not engines.is_trusted(folder, manifest, cache_dir):
        raise DeviceError(_why_not(folder, manifest), code="untuned", model=manifest.model)
    return _read(folder, manifest.model, manifest.runtime)


def every(root: Path, fingerprint: str = "") -> Iterator[TunedEngine]:
    """Yield the tuned engines under `root`, or that of one checkpoint, without checking their files."""
    for engine in engines.engines(root):
        if engine.precision == PRECISION and engine.folder.name.startswith(fingerprint):
            read = _read(engine.folder, engine.model, engine.runtime)
            if read.facts:
                yield read


def install(root: Path, manifest: Manifest, made: Path, facts: dict[str, Any]) -> Path:
    """Put the image tower in `made` into the place of the tuned engine, whole; return its folder. Raises OSError."""
    return engines.replace(root, manifest, partial(_copy, made), facts)


def _copy(made: Path, draft: Path) -> None:
    for name in FILES:
        shutil.copyfile(made / name, draft / name)


def _read(folder: Path, model: str, runtime: str) -> TunedEngine:
    content = engines.facts(folder)
    facts = content["facts"]
    digests = "".join(str(content["files"].get(name, "")) for name in FILES)
    digest = hashlib.sha256(digests.encode()).hexdigest()[:_DIGITS]
    return TunedEngine(folder, model, runtime, str(facts.get("reference", "fp32")), digest, facts)


def _why_not(folder: Path, manifest: Manifest) -> str:
    installed = next(
        (engine for engine in engines.engines(folder.parent) if engine.folder == folder), None
    )
    if installed is None:
        return f"{manifest.model} has no {PRECISION} engine here: one is made from your own images."
    if installed.runtime != manifest.runtime:
        return (
            f"the {PRECISION} engine of {manifest.model} was made with {installed.runtime}, and"
            f" {manifest.runtime} is installed: it has to be made again."
        )
    return f"the {PRECISION} engine of {manifest.model} is damaged: it has to be made again."
