"""A Typer command that starts sooner: values that are right already are not checked again.

Typer checks every value with pydantic, whose import and schemas take 0.15 s, a fifth of the time that
one photo takes. A default, a string for a string or a path, needs no check; Typer itself skips flags.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Command", "spare_checks"]


class Command(TyperCommand):
    """For `app.command(cls=Command)`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, that of --help too."""
        return spare_checks(super().get_params(ctx))


def spare_checks(params: list[Any]) -> list[Any]:
    """Let what has its type pass unchecked; with a Typer that lacks the seam, do nothing."""
    for param in params:
        checked = getattr(param, "get_runtime_param", None)
        described = getattr(param, "type_descriptor", None)
        if checked and described and "get_runtime_param" not in vars(param):
            param.get_runtime_param = _AsIs(described.annotation, checked).itself
    return params


class _AsIs:
    """Stands before a parameter's check: lets through what has its type, asks Typer for the rest."""

    def __init__(self, annotation: Any, checked: Callable[[], Any]) -> None:
        self._annotation = annotation
        self._checked = checked

    def itself(self) -> _AsIs:
        return self

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        if _has_type(value, self._annotation):
            return list(value) if many else value
        if self._annotation is Path and isinstance(value, str):
            return Path(value)
        return self._checked().coerce(value, param=param, ctx=ctx)


def _has_type(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) is list:
        (inner,) = get_args(annotation)
        return isinstance(value, (list, tuple)) and all(_has_type(v, inner) for v in value)
    return isinstance(annotation, type) and isinstance(value, annotation)
