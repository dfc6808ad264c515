"""File names in command lines on the screen: a shell reads back the very name."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from siglipcli.terminal.quoting import shell_word
from siglipcli.text import visible


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    "name",
    [
        "a",
        "two words",
        "it's",
        "$HOME `id`",
        "two\nlines",
        "caf\udce9 '\\1",
        "\x1b[31m7",
        "\u202eÜ 日本",
    ],
)
def test_a_shell_reads_the_name_back(name: str) -> None:
    """Byte for byte, and nothing of it acts on the terminal."""
    word = shell_word(name)
    assert visible(word) == word
    read = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert read.stdout == os.fsencode(name)
