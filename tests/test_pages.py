"""README and docs are true: their commands run, outputs are real, tables are the program's own."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import render_pages
import render_terminal
from render_reference import commands
from settings import with_engine
from typer.main import get_command

from siglipcli import images, labels, outputs, scoring
from siglipcli.cli import app
from siglipcli.encoders.catalog import DEFAULT
from siglipcli.evaluation import metrics
from siglipcli.labels import schema
from siglipcli.terminal.status import ExitStatus

ROOT = Path(__file__).parent.parent
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in render_pages.PAGES
}
README = PAGES["README.md"]
EVERYTHING = "\n".join(PAGES.values())
CONSOLE = [
    (page, block) for page, text in PAGES.items() for block in render_pages.blocks(text, "console")
]
CALLS = [
    call
    for text in PAGES.values()
    for block in render_pages.blocks(text)
    if block.language in {"sh", "console"}
    for line in (block.commands if block.language == "console" else [block.text])
    for call in render_pages.words_of(line)
]
MADE = [(page, name) for page, text in PAGES.items() for name in render_pages.made_parts(text)]
MOST_WORDS = 1_800
with_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A cache with the demo's engine in it, so that no command says that it prepares one."""
    cache = tmp_path_factory.mktemp("cache")
    with_engine(prepared, cache)
    return cache


@with_terminal
@pytest.mark.parametrize(
    ("page", "block"),
    CONSOLE,
    ids=[f"{page}: {block.commands[-1][:40]}" for page, block in CONSOLE],
)
def test_a_command_prints_what_is_shown_below_it(
    page: str, block: render_pages.Block, cache: Path, tmp_path: Path
) -> None:
    """A reader who types a command of a page in the demo's folder sees the output that it shows."""
    if "jq " in block.text and not shutil.which("jq"):
        pytest.skip("jq is not installed")
    folder = render_pages.sandbox(tmp_path / "demo", PAGES[page])
    for step in render_pages.steps(block.text):
        got = render_pages.run(step.command, folder, cache)
        assert render_pages.same(step.output, got), (
            f"`make docs` refreshes this. $ {step.command}\n{got}"
        )


@with_terminal
@pytest.mark.parametrize("image", render_terminal.IMAGES, ids=lambda each: each.name)
def test_an_image_shows_a_real_run(
    image: render_terminal.Image, cache: Path, tmp_path: Path
) -> None:
    """An image's text is what its own command prints, but for blank lines."""
    folder = render_pages.sandbox(tmp_path / "demo", PAGES["docs/walkthrough.md"])
    if image.before:
        render_pages.run(image.before, folder, cache)
    got = render_pages.run(image.command, folder, cache)
    command, *lines = text_of(image)
    assert command == f"$ {image.command}"
    cut = render_terminal.shortened(got, image.lines)
    shown, got = ("\n".join(line for line in text.splitlines() if line) for text in (cut, got))
    assert render_pages.same("\n".join(lines), shown), f"`make docs` refreshes this\n{got}"


def text_of(image: render_terminal.Image) -> list[str]:
    """The lines of an image, top to bottom: its pieces joined by blanks."""
    root = ET.fromstring(image.path.read_bytes())
    space = "{http://www.w3.org/2000/svg}"
    command = "".join(each.text or "" for each in root.findall(f"{space}text"))
    lines: dict[str, list[str]] = {}
    for piece in root.iterfind(f"{space}g/{space}text"):
        lines.setdefault(piece.attrib["y"], []).append(piece.text or "")
    return [command, *(" ".join(pieces) for pieces in lines.values())]


