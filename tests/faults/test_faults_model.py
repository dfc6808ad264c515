"""Models, devices and stores that are damaged, missing, full or shared."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import shutil
import socket
import sqlite3
import struct
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command import DEADLINE, HEART, LABELS, STAR, UNPRIVILEGED, Done, Siglip
from hub_stand_in import serving
from PIL import Image

from siglipcli import demo

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = "open_clip_model.safetensors"
FILES = ("open_clip_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")
NAME = "ViT-B-16-SigLIP-384"
RUN = ("classify", *LABELS, "--all", HEART, STAR)


def scores(done: Done) -> list[dict[str, float]]:
    """What each answered input got, label by label: logits."""
    assert done.status == 0, done.stderr
    return [{each["label"]: each["logit"] for each in row["labels"]} for row in done.rows]


def assert_same(done: Done, truth: list[dict[str, float]], tolerance: float = 0.01) -> None:
    for row, expected in zip(scores(done), truth, strict=True):
        assert row == pytest.approx(expected, abs=tolerance)


@pytest.fixture(scope="module")
def truth(shared: Siglip) -> list[dict[str, float]]:
    """The logits of the two images, without any store."""
    return scores(shared(*RUN, "--model", "demo", "--no-cache"))


# ------------------------------------------------------------------------------------ model files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the demo model's folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(demo.MODEL_DIR / name, folder / name)
    return folder


def assert_stopped(done: Done, *words: str) -> None:
    """Check for status 3, no answers, and one calm line that holds the words."""
    assert (done.status, done.stdout) == (3, b""), done.stderr
    *before, said = done.stderr.splitlines()
    assert said.startswith("siglip: ")
    assert all(line.startswith("siglip: prepar") for line in before)
    for word in words:
        assert word in said
    assert "Traceback" not in done.stderr
    assert "bug" not in said


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "kept"),
    [*((name, 0.6) for name in FILES), (WEIGHTS, 0.0), (WEIGHTS, 0.999), (FILES[0], 0.0), (FILES[3], 0.97)],
)  # fmt: skip
def test_files_cut_short(siglip: Siglip, model: Path, name: str, kept: float) -> None:
    """A model file that was cut short: status 3, naming the file and the remedy."""
    data = (model / name).read_bytes()
    (model / name).write_bytes(data[: int(len(data) * kept)])
    done = siglip(*RUN, "--model", model)
    assert_stopped(done, str(model / name), "et the file again")


def test_a_flipped_header(siglip: Siglip, model: Path) -> None:
    """Damage in the table of contents of the weights is told as such."""
    data = bytearray((model / WEIGHTS).read_bytes())
    data[9] ^= 0x80
    (model / WEIGHTS).write_bytes(data)
    assert_stopped(siglip(*RUN, "--model", model), str(model / WEIGHTS), "Get the file again.")


def in_hub_cache(folder: Path) -> Path:
    """Lay the demo model out as the hub's library keeps `org/demo`; return the weights' blob."""
    home = folder / "models--org--demo"
    for part in ("refs", "blobs", "snapshots/c0ffee"):
        (home / part).mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    for name in FILES:
        data = (demo.MODEL_DIR / name).read_bytes()
        blob = home / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (home / "snapshots" / "c0ffee" / name).symlink_to(Path("../../blobs") / blob.name)
    return (home / "snapshots" / "c0ffee" / WEIGHTS).resolve()


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_a_flipped_bit(own: Siglip, tmp_path: Path, truth: list[dict[str, float]]) -> None:
    """One bit in fetched weights, on the way or on the disk: status 3 and `models pull --force`."""
    blob = in_hub_cache(tmp_path / "hub")
    env = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    run = (*RUN, "--model", "hf-hub:org/demo")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    remedy = "siglip models pull hf-hub:org/demo --force"
    assert_stopped(own(*run, env=env), WEIGHTS, remedy)
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    assert_same(own(*run, env=env), truth)
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)  # now that it is known, and an engine is there
    assert_stopped(own(*run, env=env), WEIGHTS, remedy)


@pytest.mark.full
def test_a_flipped_bit_in_an_engine(own: Siglip, truth: list[dict[str, float]]) -> None:
    """An engine that was damaged is built again, not used."""
    (graph,) = Path(own.env["SIGLIP_CACHE_DIR"]).glob("engines/*/image.bin")
    shutil.rmtree(graph.parent / "compiled")  # made of it, and used in its place
    data = bytearray(graph.read_bytes())
    data[len(data) // 2 :: 512] = b"\x7f" * len(data[len(data) // 2 :: 512])
    graph.write_bytes(data)
    done = own(*RUN, "--model", "demo")
    assert "preparing demo" in done.stderr
    assert_same(done, truth)


def test_a_download_cut_short(own: Siglip, tmp_path: Path, truth: list[dict[str, float]]) -> None:
    """A download that breaks off: status 3 and what to run; the next one finishes it."""
    files = {name: (demo.MODEL_DIR / name).read_bytes() for name in FILES}
    with serving({"org/demo": files}) as hub:
        env = {
            "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "SIGLIP_OFFLINE": "",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "SIGLIP_NO_PROGRESS": "1",
        }  # fmt: skip
        hub.cut[WEIGHTS] = [1000] * 50
        at_once = "import time; time.sleep = lambda _: None\n"
        done = own(*RUN, "--model", "hf-hub:org/demo", env=env, code=at_once)
        assert_stopped(done, "org/demo", "siglip models pull hf-hub:org/demo")
        hub.cut.clear()
        assert_same(own(*RUN, "--model", "hf-hub:org/demo", env=env), truth)


def test_a_pickle(siglip: Siglip, model: Path) -> None:
    """A checkpoint that is a pickle is never opened; the message is the way out."""
    (model / WEIGHTS).unlink()
    bomb = b"cos\nsystem\n(S'touch " + os.fsencode(model / "started") + b"'\ntR."
    (model / "open_clip_pytorch_model.bin").write_bytes(bomb)
    done = siglip(*RUN, "--model", model)
    assert_stopped(done, "open_clip_pytorch_model.bin", "safetensors", "pickle")
    (model / WEIGHTS).write_bytes(bomb)  # under the other name it is not a safetensors file
    assert_stopped(siglip(*RUN, "--model", model), "is not a safetensors file")
    assert not (model / "started").exists()


@pytest.mark.parametrize("key", ["timm_model_name", "timm_model_pretrained"])
def test_a_config_that_leads_elsewhere(own: Siglip, model: Path, key: str) -> None:
    """A model folder cannot make a run fetch anything: not an architecture, not other weights."""
    config = json.loads((model / FILES[0]).read_bytes())
    vision = config["model_cfg"]["vision_cfg"]
    vision[key] = True if key == "timm_model_pretrained" else "hf-hub:org/other"
    (model / FILES[0]).write_text(json.dumps(config))
    done = own(*RUN, "--model", model, env={"SIGLIP_OFFLINE": ""}, code=NO_NETWORK)
    assert "CONNECTED" not in done.stderr
    if key == "timm_model_pretrained":
        assert len(scores(done)) == 2
    else:
        assert_stopped(done, "is not the name of a timm model", "hf-hub:org/other")


NO_NETWORK = """
import sys
def _watch(event, args):
    if event in {"socket.connect", "socket.getaddrinfo"}:
        sys.stderr.write("CONNECTED\\n")
        raise OSError("no network")
