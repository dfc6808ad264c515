"""Mutation testing in small: change one operator or constant at a time, and see whether a test fails.

    python scripts/mutate.py siglipcli/scoring.py tests/test_scoring.py --count 40 --seed 1

Each mutant runs in a fork of a process that has the heavy libraries, with the tests of that module alone, until the
first failure. Processes that tests start run the module as it is. Mutants that survive are printed as a diff of
one line: write a test for each, or say why it is the same program.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
SECONDS = 240  # of a mutant that hangs
_IMPORTED = "ignore:Module already imported"  # Hypothesis, before pytest could rewrite its asserts

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip


def mutants(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield every node of the code that can be changed; not docstrings, annotations and type-only code."""
    skipped = {id(part) for node in ast.walk(tree) for part in _not_run(node)}
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if id(node) in skipped:
            continue
        if changed(node) is not None:
            yield node
        stack.extend(ast.iter_child_nodes(node))


def _not_run(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        yield node
    for field in ("annotation", "returns"):
        if annotation := getattr(node, field, None):
            yield annotation


def changed(node: ast.AST) -> ast.AST | None:
    """Return the node with one operator or constant changed; None where there is nothing to change."""
    new: Any = copy.copy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        new.ops = [COMPARED[type(node.ops[0])](), *node.ops[1:]]
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in COMPUTED:
        new.op = COMPUTED[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        new.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        new.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        new.value = node.value + 1
    else:
        return None
    return new


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def mutated(tree: ast.Module, node: ast.AST) -> ast.Module:
    """Return a copy of the module in which `node` is changed."""
    memo: dict[int, Any] = {}
    whole = copy.deepcopy(tree, memo)
    mine = memo[id(node)]
    new = changed(mine)
    assert new
    _Replace(mine, ast.copy_location(new, mine)).visit(whole)
    return ast.fix_missing_locations(whole)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module from a tree in place of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=self, submodule_search_locations=_below(self.path)
        )

    def exec_module(self, module: Any) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)  # noqa: S102  # the mutant


def _below(path: Path) -> list[str] | None:
    return [str(path.parent)] if path.name == "__init__.py" else None


def survives(path: Path, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Run the tests on a module's tree in a fork; True where they all pass."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sys.meta_path.insert(0, _Finder(name, path, tree))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", _IMPORTED, *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def main() -> None:
    """Draw mutants, and print those that survive."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+", help="files of tests")
    parser.add_argument("--also", default="", help="more arguments of pytest in one string")
    parser.add_argument("--count", type=int, default=40, help="mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import hypothesis
    import numpy as np
    import PIL.Image
    import yaml

    del hypothesis, np, PIL, yaml  # are there for every fork
    path = options.module.resolve()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [*options.tests, *shlex.split(options.also)]
    assert survives(path, tree, tests), "the tests fail without a mutant"
    nodes = list(mutants(tree))
    random.Random(options.seed).shuffle(nodes)
    chosen, alive = nodes[: options.count], 0
    for node in chosen:
        if survives(path, mutated(tree, node), tests):
            alive += 1
            new = changed(node)
            assert new
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            print(f"{place}: {ast.unparse(node)[:90]}  →  {ast.unparse(new)[:90]}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} killed, of {len(nodes)} possible", flush=True)


if __name__ == "__main__":
    main()