def test_every_image_is_shown_and_said() -> None:
    """Each image in docs is on a page, with a text for those who cannot see it, and is small."""
    shown = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", EVERYTHING)
    shown += re.findall(r'<img alt="([^"]+)" src="([^"]+)">', EVERYTHING)
    shown += [("dark", name) for name in re.findall(r'srcset="([^"]+)"', EVERYTHING)]
    files = [each for each in (ROOT / "docs").iterdir() if each.suffix in {".png", ".svg"}]
    assert {Path(name).name for _, name in shown} == {each.name for each in files}
    assert all(each.stat().st_size <= 200 * 1024 for each in files)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_command_is_one_that_the_program_takes(
    call: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that need a network or a big model are not run here, but their options exist."""
    monkeypatch.delenv("SIGLIP_MODEL", raising=False)
    command, name, rest = get_command(app), "siglip", call
    while rest and rest[0] in getattr(command, "commands", {}):
        name, *rest = rest
        command = command.commands[name]
    if not getattr(command, "commands", None):
        assert command.make_context(name, rest).params
    else:
        known = {option for parameter in command.params for option in parameter.opts}
        assert rest
        assert set(rest) <= known


def test_label_sets_on_the_page_are_valid_but_for_the_wrong_one() -> None:
    """A reader who copies a label set gets one that the program takes."""
    for text in PAGES.values():
        for name, content in render_pages.named_files(text).items():
            if name.endswith(".yaml"):
                label_set, complaints = labels.examine(content, name)
                assert (label_set is None) == (name == "wrong.yaml"), complaints


@pytest.mark.parametrize(("page", "name"), MADE)
def test_tables_made_from_the_program_are_fresh(page: str, name: str) -> None:
    """The lists of models and label sets are those of this version; `make docs` refreshes them."""
    assert render_pages.made_parts(PAGES[page])[name] == render_pages.TABLES[name]()


def test_every_table_is_on_a_page() -> None:
    """No made table is forgotten."""
    assert {name for _, name in MADE} == set(render_pages.TABLES)


def test_the_readme_is_for_a_first_visit() -> None:
    """It stays short: the rest is in docs, each page of which the README or the index links."""
    assert len(README.split()) <= MOST_WORDS
    index = PAGES["docs/README.md"]
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_every_command_is_on_the_page() -> None:
    """A reader meets each command at least once."""
    for words, command in commands():
        if not getattr(command, "commands", None):
            assert f"siglip {' '.join(words)}" in EVERYTHING


def rows(title: str) -> list[list[str]]:
    """The cells of the table whose first heading is `title`."""
    table = re.search(rf"^\| {title} \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", EVERYTHING, re.MULTILINE)
    assert table, title
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()
    ]


def codes(text: str) -> list[str]:
    return re.findall("`([^`]+)`", text)


def test_exit_statuses_are_all_explained() -> None:
    """The table of exit statuses has those that scripts may rely on, and no other."""
    assert [int(row[0].strip("| ")) for row in rows("status")] == [int(each) for each in ExitStatus]


def test_error_kinds_are_all_explained() -> None:
    """Each `error.kind` that the program can answer is in the table, and nothing else is."""
    explained = [kind for row in rows("kind") for kind in codes(row[0])]
    assert sorted(explained) == sorted(kinds_in_the_code())


def kinds_in_the_code() -> set[str]:
    """Read the kinds off the calls of `ImageError`, `_RefusedError` (kind first) and `Failure` (kind second)."""
    found = set()
    for path in (ROOT / "siglipcli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = {"ImageError": 0, "_RefusedError": 0, "Failure": 1}.get(node.func.id)
                kind = node.args[at] if at is not None and len(node.args) > at else None
                if isinstance(kind, ast.Constant):
                    found.add(str(kind.value))
    return found


def test_the_keys_of_a_label_set_are_all_explained() -> None:
    """The two tables of the YAML form have every key that is read, and no other."""
    assert [codes(row[0])[0] for row in rows("key of the set")] == schema._SET_KEYS
    assert [codes(row[0])[0] for row in rows("key of a label")] == schema._LABEL_KEYS


def test_the_fields_of_an_answer_are_all_explained() -> None:
    """Each key of the JSON that the page shows is in the table of fields."""
    shown = next(block.text for _, block in CONSOLE if "jq ." in block.text)
    answer = json.loads(shown[shown.index("{") :])
    explained = {field for row in rows("field") for field in codes(row[0])}
    assert explained == {*answer, *answer["labels"][0]}


def test_defaults_are_the_program_s_own() -> None:
    """Threshold, number of labels and model are given as they are in the code."""
    assert f"else the set's, else {scoring.DEFAULT_THRESHOLD}." in EVERYTHING
    assert f"(the default is {scoring.ScoringOptions().top})" in EVERYTHING
    assert f"default model, `{DEFAULT}`" in EVERYTHING
    assert f"(default {images.Limits().max_megapixels:g})" in EVERYTHING


def test_extras_are_all_explained() -> None:
    """Each extra that can be installed is in the table of extras, and no other."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.search(r"\[project\.optional-dependencies\]\n((?:\w.*\n)+)", project)
    assert extras
    named = [codes(row[0])[0] for row in rows("extra")]
    assert named == re.findall(r"^(\w+) =", extras[1], re.MULTILINE)


def test_the_measures_are_all_explained() -> None:
    """The page on evaluating names each measure of the whole set that JSON has, but parts of others."""
    page = (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8")
    parts = {"images", "labels", "confused", "reliability", "macro_precision", "macro_recall"}
    parts |= {"micro_precision", "micro_recall"}
    measures = {each.name for each in dataclasses.fields(metrics.Measures)} - parts
    explained = re.findall(r"^\| [^|]+ \| `(\w+)` \|", page, re.MULTILINE)
    assert set(explained) == measures


def test_formats_that_are_read_and_written_are_named() -> None:
    """The page names each image format that is read and each answer format that is written."""
    names = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}
    for name in images.FORMATS:
        assert names.get(name, name) in EVERYTHING
    for name in outputs.names():
        assert f"`{name}`" in EVERYTHING


def test_links_lead_somewhere() -> None:
    """Each link inside the project names a file that is there, and a heading that is in it."""
    for page in [*render_pages.PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
            file, _, heading = target.partition("#")
            there = page.parent / file if file else page
            assert there.is_file(), target
            assert not heading or heading in anchors(there)


def anchors(page: Path) -> set[str]:
    """What links may name in a page: its headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("shown", "got", "equal"),
    [
        ("cat  0.4120  ━━━━  97%", "cat 0.4190 ━━━╸ 96%", True),
        ("cat  9.7e-4  <1%", "cat  0.0010  <1%", True),
        ("cat 0.41", "cat 0.51", False),
        ("cat 0.41", "dog 0.41", False),
        ("8 answered", "7 answered", False),
        ("first\n…", "first\nsecond", True),
        ("first\n…", "first", False),
        ('"logit": -8.4, "tag": true', '"logit": -8.5, "tag": true', True),
        ('"logit": -8.4, "tag": true', '"logit": -8.4, "tag": false', False),
    ],
)
def test_outputs_are_compared_as_documented(shown: str, got: str, equal: bool) -> None:
    """Last digits and bars may differ from machine to machine; words, order and counts may not."""
    assert render_pages.same(shown, got) is equal
