"""`siglip batch`: what goes wrong in one place stays there, and two runs never mix."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from batch_inputs import drawings, rows_of, s3_server, store_credentials, table, tar, upload, write
from pyarrow import parquet
from settings import settle
from typer.testing import CliRunner

from siglipcli.batch import attempts, fetch, lease, listing, local_run, manifest, plan
from siglipcli.batch.prepare import check_output, check_sight, for_cluster
from siglipcli.batch.ray_run import _Actor
from siglipcli.batch.shards import Job, shard_of
from siglipcli.batch.storage import Folder, Storage
from siglipcli.cli import app
from siglipcli.encoders import ModelSpec
from siglipcli.errors import CheckpointError, DeviceError, StorageError, UsageError
from siglipcli.inputs import Options
from siglipcli.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

FEW = drawings(4)
LABELS = ["-L", "red circle", "-L", "blue heart"]


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


def run(*arguments: str, status: int = 0) -> Result:
    """Run `siglip batch ARGUMENTS`, which ends with this status."""
    result = CliRunner().invoke(app, ["batch", *arguments, *LABELS])
    assert result.exit_code == status, result.output
    return result


def job(kind: str = "tars", **facts: Any) -> Job:
    sets = (LabelSet.from_dict({"labels": ["red circle", "blue heart"]}),)
    return replace(Job(kind, ModelSpec("demo"), sets, "out", pause=0.0), **facts)


# --- on a cluster ---------------------------------------------------------------------------------


def test_a_device_that_is_lost_again_and_again_ends_the_run_and_is_said(tmp_path: Path) -> None:
    """Two processes end over it; the third gives the error back, and only attempts of this run count."""
    write(tmp_path, {"0.tar": tar(FEW)})
    write(tmp_path / "out", {manifest.NAME: b"{}"})
    shard = shard_of("0.tar")
    output = Folder("out")
    attempts.begin(output, shard.id, 2, "another run")
    ended: list[int] = []
    actor = _Actor(job(run="this run"), end=ended.append)

    def lost(items: object) -> Any:
        raise DeviceError("the device is lost")

    actor.worker.classifier = SimpleNamespace(
        batches=lost, close=lambda: None, encoder=actor.worker.classifier.encoder
    )
    actor({"shard": [shard]})
    assert attempts.count(output, shard.id, "this run") == 1
    actor({"shard": [shard]})
    assert ended == [1, 1]
    (error,) = actor({"shard": [shard]})["outcome"]
    assert isinstance(error, DeviceError)
    assert ended == [1, 1]
    assert attempts.count(output, shard.id, "this run") == 0


def test_local_paths_are_absolute_for_a_cluster_and_looked_for_on_it(tmp_path: Path) -> None:
    """A worker's process has another folder; one that does not see the output says so at once."""
    (tmp_path / "model").mkdir()
    here = plan.Inputs(("in/{0..1}.tar", "s3://bucket/x.tar"), "tars")
    relative = job(spec=ModelSpec("model", cache_dir=Path("cache")))
    there, inputs = for_cluster(relative, here)
    assert inputs.uris == (str(tmp_path / "in" / "{0..1}.tar"), "s3://bucket/x.tar")
    assert (there.roots, there.output) == (inputs.uris, str(tmp_path / "out"))
    assert (there.spec.name, there.spec.cache_dir) == (
        str(tmp_path / "model"),
        tmp_path / "cache",
    )
    with pytest.raises(UsageError, match="does not see the output folder"):
        check_sight(there)
    write(tmp_path / "out", {manifest.NAME: b"{}"})
    with pytest.raises(UsageError, match="does not see the input folder"):
        check_sight(there)
    (tmp_path / "in").mkdir()
    check_sight(there)


def test_two_int8_engines_do_not_mix() -> None:
    """The tuning is a fact of the run, and a worker with another one does not begin."""
    encoder = SimpleNamespace(
        name="m", fingerprint="abc-openvino-int8-d1", runtime="", precision="int8"
    )
    assert manifest.facts(job(), encoder, 4, 1)["tuning"] == "d1"
    from siglipcli.batch.worker import Worker

    checkpoint = manifest.engine(Worker(job()).classifier.encoder.fingerprint)[0]
    with pytest.raises(CheckpointError, match="another int8 engine"):
        Worker(job(fingerprint=checkpoint, tuning="d1"))


def test_what_is_said_of_a_model_is_said_of_a_workers_too() -> None:
    """Calibration and prompts are checked with the model that a worker opened, here or on a cluster."""
    from siglipcli.batch.ray_run import _described

    labels = LabelSet.from_dict({"labels": ["red", "x q z " * 30]})
    _, model, _ = _described(job(sets=(labels,)), plan.Inputs(("0.tar",), "tars"))
    assert (model.name, "-" in model.fingerprint, bool(model.precision)) == ("demo", True, True)
    assert any(line.startswith("label set labels: ") for line in model.warnings)


