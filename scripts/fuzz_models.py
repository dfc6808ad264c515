"""Model folders for `fuzz.py`: configs and safetensors headers that are valid JSON and lie."""

from __future__ import annotations

import copy
import json
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip  # noqa: F401  # seconds, which the workers that are forked later do not take again

from siglipcli.demo import MODEL_DIR
from siglipcli.encoders.checkpoint import locate
from siglipcli.encoders.torch_runtime import TorchEncoder

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

FILES = ("open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json")  # fmt: skip
CONFIG, WEIGHTS = FILES[:2]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        7,
        0.0,
        0.5,
        -0.5,
        1e300,
        1e-300,
        1 << 31,
        1 << 62,
        10**30,
    ),
    *("", "x", "../../evil", "canonicalize", "\0", "naflexvit_x", "vit_base_patch16_224", "gelu"),
    *([], [1], [1, 2], {}, {"a": 1}, [[[]]]),
    *("F16", "BF16", "I32", "I64", "BOOL", "F8_E4M3", "U8", "F64"),
]
KEYS = [
    *("heads", "layers", "width", "head_width", "mlp_ratio", "patch_size", "pool_type", "final_pool_type"),
    *("act_kwargs", "norm_kwargs", "embed_cls", "pad_id", "no_causal_mask", "proj_bias", "proj_type"),
    *("output_tokens", "timm_pool", "timm_proj", "timm_drop", "ls_init_value", "attentional_pool"),
    *("quick_gelu", "custom_text", "hf_model_name", "tokenizer_mode", "multimodal_cfg", "dtype", "shape"),
]  # fmt: skip
LARGEST = 1024  # pixels: larger images are not encoded here, for time's sake


def seeds() -> dict[str, list[bytes]]:
    """Return what is changed: the demo model's config, and the header of its weights."""
    return {"config": [_demo(CONFIG)], "header": [_split(_demo(WEIGHTS))[0]]}


def judges() -> dict[str, Callable[[bytes], str]]:
    """Return how each is judged: a folder with it is opened, and encodes a text and an image."""
    return {
        "config": lambda data: _open({CONFIG: data}),
        "header": lambda data: _open(_weights(data)),
    }


def changed(rng: random.Random, data: bytes) -> bytes:
    """Return a JSON document with a few values replaced, removed, added or exchanged."""
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(document))
        parent, key = rng.choice(places)
        what = rng.random()
        if what < 0.6:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
        elif what < 0.75:
            del parent[key]
        elif what < 0.9 and isinstance(parent, dict):
            parent[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
        else:
            other, at = rng.choice(places)
            parent[key] = copy.deepcopy(other[at])
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give every (container, key) of a document."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _open(files: dict[str, bytes]) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in FILES:
            (folder / file).write_bytes(files.get(file) or _demo(file))
        checkpoint = locate(name, cache_dir=folder / "cache")
        encoder = TorchEncoder(checkpoint, "cpu", "fp32")
        rows = [encoder.encode_texts(["a cat"])]
        size = checkpoint.preprocess.size
        if size <= LARGEST:
            rows.append(encoder.encode_images(np.zeros((1, size, size, 3), np.uint8)))
        assert all(row.ndim == 2 and len(row) == 1 for row in rows)
    return "answered"


def _weights(header: bytes) -> dict[str, bytes]:
    return {WEIGHTS: struct.pack("<Q", len(header)) + header + _split(_demo(WEIGHTS))[1]}


def _split(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + length], data[8 + length :]


def _demo(name: str) -> bytes:
    return (MODEL_DIR / name).read_bytes()
