"""Vectors in files: what is saved comes back, from any form, and nothing else is taken."""

from __future__ import annotations

import json
import os
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli import embedding_files as vectors
from siglipcli.embedding_files import About
from siglipcli.embeddings import Batch
from siglipcli.errors import OutputError, UsageError
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ENDINGS = ["npz", "npy", "parquet", "jsonl"]
ABOUT = About("demo", "abc-torch-cpu-fp32")
ODD = [
    "a.jpg",
    "caf\u00e9 \u732b.png",
    "line\nbreak.jpg",
    "=cmd,\"'.jpg",
    "not-utf8-\udcff\udce9.jpg",
]
FAILED = Failure("bad.jpg", "truncated", "The file ends before the image does.")


def unit(count: int, width: int = 8) -> NDArray[np.float32]:
    rows = np.random.default_rng(count).standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def batch(names: Sequence[str], rows: NDArray[np.float32]) -> Batch:
    return Batch([Source(name) for name in names], rows, [False] * len(names))


def saved(path: Path, *batches: Batch, about: About = ABOUT) -> Path:
    with vectors.save(path, about) as sink:
        for each in batches:
            sink.write(each)
    return path


def loaded(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names and vectors of a file; no failures."""
    batches = list(vectors.load(path).batches())
    names = [source.name for each in batches for source in each.sources]
    return names, np.concatenate([each.vectors for each in batches] or [unit(0)])


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_saved_comes_back(ending: str, tmp_path: Path) -> None:
    """Names of any bytes and vectors, bit for bit, in order, from several batches."""
    rows = unit(len(ODD))
    path = saved(tmp_path / f"v.{ending}", batch(ODD[:2], rows[:2]), batch(ODD[2:], rows[2:]))
    names, found = loaded(path)
    assert names == ODD
    np.testing.assert_array_equal(found, rows)
    assert found.dtype == np.float32
    assert vectors.load(path).about == ABOUT


@pytest.mark.parametrize("ending", ENDINGS)
def test_more_rows_than_are_read_at_a_time(ending: str, tmp_path: Path) -> None:
    """Files are read in pieces; the pieces make the whole, and it can be read twice."""
    rows, names = unit(9_000, 3), [f"{i}.jpg" for i in range(9_000)]
    pieces = [batch(names[i : i + 700], rows[i : i + 700]) for i in range(0, 9_000, 700)]
    path = saved(tmp_path / f"v.{ending}", *pieces)
    for _ in range(2):
        found_names, found = loaded(path)
        assert found_names == names
        np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize("ending", ["npz", "npy", "parquet"])
def test_a_run_without_images_gives_an_empty_file(ending: str, tmp_path: Path) -> None:
    """No vectors are no error: the file is there, says whose it is, and holds none."""
    path = saved(tmp_path / f"v.{ending}")
    assert vectors.load(path).about == ABOUT
    assert loaded(path)[0] == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_texts_are_told_from_images(ending: str, tmp_path: Path) -> None:
    """A file of texts says so."""
    about = About("demo", "abc-x", "text")
    path = saved(tmp_path / f"v.{ending}", batch(["a cat", "a dog"], unit(2)), about=about)
    assert vectors.load(path).about == about
    assert loaded(path)[0] == ["a cat", "a dog"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_json_lines_has_rows_for_failures(ending: str, tmp_path: Path) -> None:
    """A failure keeps its place and its reason in .jsonl; elsewhere it leaves no row."""
    rows = unit(2)
    mixed = Batch([Source("a.jpg"), FAILED, Source("b.jpg")], rows, [True, False])
    path = saved(tmp_path / f"v.{ending}", mixed)
    items = [item for each in vectors.load(path).batches() for item in each.items]
    kept = [FAILED] if ending == "jsonl" else []
    assert [i.file if isinstance(i, Failure) else i.name for i in items] == (
        ["a.jpg", "bad.jpg", "b.jpg"] if kept else ["a.jpg", "b.jpg"]
    )
    assert [item for item in items if isinstance(item, Failure)] == kept


def test_numpy_reads_what_numpy_users_expect(tmp_path: Path) -> None:
    """`numpy.load` without pickle gives plain arrays: vectors, files, model, fingerprint."""
    rows = unit(len(ODD))
    with np.load(saved(tmp_path / "v.npz", batch(ODD, rows)), allow_pickle=False) as archive:
        assert sorted(archive) == ["files", "fingerprint", "model", "vectors"]
        assert archive["files"].tolist() == ODD
        assert str(archive["model"]) == "demo"
        np.testing.assert_array_equal(archive["vectors"], rows)
    matrix = np.load(saved(tmp_path / "v.npy", batch(ODD, rows)), allow_pickle=False)
    np.testing.assert_array_equal(matrix, rows)
    lines = (tmp_path / "v.npy.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {"model": "demo", "fingerprint": ABOUT.fingerprint}
    assert json.loads(lines[1]) == {"file": "a.jpg"}


def test_pyarrow_reads_a_plain_table(tmp_path: Path) -> None:
    """Columns file, file_bytes (only where needed) and vector, a list of fixed length."""
    from pyarrow import parquet

    table = parquet.read_table(saved(tmp_path / "v.parquet", batch(ODD, unit(len(ODD)))))
    assert table.column_names == ["file", "file_bytes", "vector"]
    assert table["file_bytes"].to_pylist() == [None] * 4 + [os.fsencode(ODD[4])]
    assert table["file"].to_pylist()[:2] == ODD[:2]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[8]"


def test_json_lines_hold_what_all_answers_hold(tmp_path: Path) -> None:
    """Keys as in other answers; numbers that give the same float32 back."""
    path = saved(tmp_path / "v.jsonl", Batch([Source(ODD[4]), FAILED], unit(1), [False]))
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert list(first) == ["file", "file_bytes", "status", "model", "fingerprint", "vector"]
    assert second["error"]["kind"] == "truncated"
    np.testing.assert_array_equal(np.float32(first["vector"]), unit(1)[0])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=30).filter(lambda b: b"\0" not in b), max_size=5),
    st.sampled_from(ENDINGS),
)
def test_any_file_name_survives(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes], ending: str
) -> None:
    """Whatever bytes a name has, it comes back."""
    if not names and ending == "jsonl":
        return
    path = tmp_path_factory.mktemp("v") / f"v.{ending}"
    decoded = [os.fsdecode(name) for name in names]
    assert loaded(saved(path, batch(decoded, unit(len(names)))))[0] == decoded


# --- what is not taken ----------------------------------------------------------------------------


def test_an_unknown_ending_names_the_known_ones(tmp_path: Path) -> None:
    """Neither written nor read."""
    for act in (vectors.load, lambda path: vectors.save(path, ABOUT), vectors.check):
        with pytest.raises(UsageError, match=r"\.npz, \.npy, \.parquet, \.jsonl"):
            act(tmp_path / "v.txt")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_missing_file_is_said(ending: str, tmp_path: Path) -> None:
    """Its name and what the system says."""
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        vectors.load(tmp_path / f"v.{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("how", ["empty", "garbage", "cut"])
def test_a_damaged_file_is_refused(ending: str, how: str, tmp_path: Path) -> None:
    """At once or where the damage is met: an error that names the file, no wrong vector."""
    rows, names = unit(3_000), [f"{i}.jpg" for i in range(3_000)]
    path = saved(tmp_path / f"v.{ending}", batch(names, rows))
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": b"\x93no\n" * 99, "cut": content[: len(content) // 2]}[how]
    )
    with pytest.raises(UsageError, match=r"v\."):
        loaded(path)


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_nothing_is_unpickled(ending: str, tmp_path: Path) -> None:
    """An array of objects is refused unread, whatever it would run."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    trap, path = np.array([Trap()], dtype=object), tmp_path / f"v.{ending}"
    if ending == "npz":
        np.savez(path, vectors=trap, files=np.array(["a"]), model="m", fingerprint="f")
    else:
        saved(path, batch(["a"], unit(1)))
        np.save(path, trap, allow_pickle=True)
    assert b"system" in path.read_bytes()
    with pytest.raises(UsageError, match="pickled objects"):
        loaded(path)
    assert not (tmp_path / "sprung").exists()


def test_a_matrix_without_its_names_is_refused(tmp_path: Path) -> None:
    """Names that are missing, or too few or too many, are never guessed."""
    path = saved(tmp_path / "v.npy", batch(["a", "b"], unit(2)))
    names = tmp_path / "v.npy.jsonl"
    lines = names.read_text().splitlines(keepends=True)
    names.write_text("".join(lines[:-1]))
    with pytest.raises(UsageError, match="more vectors than names"):
        loaded(path)
    names.write_text("".join([*lines, lines[-1]]))
    with pytest.raises(UsageError, match="fewer vectors than names"):
        loaded(path)
    names.unlink()
    with pytest.raises(UsageError, match=r"v\.npy\.jsonl is missing"):
        loaded(path)


def test_a_zip_of_other_arrays_is_refused(tmp_path: Path) -> None:
    """What embed did not write is said to be so."""
    np.savez(tmp_path / "v.npz", x=unit(2))
    with pytest.raises(UsageError, match="no arrays called vectors and files"):
        vectors.load(tmp_path / "v.npz")
    np.savez(
        tmp_path / "w.npz", vectors=unit(3), files=np.array(["a", "b"]), model="m", fingerprint="f"
    )
    with pytest.raises(UsageError, match="not as many vectors as names"):
        vectors.load(tmp_path / "w.npz")


def test_two_models_in_one_file_are_refused(tmp_path: Path) -> None:
    """Lines of two files put together do not pass for one model's."""
    one = saved(tmp_path / "a.jsonl", batch(["a"], unit(1)))
    two = saved(tmp_path / "b.jsonl", batch(["b"], unit(1)), about=About("other", "def-x"))
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(UsageError, match="two models, demo and other"):
        loaded(one)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_that_is_no_unit_vector_is_a_failure(ending: str, tmp_path: Path) -> None:
    """Its cosine would be wrong: the row fails, the others stand."""
    rows = unit(4).copy()
    rows[1] *= 3
    rows[2, 0] = np.inf if ending != "jsonl" else 0
    if ending == "jsonl":
        rows[2] = 0
    path = saved(tmp_path / f"v.{ending}", batch(list("abcd"), rows))
    (found,) = vectors.load(path).batches()
    failed = [(f.file, f.kind) for f in found.failures]
    assert failed == [("b", "not_unit"), ("c", "non_finite" if ending != "jsonl" else "not_unit")]
    np.testing.assert_array_equal(found.vectors, rows[[0, 3]])


# --- how they are written -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_that_fails_leaves_the_old_file(ending: str, tmp_path: Path) -> None:
    """What was there stays as it was, and nothing is left beside it."""
    path = saved(tmp_path / f"v.{ending}", batch(["old"], unit(1)))
    before = sorted(tmp_path.iterdir())

    def interrupted() -> None:
        with vectors.save(path, ABOUT) as sink:
            sink.write(batch(["new", "newer"], unit(2)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert loaded(path)[0] == ["old"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("ending", ["npz", "npy", "parquet"])
def test_arrays_are_not_written_to_a_device(ending: str, tmp_path: Path) -> None:
    """They are written out of order; a pipe takes .jsonl."""
    fifo = tmp_path / f"v.{ending}"
    os.mkfifo(fifo)
    with pytest.raises(OutputError, match="no regular file"), vectors.save(fifo, ABOUT):
        pass


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_that_is_not_there_is_named(ending: str, tmp_path: Path) -> None:
    """Said before anything is written."""
    with (
        pytest.raises(OutputError, match="its folder does not exist"),
        vectors.save(tmp_path / "no" / f"v.{ending}", ABOUT),
    ):
        pass


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    """The write error of the system, said with the file's name."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for ending in ("npz", "npy", "jsonl"):
            with pytest.raises(OutputError, match=r"write error: .*v\."):
                saved(tmp_path / f"v.{ending}", batch([str(i) for i in range(9_000)], unit(9_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra's name; said before any work."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'siglipcli\[parquet\]'"):
        vectors.check(tmp_path / "v.parquet")
    with pytest.raises(UsageError, match="pyarrow"), vectors.save(tmp_path / "v.parquet", ABOUT):
        pass


def test_names_cost_little_room(tmp_path: Path) -> None:
    """One long name does not make the archive grow by its length for every row."""
    names = ["x" * 4_000, *(f"{i}.jpg" for i in range(2_000))]
    path = saved(tmp_path / "v.npz", batch(names, unit(2_001)))
    assert path.stat().st_size < 2_001 * 8 * 4 + 100_000
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_one_checkpoint_is_comparable_on_any_runtime() -> None:
    """Runtime and precision change the last digits; another checkpoint changes the space."""
    assert ABOUT.is_comparable("abc-openvino-bf16")
    assert not ABOUT.is_comparable("abd-torch-cpu-fp32")
