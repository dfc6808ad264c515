"""Write `labelsets/imagenet.yaml` from the class names and templates that open_clip ships.

    python scripts/make_imagenet_labels.py labelsets/imagenet.yaml

Labels keep the order of the ImageNet class indices, so that rank and index can be compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, SIMPLE_IMAGENET_TEMPLATES

# Classes that share a name with an earlier one, under another word of their WordNet synset.
SECOND_NAMES = {744: "projectile", 837: "dark glasses"}

HEADER = """\
# Made by scripts/make_imagenet_labels.py from open_clip (MIT licence); do not edit.
# Names and templates stay open_clip's to the letter, though the model's cleaning joins 28 names' hyphenated
# words, so that figures compare with published ones.
name: imagenet
description: The 1,000 classes of ImageNet-1k in index order; names and templates from open_clip (MIT)
exclusive: true
"""


def class_names() -> list[str]:
    """Return the 1,000 names, all different. Raises ValueError where two are still equal."""
    names = [SECOND_NAMES.get(index, name) for index, name in enumerate(IMAGENET_CLASSNAMES)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"these need an entry in SECOND_NAMES: {', '.join(twice)}")
    return names


def as_yaml() -> str:
    """Return the label set's YAML text."""
    # A JSON string is a YAML string: nothing in a name or template can be misread.
    templates = [json.dumps(fill("{}")) for fill in SIMPLE_IMAGENET_TEMPLATES]
    lines = ["templates:", *(f"  - {one}" for one in templates), "labels:"]
    return HEADER + "\n".join([*lines, *(f"  - {json.dumps(one)}" for one in class_names()), ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(as_yaml(), encoding="utf-8")
    print(f"{sys.argv[1]}: {len(class_names()):,} labels")
