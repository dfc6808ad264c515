"""`siglip batch`: the rows of `siglip classify` for tars, Parquet and prefixes, resumed after whatever happened."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from batch_inputs import (
    add,
    drawings,
    jsonl,
    rows_of,
    s3_server,
    scores,
    shards,
    store_credentials,
    table,
    tar,
    upload,
    write,
)
from pyarrow import parquet
from settings import settle
from typer.testing import CliRunner

from siglipcli.batch import braces, plan
from siglipcli.batch.progress import Progress
from siglipcli.batch.shards import Outcome
from siglipcli.batch.storage import Folder, Storage
from siglipcli.batch.uris import redacted
from siglipcli.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

LABELS = ["-L", "red circle", "-L", "blue heart", "-L", "green star"]
IMAGES = drawings(500)
FEW = {name: IMAGES[name] for name in list(IMAGES)[:6]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        store_credentials(patch)
        with s3_server() as query:
            yield query


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    settle(monkeypatch, tmp_path, cache, columns=100)


def run(*arguments: str | Path, labels: list[str] = LABELS, status: int = 0) -> Result:
    """Run `siglip batch ARGUMENTS`, which ends with this status."""
    result = CliRunner().invoke(app, ["batch", *map(str, arguments), *labels])
    assert result.exit_code == status, result.output
    return result


def summary(output: Path) -> dict[str, Any]:
    return json.loads((output / "_summary.json").read_text())


# --- the same rows --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classified(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `siglip classify` says of the 500 images, by name."""
    folder = write(tmp_path_factory.mktemp("images"), IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        settle(patch, folder.parent, cache)
        result = CliRunner().invoke(
            app, ["classify", str(folder), "--format", "jsonl", "--all", *LABELS]
        )
    return {Path(row["file"]).name: scores(row) for row in jsonl(result.stdout)}


def inputs(kind: str, folder: Path) -> tuple[dict[str, bytes], str]:
    """The 500 images as one kind of input: files by name, and what names them below their folder."""
    if kind == "files":
        return {f"in/{name}": data for name, data in IMAGES.items()}, "in/"
    if kind == "tars":
        parts = enumerate(shards(IMAGES, 200))
        return {f"in/{i:02d}.tar": tar(part) for i, part in parts}, "in/{00..02}.tar"
    if kind == "bytes":
        names, data = list(IMAGES), list(IMAGES.values())
        columns: dict[str, Any] = {"id": names, "image": [{"bytes": d, "path": None} for d in data]}
        files = {}
    else:
        columns = {"id": list(IMAGES), "path": [f"raw/{name}" for name in IMAGES]}
        files = {f"in/raw/{name}": data for name, data in IMAGES.items()}
    made = table(columns, folder / "made.parquet", rows=150).read_bytes()
    return {**files, "in/images.parquet": made}, "in/images.parquet"


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        *(("files", "local"), ("tars", "local"), ("bytes", "local"), ("paths", "local")),
        *(("tars", "s3"), ("bytes", "s3")),
        pytest.param("files", "s3", marks=pytest.mark.full),
        pytest.param("paths", "s3", marks=pytest.mark.full),
    ],
)
def test_rows_are_those_of_classify(
    kind: str, where: str, classified: dict[str, Any], store: str, tmp_path: Path
) -> None:
    """500 images as files, tars, Parquet bytes and Parquet paths, here and in an object store: equal to 1e-6."""
    files, name = inputs(kind, tmp_path)
    filesystem = None
    if where == "s3":
        filesystem = upload(store, {f"{kind}/{file}": data for file, data in files.items()})
        source, output, read = (
            f"s3://{kind}/{name}{store}",
            f"s3://{kind}/out{store}",
            f"{kind}/out",
        )
    else:
        for file, data in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(data)
        source, output, read = str(tmp_path / name), str(tmp_path / "out"), str(tmp_path / "out")
    keep = ["--keep", "id"] if kind in {"bytes", "paths"} else []
    run(source, "-o", output, "--all", "--shard-size", "200", *keep)
    rows = rows_of(read, filesystem)
    assert len(rows) == len(classified)
    for row in rows:
        key = row.get("id") or Path(row.get("path") or f"{row['key']}.jpg").name
        expected = classified[key]
        assert row["status"] == "ok"
        assert scores(row).keys() == expected.keys()
        assert row["tags"] == [label["label"] for label in row["labels"] if label["tag"]]
        for label, numbers in scores(row).items():
            assert numbers == pytest.approx(expected[label], abs=1e-6, rel=1e-6)
    assert len({row.get("path") or (row["source"], row["key"]) for row in rows}) == len(IMAGES)


