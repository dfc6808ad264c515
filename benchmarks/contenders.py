"""Who is measured, and with what command line."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs import Contender

HERE = Path(__file__).parent


def siglip(model: Path, cache: Path, name: str = "siglip", *more: str) -> Contender:
    """Return the command under test, with its own defaults or `more`; one photo is named, several are a folder."""

    def command(folder: Path, labels: list[str]) -> list[str]:
        files = list(folder.iterdir())
        given = files[0] if len(files) == 1 else folder
        where = ["--model", str(model), "--cache-dir", str(cache)]
        return [
            program(),
            "classify",
            str(given),
            *where,
            "--format",
            "jsonl",
            *more,
            *_options(labels),
        ]

    return Contender(name, command)


def tune(model: Path, cache: Path, photos: Path) -> list[str]:
    """Return the command that makes the int8 engine; random weights need not hold the floors."""
    where = ["--with", str(photos), "--cache-dir", str(cache), "--offline"]
    return [program(), "models", "tune", str(model), *where, "--accept", "--format", "json"]


def siglip_help() -> Contender:
    """Return `siglip --help`; it reads no photo."""
    return Contender("siglip --help", lambda _folder, _labels: [program(), "--help"])


def transformers_pipeline(model: Path, *, bf16: bool = False, compiled: bool = False) -> Contender:
    """Return the transformers pipeline: as it comes, in bf16 with SDPA, or that with torch.compile."""
    name = "transformers pipeline, " + ("bf16 and sdpa" if bf16 else "fp32")
    name += ", torch.compile" if compiled else ""
    more = [*(["--bf16"] if bf16 else []), *(["--compile"] if compiled else [])]
    return _script(name, "rivals/transformers_pipeline.py", model, *more)


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
