"""open_clip's towers on torch: CPU, CUDA or MPS.

Each tower is built alone, on the meta device, and takes its tensors straight from the checkpoint; the
result is identical to `open_clip.create_model_from_pretrained` and no tower is loaded before it
is used. Pixels cross the bus as uint8 and are normalised on the device.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from siglipcli import machine
from siglipcli.encoders.precisions import PRECISIONS, choose
from siglipcli.encoders.tokens import Tokenizer
from siglipcli.errors import CheckpointError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.encoders.checkpoint import Checkpoint

__all__ = ["TorchEncoder", "build_tower", "devices", "pick_device", "pick_precision"]

_AGREEMENT = 0.999  # the cosine below which two devices do not compute the same model
_TEXT_CHUNK = 64  # prompts encoded at a time
_MOST = 256  # images in a batch, however large the GPU


class TorchEncoder:
    """An `Encoder` on torch, of which a tower is loaded when first used.

    On a GPU both towers stay; on the CPU where `tower_memory` (bytes) is enough for them, else the one
    replaces the other.
    Raises DeviceError for a device or precision that is not here, CheckpointError for weights that
    do not fit the architecture.
    """

    runtime = "torch"

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        precision: str = "auto",
        *,
        text_cleaning: str | None = None,
        tower_memory: int = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.name = checkpoint.name
        self.head = checkpoint.head
        self.preprocess = checkpoint.preprocess
        self.tokenizer = Tokenizer.of(checkpoint, cleaning=text_cleaning)
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.fingerprint = f"{checkpoint.fingerprint}-torch-{self.device.type}-{self.precision}"
        self.text_fingerprint = self.fingerprint + self.tokenizer.suffix
        on_gpu = self.device.type != "cpu"
        self.batch_size = 64 if on_gpu else 8
        self.batch_limit = sys.maxsize
        self._keeps_both = on_gpu or checkpoint.weights.stat().st_size <= tower_memory
        self.in_flight = 2 if on_gpu else 1  # the next batch is copied while one is encoded
        self._dtype = getattr(torch, PRECISIONS[self.precision].torch_dtype)
        self._lock = threading.Lock()
        if not on_gpu:  # torch does not know of cgroup quotas
            torch.set_num_threads(min(torch.get_num_threads(), machine.available_cpus()))
        self._image: Any = None
        self._text: Any = None

    @property
    def description(self) -> str:
        """What runs, in a few words."""
        return f"torch on {self.device} at {self.precision}"

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode uint8[n, size, size, 3] → float32[n, d], unit rows.

        Out of device memory: the batch is halved, down to one image; then DeviceError.
        """
        try:
            with self._lock:
                tower = self._tower("visual")
            return self._encode_pixels(pixels, tower)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            if len(pixels) == 1:
                raise self._too_small("one image") from error
        self.batch_limit = min(self.batch_limit, max(1, len(pixels) // 2))
        halves = np.array_split(pixels, 2)
        return np.concatenate([self.encode_images(half) for half in halves])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows."""
        ids = self.tokenizer(texts)
        parts = [ids[i : i + _TEXT_CHUNK] for i in range(0, len(ids), _TEXT_CHUNK)]
        try:
            with self._lock:
                tower = self._tower("text")
                if not self._keeps_both:  # until the end: an image would bring the other tower
                    return np.concatenate([self._encode_ids(part, tower) for part in parts])
            return np.concatenate([self._encode_ids(part, tower) for part in parts])
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise self._too_small("the text tower") from error

    def _tower(self, name: str) -> Any:
        """Return a tower, loaded if it is not here."""
        tower = self._image if name == "visual" else self._text
        if tower is not None:
            return tower
        if not self._keeps_both:
            self._image = self._text = None
        loaded = build_tower(self.checkpoint, name).to(self.device, self._dtype)
        if name == "text":
            self._text = loaded
            return loaded
        self._image = loaded
        if self.device.type == "mps":
            self._check_against_cpu(loaded)
        elif self.device.type == "cuda":
            self.batch_size = self._batch_that_fits(loaded)
        return loaded

    def _batch_that_fits(self, tower: Any) -> int:
        """Return how many images fit in half the free memory, by what one of them takes."""
        size = self.preprocess.size
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self._encode_pixels(np.zeros((1, size, size, 3), np.uint8), tower)
        one = max(1, torch.cuda.max_memory_allocated(self.device) - before)
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(min(_MOST, max(1, free // (2 * one))))

    def _too_small(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.device} has too little free memory for {what}",
            code="device_memory",
            device=str(self.device),
        )

    @torch.inference_mode()
    def _encode_pixels(self, pixels: NDArray[np.uint8], tower: Any) -> NDArray[np.float32]:
        p = self.preprocess
        batch = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (p.mean, p.std))
        x = batch.float().div_(255).sub_(mean).div_(std)  # (n, 3, size, size)
        return _unit(tower(x.to(self._dtype)))

    @torch.inference_mode()
    def _encode_ids(self, ids: NDArray[np.int64], tower: Any) -> NDArray[np.float32]:
        return _unit(tower(torch.from_numpy(ids).to(self.device)))

    def _check_against_cpu(self, tower: Any) -> None:
        """Compare one embedding with the CPU's: Metal kernels have returned wrong vectors."""
        size = self.preprocess.size
        probe = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        reference = TorchEncoder(self.checkpoint, "cpu", "fp32").encode_images(probe)
        if not agrees(self._encode_pixels(probe, tower), reference):
            raise DeviceError(
                f"{self.device} at {self.precision} computes other embeddings than the CPU",
                code="device_disagrees",
                device=str(self.device),
                precision=self.precision,
            )


def agrees(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> bool:
    """Whether every row points where the reference's does (cosine above 0.999; NaN does not)."""
    cosines = (vectors * reference).sum(axis=1)
    return bool((cosines > _AGREEMENT).all())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own; MPS and the CPU's allocator say it in words."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)


def build_tower(checkpoint: Checkpoint, tower: str) -> Any:
    """Build one tower (`visual` or `text`) in fp32 on the CPU, in eval mode.

    Raises CheckpointError where tensors are missing, left over, of another shape or not finite.
    """
    # open_clip logs on the root logger, and timm warns there.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        module = _skeleton(checkpoint.config["model_cfg"], tower, "meta")
        _fill(module, checkpoint, tower)
        if any(t.is_meta for t in module.buffers()):  # made in __init__, not in the file
            module = _skeleton(checkpoint.config["model_cfg"], tower, "cpu")
            _fill(module, checkpoint, tower)
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # what the file and its config may make open_clip, timm and torch raise
        if isinstance(error, RuntimeError) and _is_out_of_memory(error):
            raise
        raise checkpoint.origin.damaged(
            checkpoint.weights, f"does not fit its open_clip_config.json: {_first_line(error)}"
        ) from error
    return module.eval().requires_grad_(False)


def _skeleton(model_cfg: dict[str, Any], tower: str, device: str) -> Any:
    from open_clip import model as reference

    width = model_cfg["embed_dim"]
    with torch.device(device):
        if tower == "visual":
            config = reference.CLIPVisionCfg(**model_cfg["vision_cfg"])
            return reference._build_vision_tower(width, config)  # noqa: SLF001
        config = reference.CLIPTextCfg(**model_cfg["text_cfg"])
        return reference._build_text_tower(width, config)  # noqa: SLF001


def _fill(module: Any, checkpoint: Checkpoint, tower: str) -> None:
    from safetensors import safe_open

    prefix = f"{tower}."
    with safe_open(checkpoint.weights, framework="pt") as file:
        state = {
            key[len(prefix) :]: _widened(file.get_tensor(key), key, checkpoint)
            for key in file.keys()  # noqa: SIM118  # not a dict
            if key.startswith(prefix)
        }
    module.load_state_dict(state, strict=True, assign=True)


def _widened(tensor: torch.Tensor, key: str, checkpoint: Checkpoint) -> torch.Tensor:
    """Return a tensor in fp32. Counters of batch normalisation are whole numbers, and stay so."""
    if tensor.is_floating_point():
        widened = tensor.float()
        if not torch.isfinite(widened).all():
            raise checkpoint.origin.damaged(
                checkpoint.weights, f"holds values that are not finite, in {key}"
            )
        return widened
    if key.endswith("num_batches_tracked"):
        return tensor
    raise checkpoint.origin.damaged(
        checkpoint.weights, f"holds {key} as {tensor.dtype}, not as floating-point numbers"
    )


def _unit(features: torch.Tensor) -> NDArray[np.float32]:
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    return np.asarray(unit.cpu().numpy(), dtype=np.float32)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def pick_device(wanted: str) -> torch.device:
    """Return the torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; DeviceError if absent."""
    if wanted == "auto":
        return torch.device(_best())
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(
            f"unknown device {wanted!r}; use auto, cpu, cuda, cuda:N or mps"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(f"device {wanted} is not here: torch sees {count} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is not here: torch sees no Metal device")
    if device.type not in {"cpu", "cuda", "mps"}:
        raise DeviceError(f"unknown device {wanted!r}; use auto, cpu, cuda, cuda:N or mps")
    return device


def devices() -> list[str]:
    """Return every device torch can use here, with what it is called and its precision."""
    accelerators = ["mps"] if torch.backends.mps.is_available() else []
    accelerators += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    names = {
        name: torch.cuda.get_device_name(name) for name in accelerators if name.startswith("cuda")
    }
    return [
        f"{name} ({', '.join(filter(None, [names.get(name), pick_precision('auto', torch.device(name))]))})"
        for name in [*accelerators, "cpu"]
    ]


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_precision(wanted: str, device: torch.device) -> str:
    """Return the name of a precision: `auto` takes the fastest that is exact enough there."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = device.type == "cpu" and machine.has_bf16()
    return choose(wanted, "torch", device.type, has_bf16=has_bf16).name
