"""The names a user may type, and what each checkpoint is. A test compares every entry with open_clip."""

from __future__ import annotations

import re
from dataclasses import dataclass

from siglipcli.errors import UnknownModelError

__all__ = ["CATALOG", "DEFAULT", "Entry", "elsewhere", "unknown"]

DEFAULT = "ViT-B-16-SigLIP-384"

_ENGLISH = 32_000
_MC4 = 250_000
_GEMMA = 256_000

_ENGLISH_TOKENIZER = "timm/ViT-B-16-SigLIP"
_MC4_TOKENIZER = "timm/ViT-B-16-SigLIP-i18n-256"


@dataclass(frozen=True, slots=True)
class Entry:
    """One published checkpoint, open_clip's tag `webli`.

    `image_params` and `text_params` are in millions; `image_size` is the side in pixels, `context_length`
    in tokens, `embed_dim` the length of an embedding. `imagenet` is the zero-shot top-1 in percent: for
    SigLIP as open_clip's authors measured it, for SigLIP 2 as its authors publish it, None where neither
    did. `vision` is the image tower's timm name where it is not the one in the repository's config.
    """

    name: str
    family: str
    image_size: int
    context_length: int
    embed_dim: int
    vocab_size: int
    image_params: float
    text_params: float
    imagenet: float | None
    repo: str
    tokenizer_repo: str
    vision: str | None = None

    @property
    def multilingual(self) -> bool:
        """Whether it was trained on prompts in many languages; the others know English."""
        return self.vocab_size > _ENGLISH

    @property
    def parameters(self) -> float:
        """Image and text tower together, in millions."""
        return round(self.image_params + self.text_params, 1)

    @property
    def download_mb(self) -> int:
        """Size in MB of the weights, which are published in fp32; a tokenizer adds up to 40."""
        return round(4 * self.parameters)


def _siglip(
    size: str,
    pixels: int,
    dim: int,
    params: tuple[float, float],
    imagenet: float | None = None,
    *,
    context: int = 64,
    i18n: bool = False,
    repo: str | None = None,
    vision: str | None = None,
) -> Entry:
    name = f"ViT-{size}"
    return Entry(
        name, "SigLIP", pixels, context, dim, _MC4 if i18n else _ENGLISH, *params, imagenet,
        repo=repo or f"timm/{name}",
        tokenizer_repo=_MC4_TOKENIZER if i18n else _ENGLISH_TOKENIZER,
        vision=vision,
    )  # fmt: skip


def _siglip2(
    size: str, pixels: int, dim: int, params: tuple[float, float], imagenet: float
) -> Entry:
    name = f"ViT-{size}"
    repo = f"timm/{name}"
    return Entry(name, "SigLIP 2", pixels, 64, dim, _GEMMA, *params, imagenet, repo, repo)


