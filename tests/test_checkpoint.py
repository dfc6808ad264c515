"""Folders that hold a model: found, verified, told apart."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hub_stand_in import safetensors, tiny_config, tiny_model, tiny_tokenizer, tiny_weights

from siglipcli.cli.remedies import with_remedy
from siglipcli.encoders.checkpoint import Checkpoint, files, is_cached, locate, pull
from siglipcli.errors import CheckpointError, ModelError, OfflineError, UnknownModelError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's models, or its network."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that holds a whole model."""
    path = tmp_path / "model"
    path.mkdir()
    for name, data in {**tiny_model(), **tiny_tokenizer()}.items():
        (path / name).write_bytes(data)
    return path


def look(folder: Path, cache: Path | None = None) -> Checkpoint:
    """Locate a folder, with digests kept beside it."""
    return locate(str(folder), cache_dir=cache or folder.parent / "cache")


def configure(folder: Path, *path: str, value: Any) -> None:
    """Change one value of a folder's config; None takes the key away."""
    config: Any = json.loads((folder / CONFIG).read_bytes())
    section = config
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    if value is None:
        del section[path[-1]]
    (folder / CONFIG).write_text(json.dumps(config))


def test_a_folder(folder: Path) -> None:
    """A folder with the four files is a model: sizes, scaling, pad token and head come from them."""
    found = look(folder)
    assert (found.preprocess.size, found.context_length) == (32, 16)
    assert found.preprocess.mean == found.preprocess.std == (0.5, 0.5, 0.5)
    assert (found.pad_token, found.clean) == ("</s>", "canonicalize")
    assert found.head.logit_scale == pytest.approx(math.exp(4.5))
    assert found.head.logit_bias == -12.5
    assert found.config == tiny_config()
    assert found.weights == folder / WEIGHTS
    assert is_cached(str(folder))


def test_the_bundled_model(tmp_path: Path) -> None:
    """`demo` is there without any download."""
    found = locate("demo", offline=True, cache_dir=tmp_path)
    assert found.name == "demo"
    assert math.isfinite(found.head.logit_scale)


@pytest.mark.parametrize(
    ("dtype", "packed"),
    [
        ("F64", struct.pack("<d", -12.5)),
        ("F16", struct.pack("<e", -12.5)),
        ("BF16", struct.pack("<f", -12.5)[2:]),
    ],
)
def test_the_head_in_other_precisions(folder: Path, dtype: str, packed: bytes) -> None:
    """A head stored in half, brain or double precision is read for what it is."""
    scale = ("F32", [1], struct.pack("<f", 0.0))
    tensors = {"logit_scale": scale, "logit_bias": (dtype, [1], packed)}
    (folder / WEIGHTS).write_bytes(safetensors(tensors))
    head = look(folder).head
    assert (head.logit_scale, head.logit_bias) == (1.0, -12.5)


def test_a_clip_is_no_siglip(folder: Path) -> None:
    """A checkpoint without a bias was trained with softmax; that is said, not scored wrongly."""
    scale = ("F32", [], struct.pack("<f", 4.6))
    (folder / WEIGHTS).write_bytes(safetensors({"logit_scale": scale}))
    with pytest.raises(CheckpointError, match="not a SigLIP"):
        look(folder)


@pytest.mark.parametrize(("scale", "bias"), [(math.nan, -10), (4.5, math.inf), (1e6, -10)])
def test_a_head_that_is_not_finite(folder: Path, scale: float, bias: float) -> None:
    """A head of NaN, infinity or more than a float holds is refused."""
    (folder / WEIGHTS).write_bytes(tiny_weights(scale, bias))
    with pytest.raises(CheckpointError, match="not finite"):
        look(folder)


