"""`siglip embed` and `siglip classify --from`: vectors on disk in place of images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from settings import settle, with_engine
from typer.testing import CliRunner

from siglipcli import demo, images
from siglipcli import embedding_files as vectors
from siglipcli.cli import app

if TYPE_CHECKING:
    from typer.testing import Result

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
FORMS = ["npz", "npy", "parquet", "jsonl"]
LABELS = ["-L", "blue heart", "-L", "green star", "-L", "red circle"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, tmp_path, cache)


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], input=stdin)


def embed(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return run("embed", *arguments, stdin=stdin)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def names_of(path: str) -> list[str]:
    return [s.name for batch in vectors.load(Path(path)).batches() for s in batch.sources]


# --- siglip embed ---------------------------------------------------------------------------------


def test_vectors_on_stdout_are_json_lines() -> None:
    """Without --output: one object an image, with a unit vector and whose it is."""
    result = embed(HEART, STAR)
    assert result.exit_code == 0
    first, second = rows(result)
    assert list(first) == ["file", "status", "model", "fingerprint", "vector"]
    assert (first["file"], second["file"], first["model"]) == (HEART, STAR, "demo")
    assert np.linalg.norm(first["vector"]) == pytest.approx(1, abs=1e-5)
    assert embed(HEART, "-o", "-").stdout.splitlines() == result.stdout.splitlines()[:1]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same(form: str) -> None:
    """The ending of --output chooses the form; stdout stays empty."""
    result = embed(demo.IMAGES, "-o", f"v.{form}")
    assert (result.exit_code, result.stdout) == (0, "")
    expected = rows(embed(demo.IMAGES))
    (batch,) = vectors.load(Path(f"v.{form}")).batches()
    assert [s.name for s in batch.sources] == [row["file"] for row in expected]
    np.testing.assert_array_equal(batch.vectors, np.float32([row["vector"] for row in expected]))


@pytest.mark.parametrize("form", FORMS)
def test_failures_are_said_and_cost_status_1(form: str) -> None:
    """.jsonl has a row for each; elsewhere stderr names it. The counts are on stderr."""
    Path("bad.jpg").write_text("<html>")
    result = embed(HEART, "bad.jpg", "gone.jpg", "-o", f"v.{form}")
    assert result.exit_code == 1
    assert ", 2 failed, " in result.stderr.splitlines()[-1]
    told = "siglip: bad.jpg: unidentified: " in result.stderr
    told_too = "siglip: gone.jpg: missing: " in result.stderr
    assert told == told_too == (form != "jsonl")
    assert names_of(f"v.{form}") == [HEART]


def test_an_empty_folder_gives_an_empty_file() -> None:
    """Nothing to embed is status 1, and no file; with --allow-empty it is an empty one."""
    Path("empty").mkdir()
    result = embed("empty", "-o", "v.npz")
    assert result.exit_code == 1
    assert "no images found" in result.stderr
    assert not Path("v.npz").exists()
    result = embed("empty", "-o", "v.npz", "--allow-empty")
    assert (result.exit_code, result.stderr) == (0, "siglip: no images found\n")
    assert names_of("v.npz") == []


def test_odd_names_survive() -> None:
    """A name of any bytes is in the file as it is on disk."""
    name = os.fsdecode(b"\xff\xe9\n,=.jpg")
    try:
        Path(name).write_bytes(Path(HEART).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for form in FORMS:
        assert embed(name, "-o", f"v.{form}").exit_code == 0
        assert names_of(f"v.{form}") == [name]


def test_texts_are_embedded_as_typed() -> None:
    """--text: arguments are prompts, without a template; `embed_texts` gives the same."""
    result = embed("--text", "a blue heart", "a dog", "-q")
    first, second = rows(result)
    assert list(first) == ["text", "status", "model", "fingerprint", "vector"]
    assert (first["text"], second["text"]) == ("a blue heart", "a dog")
    (heart,) = rows(embed(HEART, "-q"))
    score = json.loads(run("score", "a blue heart", HEART).stdout)["texts"][0]
    cosine = float(np.float32(first["vector"]) @ np.float32(heart["vector"]))
    assert cosine == pytest.approx(score["similarity"], abs=2e-5)


def test_texts_come_from_stdin_too() -> None:
    """One a line, LF or CRLF; empty lines are passed over."""
    result = embed("--text", "-o", "t.npz", stdin=b"a cat\r\n\n  \na dog\n\xe7\x8c\xab")
    assert result.exit_code == 0
    assert names_of("t.npz") == ["a cat", "a dog", "\u732b"]
    assert result.stderr.endswith(" texts/s\n")
    assert embed("--text", stdin=b"").stderr.startswith("siglip: no texts found")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to read"),
        ([HEART, "-o", "v.txt"], "names no form of vectors; use one of .npz"),
        (["--text", "a", "--files-from", "list"], "--files-from lists images"),
    ],
)
def test_usage_errors_come_before_any_work(arguments: list[str], message: str) -> None:
    """Status 2, one line, and the model is not looked for."""
    result = embed(*arguments, "-m", "no-such-model")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_output_that_is_an_input_is_refused() -> None:
    """An image is never overwritten by vectors, whatever its ending."""
    Path("a.npz").write_bytes(Path(HEART).read_bytes())
    result = embed("a.npz", "-o", "./a.npz")
    assert result.exit_code == 2
    assert Path("a.npz").read_bytes() == Path(HEART).read_bytes()


def test_an_output_that_cannot_be_written_is_status_3() -> None:
    """A folder that is not there; a device that takes no array."""
    assert embed(HEART, "-o", "no/v.npz").exit_code == 3
    os.mkfifo("v.npz")
    assert "no regular file" in embed(HEART, "-o", "v.npz").stderr


# --- siglip classify --from -----------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_saved_vectors_are_classified_as_their_images(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers, byte for byte; no image is opened and no image tower is loaded."""
    expected = run("classify", demo.IMAGES, *LABELS).stdout
    embed(demo.IMAGES, "-o", f"v.{form}")
    monkeypatch.setattr(images, "load_bytes", None)
    monkeypatch.setattr("siglipcli.encoders.torch_runtime.TorchEncoder.encode_images", None)
    result = run("classify", "--from", f"v.{form}", *LABELS)
    assert result.exit_code == 0
    assert result.stdout == expected
    assert f"0 encoded, 8 from v.{form}, 0 failed" in result.stderr