sys.addaudithook(_watch)
"""
# Some processor time, on a slow machine too, and no torch: what is fast.
BRIEF = """
import sys
if sys.platform != "win32":
    import resource; resource.setrlimit(resource.RLIMIT_CPU, (8, 8))
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "open_clip", "transformers"}:
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Guard())
"""


@pytest.mark.parametrize("network", ["--offline", "HF_HUB_OFFLINE", "dead"])
def test_offline_with_nothing_here(siglip: Siglip, tmp_path: Path, network: str) -> None:
    """Offline and nothing cached: status 3 without torch, and what to run where there is a network."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
    env = {"SIGLIP_OFFLINE": "", "HF_ENDPOINT": dead, "HF_HUB_CACHE": str(tmp_path / "hub")}
    env |= {"HF_HUB_OFFLINE": "1"} if network == "HF_HUB_OFFLINE" else {}
    extra = [network] if network == "--offline" else []
    done = siglip(*RUN, "--model", NAME, *extra, env=env, code=BRIEF)
    assert_stopped(done, f"siglip models pull {NAME}", str(tmp_path / "hub"), "--model demo")


# -------------------------------------------------------------------------- values that are not


def poison(weights: Path, key: str, value: float) -> None:
    """Put one value in the place of the first number of a tensor, fp32 or half."""
    data = bytearray(weights.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    name = next(n for n in table if n.startswith(key) and "F" in table[n]["dtype"])
    form = {"F32": "<f", "F16": "<e"}.get(table[name]["dtype"])
    packed = struct.pack(form, value) if form else struct.pack("<f", value)[2:]
    start = 8 + length + table[name]["data_offsets"][0]
    data[start : start + len(packed)] = packed
    weights.write_bytes(data)


@pytest.mark.full
@pytest.mark.parametrize("key", ["visual.trunk", "logit_bias", "logit_scale"])
def test_weights_that_are_not_finite(siglip: Siglip, model: Path, key: str) -> None:
    """A NaN among the weights could spoil every score: status 3, naming file and remedy, no rows."""
    poison(model / WEIGHTS, key, math.nan)
    assert_stopped(siglip(*RUN, "--model", model), WEIGHTS, "not finite", "et the file again")


BLACK_IS_NAN = """
import numpy as np
from siglipcli.encoders import openvino_runtime
def encode(self, pixels, encode=openvino_runtime.OpenVINOEncoder.encode_images):
    vectors = encode(self, pixels)
    vectors[pixels.reshape(len(pixels), -1).max(axis=1) == 0, 3] = np.nan
    return vectors
openvino_runtime.OpenVINOEncoder.encode_images = encode
"""


def test_embeddings_that_are_not_finite(own: Siglip, tmp_path: Path) -> None:
    """An image whose embedding is not finite is a row, `non_finite`; it is never stored."""
    pytest.importorskip("openvino")
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    run = ("classify", "--model", "demo", *LABELS, STAR, tmp_path / "black.png", HEART)
    done = own(*run, code=BLACK_IS_NAN)
    assert [row.get("error", {}).get("kind") for row in done.rows] == [None, "non_finite", None]
    assert done.status == 1
    assert all(np.isfinite(vector).all() for vector in vectors(own).values())
    done = own(*run)
    assert [row["status"] for row in done.rows] == ["ok"] * 3
    assert "1 encoded, 2 from the store" in done.stderr


SMALL_DEVICE = """
import torch
from siglipcli.encoders.torch_runtime import TorchEncoder
plain = TorchEncoder._encode_pixels
def encode(self, pixels, tower):
    if len(pixels) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return plain(self, pixels, tower)
TorchEncoder._encode_pixels = encode
"""


@pytest.mark.full
def test_a_device_that_is_too_small(own: Siglip) -> None:
    """Out of device memory: batches are halved, down to one image, and the scores stay."""
    run = ("classify", "--model", "demo", *LABELS, "--all", "--no-cache", "--runtime", "torch")
    run = (*run, "--device", "cpu", "--batch-size", "8", *[demo.IMAGES] * 3)
    plain = scores(own(*run))
    assert len(plain) == 24
    assert_same(own(*run, code=SMALL_DEVICE), plain, 0.05)


# ------------------------------------------------------------------------------------- the store


def store_of(siglip: Siglip) -> Path:
    return Path(siglip.env["SIGLIP_CACHE_DIR"]) / "embeddings.sqlite"


def vectors(siglip: Siglip) -> dict[bytes, Any]:
    """What the store holds: digest → float32[d]; it must be whole."""
    with closing(sqlite3.connect(store_of(siglip))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute("SELECT digest, vector FROM vectors").fetchall()
    return {digest: np.frombuffer(vector, np.float32) for digest, vector in rows}


def change(siglip: Siglip, *statements: str) -> None:
    with closing(sqlite3.connect(store_of(siglip))) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def images(folder: Path, count: int, seed: int = 0) -> Path:
    """Make a folder of small images, no two alike."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        noise.save(folder / f"{number:04}.png", compress_level=1)
    return folder


def test_two_runs_on_one_store(own: Siglip, tmp_path: Path) -> None:
    """Two runs at once over the same images both finish, and a third has nothing to encode."""
    folder = images(tmp_path / "in", 300)
    run = ("classify", "--model", "demo", "-L", "cat", folder)
    both = [own.start(*run) for _ in range(2)]
    ends = [(each.communicate(timeout=DEADLINE), each.returncode) for each in both]
    for (stdout, stderr), status in ends:
        assert status == 0
        assert len(stdout.splitlines()) == 300
        assert b"going on without" not in stderr
    done = own(*run)
    assert "0 encoded, 300 from the store" in done.stderr
    for (stdout, _), status in ends:
        assert_same(Done(status, stdout, ""), scores(done))


@pytest.mark.full
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.stress)])
def test_killed_at_random(own: Siglip, tmp_path: Path, kills: int) -> None:
    """`kill -9` at random moments: the store stays whole, and every vector in it is right."""
    folder = images(tmp_path / "in", 400)
    run = ("classify", "--model", "demo", "-L", "cat", folder)
    expected = own(*run)
    right = vectors(own)
    rng = random.Random(0)
    for turn in range(kills):
        if turn % 8 == 0:
            for path in store_of(own).parent.glob("embeddings.sqlite*"):
                path.unlink()
        with own.start(*run) as process:
            time.sleep(rng.uniform(0.3, 0.9))
            process.kill()
        found = vectors(own) if store_of(own).exists() and _has_tables(own) else {}
        assert set(found) <= set(right)
        assert all(np.dot(found[digest], right[digest]) > 0.9999 for digest in found)
    done = own(*run)
    assert [row["file"] for row in done.rows] == [row["file"] for row in expected.rows]
    assert_same(done, scores(expected))
    assert "going on without" not in done.stderr


def _has_tables(siglip: Siglip) -> bool:
    with closing(sqlite3.connect(store_of(siglip))) as db:
        return bool(db.execute("PRAGMA user_version").fetchone()[0])


def garbage(siglip: Siglip) -> None:
    store_of(siglip).write_bytes(b"not a database, by any means. " * 4000)


def half(siglip: Siglip) -> None:
    path = store_of(siglip)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def newer(siglip: Siglip) -> None:
    change(siglip, "PRAGMA user_version = 99")


def no_tables(siglip: Siglip) -> None:
    change(siglip, "DROP TABLE vectors")


def a_folder(siglip: Siglip) -> None:
    store_of(siglip).unlink()
    store_of(siglip).mkdir()


@pytest.mark.parametrize("damage", [garbage, half, no_tables])
def test_a_damaged_store(
    own: Siglip, truth: list[dict[str, float]], damage: Callable[[Siglip], None]
) -> None:
    """A corrupt store: it is set aside with one warning, and begun anew within the run."""
    own(*RUN, "--model", "demo")
    damage(own)
    done = own(*RUN, "--model", "demo")
    assert_same(done, truth)
    assert done.stderr.count("the embedding store is damaged") == 1
    assert len(list(store_of(own).parent.glob("embeddings.sqlite.damaged-*"))) == 1
    done = own(*RUN, "--model", "demo")
    assert_same(done, truth)
    assert "embedding store" not in done.stderr
    assert "0 encoded, 2 from the store" in done.stderr


@pytest.mark.parametrize("damage", [newer, a_folder])
def test_a_store_of_no_use(
    own: Siglip, truth: list[dict[str, float]], damage: Callable[[Siglip], None]
) -> None:
    """A newer store, or a folder in its place: one warning in each run, and the right answers."""
    own(*RUN, "--model", "demo")
    damage(own)
    for _ in range(2):
        done = own(*RUN, "--model", "demo")
        assert_same(done, truth)
        assert done.stderr.count("going on without the embedding store") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="drops capabilities")
@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_store_that_is_read_only(own: Siglip, truth: list[dict[str, float]], mode: int) -> None:
    """A store that may not be written, or not be read: a warning at most, and the right answers."""
    own("classify", "--model", "demo", *LABELS, HEART)
    store_of(own).chmod(mode)
    cache = Path(own.env["SIGLIP_CACHE_DIR"])
    cache.chmod(0o555)
    done = own(*RUN, "--model", "demo", code=UNPRIVILEGED)
    cache.chmod(0o755)
    assert_same(done, truth)
    assert done.stderr.count("going on without the embedding store") == 1


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))
"""


@pytest.mark.full
@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("room", [0, 100_000])
def test_a_full_disk(own: Siglip, tmp_path: Path, room: int) -> None:
    """No room for the store, from the start or on the way: a warning, and all answers."""
    folder = images(tmp_path / "in", 300)
    run = ("classify", "--model", "demo", *LABELS, folder)
    expected = own(*run, "--no-cache")
    done = own(*run, code=FULL.format(bytes=room))
    assert_same(done, scores(expected))
    assert len(done.rows) == 300
    assert done.stderr.count("going on without the embedding store") == 1
    done = own(*run)
    assert_same(done, scores(expected))
    assert "going on without" not in done.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vectors SET vector = substr(vector, 1, length(vector) - 4)",
        "UPDATE vectors SET vector = CAST(vector || vector AS BLOB)",
    ],
)
def test_a_vector_of_the_wrong_length(
    own: Siglip, truth: list[dict[str, float]], statement: str
) -> None:
    """A stored vector of another length is computed again, and then it is right."""
    own(*RUN, "--model", "demo")
    change(own, statement)
    done = own(*RUN, "--model", "demo")
    assert_same(done, truth)
    assert "2 encoded, 0 from the store" in done.stderr
    done = own(*RUN, "--model", "demo")
    assert_same(done, truth)
    assert "0 encoded, 2 from the store" in done.stderr


