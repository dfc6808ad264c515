"""SECURITY.md: its numbers are the code's, and each limit holds at its very edge."""

from __future__ import annotations

import os
import re
import struct
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zoo
from command import HEART, LABELS, STAR, Siglip
from PIL import Image

from siglipcli import demo, images, inputs
from siglipcli.cli.options import DEFAULT_LIMIT, WalkOptions
from siglipcli.encoders import local_files
from siglipcli.errors import ImageError
from siglipcli.images import decode, image_errors, load_bytes, readers, worker_main
from siglipcli.labels import nodes, schema
from siglipcli.pipeline import LoadOptions
from siglipcli.results import Source
from siglipcli.store import Entry, Store

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
HEADER_LIMIT = 100_000_000  # of safetensors' own reader, which has no name for it in Python


def test_the_page_has_the_codes_numbers() -> None:
    """The table of limits says what the code does."""
    rows = dict(re.findall(r"^\| ([a-zA-Z].*?) \| ([\d,]+)", PAGE, re.MULTILINE))
    assert {name: int(number.replace(",", "")) for name, number in rows.items()} == {
        "size of an image, decoded": images.DEFAULT_LIMITS.max_megapixels,
        "side of an image": image_errors.LONGEST_SIDE,
        "keys of a mapping in a label file": nodes.MAX_KEYS,
        "size of an image file, or of stdin": images.DEFAULT_LIMITS.max_bytes >> 20,
        "time for an image to be read and decoded": LoadOptions().timeout,
        "memory for an image in a worker process (Linux)": worker_main._MEMORY >> 20,
        "reading threads that may be stuck": readers.MOST_LOST,
        "frames or pages read of a file": 1,
        "size of a label file": nodes.MAX_BYTES >> 20,
        "YAML values, aliases expanded": nodes.MAX_NODES,
        "YAML aliases": nodes.MAX_ALIASES,
        "YAML nesting": nodes.MAX_DEPTH,
        "labels of a set": schema.MAX_LABELS,
        "prompts of a label": schema.MAX_PROMPTS_PER_LABEL,
        "prompts of a set": schema.MAX_PROMPTS,
        "characters of a set's prompts": schema.MAX_PROMPT_CHARACTERS,
        "length of a label's name": schema.MAX_NAME,
        "length of a prompt, template or description": schema.MAX_TEXT,
        "errors reported for one file": schema.MAX_COMPLAINTS,
        "config of a model": local_files.JSON_LIMIT >> 20,
        "tokenizer of a model": local_files.TOKENIZER_LIMIT >> 20,
        "weights of a model": local_files.WEIGHTS_LIMIT >> 30,
        "header of a safetensors file": HEADER_LIMIT,
        "stored embeddings": DEFAULT_LIMIT.bytes // 10**9,
    }
    assert inputs.Options().stdin_limit == images.DEFAULT_LIMITS.max_bytes
    assert WalkOptions().image_timeout == LoadOptions().timeout
    assert f"and {worker_main._MEMORY_A_PIXEL} bytes for each pixel" in PAGE


def test_formats_are_the_pages() -> None:
    """The formats that the page names are those that may be decoded."""
    said = " ".join(PAGE.split()).partition("Only ")[2].partition(" are ever")[0]
    named = {name.upper().replace(" ", "") for name in re.split(r", | and ", said)}
    assert named == set(images.formats.ALLOWED)


# ------------------------------------------------------------------------------------- images


def test_megapixels(siglip: Siglip, tmp_path: Path) -> None:
    """100 megapixels are answered, one row of pixels more is refused; --max-megapixels moves that."""
    (tmp_path / "a.png").write_bytes(zoo.png(10_000, 10_000, 1, 0, [b"\xaa" * 1250] * 10_000))
    (tmp_path / "b.png").write_bytes(zoo.png(10_000, 10_001, 1, 0, [b"\xaa" * 1250] * 10_001))
    Image.new("L", (1000, 500)).save(tmp_path / "c.png")
    done = siglip.classify(tmp_path, "--no-cache")
    assert [row["status"] for row in done.rows] == ["ok", "error", "ok"]
    for limit, status in (("0.5", "ok"), ("0.499999", "error")):
        row = siglip.classify(tmp_path / "c.png", "--no-cache", "--max-megapixels", limit).row
        assert row["status"] == status


