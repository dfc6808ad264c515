"""What the embedding store promises, end to end: nothing twice, nothing wrong, nothing lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_encoder import FakeEncoder
from PIL import Image
from settings import with_engine
from typer.testing import CliRunner

from siglipcli import Classifier, Store, demo, images
from siglipcli.cli import app
from siglipcli.store import content_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

LABELS = ["-L", "blue heart", "-L", "green star"]
OTHERS = ["-L", "red circle", "-L", "white cross"]
DEADLINE = 90
REST = 0.06  # seconds after which a file's times are trusted


def aged(path: Path, content: bytes | None = None, seconds: int = 1_000) -> Path:
    """Write a file, and let it look as if it had rested for a while."""
    if content is not None:
        path.write_bytes(content)
    then = int(time.time()) - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images at rest."""
    copy = tmp_path / "images"
    shutil.copytree(demo.IMAGES, copy)
    for path in copy.iterdir():
        aged(path)
    time.sleep(REST)
    return copy


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test has a store of its own; nothing is fetched and no engine is built."""
    for name in [name for name in os.environ if name.startswith("SIGLIP_")]:
        monkeypatch.delenv(name)
    for name, value in (
        ("CACHE_DIR", str(tmp_path / "cache")), ("RUNTIME", "torch"), ("DEVICE", "cpu"),
        ("PRECISION", "fp32"), ("OFFLINE", "1"), ("MODEL", "demo"),
    ):  # fmt: skip
        monkeypatch.setenv(f"SIGLIP_{name}", value)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images whose content was read."""
    names: list[str] = []
    plain = images.load_bytes

    def load_bytes(source: Any, *limits: Any) -> bytes:
        names.append(Path(source.name).name)
        return plain(source, *limits)

    monkeypatch.setattr(images, "load_bytes", load_bytes)
    return names


def classify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def counts(result: Result) -> tuple[int, int, int]:
    """Encoded, from the store, failed: as the end line says."""
    found = re.search(r"(\d+) encoded, (\d+) from the store, (\d+) failed, ", result.stderr)
    assert found, result.stderr
    return int(found[1]), int(found[2]), int(found[3])


# --- nothing twice --------------------------------------------------------------------------------


def test_other_labels_open_no_image(folder: Path, opened: list[str]) -> None:
    """The second run is answered from the store alone, with the scores of a run without one."""
    assert counts(classify(folder, *LABELS)) == (8, 0, 0)
    assert len(opened) == 8
    opened.clear()
    again = classify(folder, *OTHERS)
    assert counts(again) == (0, 8, 0)
    assert opened == []
    fresh = classify(folder, *OTHERS, "--no-cache")
    assert counts(fresh) == (8, 0, 0)
    for one, other in zip(rows(again), rows(fresh), strict=True):
        assert one["file"] == other["file"]
        scores = {label["label"]: label["score"] for label in other["labels"]}
        for label in one["labels"]:
            assert label["score"] == pytest.approx(scores[label["label"]], rel=1e-3, abs=1e-9)


COUNTING = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
from siglipcli.cli import app
try:
    app()
except SystemExit:
    pass
print("OPENED", len({name for name in opened if name.startswith(sys.argv[2])}), file=sys.stderr)
"""


def test_the_system_is_asked_to_open_nothing(folder: Path, tmp_path: Path, prepared: Path) -> None:
    """Counted by the interpreter's own audit events, in a whole process."""
    said, env = [], with_engine(prepared, tmp_path / "cache")
    for labels in (LABELS, OTHERS):
        run = subprocess.run(
            [sys.executable, "-c", COUNTING, "classify", str(folder), *labels],
            capture_output=True, text=True, check=True, timeout=DEADLINE, env=env,
        )  # fmt: skip
        said.append(run.stderr.splitlines()[-1])
    assert said == ["OPENED 8", "OPENED 0"]


def test_a_search_after_a_classification_reads_nothing(folder: Path, opened: list[str]) -> None:
    """Commands share the store."""
    classify(folder, *LABELS)
    opened.clear()
    for command in (["search", "a green star", str(folder)], ["score", str(folder), "-T", "star"]):
        assert "0 encoded, 8 from the store" in CliRunner().invoke(app, command).stderr
    assert opened == []


