"""open_clip's towers on torch, with the bundled model: vectors, precisions, devices, damage."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from siglipcli import demo
from siglipcli.encoders import ModelSpec, open_encoder, torch_runtime
from siglipcli.encoders.checkpoint import Checkpoint, locate
from siglipcli.encoders.torch_runtime import (
    TorchEncoder,
    agrees,
    build_tower,
    devices,
    pick_device,
    pick_precision,
)
from siglipcli.errors import CheckpointError, DeviceError
from siglipcli.terminal.status import ExitStatus, status_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

WEIGHTS = "open_clip_model.safetensors"
TEXTS = ["a photo of a red circle.", "", "blue heart " * 30, "кошка"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return locate("demo", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def fp32(checkpoint: Checkpoint) -> TorchEncoder:
    return TorchEncoder(checkpoint, "cpu", "fp32")


@pytest.fixture
def fresh(checkpoint: Checkpoint) -> TorchEncoder:
    return TorchEncoder(checkpoint, "cpu", "fp32")


def pixels(n: int, size: int = 160) -> NDArray[np.uint8]:
    """Images of blocks, not noise: embeddings then differ."""
    blocks = np.random.default_rng(n).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(size // 4, axis=1).repeat(size // 4, axis=2)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return (a * b).sum(axis=1)


# --- vectors --------------------------------------------------------------------------------------


def test_rows_are_unit_fp32_vectors(fp32: TorchEncoder) -> None:
    """Images and prompts become rows of length one, in one space."""
    seen, read = fp32.encode_images(pixels(3)), fp32.encode_texts(TEXTS)
    assert seen.dtype == read.dtype == np.float32
    assert seen.shape == (3, 64)
    assert read.shape == (4, 64)
    for rows in (seen, read):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_bf16_points_where_fp32_does(fp32: TorchEncoder, checkpoint: Checkpoint) -> None:
    """Half the bits change embeddings by less than a thousandth of a cosine."""
    half = TorchEncoder(checkpoint, "cpu", "bf16")
    assert (cosines(half.encode_images(pixels(6)), fp32.encode_images(pixels(6))) > 0.999).all()
    assert (cosines(half.encode_texts(TEXTS), fp32.encode_texts(TEXTS)) > 0.999).all()
    assert half.fingerprint != fp32.fingerprint


def test_a_batch_gives_what_its_images_give_alone(fp32: TorchEncoder) -> None:
    """The batch size changes no embedding."""
    batch = pixels(5)
    alone = np.concatenate([fp32.encode_images(batch[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(fp32.encode_images(batch), alone, atol=1e-5)


def test_many_prompts_are_encoded_in_chunks(fp32: TorchEncoder) -> None:
    """More prompts than fit at a time give the rows that each gives alone."""
    prompts = [f"a {colour} star, {i}" for i in range(70) for colour in ("red", "blue")]
    together = fp32.encode_texts(prompts)
    assert together.shape == (140, 64)
    for i in (0, 63, 64, 139):
        np.testing.assert_allclose(together[i], fp32.encode_texts([prompts[i]])[0], atol=1e-5)


def test_pixels_are_left_as_they_were(fp32: TorchEncoder) -> None:
    """Encoding changes nothing in the caller's array."""
    batch = pixels(2)
    before = batch.copy()
    fp32.encode_images(batch)
    np.testing.assert_array_equal(batch, before)