# --- resume, refusal, retry -----------------------------------------------------------------------


def test_the_same_command_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Shards whose part is there are not done again; new shards are; the summary counts all."""
    write(tmp_path, {f"{i}.tar": tar(part) for i, part in enumerate(shards(FEW, 2))})
    run("{0..2}.tar", "-o", "out", "--max-shards", "2")
    before = {part: part.stat().st_mtime_ns for part in Path("out").glob("part-*")}
    assert len(before) == 2
    result = run("{0..2}.tar", "-o", "out")
    assert "3 shards: 2 done, 1 to do" in result.stderr
    assert {part: part.stat().st_mtime_ns for part in before} == before
    assert sorted(row["key"] for row in rows_of("out")) == [Path(name).stem for name in FEW]
    assert summary(Path("out"))["rows"] == 6
    assert summary(Path("out"))["this_run"]["rows"] == 2
    assert not list(Path("out").glob("_attempts/*"))
    assert not Path("out/_temporary").exists()


def test_new_files_of_a_folder_become_new_shards(tmp_path: Path) -> None:
    """The listing is stored: what was there stays cut as it was, what came later is a shard of its own."""
    folder = write(tmp_path / "photos", FEW)
    run("photos", "-o", "out", "--shard-size", "4")
    write(folder, {"0001b.jpg": IMAGES["0100.jpg"]})
    result = run("photos", "-o", "out", "--shard-size", "4")
    assert "3 shards: 2 done, 1 to do" in result.stderr
    names = [Path(row["path"]).name for row in rows_of("out")]
    assert sorted(names) == sorted([*FEW, "0001b.jpg"])
    assert [part.name for part in sorted(Path("out").glob("part-*"))] == [
        "part-files-00000-000000.parquet",
        "part-files-00000-000001.parquet",
        "part-files-00001-000000.parquet",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-L", "another"], "its label sets is"),
        (["--embeddings"], "its columns is"),
        (["--top", "1"], 'its scoring is {"top": 5}, not {"top": 1}'),
    ],
)
def test_another_run_into_the_same_folder_is_refused(
    options: list[str], said: str, tmp_path: Path
) -> None:
    """Rows that do not fit together never lie together; the message says what differs."""
    write(tmp_path, {"a.tar": tar(FEW)})
    run("a.tar", "-o", "out")
    result = run("a.tar", "-o", "out", *options, status=2)
    assert said in " ".join(result.stderr.split())
    assert "Choose another --output" in " ".join(result.stderr.split())


def test_a_folder_with_other_parquet_is_refused(tmp_path: Path) -> None:
    """A user's own Parquet files are not mixed with parts."""
    write(tmp_path, {"a.tar": tar(FEW)})
    (tmp_path / "out").mkdir()
    table({"x": [1]}, tmp_path / "out" / "own.parquet")
    assert "no part of a run" in run("a.tar", "-o", "out", status=2).stderr