@pytest.mark.parametrize("value", [math.nan, 64.0])
def test_a_vector_with_wrong_values(
    own: Siglip, truth: list[dict[str, float]], value: float
) -> None:
    """Bits that flipped in a stored vector, as far as its length tells, never make an answer."""
    own(*RUN, "--model", "demo")
    with closing(sqlite3.connect(store_of(own))) as db:
        for number, vector in db.execute("SELECT id, vector FROM vectors").fetchall():
            flipped = vector[:8] + struct.pack("<f", value) + vector[12:]
            db.execute("UPDATE vectors SET vector = ? WHERE id = ?", (flipped, number))
        db.commit()
    assert_same(own(*RUN, "--model", "demo"), truth)


CTIME_STANDS = """
from siglipcli import files
_plain = files.stamp
files.stamp = lambda info: (*_plain(info)[:2], 0, _plain(info)[3])
"""  # as where a clock was set back


@pytest.mark.skipif(os.name == "nt", reason="needs a ctime that changes with the file")
@pytest.mark.parametrize(
    ("code", "second"), [("", "green star"), (CTIME_STANDS, "blue heart")], ids=["ctime", "stands"]
)
def test_a_file_changed_unseen(own: Siglip, tmp_path: Path, code: str, second: str) -> None:
    """Same size, same mtime, other content: its ctime tells; where it does not, `--verify` reads it."""
    path = tmp_path / "a.png"
    size = max(HEART.stat().st_size, STAR.stat().st_size) + 10
    contents = [each.read_bytes().ljust(size, b"\0") for each in (HEART, STAR)]
    run = ("classify", "--model", "demo", *LABELS, "--top", "1", path)
    best = []
    for content, options in ((contents[0], []), (contents[1], []), (contents[1], ["--verify"])):
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(content)
        os.utime(path, ns=(10**18, 10**18))
        best.append(own(*run, *options, code=code).row["labels"][0]["label"])
    assert best == ["blue heart", second, "green star"]
    said = " ".join(own("classify", "--help").stdout.decode().split())
    assert re.search(r"--verify Read every file, even one whose size and times are known", said)


def test_a_change_once_seen_stays_seen(own: Siglip, tmp_path: Path) -> None:
    """What `--verify` found out about a file holds for the runs after it."""
    path = tmp_path / "a.png"
    size = max(HEART.stat().st_size, STAR.stat().st_size) + 10
    run = ("classify", "--model", "demo", *LABELS, "--top", "1", path)
    for image, options in ((HEART, []), (STAR, ["--verify"])):
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(image.read_bytes().ljust(size, b"\0"))
        os.utime(path, ns=(10**18, 10**18))
        own(*run, *options, code=CTIME_STANDS)
    assert own(*run, code=CTIME_STANDS).row["labels"][0]["label"] == "green star"
