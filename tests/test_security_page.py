"""SECURITY.md: behind each promise stands a test, and that test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def promises() -> list[str]:
    """The rows of the page's tables of promises."""
    tables = PAGE.split("| promise | test |\n|---|---|\n")[1:]
    return [line for table in tables for line in table.partition("\n\n")[0].splitlines()]


def test_each_promise_names_a_test() -> None:
    """No promise stands alone, and its tests are all that its last column holds."""
    rows = promises()
    assert len(rows) >= 50
    for row in rows:
        tests = row.strip(" |").rpartition(" | ")[2]
        assert NAMED.sub("", tests).strip(", ") == "", row
        assert NAMED.search(tests), row


def test_each_test_that_is_named_is_there() -> None:
    """A test that is renamed or deleted takes its promise with it, or is named anew."""
    named = set(NAMED.findall(PAGE))
    files = {file: next(TESTS.rglob(file), None) for file, _ in named}
    assert None not in files.values(), files
    there = {(file, name) for file, path in files.items() if path for name in _tests(path)}
    assert named <= there, sorted(named - there)


def _tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
