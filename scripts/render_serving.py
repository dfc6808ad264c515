"""Refresh what pages show of the server: the outputs of their requests, and the image of its page.

    python scripts/render_serving.py            # write docs/serving.md and README.md again, and docs/serve.png
    python scripts/render_serving.py --check    # say what is stale; status 1 if anything is

A block marked `shell-session` holds commands (`$ …`) and what they print; one marked `python` that names the server's
address is a program, and the `text` block after it what it prints. They are run in a copy of the demo's folder,
against `siglip serve --model demo --labels labels.yaml` on a free port in place of 8000. What counts as the same
output is as in render_pages.py. The image needs Chromium and chromedriver, and is not compared: look at it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import render_pages

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["ADDRESS", "ARGUMENTS", "PAGES", "Example", "examples", "output"]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "docs" / "serving.md", ROOT / "README.md"]
ADDRESS = "http://127.0.0.1:8000"
ARGUMENTS = ("--labels", "labels.yaml")
LABELS = (
    "blue heart",
    "a heart",
    "blue circle",
    "red circle",
    "yellow bolt",
    "green star",
    "white cross",
)
_SESSION = re.compile(r"^```shell-session\n\$ (.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_PROGRAM = re.compile(r"^```python\n((?:.*\n)*?)```\n\n```text\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A command or a Python program, the output that the page shows, and where that is in the page."""

    source: str
    shown: str
    start: int
    is_python: bool

    @property
    def title(self) -> str:
        """The line that tells it from others."""
        lines = [line for line in self.source.splitlines() if "import" not in line and line.strip()]
        return lines[-1].strip()[:50]


def examples(markdown: str) -> list[Example]:
    """Return the examples of a page that need the server, in their order."""
    found = [
        Example(match[1], match[2], match.start(2), pattern is _PROGRAM)
        for pattern in (_SESSION, _PROGRAM)
        for match in pattern.finditer(markdown)
    ]
    return sorted((each for each in found if ADDRESS in each.source), key=lambda each: each.start)


def output(example: Example, url: str, folder: Path) -> str:
    """Run an example against the server at `url`; return what it prints."""
    source = example.source.replace(ADDRESS, url)
    command = [sys.executable, "-c", source] if example.is_python else ["/bin/sh", "-c", source]
    done = subprocess.run(  # noqa: S603  # our own pages
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout or done.stderr


def main() -> int:
    """Refresh the pages, or check them."""
    from serve_fixture import Server

    check, stale = "--check" in sys.argv[1:], 0
    with tempfile.TemporaryDirectory() as name:
        folder = render_pages.sandbox(Path(name, "demo"), "")
        with Server(folder, ARGUMENTS) as server:
            for page in PAGES:
                stale += _refresh(page, server.url, folder, check=check)
            if not check:
                _picture(server.url, folder)
    return int(check and stale > 0)


def _refresh(page: Path, url: str, folder: Path, *, check: bool) -> int:
    """Write a page's outputs again; return how many were stale."""
    markdown, stale = page.read_text(encoding="utf-8"), 0
    for example in reversed(examples(markdown)):
        got = output(example, url, folder)
        if render_pages.same(example.shown, got):
            continue
        print(f"{page.name}: {example.title}\n{got}")
        stale += 1
        end = example.start + len(example.shown)
        markdown = markdown[: example.start] + got + markdown[end:]
    if not check:
        page.write_text(markdown, encoding="utf-8")
    return stale


def _picture(url: str, folder: Path) -> None:
    """Take the image of the server's page."""
    from browser import chromium, colours, size
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as chrome:
        size(chrome, 1180, 612)
        colours(chrome, "light")
        chrome.get(f"{url}/")
        chrome.find_element(By.ID, "file").send_keys(str(folder / "images" / "blue-heart.jpg"))
        chrome.find_element(By.ID, "labels").send_keys("\n".join(LABELS))
        WebDriverWait(chrome, 30).until(lambda _: _is_scored(chrome))
        chrome.execute_script(
            "document.activeElement.blur(); document.getElementById('took').textContent = ''"
        )
        chrome.save_screenshot(str(ROOT / "docs" / "serve.png"))


def _is_scored(chrome: Chrome) -> Any:
    count = "return document.querySelectorAll('#tables tbody tr').length"
    return chrome.execute_script(count) == len(LABELS)


if __name__ == "__main__":
    sys.exit(main())
