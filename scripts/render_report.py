"""Take the docs' images of the HTML report, in headless Chromium, from the walkthrough's own drawings.

    python scripts/render_report.py

`docs/report.png` and `docs/report-dark.png` show the images of `siglip classify --report`,
`docs/report-measures.png` the curves of `siglip evaluate --report`. Chromium and chromedriver are
needed, as for the tests of the report. Another Chromium draws letters a little differently, so these
files are not compared with anything: look at them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import render_pages
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import chromium, colours, size

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["IMAGES", "PAGES"]

DOCS = Path(__file__).parent.parent / "docs"
IMAGES = ("report", "report-dark", "report-measures")
PAGES = {
    "sheet.html": "siglip classify drawings --labels calibrated.yaml --report sheet.html",
    "measures.html": "siglip evaluate known --labels shapes.yaml --report measures.html",
}
_BEFORE = (
    "python draw.py",
    "siglip calibrate known --labels shapes.yaml -o calibrated.yaml",
    # one folder, so that those of a class do not stand together
    """mkdir drawings; for i in known/*/*.png; do
    cp "$i" "drawings/$(basename "$i" .png)-$(basename "$(dirname "$i")").png"; done""",
)
_MOST_BYTES = 200 * 1024
_READY = """
const done = arguments[0];
const shown = [...document.querySelectorAll("#grid img")].filter(
  each => each.getBoundingClientRect().top < innerHeight);
Promise.all(shown.map(each => each.decode().catch(() => 0)))
  .then(() => requestAnimationFrame(() => requestAnimationFrame(done)));
"""


def main() -> None:
    """Make the pages and take the images."""
    with tempfile.TemporaryDirectory() as name:
        folder = _pages(Path(name))
        with chromium(Path(name, "profile")) as chrome:
            size(chrome, 1280, 800)
            for image, scheme in (("report", "light"), ("report-dark", "dark")):
                colours(chrome, scheme)
                chrome.get((folder / "sheet.html").as_uri())
                _take(chrome, image)
            colours(chrome, "light")
            size(chrome, 960, 660)
            chrome.get((folder / "measures.html").as_uri())
            _scroll_to(chrome, "Precision and recall")
            _take(chrome, "report-measures")


def _pages(folder: Path) -> Path:
    """Make the reports in a folder like the walkthrough's, and return it."""
    markdown = (render_pages.ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    readers = render_pages.sandbox(folder / "demo", markdown)
    for command in (*_BEFORE, *PAGES.values()):
        render_pages.run(command, readers, folder / "cache")
    return readers


def _scroll_to(chrome: Chrome, title: str) -> None:
    chrome.execute_script(
        "[...document.querySelectorAll('h2')].find(each => each.textContent === arguments[0])"
        ".scrollIntoView()",
        title,
    )


def _take(chrome: Chrome, name: str) -> None:
    """Save what the window shows, in so few colours that a page loads it soon."""
    path = DOCS / f"{name}.png"
    chrome.execute_async_script(_READY)
    chrome.save_screenshot(str(path))
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    if path.stat().st_size > _MOST_BYTES:
        raise RuntimeError(f"{path} has {path.stat().st_size:,} bytes; {_MOST_BYTES:,} are allowed")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
