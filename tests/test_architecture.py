"""The house keeps its shape: who may import whom, how long things are, what a start imports."""

from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import siglipcli

PACKAGE = Path(siglipcli.__file__).parent
STDLIB = sys.stdlib_module_names
LIGHT = {"errors", "machine", "records", "text"}  # every room may import these

# room → what else it may import, inside functions too; a folder's rule covers its files
ALLOWED: dict[str, set[str]] = {
    "__init__": {
        "classifier", "labelsets", "pipeline", "scoring", "search", "store", "vectors",
    },
    "records": set(),
    "__main__": {"cli"},
    "errors": set(),
    "machine": {"platformdirs"},
    "text": set(),
    "labelsets": {"labelsets", "yaml"},
    "sources": set(),
    "images": {"PIL", "images", "numpy", "pillow_heif"},
    "isolation/__init__": set(),
    "isolation": {"images", "isolation", "numpy"},
    "models/__init__": {"models", "numpy"},
    "models/catalog": set(),
    "models/checkpoint": {"models", "demo", "huggingface_hub", "safetensors", "platformdirs"},
    "models/hub": {"models", "huggingface_hub", "httpx"},
    "models/weights": {"models", "safetensors"},
    "models/engines": {"models", "filelock"},
    "models/openvino_convert": {"models", "openvino", "torch"},
    "models/openvino_runtime": {"models", "numpy", "openvino"},
    "models/tokens": {"numpy", "tokenizers", "ftfy"},
    "models/torch_runtime": {"models", "numpy", "torch", "open_clip", "safetensors"},
    "scoring": {"numpy", "labelsets"},
    "search": {"numpy", "scoring"},
    "vectors": {"numpy", "pipeline", "vectors", "writers"},
    "vectors/parquet": {"numpy", "pyarrow", "vectors", "writers"},
    "ahead": set(),
    "pipeline": {"numpy", "ahead", "images", "isolation", "models", "store"},
    "store": {"numpy", "store"},
    "evaluation/__init__": {"evaluation"},
    "evaluation/data": {"numpy", "labelsets", "sources"},
    "evaluation/scored": {"numpy", "evaluation", "pipeline", "scoring"},
    "evaluation/metrics": {"numpy", "evaluation", "labelsets", "scoring", "sklearn"},
    "evaluation/plots": {"numpy", "evaluation", "matplotlib", "sklearn"},
    "evaluation/calibration": {"numpy", "evaluation", "labelsets", "scoring", "sklearn"},
    "evaluation/comparison": {"numpy", "evaluation", "labelsets", "scoring", "sklearn"},
    "evaluation/prompts": {"numpy", "evaluation", "labelsets", "scoring", "sklearn"},
    "labelsets/rewrite": {"labelsets", "ruamel"},
    "report": {"numpy", "report", "images", "isolation", "PIL", "scoring", "writers"},
    "classifier": {
        "numpy", "labelsets", "models", "pipeline", "scoring", "search", "sources", "store", "vectors",
    },
    "writers/table": {"writers", "rich"},
    "writers/sheet": {"writers", "rich"},
    "writers/ranking": {"writers", "rich"},
    "writers/matrix": {"writers", "rich"},
    "writers": {"writers"},
    "demo": set(),
    "cli": {
        "typer", "rich", "cli", "classifier", "demo", "evaluation", "images", "labelsets", "models",
        "pipeline", "report", "scoring", "search", "sources", "store", "vectors", "writers",
    },
}  # fmt: skip


def rooms() -> list[tuple[str, Path]]:
    """Every module with its name below the package: `cli/classify`."""
    return [
        (path.relative_to(PACKAGE).with_suffix("").as_posix(), path)
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def rule(name: str) -> set[str]:
    if name in ALLOWED:
        return ALLOWED[name]
    return ALLOWED[name.split("/", maxsplit=1)[0]]


def imported(tree: ast.AST) -> set[str]:
    """What a module imports, own rooms by their name: types-only imports do not count."""
    found: set[str] = set()
    for node in walk_without_types(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "siglipcli":
                found |= {f"siglipcli.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return {
        name.split(".")[1] if name.startswith("siglipcli.") else name.split(".")[0]
        for name in found
    }


def walk_without_types(node: ast.AST) -> list[ast.AST]:
    nodes = [node]
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            nodes += walk_without_types(child)
    return nodes


@pytest.mark.parametrize(("name", "path"), rooms(), ids=[name for name, _ in rooms()])
def test_a_room_imports_only_what_its_rule_allows(name: str, path: Path) -> None:
    """The import table of the house, read from the syntax tree."""
    allowed = rule(name) | LIGHT | STDLIB | {"__version__", "siglipcli"}
    assert imported(ast.parse(path.read_text(encoding="utf-8"))) <= allowed


def test_nothing_depends_on_the_command_line() -> None:
    """The library stands alone."""
    for name, path in rooms():
        if not name.startswith(("cli/", "__main__")):
            assert "cli" not in imported(ast.parse(path.read_text(encoding="utf-8"))), name


def test_functions_and_rooms_stay_small() -> None:
    """Median function at most 10 lines, none over 50 (docstrings apart), no room over 400."""
    lengths = []
    for name, path in rooms():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                doc = ast.get_docstring(node, clean=False) or ""
                length = node.end_lineno - node.lineno - doc.count("\n")
                assert length <= 50, f"{name}: {node.name}"
                lengths.append(length)
    assert statistics.median(lengths) <= 10


def modules_after(code: str) -> set[str]:
    """The modules a fresh process holds after running `code`."""
    script = f"import sys\n{code}\nimport json; print('MODULES', json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    return set(json.loads(run.stdout.rpartition("MODULES ")[2]))


def cli(*arguments: str) -> str:
    return (
        f"sys.argv = {['siglip', *arguments]!r}\n"
        "from siglipcli.cli import app\n"
        "try: app()\nexcept SystemExit as stop: assert not stop.code, stop.code"
    )


HEAVY = {"torch", "open_clip", "openvino", "timm", "torchvision", "transformers"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["classify", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    """Asking for help costs no model, no numpy, no Pillow, no Rich table."""
    loaded = modules_after(cli(*arguments))
    assert not loaded & (HEAVY | {"numpy", "PIL", "rich.table"})


def test_a_command_imports_no_other() -> None:
    """Each is imported when it is asked for: a dozen of them take a tenth of a warm run."""
    loaded = modules_after(cli("classify", "--help"))
    assert "siglipcli.cli.classify" in loaded
    assert not loaded & {f"siglipcli.cli.{name}" for name in ("evaluate", "search", "labels")}


@pytest.mark.parametrize("arguments", [["models", "list"], ["labels", "list"], ["labels", "check"]])
def test_light_commands_stay_light(arguments: list[str], tmp_path: Path) -> None:
    """Listing models and checking labels load no model library."""
    if arguments[-1] == "check":
        file = tmp_path / "a.yaml"
        file.write_text("labels: [cat, dog]\n")
        arguments = [*arguments, str(file)]
    assert not modules_after(cli(*arguments)) & (HEAVY | {"numpy", "PIL"})


def test_importing_the_library_costs_nothing() -> None:
    """`import siglipcli` loads no room; naming the classifier loads no torch."""
    assert not {m for m in modules_after("import siglipcli") if m.startswith("siglipcli.")}
    loaded = modules_after("from siglipcli import Classifier, LabelSet")
    assert not loaded & HEAVY


def test_every_public_name_is_there() -> None:
    """What `siglipcli.__all__` promises can be imported."""
    for name in siglipcli.__all__:
        assert getattr(siglipcli, name) is not None
