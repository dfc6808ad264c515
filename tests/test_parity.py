"""Ours against the references: open_clip and the transformers pipeline, on the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from settings import with_engine

from siglipcli import Classifier, LabelSet, LoadOptions, ScoringOptions, demo
from siglipcli.encoders.tokens import canonicalize

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore"),  # the references warn about many things
]

LABELS = ["cat", "dog", "rocket", "cup of coffee", "T-shirt", "red circle", "blue square", "Ärger"]

WORDS = [
    "a photo of a cat.", "T-shirt", "C++", "C#", "rock & roll", "R&amp;B", "&amp;lt;b&amp;gt;", "",
    " ", "\t\n", "._-", "snake_case_name", "ÅNGSTRÖM", "İstanbul", "ﬁne ligature", "ＦＵＬＬ ｗｉｄｔｈ",
    "naïve café", "na\u0131ve", "schÃ¶n", "âœ” No problems", "“curly” ‘quotes’", "a\u00a0b", "a\u200bb",
    "\x1b[31mred\x1b[0m", "a\x00b", "a\x07b", "line\r\nbreak", "日本語の猫", "кошка", "قطة", "חתול", "แมว",
    "🐈", "👩‍👩‍👧‍👦 family", "🇨🇭", "e\u0301", "\ufeffBOM", "1,000.50", "3/4", "½", "x² + y²", "50%", "£5", "#tag @me",
    "<pad>", "</s>", "<unk>", "<bos>", "▁under", "a </s> b", "{}", "{name}", "%s", "\\n", "C:\\dir",
    "https://a.b/c?d=e&f=g", "AAAAAAAA", "don't", "it’s", "rock'n'roll", "mother-in-law", "a/b", "a|b",
    "x" * 500, "word " * 100, "é" * 70, "猫" * 70, "a." * 70, "🐈" * 40,
]  # fmt: skip
TEMPLATES = ["{}", "a photo of a {}.", "{} {}", "THE {}!"]
AWKWARD = [template.replace("{}", word) for word in WORDS for template in TEMPLATES]


@pytest.fixture(scope="module", params=["demo", "full"])
def folder(request: pytest.FixtureRequest) -> Path:
    """The model's folder: the bundled one, and the full-size architecture."""
    if request.param == "demo":
        return demo.MODEL_DIR
    return request.getfixturevalue("full_size") / "open_clip"


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Real photographs, colour and grey."""
    from skimage import data

    names = ["astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "page", "text"]
    return [Image.fromarray(getattr(data, name)()) for name in names]


@pytest.fixture(scope="module")
def files(photographs: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same photographs as PNG files."""
    folder = tmp_path_factory.mktemp("photographs")
    paths = [folder / f"{i}.png" for i in range(len(photographs))]
    for path, image in zip(paths, photographs, strict=True):
        image.save(path)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A cache folder of this file, so that no test is answered by what an earlier run left."""
    cache = tmp_path_factory.mktemp("cache")
    with_engine(prepared, cache)
    return cache


def ours(folder: Path, cache: Path) -> Classifier:
    load_options = LoadOptions(exact=True, color_management=False)
    return Classifier.load(
        str(folder), device="cpu", precision="fp32", load_options=load_options, cache_dir=cache
    )


def prompts() -> list[str]:
    return [f"a photo of a {label}." for label in LABELS]


@pytest.fixture(scope="module")
def reference(folder: Path, photographs: list[Image.Image]) -> np.ndarray:
    """open_clip's own logits: float32[n_images, n_labels]."""
    import open_clip
    import torch

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(prompts())
    with torch.inference_mode():
        batch = torch.stack([transform(image) for image in photographs])
        return model.get_logits(batch, tokens)[0].numpy()


def test_token_ids_equal_open_clips(folder: Path, cache: Path) -> None:
    """Over more than 200 awkward strings, ids are those of open_clip's tokenizer path."""
    import open_clip

    encoder = ours(folder, cache).encoder
    assert len(set(AWKWARD)) >= 200
    expected = open_clip.get_tokenizer(f"local-dir:{folder}")(AWKWARD).numpy()
    np.testing.assert_array_equal(encoder.tokenizer(AWKWARD), expected)


def test_canonical_text_equals_open_clips() -> None:
    """The cleaning step alone, on the same strings."""
    from open_clip.tokenizer import get_clean_fn

    expected = [get_clean_fn("canonicalize")(text) for text in AWKWARD]
    assert [canonicalize(text) for text in AWKWARD] == expected


def test_logits_equal_open_clips(
    folder: Path, cache: Path, reference: np.ndarray, files: list[str]
) -> None:
    """Within 1e-3 of open_clip in fp32, over logits that differ."""
    results = ours(folder, cache).classify(files, LabelSet.of(LABELS), ScoringOptions(top=None))
    got = [{score.label: score.logit for score in result.scores} for result in results]
    assert np.ptp(reference) > 3
    np.testing.assert_allclose(
        [[row[label] for label in LABELS] for row in got], reference, atol=1e-3, rtol=0
    )


def test_scores_equal_the_transformers_pipeline(
    full_size: Path, cache: Path, files: list[str]
) -> None:
    """Within 1e-3 of the zero-shot pipeline on the same weights, and over scores that differ."""
    from transformers import pipeline

    reference = pipeline(
        "zero-shot-image-classification", model=str(full_size / "transformers"), device="cpu"
    )
    # The pipeline's tokenizer does not canonicalise: it is given what canonicalising leaves.
    names = [canonicalize(label) for label in LABELS]
    expected = [
        {row["label"]: row["score"] for row in rows}
        for rows in reference(
            files[:3], candidate_labels=names, hypothesis_template="a photo of a {}"
        )
    ]
    results = ours(full_size / "open_clip", cache).classify(
        files[:3], LabelSet.of(LABELS), ScoringOptions(top=None)
    )
    got = [{canonicalize(s.label): s.score for s in result.scores} for result in results]
    assert max(max(row.values()) for row in expected) > 0.5
    for mine, theirs in zip(got, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
