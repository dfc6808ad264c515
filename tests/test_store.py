"""The embedding store: found again, never wrong, never in the way."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from siglipcli import files
from siglipcli.store import (
    Entry,
    FileState,
    Store,
    content_digest,
    file_state,
    pruning,
    states,
    text_digest,
)
from siglipcli.store import store as store_module
from siglipcli.store.checksums import checksums

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 8


def vector(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=WIDTH)
    return (row / np.linalg.norm(row)).astype(np.float32)


def digest(seed: int) -> bytes:
    return content_digest(str(seed).encode())


def state(seed: int, *, mtime: int = 1) -> FileState:
    return FileState(f"/photos/{seed}.jpg".encode(), 10, mtime, 1, seed)


REST = 0.06  # seconds after which a file's times are trusted


def rested(path: Path, mtime: int = 10**9) -> Path:
    """A file that was written to a while ago, as its times tell."""
    path.write_bytes(b"1")
    os.utime(path, ns=(0, mtime))
    time.sleep(REST)
    return path


def entries(*seeds: int) -> list[Entry]:
    return [Entry(digest(seed), vector(seed), state(seed)) for seed in seeds]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_was_kept_is_found_by_file_and_by_content(store: Store, tmp_path: Path) -> None:
    """A vector comes back bit for bit, also to another process's store."""
    store.space("m", "model").keep(entries(1, 2))
    again = Store(tmp_path).space("m", "model")
    assert again.files([state(1), state(2), state(3)]).keys() == {state(1).path, state(2).path}
    np.testing.assert_array_equal(again.files([state(2)])[state(2).path], vector(2))
    np.testing.assert_array_equal(again.vectors([digest(1), digest(9)])[digest(1)], vector(1))


def test_a_changed_file_is_not_found(store: Store) -> None:
    """Another size, mtime, ctime or inode means another image until its content is read."""
    space = store.space("m", "model")
    space.keep(entries(1))
    for field in ("size", "mtime", "ctime", "inode"):
        changed = state(1)._replace(**{field: 99})
        assert space.files([changed]) == {}, field
    space.keep([Entry(digest(1), None, state(1, mtime=2))])
    assert space.files([state(1, mtime=2)]).keys() == {state(1).path}


def test_parts_of_a_file_are_kept_apart(store: Store) -> None:
    """A file may have vectors for parts of it; each is found under its name only."""
    space = store.space("m", "model")
    part = state(1)._replace(part="frame 7")
    space.keep([*entries(1), Entry(digest(2), vector(2), part)])
    positions, vectors = space.known([part, None, state(1), state(1)._replace(part="frame 8")])
    assert positions == [0, 2]
    np.testing.assert_array_equal(vectors, [vector(2), vector(1)])


def test_models_do_not_share_vectors(store: Store) -> None:
    """One image, two models: each finds its own."""
    store.space("a", "model").keep([Entry(digest(1), vector(1), state(1))])
    assert store.space("b", "model").files([state(1)]) == {}
    store.space("b", "model").keep([Entry(digest(1), vector(2), state(1))])
    np.testing.assert_array_equal(store.space("a", "m").vectors([digest(1)])[digest(1)], vector(1))
    np.testing.assert_array_equal(store.space("b", "m").vectors([digest(1)])[digest(1)], vector(2))


def test_a_prompt_is_no_image() -> None:
    """A file with a prompt as its content has another digest."""
    assert text_digest("a cat") != content_digest(b"a cat")
    assert text_digest("a cat") != text_digest("a cat ")
    assert len(text_digest("\udc80")) == 32


def test_a_vector_of_the_wrong_length_is_not_found(store: Store, tmp_path: Path) -> None:
    """What was cut short on disk is computed again, never used."""
    space = store.space("m", "model")
    space.keep(entries(1, 2))
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute(
            "UPDATE vectors SET vector = substr(vector, 1, 12) WHERE digest = ?", (digest(1),)
        )
    db.close()
    assert space.files([state(1), state(2)]).keys() == {state(2).path}
    space.keep(entries(1))
    np.testing.assert_array_equal(space.vectors([digest(1)])[digest(1)], vector(1))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.0])