def test_a_bad_image_is_a_row_and_status_1(tmp_path: Path) -> None:
    """Nothing is dropped: broken, missing and imageless samples say why they have no result."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        add(members, "good.jpg", IMAGES["0000.jpg"])
        add(members, "bad.jpg", b"no image at all")
        add(members, "text.json", b"{}")
        add(members, "__index__.json", b"{}")
    write(tmp_path, {"a.tar": archive.getvalue()})
    run("a.tar", "-o", "out", "--embeddings", status=1)
    rows = {row["key"]: row for row in rows_of("out")}
    assert {key: row["error_kind"] for key, row in rows.items()} == {
        "good": None,
        "bad": "unidentified",
        "text": "no_image",
    }
    assert (rows["bad"]["labels"], rows["bad"]["tags"]) == ([], [])
    assert set(rows["bad"]["embedding"]) == {None}
    assert len(rows["bad"]["embedding"]) == len(rows["good"]["embedding"])
    assert summary(tmp_path / "out")["failures"] == {"unidentified": 1, "no_image": 1}


def cuts() -> dict[str, bytes]:
    whole = tar(FEW)
    compressed = gzip.compress(whole)
    member = len(tar({name: FEW[name] for name in list(FEW)[:3]}).rstrip(b"\0"))
    end = (member + 511) // 512 * 512
    garbage = whole[:end] + b"x" * 512 + whole[end:]
    zstd = pa.Codec("zstd").compress(whole, asbytes=True)
    return {
        "inside.tar": whole[: end + 700],
        "between.tar": whole[:end],
        "garbage.tar": garbage,
        "half.tar.gz": compressed[: len(compressed) // 2],
        "half.tar.zst": zstd[: len(zstd) // 2],
        "empty.tar": b"",
    }


@pytest.mark.parametrize("name", cuts())
def test_a_tar_cut_short_gives_what_is_before_the_cut(name: str, tmp_path: Path) -> None:
    """The rows before the cut, one failed row for the rest, and a shard that is done again on demand."""
    write(tmp_path, {name: cuts()[name]})
    result = run(name, "-o", "out", status=1)
    *good, last = rows_of("out")
    assert [row["key"] for row in good] == [Path(each).stem for each in FEW][: len(good)]
    assert all(row["status"] == "ok" for row in good)
    assert len(good) < len(FEW)
    assert (last["key"], last["error_kind"]) == (name, "truncated")
    if name not in {"empty.tar", "half.tar.zst", "half.tar.gz"}:
        assert len(good) == 3
    assert "incomplete" in result.stderr
    assert len(list(Path("out/_failed").iterdir())) == 1

    whole = {"tar": tar(FEW), "gz": gzip.compress(tar(FEW))}
    whole["zst"] = pa.Codec("zstd").compress(tar(FEW), asbytes=True)
    write(tmp_path, {name: whole[name.rpartition(".")[2]]})
    run(name, "-o", "out", status=1)  # what is there is not done again
    run(name, "-o", "out", "--retry-failed")
    assert [row["status"] for row in rows_of("out")] == ["ok"] * 6
    assert not list(Path("out/_failed").iterdir())


def test_a_shard_that_cannot_be_read_is_set_aside_and_the_run_goes_on(tmp_path: Path) -> None:
    """Its reason is in _failed; the others are done, and --retry-failed tries it again."""
    write(tmp_path, {"0.tar": tar(FEW)})
    result = run("{0..1}.tar", "-o", "out", status=1)
    assert "there is no such file" in result.stderr
    (note,) = Path("out/_failed").iterdir()
    assert json.loads(note.read_text())["reason"] == "1.tar: there is no such file."
    assert summary(Path("out"))["shards"] == {"done": 1, "incomplete": 0, "failed": 1}
    again = run("{0..1}.tar", "-o", "out", status=1)
    assert "--retry-failed tries them again" in again.stderr
    write(tmp_path, {"1.tar": tar(dict(list(IMAGES.items())[10:12]))})
    run("{0..1}.tar", "-o", "out", "--retry-failed")
    assert len(rows_of("out")) == 8
    assert summary(Path("out"))["shards"] == {"done": 2, "incomplete": 0, "failed": 0}


def test_a_shard_that_ended_its_worker_three_times_is_set_aside_by_name(tmp_path: Path) -> None:
    """What a killed process leaves behind is counted, and the third time was the last."""
    write(tmp_path, {"0.tar": tar(FEW), "1.tar": tar(FEW)})
    (shard, _) = plan.Inputs.of(("{0..1}.tar",)).shards(Folder("out"))
    write(tmp_path / "out" / "_attempts", {f"{shard.id}.json": b'{"begun": 3}'})
    run("{0..1}.tar", "-o", "out", status=1)
    assert json.loads(Path(f"out/_failed/{shard.id}.json").read_text())["reason"] == (
        "It ended its worker 3 times."
    )
    assert {row["source"] for row in rows_of("out")} == {"1.tar"}
    run("{0..1}.tar", "-o", "out", "--retry-failed")
    assert len(rows_of("out")) == 12


# --- what is read ---------------------------------------------------------------------------------


def test_members_and_columns_are_kept(tmp_path: Path) -> None:
    """Beside its result each image has the user's own ids, with the types they had."""
    write(
        tmp_path, {"a.tar": tar(FEW, json='{"url": "http://x/KEY", "n": {"deep": 1}}', txt="ü KEY")}
    )
    run("a.tar", "-o", "one", "--keep", "json.url,json.n.deep", "--keep", "txt")
    row = rows_of("one")[1]
    assert (row["url"], row["deep"], row["txt"]) == ("http://x/0001", "1", "ü 0001")
    raw = list(FEW.values())
    columns = {"id": pa.array(range(6), pa.uint16()), "jpg": raw, "where": ["a", None] * 3}
    table(columns, tmp_path / "b.parquet")
    run("b.parquet", "-o", "two", "--keep", "id,where")
    (part,) = Path("two").glob("part-*")
    assert parquet.read_schema(part).field("id").type == pa.uint16()
    assert [(row["key"], row["id"], row["where"]) for row in rows_of("two")][:2] == [
        ("0", 0, "a"),
        ("1", 1, None),
    ]
    assert "has no column 'no'" in run("b.parquet", "-o", "3", "--keep", "no", status=2).stderr
    clash = run("a.tar", "-o", "3", "--keep", "status", status=2)
    assert "name of another column" in clash.stderr