def test_a_moved_or_copied_file_is_read_but_not_encoded(folder: Path, opened: list[str]) -> None:
    """Its content is known; from then on its new name is too."""
    classify(folder, *LABELS)
    shutil.copy2(folder / "green-star.png", folder / "copy.png")
    (folder / "blue-heart.jpg").rename(folder / "moved.jpg")
    time.sleep(REST)
    opened.clear()
    assert counts(classify(folder, *LABELS)) == (0, 9, 0)
    assert sorted(opened) == ["copy.png", "moved.jpg"]
    opened.clear()
    assert counts(classify(folder, *LABELS)) == (0, 9, 0)
    assert opened == []


def test_each_decode_mode_has_its_own_vectors(folder: Path) -> None:
    """--exact-decode and --no-color-management see other pixels: no mode takes another's vectors."""
    image = folder / "large.jpg"
    Image.radial_gradient("L").resize((2_000, 2_000)).save(image, quality=90)
    aged(image)
    assert counts(classify(folder, *LABELS)) == (9, 0, 0)
    assert counts(classify(folder, *LABELS, "--exact-decode")) == (9, 0, 0)
    assert counts(classify(folder, *LABELS)) == (0, 9, 0)
    assert counts(classify(folder, *LABELS, "--exact-decode")) == (0, 9, 0)
    assert counts(classify(folder, *LABELS, "--no-color-management")) == (9, 0, 0)
    assert counts(classify(folder, *LABELS, "--no-color-management")) == (0, 9, 0)


def test_no_cache_neither_uses_nor_keeps(folder: Path, tmp_path: Path) -> None:
    """There is no store afterwards."""
    assert counts(classify(folder, *LABELS, "--no-cache")) == (8, 0, 0)
    assert not list((tmp_path / "cache").glob("embeddings*"))


# --- nothing wrong --------------------------------------------------------------------------------


def test_an_edited_file_is_encoded_again(folder: Path) -> None:
    """A new mtime means a new look; only that file is encoded."""
    before = rows(classify(folder, *LABELS))
    edited = folder / "blue-heart.jpg"
    aged(edited, (folder / "red-circle.jpg").read_bytes() + b"\0", seconds=500)
    again = classify(folder, *LABELS)
    assert counts(again) == (1, 7, 0)
    for old, new in zip(before, rows(again), strict=True):
        assert (old["labels"] == new["labels"]) == (old["file"] != str(edited))


def unlike(folder: Path) -> tuple[Path, bytes]:
    """A red image that is known, and the bytes of a blue one of the same size."""
    image, blue = folder / "plain.bmp", folder.parent / "blue.bmp"
    Image.new("RGB", (40, 40), "red").save(image)
    Image.new("RGB", (40, 40), "blue").save(blue)
    aged(image)
    time.sleep(REST)
    classify(image, *OTHERS)
    return image, blue.read_bytes()


def test_a_change_that_keeps_size_mtime_and_inode_is_noticed(folder: Path) -> None:
    """As exiftool -P -overwrite_original_in_place leaves it: the ctime moved."""
    image, blue = unlike(folder)
    state = image.stat()
    image.write_bytes(blue)
    os.utime(image, ns=(state.st_atime_ns, state.st_mtime_ns))
    now = image.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (
        state.st_size,
        state.st_mtime_ns,
        state.st_ino,
    )
    assert rows(classify(image, *OTHERS)) == rows(classify(image, *OTHERS, "--no-cache"))


def test_verify_notices_what_left_no_trace(folder: Path, tmp_path: Path) -> None:
    """Other content in a file that looks as it did, ctime too: --verify reads it and sets it right."""
    image, blue = unlike(folder)
    image.write_bytes(blue)
    time.sleep(REST)
    state = image.stat()
    with sqlite3.connect(tmp_path / "cache" / "embeddings.sqlite") as db:
        times = (state.st_mtime_ns, state.st_ctime_ns, os.fsencode(image))
        db.execute("UPDATE files SET mtime = ?, ctime = ? WHERE path = ?", times)
    db.close()
    truth = rows(classify(image, *OTHERS, "--no-cache"))
    assert rows(classify(image, *OTHERS)) != truth
    assert rows(classify(image, *OTHERS, "--verify")) == truth
    assert rows(classify(image, *OTHERS)) == truth