def test_a_vector_that_is_no_unit_vector_is_not_found(
    store: Store, tmp_path: Path, value: float
) -> None:
    """Damage that keeps the length, bits flipped on the disk, gives no answer either."""
    space = store.space("m", "model")
    space.keep(entries(1, 2))
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        damaged = np.full(WIDTH, value, np.float32).tobytes()
        db.execute("UPDATE vectors SET vector = ? WHERE digest = ?", (damaged, digest(1)))
    db.close()
    assert space.files([state(1), state(2)]).keys() == {state(2).path}
    assert space.vectors([digest(1), digest(2)]).keys() == {digest(2)}


def test_a_deleted_working_folder_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absolute path still has its state; a relative one has none."""
    file = rested(tmp_path / "a")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = file_state(file)
    assert found
    assert found.path == os.fsencode(file)
    assert file_state("../a") is None


def test_many_at_once(store: Store) -> None:
    """More rows than one statement takes."""
    space = store.space("m", "model")
    space.keep(entries(*range(1_700)))
    assert len(space.files([state(i) for i in range(2_000)])) == 1_700


def test_a_file_changed_just_now_has_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times may not move at the next change; a file at rest has one, a missing one has none."""
    file = tmp_path / "a"
    file.write_bytes(b"1")
    monkeypatch.setattr(states.time, "time_ns", lambda: file.stat().st_ctime_ns + 10**6)
    assert file_state(file) is None
    os.utime(file, ns=(0, 10**9))
    assert file_state(file) is None, "the ctime is of this moment"
    monkeypatch.undo()
    found = file_state(rested(file))
    assert found
    assert (found.size, found.path) == (1, os.fsencode(file))
    assert file_state(tmp_path / "b") is None


def test_a_change_that_keeps_size_mtime_and_inode_is_another_state(tmp_path: Path) -> None:
    """As exiftool -P -overwrite_original_in_place leaves a file: the ctime tells."""
    file = rested(tmp_path / "a")
    before = file_state(file)
    file.write_bytes(b"2")
    os.utime(file, ns=(0, 10**9))
    time.sleep(REST)
    after = file_state(file)
    assert before
    assert after
    assert before._replace(ctime=0) == after._replace(ctime=0)
    assert before != after


@pytest.mark.parametrize(
    ("mtime", "ctime", "trusted"),
    [
        (10**18 + 123_456_789, 10**18 + 123_456_789, True),
        (10**18 + 10**9, 10**18 + 2 * 10**9, True),
        (10**18, 10**18, False),  # FAT: whole seconds
        (10**18 + 450_000_000, 10**18 + 450_000_000, False),  # exFAT: 10 ms
        (10**18, 0, False),
    ],
)
def test_without_a_ctime_of_its_own_a_file_has_no_state(
    mtime: int, ctime: int, trusted: bool
) -> None:
    """On FAT and exFAT the ctime is the mtime: there the content decides."""
    times = SimpleNamespace(st_mtime_ns=mtime, st_ctime_ns=ctime)
    assert files.has_own_ctime(times) == trusted  # type: ignore[arg-type]


def test_an_inode_of_64_bits_can_be_kept(store: Store) -> None:
    """Some file systems have such; SQLite's integers have a sign."""
    info = SimpleNamespace(st_size=5, st_mtime_ns=1, st_ctime_ns=1, st_ino=2**64 - 1)
    file = FileState(b"/photos/1.jpg", *files.stamp(info))  # type: ignore[arg-type]
    store.space("m", "model").keep([Entry(digest(1), vector(1), file)])
    assert store.space("m", "model").files([file])


