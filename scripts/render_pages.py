r"""Refresh what README and docs show: the outputs of their commands, and the tables made from the program.

    python scripts/render_pages.py            # write README.md and docs/*.md again
    python scripts/render_pages.py --check    # say what is stale; status 1 if anything is

How a page is read:

- A block marked `console` holds commands (`$ …`, continued by `> …`) and what they print. Each
  block is run in a fresh copy of the demo's folder (`images`, `labels.yaml`), with the demo model
  in fp32, on a terminal of 80 columns. Shown is what goes to stdout; where a command fails without
  a word there, what goes to stderr. A last line `…` says that more follows; a refresh keeps the
  number of lines above it.
- Any other block whose first line is a comment with a file's name (`# pets.yaml`) is written to that
  file before the commands are run.
- `<!-- made: NAME -->` … `<!-- end -->` holds what the function in `TABLES` returns.

Two outputs are the same when their words are and each number with a decimal point, an exponent or
a percent sign is within 0.02, or 2 % of itself, of the other; blanks and bars do not count.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "PAGES",
    "ROOT",
    "TABLES",
    "Block",
    "Step",
    "blocks",
    "capture",
    "environment",
    "made_parts",
    "named_files",
    "refreshed",
    "run",
    "same",
    "sandbox",
    "steps",
    "words_of",
]

ROOT = Path(__file__).parent.parent
_GENERATED = {"reference.md", "python-api.md"}  # by other scripts
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in _GENERATED),
]
WIDTH = 80
MORE = "…"
TOLERANCE = 0.02

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MADE = re.compile(r"(<!-- made: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_FILE = re.compile(r"# ([\w.-]+\.\w+)\n")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BAR = re.compile("[━╸]+")
_NUMBER = re.compile(r"(?<![\w.])([<>]?)(-?\d+(?:\.\d+)?(?:e-?\d+)?)(%?)(?![\w.])")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text without the fences, and where the text begins."""

    language: str
    text: str
    start: int

    @property
    def commands(self) -> list[str]:
        """The commands of a `console` block."""
        return [step.command for step in steps(self.text)]


@dataclass(frozen=True)
class Step:
    """A command, and the output shown below it."""

    command: str
    output: str


def blocks(markdown: str, language: str | None = None) -> list[Block]:
    """Return the fenced blocks, or those of one language."""
    found = [Block(at[1], at[2], at.start(2)) for at in _BLOCK.finditer(markdown)]
    return [block for block in found if language in (None, block.language)]


def steps(text: str) -> list[Step]:
    """Cut a `console` block's text into commands and outputs."""
    commands: list[list[str]] = []
    outputs: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append([line[2:]])
            outputs.append([])
        elif line.startswith("> ") and not outputs[-1]:
            commands[-1].append(line[2:])
        else:
            outputs[-1].append(line)
    pairs = zip(commands, outputs, strict=True)
    return [Step("\n".join(command), "\n".join(output)) for command, output in pairs]


def named_files(markdown: str) -> dict[str, str]:
    """Return the files that blocks stand for: name → content."""
    others = [block for block in blocks(markdown) if block.language != "console"]
    named = [(_FILE.match(block.text), block.text) for block in others]
    return {found[1]: text for found, text in named if found}


def sandbox(folder: Path, markdown: str) -> Path:
    """Make a folder like the demo's, with the page's own files in it, and return it."""
    from siglipcli.demo import IMAGES, LABELS

    shutil.copytree(IMAGES, folder / "images")
    shutil.copy(LABELS, folder / LABELS.name)
    for name, content in named_files(markdown).items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def environment(cache: Path) -> dict[str, str]:
    """Return the variables that commands run with: `cache` keeps the engine from run to run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SIGLIP_CACHE_DIR": str(cache / "siglip"),
        "XDG_CACHE_HOME": str(cache),  # for the library, which reads no variable of ours
        "SIGLIP_MODEL": "demo",
        "SIGLIP_PRECISION": "fp32",  # bf16, where there is any, moves the third digit
        "HF_HOME": str(cache / "no-hub"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": str(WIDTH),
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def run(command: str, folder: Path, cache: Path) -> str:
    """Run a command line as on a terminal and return what it shows, without its colours."""
    return _plain(capture(command, folder, environment(cache)))


def capture(command: str, folder: Path, variables: dict[str, str]) -> str:
    """Run a command line as on a terminal and return what is written there, colours and all."""
    import pty

    terminal, its_end = pty.openpty()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  # our own pages
            ["/bin/sh", "-c", command],
            cwd=folder, env=variables,
            stdin=subprocess.DEVNULL, stdout=its_end, stderr=errors,
        )  # fmt: skip
        os.close(its_end)
        shown = b"".join(_read(terminal))
        failed = process.wait() != 0
        errors.seek(0)
        said = errors.read() if failed and not shown else shown
    return said.decode()


def _read(terminal: int) -> Iterator[bytes]:
    """Give what is written to a terminal until its last writer is gone."""
    with open(terminal, "rb", buffering=0) as stream:
        while True:
            try:
                data = stream.read(1 << 16)
            except OSError:  # how Linux says that it has ended
                return
            if not data:
                return
            yield data


def _plain(text: str) -> str:
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def same(shown: str, got: str) -> bool:
    """Compare two outputs as the module's text says."""
    lines = got.splitlines()
    if shown.splitlines()[-1:] == [MORE]:
        count = len(shown.splitlines()) - 1
        return len(lines) > count and same(shown[: -len(MORE)].rstrip("\n"), _head(got, count))
    words, numbers = _taken_apart(shown)
    other_words, other_numbers = _taken_apart(got)
    return words == other_words and all(
        abs(a - b) <= TOLERANCE + TOLERANCE * abs(b)
        for a, b in zip(numbers, other_numbers, strict=True)
    )


