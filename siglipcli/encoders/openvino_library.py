"""OpenVINO itself: imported once, when something needs it, and without its telemetry."""

from __future__ import annotations

import sys
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["core", "is_installed", "library", "operations", "version"]


def is_installed() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return find_spec("openvino") is not None


def library() -> Any:
    """Return the openvino module, imported without its telemetry.

    That asks for consent at the terminal and reports use over the network. A None in `sys.modules` is
    a failed import to Python, for which OpenVINO has a stub.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # Bindings are made ready at their first use: two threads at once can make that a deadlock.
    openvino.Tensor(np.zeros(1, np.uint8)).data  # noqa: B018
    return openvino


def operations() -> Any:
    """Return OpenVINO's operations, of which graphs are made."""
    library()
    from openvino import opset13

    return opset13


_core_lock = threading.Lock()


def core() -> Any:
    """Return OpenVINO's core, one that is kept until the process ends.

    Its CPU plugin gives the thread that loads it an alternate signal stack (OpenVINO 2026), and takes
    that away from the wrong thread where another one lets the last model go: the next signal would
    crash the process.
    """
    with _core_lock:  # `cache` alone would let two threads make two
        return _core()


@cache
def _core() -> Any:
    return library().Core()


def version() -> str:
    """Return what engines are built by: the library and its version.

    Read off the name of its metadata folder: to import importlib.metadata takes 25 ms of every run.
    """
    spec = find_spec("openvino")
    assert spec is not None
    assert spec.origin is not None
    for folder in Path(spec.origin).parents[1].glob("openvino-[0-9]*.dist-info"):
        return folder.name.removesuffix(".dist-info").replace("-", " ")
    from importlib import metadata

    return f"openvino {metadata.version('openvino')}"
