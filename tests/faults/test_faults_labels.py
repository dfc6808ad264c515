"""Label files that are hostile, ambiguous, foreign or huge."""

from __future__ import annotations

import os
import pty
import re
from pathlib import Path
from typing import Any

import pytest
from command import HEART, Done, Siglip

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    + ["labels: *a11"]
)
HOSTILE = {
    "alias bomb": BOMB,
    "many aliases": "x: &x cat\nlabels: [" + "*x, " * 100_000 + "dog]",
    "recursion": "labels: &a [*a]",
    "deep recursion": "a: &a {labels: [cat, {name: x, children: *a}]}",
    "deep lists": "labels: " + "[" * 100_000,
    "deep mappings": "labels: " + "{a: " * 50_000,
    "deep blocks": "\n".join("  " * n + "- a:" for n in range(2_000)),
    "deep children": "labels:\n" + "".join("  " * n + f"- name: n{n}\n" + "  " * n + "  children:\n" for n in range(400)),
    "long scalar": "labels: [" + "x" * 5_000_000 + "]",
    "many keys": "\n".join(f"k{n}: 1" for n in range(200_000)),
    "many anchors": "labels: [" + ", ".join(f"&a{n} l{n}" for n in range(200_000)) + "]",
    "open quote": 'labels: ["' + "\n" * 200_000,
}  # fmt: skip


def check(siglip: Siglip, folder: Path, text: str | bytes, **options: Any) -> Done:
    """Run `siglip classify` on one image with a label file of this text; the file is `l.yaml`."""
    data = text.encode() if isinstance(text, str) else text
    (folder / "l.yaml").write_bytes(data)
    run = ("classify", "--model", "demo", "--labels", "l.yaml", "--all", HEART)
    return siglip(*run, cwd=folder, **options) if options else siglip.inside(*run, cwd=folder)


def assert_refused(done: Done, *words: str) -> None:
    """Check for status 2 and one line on stderr that names the file and holds the words."""
    assert (done.status, done.stdout) == (2, b""), done.stderr
    assert done.stderr.startswith("siglip: l.yaml")
    assert done.stderr.count("\n") == 1
    assert "Error" not in done.stderr
    for word in words:
        assert word in done.stderr


def answered(done: Done) -> list[str]:
    assert done.status == 0, done.stderr
    return sorted(each["label"] for each in done.row["labels"])


# Seconds of processor time, on a slow machine too; what expands without end takes more, and the kernel ends it.
BRIEF = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (8, 8))\n"


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(siglip: Siglip, tmp_path: Path, name: str) -> None:
    """Alias bombs, recursion, deep nesting and endless texts: status 2 at once, one calm line."""
    assert_refused(check(siglip, tmp_path, HOSTILE[name], code=BRIEF))


def test_duplicates(siglip: Siglip, tmp_path: Path) -> None:
    """A key or a label that is there twice is refused, with both lines."""
    done = check(siglip, tmp_path, "name: a\nlabels: [cat]\nname: b\n")
    assert_refused(done, "l.yaml:3", "line 1")
    done = check(siglip, tmp_path, "labels:\n- cat\n- name: dog\n- cat\n")
    assert_refused(done, "l.yaml:4", "'cat'", "line 2")
    done = check(siglip, tmp_path, "labels:\n- caf\u00e9\n- cafe\u0301\n")  # the same after NFC
    assert_refused(done, "l.yaml:3", "line 2")
    done = check(siglip, tmp_path, "labels:\n- name: cat\n  name: dog\n")
    assert_refused(done, "l.yaml:3", "line 2")


def test_scalars_are_text(siglip: Siglip, tmp_path: Path) -> None:
    """What YAML takes for a truth value, a number, a date or nothing is the text as written."""
    words = [
        "no",
        "on",
        "1.0",
        "~",
        "2024-01-01",
        "null",
        "0x1F",
        "1_000",
        ".inf",
        "12:30:45",
        "Yes",
    ]
    done = check(siglip, tmp_path, "labels:\n" + "".join(f"- {word}\n" for word in words))
    assert answered(done) == sorted(words)


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [touch started]", "!!python/name:os.system", "!!binary aGk=", "!own x"],
)  # fmt: skip
def test_tags(siglip: Siglip, tmp_path: Path, tag: str) -> None:
    """A tag is refused, and nothing that it names is run."""
    done = check(siglip, tmp_path, f"labels:\n- cat\n- {tag}\n")
    assert_refused(done, "l.yaml:3", "tag")
    assert not (tmp_path / "started").exists()