def test_a_relative_path_is_kept_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name in another folder is another file."""
    rested(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    found = file_state("a")
    assert found
    assert found.path == os.fsencode(tmp_path / "a")


def test_the_least_recently_used_go_first(store: Store, tmp_path: Path) -> None:
    """Pruning keeps what was used last and drops file rows that lead nowhere."""
    space = store.space("m", "model")
    space.keep(entries(*range(4_000)))
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("UPDATE vectors SET used = id")
    db.close()
    before = store.size()
    dropped = store.prune(before // 2)
    left = space.files([state(i) for i in range(4_000)])
    assert store.size() <= before // 2
    assert 0 < len(left) == 4_000 - dropped
    assert state(3_999).path in left
    assert state(0).path not in left
    assert (tmp_path / "embeddings.sqlite").stat().st_size <= before // 2 + 16_384


def test_using_a_vector_saves_it_from_pruning(store: Store, tmp_path: Path) -> None:
    """Reading counts as use, though at most once a day it is written."""
    space = store.space("m", "model")
    space.keep(entries(*range(2_000)))
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("UPDATE vectors SET used = 1 + id")
    db.close()
    space.files([state(0)])
    store.prune(store.size() // 2)
    assert space.files([state(0)])


def test_closing_keeps_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store over its limit is pruned when the run ends."""
    monkeypatch.setattr(store_module, "_IN_PASSING", 0)  # nothing is dropped before the end
    monkeypatch.setattr(store_module, "_AT_THE_END", 60)
    store = Store(tmp_path, limit=200_000)
    store.space("m", "model").keep(entries(*range(3_000)))
    assert store.size() > 200_000
    store.close()
    assert Store(tmp_path).size() <= 200_000
    Store(tmp_path, limit=0).close()
    assert Store(tmp_path).usage() == []


