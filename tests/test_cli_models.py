"""`siglip models`: what is listed, shown and fetched, and what a program reads of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hub_stand_in import HubStandIn, serving, tiny_model, tiny_tokenizer
from huggingface_hub import constants
from typer.testing import CliRunner

from siglipcli import machine
from siglipcli.cli import app
from siglipcli.encoders.catalog import CATALOG, DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

REPO = f"timm/{DEFAULT}"
WORDS = "timm/ViT-B-16-SigLIP"
NAMES = [
    "open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's models."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SIGLIP_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """Serve the default model."""
    with serving({REPO: tiny_model(WORDS), WORDS: tiny_tokenizer()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def models(*arguments: str) -> Result:
    """Run `siglip models` with these arguments."""
    return CliRunner().invoke(app, ["models", *arguments])


def test_list_names_every_model() -> None:
    """The table has one line for each model, whole even in a pipe; notes go to stderr."""
    result = models("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(CATALOG)
    cells = next(line for line in lines if line.startswith(f"{DEFAULT} ")).split()
    assert cells[:4] == [DEFAULT, "384", "204", "78.5"]
    assert cells[-1] == "en"  # speeds before it, where they were measured
    assert max(map(len, lines)) <= 80
    assert DEFAULT in result.stderr


def test_list_for_programs() -> None:
    """The JSON has the same models, with numbers as numbers and an unknown accuracy as null."""
    result = models("list", "--format", "json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert list(rows) == list(CATALOG)
    assert [name for name, row in rows.items() if row["default"]] == [DEFAULT]
    assert rows[DEFAULT]["imagenet_top1"] == 78.5
    assert rows["ViT-SO400M-14-SigLIP-378"]["imagenet_top1"] is None
    assert not any(row["here"] for row in rows.values())
    assert result.stderr == ""


@pytest.mark.full
def test_pull_then_list_and_info(server: HubStandIn) -> None:
    """After a pull the model is listed as here, and its files, head and fingerprint are shown."""
    pulled = models("pull", DEFAULT)
    assert pulled.exit_code == 0
    assert [path.rpartition("/")[2] for path in pulled.stdout.splitlines()] == NAMES
    assert pulled.stderr == ""
    listed = json.loads(models("list", "--here", "-f", "json").stdout)
    assert [row["name"] for row in listed] == [DEFAULT]
    server.requests.clear()
    shown = json.loads(models("info", DEFAULT, "-f", "json").stdout)
    assert server.requests == []
    assert shown["logit_bias"] == -12.5
    assert shown["repo"] == REPO
    assert len(shown["fingerprint"]) == 32
    assert [file["file"] for file in shown["files"]] == NAMES
    assert [file["from"] for file in shown["files"]] == [REPO, REPO, WORDS, WORDS]
    assert shown["files"][1]["bytes"] == len(server.repos[REPO][NAMES[1]])
    assert "-12.5" in models("info", DEFAULT).stdout


def test_info_of_a_model_that_is_not_here(server: HubStandIn) -> None:
    """Looking into a model fetches nothing and says which files are missing."""
    result = models("info", DEFAULT)
    assert result.exit_code == 0
    assert result.stdout.count("not here") == 4
    assert server.requests == []


def test_info_of_a_folder(tmp_path: Path) -> None:
    """A folder is shown like any model; a name that looks like markup stays as it is."""
    folder = tmp_path / "[bold]mine"
    folder.mkdir()
    for name, data in {**tiny_model(), **tiny_tokenizer()}.items():
        (folder / name).write_bytes(data)
    result = models("info", str(folder))
    assert result.exit_code == 0
    assert str(folder / NAMES[1]) in result.stdout
    assert "-12.5" in result.stdout


def test_info_of_damaged_files(tmp_path: Path) -> None:
    """Damaged files are called that, in one line, with exit status 3."""
    for name, data in {**tiny_model(), **tiny_tokenizer()}.items():
        (tmp_path / name).write_bytes(data[:-1])
    result = models("info", str(tmp_path))
    assert result.exit_code == 3
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_the_bundled_model() -> None:
    """`demo` can be shown, and pulling it fetches nothing."""
    assert json.loads(models("info", "demo", "-f", "json").stdout)["here"] is True
    result = models("pull", "demo", "--quiet")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize("command", ["info", "pull"])
def test_an_unknown_model(command: str) -> None:
    """An unknown name ends with status 3 and the nearest names on stderr."""
    result = models(command, "ViT-B-16-SigLIP-385")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "did you mean" in result.stderr


def test_pull_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network is forbidden, pull ends with status 3 and says what to run elsewhere."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = models("pull", DEFAULT)
    assert result.exit_code == 3
    assert f"siglip models pull {DEFAULT}" in result.stderr


def test_pull_by_force(server: HubStandIn) -> None:
    """`--force` gets files that are here again."""
    models("pull", DEFAULT)
    server.requests.clear()
    assert models("pull", DEFAULT, "--force").exit_code == 0
    assert any(request.endswith(NAMES[1]) for request in server.requests)


def test_a_model_too_large_for_this_memory_is_not_timed(
    server: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`models list --here` says so, rather than run out of memory while it builds the engine."""
    assert models("pull", DEFAULT).exit_code == 0
    monkeypatch.setattr(machine, "memory", lambda: 10**9)
    result = models("list", "--here", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert (row["name"], row["images_per_second_here"]) == (DEFAULT, None)
    assert f"{DEFAULT} is not timed: to prepare it takes about 3 GB of memory" in result.stderr
