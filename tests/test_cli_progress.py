"""Progress: a bar on a terminal, lines in a log, nothing where rows show it themselves."""

from __future__ import annotations

import io
import sys
import threading
from itertools import count

import pytest

from siglipcli.terminal import progress
from siglipcli.terminal.progress import Progress, plain, shown_as


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron's log tells how far a run is, at what rate, and when it may end."""
    clock = count(0, 15.0)  # seconds: each look at the clock is 15 later
    monkeypatch.setattr(progress, "perf_counter", lambda: next(clock))
    lines: list[str] = []
    counted = plain(Progress(total=50_000, started=0), lines.append, every=60)
    assert list(counted(range(9))) == list(range(9))
    assert lines == [
        "4 of 50,000 done, 0.1 per second, about 9 days left",
        "8 of 50,000 done, 0.1 per second, about 9 days left",
    ]


def test_a_short_run_writes_nothing_to_the_log() -> None:
    """A run of less than a minute has no line."""
    lines: list[str] = []
    list(plain(Progress(), lines.append)(range(1000)))
    assert lines == []


def test_a_log_counts_a_folder_only_for_its_first_line() -> None:
    """Inputs are walked a second time, to be counted, halfway to the first line; not in a short run."""
    asked: list[str] = []
    list(plain(Progress(), asked.append, total=lambda: asked.append("total"))(range(1000)))
    assert not asked
    list(plain(Progress(), lambda _: None, 0, lambda: asked.append("total"))(range(1000)))
    wait_for = [thread for thread in threading.enumerate() if thread.name == "siglip-total"]
    for thread in wait_for:
        thread.join()
    assert asked == ["total"]


@pytest.mark.parametrize(
    ("mode", "screen", "rows_on_screen", "shown"),
    [
        ("auto", True, False, "bar"),
        ("auto", True, True, "none"),  # the rows themselves show how far it is
        ("auto", False, False, "plain"),
        ("plain", True, True, "plain"),
        ("none", False, False, "none"),
    ],
)
def test_how_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, mode: str, screen: bool, rows_on_screen: bool, shown: str
) -> None:
    """No bar is ever drawn over a table; a log gets lines; what is wanted is done."""
    monkeypatch.setattr(sys, "stderr", Screen() if screen else io.StringIO())
    assert shown_as(mode, quiet=False, rows_on_screen=rows_on_screen) == shown
    assert shown_as(mode, quiet=True, rows_on_screen=rows_on_screen) == "none"


def test_batches_count_what_they_hold() -> None:
    """A stream of batches is counted by its inputs."""

    class Batch:
        items = (1, 2, 3)

    done = Progress()
    list(done.count([Batch(), Batch()]))
    assert str(done) == "6"