def test_clear_forgets_everything(store: Store, tmp_path: Path) -> None:
    """Nothing is found any more, and the file is small."""
    space = store.space("m", "model")
    space.keep(entries(*range(2_000)))
    (usage,) = store.usage()
    assert (usage.model, usage.vectors, usage.bytes) == ("model", 2_000, 2_000 * 4 * WIDTH)
    assert time.time() - usage.used < 2 * 86_400
    store.clear()
    assert store.usage() == []
    assert space.files([state(1)]) == {}
    store.close()
    assert (tmp_path / "embeddings.sqlite").stat().st_size < 200_000


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["garbage", "damaged", "truncated"])
def test_a_damaged_store_is_set_aside(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; the same run begins a new store and keeps to it; nothing is deleted."""
    file = tmp_path / "embeddings.sqlite"
    store = Store(tmp_path)
    store.space("m", "model").keep(entries(*range(200)))
    store.close()
    if how == "garbage":
        file.write_bytes(b"this is no database" * 1_000)
    elif how == "damaged":
        damage(file)
    else:
        file.write_bytes(file.read_bytes()[: 3 * 16_384 + 1_000])
    store = Store(tmp_path)
    space = store.space("m", "model")
    found = space.files([state(i) for i in range(200)])
    space.keep(entries(*range(300, 310)))
    space.keep(entries(*range(310, 320)))
    assert all(
        np.array_equal(found[state(i).path], vector(i))
        for i in range(200)
        if state(i).path in found
    )
    assert len(warnings(caplog)) == 1
    assert "set aside" in warnings(caplog)[0]
    assert list(tmp_path.glob("*.damaged-*"))
    assert len(space.files([state(i) for i in range(300, 320)])) == 20
    store.close()


def test_a_disk_that_damages_every_store_ends_its_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Three new stores are begun in one run, no more; then it goes on without one."""
    store = Store(tmp_path)
    space = store.space("m", "model")
    for _ in range(6):
        space.keep(entries(1))
        for file in tmp_path.glob("embeddings.sqlite*"):
            if "damaged" not in file.name:
                file.write_bytes(b"this is no database" * 1_000)
        space.files([state(1)])
    aside = [line for line in warnings(caplog) if "set aside" in line]
    assert len(aside) == 3
    assert "going on without" in warnings(caplog)[-1]
    assert not store.usable
    store.close()


def test_a_newer_store_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is neither used nor touched."""
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    store = Store(tmp_path)
    store.space("m", "model").keep(entries(1))
    assert not store.usable
    assert "newer" in warnings(caplog)[0]
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_store_that_cannot_be_made_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the cache folder should be."""
    (tmp_path / "cache").write_text("")
    store = Store(tmp_path / "cache")
    space = store.space("m", "model")
    space.keep(entries(1))
    assert space.files([state(1)]) == {}
    assert space.vectors([digest(1)]) == {}
    assert len(warnings(caplog)) == 1


def test_a_locked_store_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another process that does not let go costs a warning; once it does, nothing is missing."""
    store = Store(tmp_path, patience=0.1)
    space = store.space("m", "model")
    space.keep(entries(1))
    other = sqlite3.connect(tmp_path / "embeddings.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    space.keep(entries(2))
    space.keep(entries(3))
    assert space.files([state(1), state(2)]).keys() == {state(1).path}  # reading goes on
    other.execute("ROLLBACK")
    space.keep(entries(4))
    assert len(space.files([state(i) for i in range(1, 5)])) == 4
    assert len(warnings(caplog)) == 1
    assert "locked" in warnings(caplog)[0]
    other.execute("BEGIN IMMEDIATE")
    space.keep(entries(5))
    other.execute("ROLLBACK")
    other.close()
    store.close()
    assert Store(tmp_path).space("m", "model").files([state(5)])


def test_a_store_that_is_locked_at_first_is_used_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process that makes the file at this moment costs this one nothing but the wait."""
    other = sqlite3.connect(tmp_path / "embeddings.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = Store(tmp_path, patience=0.1)
    store.space("m", "model").keep(entries(1))
    other.execute("ROLLBACK")
    other.close()
    store.space("m", "model").keep(entries(2))
    assert len(store.space("m", "model").files([state(1), state(2)])) == 2
    assert len(warnings(caplog)) == 1


def test_a_full_disk_costs_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit waits; what was kept is whole, and the rest is kept once there is space."""
    space = store.space("m", "model")
    space.keep(entries(1))
    store.run(lambda db: db.execute("PRAGMA max_page_count = 13").fetchone(), None)
    space.keep(entries(*range(2, 3_000)))
    assert "full" in warnings(caplog)[0]
    assert len(space.files([state(i) for i in range(1, 3)])) == 1
    store.run(lambda db: db.execute("PRAGMA max_page_count = 10000").fetchone(), None)
    space.keep(entries(3_000))
    assert len(space.files([state(i) for i in range(1, 3_001)])) == 3_000


def test_threads_share_a_store(store: Store) -> None:
    """Eight threads write and read at once; nothing is lost."""
    space = store.space("m", "model")

    def work(part: int) -> None:
        for i in range(part * 100, part * 100 + 100):
            space.keep(entries(i))
            assert space.vectors([digest(i)])

    threads = [threading.Thread(target=work, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(space.files([state(i) for i in range(800)])) == 800


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_store import Store, entries
space = Store(Path(sys.argv[1])).space("m", "model")
print("ready", flush=True)
for i in range(int(sys.argv[3]), 10**9, 3):
    space.keep(entries(i, i + 1, i + 2))
    print(i + 2, flush=True)
"""


def start_writer(folder: Path, first: int) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), here, str(first)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """Kill -9 at a random moment: integrity holds, and all that was acknowledged is there, right."""
    first = 0
    for turn in range(5):
        writer = start_writer(tmp_path, first)
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
        kept = writer.stdout.readline()  # one at least, however busy the machine is
        time.sleep(0.03 * turn)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().splitlines(keepends=True)
        said = [line for line in (kept, *rest) if line[-1] == "\n"]
        writer.stdout.close()
        writer.wait()
        last = int(said[-1]) if said else first - 1
        with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
        found = Store(tmp_path).space("m", "model").files([state(i) for i in range(last + 1)])
        assert len(found) == last + 1
        assert all(np.array_equal(found[state(i).path], vector(i)) for i in range(last + 1))
        first = last + 1
    assert first > 0


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Neither sees "database is locked"; both finish."""
    writers = [start_writer(tmp_path, first) for first in (0, 10**6)]
    for _ in range(30):
        for writer in writers:
            assert writer.stdout
            assert writer.stdout.readline(), "a writer ended"
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert Store(tmp_path).usage()[0].vectors >= 2 * 3 * 29


# --- damage ---------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at // 8)
        byte = file.read(1)[0]
        file.seek(at // 8)
        file.write(bytes([byte ^ (1 << at % 8)]))


def test_one_flipped_bit_of_a_vector_is_noticed(store: Store, tmp_path: Path) -> None:
    """The sign of one value keeps the length: it is not taken, it is counted, and written anew."""
    space = store.space("m", "model")
    space.keep(entries(1, 2, 3))
    path = tmp_path / "embeddings.sqlite"
    for value in range(WIDTH):
        blob = vector(1)
        blob[value] *= -1
        with sqlite3.connect(path) as db:
            db.execute(
                "UPDATE vectors SET vector = ? WHERE digest = ?", (blob.tobytes(), digest(1))
            )
        db.close()
        assert space.files([state(i) for i in (1, 2, 3)]).keys() == {state(2).path, state(3).path}
        assert space.vectors([digest(1)]) == {}
    assert store.damaged == 1
    space.keep(entries(1))
    np.testing.assert_array_equal(space.vectors([digest(1)])[digest(1)], vector(1))


def test_two_flipped_bits_do_not_cancel_out() -> None:
    """Any two signs, any two neighbouring bits: another checksum."""
    row = np.random.default_rng(0).normal(size=(1, 16)).astype(np.float32)
    words = row.view(np.uint32)
    right = checksums("m", [digest(1)], row)[0]
    for bit in range(32):
        for i in range(16):
            for j in range(i):
                changed = words.copy()
                changed[0, [i, j]] ^= np.uint32(1 << bit)
                assert checksums("m", [digest(1)], changed.view(np.float32))[0] != right


def test_a_checksum_is_of_one_key_one_model_and_one_width() -> None:
    """A row that stands where another should is as wrong as one with a flipped bit."""
    row = vector(1)[None]
    sums = [
        checksums("m", [digest(1)], row),
        checksums("n", [digest(1)], row),
        checksums("m", [digest(2)], row),
        checksums("m", [digest(1)], np.pad(row, ((0, 0), (0, 2)))),
    ]
    assert len({int(each[0]) for each in sums}) == 4


def test_checksums_stay_what_they_are() -> None:
    """Stored rows outlive versions of numpy and of this program."""
    row = np.arange(5, dtype=np.float32)[None]
    assert checksums("model", [bytes(range(32))], row)[0] == -780633961009708557


@pytest.mark.parametrize("column", ["vector", "checksum", "used", "digest", "model"])
@pytest.mark.parametrize("value", ["words", 3, -1.5, b"\xff\xfe", "NULL"])
def test_a_value_of_another_type_costs_its_row(
    store: Store, tmp_path: Path, column: str, value: object
) -> None:
    """SQLite keeps any value in any column: whatever is there, the neighbours are found."""
    space = store.space("m", "model")
    space.keep(entries(1, 2))
    if value == "NULL":
        value = None if column == "checksum" else 2**62
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute(f"UPDATE vectors SET {column} = ? WHERE digest = ?", (value, digest(1)))
    db.close()
    found = space.files([state(1), state(2)])
    np.testing.assert_array_equal(found[state(2).path], vector(2))
    np.testing.assert_array_equal(found.get(state(1).path, vector(1)), vector(1))
    assert store.usage()
    space.keep(entries(1))
    assert len(space.files([state(1), state(2)])) == 2
    store.prune(0)
    assert store.usable


def test_bytes_that_are_no_text_break_nothing(store: Store, tmp_path: Path) -> None:
    """A bit flipped in a model's name: usage is shown, and vectors are found."""
    store.space("m", "model").keep(entries(1))
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("UPDATE models SET name = CAST(x'ff80' AS TEXT)")
    db.close()
    assert [usage.vectors for usage in store.usage()] == [1]
    assert store.space("m", "model").files([state(1)])


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bits_never_give_a_wrong_vector(seed: int, tmp_path: Path) -> None:
    """Forty times a flip anywhere in the file: each vector that is found is right, nothing raises."""
    moments = random.Random(seed)
    path = tmp_path / "embeddings.sqlite"
    store = Store(tmp_path)
    store.space("m", "model").keep(entries(*range(40)))
    store.close()
    whole = path.read_bytes()
    full = [i for i in range(0, len(whole), 64) if whole[i : i + 64].strip(b"\0")]
    for _ in range(40):
        path.write_bytes(whole)
        flip(path, 8 * moments.choice(full) + moments.randrange(512))
        store = Store(tmp_path)
        space = store.space("m", "model")
        found = space.files([state(i) for i in range(40)])
        assert all(
            np.array_equal(found[state(i).path], vector(i))
            for i in range(40)
            if state(i).path in found
        )
        space.keep([entry for entry in entries(*range(40)) if entry.file.path not in found])  # type: ignore[union-attr]
        again = space.vectors([digest(i) for i in range(40)])
        assert all(
            np.array_equal(row, vector(i))
            for i in range(40)
            if (row := again.get(digest(i))) is not None
        )
        store.usage()
        store.close()


# --- reading writes nothing -----------------------------------------------------------------------


def written(tmp_path: Path) -> int:
    """What SQLite counts up with each transaction that writes."""
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        (oldest,) = db.execute("SELECT min(used) FROM vectors").fetchone()
    db.close()
    return int(oldest)


def test_reading_writes_nothing(store: Store, tmp_path: Path) -> None:
    """What was used today is not written down again: a warm run leaves the file as it is."""
    space = store.space("m", "model")
    space.keep(entries(*range(20)))
    hour = int(time.time()) - 3_600
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("UPDATE vectors SET used = ?", (hour,))
    db.close()
    before = store.run(lambda db: db.total_changes, -1)
    assert len(space.files([state(i) for i in range(20)])) == 20
    assert len(space.vectors([digest(i) for i in range(20)])) == 20
    space.keep([])
    assert store.run(lambda db: db.total_changes, -1) == before
    store.close()
    assert written(tmp_path) == hour


def test_what_was_used_long_ago_is_noted_once(store: Store, tmp_path: Path) -> None:
    """Use after more than a day is written when the run ends, so that it is not dropped first."""
    space = store.space("m", "model")
    space.keep(entries(1))
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("UPDATE vectors SET used = 5")
    db.close()
    assert space.files([state(1)])
    assert written(tmp_path) == 5
    store.close()
    assert written(tmp_path) > 5


# --- the limit ------------------------------------------------------------------------------------


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("embeddings.sqlite*"))


