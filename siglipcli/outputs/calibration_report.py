"""What `siglip calibrate` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglipcli.evaluation.certify import fewest_right
from siglipcli.outputs.bootstrap_report import number, write_json
from siglipcli.outputs.documents import failed
from siglipcli.outputs.output import open_output
from siglipcli.outputs.plain_table import console_on, plain_table
from siglipcli.text import named, utf8, visible

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import Console
    from rich.table import Table

    from siglipcli.evaluation.calibration import Calibration, LabelFit, Quality
    from siglipcli.evaluation.scored import Scored

__all__ = ["Report", "changes", "document", "threshold", "write_table"]

_MOST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Report:
    """Where figures go: JSON or a table on stdout, or a table on stderr where the label set itself is on stdout."""

    form: str
    on_stderr: bool = False
    is_quiet: bool = False

    def write(self, fitted: Calibration, scored: Scored) -> None:
        """Write them. Raises OutputError."""
        if self.form == "json":
            write_json(None, document(fitted, scored))
        elif not self.on_stderr:
            with open_output(None, None) as stream:
                write_table(stream, fitted)
        elif sys.stderr is not None and not self.is_quiet:
            with suppress(OSError, ValueError):  # the label set is written, and that is the result
                write_table(sys.stderr, fitted)


def changes(fitted: Calibration) -> str:
    """Say in a few words what is new in the set."""
    moved = sum(not fit.reason for fit in fitted.labels)
    shift = fitted.calibrated.bias_shift
    parts = [f"{moved:,} threshold{'s' * (moved != 1)}"] * bool(moved)
    parts += [f"bias_shift {shift:g}"] * (shift != fitted.old_shift)
    return " and ".join(parts) or "no change"


# --- for programs ---------------------------------------------------------------------------------


def document(fitted: Calibration, scored: Scored) -> dict[str, Any]:
    """Return every figure; measures are shares from 0 to 1."""
    before, after = fitted.macro_f1()
    return {
        "dataset": utf8(scored.dataset),
        "model": utf8(scored.model),
        "set": utf8(fitted.calibrated.name),
        "images": len(scored.sources),
        "metrics": {"macro_f1_before": number(before), "macro_f1_held_out": number(after)},
        **_promised(fitted),
        "bias_shift": {"before": fitted.old_shift, "after": fitted.calibrated.bias_shift},
        "labels": [_entry(fit) for fit in fitted.labels],
        "failures": [named(failure.file) | failed(failure) for failure in scored.failures],
    }


def _promised(fitted: Calibration) -> dict[str, Any]:
    """Count the labels that reach the precision asked for; nothing where none was."""
    reached, missed = fitted.reached()
    return {"reached": reached, "not_reached": missed} if fitted.aim.precision is not None else {}


def _entry(fit: LabelFit) -> dict[str, Any]:
    return {
        "label": utf8(fit.label),
        "examples": fit.examples,
        "fitted": not fit.reason,
        "kept": fit.reason or None,
        "threshold": {"before": fit.old, "after": fit.new},
        "before": _measures(fit.before),
        "held_out": _measures(fit.held_out),
        **_precise(fit),
    }


def _precise(fit: LabelFit) -> dict[str, Any]:
    """Return what a precision that was asked for adds."""
    if fit.reached is None:
        return {}
    return {"reached": fit.reached, "precision_at_least": number(fit.at_least)}


def _measures(quality: Quality | None) -> dict[str, float | None] | None:
    names = ("f1", "precision", "recall")
    return None if quality is None else {name: number(getattr(quality, name)) for name in names}


# --- for people -----------------------------------------------------------------------------------


def write_table(stream: TextIO, fitted: Calibration) -> None:
    """Write a row for each label, and what they come to, in letters that `stream` has. Raises OutputError."""
    with console_on(stream) as console:
        console.print(_table(fitted, _measured(fitted), console))
        console.print(_plain(_summary(fitted), console), soft_wrap=True)


def _measured(fitted: Calibration) -> list[str]:
    return ["F1"] if fitted.aim.precision is None else ["precision", "recall"]


def _table(fitted: Calibration, measures: list[str], console: Console) -> Table:
    titles = ("label", "examples", "threshold", *measures, "gain")
    rows = [
        [_plain(visible(cell), console) for cell in _row(fit, measures)] for fit in fitted.labels
    ]
    return plain_table(titles, rows, right=titles[1:-1])


def _plain(text: str, console: Console) -> str:
    """Spell out what the terminal's encoding lacks."""
    encoding = console.encoding
    if not "→".encode(encoding, "ignore"):
        text = text.replace("→", "->")
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _row(fit: LabelFit, measures: list[str]) -> list[str]:
    cells = [_change(threshold(fit.old), threshold(fit.new))]
    for name in (measure.lower() for measure in measures):
        before, after = (f"{getattr(x, name):.2f}" if x else "" for x in (fit.before, fit.after))
        cells.append(f"{before} → {after}" if not fit.reason else _change(before, after))
    gain = f"kept: {fit.reason}"
    if not fit.reason and fit.before and fit.after:
        gain = f"{fit.after.f1 - fit.before.f1:+.2f}" + (" F1" if len(measures) > 1 else "")
    return [fit.label, f"{fit.examples:,}", *cells, gain]


def _change(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"


def threshold(value: float) -> str:
    """Write the fewest digits, from 3 to 6, that are the value; more where they would say 1 of less."""
    for digits in range(3, 18):
        text = f"{value:.{digits}g}"
        if float(text) == value or (digits >= _MOST_DIGITS and float(text) < 1):
            break
    return text


def _summary(fitted: Calibration) -> str:
    before, after = fitted.macro_f1()
    count, moved = len(fitted.labels), sum(not fit.reason for fit in fitted.labels)
    text = f"{moved:,} of {count:,} label{'s' * (count != 1)} fitted; mean F1 {before:.3f} → {after:.3f}"
    text += " on images left out of the fit." if moved else "."
    if fitted.aim.precision is not None:
        text += f"\n{_reached(fitted)}"
    return text + _shifted(fitted, count - moved)


def _reached(fitted: Calibration) -> str:
    """Say how many labels reach the precision, how sure that is, and what it takes."""
    aim, (reached, missed) = fitted.aim, fitted.reached()
    text = (
        f"precision {aim.precision:g} reached by {reached:,} labels, not reached by {missed:,}, which are left"
        f" as they are; of those that reach it at least {aim.confidence:.0%} truly do, on average."
    )
    fewest = fewest_right(aim.precision or 0.0, 1 - aim.confidence)
    if missed and fewest != float("inf"):
        text += f"\nTo show so much takes {fewest:,.0f} right images of a label or more, nearly all ranked first."
    return text


def _shifted(fitted: Calibration, kept: int) -> str:
    """Say what a new bias_shift means for thresholds; nothing without one."""
    old, shift = fitted.old_shift, fitted.calibrated.bias_shift
    if shift == old:
        return ""
    text = f"\nbias_shift {old:g} → {shift:g}: thresholds are scores after it"
    if kept:
        ones = "that of the kept label" if kept == 1 else f"those of the {kept:,} kept labels"
        text += f"; {ones} moved with it, and tag{'s' * (kept == 1)} as in the set"
    return text + "."