def _head(text: str, count: int) -> str:
    return "\n".join(text.splitlines()[:count])


def _taken_apart(text: str) -> tuple[str, list[float]]:
    """Return a text with its inexact numbers, bars and widths left out, and these numbers."""
    numbers: list[float] = []

    def take(found: re.Match[str]) -> str:
        _, number, percent = found.groups()
        if not percent and number.lstrip("-").isdecimal():
            return found[0]  # a count: it must be equal
        numbers.append(float(number) / (100 if percent else 1))
        return "#"

    lines = [_NUMBER.sub(take, _BAR.sub("", line)) for line in text.splitlines()]
    return "\n".join(" ".join(line.split()) for line in lines), numbers


# ------------------------------------------------------------------------ what is made


def _label_sets() -> str:
    from siglipcli import LabelSet
    from siglipcli.labels import builtin_names

    sets = [LabelSet.load(name) for name in builtin_names()]
    rows = [f"| `{one.name}` | {len(one.labels):,} | {one.description} |\n" for one in sets]
    return "| set | labels | what for |\n|---|---|---|\n" + "".join(rows)


def _models() -> str:
    from siglipcli.encoders.catalog import CATALOG, DEFAULT
    from siglipcli.encoders.facts import speed_facts
    from siglipcli.encoders.speeds import Speeds

    speeds = Speeds.read()
    titles = ["model", "pixels", "parameters (M)", "download (GB)", "ImageNet"]
    has_int8 = any("int8" in figures for figures in speeds.towers.values())
    titles += ["images/s", *(["at int8"] if has_int8 else []), "MB"] if speeds.towers else []
    rows = []
    for one in CATALOG.values():
        speed = speed_facts(speeds.of(one))
        cells = {
            "model": f"`{one.name}`{' (default)' if one.name == DEFAULT else ''}",
            "pixels": f"{one.image_size}",
            "parameters (M)": f"{one.parameters:,.0f}",
            "download (GB)": f"{one.download_mb / 1000:.1f}",
            "ImageNet": _or_dash(one.imagenet, ".1f"),
            "images/s": _or_dash(speed["images_per_second"], ".3g"),
            "at int8": _or_dash(speed["int8_images_per_second"], ".3g"),
            "MB": _or_dash(speed["peak_mb"], ",.0f"),
        }
        shown = [*(cells[title] for title in titles), "many" if one.multilingual else "English"]
        rows.append(f"| {' | '.join(shown)} |\n")
    head = f"| {' | '.join([*titles, 'languages'])} |\n|---{'|---:' * (len(titles) - 1)}|---|\n"
    measured = f"\n*images/s* and *MB* (peak memory): on {speeds.machine}, at the precision that it takes by itself.\n"
    return head + "".join(rows) + (measured if speeds.towers else "")


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


TABLES: dict[str, Callable[[], str]] = {"label-sets": _label_sets, "models": _models}


def made_parts(markdown: str) -> dict[str, str]:
    """Return the parts that are made: name → content as it is in the text."""
    return {found[2]: found[3] for found in _MADE.finditer(markdown)}


# ------------------------------------------------------------------------------ refresh


def refreshed(markdown: str, *, keep_same: bool = False) -> str:
    """Return the text with every output and every made part as it is now.

    With `keep_same` an output that is the same but for its last digits stays as it was.
    """
    markdown = _MADE.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], markdown)
    files = markdown
    if not blocks(markdown, "console"):
        return markdown
    with tempfile.TemporaryDirectory() as cache:
        _warm_up(files, Path(cache))
        for block in reversed(blocks(markdown, "console")):
            text = _run_block(block, files, Path(cache), keep_same)
            end = block.start + len(block.text)
            markdown = markdown[: block.start] + text + markdown[end:]
    return markdown


def _warm_up(markdown: str, cache: Path) -> None:
    """Prepare the engine once, so that no output holds the line that says so."""
    with tempfile.TemporaryDirectory() as folder:
        run("siglip classify images -L circle", sandbox(Path(folder), markdown), cache)


def _run_block(block: Block, markdown: str, cache: Path, keep_same: bool) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = sandbox(Path(name), markdown)
        return "".join(_run_step(step, folder, cache, keep_same) for step in steps(block.text))


def _run_step(step: Step, folder: Path, cache: Path, keep_same: bool) -> str:
    got = run(step.command, folder, cache)
    output = step.output if keep_same and same(step.output, got) else _cut(got, step.output)
    command = "$ " + step.command.replace("\n", "\n> ")
    return "\n".join([command, *([output] if output else []), ""])


def _cut(got: str, shown: str) -> str:
    lines = shown.splitlines()
    if lines[-1:] != [MORE]:
        return got
    return f"{_head(got, len(lines) - 1)}\n{MORE}"


def words_of(command: str) -> list[list[str]]:
    """Return the calls of siglip in a shell command line, each as its arguments."""
    import shlex

    command = re.sub(r"\s#.*$", "", command.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    calls: list[list[str]] = []
    inside = False
    for word in lexer:
        if set(word) <= set("|&;<>()\n"):
            inside = False
        elif word == "siglip":
            calls.append([])
            inside = True
        elif inside:
            calls[-1].append(word)
    return calls


def main() -> int:
    """Refresh the pages, or check them."""
    check, stale = "--check" in sys.argv[1:], []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = refreshed(text, keep_same=True)
        if new != text:
            stale.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
    done = "stale: run `make docs`" if check else "written"
    print(f"{', '.join(stale)}: {done}" if stale else "every page is up to date")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