def test_the_limit_bounds_the_disk_during_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stores thirty times its limit never takes much more; what it drops, it counts."""
    monkeypatch.setattr(store_module, "_IN_PASSING", 60)  # however slow this disk is
    monkeypatch.setattr(store_module, "_AT_THE_END", 60)
    limit = 400_000
    store = Store(tmp_path, limit=limit)
    space = store.space("m", "model")
    wide = np.eye(1, 768, dtype=np.float32)[0]
    most = 0
    for first in range(0, 4_000, 16):
        space.keep([Entry(digest(i), wide, state(i)) for i in range(first, first + 16)])
        most = max(most, disk(tmp_path))
    assert store.size() <= limit
    assert most <= limit + 700_000  # the write-ahead log, and one batch
    dropped = store.evicted
    assert len(space.files([state(i) for i in range(4_000)])) == 4_000 - dropped > 0
    store.close()
    assert disk(tmp_path) <= limit
    assert f"{dropped:,} stored embeddings were dropped" in warnings(caplog)[-1]


def test_no_more_is_dropped_than_the_limit_asks(tmp_path: Path) -> None:
    """One byte over the limit costs a page, not a tenth of the store."""
    store = Store(tmp_path)
    store.space("m", "model").keep(entries(*range(3_000)))
    size = store.size()
    store.close()
    store = Store(tmp_path, limit=size - 1)
    store.close()
    again = Store(tmp_path)
    assert 2_500 < again.usage()[0].vectors < 3_000
    assert store.evicted == 3_000 - again.usage()[0].vectors


def test_others_write_while_a_store_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning is many small transactions: a run beside it stores all of its own."""
    monkeypatch.setattr(pruning, "_PAUSE", 0.05)  # batches take longer on a slow machine
    Store(tmp_path).space("m", "model").keep(entries(*range(12_000)))
    done = threading.Event()

    def prune() -> None:
        Store(tmp_path).prune(250_000)
        done.set()

    store = Store(tmp_path, patience=1.0)
    space = store.space("n", "other")
    thread = threading.Thread(target=prune)
    thread.start()
    turns = 0
    while not done.is_set():
        space.keep(entries(turns))
        turns += 1
    thread.join()
    store.close()
    assert turns > 10
    assert store.usable is False
    assert Store(tmp_path).usage()


