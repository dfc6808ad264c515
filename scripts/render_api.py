"""Write `docs/python-api.md` from the docstrings of the public names.

python scripts/render_api.py            # write it
python scripts/render_api.py --check    # say whether it is stale; status 1 if so
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import siglipcli

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PAGE", "SECTIONS", "examples", "members", "render"]

PAGE = Path(__file__).parent.parent / "docs" / "python-api.md"
WIDTH = 100

SECTIONS: dict[str, tuple[str, ...]] = {
    "The classifier": ("Classifier", "ModelSpec", "LoadOptions", "Limits", "Session", "Store"),
    "Labels": ("LabelSet", "Label", "LabelEmbeddings", "ScoringOptions"),
    "Results": ("Prediction", "Score", "Failure", "ImageTextScores", "Pair", "Match"),
    "Evaluation": (
        "evaluate", "Measures", "LabelMeasures", "Confusion", "Bin", "calibrate", "Aim", "Calibration", "LabelFit",
        "Quality", "compare", "SetComparison", "LabelComparison", "Difference",
    ),
    "Search": ("Query", "Ranking"),
    "int8 engines": ("tune", "TuningOptions", "Floors", "Tuning", "Agreement", "SetAgreement", "Proportion"),
    "Inputs and embeddings": ("Source", "Embedded", "Batch", "SavedVectors", "Head"),
    "Errors": (
        "SiglipError", "UsageError", "LabelError", "MissingExtraError", "ImageError", "ModelError",
        "DeviceError", "OutputError",
    ),
}  # fmt: skip
"""Every public class and function, in the order of the page; a test holds that none is left out."""

HEAD = """\
# The Python API

<!-- Made by scripts/render_api.py from the docstrings; do not edit. -->

The library is what the command line is made of. Its examples here run as tests, on the demo model and the
drawings that come with it.

```pycon
>>> from siglipcli import Classifier, demo
>>> clf = Classifier("demo")
>>> result = clf.classify_one(demo.IMAGES / "blue-heart.jpg", ["red circle", "blue heart"])
>>> result.best.label, result.tags
('blue heart', ('blue heart',))
```

**Many images** are a lazy stream, in input order. What cannot be read is a `Failure` in its place:

```pycon
>>> for result in clf.classify([demo.IMAGES / "green-star.png", "gone.jpg"], ["green star", "red circle"]):
...     print(result.to_dict()["status"], result.file.rpartition("/")[2])
ok green-star.png
error gone.jpg
```

**Images in memory** are taken as they are: bytes, file objects, PIL images, numpy arrays.

```pycon
>>> import io
>>> import numpy as np
>>> from PIL import Image
>>> data = (demo.IMAGES / "green-star.png").read_bytes()
>>> image = Image.open(io.BytesIO(data))
>>> results = clf.classify([data, io.BytesIO(data), image, np.asarray(image)], ["green star", "red circle"])
>>> [(result.file, result.best.label) for result in results]
[('image 0', 'green star'), ('image 1', 'green star'), ('image 2', 'green star'), ('image 3', 'green star')]
```

**Labels** are a list of strings, the name of a built-in set, a YAML file, a dict with the keys of the YAML form,
or a `LabelSet`. A string alone names a set. Several sets are scored in one pass.

```pycon
>>> shapes = {"name": "shapes", "exclusive": True, "labels": ["heart", "star", "circle"]}
>>> colours = {"name": "colours", "threshold": 0.5, "labels": ["red", {"name": "blue", "prompts": ["something blue"]}]}
>>> result = clf.classify_one(demo.IMAGES / "blue-heart.jpg", [shapes, colours])
>>> sorted({score.set for score in result.scores})
['colours', 'shapes']
```

**Texts** as typed are scored by `score`, and ranked against by `search`:

```pycon
>>> (scores,) = clf.score(demo.IMAGES / "blue-heart.jpg", ["a blue heart", "a red circle"])
>>> scores.best.text
'a blue heart'
>>> from siglipcli import Ranking
>>> [match.file.rpartition("/")[2] for match in clf.search(demo.IMAGES, "a blue heart", Ranking(top=1))]
['blue-heart.jpg']
```

**Results** are frozen records: they print in one line, compare by value, pickle, and become JSON or a data frame.
`to_dict()` is the row that `siglip classify --format jsonl` writes.

```pycon
>>> import json
>>> row = json.dumps(result.to_dict())
>>> import pandas
>>> results = list(clf.classify([demo.IMAGES / "blue-heart.jpg", demo.IMAGES / "green-star.png"], ["heart", "star"]))
>>> table = pandas.DataFrame([{"file": r.file} | s.to_dict() for r in results for s in r.scores])
>>> list(table.columns), len(table)
(['file', 'label', 'score', 'softmax', 'logit', 'set', 'tag'], 4)
```

**Embeddings** are float32 arrays of unit rows, of one space:

