"""The catalogue says what open_clip says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from siglipcli.cli.remedies import with_remedy
from siglipcli.encoders.catalog import CATALOG, DEFAULT, Entry, unknown

_NAMES = sorted(CATALOG)


def _reference(name: str) -> dict[str, Any]:
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "model_configs" / f"{name}.json"
    return json.loads(file.read_bytes())


def test_nothing_is_missing() -> None:
    """Every SigLIP that open_clip publishes can be asked for by name, and no other name."""
    from open_clip.pretrained import _PRETRAINED

    published = {n for n, tags in _PRETRAINED.items() if "SigLIP" in n and "webli" in tags}
    assert published == set(CATALOG)


@pytest.mark.parametrize("name", _NAMES)
def test_repository(name: str) -> None:
    """The weights come from the repository that open_clip's tag `webli` names, with its pixels' scaling."""
    from open_clip.pretrained import get_pretrained_cfg

    published = get_pretrained_cfg(name, "webli")
    assert published["hf_hub"].rstrip("/") == CATALOG[name].repo
    assert published["mean"] == published["std"] == (0.5, 0.5, 0.5)
    assert (published["interpolation"], published["resize_mode"]) == ("bicubic", "squash")


@pytest.mark.parametrize("name", _NAMES)
def test_architecture(name: str) -> None:
    """Sizes, vocabulary and tokenizer are those of open_clip's config of the same name."""
    entry, reference = CATALOG[name], _reference(name)
    vision, text = reference["vision_cfg"], reference["text_cfg"]
    assert entry.image_size == vision["image_size"]
    assert entry.context_length == text["context_length"]
    assert entry.vocab_size == text["vocab_size"]
    assert entry.tokenizer_repo == text["hf_tokenizer_name"]
    assert entry.embed_dim == reference["embed_dim"]
    assert entry.vision in {None, vision["timm_model_name"]}


def test_shared_weights_name_their_tower() -> None:
    """Two names with one repository differ in the image tower, and the second says which is its own."""
    homes: dict[str, list[Entry]] = {}
    for entry in CATALOG.values():
        homes.setdefault(entry.repo, []).append(entry)
    for shared in homes.values():
        assert sum(entry.vision is None for entry in shared) == 1


@pytest.mark.parametrize(
    "name", ["ViT-B-16-SigLIP-384", "ViT-B-16-SigLIP-i18n-256", "ViT-B-32-SigLIP2-256"]
)
def test_parameters(name: str) -> None:
    """The number of parameters in the table is that of the architecture."""
    import open_clip
    import torch

    reference = _reference(name)
    reference.pop("custom_text")
    with torch.device("meta"):
        model = open_clip.model.CustomTextCLIP(**reference)
    image = sum(p.numel() for p in model.visual.parameters()) / 1e6
    total = sum(p.numel() for p in model.parameters()) / 1e6
    entry = CATALOG[name]
    assert entry.image_params == pytest.approx(image, abs=0.051)
    assert entry.parameters == pytest.approx(total, abs=0.11)
    assert entry.download_mb == pytest.approx(4 * total, abs=1)


def test_published_accuracies() -> None:
    """The accuracies are the published ones, where there are any."""
    published = {
        "ViT-B-16-SigLIP": 76.0, DEFAULT: 78.5, "ViT-L-16-SigLIP-384": 82.1, "ViT-SO400M-14-SigLIP-384": 83.1,
        "ViT-B-16-SigLIP2-384": 80.6, "ViT-SO400M-16-SigLIP2-384": 84.1, "ViT-gopt-16-SigLIP2-384": 85.0,
        "ViT-SO400M-14-SigLIP-378": None,
    }  # fmt: skip
    assert {name: CATALOG[name].imagenet for name in published} == published


def test_languages() -> None:
    """The multilingual models are the i18n ones and all of SigLIP 2."""
    for name, entry in CATALOG.items():
        assert entry.multilingual == ("i18n" in name or "SigLIP2" in name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("vit-b-16-siglip-384", DEFAULT),
        ("timm/ViT-B-16-SigLIP2", "ViT-B-16-SigLIP2"),
        ("ViT-L-16-SigLIP-385", "ViT-L-16-SigLIP-384"),
        ("dmeo", "demo"),
    ],
)
def test_a_mistyped_name_is_understood(typed: str, meant: str) -> None:
    """A name that is nearly right is answered with the right one."""
    assert re.search(rf"did you mean .*\b{meant}\b", str(unknown(typed)))


def test_an_unknown_name_is_told_what_there_is() -> None:
    """A name like nothing is answered with the four things a model may be, and no guess."""
    told = with_remedy(unknown("zzz"))
    assert "did you mean" not in told
    for form in ("siglip models list", "folder", "hf-hub:ORG/NAME", "demo"):
        assert form in told


def test_the_default_is_in_the_catalogue() -> None:
    """The default model can be asked for by name."""
    assert CATALOG[DEFAULT].name == DEFAULT


def test_the_catalogue_is_light() -> None:
    """Looking up a name imports nothing heavy."""
    code = (
        "import sys, siglipcli.encoders.catalog, siglipcli.encoders.checkpoint as c; c.is_cached('demo');"
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'open_clip', 'safetensors', 'transformers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