def test_webdataset_key_rules(tmp_path: Path) -> None:
    """A key is all before the first dot of the base name, folders included; a plain extension is the image."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        add(members, "a.b/one.seg.png", b"a mask")
        add(members, "a.b/one.JPG", IMAGES["0000.jpg"])
        add(members, "a.b/one.thumb.jpg", b"small")
        add(members, "./two.jpg", IMAGES["0001.jpg"])
        add(members, ".hidden", b"")
    write(tmp_path, {"a.tar": archive.getvalue()})
    run("a.tar", "-o", "out")
    assert [row["key"] for row in rows_of("out")] == ["a.b/one", "two"]


def test_compressed_tars(tmp_path: Path) -> None:
    """.gz and .zst are read like plain ones."""
    plain = tar(FEW)
    write(
        tmp_path, {"a.tar": plain, "b.tar.gz": gzip.compress(plain), "c.tgz": gzip.compress(plain)}
    )
    write(tmp_path, {"d.tar.zst": pa.Codec("zstd").compress(plain, asbytes=True)})
    run("a.tar", "b.tar.gz", "c.tgz", "d.tar.zst", "-o", "out")
    by_tar: dict[str, list[Any]] = {}
    for row in rows_of("out"):
        by_tar.setdefault(row["source"], []).append(row | {"source": ""})
    assert len(by_tar) == 4
    assert all(rows == by_tar["a.tar"] for rows in by_tar.values())


def test_parquet_is_cut_at_row_groups_and_long_ones_within(tmp_path: Path) -> None:
    """Shards hold about --shard-size rows, and every row is in exactly one."""
    raw = list(IMAGES.values())[:30]
    table({"image": raw, "id": list(range(30))}, tmp_path / "a.parquet", rows=3)
    table({"image": raw, "id": list(range(100, 130))}, tmp_path / "b.parquet", rows=30)
    result = run("a.parquet", "b.parquet", "-o", "out", "--shard-size", "7", "--keep", "id")
    assert "9 shards" in result.stderr  # 9 + 9 + 9 + 3, and 7 · 4 + 2
    ids = [row["id"] for row in rows_of("out")]
    assert sorted(ids) == [*range(30), *range(100, 130)]


def test_a_file_that_is_no_parquet_is_set_aside(tmp_path: Path) -> None:
    """One damaged file among many ends no run; once it is whole, its rows are done."""
    raw = list(FEW.values())
    table({"image": raw}, tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    write(tmp_path, {"b.parquet": whole[:-10]})
    run("{a,b}.parquet", "-o", "out", status=1)
    (note,) = Path("out/_failed").iterdir()
    assert json.loads(note.read_text())["where"] == "b.parquet"
    write(tmp_path, {"b.parquet": whole})
    run("{a,b}.parquet", "-o", "out")
    assert len(rows_of("out")) == 12


def test_embeddings_of_failures_alone_are_failures(tmp_path: Path) -> None:
    """A part without a single vector is read too."""
    write(tmp_path / "photos", {"bad.jpg": b"bad"})
    run("photos", "-o", "first", "--embeddings", status=1)
    run("--from", "first", "-o", "again", status=1)
    assert [row["error_kind"] for row in rows_of("again")] == ["unidentified"]


def test_parquet_of_paths_names_what_is_missing(tmp_path: Path) -> None:
    """A path is relative to its Parquet file; one that leads nowhere, or to the web, is a failed row."""
    write(tmp_path / "data" / "raw", {"a.jpg": IMAGES["0000.jpg"]})
    paths = ["raw/a.jpg", "raw/gone.jpg", "https://example.com/x.jpg", None]
    table({"image_path": paths}, tmp_path / "data" / "a.parquet")
    run("data/a.parquet", "-o", "out", status=1)
    kinds = [(row["key"], row["error_kind"]) for row in rows_of("out")]
    assert kinds == [
        ("raw/a.jpg", None),
        ("raw/gone.jpg", "missing"),
        ("https://example.com/x.jpg", "url"),
        ("3", "no_image"),
    ]


def test_embeddings_are_labelled_again_without_images(tmp_path: Path) -> None:
    """A run's own embeddings and those of `siglip embed` give the scores of the images; failures stay failures."""
    folder = write(tmp_path / "photos", {**FEW, "bad.jpg": b"bad"})
    run("photos", "-o", "first", "--embeddings", "--all", status=1)
    other = ["-L", "yellow star", "-L", "red circle"]
    run("photos", "-o", "direct", "--all", labels=other, status=1)
    run("--from", "first", "-o", "again", "--all", labels=other, status=1)
    embed = ["embed", str(folder / "0000.jpg"), "-o", "saved.parquet"]
    assert CliRunner().invoke(app, embed).exit_code == 0
    run("--from", "saved.parquet", "-o", "saved", "--all", labels=other)
    again = {row["path"]: row for row in rows_of("again")}
    for row in rows_of("direct"):
        assert again[row["path"]]["error_kind"] == row["error_kind"]
        assert scores(again[row["path"]]).keys() == scores(row).keys()
        assert bool(scores(row)) is (row["status"] == "ok")
        for label, numbers in scores(row).items():
            assert scores(again[row["path"]])[label] == pytest.approx(numbers, abs=1e-6, rel=1e-6)
    (saved,) = rows_of("saved")
    assert scores(saved) == scores(again["photos/0000.jpg"])