def test_credentials_in_a_uri_are_refused_for_a_cluster() -> None:
    """A cluster stores and logs what its workers are given."""
    for uri in ("s3://key:secret@bucket/0.tar", "s3://bucket/0.tar?secret_key=x"):
        assert "environment" in run(uri, "-o", "out", "--ray", "local", status=2).stderr
    assert "need --ray" in run("0.tar", "-o", "out", "--cpus-per-worker", "2", status=2).stderr


# --- names ----------------------------------------------------------------------------------------


def test_a_shard_is_the_same_however_its_path_is_typed(tmp_path: Path) -> None:
    """A relative, an absolute and a URI name are one input, done once; another server's object is another."""
    write(tmp_path, {"0.tar": tar(FEW)})
    whole = str(tmp_path / "0.tar")
    ids = {shard_of(name).id for name in ("0.tar", "./0.tar", whole, f"file://{whole}")}
    assert len(ids) == 1
    assert shard_of("s3://b/0.tar").id != shard_of("s3://b/0.tar", endpoint="minio:9000").id
    run("0.tar", "./0.tar", "-o", "out")
    assert len(rows_of("out")) == 4
    assert "1 done, 0 to do" in run(whole, "-o", "out").stderr


def test_a_listing_is_the_same_however_its_folder_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows have the names as first typed; a resumed run finds the files from any folder."""
    write(tmp_path / "photos", FEW)
    run("photos", "-o", "out", "--shard-size", "2", "--max-shards", "1")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    said = run(str(tmp_path / "photos"), "-o", "../out", "--shard-size", "2").stderr
    assert "2 shards: 1 done, 1 to do" in said
    assert [row["path"] for row in rows_of("../out")] == [f"photos/{name}" for name in FEW]


def test_a_store_pattern_is_matched_part_by_part(store: str) -> None:
    """As of a local pattern, only ** crosses a slash; a folder that matches is read whole."""
    files = ["a/1.jpg", "a/x/2.jpg", "3.jpg", "b.jpg/4.jpg"]
    upload(store, {f"parted/{name}": b"x" for name in files})

    def listed(pattern: str) -> list[str]:
        found = listing.walk([f"s3://parted/{pattern}{store}"], Storage(), Options())
        return [name.removeprefix("s3://parted/") for name in found]

    assert listed("*.jpg") == ["3.jpg", "b.jpg/4.jpg"]
    assert listed("a/*.jpg") == ["a/1.jpg"]
    assert listed("**/*.jpg") == ["3.jpg", "a/1.jpg", "a/x/2.jpg", "b.jpg/4.jpg"]


@pytest.mark.parametrize(
    ("output", "uri", "is_refused"),
    [
        ("data", "data/*.parquet", True),
        ("./data/out", "data", True),
        ("s3://b/out", "s3://b/*/x*.parquet", True),
        ("s3://b/out", "s3://b/**/x.parquet", True),
        ("s3://b/in/out", "s3://b/i*", True),
        ("data/out", "data/*.parquet", False),
        ("out", "{a,b}.parquet", False),
    ],
)
def test_parts_are_never_read_as_input(output: str, uri: str, is_refused: bool) -> None:
    """An output that the input's pattern reaches is refused."""
    if not is_refused:
        check_output(output, (uri,))
        return
    with pytest.raises(UsageError, match="inside the input"):
        check_output(output, (uri,))


def test_an_image_member_is_not_kept_as_text(tmp_path: Path) -> None:
    """--keep jpg would take the images themselves away."""
    write(tmp_path, {"0.tar": tar(FEW)})
    said = run("0.tar", "-o", "out", "--keep", "jpg", status=2).stderr
    assert "'jpg' is an image" in said


def test_names_with_an_underscore_are_left_out_of_parquet_alone(tmp_path: Path) -> None:
    """A tar may be called as its owner likes."""
    write(tmp_path / "in", {"_0.tar": tar(FEW)})
    run("in", "-o", "out")
    assert len(rows_of("out")) == 4


# --- one thing that fails -------------------------------------------------------------------------


def test_texts_that_are_no_utf8_are_kept_as_far_as_they_go(tmp_path: Path) -> None:
    """JSON may hold half a character; a file name may be any bytes."""
    name = os.fsdecode(b"\xff.tar")
    write(tmp_path, {name: tar(FEW, json='{"url": "a\\\\ud800b"}'.replace("\\\\", "\\"))})
    run("*.tar", "-o", "out", "--keep", "json.url")
    assert {(row["url"], row["source"]) for row in rows_of("out")} == {("a\ufffdb", "\ufffd.tar")}


def test_an_object_that_cannot_be_read_is_one_row(store: str, tmp_path: Path) -> None:
    """A cell that names a bucket or an unknown scheme is a failed row; what options a cell has are not used."""
    upload(store, {"cells/a.jpg": FEW["0000.jpg"]})
    cells = ["s3://cells", "s3://cells/a.jpg?endpoint_override=127.0.0.1:1", "ftp://x/a.jpg"]
    table({"path": cells}, tmp_path / "a.parquet")
    storage = Storage((f"s3://cells/{store}",))
    rows = [r.item for r in fetch.fetched(((c, c, ()) for c in cells), storage, 1 << 20)]
    assert [getattr(item, "kind", "ok") for item in rows] == ["unreadable", "ok", "url"]


