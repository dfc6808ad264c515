"""The HTML report: one self-contained file with images, tags, scores and a threshold that moves.

    with open_output(path) as stream, Sheet(heading, reading) as sheet:
        for result in results:      # scored with `widened(selection, sets)`
            sheet.add(result)
        sheet.write(stream, [Section("Measures", metrics(rows))])

The page is `page.html`, `page.css` and `page.js` of this folder, written by hand.
"""

from __future__ import annotations

from siglipcli.outputs.html.rows import narrowed, widened
from siglipcli.outputs.html.sections import Html, Section, confusion, figure, metrics, table
from siglipcli.outputs.html.sheet import THUMBS, Heading, Sheet

__all__ = ["THUMBS", "Heading", "Html", "Section", "Sheet"]
__all__ += ["confusion", "figure", "metrics", "narrowed", "table", "widened"]