def sparse(path: Path, size: int) -> Path:
    """Make a PNG of so many bytes, all but its first zero and not on the disk."""
    with path.open("wb") as file:
        file.write(STAR.read_bytes())
        file.truncate(size)
    return path


def test_file_bytes(siglip: Siglip, tmp_path: Path) -> None:
    """A file over 1 GiB is refused unread; one of exactly the limit is read."""
    done = siglip.classify(sparse(tmp_path / "a.png", (1 << 30) + 1), "--no-cache")
    assert done.row["error"]["kind"] == "too_large"
    assert "1024 MiB" in done.row["error"]["message"]
    limits = images.Limits(max_bytes=100_000)
    path = sparse(tmp_path / "b.png", 100_000)
    assert len(load_bytes(Source("b", path), limits)) == 100_000
    with pytest.raises(ImageError, match="MiB"):
        load_bytes(Source("b", sparse(tmp_path / "b.png", 100_001)), limits)


@pytest.mark.parametrize(("size", "kind"), [(100_000, None), (100_001, "too_large")])
def test_stdin_bytes(siglip: Siglip, size: int, kind: str | None) -> None:
    """What stdin brings is bounded as a file is; here with a limit of 100,000 bytes."""
    data = STAR.read_bytes().ljust(size, b"\0")
    code = "from siglipcli import inputs; inputs.Options.__init__.__defaults__ = "
    code += "(*inputs.Options.__init__.__defaults__[:-1], 100_000)\n"
    done = siglip.classify("-", data=data, code=code)
    assert done.row.get("error", {}).get("kind") == kind


def test_frames() -> None:
    """Of a thousand frames one is read: the first."""
    first = zoo.drawn()
    many = zoo.encoded(
        first, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", first.size)] * 1000
    )  # fmt: skip
    assert (decode(many, 64) == decode(zoo.encoded(first), 64)).all()


# ---------------------------------------------------------------------------------- label files


def names(count: int) -> str:
    return "".join(f"- l{n}\n" for n in range(count))


def of_bytes(over: int) -> str:
    return ("labels: [cat]\n#").ljust(nodes.MAX_BYTES + over, "x")


def of_labels(over: int) -> str:
    return "labels:\n" + names(schema.MAX_LABELS + over)


def of_prompts_each(over: int) -> str:
    prompts = ", ".join(f"p{n}" for n in range(schema.MAX_PROMPTS_PER_LABEL + over))
    return f"labels: [{{name: a, prompts: [{prompts}]}}]"


def of_prompts(over: int) -> str:
    templates = ", ".join(["'{}'"] * 1000)
    last = "- {name: last, prompts: [one]}\n" * over
    return f"templates: [{templates}]\nlabels:\n{names(schema.MAX_PROMPTS // 1000)}{last}"


def of_characters(over: int) -> str:
    # 50 labels of 1,000 prompts of 1,998 characters and the name's two: 2,000 each
    prompts = ", ".join(["'" + "x" * 1998 + "'"] * 1000)
    shared = f"- {{name: l0, prompts: &p [{prompts}]}}\n"
    more = "".join(
        f"- {{name: {chr(97 + n // 26)}{chr(97 + n % 26)}, prompts: *p}}\n" for n in range(49)
    )
    return f"labels:\n{shared}{more}" + "- z\n" * over


def of_name(over: int) -> str:
    return f"labels: [{'x' * (schema.MAX_NAME + over)}]"


def of_text(over: int) -> str:
    return f"labels: [{{name: a, prompts: [{'x' * (schema.MAX_TEXT + over)}]}}]"


def of_template(over: int) -> str:
    return f"templates: ['{'x' * (schema.MAX_TEXT + over - 2)}{{}}']\nlabels: [a]"


def of_description(over: int) -> str:
    return f"description: {'x' * (schema.MAX_TEXT + over)}\nlabels: [a]"


EDGES = [
    of_bytes, of_labels, of_prompts_each, of_prompts, of_characters, of_name, of_text, of_template,
    of_description,
]  # fmt: skip