def test_a_store_that_fails_is_told_from_an_object() -> None:
    """Where nothing can be read, the shard is tried again; its rows are not given up."""
    broken = SimpleNamespace(roots=())

    def fails(uri: str) -> Any:
        raise StorageError("503")

    broken.open = fails
    cells = [("s3://b/x", "s3://b/x", ())] * 2
    with pytest.raises(StorageError, match="503"):
        list(fetch.fetched(iter(cells), broken, 1))  # type: ignore[arg-type]


def test_an_unforeseen_exception_is_one_shards_reason(tmp_path: Path) -> None:
    """What no one thought of ends a shard, not the run, and its text shows no credential."""
    from siglipcli.batch.worker import Worker

    write(tmp_path, {"0.tar": tar(FEW)})
    worker = Worker(job())

    def breaks(items: object) -> Any:
        raise ZeroDivisionError("at s3://me:hidden/part@bucket")

    worker.classifier = SimpleNamespace(batches=breaks, encoder=worker.classifier.encoder)  # type: ignore[assignment]
    outcome = worker.run(shard_of("0.tar"))
    assert (outcome.status, outcome.reason) == ("failed", "ZeroDivisionError: at s3://…bucket")


def test_a_shard_that_ends_during_an_interrupt_is_counted() -> None:
    """What is said of an interrupted run has every part that the run put in place."""
    is_interrupted = Event()

    class Two:
        """Two shards, of which one ends while the run is put away."""

        classifier = SimpleNamespace(close=is_interrupted.set)

        def run(self, shard: Any) -> Any:
            assert shard == "quick" or is_interrupted.wait(60)
            return f"{shard} outcome"

    counted: list[str] = []
    outcomes = local_run.outcomes(
        cast("Any", Two()), cast("Any", ["quick", "slow"]), counted.append
    )
    assert next(outcomes) == "quick outcome"
    with pytest.raises(KeyboardInterrupt):
        cast("Any", outcomes).throw(KeyboardInterrupt)
    assert counted == ["quick outcome", "slow outcome"]


def test_a_file_of_another_models_embeddings_is_set_aside(tmp_path: Path) -> None:
    """Each file's own metadata is checked; a part says which model made its embeddings."""
    write(tmp_path / "photos", FEW)
    run("photos", "-o", "first", "--embeddings")
    (part,) = Path("first").glob("part-*")
    content = parquet.read_table(part)
    about = dict(content.schema.metadata)
    fast = about | {b"fingerprint": about[b"fingerprint"] + b"-fast"}
    other = about | {b"model": b"another", b"fingerprint": b"0000-x"}
    (tmp_path / "in").mkdir()
    for name, facts in (("a", fast), ("b", other)):
        parquet.write_table(content.replace_schema_metadata(facts), f"in/{name}.parquet")
    result = run("--from", "in", "-o", "out", status=1)
    assert "embeddings of another model, another" in " ".join(result.stderr.split())
    (part,) = Path("out").glob("part-*")
    assert parquet.read_schema(part).metadata[b"fingerprint"] == fast[b"fingerprint"]
    assert len(rows_of("out")) == 4


def test_a_damaged_first_parquet_file_does_not_end_the_run(tmp_path: Path) -> None:
    """The columns are those of the first that can be read."""
    table({"image": list(FEW.values())}, tmp_path / "b.parquet")
    write(tmp_path, {"a.parquet": b"PAR1 no more"})
    run("{a,b}.parquet", "-o", "out", status=1)
    assert len(rows_of("out")) == 4
    assert len(list(Path("out/_failed").iterdir())) == 1


# --- two runs at once -----------------------------------------------------------------------------


def test_two_runs_do_not_write_to_one_output_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused while the first lives; one that was killed, here or long ago, does not count."""
    monkeypatch.setattr(lease, "_BEAT", 3600)  # the note stays as this test writes it
    write(tmp_path, {"0.tar": tar(FEW)})
    output = Folder("out")
    first = lease.Lease(output)
    note = json.loads(Path("out/_driver.json").read_text())
    path = Path("out/_driver.json")
    path.write_text(json.dumps(note | {"host": "another"}))
    assert "another run writes to out" in run("0.tar", "-o", "out", status=2).stderr
    path.write_text(json.dumps(note | {"host": "another", "time": note["time"] - 3600}))
    run("0.tar", "-o", "out")
    assert not path.exists()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(json.dumps(note | {"pid": ended.pid}))
    run("0.tar", "-o", "out")
    first.release()


def test_a_plan_for_another_runs_output_is_refused(tmp_path: Path) -> None:
    """--plan compares what it can without a model."""
    write(tmp_path, {"0.tar": tar(FEW)})
    run("0.tar", "-o", "out")
    said = run("0.tar", "-o", "out", "--plan", "--top", "1", status=2).stderr
    assert re.search(r"its scoring is", said)
