"""Groups of options: a command takes whole dataclasses, Typer sees their fields.

A group's `heading` is what its options stand under in the help.

@grouped
def classify(inputs: Inputs, voice: Voice) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from copy import copy
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["grouped"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with each dataclass parameter replaced by the dataclass's fields.

    Other parameters stay as they are.
    """
    own = inspect.signature(command).parameters
    # on Python 3.10 get_type_hints hides the options of what may be None
    groups = inspect.get_annotations(command, eval_str=True)
    groups.pop("return", None)
    parameters = [p for name, kind in groups.items() for p in _spread(own[name], kind)]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**{name: _gather(name, kind, values) for name, kind in groups.items()})

    del run.__wrapped__  # or its signature would be seen
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _spread(parameter: inspect.Parameter, kind: Any) -> list[inspect.Parameter]:
    if not is_dataclass(kind):
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind)]
    hints = get_type_hints(kind, include_extras=True)
    heading = getattr(kind, "heading", None)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default,
            annotation=_under_heading(hints[f.name], heading),
        )
        for f in fields(kind)
    ]


def _under_heading(hint: Any, heading: str | None) -> Any:
    """Return an option under its group's heading, where it names none itself; other groups may share it."""
    infos = [copy(info) for info in getattr(hint, "__metadata__", ())]
    for info in infos:
        if getattr(info, "rich_help_panel", heading) is None:
            info.rich_help_panel = heading
    annotated: Any = Annotated
    parts = (getattr(hint, "__origin__", hint), *infos)
    return annotated[parts] if infos else hint


def _gather(name: str, kind: Any, values: dict[str, Any]) -> Any:
    if not is_dataclass(kind):
        return values[name]
    return kind(**{f.name: values[f.name] for f in fields(kind)})  # type: ignore[operator]
