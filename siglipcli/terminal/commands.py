"""Typer commands that start sooner: imported when asked for, and without checks of what is right.

Typer checks every value with pydantic, whose import and schemas take 0.15 s, a fifth of the time that
one photo takes. A default, a string for a string or a path, needs no check, nor does a word for a flag that
the environment sets; Typer itself skips flags of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from siglipcli.terminal.help import write_examples, write_options
from siglipcli.terminal.values import FLAGS, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Command", "Commands", "Group", "group", "spare_checks"]


class Commands(Mapping[str, Any]):
    """A group's commands by name, in order; each is imported when it is first asked for.

    `helps` is name → short help. The command `name` is the function `name` of the module `name` in
    `package`, or that module's `app`.
    """

    def __init__(self, package: str, helps: Mapping[str, str]) -> None:
        self._package = package
        self._helps = helps
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _command(self._package, name, self._helps[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._helps)

    def __len__(self) -> int:
        return len(self._helps)

    def write_help(self, formatter: Any) -> None:
        """Write names and short helps, importing no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._helps.items()))


def _command(package: str, name: str, short_help: str) -> Any:
    module = import_module(f"{package}.{name}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name, cls=Command)(getattr(module, name))
    made: Any = get_command(group)
    made.name, made.short_help = name, short_help
    return made


class _Helpful:
    """Help as `terminal.help` writes it, and values checked only where they need it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, that of --help too."""
        return spare_checks(super().get_params(ctx))  # type: ignore[misc]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        write_examples(ctx, formatter)


class Command(_Helpful, TyperCommand):
    """A command."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options under their headings."""
        write_options(self, ctx, formatter)


class Group(_Helpful, TyperGroup):
    """A command with commands of its own; they are made with `Command`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options under their headings, then the commands."""
        write_options(self, ctx, formatter)
        if isinstance(self.commands, Commands):
            self.commands.write_help(formatter)
        else:
            self.format_commands(ctx, formatter)


def group(name: str, help_text: str) -> typer.Typer:
    """Return a group of commands, as `siglip labels` is one: use `@app.command(cls=Command)` in it."""
    return typer.Typer(
        name=name,
        help=help_text,
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )


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
        if self._annotation is bool and isinstance(value, str):
            value = FLAGS.get(value.strip().lower(), value)
            if isinstance(value, bool):
                return value
        if self._annotation in {int, float} and isinstance(value, str):
            limits = param.type_descriptor.parameter_info
            return number(value, self._annotation, limits.min, limits.max)
        return self._checked().coerce(value, param=param, ctx=ctx)


def _has_type(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) is list:
        (inner,) = get_args(annotation)
        return isinstance(value, (list, tuple)) and all(_has_type(v, inner) for v in value)
    return isinstance(annotation, type) and isinstance(value, annotation)
