"""What the pages show of the server is true: their requests run, and print what stands below them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import render_pages
import render_serving
from serve_fixture import Server

from siglipcli.serve import openapi
from siglipcli.serve.page import examples
from siglipcli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = {page.name: page.read_text(encoding="utf-8") for page in render_serving.PAGES}
EXAMPLES = [
    (page, example) for page, text in TEXTS.items() for example in render_serving.examples(text)
]
SERVING = TEXTS["serving.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's folder."""
    return render_pages.sandbox(tmp_path_factory.mktemp("pages") / "demo", "")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """The server of the pages."""
    with Server(folder, render_serving.ARGUMENTS) as running:
        yield running


@pytest.mark.parametrize(
    ("page", "example"), EXAMPLES, ids=[f"{page}: {each.title}" for page, each in EXAMPLES]
)
def test_an_example_prints_what_is_shown(
    page: str, example: render_serving.Example, server: Server, folder: Path
) -> None:
    """A reader who sends a page's request sees the output below it."""
    if not example.is_python:
        for program in ("curl", "jq"):
            if f"{program} " in example.source and not shutil.which(program):
                pytest.skip(f"{program} is not installed")
    got = render_serving.output(example, server.url, folder)
    assert render_pages.same(example.shown, got), f"scripts/render_serving.py refreshes this\n{got}"


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_commands_of_the_docs_page_run(server: Server, folder: Path) -> None:
    """Each command of /docs, typed in a shell beside a photo, gets a good response."""
    shutil.copy(folder / "images" / "red-circle.jpg", folder / "photo.jpg")
    (folder / ".curlrc").write_text("fail-with-body\nsilent\n")
    commands = list(commands_of(server.url))
    assert len(commands) >= 8
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            check=False,
            cwd=folder,
            env=os.environ | {"CURL_HOME": str(folder)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def commands_of(url: str) -> Iterator[str]:
    for group in examples.groups(openapi.document(), url):
        for operation in group["operations"]:
            if operation["plain"]:
                yield operation["plain"]
            for body in operation["bodies"]:
                yield from (command for _, command in body["examples"])


def test_the_page_has_an_example_of_every_client() -> None:
    """curl, huggingface_hub and openai each have a transcript."""
    sources = "\n".join(each.source for page, each in EXAMPLES if page == "serving.md")
    for client in ("curl", "huggingface_hub", "openai", "httpx"):
        assert client in sources


def test_limits_are_the_program_s_own() -> None:
    """The table of limits has the defaults of the settings."""
    settings = ServeSettings()
    row = r"^\| [^|]+ \| ([\d,]+(?: MB)?) \| `(--[\w-]+)` \|"
    shown = {option: value for value, option in re.findall(row, SERVING, re.MULTILINE)}
    assert shown["--max-image-size"] == f"{settings.max_image_bytes // 1_000_000} MB"
    assert shown["--max-request-size"] == f"{settings.max_request_bytes // 1_000_000} MB"
    assert shown["--max-images"] == str(settings.max_images)
    assert shown["--max-labels"] == f"{settings.max_labels:,}"
    assert shown["--max-waiting"] == str(settings.max_waiting)
    assert shown["--queue-seconds"] == f"{settings.queue_seconds:g}"
    assert f"`--drain-seconds` ({settings.drain_seconds:g})" in SERVING
