"""The OpenVINO runtime: the same model as torch's, without torch once its engine is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from settings import with_engine

from siglipcli import demo, encoders
from siglipcli.cli.remedies import with_remedy
from siglipcli.encoders import ModelSpec, engines, open_encoder, openvino_runtime
from siglipcli.encoders.checkpoint import locate
from siglipcli.errors import CheckpointError, DeviceError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

PROMPTS = ["a photo of a red circle.", "a blue star", "a green cross", "a white heart"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A cache folder that the tests of this file share, with the demo's engine."""
    cache = tmp_path_factory.mktemp("cache")
    with_engine(prepared, cache)
    return cache


@pytest.fixture
def own(prepared: Path, tmp_path: Path) -> Path:
    """A cache folder of one test's own, with the demo's engine."""
    with_engine(prepared, tmp_path)
    return tmp_path


def encoder(runtime: str, precision: str, cache: Path, model: str = "demo") -> encoders.Encoder:
    return open_encoder(ModelSpec(model, "cpu", runtime, precision, cache, offline=True))


def drawings(size: int) -> np.ndarray:
    """Drawings as the demo model knows them: uint8[n, size, size, 3]."""
    from siglipcli import images
    from siglipcli.results import Source

    paths = sorted(demo.IMAGES.iterdir())
    return np.stack([images.read(Source(path.name, path), size) for path in paths])


@pytest.mark.parametrize(
    ("precision", "cosine"),
    [("fp32", 0.99999), pytest.param("bf16", 0.995, marks=pytest.mark.full)],  # an engine is built
)
def test_both_runtimes_give_the_same_embeddings(precision: str, cosine: float, cache: Path) -> None:
    """Rows are unit vectors, and point where torch's in fp32 do."""
    ours, theirs = encoder("openvino", precision, cache), encoder("torch", "fp32", cache)
    pixels = drawings(ours.preprocess.size)
    for mine, reference in [
        (ours.encode_images(pixels), theirs.encode_images(pixels)),
        (ours.encode_texts(PROMPTS), theirs.encode_texts(PROMPTS)),
    ]:
        assert mine.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-3)
        assert (mine * reference).sum(axis=1).min() > cosine


@pytest.fixture
def in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, whose engines get a text tower in as many parts as can be, and are built in this process."""
    monkeypatch.setattr("siglipcli.encoders.openvino_convert._PART_BYTES", 1)
    monkeypatch.setattr("siglipcli.processes.can_start_python", lambda: False)
    return tmp_path


@pytest.mark.full
def test_texts_through_a_tower_in_parts(cache: Path, in_parts: Path) -> None:
    """One part after another, or all at once: the rows are those of the whole tower, before and after images."""
    expected = encoder("openvino", "fp32", cache).encode_texts(PROMPTS)
    spec = ModelSpec("demo", "cpu", "openvino", "fp32", in_parts, offline=True)
    for memory in (0, 1, 1 << 40):
        ours = open_encoder(spec, tower_memory=memory)
        np.testing.assert_allclose(ours.encode_texts(PROMPTS), expected, atol=1e-6)
        ours.encode_images(drawings(ours.preprocess.size)[:1])
        many = ours.encode_texts(PROMPTS * 40)
        np.testing.assert_allclose(many, np.tile(expected, (40, 1)), atol=1e-6)
    graphs = sorted(path.name for path in (in_parts / "engines").glob("*/*.xml"))
    assert graphs == ["image.xml", *(f"text-{i:02}.xml" for i in range(1, len(graphs)))]
    assert len(graphs) > 4


@pytest.mark.full
def test_parts_of_two_builds_are_not_mixed(
    cache: Path, in_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is cleared between two parts is built again, and texts pass through the new one from its start."""
    expected = encoder("openvino", "fp32", cache).encode_texts(PROMPTS)
    ours = encoder("openvino", "fp32", in_parts)
    compile_graph, compiled = openvino_runtime._compile, []

    def compiling(folder: Path, model: str, name: str, *options: Any) -> Any:
        compiled.append(name)
        if len(compiled) == 3:
            engines.clear(in_parts / "engines")
        return compile_graph(folder, model, name, *options)

    monkeypatch.setattr(openvino_runtime, "_compile", compiling)
    np.testing.assert_allclose(ours.encode_texts(PROMPTS), expected, atol=1e-6)
    assert compiled.count("text-01") == 2