def test_a_tower_is_loaded_when_it_is_used(
    fresh: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts load the text tower only; images let it go and load the other; each once."""
    loaded: list[str] = []
    plain = torch_runtime.build_tower

    def counting(checkpoint: Checkpoint, tower: str) -> Any:
        loaded.append(tower)
        return plain(checkpoint, tower)

    monkeypatch.setattr(torch_runtime, "build_tower", counting)
    assert loaded == []
    fresh.encode_texts(["a"])
    fresh.encode_texts(["b"])
    assert loaded == ["text"]
    fresh.encode_images(pixels(1))
    fresh.encode_images(pixels(1))
    assert loaded == ["text", "visual"]
    assert fresh._text is None


def test_the_encoder_says_what_it_is(fp32: TorchEncoder, checkpoint: Checkpoint) -> None:
    """Name, device, precision and head are there for answers and `--verbose`."""
    assert fp32.name == "demo"
    assert fp32.description == "torch on cpu at fp32"
    assert fp32.head == checkpoint.head
    assert fp32.fingerprint.startswith(checkpoint.fingerprint)
    assert fp32.tokenizer is fp32.tokenizer


# --- devices and precisions -----------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_that_is_not_here_is_said(name: str) -> None:
    """A device that this machine lacks is an error that says what torch sees."""
    with pytest.raises(DeviceError, match=f"{name} is not here: torch sees 0 CUDA") as caught:
        pick_device(name)
    assert status_of(caught.value) is ExitStatus.CANNOT_GO_ON


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without Metal")
def test_mps_that_is_not_here_is_said() -> None:
    """Metal exists on some machines only."""
    with pytest.raises(DeviceError, match="no Metal device"):
        pick_device("mps")


@pytest.mark.parametrize("name", ["toaster", "", "cuda:x", "cpu cuda", "meta", "xpu"])
def test_an_unknown_device_is_said(name: str) -> None:
    """A word that is no device, or one not for this program, brings the list of those that are."""
    with pytest.raises(DeviceError, match="use auto, cpu, cuda, cuda:N or mps"):
        pick_device(name)


def test_cpu_is_always_here() -> None:
    """The CPU can be asked for by name, and is in the list of devices."""
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    assert devices()[-1].startswith("cpu (")


@pytest.mark.parametrize(
    ("device", "bf16_here", "precision"),
    [
        ("cpu", True, "bf16"), ("cpu", False, "fp32"), ("cuda", True, "bf16"),
        ("cuda", False, "fp16"), ("mps", True, "fp32"),
    ],
)  # fmt: skip
def test_auto_precision_is_the_fastest_that_is_exact_enough(
    monkeypatch: pytest.MonkeyPatch, device: str, bf16_here: bool, precision: str
) -> None:
    """bf16 where the hardware has it, fp16 on older cards, fp32 on plain CPUs and on Metal."""
    monkeypatch.setattr("siglipcli.machine.has_bf16", lambda: bf16_here)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16_here)
    assert pick_precision("auto", torch.device(device)) == precision


@pytest.mark.parametrize(
    ("wanted", "device"), [("fp32", "cuda"), ("bf16", "cpu"), ("fp16", "cuda"), ("fp16", "mps")]
)
def test_a_precision_asked_for_is_used(wanted: str, device: str) -> None:
    """`--precision` wins over what auto would take."""
    assert pick_precision(wanted, torch.device(device)) == wanted


def test_fp16_on_the_cpu_is_refused() -> None:
    """fp16 on a CPU is slow and inexact: the message names what to use."""
    with pytest.raises(DeviceError, match="no fp16 on cpu; it has fp32, bf16"):
        pick_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("cosine", "same"),
    [(1.0, True), (0.9995, True), (0.998, False), (-1.0, False), (np.nan, False)],
)
def test_a_device_that_computes_otherwise_is_noticed(cosine: float, same: bool) -> None:
    """Embeddings agree where their cosine is above 0.999; NaN never agrees."""
    reference = np.array([[1, 0], [1, 0]], np.float32)
    sine = np.sqrt(max(0.0, 1 - cosine * cosine))
    assert agrees(np.array([[1, 0], [cosine, sine]], np.float32), reference) is same


def test_a_device_that_differs_from_the_cpu_is_refused(
    fresh: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check that Metal runs once: right vectors pass, wrong ones end the run with a remedy."""
    fresh.encode_images(pixels(1))
    fresh._check_against_cpu(fresh._image)
    right = fresh._encode_pixels
    monkeypatch.setattr(fresh, "_encode_pixels", lambda *given: np.roll(right(*given), 1, axis=1))
    with pytest.raises(DeviceError, match="computes other embeddings than the CPU"):
        fresh._check_against_cpu(fresh._image)


# --- out of memory --------------------------------------------------------------------------------


def tight(tower: Any, most: int, seen: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A tower on a device with room for `most` images."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("no room")
        return tower(x)

    return forward


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_out_of_memory_halves_the_batch(fresh: TorchEncoder, most: int) -> None:
    """A batch too large for the device is cut until it fits; the embeddings are the same."""
    batch = pixels(11)
    expected = fresh.encode_images(batch)
    seen: list[int] = []
    fresh._image = tight(fresh._image, most, seen)
    np.testing.assert_allclose(fresh.encode_images(batch), expected, atol=1e-5)
    assert seen[0] == 11
    assert sum(n for n in seen if n <= most) == 11
    assert 1 <= fresh.batch_limit <= max(most, 2)


def test_no_room_for_one_image_ends_the_run(fresh: TorchEncoder) -> None:
    """Where one image does not fit there is nothing to halve: the message names the CPU."""
    fresh.encode_images(pixels(1))
    fresh._image = tight(fresh._image, 0, [])
    with pytest.raises(DeviceError, match="too little free memory for one image"):
        fresh.encode_images(pixels(4))


# --- damaged models -------------------------------------------------------------------------------


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Checkpoint]:
    """Return the demo model with its tensors or config changed by functions."""

    def make(
        tensors: Callable[[dict[str, torch.Tensor]], None] = lambda t: None,
        config: Callable[[dict[str, Any]], None] = lambda c: None,
    ) -> Checkpoint:
        folder = tmp_path / "model"
        shutil.copytree(demo.MODEL_DIR, folder)
        state = load_file(folder / WEIGHTS)
        tensors(state)
        save_file(state, folder / WEIGHTS)
        settings = json.loads((folder / "open_clip_config.json").read_bytes())
        config(settings["model_cfg"])
        (folder / "open_clip_config.json").write_text(json.dumps(settings))
        return locate(str(folder), cache_dir=tmp_path / "cache")

    return make


def first(state: dict[str, torch.Tensor], tower: str) -> str:
    return next(k for k in state if k.startswith(tower) and state[k].is_floating_point())


@pytest.mark.parametrize("tower", ["visual", "text"])
def test_a_missing_tensor_is_noticed(altered: Callable[..., Checkpoint], tower: str) -> None:
    """Weights that lack a tensor are refused; no layer is ever left random."""
    damaged = altered(lambda state: state.pop(first(state, tower)))
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS} does not fit .*Missing key"):
        build_tower(damaged, tower)