# --- schema 1 -------------------------------------------------------------------------------------

SCHEMA_1 = """
PRAGMA page_size = 16384;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
CREATE TABLE models (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    width INTEGER NOT NULL);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, model INTEGER NOT NULL, digest BLOB NOT NULL, used INTEGER NOT NULL,
    vector BLOB NOT NULL);
CREATE UNIQUE INDEX vectors_of ON vectors (model, digest);
CREATE INDEX vectors_used ON vectors (used);
CREATE TABLE files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, inode INTEGER NOT NULL,
    digest BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO models VALUES (1, 'm', 'model', 8), (2, 'n', 'other', 8);
PRAGMA user_version = 1;
"""


def first_schema(path: Path, count: int) -> None:
    """Write a store as the first version did."""
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_1)
    for model in (1, 2):
        db.executemany(
            "INSERT INTO vectors (model, digest, used, vector) VALUES (?, ?, 7, ?)",
            [(model, digest(i), vector(model * i).tobytes()) for i in range(1, count + 1)],
        )
    db.executemany(
        "INSERT INTO files VALUES (?, 10, 1, ?, ?)",
        [(state(i).path, i, digest(i)) for i in range(1, count + 1)],
    )
    db.commit()
    db.close()


def old_connect(path: Path) -> sqlite3.Connection:
    """Open a store as the first version does."""
    connection = sqlite3.connect(path, isolation_level=None)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > 1:
        connection.close()
        raise RuntimeError("it was written by a newer siglip")
    return connection