@pytest.mark.parametrize("make", EDGES)
def test_label_files(siglip: Siglip, tmp_path: Path, make: Callable[[int], str]) -> None:
    """At each limit a label file is read; one more is refused, with status 2 and one line."""
    for over in (0, 1):
        (tmp_path / "l.yaml").write_text(make(over))
        done = siglip.inside("labels", "check", "l.yaml", cwd=tmp_path)
        assert done.status == (2 if over else 0), done.stderr[:500]
    assert done.stderr.count("\n") == 1


def composed(text: str) -> bool:
    """Whether the text is within the limits of YAML; what it means is not asked."""
    try:
        nodes.compose(text, "f")
    except nodes.LabelError:
        return False
    return True


@pytest.mark.full
def test_yaml_limits() -> None:
    """Values, aliases and levels are counted exactly, the last one in and the next one out."""
    for over in (0, 1):
        within = over == 0
        assert composed("[" + "x," * (nodes.MAX_NODES - 1 + over) + "]") is within
        assert composed("[&a x" + ", *a" * (nodes.MAX_ALIASES + over) + "]") is within
        depth = nodes.MAX_DEPTH - 1 + over
        assert composed("[" * depth + "x" + "]" * depth) is within


def test_aliases_count_expanded() -> None:
    """A value that an alias repeats counts each time: ten lists of a hundred thousand are too many."""
    list_of = "&a [" + "x," * 99_998 + "x]"
    assert composed(f"[{list_of}" + ", *a" * 8 + "]")
    assert not composed(f"[{list_of}" + ", *a" * 9 + "]")


def test_complaints(siglip: Siglip, tmp_path: Path) -> None:
    """Of a file with very many errors a hundred are told."""
    for count in (100, 101, 5000):
        (tmp_path / "l.yaml").write_text("labels:\n" + "- ''\n" * count)
        done = siglip.inside("labels", "check", "l.yaml", cwd=tmp_path)
        assert done.status == 2
        assert (done.stdout.decode() + done.stderr).count("expected a label's name") == 100


# ------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("length", [100_000_001, 2**40, 2**64 - 1])
def test_a_header_that_is_too_long(siglip: Siglip, tmp_path: Path, length: int) -> None:
    """A weights file that claims a huge table of contents is refused before that is read."""
    for path in demo.MODEL_DIR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    name = "open_clip_model.safetensors"
    (tmp_path / name).write_bytes(struct.pack("<Q", length) + b"{}")
    os.truncate(tmp_path / name, 200_000_000)
    done = siglip("classify", "--model", tmp_path, "-L", "cat", HEART)
    assert done.status == 3
    assert "is not a safetensors file" in done.stderr


@pytest.mark.full
def test_a_header_that_is_just_short_enough(siglip: Siglip, tmp_path: Path) -> None:
    """A table of contents of exactly the limit, padded as the format allows, is read and used."""
    for path in demo.MODEL_DIR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "open_clip_model.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length].ljust(HEADER_LIMIT)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    run = ("classify", "--runtime", "torch", "--no-cache", *LABELS, HEART)
    padded, plain = (siglip(*run, "--model", model) for model in (tmp_path, "demo"))
    assert padded.status == 0, padded.stderr
    for one, other in zip(padded.row["labels"], plain.row["labels"], strict=True):
        assert one["label"] == other["label"]  # where weights lie in memory moves the last bit
        assert one["logit"] == pytest.approx(other["logit"], abs=1e-5)


# --------------------------------------------------------------------------------------- store


def test_cache_limit(own: Siglip) -> None:
    """A store of exactly --cache-limit stays as it is; one byte over, the least recently used go."""
    folder = Path(own.env["SIGLIP_CACHE_DIR"])
    vector = np.eye(1, 96, dtype=np.float32)[0]
    with closing(Store(folder)) as store:
        many = [Entry(n.to_bytes(32, "big"), vector) for n in range(3000)]
        store.space("other", "other").keep(many)

    def held_after(*options: str) -> tuple[int, int]:
        done = own.classify(demo.IMAGES, *options)
        assert done.status == 0, done.stderr
        with closing(Store(folder)) as store:
            return store.size(), sum(usage.vectors for usage in store.usage())

    size, vectors = held_after()
    assert held_after("--cache-limit", f"{size}B") == (size, vectors)
    less, fewer = held_after("--cache-limit", f"{size - 1}B")
    assert less < size
    assert 0 < fewer < vectors