def test_half_precision_embeddings_are_near(tmp_path: Path) -> None:
    """float16 takes half the space, and loses less than a thousandth."""
    write(tmp_path, {"a.tar": tar(FEW)})
    run("a.tar", "-o", "full", "--embeddings")
    run("a.tar", "-o", "half", "--embeddings", "--embedding-type", "float16")
    full, half = ([row["embedding"] for row in rows_of(name)] for name in ("full", "half"))
    assert np.allclose(full, half, atol=1e-3)
    (part,) = Path("half").glob("part-*")
    assert pa.types.is_float16(parquet.read_schema(part).field("embedding").type.value_type)


def test_kinds_of_input_are_not_mixed(tmp_path: Path) -> None:
    """One run reads one kind; what it cannot read is said with what to do."""
    write(tmp_path, {"a.tar": tar(FEW)})
    write(tmp_path / "photos", FEW)
    assert "one kind of input" in run("a.tar", "photos", "-o", "out", status=2).stderr
    assert "no such file" in run("gone", "-o", "out", status=2).stderr
    assert "Download it first" in run("https://x/a.tar", "-o", "out", status=2).stderr
    assert "with --output" in run("a.tar", status=2).stderr
    (tmp_path / "empty").mkdir()
    assert "no images found" in run("empty", "-o", "out", status=1).stderr


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{a}", ["{a}"]),
    ],
)
def test_brace_ranges(text: str, names: list[str]) -> None:
    """As a shell expands them."""
    assert list(braces.expand(text)) == names


