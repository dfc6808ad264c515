"""The words of the help that are no command's own: the order of headings, and two examples for each command."""

from __future__ import annotations

__all__ = ["EXAMPLES", "HEADINGS", "OPTIONS"]

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

OPTIONS: dict[str, str] = {
    "allow_empty": "With no input, write an empty output and end with status 0.",
    "allow_truncated": "Score what is there of an image that was cut short.",
    "batch_size": "Images encoded at a time.",
    "bias_shift": "Add X to every logit.",
    "cache_dir": "The folder of stored embeddings and compiled engines.",
    "cache_limit": "What stored embeddings may take (500M, 8G); the least recently used go first.",
    "color_management": "Convert colors to sRGB by the image's color profile.",
    "device": "Where it runs.",
    "document": "Write to FILE; replaced only when complete.",
    "document_format": "Tables, or JSON for programs.  [default: table; json where --output ends in .json]",
    "embed.output": "Write to FILE: .npz, .npy, .parquet or .jsonl.  [default: jsonl on stdout]",
    "embed.text": "PATHS are texts, taken as typed; with none, the lines of stdin are.",
    "every": "Show every label, negative ones too.",
    "exact_decode": "Decode large JPEGs in full, not at a reduced scale.",
    "exclude": "In folders, skip what matches; repeatable.",
    "ext": "In folders, read these endings only: jpg, jpg,png or '*.jp*g'; repeatable.",
    "files_from": "Read paths from FILE, one per line; - for stdin.",
    "force": "Replace an existing output that siglip did not write; never an input.",
    "hidden": "In folders, read names that start with a dot too.",
    "image_timeout": "Timeout for one image, in seconds; 0 for none.",
    "isolate": "Decode every image in worker processes, or none.  [default: all but JPEG and PNG]",
    "json_or_table": "A table, or JSON for programs.",
    "label": "A label, or cat,dog; repeatable.",
    "labels": "A built-in set (siglip labels list), a YAML or JSON file, a text file with one label per line, or - for stdin; repeatable.",
    "max_megapixels": "Refuse larger images.",
    "model": "A name from siglip models list, a model folder, hf-hub:ORG/NAME, or demo.",
    "no_cache": "Neither use nor keep stored embeddings.",
    "null": "Paths in --files-from end with NUL.",
    "offline": "Use only model files that are here.",
    "output": "Write to FILE, in the format its ending names; replaced only when complete.",
    "output_format": "The output format.  [default: table on a terminal, jsonl in a pipe]",
    "paths": "Images, folders (read recursively), or - for one image's bytes on stdin.",
    "precision": "The towers' arithmetic; the head is always fp32.",
    "provenance": "Also write FILE.meta.json beside --output FILE: version, model, label sets' digests.",
    "report": "Also write a page for a browser: images, tags, a threshold to move.",
    "report_limit": "Images that --report lists: the first N.",
    "report_thumbs": "Images with a thumbnail in --report: the first N.",
    "recursive": "Read folders with all below them.",
    "runtime": "What runs it.",
    "saved": "In place of images, use the embeddings that siglip embed saved in FILE.",
    "score.image": "An image, or a folder of them; repeatable.",
    "score.text": "A text; repeatable.",
    "search.bare": "Print bare paths, one per line.",
    "search.bare0": "Print bare paths, each ended by NUL, for xargs -0.",
    "search.every": "All images, ranked.",
    "search.image": "Look for images like this one; - for stdin; repeatable.",
    "search.text": "Look for this too; repeatable.",
    "search.threshold": "Only what reaches this score; similarity, with --image or --not.",
    "search.without": "Rank images like this lower; repeatable.",
    "tags_only": "Show the labels that are tags, and no other.",
    "template": "Fill labels into TEXT at {}; repeatable.",
    "text_cleaning": "How prompts are cleaned before they are tokenized.  [default: as the model's config says]",
    "threshold": "The score that makes a tag; a label's own threshold wins.  [default: the set's, or 0.2; 0<=x<=1]",
    "top": "The N best labels of each set, and every tag beyond them.",
    "verify": "Read every file, even one whose size and times are known.",
    "workers": "Threads that read and decode.  [default: one per processor]",
}
"""Option → its help, the same in every command."""