@pytest.mark.parametrize("tensor", [None, ("F32", [2], bytes(8)), ("I64", [], bytes(8))])
def test_a_head_that_is_no_number(folder: Path, tensor: Any) -> None:
    """A missing scale, or one that is not one floating-point number, is refused."""
    tensors = {"logit_bias": ("F32", [], bytes(4))} | ({"logit_scale": tensor} if tensor else {})
    (folder / WEIGHTS).write_bytes(safetensors(tensors))
    with pytest.raises(CheckpointError, match="logit_scale"):
        look(folder)


@pytest.mark.parametrize("tenths", range(10))
def test_weights_cut_short(folder: Path, tenths: int) -> None:
    """Weights cut anywhere are refused, naming the file and what to do."""
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) * tenths // 10])
    with pytest.raises(CheckpointError) as caught:
        look(folder)
    assert str(folder / WEIGHTS) in str(caught.value)
    assert "Get the file again" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"<!doctype html><title>404</title>", "not a safetensors file"),
        (struct.pack("<Q", 2) + b"[]", "not a safetensors file"),
        (struct.pack("<Q", 4) + b'"ab"', "not a safetensors file"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "not a safetensors file"),
        (struct.pack("<Q", 1 << 62) + b"{}", "not a safetensors file"),
        (tiny_weights() + b"x", "too long"),
    ],
)
def test_what_is_not_weights(folder: Path, content: bytes, message: str) -> None:
    """Something else under the name of the weights is called what it is."""
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        look(folder)


@pytest.mark.parametrize("pickle", ["open_clip_pytorch_model.bin", "epoch_1.pt"])
def test_pickles_are_never_opened(folder: Path, pickle: str) -> None:
    """A folder with pickled weights only is refused, with the way out; the pickle is not read."""
    (folder / WEIGHTS).unlink()
    (folder / pickle).mkdir()  # reading it would fail otherwise than expected
    with pytest.raises(CheckpointError, match=rf"{pickle}.*safetensors\.torch\.save_file"):
        look(folder)


SPECIAL = ["fifo", "device", "folder", "sparse"]


@pytest.mark.skipif(os.name == "nt", reason="no such files")
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "tokenizer.json", "tokenizer_config.json"])
def test_only_regular_files_of_a_sane_size_are_read(folder: Path, name: str, kind: str) -> None:
    """A pipe, a device, a folder or terabytes of zeros under a model's names is refused at once."""
    file = folder / name
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        with file.open("wb") as sparse:
            sparse.truncate(1 << 40)
    expected = "is too large" if kind == "sparse" else r"not a regular file|Is a directory"
    with pytest.raises(CheckpointError, match=expected):
        look(folder)


HEADERS = {
    "negative offsets": {"data_offsets": [-4, 0]},
    "fractions as offsets": {"data_offsets": [0.0, 4.0]},
    "offsets the wrong way round": {"data_offsets": [4, 0]},
    "overlapping offsets": {"data_offsets": [0, 8]},
    "offsets beyond the file": {"data_offsets": [0, 1 << 62]},
    "another shape": {"shape": [3]},
    "a negative shape": {"shape": [-1]},
    "a shape that overflows": {"shape": [1 << 62, 1 << 62]},
    "no such type": {"dtype": "F31"},
    "no type": {"dtype": None},
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS.keys())
def test_headers_that_lie(folder: Path, change: dict[str, Any]) -> None:
    """A header of the weights that contradicts itself or the file is refused, naming the file."""
    data = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    table["logit_bias"] |= change
    header = json.dumps(table).encode()
    body = struct.pack("<Q", len(header)) + header + data[8 + length :]
    (folder / WEIGHTS).write_bytes(body)
    with pytest.raises(CheckpointError, match=r"safetensors file|cut short") as caught:
        look(folder)
    assert caught.value.code == "damaged_file"


