"""`siglip calibrate --from-review`: thresholds fitted on what a person confirmed and rejected in a report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import chromium
from labelled import draw_folder, write_labels
from settings import settle
from typer.testing import CliRunner

import siglipcli
from siglipcli import Classifier, LabelSet
from siglipcli.cli import app
from siglipcli.evaluation import calibration, review
from siglipcli.evaluation.scored import Scored
from siglipcli.results import Source

if TYPE_CHECKING:
    from typer.testing import Result

NAMES = ["red circle", "blue heart", "green star"]
LABELS = ["red circle", "heart", "green"]  # what is true of the drawings, in their order
TOO_HIGH = 0.9995


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with 60 drawings whose labels the program is not told, and a set that tags hardly any."""
    settle(monkeypatch, tmp_path, tmp_path / "cache")
    write_labels(Path("mine.yaml"), LABELS, threshold=TOO_HIGH, templates=["{}"])
    return draw_folder(Path("photos"), NAMES, 20)


def is_right(file: str, label: str) -> bool:
    """What a person says: the drawing's folder names what it shows."""
    return LABELS[NAMES.index(Path(file).parent.name)] == label


def verdict(file: str, label: str, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    item = {"file": file, "label": label, "set": "mine", "verdict": is_right(file, label)}
    return item | {"weight": weight, "reason": "random"} | more


def save(items: list[Any], **more: Any) -> Path:
    content = {"version": 1, "model": "demo", "label_sets": ["mine"], "items": items, **more}
    Path("review.json").write_text(json.dumps(content), encoding="utf-8")
    return Path("review.json")


def sampled(photos: Path) -> list[dict[str, Any]]:
    """Twenty verdicts on each label, drawn at random, each with the weight that the page gives it."""
    files, rng = sorted(photos.rglob("*.png")), np.random.default_rng(1)
    return [
        verdict(str(files[i]), label, weight=len(files) / 20)
        for label in LABELS
        for i in rng.choice(len(files), 20, replace=False)
    ]


def check_better(calibrated: str) -> None:
    """The calibrated file tags fresh drawings better than the set did."""
    fresh = draw_folder(Path("fresh"), NAMES, 10, seed=7)
    renames = dict(zip(NAMES, LABELS, strict=True))
    with Classifier("demo") as clf:
        before, after = (
            siglipcli.evaluate(clf, fresh, name, renames=renames).macro_f1
            for name in ("mine.yaml", calibrated)
        )
    assert before is not None
    assert after is not None
    assert before < 0.6
    assert after > 0.95


@pytest.mark.full
def test_a_review_fits_thresholds_without_a_folder_of_known_images(photos: Path) -> None:
    """60 verdicts in the form that the page saves, and fresh drawings get better tags; comments are kept."""
    path = Path("mine.yaml")
    path.write_text("# mine\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    result = run(
        "calibrate",
        "--from-review",
        save(sampled(photos)),
        "-l",
        path,
        "-m",
        "demo",
        "-o",
        "new.yaml",
    )
    assert result.exit_code == 0, result.output
    assert "3 of 3 labels fitted" in result.stdout
    assert "wrote new.yaml: 3 thresholds" in result.stderr
    assert "bias_shift" not in result.output
    assert Path("new.yaml").read_text(encoding="utf-8").startswith("# mine\n")
    check_better("new.yaml")


def test_embeddings_come_from_the_store(photos: Path) -> None:
    """What classify has encoded is not encoded again."""
    assert run("classify", photos, "-l", "mine.yaml", "-m", "demo", "-f", "jsonl").exit_code == 0
    review_file = save(sampled(photos))
    result = run("calibrate", "--from-review", review_file, "-l", "mine.yaml", "-m", "demo")
    assert result.exit_code == 0, result.output
    assert "0 encoded" in result.stderr
    assert "from the store" in result.stderr


def test_verdicts_are_weighted_by_the_sampling() -> None:
    """Many images that one verdict stands for count as many: measures are those of the whole, not of the sample."""
    labels = LabelSet.of(["a"], name="mine")
    rng = np.random.default_rng(5)
    right = rng.random(20_000) < 0.2
    logits = rng.normal(np.where(right, 1.5, -1.5), 1.2).astype(np.float32)
    near = np.abs(logits - np.log(0.25)) < 1.5  # the default threshold is 0.2
    chosen, weights = np.zeros(20_000, np.bool_), np.zeros(20_000)
    for stratum, share in ((near, 0.4), (~near, 0.08)):
        drawn = stratum & (rng.random(20_000) < share)
        chosen |= drawn
        weights[drawn] = stratum.sum() / drawn.sum()
    rows = np.flatnonzero(chosen)

    def fitted(which: Any, weight: Any = None) -> Any:
        sources = [Source(f"{i}.png") for i in range(len(logits[which]))]
        columns = [None if x is None else x[:, None] for x in (logits[which], right[which], weight)]
        scored = Scored("d", "m", labels, sources, columns[0], columns[1], (), columns[2])  # type: ignore[arg-type]
        aim = calibration.Aim(shift=False)
        return calibration.fit(scored, aim).labels[0]

    whole, weighted, plain = fitted(slice(None)), fitted(rows, weights[rows]), fitted(rows)
    assert abs(weighted.before.f1 - whole.before.f1) < 0.03
    assert abs(plain.before.f1 - whole.before.f1) > 0.06
    assert abs(weighted.held_out.precision - whole.held_out.precision) < 0.05


@pytest.mark.full
def test_pairs_that_nobody_judged_are_neither_right_nor_wrong(photos: Path) -> None:
    """A label's verdicts are its own: other images of the review do not count for it."""
    files = [str(path) for path in sorted(photos.rglob("*.png"))]
    labels = LabelSet.load("mine.yaml")
    known = review.read(
        save([verdict(files[0], "heart", 4), verdict(files[30], "green", 2)]), labels
    )
    assert known.weights is not None
    assert known.weights.tolist() == [[0, 4, 0], [0, 0, 2]]
    other = {"file": "x.png", "label": "a", "set": "other", "verdict": True, "weight": 1}
    with Classifier("demo") as clf:
        only = save([*(verdict(file, "heart") for file in files), other])
        fits = siglipcli.calibrate(clf, only, labels).labels
    assert [fit.reason for fit in fits] == ["no examples", "", "no examples"]
    assert [fit.examples for fit in fits] == [0, 20, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is not JSON"),
        ('{"version": 1}', "no list `items`"),
        ('{"version": 9, "items": []}', "of version 9"),
        ('{"version": 1, "items": []}', "no verdict on a label of the set 'mine'"),
        ('{"version": 1, "items": [{"file": "a.png"}]}', "item 1 lacks"),
    ],
)
def test_what_is_no_review_is_refused(photos: Path, content: str, message: str) -> None:
    """With status 2 and what is wrong, before a model is looked for."""
    assert photos
    Path("review.json").write_text(content, encoding="utf-8")
    result = run("calibrate", "--from-review", "review.json", "-l", "mine.yaml", "-m", "none")
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")