def test_a_file_that_is_no_part_of_the_engine_is_not_run(own: Path) -> None:
    """Only what was sealed with an engine is its tower."""
    expected = encoder("openvino", "fp32", own).encode_texts(PROMPTS)
    (folder,) = (own / "engines").glob("*-fp32")
    for name in ("text-2.xml", "text-01 (copy).xml", "image-2.xml"):
        (folder / name).write_text("<net/>")
    ours = encoder("openvino", "fp32", own)
    np.testing.assert_array_equal(ours.encode_texts(PROMPTS), expected)
    assert ours.encode_images(drawings(ours.preprocess.size)).shape[0] > 1


def test_a_graph_of_one_image_takes_many() -> None:
    """Engines with a fixed batch of one give the rows of all images of a call."""
    import openvino
    from openvino import opset13 as ops

    pixels = ops.parameter([1, 2], np.float32)
    model = openvino.Model([ops.multiply(pixels, np.float32(2))], [pixels])
    tower = openvino_runtime._Tower(1, [openvino.Core().compile_model(model, "CPU")])
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(tower.run(rows), 2 * rows)


def test_one_image_or_many_give_the_same_rows(cache: Path) -> None:
    """How images are grouped changes nothing beyond rounding."""
    found = encoder("openvino", "fp32", cache)
    pixels = drawings(found.preprocess.size)
    together = found.encode_images(pixels)
    apart = np.concatenate([found.encode_images(pixels[i : i + 1]) for i in range(len(pixels))])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_the_engine_holds_the_models_own_head_and_sizes(cache: Path) -> None:
    """Head, image size and token ids are those of the checkpoint."""
    ours, theirs = encoder("openvino", "fp32", cache), encoder("torch", "fp32", cache)
    assert (ours.head, ours.preprocess.size) == (theirs.head, theirs.preprocess.size)
    np.testing.assert_array_equal(ours.tokenizer(PROMPTS), theirs.tokenizer(PROMPTS))
    assert ours.fingerprint != theirs.fingerprint


def test_precisions_do_not_share_vectors(cache: Path) -> None:
    """What is stored at one precision is not taken for the other."""
    assert (
        encoder("openvino", "fp32", cache).fingerprint
        != encoder("openvino", "bf16", cache).fingerprint
    )


WARM = """
import sys
sys.argv = ["siglip", "classify", *sys.argv[1:]]
from siglipcli.cli import app
try: app()
except SystemExit as stop: assert not stop.code, stop.code
heavy = {"pydantic", "torch", "open_clip", "timm", "torchvision", "transformers", "huggingface_hub"}
heavy |= {"PIL", "yaml", "siglipcli.search", "siglipcli.embedding_files"}
print("HEAVY", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def classify(cache: Path, *labels: str) -> subprocess.CompletedProcess[str]:
    image = str(demo.IMAGES / "red-circle.jpg")
    command = [sys.executable, "-c", WARM, image, "--model", "demo", "--device", "cpu"]
    command += ["--cache-dir", str(cache), *(part for label in labels for part in ("-L", label))]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.full
def test_a_warm_run_imports_no_torch(tmp_path: Path) -> None:
    """Nor does the first one, which says that it prepares the model: another process does that.

    Only the first one decodes, so only it imports Pillow.
    """
    first = classify(tmp_path, "red circle")
    assert "preparing demo" in first.stderr
    assert first.stderr.split("HEAVY")[1].strip() == "['PIL']"
    for labels in [("red circle",), ("blue star", "red circle", "a red ring")]:
        warm = classify(tmp_path, *labels)
        assert warm.stderr.split("HEAVY")[1].strip() == "[]"
        assert "preparing" not in warm.stderr
        (best, *_) = json.loads(warm.stdout)["labels"]
        assert best["label"] == "red circle"


def test_a_damaged_blob_is_compiled_again(own: Path) -> None:
    """OpenVINO's own cache is not trusted when its files were written to."""
    expected = encoder("openvino", "auto", own).encode_texts(PROMPTS)
    blobs = list((own / "engines").rglob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:100] + bytes(1_000))
    again = encoder("openvino", "auto", own).encode_texts(PROMPTS)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.full
