"""Int8 engines: made from a user's images, checked on others, and never used unasked."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import drawings
import numpy as np
import pytest
from typer.testing import CliRunner

from siglipcli import Agreement, Classifier, LabelSet, Proportion, SetAgreement, demo, diagnosis
from siglipcli.cli import app
from siglipcli.cli.remedies import with_remedy
from siglipcli.cli.tune import _conclude
from siglipcli.encoders import ModelSpec, engines, open_encoder, openvino_runtime, workshop
from siglipcli.encoders import tuned as tuned_engines
from siglipcli.errors import DeviceError, MissingExtraError, UsageError
from siglipcli.evaluation import certify
from siglipcli.results import Source
from siglipcli.store import Store
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.tuning import Floors, TuningOptions, needed, tune
from siglipcli.tuning.draw import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_encoder import FakeEncoder

    from siglipcli.encoders import Encoder
    from siglipcli.tuning import Tuning

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
pytest.importorskip("nncf", reason="NNCF has no wheel for this machine")

COUNT = 320
ONCE = TuningOptions(minutes=0.001)
"""A budget of one try."""
LOOSE = Floors(best_label=0.5)
"""Floors that 64 images can show."""


def draw_images(folder: Path, count: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for i in range(count):
        colour, shape = drawings.PAIRS[i % len(drawings.PAIRS)]
        (folder / shape).mkdir(parents=True, exist_ok=True)
        image = drawings.draw(shape, colour, rng, (96, 96)).convert("RGB")
        image.save(folder / shape / f"{i}.png", compress_level=1)
    return folder


pytestmark = pytest.mark.full  # engines are made


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawings, a folder a shape: as many as show the floors."""
    return draw_images(tmp_path_factory.mktemp("photos"), COUNT, seed=0)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of just as many drawings as tuning needs."""
    return draw_images(tmp_path_factory.mktemp("few"), 64, seed=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the demo model's engine."""
    folder = tmp_path_factory.mktemp("cache")
    open_encoder(spec(folder, "fp32"))
    return folder


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path) -> Path:
    """Another cache folder with that engine, and no int8 one."""
    (engine,) = (cache / "engines").glob("[!.]*-fp32")
    shutil.copytree(engine, tmp_path / "cache" / "engines" / engine.name)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tuned(photos: Path, cache: Path) -> dict[str, Any]:
    """What `siglip models tune` says of the demo model, tuned on the drawings by NNCF."""
    result = siglip(
        "models", "tune", "demo", "--with", str(photos), "--labels", str(demo.LABELS),
        "--cache-dir", str(cache), "--offline", "--format", "json", "--minutes", "60",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "use it with --precision int8" in result.stderr
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def siglip(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def classifier(cache: Path, precision: str = "fp32", store: Store | None = None) -> Classifier:
    return Classifier(spec(cache, precision), store=store)


def spec(cache: Path, precision: str) -> ModelSpec:
    return ModelSpec("demo", "cpu", "openvino", precision, cache, offline=True)


def int8(cache: Path) -> Encoder:
    return open_encoder(spec(cache, "int8"))


def tuning(cache: Path, photos: Path, quantize: str, options: TuningOptions = ONCE) -> Tuning:
    with classifier(cache) as clf:
        return tune(clf, photos, demo.LABELS, options, quantize=f"quantized_apart:{quantize}")


def left_over(cache: Path) -> list[str]:
    return [path.name for path in (cache / "engines").iterdir() if path.name.startswith(".draft")]


# --- made by NNCF ---------------------------------------------------------------------------------


def test_the_demo_model_is_tuned(tuned: dict[str, Any], cache: Path) -> None:
    """It holds the floors on images kept back, at least a third of those drawn, and is installed."""
    assert tuned["is_installed"]
    assert not tuned["missed"]
    agreement = tuned["agreement"]
    assert agreement["images"] >= tuned["drawn"] / 3
    assert agreement["median_cosine"] >= 0.999
    assert agreement["lowest_cosine"] >= 0.99
    (shapes,) = agreement["sets"]
    assert shapes["set"] == "shapes"
    assert shapes["best_label"]["low"] >= 0.97
    assert shapes["logit_move"] <= shapes["logit_move_99"]
    assert min(tuned["rate_before"], tuned["rate_after"]) > 0
    assert tuned["form"] in {"products", "convolutions"}
    assert left_over(cache) == []


def test_int8_agrees_on_new_drawings(tuned: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    """On drawings that tuning never saw results are those of fp32, from a smaller file."""
    fresh = draw_images(tmp_path, 100, seed=7)
    exact, quantized = classifier(cache), classifier(cache, "int8")
    with exact, quantized:
        rows = [clf.encode_images(fresh) for clf in (exact, quantized)]
        best = [
            [each.best.label for each in clf.classify(fresh, demo.LABELS)]
            for clf in (exact, quantized)
        ]
    assert 0.999 < np.median((rows[0] * rows[1]).sum(axis=1)) < 1 - 1e-7
    assert np.mean(np.array(best[0]) == np.array(best[1])) >= 0.97
    sizes = [(clf.encoder.folder / "image.bin").stat().st_size for clf in (exact, quantized)]
    assert sizes[1] < 0.9 * sizes[0]  # its largest layer is the last, which stays as it is


def test_the_figures_can_be_seen_later(tuned: dict[str, Any], cache: Path) -> None:
    """They stand in the engine's file; `models info` and `doctor` show them."""
    folder = next((cache / "engines").glob("*-int8"))
    assert engines.facts(folder)["facts"]["agreement"] == tuned["agreement"]
    where = ("--cache-dir", str(cache))
    shown = json.loads(siglip("models", "info", "demo", "--format", "json", *where).stdout)
    assert shown["int8"]["agreement"] == tuned["agreement"]
    table = siglip("models", "info", "demo", *where).stdout
    assert re.search(r"same best label +\d", table)
    doctor = siglip("doctor", "--model", "demo", "--offline", *where).stdout
    assert re.search(r"\nint8 +demo: \d\.\d+ times as fast as fp32, same best label", doctor)


def test_auto_never_takes_int8(tuned: dict[str, Any], cache: Path) -> None:
    """A tuned engine is used by those who ask for it."""
    assert open_encoder(spec(cache, "auto")).precision in {"fp32", "bf16"}
    assert (
        open_encoder(replace(spec(cache, "int8"), device="auto", runtime="auto")).precision
        == "int8"
    )


def test_quantization_reports_to_nobody(few: Path, own_cache: Path) -> None:
    """NNCF's telemetry is off, and torch is not loaded for it."""
    options = replace(ONCE, accept=True)
    assert tuning(own_cache, few, "private", options).is_installed


# --- refused and accepted -------------------------------------------------------------------------


def test_a_sabotaged_quantization_is_refused(photos: Path, own_cache: Path) -> None:
    """A layer scaled by 3 misses the floors: nothing is installed, and nothing is left."""
    result = tuning(own_cache, photos, "sabotaged")
    assert not result.is_installed
    assert result.agreement.lowest_cosine < 0.99
    assert any("cosine" in missed for missed in result.missed)
    assert left_over(own_cache) == []
    with pytest.raises(DeviceError) as untuned:
        int8(own_cache)
    assert untuned.value.code == "untuned"


def test_what_is_accepted_is_remembered(
    few: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine below its floors can be installed; each run says so, and so does the list of figures."""
    result = tuning(own_cache, few, "sabotaged", replace(ONCE, accept=True))
    assert result.is_installed
    caplog.set_level(logging.WARNING, "siglipcli")
    for _ in range(2):
        caplog.clear()
        int8(own_cache)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert result.missed[0] in caplog.text
    shown = siglip("models", "info", "demo", "--cache-dir", str(own_cache)).stdout
    assert "floor missed" in shown


def test_an_engine_that_is_no_faster_is_called_that(
    few: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Processors that do not multiply 8-bit integers gain nothing, and their owners are told."""
    result = tuning(own_cache, few, "exact", replace(ONCE, floors=LOOSE))
    terminal = Terminal(VerbosityOptions(), rows_on_screen=False)
    for factor, is_said in ((0.9, True), (1.6, False)):
        _conclude(replace(result, rate_before=2.0, rate_after=2.0 * factor), terminal)
        assert ("not worth the changes" in capsys.readouterr().err) is is_said


@pytest.mark.parametrize(
    ("measured", "form"), [((1.0, 2.0), "convolutions"), ((2.0, 1.0), "products")]
)
def test_the_form_that_is_faster_here_is_taken(
    measured: tuple[float, float],
    form: str,
    few: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same tower is computed in the way that this processor does faster, and the table says which."""
    monkeypatch.setattr(workshop.timing, "rates", lambda *_: measured)
    result = tuning(own_cache, few, "in_two_forms", replace(ONCE, floors=LOOSE))
    assert result.form == form
    graph = int8(own_cache).folder / "image.xml"  # type: ignore[attr-defined]
    assert ('form value="convolutions"' in graph.read_text()) is (form == "convolutions")
    shown = siglip("models", "info", "demo", "--cache-dir", str(own_cache)).stdout
    assert ("layers as convolutions" in shown) is (form == "convolutions")


def test_an_engine_that_holds_says_nothing(
    few: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No warning where there is nothing to warn of; on another processor one."""
    assert tuning(own_cache, few, "exact", replace(ONCE, floors=LOOSE)).is_installed
    int8(own_cache)
    assert caplog.records == []
    rewrite(own_cache, "facts", {"processor": "Another"})
    int8(own_cache)
    assert "checked on another processor, Another" in caplog.text


def rewrite(cache: Path, part: str, values: dict[str, Any]) -> None:
    """Change what the int8 engine's file says."""
    (path,) = (cache / "engines").glob("[!.]*-int8/engine.json")
    content = json.loads(path.read_text())
    content[part] |= values
    path.write_text(json.dumps(content))


def test_an_engine_of_another_openvino_is_not_shown_as_usable(
    tuned: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    """`models info` and `doctor` say that it has to be made again."""
    assert "to be made again" not in str(list(diagnosis.tuned(cache)))
    (engine,) = (cache / "engines").glob("[!.]*-int8")
    shutil.copytree(engine, tmp_path / "engines" / engine.name)
    rewrite(tmp_path, "manifest", {"runtime": "openvino 2020.1"})
    where = ("--cache-dir", str(tmp_path))
    for shown in (
        siglip("models", "info", "demo", *where).stdout,
        str(list(diagnosis.tuned(tmp_path))),
    ):
        assert "made with OpenVINO 2020.1, to be made again" in shown
    facts = json.loads(siglip("models", "info", "demo", "--format", "json", *where).stdout)
    assert facts["int8"]["is_usable"] is False


def test_few_images_cannot_show_the_floor(
    few: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where every best label is the same, 64 images still show too little; that is said before and after."""
    result = tuning(own_cache, few, "exact")
    assert "64 images cannot show" in caplog.text
    assert f"that takes {needed(Floors())} or more" in caplog.text
    assert not result.is_installed
    (missed,) = result.missed
    assert "best label of shapes the same for 22 of 22 images" in missed
    assert needed(Floors()) <= COUNT
    assert certify.interval(122, 122, 0.95)[0] >= 0.97 > certify.interval(121, 121, 0.95)[0]


def tuned_while(
    cache: Path, photos: Path, quantize: str, happens: Callable[[list[Path]], object]
) -> Tuning:
    """Tune on images to which something happens when all were read once."""

    def progress(words: str, _part: float) -> None:
        if words.startswith("quantizing"):
            happens(sorted(photos.rglob("*.png")))

    with classifier(cache) as clf:
        return tune(
            clf, photos, demo.LABELS, ONCE, progress, quantize=f"quantized_apart:{quantize}"
        )


def test_images_that_fail_the_second_time_are_left_out(
    few: Path, own_cache: Path, tmp_path: Path
) -> None:
    """Deleted ones are not compared; a tower that gives NaN for some misses a floor."""
    photos = Path(shutil.copytree(few, tmp_path / "photos"))
    result = tuned_while(own_cache, photos, "seldom_finite", lambda paths: unlink(paths[::16]))
    agreement = result.agreement
    assert agreement.images > 0
    assert agreement.non_finite > 0
    assert 15 <= agreement.images + agreement.non_finite < 22
    assert f"the embeddings of {agreement.non_finite} images are not finite" in result.missed
    assert not result.is_installed


def unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()


def swap(paths: list[Path]) -> None:
    for path, other in zip(paths[::2], paths[1::2], strict=True):
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


@pytest.mark.parametrize("happens", [unlink, swap])
def test_images_that_are_gone_end_the_tuning(
    happens: Callable[[list[Path]], None], few: Path, own_cache: Path, tmp_path: Path
) -> None:
    """Deleted, or others under the same names: what is left shows too little."""
    photos = Path(shutil.copytree(few, tmp_path / "photos"))
    with pytest.raises(UsageError, match="only 0 of the 22 images kept back") as gone:
        tuned_while(own_cache, photos, "exact", happens)
    assert gone.value.code == "few_images"
    assert left_over(own_cache) == []


def test_a_tower_that_gives_nothing_finite_is_refused(few: Path, own_cache: Path) -> None:
    """It is an error of the quantization, and nothing is installed."""
    with pytest.raises(DeviceError, match="no embedding is finite") as failed:
        tuning(own_cache, few, "never_finite", replace(ONCE, accept=True))
    assert failed.value.code == "tuning"
    assert left_over(own_cache) == []


def test_nan_holds_no_floor() -> None:
    """What cannot be compared is below every floor."""
    nan = float("nan")
    result = SetAgreement("s", nan, nan, Proportion(1, 1, nan, 1.0), Proportion(1, 1, 1.0, 1.0))
    assert len(Agreement(1, nan, nan, (result,)).missed(Floors())) == 3
    assert Agreement(1, 1.0, 1.0, ()).missed(Floors()) == ()


# --- kept apart -----------------------------------------------------------------------------------


def test_the_store_keeps_int8_apart(few: Path, own_cache: Path) -> None:
    """Images of another precision, or of another tuning, are encoded anew; prompts are not."""
    image = [demo.IMAGES / "blue-heart.jpg"]
    options = replace(ONCE, floors=LOOSE)
    fingerprints = []
    for quantize in ("exact", "slightly_off"):
        tuning(own_cache, few, quantize, options)
        for precision in ("fp32", "int8", "int8"):
            with classifier(own_cache, precision, Store(own_cache)) as clf:
                (result,) = clf.classify(image, ["heart"])
                stored = clf.session.encode_texts(["a photo of a heart."])[1]
                fingerprints.append((clf.encoder.fingerprint, result.stored, stored))
    names, were_stored, texts = zip(*fingerprints, strict=True)
    assert were_stored == (False, False, True, True, False, True)
    assert all(texts[0])
    assert len({names[1], names[4], names[0]}) == 3


def test_an_engine_is_not_swapped_under_a_run(few: Path, own_cache: Path) -> None:
    """A run that opened one tuning does not go on with another, whose embeddings it would mix in."""
    options = replace(ONCE, floors=LOOSE)
    tuning(own_cache, few, "exact", options)
    opened = int8(own_cache)
    tuning(own_cache, few, "slightly_off", options)
    with pytest.raises(DeviceError, match="made anew") as replaced:
        opened.encode_images(np.zeros((1, 96, 96, 3), np.uint8))
    assert replaced.value.code == "retuned"


def test_thresholds_of_another_precision_or_tuning_are_noticed() -> None:
    """A set calibrated at fp32, or on another int8 engine, draws a warning; on this one none."""
    fitted = {"model": "m", "fingerprint": "abc-openvino-int8-1", "precision": "int8"}
    labels = LabelSet.from_dict({"labels": ["cat"], "calibrated": fitted})
    assert labels.check_calibration("m", "abc-openvino-int8-1", "int8") is None
    assert "another int8 engine" in str(
        labels.check_calibration("m", "abc-openvino-int8-2", "int8")
    )
    assert "fitted on int8" in str(labels.check_calibration("m", "abc-openvino-fp32", "fp32"))


def test_another_graph_is_another_tuning(own_cache: Path, tmp_path: Path) -> None:
    """Two engines of the same weights, whose graphs differ, are told apart."""
    open_engine = open_encoder(spec(own_cache, "fp32"))
    manifest = openvino_runtime.manifest(open_engine.checkpoint, "int8")  # type: ignore[attr-defined]
    digests = set()
    for graph in ("<net a/>", "<net b/>", "<net b/>"):
        (tmp_path / "image.xml").write_text(graph)
        (tmp_path / "image.bin").write_bytes(b"weights")
        tuned_engines.install(own_cache / "engines", manifest, tmp_path, {"reference": "fp32"})
        (engine,) = tuned_engines.every(own_cache / "engines")
        digests.add(engine.digest)
    assert len(digests) == 2


# --- what cannot be -------------------------------------------------------------------------------


def test_without_an_engine_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    """`--precision int8` builds nothing unasked."""
    run = siglip(
        "classify", str(demo.IMAGES), "-L", "heart", "--model", "demo", "--offline",
        "--precision", "int8", "--cache-dir", str(tmp_path),
    )  # fmt: skip
    assert run.exit_code == 3
    assert "siglip models tune demo --with" in run.stderr


def test_int8_is_openvinos(own_cache: Path) -> None:
    """Torch does not have it, and says what it has."""
    with pytest.raises(DeviceError) as refused:
        open_encoder(replace(spec(own_cache, "int8"), runtime="torch"))
    assert "--precision fp32 or bf16" in with_remedy(refused.value)


def test_without_openvino_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that torch has no int8, which is no help."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError) as missing:
        open_encoder(ModelSpec("demo", precision="int8", cache_dir=tmp_path, offline=True))
    assert "OpenVINO is not installed" in str(missing.value)
    assert "pip install openvino" in with_remedy(missing.value)


def test_only_openvino_engines_are_tuned(encoder: FakeEncoder, few: Path) -> None:
    """A classifier on another runtime has no engine to start from."""
    with Classifier(encoder) as clf, pytest.raises(DeviceError) as refused:
        tune(clf, few, demo.LABELS, ONCE)
    assert refused.value.code == "tuning_runtime"


def test_without_nncf_the_extra_is_named(
    few: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read."""
    monkeypatch.setitem(sys.modules, "nncf", None)
    with classifier(own_cache) as clf, pytest.raises(MissingExtraError) as missing:
        tune(clf, few, demo.LABELS)
    assert "siglipcli[tune]" in str(missing.value)


def test_under_64_images_are_refused(few: Path, own_cache: Path, tmp_path: Path) -> None:
    """Those that cannot be read do not count, and are counted in the message."""
    images: list[Path | str] = sorted(few.rglob("*.png"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno")
    with classifier(own_cache) as clf:
        with pytest.raises(UsageError, match=r"at least 64 images, and there are 63$") as refused:
            tune(clf, images[:63], demo.LABELS, ONCE)
        assert refused.value.code == "few_images"
        with pytest.raises(UsageError, match="there are 64, 1 of which cannot be read"):
            tune(clf, [*images[:63], broken], demo.LABELS, ONCE)


def test_a_killed_quantization_is_an_error(few: Path, own_cache: Path) -> None:
    """As where memory runs out: it is said, and nothing is left."""
    with pytest.raises(DeviceError, match=r"quantization failed: .*SIGKILL") as failed:
        tuning(own_cache, few, "killed")
    assert failed.value.code == "tuning"
    assert left_over(own_cache) == []


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_a_killed_tuning_takes_its_process_along(few: Path, own_cache: Path) -> None:
    """After kill -9 nothing runs on, nothing is installed, and the next tuning cleans up and works."""
    script = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[3:]\n"
        "from test_tuning import tuning\n"
        "tuning(Path(sys.argv[1]), Path(sys.argv[2]), 'sleeping')\n"
    )
    words = [sys.executable, "-c", script, str(own_cache), str(few), *sys.path]
    noted = "engines/.draft-*-tuning-*/1/pid"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tuner:
        until(lambda: any(own_cache.glob(noted)) or tuner.poll() is not None)
        worker = int(next(own_cache.glob(noted)).read_text())
        tuner.kill()
    until(lambda: not is_running(worker))
    assert left_over(own_cache)
    with pytest.raises(DeviceError):
        int8(own_cache)
    assert tuning(own_cache, few, "exact", replace(ONCE, floors=LOOSE)).is_installed
    assert left_over(own_cache) == []


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_killed_tuning_left_goes_with_the_next(tmp_path: Path) -> None:
    """Drafts of this work are deleted, those of other engines are not."""
    root = tmp_path / "engines"
    mine, other = root / ".draft-abc-int8-tuning-1", root / ".draft-abc-int8-1"
    for folder in (mine, other):
        folder.mkdir(parents=True)
    with engines.workspace(root, "abc-int8-tuning", "m") as folder:
        assert folder.is_dir()
        assert not mine.exists()
        assert other.exists()
    assert not folder.exists()


@pytest.mark.parametrize("wrong", [{"images": 63}, {"minutes": 0}, {"minutes": float("nan")}])
def test_options_out_of_bounds(wrong: dict[str, Any]) -> None:
    """They are refused where they are made."""
    with pytest.raises(UsageError):
        TuningOptions(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"best_label": 1.0}, {"best_label": 0.0}, {"best_label": float("nan")}, {"median_cosine": 2}],
)
def test_floors_out_of_bounds(wrong: dict[str, Any]) -> None:
    """No number of images shows that every best label stays the same."""
    with pytest.raises(UsageError):
        Floors(**wrong)


# --- the draw -------------------------------------------------------------------------------------


def test_the_draw_is_spread_over_folders() -> None:
    """A folder of thousands leaves the small ones their turn; one seed, one draw."""
    big = [Source(f"all/big/{i}.jpg") for i in range(2000)]
    small = [Source(f"all/{name}/{i}.jpg") for name in "abc" for i in range(20)]
    drawn, there = draw([*big, *small, *small], 100, seed=3)
    assert there == 2060
    assert len(set(drawn)) == 100
    assert sum("big" not in each.name for each in drawn) == 60
    assert drawn == draw([*small, *big], 100, seed=3)[0]
    assert drawn != draw([*big, *small], 100, seed=4)[0]
