"""The table of this folder's README: every test it names is there, and every test is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def sections() -> dict[str, set[str]]:
    """The tests that the table names, by the file of their section."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    found = {}
    for section in page.split("\n## ")[1:]:
        (file,) = re.findall(r"`(test_\w+\.py)`", section.partition("\n")[0])
        found[file] = set(re.findall(r"`(test_\w+)`", section))
    return found


def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
    }


def test_the_table_is_true() -> None:
    """A line of the table leads to a test of that name, and no test is left out."""
    files = {path.name: defined(path) for path in HERE.glob("test_faults_*.py")}
    del files[Path(__file__).name]
    assert sections() == files


def test_no_line_is_without_a_test() -> None:
    """Each line of the table names at least one test."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    lines = [line for line in lines if line != "| what | test |"]
    assert len(lines) >= 50
    assert all(re.search(r"\| .*`test_\w+`.* \|$", line) for line in lines)
