"""`siglip batch` on a real Ray cluster, and when processes and stores fail: every image exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from batch_inputs import drawings, rows_of, s3_server, shards, store_credentials, tar, upload
from settings import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]

LABELS = ["-L", "red circle", "-L", "blue heart"]
PATIENCE = 280.0  # seconds, on a machine that others use too


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    settle(monkeypatch, tmp_path, tmp_path / "cache")
    store_credentials(monkeypatch)
    monkeypatch.setenv("SIGLIP_PROGRESS", "none")
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    yield
    while STARTED:  # what a failed test leaves behind
        process = STARTED.pop()
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def started(*arguments: str) -> subprocess.Popen[str]:
    """Begin `siglip batch ARGUMENTS` as a process of its own."""
    command = [sys.executable, "-m", "siglipcli", "batch", *arguments, *LABELS]
    STARTED.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    return STARTED[-1]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so, and fail where the process ends before that."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for a run that ends well, and return its stderr."""
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


@contextmanager
def cluster() -> Iterator[Any]:
    """Three nodes on this machine, each with one processor and a tiny object store."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        nodes.worker = nodes.add_node(**node)
        nodes.other = nodes.add_node(**node)
        yield nodes
    finally:
        nodes.shutdown()


def actors(nodes: Any) -> list[int]:
    """The processes of this cluster that work on shards."""
    raylets = {
        info.process.pid
        for node in nodes.list_all_nodes()
        for info in node.all_processes.get("raylet", [])
    }
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name = (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if name.startswith(b"ray::MapWorker") and parent in raylets:
            found.append(int(path.name))
    return found


def test_a_cluster_that_fails_loses_and_repeats_nothing() -> None:
    """The driver is killed, then a worker, then a node is gone, and the store fails now and then."""
    images = drawings(2400, seed=1)
    files = {f"big/in/{i:03d}.tar": tar(part) for i, part in enumerate(shards(images, 20))}
    with s3_server(failing=0.02) as query, cluster() as nodes:
        store = upload(query, files)
        from pyarrow import fs

        def parts() -> int:
            found = store.get_file_info(fs.FileSelector("big/out", allow_not_found=True))
            return sum("part-" in info.base_name for info in found)

        run = [f"s3://big/in/{{000..119}}.tar{query}", "-o", f"s3://big/out{query}"]
        run += ["--ray", nodes.address, "--workers", "2:3"]
        driver = started(*run)
        wait_for(lambda: parts() >= 3, driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        wait_for(lambda: not actors(nodes))  # Ray ends what belonged to it
        before = parts()
        assert before < 120

        driver = started(*run)
        wait_for(lambda: parts() > before + 3, driver)
        wait_for(lambda: _killed_one(nodes), driver)
        wait_for(lambda: parts() > before + 12, driver)
        assert parts() < 120
        nodes.remove_node(nodes.worker, allow_graceful=False)
        said = finished(driver)
        assert "120 shards: " in said
        rows = rows_of("big/out", store)
        assert sorted(row["key"] for row in rows) == sorted(Path(name).stem for name in images)
        assert {row["status"] for row in rows} == {"ok"}
        with store.open_input_stream("big/out/_summary.json") as file:
            counts = json.loads(file.read())
        assert (counts["rows"], counts["failed_rows"], counts["shards"]["done"]) == (2400, 0, 120)
        assert not store.get_file_info(fs.FileSelector("big/out/_failed", allow_not_found=True))


def test_a_shard_that_ends_its_process_three_times_is_set_aside(tmp_path: Path) -> None:
    """A run that is killed in the same shard each time goes on without it the fourth time."""
    (tmp_path / "0.tar").write_bytes(tar(drawings(4)))
    os.mkfifo(tmp_path / "1.tar")  # reading it never ends
    notes = tmp_path / "out" / "_attempts"
    for time_ in (1, 2, 3):
        process = started("{0..1}.tar", "-o", "out")
        count = f'{{"begun": {time_}}}'
        wait_for(lambda: any(_text(n) == count and n.name[0] == "1" for n in _in(notes)), process)  # noqa: B023
        wait_for(lambda: any((tmp_path / "out").glob("part-0*")), process)
        wait_for(lambda: not any(n.name[0] == "0" for n in _in(notes)), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = started("{0..1}.tar", "-o", "out")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "It ended its worker 3 times." in said
    assert len(rows_of("out")) == 4


def test_ctrl_c_ends_cleanly_and_finished_parts_stay(tmp_path: Path) -> None:
    """Status 130, what is done stays and is whole, and the same command goes on."""
    for index in range(3):
        (tmp_path / f"{index}.tar").write_bytes(tar(drawings(4, seed=index)))
    os.mkfifo(tmp_path / "3.tar")
    process = started("{0..3}.tar", "-o", "out")
    wait_for(lambda: len(list((tmp_path / "out").glob("part-*"))) == 3, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "3 of 4 shards, 12 images" in said
    assert "run the same command to continue" in said
    assert len(rows_of("out")) == 12
    (tmp_path / "3.tar").unlink()
    (tmp_path / "3.tar").write_bytes(tar(drawings(4, seed=3)))
    finished(started("{0..3}.tar", "-o", "out"))
    assert len(rows_of("out")) == 16


def _killed_one(nodes: Any) -> bool:
    """Kill a worker; False where none is there at this moment, as one takes another's place."""
    for pid in actors(nodes):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def _in(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # gone meanwhile
        return ""