def test_contradictions_are_refused(photos: Path) -> None:
    """Both yes and no, a label that the set lacks, DATA beside a review, a promise of precision, its own output."""
    file = str(next(photos.rglob("*.png")))
    cases: list[tuple[list[Any], list[object], str]] = [
        (
            [verdict(file, "heart"), verdict(file, "heart", verdict=not is_right(file, "heart"))],
            [],
            "both yes and no",
        ),
        ([verdict(file, "heart") | {"label": "cow"}], [], "does not have"),
        ([verdict(file, "heart")], [photos], "takes the place of DATA"),
        ([verdict(file, "heart")], ["--min-precision", "0.9"], "no precision can be promised"),
        ([verdict(file, "heart")], ["-o", "review.json", "--force"], "is the review"),
        ([verdict(file, "heart", weight=0)], [], "item 1 lacks"),
    ]
    for items, arguments, message in cases:
        result = run(
            "calibrate", *arguments, "--from-review", save(items), "-l", "mine.yaml", "-m", "none"
        )
        assert result.exit_code == 2, result.output
        assert message in result.stderr.replace("\n", " ")


@pytest.mark.full
def test_from_a_report_to_better_tags_in_a_browser(photos: Path, tmp_path: Path) -> None:
    """Classify with a report, judge 60 proposals by keyboard, save, calibrate: fresh drawings get better tags."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    page = tmp_path / "page.html"
    result = run(
        "classify", photos, "-l", "mine.yaml", "-m", "demo", "-f", "jsonl", "--report", page
    )
    assert result.exit_code == 0, result.output
    with chromium(tmp_path / "profile") as chrome:
        folder = {"behavior": "allow", "downloadPath": str(tmp_path)}
        chrome.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
        chrome.get(page.as_uri())
        chrome.find_element(By.ID, "review").click()
        for _ in range(60):
            label = chrome.find_element(By.CSS_SELECTOR, "#judge-question bdi").text
            file = chrome.find_element(By.ID, "judge-name").text
            chrome.switch_to.active_element.send_keys("y" if is_right(file, label) else "n")
        chrome.find_element(By.ID, "judge-close").click()
        chrome.find_element(By.ID, "save-review").click()
        WebDriverWait(chrome, 20).until(lambda _: os.path.exists("review.json"))  # noqa: PTH110
    assert len(json.loads(Path("review.json").read_text(encoding="utf-8"))["items"]) == 60
    result = run(
        "calibrate",
        "--from-review",
        "review.json",
        "-l",
        "mine.yaml",
        "-m",
        "demo",
        "-o",
        "new.yaml",
    )
    assert result.exit_code == 0, result.output
    check_better("new.yaml")
