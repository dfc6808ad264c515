"""The architecture is kept: who may import whom, how long things are, what a start imports."""

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
LIGHT = {"errors", "machine", "results", "text"}  # every package may import these

# package or top-level module → exactly what else it imports, inside functions too
IMPORTS: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "machine": {"platformdirs"},
    "results": set(),
    "text": set(),
    "demo": set(),
    "labels": {"yaml"},
    "inputs": set(),
    "images": {"PIL", "numpy", "processes", "rawpy"},
    "encoders": {
        "demo", "files", "filelock", "ftfy", "huggingface_hub", "nncf", "numpy", "open_clip", "openvino",
        "processes", "safetensors", "tokenizers", "torch",
    },
    "files": set(),
    "processes": set(),
    "store": {"files", "numpy"},
    "digits": {"numpy"},
    "scoring": {"digits", "numpy"},
    "search": {"digits", "numpy", "scoring"},
    "prefetch": set(),
    "embeddings": {"numpy"},
    "resources": {"images"},
    "pipeline": {"embeddings", "images", "numpy", "prefetch", "resources", "store"},
    "online": {"embeddings", "images", "pipeline"},
    "session": {"encoders", "numpy", "online", "pipeline", "resources", "store"},
    "embedding_files": {"embeddings", "numpy", "outputs"},
    "evaluation": {"inputs", "labels", "matplotlib", "numpy", "pandas", "scipy", "scoring", "sklearn"},
    "outputs": {
        "PIL", "digits", "evaluation", "images", "inputs", "jinja2", "numpy", "pyarrow", "rich", "scoring",
    },
    "actions": {"files", "images", "inputs", "lxml", "processes", "store"},
    "arguments": {"PIL", "images", "inputs", "labels", "numpy", "scoring"},
    "api": {
        "arguments", "embeddings", "encoders", "numpy", "scoring", "search", "session",
    },
    "evaluating": {"arguments", "evaluation", "labels", "scoring"},
    "tuning": {"arguments", "encoders", "evaluation", "numpy", "pipeline", "scoring"},
    "diagnosis": {"demo", "encoders", "outputs"},
    "kept": {"encoders", "store"},
    "serve": {
        "anyio", "demo", "digits", "embeddings", "images", "labels", "numpy", "online", "outputs", "prometheus_client",
        "python_multipart", "scoring", "starlette", "store", "uvicorn",
    },
    "batch": {
        "api", "arguments", "embedding_files", "fsspec", "inputs", "labels", "numpy", "outputs", "pipeline", "processes", "pyarrow", "ray", "rich",
        "scoring", "terminal",
    },
    "terminal": {"rich", "typer"},
    "cli": {
        "actions", "api", "batch", "demo", "diagnosis", "embedding_files", "encoders", "evaluation", "images", "inputs", "kept", "labels", "outputs",
        "pipeline", "scoring", "search", "serve", "store", "terminal", "tuning", "typer",
    },
}  # fmt: skip


def modules() -> list[tuple[str, Path]]:
    """Every module with its name below the package: `cli/classify`."""
    return [
        (path.relative_to(PACKAGE).with_suffix("").as_posix(), path)
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def package(name: str) -> str:
    return name.split("/", maxsplit=1)[0]


def imported(tree: ast.AST) -> set[str]:
    """What a module imports, own packages by their name: types-only imports do not count."""
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


def test_each_package_imports_exactly_what_the_table_says() -> None:
    """The import table, read from the syntax trees: nothing more, and no row permits what is not used."""
    found: dict[str, set[str]] = {name: set() for name in IMPORTS}
    for name, path in modules():
        everywhere = STDLIB | LIGHT | {"__version__", "siglipcli", package(name)}
        found[package(name)] |= imported(ast.parse(path.read_text(encoding="utf-8"))) - everywhere
    assert found == IMPORTS


def test_nothing_depends_on_the_command_line() -> None:
    """The library stands alone."""
    for name, path in modules():
        if not name.startswith(("cli/", "__main__")):
            assert "cli" not in imported(ast.parse(path.read_text(encoding="utf-8"))), name


def test_functions_and_modules_stay_small() -> None:
    """Median function at most 10 lines, none over 50 (docstrings apart), no module over 450."""
    lengths = []
    for name, path in modules():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 450, name
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


def test_the_list_of_commands_imports_none_of_them() -> None:
    """`siglip --help` writes names and short helps, however many commands there are."""
    loaded = {m for m in modules_after(cli("--help")) if m.startswith("siglipcli.cli.")}
    assert loaded == {"siglipcli.cli.help", "siglipcli.cli.remedies"}


@pytest.mark.parametrize("arguments", [["models", "list"], ["labels", "list"], ["labels", "check"]])
def test_light_commands_stay_light(arguments: list[str], tmp_path: Path) -> None:
    """Listing models and checking labels load no model library."""
    if arguments[-1] == "check":
        file = tmp_path / "a.yaml"
        file.write_text("labels: [cat, dog]\n")
        arguments = [*arguments, str(file)]
    assert not modules_after(cli(*arguments)) & (HEAVY | {"numpy", "PIL"})


def test_importing_the_library_costs_nothing() -> None:
    """`import siglipcli` loads no module of it; naming the classifier loads no torch, Pillow or YAML."""
    assert not {m for m in modules_after("import siglipcli") if m.startswith("siglipcli.")}
    loaded = modules_after("from siglipcli import Classifier, LabelSet")
    assert not loaded & (HEAVY | {"PIL", "yaml"})


def test_every_public_name_is_there() -> None:
    """What `siglipcli.__all__` promises can be imported."""
    for name in siglipcli.__all__:
        assert getattr(siglipcli, name) is not None
