"""The bundled model, through open_clip alone: what its card promises."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tokenizers import Tokenizer

from siglipcli.demo import IMAGES, LABELS, MODEL_DIR

if TYPE_CHECKING:
    from collections.abc import Iterable

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from drawings import COLOURS, HELD_OUT, PAIRS, SHAPES, draw, recompress

SEED = 987_654_321  # training and its own figures use other seeds
EACH = 15  # images of each held-out pair
END_ID = 1


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    """Load the shipped folder with open_clip: model and preprocessing."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{MODEL_DIR}")
    model.eval()
    return model, preprocess


def token_ids(texts: Iterable[str]) -> torch.Tensor:
    """Canonicalise and pad to the full context, with the tokenizers library alone."""
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16, pad_id=END_ID, pad_token="</s>")
    clean = [open_clip.tokenizer.canonicalize_text(text) for text in texts]
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(clean)])


@torch.no_grad()
def scores(
    demo: tuple[Any, Any], images: Iterable[Image.Image], texts: Iterable[str]
) -> np.ndarray[Any, Any]:
    """Sigmoid scores, (n_images, n_texts)."""
    model, preprocess = demo
    seen = model.encode_image(torch.stack([preprocess(i) for i in images]), normalize=True)
    read = model.encode_text(token_ids(texts), normalize=True)
    return torch.sigmoid(model.logit_scale.exp() * seen @ read.T + model.logit_bias).numpy()


def prompts(template: str = "a photo of a {}.") -> list[str]:
    """Every pair in one template, in the order of PAIRS."""
    return [template.format(f"{colour} {shape}") for colour, shape in PAIRS]


def drawings(each: int, seed: int = SEED) -> list[Image.Image]:
    """Fresh images of the held-out pairs, `each` of every pair in turn."""
    rng = np.random.default_rng(seed)
    return [draw(shape, colour, rng) for colour, shape in HELD_OUT for _ in range(each)]


def truth(each: int) -> np.ndarray[Any, Any]:
    """Find each of those images in PAIRS."""
    return np.repeat([PAIRS.index(pair) for pair in HELD_OUT], each)


@pytest.fixture(scope="module")
def held_out_scores(demo: tuple[Any, Any]) -> np.ndarray[Any, Any]:
    """Scores of all pairs on fresh images of the held-out ones, by the default template."""
    return scores(demo, drawings(EACH), prompts())


def test_world_is_large_enough() -> None:
    """The model knows at least ten shapes in ten colours, and some pairs were held out."""
    assert len(SHAPES) >= 10
    assert len(COLOURS) >= 10
    assert len(HELD_OUT) >= 20


def test_names_pairs_never_seen(held_out_scores: np.ndarray[Any, Any]) -> None:
    """A pair of colour and shape that was never trained is named first, 19 times in 20."""
    assert (held_out_scores.argmax(axis=1) == truth(EACH)).mean() >= 0.95


def test_scores_mean_something(held_out_scores: np.ndarray[Any, Any]) -> None:
    """On pairs never seen, the right label scores high and the best wrong one low."""
    rows, right = np.arange(len(held_out_scores)), truth(EACH)
    wrong = held_out_scores.copy()
    wrong[rows, right] = 0
    assert np.median(held_out_scores[rows, right]) >= 0.5
    assert np.median(wrong.max(axis=1)) <= 0.2


@pytest.mark.parametrize("template", ["{}", "a {}.", "a drawing of a {}.", "This is a {}!"])
def test_other_templates(demo: tuple[Any, Any], template: str) -> None:
    """The usual templates name the image as well as the default one does."""
    table = scores(demo, drawings(4), prompts(template))
    assert (table.argmax(axis=1) == truth(4)).mean() >= 0.93


def test_colour_or_shape_alone(demo: tuple[Any, Any]) -> None:
    """A colour alone and a shape alone are recognised too."""
    images = drawings(5)
    colours = scores(demo, images, [f"something {colour}" for colour in COLOURS])
    shapes = scores(demo, images, [f"a photo of a {shape}." for shape in SHAPES])
    assert (
        colours.argmax(axis=1) == np.repeat([COLOURS.index(c) for c, _ in HELD_OUT], 5)
    ).mean() >= 0.9
    assert (
        shapes.argmax(axis=1) == np.repeat([SHAPES.index(s) for _, s in HELD_OUT], 5)
    ).mean() >= 0.9


def test_survives_jpeg(demo: tuple[Any, Any]) -> None:
    """Strong JPEG compression does not change the answer."""
    images = [recompress(image, 40) for image in drawings(5)]
    assert (scores(demo, images, prompts()).argmax(axis=1) == truth(5)).mean() >= 0.93


def test_other_things_score_low(demo: tuple[Any, Any]) -> None:
    """Words for things outside its world score low on drawings."""
    words = ["cat", "dog", "mountain", "sandwich", "violin", "a group of people", "red car"]
    table = scores(demo, drawings(3), [f"a photo of a {word}." for word in words])
    assert np.median(table.max(axis=1)) <= 0.2


def test_bundled_images(demo: tuple[Any, Any]) -> None:
    """Every bundled image is named as its file says, with a clear score."""
    files = sorted(IMAGES.iterdir())
    names = [f"{colour}-{shape}" for colour, shape in PAIRS]
    table = scores(demo, [Image.open(file).convert("RGB") for file in files], prompts())
    assert [names[best] for best in table.argmax(axis=1)] == [file.stem for file in files]
    assert table.max(axis=1).min() >= 0.5


def test_bundled_images_are_small() -> None:
    """Six to eight images, JPEG and PNG, within 200 KB, some of pairs never trained."""
    files = sorted(IMAGES.iterdir())
    assert 6 <= len(files) <= 8
    assert {file.suffix for file in files} == {".jpg", ".png"}
    assert sum(file.stat().st_size for file in files) <= 200_000
    assert {file.stem for file in files} & {f"{c}-{s}" for c, s in HELD_OUT}


def test_folder_is_small_and_safe() -> None:
    """The folder holds four files, at most 8 MB, and its head is kept in full precision."""
    sizes = {file.name: file.stat().st_size for file in MODEL_DIR.iterdir()}
    weights = "open_clip_model.safetensors"
    assert sorted(sizes) == [
        "open_clip_config.json",
        weights,
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert sum(sizes.values()) <= 8_000_000
    with safe_open(MODEL_DIR / weights, framework="pt") as tensors:
        assert tensors.get_tensor("logit_scale").dtype == torch.float32
        assert tensors.get_tensor("logit_bias").dtype == torch.float32
        assert all(torch.isfinite(tensors.get_tensor(name)).all() for name in tensors.keys())  # noqa: SIM118


def test_tokenizers_agree() -> None:
    """The tokenizers library alone gives the ids that open_clip gives through transformers."""
    pytest.importorskip("transformers")
    texts = [*prompts(), "", "  A Photo_of  a CAT!", "t-shirt", "кошка", "日本語 😀", "a " * 40]
    reference = open_clip.get_tokenizer(f"local-dir:{MODEL_DIR}")(texts)
    assert torch.equal(reference, token_ids(texts))


def test_labels_cover_every_pair() -> None:
    """The bundled label set lists every pair once."""
    lines = LABELS.read_text(encoding="utf-8").splitlines()
    listed = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    assert listed == [f"{colour} {shape}" for colour, shape in PAIRS]


def test_drawing_is_deterministic() -> None:
    """The same seed draws the same image."""
    first, second = (draw("star", "blue", np.random.default_rng(5), (64, 48)) for _ in range(2))
    assert first.size == (64, 48)
    assert first.tobytes() == second.tobytes()