def test_failures_in_saved_lines_stay_failures() -> None:
    """An image that could not be embedded is a row again, and status 1."""
    embed(HEART, "gone.jpg", "-o", "v.jsonl")
    result = run("classify", "--from", "v.jsonl", *LABELS)
    assert result.exit_code == 1
    assert [row["status"] for row in rows(result)] == ["ok", "error"]
    assert rows(result)[1]["error"]["kind"] == "missing"


def test_another_models_vectors_are_refused() -> None:
    """Status 2, with the model that made them; nothing on stdout."""
    about = vectors.About("ViT-B-16-SigLIP-384", "abc-torch-cpu-fp32")
    with vectors.save(Path("v.npz"), about):
        pass
    result = run("classify", "--from", "v.npz", *LABELS)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Use --model ViT-B-16-SigLIP-384" in result.stderr


def test_vectors_of_texts_are_no_images() -> None:
    """They are refused by name."""
    embed("--text", "a cat", "-o", "t.npz")
    result = run("classify", "--from", "t.npz", *LABELS)
    assert result.exit_code == 2
    assert "vectors of texts" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "v.npz", HEART], "one or the other"),
        (["--from", "gone.npz"], "cannot read gone.npz: No such file"),
        (["--from", HEART], "names no form of vectors"),
        (["--from", "v.npz", "-o", "./v.npz", "-f", "csv"], "is one of the inputs"),
    ],
)
def test_saved_vectors_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    """Status 2, said before a model is looked for."""
    Path("v.npz").write_bytes(b"")
    result = run("classify", *arguments, *LABELS, "-m", "no-such-model")
    assert result.exit_code == 2
    assert message in result.stderr


def test_damage_is_said_with_the_file() -> None:
    """A cut file is status 2 and one line, not a bug."""
    embed(demo.IMAGES, "-o", "v.npz")
    Path("v.npz").write_bytes(Path("v.npz").read_bytes()[:-40])
    result = run("classify", "--from", "v.npz", *LABELS)
    assert result.exit_code == 2
    assert "v.npz does not hold embeddings as they are saved here" in result.stderr


# --- streams --------------------------------------------------------------------------------------

MAIN = "from siglipcli.cli import main; main()"
PRINTING = [["embed", str(demo.IMAGES)], ["score", str(demo.IMAGES), "--text", "a blue heart"]]


@pytest.fixture
def env(tmp_path: Path, prepared: Path) -> dict[str, str]:
    return with_engine(prepared, tmp_path / "cache")


def shell(
    script: str, arguments: list[str], env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which "$@" is `siglip ARGUMENTS`."""
    line = ["sh", "-c", script, "sh", sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", PRINTING)
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(
    arguments: list[str], env: dict[str, str]
) -> None:
    """`| head -1`: status 0 and no complaint."""
    done = shell('{ "$@"; echo "status $?" >&2; } | head -1', arguments, env)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.splitlines()[-1] == "status 0"
    assert "Broken pipe" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", PRINTING)
def test_a_full_disk_is_status_3_and_one_line(arguments: list[str], env: dict[str, str]) -> None:
    """A write error, said once, without a traceback."""
    done = shell('"$@" -q > /dev/full', arguments, env)
    assert done.returncode == 3
    assert done.stderr.startswith("siglip: write error: ")
    assert done.stderr.count("\n") == 1
