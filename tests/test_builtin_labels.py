"""The label sets that come with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from siglipcli import labels as labelsets
from siglipcli.encoders.tokens import canonicalize
from siglipcli.labels.model_view import AnyModelView, prompts, text_warnings

HERE = Path(__file__).parent.parent
NAMES = labelsets.builtin_names()
WRITTEN = [name for name in NAMES if name != "imagenet"]


def test_the_promised_sets_are_there() -> None:
    """The sets that the documentation names can be loaded by name."""
    assert {"animals", "everyday", "food", "imagenet", "scenes", "vehicles"} <= set(NAMES)
    assert {
        "documents-and-screenshots",
        "people-activities",
        "photo-quality",
        "weather-and-light",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_set_is_sound_and_described(name: str) -> None:
    """Each set is named like its file, says what it is for, and can tag something."""
    found = labelsets.load(name)
    assert found.name == name
    assert 20 < len(found.description) < 120
    assert not all(label.negative for label in found.labels)
    assert found.threshold is None or 0.05 <= found.threshold <= 0.2


@pytest.mark.parametrize("name", NAMES)
def test_no_set_draws_a_warning(name: str) -> None:
    """No two labels read the same to the model, and no prompt is cut, even at 16 tokens, or joined."""
    view = AnyModelView(canonicalize, context_length=16)
    kinds = {warning.kind for warning in text_warnings(prompts(labelsets.load(name)), view)}
    assert kinds <= ({"joined"} if name == "imagenet" else set())  # whose names are open_clip's


@pytest.mark.parametrize("name", WRITTEN)
def test_the_model_reads_every_word_as_written(name: str) -> None:
    """No hyphen or apostrophe within a word, which the model's cleaning would delete."""
    for label in labelsets.load(name).labels:
        for prompt in label.prompts:
            assert canonicalize(prompt).split() == re.findall(r"\w+", prompt.lower()), prompt


@pytest.mark.parametrize("name", NAMES)
def test_an_ordinary_yaml_reader_agrees(name: str) -> None:
    """The files are plain YAML, not a dialect that only this program reads."""
    text, _ = labelsets.read(name)
    plain = yaml.safe_load(text)
    tops = [one if isinstance(one, str) else one["name"] for one in plain["labels"]]
    found = [label.path for label in labelsets.load(name).labels]
    assert [path for path in found if path in set(tops)] == tops


@pytest.mark.parametrize("name", WRITTEN)
def test_prompts_read_as_english(name: str) -> None:
    """Articles fit what follows them, and every prompt is one sentence's worth of words."""
    vowel = re.compile(r"\ba (?!uni|one|euro)[aeiou]", re.IGNORECASE)
    consonant = re.compile(r"\ban (?!SUV|HDR|X ray)[^aeiou]", re.IGNORECASE)
    for label in labelsets.load(name).labels:
        for prompt in label.prompts:
            assert not vowel.search(prompt), prompt
            assert not consonant.search(prompt), prompt
            assert 2 <= len(prompt.split()) <= 14, prompt
            assert prompt.endswith("."), prompt


def test_the_default_set_has_about_a_hundred_labels() -> None:
    """`everyday` keeps the size that its description promises."""
    assert 90 <= len(labelsets.load("everyday").labels) <= 120


def test_imagenet_is_what_its_script_writes() -> None:
    """The generated set is up to date with open_clip's names, in index order and all different."""
    script = pytest.importorskip("make_imagenet_labels", reason="not a source checkout")
    assert script.as_yaml() == labelsets.read("imagenet")[0]
    found = labelsets.load("imagenet")
    assert len(found.labels) == 1_000
    assert (found.labels[0].path, found.labels[-1].path) == ("tench", "toilet paper")
    assert found.exclusive


def test_a_folder_beside_the_module_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package finds its own sets; a checkout finds those at its top."""
    module = tmp_path / "siglipcli" / "labelsets" / "__init__.py"
    checkout = tmp_path / "labelsets"
    checkout.mkdir()
    (checkout / "mine.yaml").write_text("labels: [a]", encoding="utf-8")
    monkeypatch.setattr(labelsets, "__file__", str(module))
    assert labelsets.builtin_names() == ["mine"]
    installed = module.parent / "builtin"
    installed.mkdir(parents=True)
    (installed / "theirs.yaml").write_text("labels: [b]", encoding="utf-8")
    assert labelsets.builtin_names() == ["theirs"]
    assert labelsets.load("theirs").labels[0].path == "b"