```pycon
>>> images = clf.encode_images([demo.IMAGES / "blue-heart.jpg", demo.IMAGES / "green-star.png"])
>>> texts = clf.encode_texts(["a blue heart", "a green star"])
>>> (images @ texts.T).argmax(axis=1).tolist()
[0, 1]
```

**Label sets are measured** on images whose labels are known, and their thresholds fitted to them:

```pycon
>>> from siglipcli import evaluate
>>> known = [(path, path.stem.replace("-", " ")) for path in sorted(demo.IMAGES.iterdir())]
>>> measures = evaluate(clf, known, demo.LABELS)
>>> measures.images, measures.acc1
(8, 1.0)
>>> list(measures.to_frame().columns)[:3]
['label', 'examples', 'tags']
```

**Elsewhere**, in a worker process or on another machine, a classifier is opened again by its `spec`, which pickles:

```pycon
>>> import pickle
>>> again = Classifier(pickle.loads(pickle.dumps(clf.spec)))
>>> again.encoder.fingerprint == clf.encoder.fingerprint
True
```

**A wrong argument** is a TypeError or ValueError at the call. Everything else that can go wrong is a `SiglipError`
with a stable `code` and `facts`:

```pycon
>>> clf.classify(b"", [])
Traceback (most recent call last):
siglipcli.errors.UsageError: there is no label; give at least one
>>> from siglipcli import SiglipError
>>> try:
...     Classifier("ViT-B-16-SigLIP-383")
... except SiglipError as error:
...     print(error.code)
unknown_name
```

A score depends on its image and its prompt alone: not on the batch, the other labels, or the number of threads.
Two labels with the same prompt have the same score to the last bit, and keep the set's order.
"""


def render() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [_described(name, getattr(siglipcli, name)) for name in names]
    return "\n".join(parts).rstrip() + "\n"


def examples(page: str) -> str:
    """Return the examples of a page, one after the other, for doctest."""
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


def _described(name: str, thing: Any) -> str:
    if inspect.isfunction(thing):
        return f"### {name}\n\n{_code(name, thing)}\n{_prose(thing)}"
    lines = [f"### {name}\n", _prose(thing)]
    if is_dataclass(thing):
        lines += [_field(each) for each in fields(thing) if not each.name.startswith("_")]
        lines.append("")
    elif not issubclass(thing, Exception):
        lines.insert(1, _code(name, thing.__init__))
    lines += [_member(name, each, member) for each, member in members(thing)]
    return "\n".join(lines)


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class; what public classes hand down is on their page."""
    for owner in thing.__mro__:
        if owner is not thing and (owner.__name__ in siglipcli.__all__ or not _is_ours(owner)):
            continue
        for name, member in vars(owner).items():
            is_call = isinstance(member, (property, classmethod)) or inspect.isfunction(member)
            if is_call and not name.startswith("_"):
                yield name, member


def _is_ours(thing: type) -> bool:
    return thing.__module__.partition(".")[0] == "siglipcli"


def _member(owner: str, name: str, member: Any) -> str:
    title = f"#### {owner}.{name}\n"
    if isinstance(member, property):
        return f"{title}\n{_prose(member)}"
    function = member.__func__ if isinstance(member, classmethod) else member
    return f"{title}\n{_code(f'{owner}.{name}', function)}\n{_prose(function)}"


def _field(field: Field[Any]) -> str:
    kind = str(field.type).strip("'\"")
    default = ""
    if field.default is not MISSING:
        default = f" = {field.default!r}"
    elif field.default_factory is not MISSING:
        default = f" = {getattr(field.default_factory, '__name__', '')}()"
    return f"- `{field.name}: {kind}{default}`"


def _code(name: str, function: Any) -> str:
    """Return a call's signature in a code block: on one line, or one parameter per line."""
    signature = inspect.signature(function)
    shown, keyword_only = [], False
    for each in list(signature.parameters.values()):
        if each.name in {"self", "cls"}:
            continue
        if each.kind is each.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
            keyword_only = True
        default = "" if each.default is each.empty else f" = {each.default!r}"
        shown.append(f"{each.name}: {each.annotation}{default}".replace("'", ""))
    end = f" -> {signature.return_annotation}".replace("'", "").replace(" -> None", "")
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) > WIDTH:
        inner = "".join(f"    {each},\n" for each in shown)
        line = f"{name}(\n{inner}){end}"
    return f"```python\n{line}\n```\n"


def _prose(thing: Any) -> str:
    """Return a docstring as Markdown: examples in fences, everything else as it is."""
    paragraphs = (inspect.getdoc(thing) or "").split("\n\n")
    marked = [f"```pycon\n{each}\n```" if each.startswith(">>>") else each for each in paragraphs]
    return "\n\n".join(marked) + "\n"


def main() -> int:
    """Write the page, or with --check compare it."""
    page = render()
    if "--check" in sys.argv[1:]:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page
        print("stale: run `make docs`" if stale else "fresh")
        return int(stale)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
