"""Options of every command that writes a file: what may be replaced, and what lies beside it."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["AllowEmpty", "Force", "WithProvenance"]

Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace an existing output that siglip did not write; never an input."
    ),
]
AllowEmpty = Annotated[
    bool,
    typer.Option(
        "--allow-empty", help="With no input, write an empty output and end with status 0."
    ),
]
WithProvenance = Annotated[
    bool,
    typer.Option(
        "--provenance",
        help="Also write FILE.meta.json beside --output FILE: version, model, label sets' digests.",
    ),
]