def assert_migrated(folder: Path, count: int) -> None:
    store = Store(folder)
    for model, name in ((1, "m"), (2, "n")):
        found = store.space(name, "model").vectors([digest(i) for i in range(1, count + 1)])
        assert len(found) == count
        assert all(np.array_equal(found[digest(i)], vector(model * i)) for i in range(1, count + 1))
    assert store.damaged == 0
    store.close()


def test_a_store_of_the_first_schema_keeps_every_vector(tmp_path: Path) -> None:
    """Each is found by its content, with a checksum; files are looked at once more, for their ctime."""
    path = tmp_path / "embeddings.sqlite"
    first_schema(path, 2_500)
    assert_migrated(tmp_path, 2_500)
    assert Store(tmp_path).space("m", "model").files([state(1)]) == {}
    with pytest.raises(RuntimeError, match="newer siglip"):
        old_connect(path)


def test_a_damaged_row_of_the_first_schema_is_not_taken_over(tmp_path: Path) -> None:
    """What its own check would refuse gets no checksum."""
    path = tmp_path / "embeddings.sqlite"
    first_schema(path, 3)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE vectors SET vector = zeroblob(32) WHERE digest = ?", (digest(2),))
    db.close()
    found = Store(tmp_path).space("m", "model").vectors([digest(i) for i in (1, 2, 3)])
    assert found.keys() == {digest(1), digest(3)}


def test_an_older_program_that_still_runs_is_left_its_tables(tmp_path: Path) -> None:
    """It cannot write any more, and says so; it neither sets the store aside nor spoils it."""
    path = tmp_path / "embeddings.sqlite"
    first_schema(path, 5)
    older = old_connect(path)
    older.execute("SELECT digest FROM files").fetchall()
    assert_migrated(tmp_path, 5)
    older.execute("SELECT path, size, mtime, inode, digest FROM files").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="columns") as complaint:
        older.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (b"p", 1, 1, 1, b"d"))
    assert not any(
        word in str(complaint.value) for word in ("malformed", "not a database", "no such")
    )
    older.close()


MIGRATE = """
import sys, time
batches = []
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from siglipcli.store import database
database._BATCH = 50
plain = database._add_batch
def slowly(db):
    print("batch", flush=True)
    batches.append(db)
    if len(batches) == 6:
        time.sleep(600)  # it is killed before that ends
    return plain(db)
database._add_batch = slowly
database.connect(Path(sys.argv[1]), 10, None)
"""


def test_a_killed_migration_goes_on_where_it_was(tmp_path: Path) -> None:
    """Kill -9 after the first batches, twice; the next run finishes it, and no vector is missing."""
    path = tmp_path / "embeddings.sqlite"
    first_schema(path, 2_000)
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", MIGRATE, str(path), str(Path(__file__).parents[1])],
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout
            for _ in range(4):
                assert process.stdout.readline() == "batch\n"
            process.kill()
        db = sqlite3.connect(path)
        missing = db.execute("SELECT count(*) FROM vectors WHERE checksum IS NULL").fetchone()[0]
        db.close()
        assert 0 < missing < 4_000
    assert_migrated(tmp_path, 2_000)


# --- who may read it ------------------------------------------------------------------------------


def test_the_store_is_private(tmp_path: Path) -> None:
    """Its folder is the user's alone, and so is every file in it."""
    store = Store(tmp_path / "cache")
    store.space("m", "model").keep(entries(1))
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    store.close()