# --- the plan -------------------------------------------------------------------------------------


def test_plan_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    """Shards, images where known, what is done; time and cost from a rate."""
    write(tmp_path / "photos", FEW)
    plan_of = ["photos", "-o", "out", "--shard-size", "4", "--plan"]
    lines = run(*plan_of, "--rate", "0.001", "--price", "3").stdout
    assert re.search(r"shards +2\n", lines)
    assert re.search(r"images +6\n", lines)
    assert "1.67 hours on 1 worker" in lines
    assert "5.00 at 3.00" in lines
    assert not Path("out").exists()
    run(*plan_of[:-1])
    assert re.search(r"done +2\n", run(*plan_of).stdout)


def test_progress_counts_shards_and_images_with_rate_and_time_left() -> None:
    """Two bars: where only reading tells how many images there are, the shards that are done say about how many."""
    done = Progress(shards=4)
    drawn: list[str] = []
    done.draw = lambda now: drawn.append(str(now))
    done.started -= 10
    done.add_images(50)
    done.add_shard(Outcome("a", "done", rows=50))
    assert (done.expected, len(drawn)) == (200, 2)
    assert re.fullmatch(
        r"1 of 4 shards, 50 images, \d\.\d per second, about \d\d seconds left", drawn[-1]
    )
    assert Progress(shards=4, total=90).expected == 90


def test_classify_names_batch_for_an_object_store() -> None:
    """`siglip classify` opens no URL: stderr says which command does, the row what else to do."""
    for uri, words, named in (
        ("s3://key:secret@bucket/a.jpg?region=x", "Copy it", "siglip batch s3://bucket/a.jpg -"),
        ("https://x/a.jpg", "Download it", None),
    ):
        result = CliRunner().invoke(app, ["classify", uri, "--format", "jsonl", *LABELS])
        (row,) = jsonl(result.stdout)
        assert row["error"]["kind"] == "url"
        assert words in row["error"]["message"]
        assert ("siglip batch" in result.stderr) is bool(named)
        assert named is None or named in result.stderr
        assert "secret" not in result.stderr
        assert result.exit_code == 1


# --- stores ---------------------------------------------------------------------------------------


