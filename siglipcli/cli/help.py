"""The words of the help that are no command's own: the order of headings, and two examples for each command."""

from __future__ import annotations

__all__ = ["EXAMPLES", "HEADINGS"]

HEADINGS = (
    "Query",
    "Inputs",
    "Labels",
    "Output",
    "Model and device",
    "Decoding",
    "Cache",
    "Messages",
)
"""The order of an option's headings; what belongs to the command itself comes before, as Options."""

EXAMPLES: dict[str, tuple[str, str]] = {
    "": ("siglip demo", "siglip classify photo.jpg --labels animals"),
    "classify": (
        "siglip classify photos --labels animals",
        "siglip classify photo.jpg -L cat -L dog --format json",
    ),
    "search": (
        "siglip search 'a dog on a beach' photos",
        "siglip search --image like-this.jpg photos --top 20 --paths",
    ),
    "score": (
        "siglip score 'a cat asleep' photo.jpg",
        "siglip score photos --text 'a cat' --text 'a dog' --format csv",
    ),
    "embed": (
        "siglip embed photos --output photos.npz",
        "siglip embed --text 'a cat' 'a dog' --output words.jsonl",
    ),
    "evaluate": (
        "siglip evaluate known --labels animals",
        "siglip evaluate known.csv --labels mine.yaml --format json",
    ),
    "calibrate": (
        "siglip calibrate known --labels mine.yaml",
        "siglip calibrate known --labels mine.yaml --output calibrated.yaml",
    ),
    "compare": (
        "siglip compare known --labels old.yaml --labels new.yaml",
        "siglip compare known.csv -l old.yaml -l new.yaml --format json",
    ),
    "prompts": (
        "siglip prompts known --labels mine.yaml",
        "siglip prompts known.csv --labels mine.yaml --format json",
    ),
    "demo": ("siglip demo", "siglip demo --format jsonl"),
    "labels": ("siglip labels list", "siglip labels check mine.yaml"),
    "labels list": ("siglip labels list", "siglip labels list --format json"),
    "labels show": ("siglip labels show animals", "siglip labels show animals --format yaml > mine.yaml"),
    "labels check": ("siglip labels check mine.yaml", "siglip labels check sets/*.yaml"),
    "labels new": ("siglip labels new pets", "siglip labels new pets --output sets/pets.yaml"),
    "models": ("siglip models list", "siglip models pull ViT-B-16-SigLIP-384"),
    "models list": ("siglip models list", "siglip models list --here"),
    "models info": ("siglip models info demo", "siglip models info ViT-B-16-SigLIP-384 --format json"),
    "models pull": ("siglip models pull ViT-B-16-SigLIP-384", "siglip models pull hf-hub:ORG/NAME"),
    "cache": ("siglip cache info", "siglip cache prune --cache-limit 2G"),
    "cache info": ("siglip cache info", "siglip cache info --format json"),
    "cache prune": ("siglip cache prune", "siglip cache prune --cache-limit 2G"),
    "cache clear": ("siglip cache clear --embeddings", "siglip cache clear --engines"),
    "doctor": ("siglip doctor", "siglip doctor --model demo"),
}  # fmt: skip
"""Command → two examples that may be typed as they are, but for the names of files."""
