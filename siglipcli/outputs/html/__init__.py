"""The HTML report: one self-contained file with images, tags, scores and a threshold that moves.

    header = ReportHeader(
        "demo", title="photos", label_sets=[label_set], load_options=classifier.load_options
    )
    with outputs.opened("html", path, header) as sink:
        for result in classifier.classify(images, label_set, widened(header.scoring, [label_set])):
            sink.write(result)

The page is `page.html`, `parts.html` (Jinja2), `theme.css`, `page.css`, `page.js` and `review.js` of this folder.
"""

from __future__ import annotations

from siglipcli.outputs.html.report import IMAGES, THUMBS, ReportHeader, ReportSink, title
from siglipcli.outputs.html.rows import narrowed, widened
from siglipcli.outputs.html.sections import Section, confusion, figure, metrics, table
from siglipcli.outputs.html.templates import Html

__all__ = ["IMAGES", "THUMBS", "Html", "ReportHeader", "ReportSink", "Section"]
__all__ += ["confusion", "figure", "metrics", "narrowed", "table", "title", "widened"]