_ENTRIES = (
    _siglip("B-16-SigLIP", 224, 768, (92.9, 110.3), 76.0),
    _siglip("B-16-SigLIP-256", 256, 768, (92.9, 110.3), 76.5),
    _siglip("B-16-SigLIP-384", 384, 768, (93.2, 110.3), 78.5),
    _siglip("B-16-SigLIP-512", 512, 768, (93.5, 110.3), 79.1),
    _siglip("B-16-SigLIP-i18n-256", 256, 768, (92.9, 277.7), 75.1, i18n=True),
    _siglip("L-16-SigLIP-256", 256, 1024, (316.0, 336.2), 80.5),
    _siglip("L-16-SigLIP-384", 384, 1024, (316.3, 336.2), 82.1),
    _siglip("SO400M-14-SigLIP", 224, 1152, (427.7, 449.7), 82.0, context=16),
    # The weights of -384, which see 27 x 27 patches of 14 pixels: 378 is what they look at.
    _siglip(
        "SO400M-14-SigLIP-378", 378, 1152, (428.2, 449.7),
        repo="timm/ViT-SO400M-14-SigLIP-384", vision="vit_so400m_patch14_siglip_378",
    ),
    _siglip("SO400M-14-SigLIP-384", 384, 1152, (428.2, 449.7), 83.1),
    _siglip("SO400M-16-SigLIP-i18n-256", 256, 1152, (427.9, 699.5), i18n=True),
    _siglip2("B-32-SigLIP2-256", 256, 768, (94.6, 282.3), 74.0),
    _siglip2("B-16-SigLIP2", 224, 768, (92.9, 282.3), 78.2),
    _siglip2("B-16-SigLIP2-256", 256, 768, (92.9, 282.3), 79.1),
    _siglip2("B-16-SigLIP2-384", 384, 768, (93.2, 282.3), 80.6),
    _siglip2("B-16-SigLIP2-512", 512, 768, (93.5, 282.3), 81.2),
    _siglip2("L-16-SigLIP2-256", 256, 1024, (316.0, 565.6), 82.5),
    _siglip2("L-16-SigLIP2-384", 384, 1024, (316.3, 565.6), 83.1),
    _siglip2("L-16-SigLIP2-512", 512, 1024, (316.7, 565.6), 83.5),
    _siglip2("SO400M-14-SigLIP2", 224, 1152, (427.7, 707.8), 83.2),
    _siglip2("SO400M-14-SigLIP2-378", 378, 1152, (428.2, 707.8), 84.1),
    _siglip2("SO400M-16-SigLIP2-256", 256, 1152, (427.9, 707.8), 83.4),
    _siglip2("SO400M-16-SigLIP2-384", 384, 1152, (428.3, 707.8), 84.1),
    _siglip2("SO400M-16-SigLIP2-512", 512, 1152, (428.8, 707.8), 84.3),
    _siglip2("gopt-16-SigLIP2-256", 256, 1536, (1163.2, 708.2), 84.5),
    _siglip2("gopt-16-SigLIP2-384", 384, 1536, (1163.7, 708.2), 85.0),
)  # fmt: skip

CATALOG: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


_GOOGLE = r"google/siglip(2?)-(\w+(?:-opt)?)-patch(\d+)-(naflex|\d+)(?:-(\w+))?"
_SIZES = {"base": "B", "large": "L", "so400m": "SO400M", "giant-opt": "gopt"}


def elsewhere(repo: str) -> UnknownModelError | None:
    """Return the error for a repository of Google's, whose weights are in transformers' format.

    It names the same weights in this catalogue, or says that the model is a NaFlex one. None for others.
    """
    if not repo.startswith("google/"):
        return None
    match = re.fullmatch(_GOOGLE, repo, re.ASCII)
    if match is None:
        return None
    version, size, patch, pixels, words = match.groups()
    if pixels == "naflex":
        return UnknownModelError(
            f"{repo} is a NaFlex model, which takes images in any shape; only fixed sizes work. "
            f"Similar: ViT-{_SIZES.get(size, size)}-{patch}-SigLIP2-256.",
            code="naflex",
        )
    stem = f"ViT-{_SIZES.get(size, size)}-{patch}-SigLIP{version}"
    if version and patch == "14" and pixels == "384":  # 27 x 27 patches of 14 pixels
        pixels = "378"
    names = (f"{stem}-i18n-{pixels}",) if words else (f"{stem}-{pixels}", stem)
    name = next((n for n in names if n in CATALOG and CATALOG[n].image_size == int(pixels)), None)
    if name is None:
        return None
    return UnknownModelError(
        f"{repo} is in the format of transformers; the same model is here as {name}.",
        code="other_format",
        name=name,
    )


def unknown(name: str) -> UnknownModelError:
    """Return the error for a name that is no model: what comes near it, and what a model may be."""
    near = " or ".join(_nearest(name))
    guess = f"; did you mean {near}?" if near else "."
    return UnknownModelError(f"there is no model {name!r}{guess}", code="unknown_name", name=name)


def _nearest(name: str) -> list[str]:
    from difflib import get_close_matches

    known = {known.lower(): known for known in [*CATALOG, "demo"]}
    # Sizes differ by a few characters only, so nearness is judged without case and the org.
    wanted = name.lower().removeprefix("timm/")
    return [known[match] for match in get_close_matches(wanted, known, n=3, cutoff=0.6)]