def test_a_replaced_checkpoint_is_noticed(tmp_path: Path) -> None:
    """Other weights under the same name and of the same size mean another engine."""
    folder = tmp_path / "model"
    shutil.copytree(demo.MODEL_DIR, folder)
    before = encoder("openvino", "fp32", tmp_path / "cache", str(folder))
    weights = folder / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4:] = np.float32(0.5).tobytes()
    weights.write_bytes(content)
    after = encoder("openvino", "fp32", tmp_path / "cache", str(folder))
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("runtime", "device", "precision", "accelerator", "expected"),
    [
        ("auto", "auto", "auto", False, True),
        ("auto", "cpu", "auto", True, True),
        ("auto", "cpu", "fp32", False, True),
        ("auto", "cpu", "fp16", False, False),
        ("auto", "cuda", "auto", False, False),
        ("torch", "cpu", "auto", False, False),
        ("openvino", "auto", "auto", True, True),
    ],
)
def test_which_runtime_is_taken(
    runtime: str, device: str, precision: str, accelerator: bool, expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """OpenVINO wherever the CPU is to work; torch for the rest, and where it is asked for."""
    monkeypatch.setattr(encoders, "_has_gpu", lambda: accelerator)
    assert encoders._wants_openvino(ModelSpec("demo", device, runtime, precision)) is expected


def test_a_gpu_goes_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an accelerator, `auto` leaves the choice to torch."""
    monkeypatch.setattr(encoders, "_has_gpu", lambda: True)
    assert not encoders._wants_openvino(ModelSpec("demo"))


def test_what_openvino_cannot_do_is_said(cache: Path) -> None:
    """Another device or fp16 is refused with the way out, when it was asked for by name."""
    with pytest.raises(DeviceError, match="CPU only") as caught:
        open_encoder(ModelSpec("demo", "cuda", "openvino", cache_dir=cache))
    assert "--runtime torch" in with_remedy(caught.value)
    with pytest.raises(DeviceError, match="no fp16") as caught:
        open_encoder(ModelSpec("demo", "cpu", "openvino", "fp16", cache))
    assert "--precision fp32 or bf16" in with_remedy(caught.value)


def test_auto_falls_back_to_torch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An engine that cannot be kept costs a warning, not the run."""
    (tmp_path / "engines").write_text("a file where the folder should be")
    found = encoder("auto", "fp32", tmp_path)
    assert found.runtime == "torch"
    assert "using torch" in caplog.text
    with pytest.raises(DeviceError, match="cannot start"):
        encoder("openvino", "fp32", tmp_path)


@pytest.mark.full
def test_both_runtimes_agree_at_full_size(full_size: Path, tmp_path: Path) -> None:
    """bf16 at 384 pixels and 12 layers, on photographs; fp32 is held to open_clip in test_parity.py."""
    from PIL import Image
    from skimage import data

    model = str(full_size / "open_clip")
    ours = encoder("openvino", "bf16", tmp_path, model)
    theirs = encoder("torch", "fp32", tmp_path, model)
    photographs = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee")]
    pixels = np.stack([np.asarray(p.resize((384, 384))) for p in photographs])
    mine, reference = ours.encode_images(pixels), theirs.encode_images(pixels)
    assert (mine * reference).sum(axis=1).min() > 0.9995


def test_threads_may_encode_from_the_start(own: Path) -> None:
    """Four threads whose very first calls come at once all get the same rows."""
    script = (
        "import sys, threading; from pathlib import Path; from siglipcli import encoders\n"
        "encoder = encoders.open_encoder(encoders.ModelSpec('demo', 'cpu', 'openvino', cache_dir=Path(sys.argv[1])))\n"
        "start, rows = threading.Barrier(4), []\n"
        "def work():\n"
        "    start.wait(); rows.append(encoder.encode_texts(['a red circle']).tobytes())\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(rows) == 4 and len(set(rows)) == 1\n"
    )
    for _ in range(5):
        subprocess.run([sys.executable, "-c", script, str(own)], check=True, timeout=60)


def test_a_tower_that_was_let_go_still_answers(cache: Path) -> None:
    """Texts encoded in the middle of a stream of images take nothing from under it."""
    found = encoder("openvino", "fp32", cache)
    pixels = drawings(found.preprocess.size)
    expected = found.encode_images(pixels)
    with found._lock:  # type: ignore[attr-defined]
        held = found._tower("image", 1)  # type: ignore[attr-defined]
    found.encode_texts(PROMPTS)
    np.testing.assert_allclose(held.run(pixels), expected, atol=1e-6)


SIGNALLED = """
import signal, sys, threading
from pathlib import Path
import numpy as np
from siglipcli.encoders import ModelSpec, open_encoder

encoders = [open_encoder(ModelSpec("demo", "cpu", "openvino", "fp32", Path(sys.argv[1]), offline=True))]
encoders[0].encode_texts(["a photo of a cat."])
thread = threading.Thread(target=encoders.clear)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_after_another_thread_closed_the_model(cache: Path) -> None:
    """A process whose model was let go in another thread handles a signal, and does not crash."""
    run = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(cache)], check=False, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr


def test_openvino_that_cannot_run_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is an error with the way out, not a bug."""

    def broken() -> None:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    found = encoder("openvino", "fp32", cache)
    monkeypatch.setattr("siglipcli.encoders.openvino_runtime.core", broken)
    with pytest.raises(DeviceError, match="libtbb") as caught:
        found.encode_texts(PROMPTS)
    assert "--runtime torch" in with_remedy(caught.value)


@pytest.mark.full
def test_two_first_runs_at_once_both_answer(tmp_path: Path) -> None:
    """While one compiles, the other waits; neither takes the other's cache from under it."""
    encoder("openvino", "auto", tmp_path)  # builds the engine; nothing is compiled yet
    image = str(demo.IMAGES / "red-circle.jpg")
    command = [
        sys.executable,
        "-m",
        "siglipcli",
        "classify",
        image,
        "-L",
        "red circle",
        "-m",
        "demo",
    ]
    command += ["--device", "cpu", "--no-cache", "--cache-dir", str(tmp_path)]
    for _ in range(3):
        for blob in (tmp_path / "engines").rglob("*.blob"):
            blob.unlink()
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        answers = [run.communicate(timeout=60)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0, 0]
        assert len({json.loads(answer)["labels"][0]["score"] for answer in answers}) == 1


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_cache_whose_name_is_not_utf8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """OpenVINO opens no such file: `auto` uses torch and says why, `openvino` ends with the reason."""
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    with pytest.raises(DeviceError, match="only files whose names are UTF-8"):
        encoder("openvino", "fp32", folder)
    assert encoder("auto", "fp32", folder).runtime == "torch"
    assert "only files whose names are UTF-8" in caplog.text


def test_a_disk_that_fills_up_while_an_engine_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO's "basic_ios::clear" is told as what it is: the folder, and that the disk is full."""
    from siglipcli.encoders.openvino_convert import convert_towers

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    draft = tmp_path / "engines" / "draft"
    draft.mkdir(parents=True)
    checkpoint = locate("demo", offline=True, cache_dir=tmp_path)
    monkeypatch.setattr("siglipcli.encoders.openvino_convert.convert", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left on device") as caught:
        convert_towers(checkpoint, "fp32", draft)
    assert caught.value.filename == str(draft.parent)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**12))
    with pytest.raises(RuntimeError, match="basic_ios"):  # there is another reason then
        convert_towers(checkpoint, "fp32", draft)