@pytest.mark.parametrize("tower", ["visual", "text"])
def test_a_tensor_left_over_is_noticed(altered: Callable[..., Checkpoint], tower: str) -> None:
    """Weights of another architecture are refused."""
    damaged = altered(lambda state: state.update({f"{tower}.more": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS} does not fit .*Unexpected key"):
        build_tower(damaged, tower)


@pytest.mark.parametrize("tower", ["visual", "text"])
def test_a_tensor_of_another_shape_is_noticed(
    altered: Callable[..., Checkpoint], tower: str
) -> None:
    """Weights of another size are refused."""
    damaged = altered(lambda state: state.update({first(state, tower): torch.zeros(2, 2)}))
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} does not fit"):
        build_tower(damaged, tower)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("tower", ["visual", "text"])
def test_weights_that_are_not_finite_are_refused(
    altered: Callable[..., Checkpoint], tower: str, value: float
) -> None:
    """NaN or infinity in the weights is damage: the message names the file and the tensor."""

    def spoil(state: dict[str, torch.Tensor]) -> None:
        tensor = state[first(state, tower)].clone()
        tensor.view(-1)[-1] = value
        state[first(state, tower)] = tensor

    damaged = altered(spoil)
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}.*not finite") as caught:
        build_tower(damaged, tower)
    assert f"{tower}." in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["vision_cfg"].update(timm_model_name="no_such_tower"),
        lambda c: c["vision_cfg"].update(nonsense=1),
        lambda c: c.update(embed_dim=95),
        lambda c: c.pop("embed_dim"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    altered: Callable[..., Checkpoint], change: Callable[[dict[str, Any]], None]
) -> None:
    """A config that describes no tower, or another one, is an error of the model, not a bug."""
    with pytest.raises(CheckpointError):
        build_tower(altered(config=change), "visual")


def test_half_precision_weights_are_widened(
    altered: Callable[..., Checkpoint], fp32: TorchEncoder
) -> None:
    """A checkpoint stored at half precision runs, and points the same way."""

    def halve(state: dict[str, torch.Tensor]) -> None:
        for key, tensor in state.items():
            if key.startswith(("visual", "text")) and tensor.is_floating_point():
                state[key] = tensor.half()

    small = TorchEncoder(altered(halve), "cpu", "fp32")
    assert (cosines(small.encode_images(pixels(3)), fp32.encode_images(pixels(3))) > 0.999).all()


def test_a_gpus_batch_is_found_by_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the free memory, divided by what one image takes; at least one, at most 256."""
    encoder = open_encoder(ModelSpec("demo", "cpu", "torch", "fp32"))
    assert isinstance(encoder, TorchEncoder)
    encoder.encode_images(pixels(1))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1_000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1_100)
    for free, batch in [(20_000, 100), (150, 1), (10**9, 256)]:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**10))
        assert encoder._batch_that_fits(encoder._image) == batch


def test_no_memory_to_load_a_tower_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither tower's lack of room is taken for a bug."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("siglipcli.encoders.torch_runtime.build_tower", full)
    encoder = open_encoder(ModelSpec("demo", "cpu", "torch", cache_dir=tmp_path))
    with pytest.raises(DeviceError, match="too little free memory for the text tower"):
        encoder.encode_texts(["a cat"])
    with pytest.raises(DeviceError, match="too little free memory for one image"):
        encoder.encode_images(pixels(1))


def test_the_cpu_holds_one_tower_at_a_time() -> None:
    """Texts after images let the image tower go, and the other way round."""
    encoder = open_encoder(ModelSpec("demo", "cpu", "torch", "fp32"))
    assert isinstance(encoder, TorchEncoder)
    encoder.encode_images(pixels(1))
    encoder.encode_texts(["a cat"])
    assert encoder._image is None
    encoder.encode_images(pixels(1))
    assert encoder._text is None