TEXT = "labels:\n  - cat\n  - caf\u00e9\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("cat", "cat\t# a tab").encode(),
    ],
    ids=["bom", "utf-16", "utf-16-be", "utf-32", "crlf", "cr", "tab"],
)
def test_encodings_that_are_read(siglip: Siglip, tmp_path: Path, data: bytes) -> None:
    """A byte order mark, UTF-16, CRLF and tabs behind a text change nothing."""
    assert answered(check(siglip, tmp_path, data)) == ["caf\u00e9", "cat"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"labels:\n\t- cat\n", ["l.yaml:2", "tab"]),
        (TEXT.encode("latin-1"), ["l.yaml:3", "UTF-8"]),
        (TEXT.encode("utf-16-le"), ["l.yaml", "UTF-8"]),
        (b"labels:\n- c\0t\n", ["l.yaml:2", "UTF-8"]),
        (b"labels:\n- c\x1bt\n", ["l.yaml:2"]),
        (HEART.read_bytes(), ["l.yaml"]),
    ],
    ids=["tab", "latin-1", "no mark", "nul", "escape", "an image"],
)
def test_encodings_that_are_not(
    siglip: Siglip, tmp_path: Path, data: bytes, words: list[str]
) -> None:
    """Tabs as indentation, other encodings and what is no text are refused with line and remedy."""
    assert_refused(check(siglip, tmp_path, data), *words)


@pytest.mark.parametrize("count", [500, pytest.param(50_000, marks=pytest.mark.stress)])
def test_many_labels(siglip: Siglip, tmp_path: Path, count: int) -> None:
    """Thousands of labels are encoded in chunks, in bounded memory, and all are scored."""
    (tmp_path / "l.yaml").write_text("labels:\n" + "".join(f"- thing {n}\n" for n in range(count)))
    run = ("classify", "--model", "demo", "--labels", tmp_path / "l.yaml", "--all", "-q", HEART)
    done, peak = siglip.peak(tmp_path / "note", *run, deadline=300)
    assert len(answered(done)) == count
    assert peak < 1500


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_progress_of_labels(own: Siglip, tmp_path: Path) -> None:
    """On a terminal a person sees that labels are being encoded."""
    (tmp_path / "l.yaml").write_text("labels:\n" + "".join(f"- thing {n}\n" for n in range(2000)))
    ours, theirs = pty.openpty()
    run = own.start(
        "classify", "--model", "demo", "--labels", tmp_path / "l.yaml", HEART, "--progress", "auto",
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    with run, os.fdopen(ours, "rb", buffering=0) as screen:
        shown = b""
        try:
            while chunk := screen.read(1 << 16):
                shown += chunk
        except OSError:  # Linux says so at the end
            pass
        assert run.stdout.read().count(b"\n") == 1
    assert re.search(rb"labels", shown)
    assert b"\x1b[" in shown


@pytest.mark.parametrize(
    "text",
    [
        "labels: ['']", "labels: [cat, '  ']", "labels: [cat, '\u00a0']", "labels: [cat, '\\u200b']",
        'labels: [cat, "\\u200b"]', "labels: [{name: ''}]", "labels: [{name: cat, prompts: ['']}]",
        "labels: [{name: cat, prompts: []}]", "labels: [cat,\n]\ntemplates: ['']", "labels: []", "labels:",
        "", "# nothing\n", "labels: [cat]\ntemplates: ['no place']", "labels: [{}]", "labels: [[]]",
    ],
)  # fmt: skip
def test_blanks(siglip: Siglip, tmp_path: Path, text: str) -> None:
    """An empty or blank label, prompt, template or set is refused."""
    if "'\\u200b'" in text:
        assert answered(check(siglip, tmp_path, text))  # in single quotes YAML has no escapes
        return
    assert_refused(check(siglip, tmp_path, text), "l.yaml:")


@pytest.mark.parametrize("label", ["", "  ", "\u00a0", "a\nb", "\x1b[31m"])
def test_blanks_on_the_spot(siglip: Siglip, label: str) -> None:
    """A blank label on the command line is refused as one in a file is."""
    done = siglip.inside("classify", "--model", "demo", "-L", "cat", "-L", label, HEART)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_file_without_end(siglip: Siglip) -> None:
    """A label file without end is read up to the limit and refused."""
    done = siglip("classify", "--model", "demo", "--labels", "/dev/zero", HEART)
    assert done.status == 2
    assert "16 MiB" in done.stderr
