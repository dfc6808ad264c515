"""Who is measured, and with what command line."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs import Contender

HERE = Path(__file__).parent


def siglip(model: Path, cache: Path, name: str = "siglip") -> Contender:
    """Return the command under test, with its own defaults; one photo is named, several are a folder."""

    def command(folder: Path, labels: list[str]) -> list[str]:
        files = list(folder.iterdir())
        given = files[0] if len(files) == 1 else folder
        where = ["--model", str(model), "--cache-dir", str(cache)]
        return [program(), "classify", str(given), *where, "--format", "jsonl", *_options(labels)]

    return Contender(name, command)


def siglip_help() -> Contender:
    """Return `siglip --help`; it reads no photo."""
    return Contender("siglip --help", lambda _folder, _labels: [program(), "--help"])


def transformers_pipeline(model: Path) -> Contender:
    """Return the transformers pipeline, fp32."""
    return _script("transformers pipeline, fp32", "rivals/transformers_pipeline.py", model)


def open_clip_script(model: Path, *, bf16: bool = False) -> Contender:
    """Return a script after open_clip's README."""
    name = "open_clip script, bf16 autocast" if bf16 else "open_clip script, fp32"
    return _script(name, "rivals/open_clip_script.py", model, *(["--bf16"] if bf16 else []))


def ceiling(model: Path, cache: Path, images: int) -> Contender:
    """Return what measures siglip's own image tower, in one process."""
    where = ["--model", str(model), "--cache-dir", str(cache), "--images", str(images)]
    command = [sys.executable, str(HERE / "ceiling.py"), *where]
    return Contender("siglip's image tower alone", lambda _folder, _labels: command, reports=True)


def program() -> str:
    """Return the `siglip` command installed beside this Python."""
    return str(Path(sys.executable).with_name("siglip"))


def _script(name: str, script: str, model: Path, *more: str) -> Contender:
    def command(folder: Path, labels: list[str]) -> list[str]:
        start = [sys.executable, str(HERE / script), str(folder), "--model", str(model)]
        return [*start, *more, *_options(labels)]

    return Contender(name, command)


def _options(labels: list[str]) -> list[str]:
    return [word for label in labels for word in ("--label", label)]