@pytest.mark.full
def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    """Weights that do not fit their config are refused in the words that torch's runtime has for them."""
    folder = tmp_path / "model"
    shutil.copytree(demo.MODEL_DIR, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["layers"] += 1
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    messages = []
    for runtime in ("openvino", "torch"):
        with pytest.raises(CheckpointError) as caught:
            encoder(runtime, "fp32", tmp_path / "cache", str(folder)).encode_texts(PROMPTS)
        messages.append((str(caught.value), caught.value.code, caught.value.facts))
    assert messages[0] == messages[1]


@pytest.mark.full
def test_an_engine_that_is_cleared_meanwhile_is_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`siglip cache clear` costs a run that has the model open some time, and nothing else."""
    caplog.set_level("INFO", "siglipcli")
    running = encoder("openvino", "fp32", tmp_path)
    texts = running.encode_texts(PROMPTS)
    assert engines.clear(tmp_path / "engines") > 0
    pixels = drawings(running.preprocess.size)
    reference = encoder("torch", "fp32", tmp_path).encode_images(pixels)
    assert (running.encode_images(pixels) * reference).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(running.encode_texts(PROMPTS), texts, atol=1e-6)
    assert caplog.text.count("preparing demo") == 2


@pytest.mark.full
def test_cold_runs_side_by_side_build_one_engine(tmp_path: Path) -> None:
    """One prepares the model, the other waits for it; both give the same scores."""
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: classify(tmp_path, "red circle"), range(2)))
    assert sum(run.stderr.count("preparing demo") for run in runs) == 1
    assert len({json.loads(run.stdout)["labels"][0]["score"] for run in runs}) == 1
    assert len(engines.engines(tmp_path / "engines")) == 1


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_what_a_run_keeps_is_private(cache: Path) -> None:
    """Engines, compiled graphs, digests and locks: no other user may look at them."""
    encoder("openvino", "fp32", cache).encode_texts(PROMPTS)
    kept = list(cache.rglob("*"))
    assert any(path.suffix == ".blob" for path in kept)
    assert {oct(path.stat().st_mode & 0o777) for path in kept if path.is_file()} == {"0o600"}
    assert {oct(path.stat().st_mode & 0o777) for path in kept if path.is_dir()} == {"0o700"}
