"""Errors: codes for programs, facts, pickling, and a remedy at the command line for every code."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

import siglipcli
from siglipcli import errors
from siglipcli.cli.remedies import REMEDIES, with_remedy
from siglipcli.errors import ImageError, LabelError, MissingExtraError, OutputError, SiglipError
from siglipcli.terminal.status import ExitStatus, status_of

PACKAGE = Path(siglipcli.__file__).parent


def classes() -> list[type[SiglipError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [each for each in found if issubclass(each, SiglipError)]


def codes_in_use() -> set[str]:
    """Every `code=` that the package passes to an error, read from the syntax trees.

    The server's ApiError is no error of the library: its codes are words of its protocols.
    """
    found = {each.code for each in classes()}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name.endswith("Error") and name != "ApiError":
                for word in node.keywords:
                    if word.arg == "code" and isinstance(word.value, ast.Constant):
                        found.add(word.value.value)
    return found


def test_the_table_of_remedies_has_every_code_and_no_other() -> None:
    """A new code cannot be forgotten, and an old one leaves no dead row."""
    assert set(REMEDIES) == codes_in_use()


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    """Every class is drawn in the module's docstring."""
    for each in classes():
        assert each.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "error",
    [
        SiglipError("it stopped", code="output", path="a.csv"),
        ImageError("truncated", "The file ends early.", expected=7),
        MissingExtraError("this", library="pyarrow", extra="parquet"),
        LabelError("x.yaml:3: name: expected a text."),
    ],
    ids=lambda each: type(each).__name__,
)
def test_errors_survive_pickling(error: SiglipError) -> None:
    """A worker elsewhere sends back the same error: class, message, code and facts."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.code, again.facts) == (str(error), error.code, error.facts)


def test_a_remedy_is_filled_in_and_follows_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line says what happened, then what to do."""
    monkeypatch.setitem(REMEDIES, "output", "Use another name than {path}.")
    error = OutputError("a.csv exists.", path="a.csv")
    assert with_remedy(error) == "a.csv exists. Use another name than a.csv."


def test_misuse_is_a_value_error_and_status_2() -> None:
    """Programs may catch ValueError; scripts see status 2."""
    error = LabelError("no")
    assert isinstance(error, ValueError)
    assert status_of(error) == ExitStatus.USAGE
    assert status_of(OutputError("no")) == ExitStatus.CANNOT_GO_ON


def library_texts() -> list[tuple[str, str]]:
    """Every text of the library's code with its place; docstrings are for readers of the code."""
    texts = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in {"cli", "terminal", "serve", "batch"}:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts += [
            (f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in bare
        ]
    return texts


def test_library_messages_name_no_option_and_no_command() -> None:
    """What a Python program or a server shows its users says nothing of a command line."""
    words = re.compile(r"(?<![\w-])--[a-z][a-z-]+|\bsiglip [a-z]+ (?=[-{A-Z`])|`siglip ")
    texts = library_texts()
    assert len(texts) > 3_000
    assert [
        (place, text)
        for place, text in texts
        if words.search(text) and not place.startswith("labels/starter.py")  # a file for its reader
    ] == []
