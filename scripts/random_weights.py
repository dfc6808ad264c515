"""Write a SigLIP of full size with random weights, in open_clip's and in transformers' format.

Real checkpoints are large and not needed to compare implementations or to measure speed and memory:
the same random weights in both formats are. Weights are drawn so that activations keep their
variance through the layers; embeddings of different inputs then differ, and so do scores.

    python scripts/random_weights.py --out weights/          # weights/open_clip, weights/transformers
"""

from __future__ import annotations

import argparse
import json
import string
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

ARCHITECTURE = "ViT-B-16-SigLIP-384"
PREPROCESS = {
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
LOGIT_SCALE, LOGIT_BIAS = 4.765, -2.0  # scale e^4.765 = 117.3 as in trained checkpoints
_WORDS = [
    "a",
    "the",
    "of",
    "photo",
    "image",
    "drawing",
    "close",
    "up",
    "bright",
    "dark",
    "red",
    "green",
    "blue",
    "cat",
    "dog",
    "bird",
]


def write_open_clip(
    folder: Path, architecture: str = ARCHITECTURE, seed: int = 0, *, image_only: bool = False
) -> Path:
    """Write config, safetensors and tokenizer as a folder that `local-dir:` takes.

    With `image_only` the text tower is as small as can be: for work on images alone.
    """
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = dict(open_clip.get_model_config(architecture))
    smaller = {"layers": 1, "vocab_size": 1_000} if image_only else {}
    config["text_cfg"] = config["text_cfg"] | {"hf_tokenizer_name": "tokenizer.json"} | smaller
    model = open_clip.CustomTextCLIP(**_arguments(config))
    _draw(model, seed)
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    _write_json(
        folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    )
    write_tokenizer(folder, config["text_cfg"]["vocab_size"])
    return folder


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    known = ("embed_dim", "vision_cfg", "text_cfg", "init_logit_bias")
    return {key: config[key] for key in known if key in config}


@torch.no_grad()
def _draw(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        if tensor.ndim >= 2:
            tensor.normal_(0, _spread(name, tensor), generator=generator)
        elif name.endswith("bias"):
            tensor.normal_(0, 0.02, generator=generator)
        if name.startswith("text.") and name.endswith("in_proj_weight"):
            tensor[: 2 * len(tensor) // 3] *= 2  # sharper attention: prompts differ, not their pads
    model.logit_scale.fill_(LOGIT_SCALE)
    model.logit_bias.fill_(LOGIT_BIAS)


def _spread(name: str, tensor: torch.Tensor) -> float:
    """Return the standard deviation: 1/√fan_in keeps variance; lookups have no fan-in."""
    if name == "text.positional_embedding":
        return 0.1
    if "embedding" in name or "pos_embed" in name or "latent" in name:
        return 1.0
    return float(tensor[0].numel() ** -0.5)


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Write a Unigram tokenizer: characters, some words, and filler up to `vocabulary` entries."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    specials = ["<pad>", "</s>", "<unk>"]
    letters = ["▁", *string.ascii_lowercase, *string.digits]
    words = ["▁" + word for word in _WORDS]
    filler = [f"▁x{i}" for i in range(vocabulary - len(specials + letters + words))]
    pieces = [(piece, 0.0) for piece in specials]
    pieces += [(piece, -8.0) for piece in letters] + [(piece, -4.0) for piece in words + filler]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "</s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "model_max_length": 64,
            "clean_up_tokenization_spaces": False,
        },
    )


def write_transformers(folder: Path, source: Path) -> Path:
    """Write the weights of an open_clip folder as transformers' SiglipModel and its processor.

    `hidden_act` is the exact GELU in both towers: open_clip runs the B and L towers with it, while
    transformers' default is the tanh form.
    """
    from safetensors.torch import load_file
    from transformers import (
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
        SiglipProcessor,
    )

    config = json.loads((source / "open_clip_config.json").read_text())["model_cfg"]
    model = SiglipModel(SiglipConfig(**_transformers_config(config)))
    state = convert(load_file(source / "open_clip_model.safetensors"))
    model.load_state_dict(state, strict=True)
    model.save_pretrained(folder)
    size = config["vision_cfg"]["image_size"]
    processor = SiglipProcessor(
        SiglipImageProcessor(size={"height": size, "width": size}, resample=3),
        # SigLIP attends to its padding: with an attention mask the text embeddings would be others.
        PreTrainedTokenizerFast.from_pretrained(source, model_input_names=["input_ids"]),
    )
    processor.save_pretrained(folder)
    return folder


def _transformers_config(config: dict[str, Any]) -> dict[str, Any]:
    text, size = config["text_cfg"], config["vision_cfg"]["image_size"]
    shared = {
        "hidden_size": text["width"],
        "intermediate_size": 4 * text["width"],
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
        "hidden_act": "gelu",
    }
    lengths = {
        "max_position_embeddings": text["context_length"],
        "vocab_size": text["vocab_size"],
        "projection_size": config["embed_dim"],
        "pad_token_id": 1,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    return {
        "text_config": shared | lengths,
        "vision_config": shared | {"image_size": size, "patch_size": 16},
    }


_RENAMED = (
    ("visual.trunk.patch_embed.proj", "vision_model.embeddings.patch_embedding"),
    ("visual.trunk.attn_pool.latent", "vision_model.head.probe"),
    ("visual.trunk.attn_pool.proj", "vision_model.head.attention.out_proj"),
    ("visual.trunk.attn_pool.norm", "vision_model.head.layernorm"),
    ("visual.trunk.attn_pool.mlp", "vision_model.head.mlp"),
    ("visual.trunk.blocks", "vision_model.encoder.layers"),
    ("visual.trunk.norm", "vision_model.post_layernorm"),
    ("text.transformer.resblocks", "text_model.encoder.layers"),
    ("text.token_embedding", "text_model.embeddings.token_embedding"),
    ("text.positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("text.ln_final", "text_model.final_layer_norm"),
    ("text.text_projection", "text_model.head"),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.proj.", ".self_attn.out_proj."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".c_fc.", ".fc1."),
    (".c_proj.", ".fc2."),
)


def convert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return open_clip's tensors under transformers' names, with fused projections split."""
    pool = "visual.trunk.attn_pool"
    state = dict(state)
    result: dict[str, torch.Tensor] = {}
    for kind in ("weight", "bias"):
        fused = [state.pop(f"{pool}.q.{kind}"), state.pop(f"{pool}.kv.{kind}")]
        result[f"vision_model.head.attention.in_proj_{kind}"] = torch.cat(fused)
    positions = state.pop("visual.trunk.pos_embed")[0]  # (n_patches, width)
    result["vision_model.embeddings.position_embedding.weight"] = positions
    for key, tensor in state.items():
        result.update(_renamed(key, tensor))
    return result


def _renamed(key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    for old, new in _RENAMED:
        key = key.replace(old, new)
    if key in {"logit_scale", "logit_bias"}:
        return {key: tensor.reshape(1)}
    for fused in (".attn.qkv.", ".attn.in_proj_"):
        if fused in key:
            stem, kind = key.split(fused)
            parts = zip("qkv", tensor.chunk(3), strict=True)
            return {f"{stem}.self_attn.{p}_proj.{kind}": part.contiguous() for p, part in parts}
    return {key: tensor}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write both formats under --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--image-only",
        action="store_true",
        help="a text tower of one layer, open_clip's format alone",
    )
    options = parser.parse_args()
    source = write_open_clip(
        options.out / "open_clip",
        options.architecture,
        options.seed,
        image_only=options.image_only,
    )
    if options.image_only:
        return
    write_transformers(options.out / "transformers", source)


if __name__ == "__main__":
    main()