@pytest.mark.parametrize("scale", [-20.0, 15.0])
def test_a_head_that_gives_one_score_for_everything(folder: Path, scale: float) -> None:
    """A finite scale with which every score is 0, 1 or the same is refused too."""
    (folder / WEIGHTS).write_bytes(tiny_weights(scale, -10))
    with pytest.raises(CheckpointError, match="not sane"):
        look(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    """A folder that lacks a file is told which."""
    (folder / name).unlink()
    assert not is_cached(str(folder))
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        look(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("name", [CONFIG, "tokenizer_config.json"])
def test_a_damaged_json(folder: Path, name: str, content: bytes) -> None:
    """A config that is not a JSON object is refused, naming the file."""
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        look(folder)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model_cfg",), None, "model_cfg"),
        (("model_cfg", "text_cfg"), [], "text_cfg"),
        (("model_cfg", "text_cfg", "hf_model_name"), "xlm-roberta-base", "transformers"),
        (("model_cfg", "text_cfg", "context_length"), 0, "context_length"),
        (("model_cfg", "text_cfg", "tokenizer_kwargs", "strip_sep_token"), True, "strip_sep_token"),
        (("model_cfg", "vision_cfg", "image_size"), [384, 256], "square"),
        (("model_cfg", "vision_cfg", "image_size"), "384", "image_size"),
        (("preprocess_cfg",), None, "preprocess_cfg"),
        (("preprocess_cfg", "mean"), None, "mean"),
        (("preprocess_cfg", "std"), [1, 1], "std"),
        (("preprocess_cfg", "std"), [0, 0, 0], "std"),
        (("preprocess_cfg", "std"), [0.5, -0.5, 0.5], "std"),
        (("preprocess_cfg", "std"), [0.5, True, 0.5], "std"),
        (("preprocess_cfg", "mean"), [math.nan, 0.5, 0.5], "not JSON: NaN"),
        (("preprocess_cfg", "mean"), [127, 127, 127], "mean"),
        (("model_cfg", "embed_dim"), -8, "embed_dim"),
        (("model_cfg", "embed_dim"), 1e400, "not JSON: Infinity"),
        (("model_cfg", "init_logit_bias"), -1e30, "init_logit_bias"),
        (("model_cfg", "vision_cfg", "image_size"), 1_000_000, "image_size"),
        (("model_cfg", "vision_cfg", "patch_dropout"), 1.5, "patch_dropout"),
        (
            ("model_cfg", "vision_cfg", "timm_model_name"),
            "../../evil",
            "not the name of a timm model",
        ),
        (
            ("model_cfg", "vision_cfg", "timm_model_name"),
            "hf-hub:org/x",
            "not the name of a timm model",
        ),
        (("model_cfg", "vision_cfg", "timm_model_name"), "naflexvit_base_patch16_siglip", "NaFlex"),
        (("model_cfg", "text_cfg", "output_tokens"), True, "output_tokens"),
        (("model_cfg", "text_cfg", "heads"), 0, "heads"),
        (("model_cfg", "text_cfg", "heads"), 7.5, "heads"),
        (("model_cfg", "text_cfg", "layers"), [], "layers"),
        (("model_cfg", "text_cfg", "mlp_ratio"), 0, "mlp_ratio"),
        (("model_cfg", "text_cfg", "vocab_size"), 1 << 40, "vocab_size"),
        (("model_cfg", "text_cfg", "tokenizer_kwargs"), "x", "tokenizer_kwargs"),
        (("model_cfg", "text_cfg", "tokenizer_kwargs", "clean"), ["lower"], "text cleaning"),
        (("preprocess_cfg", "resize_mode"), "shortest", "resize_mode"),
        (("preprocess_cfg", "interpolation"), "bilinear", "interpolation"),
    ],
)
def test_a_config_that_asks_for_more(
    folder: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    """What this program would do differently than the config asks is refused, not done silently."""
    configure(folder, *path, value=value)
    with pytest.raises(CheckpointError, match=message):
        look(folder)


def test_a_number_that_overflows_is_refused(folder: Path) -> None:
    """1e999 is valid JSON and infinite in Python: refused like any number that no model has."""
    text = (folder / CONFIG).read_text().replace('"embed_dim": 8', '"embed_dim": 8, "x": [1e999]')
    (folder / CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match=r"model_cfg\.x is inf") as caught:
        look(folder)
    assert caught.value.code == "config"


def test_defaults_are_those_of_open_clip(folder: Path) -> None:
    """What a config leaves out is what open_clip takes for it."""
    configure(folder, "model_cfg", "text_cfg", "context_length", value=None)
    configure(folder, "model_cfg", "text_cfg", "tokenizer_kwargs", value=None)
    configure(folder, "model_cfg", "vision_cfg", "image_size", value=None)
    found = look(folder)
    assert (found.context_length, found.clean, found.preprocess.size) == (77, "whitespace", 224)


@pytest.mark.parametrize("token", [{"content": "<pad>", "lstrip": False}, "<pad>"])
def test_the_pad_token_in_both_spellings(folder: Path, token: object) -> None:
    """A pad token is read as a text and as the object that older tokenizers write."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": token}))
    assert look(folder).pad_token == "<pad>"


def test_no_pad_token(folder: Path) -> None:
    """A tokenizer without a pad token is refused."""
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="pad_token"):
        look(folder)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("no-such-model", UnknownModelError, "siglip models list"),
        ("./nowhere", UnknownModelError, r"no folder \./nowhere"),
        ("timm/ViT-B-16-SigLIP", UnknownModelError, "hf-hub:timm/ViT-B-16-SigLIP"),
        ("hf-hub:ViT-B-16-SigLIP", UnknownModelError, "ORG/NAME"),
        ("hf-hub:../../etc", UnknownModelError, "ORG/NAME"),
        ("", UnknownModelError, "siglip models list"),
        ("a\0b", UnknownModelError, "siglip models list"),
        ("x" * 5000, UnknownModelError, "siglip models list"),
        ("~nobody-here/x", UnknownModelError, "no folder"),
        ("ViT-B-16-SigLIP-384", OfflineError, "siglip models pull ViT-B-16-SigLIP-384"),
        ("hf-hub:org/name", OfflineError, "siglip models pull hf-hub:org/name"),
    ],
)
def test_names_of_nothing(spec: str, error: type[ModelError], message: str) -> None:
    """A name that leads nowhere is told what to do, at once and without a network."""
    for attempt in (lambda: locate(spec), lambda: pull(spec, force=True)):
        with pytest.raises(error) as caught:
            attempt()
        assert re.search(message, with_remedy(caught.value))


@pytest.mark.parametrize("prefix", ["", "hf-hub:"])
@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("google/siglip-base-patch16-224", "ViT-B-16-SigLIP"),
        ("google/siglip-base-patch16-256-multilingual", "ViT-B-16-SigLIP-i18n-256"),
        ("google/siglip-so400m-patch14-384", "ViT-SO400M-14-SigLIP-384"),
        ("google/siglip-so400m-patch16-256-i18n", "ViT-SO400M-16-SigLIP-i18n-256"),
        ("google/siglip2-base-patch16-224", "ViT-B-16-SigLIP2"),
        ("google/siglip2-base-patch32-256", "ViT-B-32-SigLIP2-256"),
        ("google/siglip2-so400m-patch14-384", "ViT-SO400M-14-SigLIP2-378"),
        ("google/siglip2-giant-opt-patch16-384", "ViT-gopt-16-SigLIP2-384"),
    ],
)
def test_googles_names_lead_to_the_catalogue(prefix: str, repo: str, name: str) -> None:
    """A model by its name in transformers' world is told its name here, without a network."""
    with pytest.raises(UnknownModelError, match=f"is here as {name}\\.") as caught:
        locate(prefix + repo)
    assert with_remedy(caught.value).endswith(f"Use --model {name}.")


def test_naflex_is_named() -> None:
    """A model that takes images of any shape is called what it is, before anything is fetched."""
    with pytest.raises(UnknownModelError, match=r"NaFlex.*ViT-B-16-SigLIP2-256"):
        locate("google/siglip2-base-patch16-naflex")


def test_open_clips_prefix_for_a_folder(folder: Path) -> None:
    """`local-dir:FOLDER`, as open_clip writes it, is that folder."""
    cache = folder.parent / "cache"
    found = locate(f"local-dir:{folder}", cache_dir=cache)
    assert found.fingerprint == look(folder).fingerprint
    assert is_cached(f"local-dir:{folder}")


def test_a_file_is_no_folder(folder: Path) -> None:
    """Given the weights file, the program asks for its folder."""
    with pytest.raises(CheckpointError, match="is a file"):
        locate(str(folder / WEIGHTS))


def test_files_of_a_folder(folder: Path) -> None:
    """The files of a folder are listed, missing ones too."""
    (folder / "tokenizer.json").unlink()
    listed = {file.name: file.path for file in files(str(folder))}
    assert listed[WEIGHTS] == folder / WEIGHTS
    assert listed["tokenizer.json"] is None


def test_the_fingerprint_goes_with_the_content(folder: Path, tmp_path: Path) -> None:
    """The same files in another folder are the same model: stored embeddings are found again."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert look(folder).fingerprint == look(copy).fingerprint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (WEIGHTS, tiny_weights(seed=1)),  # same size, same header
        ("tokenizer.json", b'{"version": "1.0", "model": []}'),
        ("tokenizer_config.json", b'{"pad_token": "<pad>"}'),
        (CONFIG, json.dumps(tiny_config("other.json")).encode()),
    ],
)
def test_a_replaced_file_is_noticed(folder: Path, name: str, content: bytes) -> None:
    """Another file in a file's place, of the same size too, is another model."""
    before = look(folder).fingerprint
    (folder / "new").write_bytes(content)
    (folder / "new").replace(folder / name)
    assert look(folder).fingerprint != before


def test_weights_are_hashed_once(folder: Path) -> None:
    """The weights are read in full at the first run only; later runs know them by their state."""
    told: list[str] = []
    cache = folder.parent / "cache"
    for _ in range(2):
        locate(str(folder), cache_dir=cache, progress=lambda name, *_: told.append(name))
    assert told == [f"checking {WEIGHTS}"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"state": 1}', b'{"state": [], "sha256": 1}'])
def test_a_damaged_note_is_only_slow(folder: Path, content: bytes) -> None:
    """A remembered digest that cannot be read is computed again."""
    before = look(folder).fingerprint
    notes = list((folder.parent / "cache" / "digests").iterdir())
    assert len(notes) == 2
    for note in notes:
        note.write_bytes(content)
    assert look(folder).fingerprint == before


def test_a_cache_that_cannot_be_written_is_only_slow(folder: Path, tmp_path: Path) -> None:
    """Where digests cannot be kept, the model still loads."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder would be")
    assert look(folder, blocked).fingerprint == look(folder).fingerprint


def test_the_default_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no cache folder given, digests go to the user's."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "user")
    locate(str(folder))
    assert len(list((tmp_path / "user" / "digests").iterdir())) == 2


def test_the_tokenizer_of_a_folder_may_be_elsewhere(folder: Path, tmp_path: Path) -> None:
    """A folder without a tokenizer uses the hub's that its config names, once that is here."""
    for name in tiny_tokenizer():
        (folder / name).unlink()
    configure(folder, "model_cfg", "text_cfg", "hf_tokenizer_name", value="org/words")
    with pytest.raises(OfflineError, match="org/words"):
        look(folder)
    snapshot = tmp_path / "hub" / "models--org--words" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c0ffee")
    for name, data in tiny_tokenizer().items():
        (snapshot / name).write_bytes(data)
    assert look(folder).tokenizer == snapshot / "tokenizer.json"
    assert is_cached(str(folder))
