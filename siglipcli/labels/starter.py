"""The commented label set that a person starts from."""

from __future__ import annotations

import json

__all__ = ["starter"]

_STARTER = """\
# A label set for `siglip classify --labels`. Quotes are needed only where a text holds
# any of : # {{ }} [ ] , or begins with one of & * ! @ % - ?
name: {name}
description: What these labels are for, in a line

# Each label's name is filled in for {{}}; the embeddings of the results are averaged.
templates: ["a photo of a {{}}.", "a close up photo of a {{}}."]
# aggregate: max        # take the best prompt instead of the mean

# Scores from here on count as a tag. SigLIP's scores are small: begin low.
threshold: 0.1
# exclusive: true       # only the best label can be a tag

labels:
  - cat                                   # the short form
  - name: dog
    prompts: ["a dog", "a puppy"]         # in place of the templates
    threshold: 0.2                        # in place of the set's
  - name: bird
    children: [sparrow, owl]              # the results say bird/sparrow and bird/owl
  - name: not a live animal
    prompts: ["a stuffed animal toy", "a statue of an animal"]
    negative: true                        # never a tag; a label that scores below it is none
"""


def starter(name: str) -> str:
    """Return the text of a label set called `name`, with a comment for each key."""
    return _STARTER.format(name=json.dumps(name, ensure_ascii=False))