def test_a_file_written_just_now_is_read_each_time(folder: Path, opened: list[str]) -> None:
    """Its mtime may not move at the next change; its content is known all the same."""
    fresh = folder / "fresh.png"
    shutil.copyfile(folder / "green-star.png", fresh)
    ahead = time.time_ns() + 10**12  # a clock that went back, or another machine's
    os.utime(fresh, ns=(ahead, ahead))
    classify(fresh, *LABELS)
    opened.clear()
    classify(fresh, *LABELS, "-v")
    assert opened == ["fresh.png"]


def test_a_failure_is_not_remembered(folder: Path) -> None:
    """An image that could not be read is tried again, and answered once it is whole."""
    image = folder / "blue-heart.jpg"
    whole = image.read_bytes()
    aged(image, whole[:900])
    assert counts(classify(folder, *LABELS)) == (7, 0, 1)
    assert counts(classify(folder, *LABELS)) == (0, 7, 1)
    aged(image, whole)
    assert counts(classify(folder, *LABELS)) == (1, 7, 0)


# --- a store that is no use -----------------------------------------------------------------------


def damage(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:100] + os.urandom(60_000))


def newer(store: Path) -> None:
    with sqlite3.connect(store) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize(
    ("act", "said"), [(damage, "set aside"), (newer, "newer"), (None, "readonly")]
)
def test_a_store_that_is_no_use_costs_a_warning(
    act: Any, said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged, newer or read-only: one warning, every answer, status 0; the next run too."""
    expected = rows(classify(folder, *LABELS))
    store = tmp_path / "cache" / "embeddings.sqlite"
    with sqlite3.connect(store) as db:
        db.execute("DELETE FROM files")  # so that there is something to write
        db.execute("DELETE FROM vectors")
    db.close()
    if act:
        act(store)
    else:
        plain = sqlite3.connect

        def read_only(path: Path, **options: Any) -> sqlite3.Connection:
            return plain(f"file:{path}?mode=ro", uri=True, **options)

        monkeypatch.setattr("siglipcli.store.database.sqlite3.connect", read_only)
    result = classify(folder, *LABELS)
    assert result.exit_code == 0
    assert rows(result) == expected
    warnings = [line for line in result.stderr.splitlines() if "embedding store" in line]
    assert len(warnings) == 1
    assert said in warnings[0]
    assert classify(folder, *LABELS).exit_code == 0


def test_damaged_embeddings_are_counted(folder: Path, tmp_path: Path) -> None:
    """One bit flipped in each of three: the scores are a fresh run's, and stderr counts them."""
    run = (folder, *LABELS, "--batch-size", "1")
    expected = rows(classify(*run))
    with sqlite3.connect(tmp_path / "cache" / "embeddings.sqlite") as db:
        some = db.execute(
            "SELECT v.id, v.vector FROM vectors v JOIN files f ON f.digest = v.digest LIMIT 3"
        ).fetchall()
        for number, blob in some:
            wrong = blob[:3] + bytes([blob[3] ^ 0x80]) + blob[4:]
            db.execute("UPDATE vectors SET vector = ? WHERE id = ?", (wrong, number))
    db.close()
    again = classify(*run)
    assert rows(again) == expected
    assert counts(again) == (3, 5, 0)
    assert "3 stored embeddings were damaged and encoded again" in again.stderr
    assert "damaged" not in classify(*run).stderr


def test_what_is_dropped_is_counted(folder: Path) -> None:
    """A limit that does not hold all of it: stderr says how many went. A size without a unit is refused."""
    classify(folder, *LABELS)
    refused = classify(folder, *LABELS, "--cache-limit", "8")
    assert refused.exit_code == 2
    assert "unit" in refused.stderr
    assert counts(classify(folder, *LABELS)) == (0, 8, 0)
    dropped = classify(folder, *LABELS, "--cache-limit", "0")
    assert counts(dropped) == (0, 8, 0)
    assert re.search(r"\d+ stored embeddings were dropped", dropped.stderr)
    assert counts(classify(folder, *LABELS)) == (8, 0, 0)


def test_cache_shows_and_clears_all_that_is_kept(folder: Path, tmp_path: Path) -> None:
    """Stores that were set aside and digests of model files too; a nonsense date shows no day."""
    classify(folder, *LABELS)
    cache = tmp_path / "cache"
    (cache / "embeddings.sqlite.damaged-20260101-000000").write_bytes(b"x" * 10)
    with sqlite3.connect(cache / "embeddings.sqlite") as db:
        db.execute("UPDATE vectors SET used = ?", (2**62,))
        db.execute("UPDATE models SET name = CAST(x'ff80' AS TEXT)")
    db.close()
    shown = CliRunner().invoke(app, ["cache", "info", "-f", "json"])
    facts = json.loads(shown.stdout)
    assert facts["damaged_stores"] == {"files": 1, "bytes": 10}
    assert facts["digests"]["files"] > 0
    assert [row["used"] for row in facts["embeddings"]] == [""]
    assert "set aside" in CliRunner().invoke(app, ["cache", "info"]).stdout
    assert CliRunner().invoke(app, ["cache", "clear"]).exit_code == 0
    assert not list(cache.glob("*.damaged-*"))
    assert not list((cache / "digests").glob("*"))


# --- stops, kills and company ---------------------------------------------------------------------


def test_an_interrupted_run_continues_where_it_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered before Ctrl-C comes from the store; the end line says how much."""
    from siglipcli.encoders.torch_runtime import TorchEncoder

    plain, calls = TorchEncoder.encode_images, []

    def interrupted(self: TorchEncoder, pixels: Any) -> Any:
        calls.append(len(pixels))
        if len(calls) >= 4:
            raise KeyboardInterrupt
        return plain(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(TorchEncoder, "encode_images", interrupted)
        first = classify(folder, *LABELS, "--batch-size", "1")
    assert first.exit_code == 130
    encoded, stored, failed = counts(classify(folder, *LABELS))
    assert (encoded + stored, failed) == (8, 0)
    assert max(1, len(first.stdout.splitlines())) <= stored <= 3


RUN = """
import sys, time
from pathlib import Path
tests, folder, cache, fingerprint, pause = sys.argv[1:]
sys.path.insert(0, tests)
from fake_encoder import FakeEncoder
from siglipcli import Classifier, LoadOptions, Store
encoder = FakeEncoder()
encoder.fingerprint = fingerprint
plain = encoder.encode_images
encoder.encode_images = lambda pixels: (time.sleep(float(pause)), plain(pixels))[1]
with Classifier(encoder, LoadOptions(workers=1), Store(Path(cache))) as classifier:
    print("ready", flush=True)
    for batch in classifier.batches([folder]):
        print(*[source.name for source in batch.sources], sep="\\n", flush=True)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred tiny images, no two alike, at rest."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(200):
        path = folder / f"{i:03}.png"
        Image.new("RGB", (4, 4), (i, 255 - i, 99)).save(path)
        aged(path)
    return folder


def start(folder: Path, cache: Path, fingerprint: str, pause: float) -> subprocess.Popen[str]:
    """Run the library over a folder in a process of its own, with the fake encoder."""
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", RUN, here, str(folder), str(cache), fingerprint, str(pause)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def kill(process: subprocess.Popen[str], after: float) -> list[str]:
    """Kill -9 so many seconds from now; return the images that were answered in full lines."""
    timer = threading.Timer(after, process.send_signal, [signal.SIGKILL])
    timer.start()
    assert process.stdout
    said = process.stdout.read()  # not by `communicate`: it would miss what `readline` read ahead
    process.communicate(timeout=DEADLINE)
    timer.cancel()
    return [line[:-1] for line in said.splitlines(keepends=True) if line.endswith(".png\n")]


def check_store(folder: Path, cache: Path, fingerprint: str, answered: list[str]) -> int:
    """Integrity holds; all that was answered is there; every vector is a fresh encode's."""
    with sqlite3.connect(cache / "embeddings.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    encoder = FakeEncoder()
    fresh = Classifier(encoder)
    expected = {
        content_digest(Path(one.file).read_bytes()): one
        for batch in fresh.embed([folder])
        for one in batch
    }
    store = Store(cache)
    held = store.space(f"{fingerprint}-2-reduced-srgb", "fake").vectors(list(expected))
    store.close()
    names = {expected[digest].file for digest in held}
    assert set(answered) <= names
    for digest, vector in held.items():
        np.testing.assert_allclose(vector, expected[digest].vector, atol=1e-6)
    return len(held)


def test_a_killed_run_loses_nothing_it_answered(many: Path, tmp_path: Path) -> None:
    """Kill -9 at six moments: the store is whole, and each run begins where the last one ended."""
    answered: list[str] = []
    held = [0]
    for turn in range(6):
        process = start(many, tmp_path, "fake", 0.01)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        if turn:  # however slow this machine is, each of these runs stores something
            answered.append(process.stdout.readline().rstrip("\n"))
        answered += kill(process, 0.03 + 0.05 * turn)
        held.append(check_store(many, tmp_path, "fake", answered))
    assert held == sorted(held)
    assert held[-1] > 0


@pytest.mark.stress
def test_two_hundred_kills(many: Path, tmp_path: Path) -> None:
    """Kill -9 at random moments, of one run in four while it starts; in all about a minute."""
    moments = random.Random(4)
    answered: dict[str, list[str]] = {}
    for turn in range(200):
        fingerprint = f"fake{turn // 20}"  # a finished folder would have nothing left to write
        process = start(many, tmp_path, fingerprint, 0.002)
        assert process.stdout
        if turn % 4:
            process.stdout.readline()
        after = moments.uniform(0, 0.1) if turn % 4 else moments.uniform(0.05, 0.3)
        answered.setdefault(fingerprint, []).extend(kill(process, after))
    assert all(check_store(many, tmp_path, name, said) for name, said in answered.items())
    assert not list(tmp_path.glob("*.damaged-*"))


def test_two_first_runs_at_once(many: Path, tmp_path: Path) -> None:
    """Both answer everything, neither says that the store is locked; all of it is kept."""
    runs = [start(many, tmp_path, "fake", 0.002) for _ in range(2)]
    for run in runs:
        said, complaints = run.communicate(timeout=DEADLINE)
        assert run.returncode == 0, complaints
        assert len(said.splitlines()) == 1 + 200
        assert complaints == ""
    assert check_store(many, tmp_path, "fake", []) == 200


def test_two_commands_at_once(folder: Path, tmp_path: Path, prepared: Path) -> None:
    """Two `siglip classify` over one folder, started together: both finish with status 0."""
    env = with_engine(prepared, tmp_path / "cache")
    line = [sys.executable, "-c", "from siglipcli.cli import main; main()", "classify"]
    runs = [
        subprocess.Popen(
            [*line, str(folder), *LABELS],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for run in runs:
        said, complaints = run.communicate(timeout=DEADLINE)
        assert run.returncode == 0
        assert len(said.splitlines()) == 8
        assert "locked" not in complaints
        assert "store" not in complaints.replace("from the store", "")


# --- many -----------------------------------------------------------------------------------------


def test_mixed_folders_keep_their_order(encoder: FakeEncoder, many: Path, tmp_path: Path) -> None:
    """Known, new and broken images in any mixture: every answer in place, each with its vector."""
    expected = {
        one.file: one.vector for batch in Classifier(encoder).embed([many]) for one in batch
    }
    half = [str(path) for i, path in enumerate(sorted(many.iterdir())) if i % 3 and i % 7]
    with Classifier(encoder, store=Store(tmp_path)) as classifier:
        assert sum(len(batch.items) for batch in classifier.batches(half)) == len(half)
        asked = [
            name for i, name in enumerate(expected) for name in (name, *["gone.png"] * (i % 5 == 0))
        ]
        got = [item for batch in classifier.embed(asked) for item in batch]
    assert [item.file for item in got] == asked
    for item in got:
        if item.file != "gone.png":
            np.testing.assert_allclose(item.vector, expected[item.file], atol=1e-6)
            assert item.stored == (item.file in half)


def test_a_bulk_of_known_files_makes_few_batches(
    encoder: FakeEncoder, many: Path, tmp_path: Path
) -> None:
    """What the store holds travels in columns, not one by one."""

    def repeated() -> Iterator[str]:
        for _ in range(20):
            yield from sorted(map(str, many.iterdir()))

    with Classifier(encoder, store=Store(tmp_path)) as classifier:
        list(classifier.batches([many]))
        sizes = [len(batch.items) for batch in classifier.batches(repeated())]
    assert sum(sizes) == 4_000
    assert max(sizes) > 20