def test_credentials_are_in_no_record(store: str, tmp_path: Path) -> None:
    """Keys in a URI reach the store, and neither stderr nor any file of the output."""
    upload(store, {"private/in/0.tar": tar(FEW)})
    secret = "SeCrEtKeY123"
    source = f"s3://AKIAEXAMPLE:{secret}@private/in/{{0..1}}.tar{store}"
    result = run(source, "-o", "out", "--retries", "0", status=1)
    written = [path.read_bytes() for path in Path("out").rglob("*") if path.is_file()]
    written.append(repr(rows_of("out")).encode())
    parts = Path("out").glob("part-*")
    written += [repr(parquet.read_schema(part).metadata).encode() for part in parts]
    assert rows_of("out")[0]["source"] == "s3://private/in/0.tar"
    for text in (result.output.encode(), result.stderr.encode(), *written):
        assert secret.encode() not in text
        assert b"AKIAEXAMPLE" not in text
    wrong = run(f"s3://AKIA:{secret}@private/x.tar?nothing=1", "-o", "o", status=2)
    assert secret not in wrong.output
    for uri in (
        f"s3://AKIAEXAMPLE:abc/{secret}@private/x.tar",
        f"s3://private?access_key=AKIAEXAMPLE&secret_key={secret}",
        f"s3://private/x.tar?account-key={secret}=?{secret}",
        f"memory://private/x.tar?secret={secret}",
    ):
        said = run(uri, "-o", "o", status=1 if uri.startswith("memory") else 2)
        assert secret not in said.output + said.stderr
        assert "AKIAEXAMPLE" not in said.output + said.stderr


def test_prefixes_and_patterns_of_a_store(store: str) -> None:
    """A prefix is read with all below it, in order; a pattern chooses; hidden names and other endings are left out."""
    files = ["a/1.jpg", "a-b/2.jpg", "a/x/3.JPG", "a/.hidden.jpg", "a/notes.txt", "b c.jpg"]
    upload(store, {f"listed/photos/{name}": b"x" for name in files})

    def listed(pattern: str) -> list[str]:
        found = plan.Inputs.of((f"s3://listed/{pattern}{store}",)).images()
        return [name.removeprefix("s3://listed/photos/") for name in found]

    assert listed("photos/") == ["a/1.jpg", "a/x/3.JPG", "a-b/2.jpg", "b c.jpg"]
    assert listed("photos/a*/[12].jpg") == ["a/1.jpg", "a-b/2.jpg"]


def test_a_store_that_fails_now_and_then_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request in ten ends with 500 or 503: they are made again, and every image is there once."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    failed: list[str] = []
    with s3_server(failing=0.1, failed=failed) as query:
        files = {f"shaky/{i}.tar": tar(part) for i, part in enumerate(shards(FEW, 2))}
        upload(query, files)
        run(f"s3://shaky/{{0..2}}.tar{query}", "-o", "out")
    assert failed
    assert sorted(row["key"] for row in rows_of("out")) == [Path(name).stem for name in FEW]


def test_any_store_that_fsspec_knows(tmp_path: Path) -> None:
    """A scheme that pyarrow has no client for goes through fsspec, parts included."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/in/a.tar", tar(FEW))
    run("memory://in/a.tar", "-o", "memory://out")
    assert len([name for name in memory.ls("/out", detail=False) if "part-" in name]) == 1
    assert Storage().kind("memory://out/_summary.json") == "file"
    assert "not a store" in run("xyz://in/a.tar", "-o", "o", status=2).stderr


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:pass@bucket/a.tar?region=x", "s3://bucket/a.tar"),
        ("s3://bucket/what?.jpg", "s3://bucket/what?.jpg"),
        (
            "abfs://user:pass@account.dfs.core.windows.net/x",
            "abfs://user@account.dfs.core.windows.net/x",
        ),
        ("file:///a/b", "/a/b"),
        ("s3://AKIA:abc/def@bucket/x", "s3://bucket/x"),
        ("s3://bucket?access_key=AK&secret=SK", "s3://bucket/"),
        ("abfs://c@a.dfs.core.windows.net/x?account-key=K==", "abfs://c@a.dfs.core.windows.net/x"),
        ("s3://bucket/x?secret=a?b", "s3://bucket/x"),
        ("hdfs://name:8020/a@b", "hdfs://name:8020/a@b"),
        ("a b/c", "a b/c"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, shown: str) -> None:
    """Neither credentials nor options."""
    assert redacted(uri) == shown
