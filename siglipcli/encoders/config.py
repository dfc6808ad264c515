"""open_clip_config.json, judged whole before anything large is fetched or loaded, the same for every runtime."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from siglipcli.encoders.local_files import read_json
from siglipcli.encoders.preprocess import Preprocess
from siglipcli.encoders.spec import CLEANINGS
from siglipcli.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.encoders.catalog import Entry
    from siglipcli.encoders.local_files import Origin

__all__ = ["Config", "read_config", "tokenizer_repo"]

_REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_TIMM_NAME = re.compile(r"\w+(\.\w+)?", re.ASCII)
_LARGEST = 1e9  # of any number
_SIZES = {  # whole numbers from 1 to …
    "embed_dim": 1 << 16, "image_size": 4096, "patch_size": 1024, "width": 1 << 16, "head_width": 1 << 16,
    "heads": 1024, "layers": 1024, "context_length": 1 << 16, "vocab_size": 1 << 24,
}  # fmt: skip
_FRACTIONS = {"patch_dropout", "timm_drop", "timm_drop_path"}  # from 0 up, below 1
_MLP_RATIO = 64.0
_MEANS = (0.0, 1.0)  # of a channel, in [0, 1]
_DEVIATIONS = (1e-3, 10.0)


@dataclass(frozen=True, slots=True)
class Config:
    """What a config says: `content` as it goes into the fingerprint, and the values that are used here.

    `context_length` is in tokens; `cleaning` is how prompts are cleaned, `vocab_size` the number of tokens
    that the text tower has an embedding for.
    """

    content: dict[str, Any]
    preprocess: Preprocess
    context_length: int
    vocab_size: int
    cleaning: str


def read_config(path: Path, origin: Origin, entry: Entry | None) -> Config:
    """Read a config; `entry` of the catalogue wins where two names share one repository.

    Raises CheckpointError for what this program would do otherwise than the config asks, and for numbers
    that no model can have.
    """
    content = read_json(path, origin)
    judge = _Judge(path)
    model = judge.section(content, "model_cfg")
    vision, text = judge.section(model, "vision_cfg"), judge.section(model, "text_cfg")
    preprocess = judge.section(content, "preprocess_cfg")
    judge.towers(vision, text)
    if vision.get("timm_model_pretrained"):
        vision["timm_model_pretrained"] = False  # timm would fetch weights that ours then replace
    if entry is not None and entry.vision is not None:
        # Two names share these files; the repository's config describes the other one.
        vision.update(image_size=entry.image_size, timm_model_name=entry.vision)
    judge.numbers({"model_cfg": model, "preprocess_cfg": preprocess})
    for section in (model, vision, text):
        judge.sizes(section)
    return Config(
        content={"model_cfg": model, "preprocess_cfg": preprocess},
        preprocess=judge.preprocess(preprocess, vision.get("image_size", 224)),
        context_length=text.get("context_length", 77),
        vocab_size=text.get("vocab_size", 49_408),
        cleaning=judge.cleaning(text),
    )


def tokenizer_repo(path: Path, origin: Origin) -> str | None:
    """Return the repository that a config names for its tokenizer, ORG/NAME; None where it names none."""
    section: Any = read_json(path, origin)
    for key in ("model_cfg", "text_cfg", "hf_tokenizer_name"):
        section = section.get(key) if isinstance(section, dict) else None
    return section if isinstance(section, str) and _REPO.fullmatch(section) else None


class _Judge:
    """The checks of one config; each raises CheckpointError with the file and what is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refuse(self, why: str) -> NoReturn:
        raise CheckpointError(
            f"{self._path} describes a model that cannot be used: {why}.",
            code="config",
            path=str(self._path),
        )

    def section(self, config: dict[str, Any], key: str) -> dict[str, Any]:
        section = config.get(key)
        if not isinstance(section, dict):
            self.refuse(f"it has no {key}")
        return section

    def towers(self, vision: dict[str, Any], text: dict[str, Any]) -> None:
        """Refuse towers that are elsewhere, or of a kind that is not SigLIP's."""
        if "hf_model_name" in text:
            self.refuse(f"its text tower is a transformers model, {text['hf_model_name']!r}")
        if vision.get("output_tokens") or text.get("output_tokens"):
            self.refuse("its towers give a vector per token, not one embedding (output_tokens)")
        name = vision.get("timm_model_name")
        if name is None:
            return
        if not isinstance(name, str) or not _TIMM_NAME.fullmatch(name):
            self.refuse(f"its image tower {name!r} is not the name of a timm model")
        if "naflex" in name.lower():
            self.refuse(
                "it is a NaFlex model, which takes images in any shape; only fixed sizes work"
            )

    def numbers(self, value: Any, where: str = "") -> None:
        """Refuse a number that is infinite, not a number, or beyond what any model has."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self.numbers(inner, f"{where}.{key}".lstrip("."))
        elif isinstance(value, list):
            for inner in value:
                self.numbers(inner, where)
        elif isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
            self.refuse(
                f"{where} is {value:.3g}" if isinstance(value, float) else f"{where} is too large"
            )

    def sizes(self, section: dict[str, Any]) -> None:
        """Check what a tower's shape is computed from."""
        for key, most in _SIZES.items():
            values = section.get(key, 1)
            for value in values if isinstance(values, list) and values else [values]:
                self._whole(key, value, most)
        for key in _FRACTIONS & section.keys():
            if not _is_within(section[key] or 0, (0.0, 1.0 - 1e-9)):
                self.refuse(f"{key} is {section[key]!r}, not a number from 0 up, below 1")
        if not _is_within(section.get("mlp_ratio", 1.0), (1e-3, _MLP_RATIO)):
            self.refuse(f"mlp_ratio is {section['mlp_ratio']!r}, not a number up to {_MLP_RATIO:g}")
        if section.get("width", 0) % section.get("heads", 1):
            self.refuse(f"width {section['width']} cannot be divided by {section['heads']} heads")

    def _whole(self, key: str, value: object, most: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            self.refuse(f"{key} is {value!r}, not a whole number from 1 to {most:,}")

    def preprocess(self, section: dict[str, Any], size: object) -> Preprocess:
        """Return how images are prepared; other ways than SigLIP's are refused, not ignored."""
        if not isinstance(size, int):
            self.refuse(f"image_size is {size!r}, and only square images as one number will do")
        for key, ours in (("resize_mode", "squash"), ("interpolation", "bicubic")):
            if section.get(key, ours) != ours:
                self.refuse(f"it asks for {key} {section[key]!r}, not {ours!r}")
        return Preprocess(
            size,
            mean=self._channels(section, "mean", _MEANS),
            std=self._channels(section, "std", _DEVIATIONS),
        )

    def _channels(
        self, section: dict[str, Any], key: str, limits: tuple[float, float]
    ) -> tuple[float, float, float]:
        values = section.get(key)
        # Where they are missing open_clip would take OpenAI's here, silently wrong for every SigLIP.
        if not isinstance(values, list) or len(values) != 3 or not all(  # noqa: PLR2004
            _is_within(value, limits) for value in values
        ):  # fmt: skip
            low, high = limits
            self.refuse(f"{key} is {values!r}, not three numbers from {low:g} to {high:g}")
        red, green, blue = (float(value) for value in values)
        return red, green, blue

    def cleaning(self, text: dict[str, Any]) -> str:
        """Return how prompts are cleaned; refuse options that this tokenizer does not know."""
        options = text.get("tokenizer_kwargs") or {}
        if not isinstance(options, dict):
            self.refuse(f"tokenizer_kwargs is {options!r}, not an object")
        options = dict(options, mode=text.get("tokenizer_mode"))
        cleaning = options.pop("clean", "whitespace")
        if unknown := [key for key, value in options.items() if value]:
            self.refuse(f"its tokenizer wants {', '.join(unknown)}, which is not supported")
        if cleaning not in CLEANINGS:
            self.refuse(f"its text cleaning is {cleaning!r}, not one of {', '.join(CLEANINGS)}")
        return str(cleaning)


def _is_within(value: object, limits: tuple[float, float]) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return limits[0] <= value <= limits[1]
