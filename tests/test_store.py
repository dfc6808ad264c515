"""The embedding store: found again, never wrong, never in the way."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from siglipcli.store import Entry, FileState, Store, content_digest, file_state, text_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 8


def vector(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=WIDTH)
    return (row / np.linalg.norm(row)).astype(np.float32)


def digest(seed: int) -> bytes:
    return content_digest(str(seed).encode())


def state(seed: int, *, mtime: int = 1) -> FileState:
    return FileState(f"/photos/{seed}.jpg".encode(), 10, mtime, seed)


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
    """Another size, mtime or inode means another image until its content is read."""
    space = store.space("m", "model")
    space.keep(entries(1))
    path, size, mtime, inode = b"/photos/1.jpg", 10, 1, 1
    for changed in [(size + 1, mtime, inode), (size, mtime + 1, inode), (size, mtime, inode + 1)]:
        assert space.files([FileState(path, *changed)]) == {}
    space.keep([Entry(digest(1), None, FileState(path, size, 2, inode))])
    assert space.files([FileState(path, size, 2, inode)]).keys() == {path}


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
    file = tmp_path / "a"
    file.write_bytes(b"1")
    os.utime(file, ns=(0, 10**9))
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


def test_a_file_changed_just_now_has_no_state(tmp_path: Path) -> None:
    """Its mtime may not move at the next change; a file at rest has one, a missing one has none."""
    file = tmp_path / "a"
    file.write_bytes(b"1")
    assert file_state(file) is None
    os.utime(file, ns=(0, time.time_ns() - 10**9))
    found = file_state(file)
    assert found
    assert (found.size, found.path) == (1, os.fsencode(file))
    assert file_state(tmp_path / "b") is None


def test_a_relative_path_is_kept_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name in another folder is another file."""
    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", ns=(0, 10**9))
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


def test_closing_keeps_to_the_limit(tmp_path: Path) -> None:
    """A store over its limit is pruned when the run ends."""
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
    assert [(u.model, u.vectors) for u in store.usage()] == [("model", 2_000)]
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
    """One warning; the run goes on without; the next one starts anew; nothing is deleted."""
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
    store.close()
    assert all(
        np.array_equal(found[state(i).path], vector(i))
        for i in range(200)
        if state(i).path in found
    )
    if store.usable or not warnings(caplog):
        pytest.fail("a damaged store was not noticed")
    assert len(warnings(caplog)) == 1
    assert list(tmp_path.glob("*.damaged-*"))
    fresh = Store(tmp_path).space("m", "model")
    fresh.keep(entries(1))
    assert fresh.files([state(1)])


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


def test_a_locked_store_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that does not let go is waited for, then done without."""
    monkeypatch.setattr("siglipcli.store.database.BUSY", 0.1)
    store = Store(tmp_path)
    other = sqlite3.connect(tmp_path / "embeddings.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.space("m", "model").keep(entries(1))
    other.execute("ROLLBACK")
    other.close()
    assert not store.usable
    assert "locked" in warnings(caplog)[0]


def test_a_full_disk_costs_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit is not kept; what was kept is whole."""
    space = store.space("m", "model")
    space.keep(entries(1))
    store.run(lambda db: db.execute("PRAGMA max_page_count = 8").fetchone(), None)
    space.keep(entries(*range(2, 5_000)))
    assert "full" in warnings(caplog)[0]


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
        time.sleep(0.02 + 0.03 * turn)
        writer.send_signal(signal.SIGKILL)
        said = [line for line in writer.stdout.read().splitlines(keepends=True) if line[-1] == "\n"]
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
    time.sleep(1.5)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    counts = [len(writer.communicate()[0].splitlines()) for writer in writers]
    assert min(counts) > 5
    assert Store(tmp_path).usage()[0].vectors >= 3 * (sum(counts) - 2)
