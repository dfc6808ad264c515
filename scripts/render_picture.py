"""Write `docs/demo.svg`: the table of a real run of the demo model, as a picture for the README.

    python scripts/render_picture.py

The picture names no font and no address that a reader's browser would have to fetch, and has a
ground of its own, so that it reads the same on light and dark pages.
"""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path

from rich.cells import cell_len
from rich.terminal_theme import TerminalTheme

from siglipcli import Classifier, LabelSet, Selection, Source
from siglipcli.demo import LABELS, PICTURES
from siglipcli.writers import Header
from siglipcli.writers.table import render

__all__ = ["COMMAND", "PICTURE", "draw"]

PICTURE = Path(__file__).parent.parent / "docs" / "demo.svg"
COMMAND = "siglip classify pictures --ext jpg --labels labels.yaml --model demo --top 3"
WIDTH = 80  # columns
ENDING, TOP = ".jpg", 3  # what COMMAND says

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
<title>siglip in a terminal: each picture with its best labels, scores and bars</title>
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
_CELL = 12.2  # a character's width in Rich's pictures, in pixels


def draw() -> str:
    """Run the demo model over some of its pictures and return the table as SVG."""
    labels = LabelSet.load(LABELS)
    names = sorted(path.name for path in PICTURES.glob(f"*{ENDING}"))
    model = Classifier.load("demo", precision="fp32")  # the same figures on every processor
    inputs = [Source(f"pictures/{name}", PICTURES / name) for name in names]
    results = model.classify(inputs, labels, Selection(top=TOP))
    header = Header("demo", (labels.name,), tuple(label.path for label in labels.labels))
    console = render(results, header, width=WIDTH)
    svg = console.export_svg(theme=THEME, code_format=FORMAT, unique_id="siglip")
    return _finished(svg)


def _finished(svg: str) -> str:
    """Fill in what Rich does not know, and put every piece of text at its own place."""
    width, height = (float(side) for side in re.findall(r'SIZE="(\S+) (\S+)"', svg)[0])
    left, right, bottom = -MARGIN, width + 2 * MARGIN, height + MARGIN
    svg = re.sub(r'SIZE="[^"]*"', f'viewBox="{left} 0 {right:g} {bottom:g}"', svg)
    svg = svg.replace(
        "FRAME", f'x="{left + 1}" y="1" width="{right - 2:g}" height="{bottom - 2:g}"'
    )
    svg = svg.replace("COMMAND", escape(COMMAND))
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
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
