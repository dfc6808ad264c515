"""docs/python-api.md is whole and fresh, its examples run, and a type checker follows user code."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest
import render_api

import siglipcli
from siglipcli.encoders import openvino_library

PAGE = render_api.PAGE.read_text(encoding="utf-8")
ROOT = Path(siglipcli.__file__).parent.parent

USER_CODE = """
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglipcli import (
    Classifier, Failure, ImageTextScores, LabelEmbeddings, LabelSet, LoadOptions, Match, ModelSpec,
    Aim, Prediction, Query, Ranking, ScoringOptions, Session, SiglipError, calibrate, compare, evaluate,
)


def tags(photos: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    with Classifier("demo", LoadOptions(timeout=5), device="cpu") as clf:
        for result in clf.classify([photos, "a.jpg", b"", io.BytesIO()], ["cat", "dog"]):
            if isinstance(result, Failure):
                print(result.kind, result.message)
            else:
                yield result.file, result.tags


def every_form(clf: Classifier, pixels: NDArray[np.uint8], image: Image.Image) -> float:
    embedded: LabelEmbeddings = clf.encode_labels("animals")
    one: Prediction = clf.classify_one(pixels, {"labels": ["cat"]}, ScoringOptions(top=1))
    several = clf.classify(image, [LabelSet.of(["cat"]), embedded])
    for scored in clf.score([image], "a cat"):
        if isinstance(scored, ImageTextScores):
            print(scored.pairs[0].score, scored.to_dict())
    for match in clf.search(Path("photos"), Query("a cat", images=["b.jpg"]), Ranking(top=3)):
        if isinstance(match, Match):
            print(match.rank)
    rows: NDArray[np.float32] = clf.encode_images(pixels) @ clf.encode_texts("a cat").T
    with Session.open(clf.spec or ModelSpec("demo"), keep_towers=True) as session:
        again = Classifier(session)
    print(list(several), rows, again)
    return one.best.score if one.best else 0.0


def measured(clf: Classifier, folder: Path) -> LabelSet:
    print(evaluate(clf, [(folder / "a.jpg", "cat"), ("b.jpg", ["cat", "dog"])], "animals").acc1)
    print(compare(clf, folder, ["cat"], {"labels": ["dog"]}).acc1.sign)
    evaluate(clf, 7, "animals")  # E: arg-type
    return calibrate(clf, str(folder), LabelSet.of(["cat"]), Aim(precision=0.9)).calibrated


try:
    Classifier.load("demo").classify(7, "animals")  # E: arg-type
    Classifier("demo").classify("a.jpg", 3.5)  # E: arg-type
    Classifier("demo").classify_one("a.jpg", "animals").scores[0].nothing  # E: attr-defined
except SiglipError as error:
    print(error.code)
"""


def test_the_page_is_fresh() -> None:
    """docs/python-api.md says what the docstrings say; `make docs` refreshes it."""
    assert render_api.render() == PAGE, "stale: run `make docs`"


def test_every_public_name_is_on_the_page() -> None:
    """Each exported class and function has its place, once."""
    placed = [name for names in render_api.SECTIONS.values() for name in names]
    aliases = {"Result"}
    assert sorted(placed) == sorted(set(siglipcli.__all__) - aliases)


def test_every_public_call_says_what_it_does() -> None:
    """No class, method or property of the page is without a docstring, and no signature names the inside."""
    for name in (name for names in render_api.SECTIONS.values() for name in names):
        thing = getattr(siglipcli, name)
        assert (thing.__doc__ or "").strip(), name
        for member, value in render_api.members(thing) if isinstance(thing, type) else ():
            assert (value.__doc__ or "").strip(), f"{name}.{member}"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of the page gives what it shows, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(openvino_library, "is_installed", lambda: False)  # it would build an engine
    text = render_api.examples(PAGE)
    test = doctest.DocTestParser().get_doctest(text, {}, "python-api", str(render_api.PAGE), 0)
    assert len(test.examples) > 30
    failed: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=failed.append)
    assert not failed, "".join(failed)


@pytest.mark.full
def test_a_type_checker_follows_user_code(tmp_path: Path) -> None:
    """Mypy --strict accepts right code with every form of input, and finds the mistakes in it."""
    assert (ROOT / "siglipcli" / "py.typed").exists()
    file = tmp_path / "user_code.py"
    file.write_text(USER_CODE)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", file],  # with the gate's own cache
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    wrong = {
        (number, line.rpartition("# E: ")[2])
        for number, line in enumerate(USER_CODE.splitlines(), 1)
        if "# E: " in line
    }
    found = {
        (int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]"))
        for line in run.stdout.splitlines()
        if ": error: " in line
    }
    assert found == wrong, run.stdout + run.stderr
