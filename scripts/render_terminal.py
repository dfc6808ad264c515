"""Write the images of the docs: real runs of the demo model in a terminal, as SVG in `docs`.

    python scripts/render_terminal.py            # all
    python scripts/render_terminal.py compare    # those named

The images name no font and no address that a reader's browser would have to fetch, and have a
ground of their own, so that they read the same on light and dark pages.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import render_pages
from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

__all__ = ["IMAGES", "Image", "draw", "shortened"]

DOCS = Path(__file__).parent.parent / "docs"
WIDTH = 80  # columns
KNOWN = "python draw.py"  # makes the walkthrough's folder of drawings whose labels are known


@dataclass(frozen=True)
class Image:
    """A command and what it prints, run in the walkthrough's folder after `before`.

    Of a long output only the first `lines` are shown, and that more follow.
    """

    name: str
    title: str
    command: str
    before: str = ""
    lines: int | None = None

    @property
    def path(self) -> Path:
        """Where the image is."""
        return DOCS / f"{self.name}.svg"


IMAGES = (
    Image(
        "demo",
        "siglip classify in a terminal: each image with its best labels, scores and bars",
        "siglip classify images --ext jpg --labels labels.yaml --model demo --top 3",
    ),
    Image(
        "evaluate",
        "siglip evaluate in a terminal: accuracy, average precision and F1, label by label",
        "siglip evaluate known --labels shapes.yaml",
        KNOWN,
        lines=28,
    ),
    Image(
        "calibrate",
        "siglip calibrate in a terminal: each label's threshold and F1, before and after",
        "siglip calibrate known --labels shapes.yaml --output calibrated.yaml",
        KNOWN,
    ),
    Image(
        "compare",
        "siglip compare in a terminal: two label sets, their difference and its interval",
        "siglip compare known --labels shapes.yaml --labels plain.yaml",
        KNOWN,
    ),
    Image(
        "prompts",
        "siglip prompts in a terminal: each template and prompt, and whether it helps",
        "siglip prompts known --labels shapes.yaml",
        KNOWN,
        lines=18,
    ),
    Image(
        "tag",
        "siglip tag with --dry-run in a terminal: each image, and the keyword it would get",
        "siglip tag images --labels labels.yaml --dry-run",
    ),
    Image(
        "tag-remove",
        "siglip tag with --remove in a terminal: each image, and the keyword that was removed",
        "siglip tag images --remove",
        "siglip tag images --labels labels.yaml",
    ),
)

MARGIN = 14  # pixels
GROUND, INK, EDGE = "#0d1117", "#e6edf3", "#3d444d"
THEME = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    # black, red, green, yellow, blue, magenta, cyan, white
    [
        *((72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (57, 197, 207), (177, 186, 196)),
    ],
)
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

# Rich fills this in. Its own frame has buttons and a title; here the command takes their place.
FORMAT = f"""\
<svg xmlns="http://www.w3.org/2000/svg" SIZE="{{width}} {{height}}" role="img">
<title>TITLE</title>
<style>
.{{unique_id}}-matrix, .{{unique_id}}-command {{{{ font-family: {FONTS}; font-size: {{char_height}}px; }}}}
.{{unique_id}}-command {{{{ fill: {INK} }}}}
{{styles}}
</style>
<rect FRAME rx="8" fill="{GROUND}" stroke="{EDGE}"/>
<text class="{{unique_id}}-command" x="{{terminal_x}}" y="30">$ COMMAND</text>
<g class="{{unique_id}}-matrix" transform="translate({{terminal_x}}, {{terminal_y}})">
{{matrix}}
</g>
</svg>
"""

_TEXT = re.compile(r'<text class="(\S+)" x="(\S+)" y="(\S+)" [^>]*>([^<]*)</text>')
_WORDS = re.compile(r"\S+(?: \S+)*")
_CELL = 12.2  # a character's width in Rich's images, in pixels


def draw(image: Image) -> str:
    """Run the image's command and return what the terminal shows as SVG."""
    shown = shortened(_run(image), image.lines)
    console = Console(file=io.StringIO(), record=True, width=WIDTH, color_system="truecolor")
    console.print(Text.from_ansi(shown), soft_wrap=True)
    svg = console.export_svg(theme=THEME, code_format=FORMAT, unique_id="siglip")
    return _finished(svg, image)


def _run(image: Image) -> str:
    """Return what the command writes on a terminal, with its colours."""
    markdown = (render_pages.ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = render_pages.sandbox(Path(name, "demo"), markdown)
        variables = render_pages.environment(Path(name, "cache"))
        del variables["NO_COLOR"]
        variables["TERM"] = "xterm-256color"
        if image.before:
            render_pages.capture(image.before, folder, variables)
        written = render_pages.capture(image.command, folder, variables)
    return "\n".join(line.rstrip() for line in written.splitlines()).strip("\n")


def shortened(text: str, lines: int | None) -> str:
    """Cut a text after so many lines, and say so by a line `…`."""
    every = text.splitlines()
    if lines is None or len(every) <= lines:
        return text
    return "\n".join([*every[:lines], render_pages.MORE])


def _finished(svg: str, image: Image) -> str:
    """Fill in what Rich does not know, and put every piece of text at its own place."""
    width, height = (float(side) for side in re.findall(r'SIZE="(\S+) (\S+)"', svg)[0])
    left, right, bottom = -MARGIN, width + 2 * MARGIN, height + MARGIN
    svg = re.sub(r'SIZE="[^"]*"', f'viewBox="{left} 0 {right:g} {bottom:g}"', svg)
    svg = svg.replace(
        "FRAME", f'x="{left + 1}" y="1" width="{right - 2:g}" height="{bottom - 2:g}"'
    )
    svg = svg.replace("TITLE", escape(image.title)).replace("COMMAND", escape(image.command))
    return "".join(f"{line}\n" for line in _TEXT.sub(_pieces, svg).splitlines() if line.strip())


def _pieces(found: re.Match[str]) -> str:
    """Return the shapes of one run of cells: viewers drop blanks, and fonts leave gaps in bars."""
    style, x, y, content = found.groups()
    text = unescape(content).replace("\xa0", " ")
    return "".join(
        f"{_shape(style, float(x) + cell_len(text[: at.start()]) * _CELL, float(y), at.group())}\n"
        for at in _WORDS.finditer(text)
    )


def _shape(style: str, x: float, y: float, text: str) -> str:
    if text.strip("━╸"):
        width = cell_len(text) * _CELL
        place = f'x="{x:.1f}" y="{y:.1f}" textLength="{width:.1f}"'
        return f'<text class="{style}" {place}>{escape(text)}</text>'
    width = (text.count("━") + text.count("╸") / 2) * _CELL
    return f'<rect class="{style}" x="{x:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="4"/>'


def main() -> None:
    """Write the images, all or those that are named."""
    named = sys.argv[1:] or [image.name for image in IMAGES]
    for image in IMAGES:
        if image.name in named:
            image.path.write_text(draw(image), encoding="utf-8")
            print(f"wrote {image.path}")


if __name__ == "__main__":
    main()
