"""The HTML report: what a file holds, what it never holds, and what a run with one still prints."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import sys
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner
from what_runs import children, linux_only, wait_until

from siglipcli import demo, outputs, scoring
from siglipcli.cli import app
from siglipcli.errors import ImageError, OutputError
from siglipcli.images import Limits
from siglipcli.images.decoders import Decoder, DecoderPool
from siglipcli.labels import Label, LabelSet
from siglipcli.outputs import html as report
from siglipcli.outputs.html import report as html_report
from siglipcli.outputs.html import rows, thumbnails
from siglipcli.pipeline import LoadOptions
from siglipcli.results import Failure, Head, Match, Prediction, Source
from siglipcli.scoring import LabelEmbeddings, ScoringOptions
from siglipcli.terminal.tally import Tally
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typer.testing import Result

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
THREE = ["-L", "blue heart", "-L", "green star", "-L", "red circle"]
AS_IT_IS = LoadOptions(isolate=False)
ODD = [
    "</script><script>alert(1)</script>.png",
    "<!-- <img src=x onerror=alert(1)> & \"quotes\" 'too'.png",
    "line\u2028and\u2029paragraph.png",
    "\x1b[31mred\n\t\x00.png",
    "right\u202eto\u2066left.png",
    os.fsdecode(b"not-utf8-\xff\xfe.png"),
    "{{rows}} {{script}} \\u003c.png",
]


class Page(HTMLParser):
    """A report as a browser's parser sees it: its elements, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")
        if tag == "style":
            self.styles.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles[-1] += data
        else:
            self.words.append(data)

    def data(self, name: str) -> Any:
        """What one of the page's data elements holds."""
        every = [attributes for tag, attributes in self.elements if tag == "script"]
        (found,) = [i for i, attributes in enumerate(every) if attributes.get("id") == name]
        return json.loads(self.scripts[found])

    def thumbs(self) -> list[str | None]:
        every = [attributes for tag, attributes in self.elements if tag == "script"]
        chunks = [i for i, attributes in enumerate(every) if attributes.get("class") == "thumbs"]
        return [each for i in chunks for each in json.loads(self.scripts[i])]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(path: str | Path) -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


def written(results: Sequence[Prediction | Failure], **about: Any) -> Page:
    """The page of these results."""
    stream = io.StringIO()
    about = {"title": "images", "label_sets": [PETS], "load_options": AS_IT_IS} | about
    sections = about.pop("sections", ())
    with closing(report.ReportSink(stream, report.ReportHeader("demo", **about))) as sink:
        sink.sections.extend(sections)
        for result in results:
            sink.write(result)
    return Page(stream.getvalue())


def labels(*names: str, name: str = "pets", **about: Any) -> LabelSet:
    """A set; a name that starts with ! is a negative label, one like cat=0.5 has a threshold."""
    made = []
    for each in names:
        path, _, own = each.lstrip("!").partition("=")
        made.append(Label(path, (path,), float(own) if own else None, each.startswith("!")))
    return LabelSet(name, tuple(made), **about)


PETS = labels("cat=0.5", "dog", "bird")


def scored(
    raw: NDArray[np.float32], sets: Sequence[LabelSet], selection: ScoringOptions
) -> list[Prediction]:
    """Predictions whose logits are the columns of `raw`, set after set."""
    columns, start = [], 0
    for each in sets:
        n = len(each.labels)
        label_embeddings = LabelEmbeddings(each, np.eye(n, dtype=np.float32), np.arange(n))
        part = raw[:, start : start + n]
        columns.append(scoring.rank(part, label_embeddings, Head(1.0, 0.0), selection))
        start += n
    return [
        Prediction(f"{i}.png", tuple(score for column in columns for score in column[i]))
        for i in range(len(raw))
    ]


def image(path: Path, width: int = 60, height: int = 40, colour: str = "red", **how: Any) -> str:
    Image.new("RGB", (width, height), colour).save(path, **how)
    return str(path)


# --- the file -------------------------------------------------------------------------------------


def test_the_file_fetches_nothing_and_says_so() -> None:
    """The page holds no address; its policy lets in its own script and style, and data: images."""
    page = written(scored(np.zeros((3, 3), np.float32), [PETS], ScoringOptions()))
    (policy,) = [
        each["content"] or ""
        for tag, each in page.elements
        if tag == "meta" and each.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    for content, directive in (
        (page.scripts[-1], "script-src"),
        (page.styles[0], "style-src-elem"),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"
    for tag, each in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form"} or "action" not in each
        assert not any(name.startswith("on") for name in each), tag
        assert (each.get("src") or each.get("href") or "#")[0] in "#d"
    everything = " ".join([*page.scripts, *page.styles, *page.words])
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", everything)


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_text_whatever_it_holds(name: str) -> None:
    """Markup, quotes, line separators and bytes that are no UTF-8 end no element and start none."""
    plain = written([Prediction("a.png", ()), Failure("b.png", "missing", "Gone.")])
    results = [Prediction(name, ()), Failure(name, "missing", f"Gone: {name}")]
    page = written(results, title=name)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.data("rows")[0][0] == visible(name)
    assert page.text.count(visible(name)) == 4  # title twice, the error's name and message


def test_labels_and_sets_are_text_too() -> None:
    """A label called like markup is shown, not run."""
    odd = labels("<b>cat</b>", "</script>", name="<i>set</i>")
    page = written(scored(np.ones((1, 2), np.float32), [odd], ScoringOptions()), label_sets=[odd])
    assert page.data("about")["labels"] == ["<b>cat</b>", "</script>"]
    assert "<i>set</i>" in page.text
    assert not {"b", "i"} & {tag for tag, _ in page.elements}


def test_the_same_results_give_the_same_file() -> None:
    """Two runs on the same images write the same bytes."""
    results = scored(np.eye(3, dtype=np.float32), [PETS], ScoringOptions())
    section = report.Section("A", report.figure("<svg><g id='a'/></svg>", label="x"))
    one, two = (written(results, sections=[section]) for _ in range(2))
    assert one.elements == two.elements
    assert one.scripts == two.scripts


def test_nothing_to_show_is_a_page_too() -> None:
    """A run without images writes a page without rows."""
    page = written([])
    assert page.data("rows") == []
    assert "0 images" in page.text


def test_what_is_left_out_is_said() -> None:
    """Beyond the most images and errors that a page holds, it says how many there were."""
    failures = [Failure(f"bad-{i}", "missing", "Gone.") for i in range(5)]
    results = scored(np.zeros((7, 3), np.float32), [PETS], ScoringOptions())
    page = written([*results, *failures], limit=4, errors=2)
    assert [row[0] for row in page.data("rows")] == ["0.png", "1.png", "2.png", "3.png"]
    assert "7 images" in page.text
    assert "The first 4 images are here, and the counts are theirs; 3 more are not" in page.text
    assert "5 could not be read" in page.text
    assert "3 more are not listed here." in page.text
    assert "bad-1" in page.text
    assert "bad-2" not in page.text


def test_a_full_disk_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the temporary file cannot grow, the run ends as for any output that cannot be written."""

    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(html_report.tempfile, "SpooledTemporaryFile", lambda *_: Full())
    with pytest.raises(OutputError, match="No space left"):
        written(scored(np.zeros((1, 3), np.float32), [PETS], ScoringOptions()))


# --- scores: what is kept, and what is asked for --------------------------------------------------

logits_of = st.floats(-14, 9, width=32)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[LabelSet], NDArray[np.float32], ScoringOptions]:
    """Label sets of all kinds, logits for a few images, and what was asked for."""
    sets = []
    for i in range(draw(st.integers(1, 2))):
        n = draw(st.integers(1, 45))
        own = draw(st.lists(st.sampled_from([None, 0.0, 0.3, 0.7]), min_size=n, max_size=n))
        negative = draw(st.sets(st.integers(0, n - 1), max_size=2)) - {0}
        made = [Label(f"l{j}", (f"l{j}",), own[j], j in negative) for j in range(n)]
        exclusive = draw(st.booleans())
        sets.append(LabelSet(f"s{i}", tuple(made), exclusive=exclusive))
    total = sum(len(each.labels) for each in sets)
    seed = draw(st.integers(0, 2**32 - 1))
    raw = np.random.default_rng(seed).uniform(-14, 9, (3, total)).astype(np.float32)
    every = draw(st.booleans())
    top = None if every else draw(st.integers(1, 50))
    threshold = draw(st.sampled_from([None, 0.05, 0.9]))
    return sets, raw, ScoringOptions(top=top, threshold=threshold, negatives=every)


@settings(max_examples=150, deadline=None)
@given(runs())
def test_the_answers_asked_for_are_cut_out_unchanged(run: Any) -> None:
    """What a run with a report answers is what it answers without one, to the last digit."""
    sets, raw, selection = run
    wide = scored(raw, sets, report.widened(selection, sets))
    assert [report.narrowed(each, selection, sets) for each in wide] == scored(raw, sets, selection)


@settings(max_examples=150, deadline=None)
@given(runs(), st.floats(0, 1))
def test_tags_on_the_page_are_the_programs_own(run: Any, flat: float) -> None:
    """The page finds the same tags: those of the run, and at any one threshold above its floor."""
    sets, raw, selection = run
    numbers = {
        key: i
        for i, key in enumerate((each.name, label.path) for each in sets for label in each.labels)
    }
    by_name = {each.name: each for each in sets}
    wide = scored(raw, sets, report.widened(selection, sets))
    for i, prediction in enumerate(wide):
        row = rows.kept(prediction.scores, by_name, numbers)
        assert len(row.labels) == len(row.scores) == len(row.marks)
        own = {label for label, mark in zip(row.labels, row.marks, strict=True) if mark == "t"}
        assert own == tagged(raw[i : i + 1], sets, selection)
        if flat > row.floor + 1e-6:
            without = [
                replace(s, labels=tuple(replace(x, threshold=None) for x in s.labels)) for s in sets
            ]
            at_flat = {
                label
                for label, mark, score in zip(row.labels, row.marks, row.scores, strict=True)
                if mark != "-" and score >= flat
            }
            close = any(abs(score - flat) < 1e-5 for score in row.scores)  # rounded on the page
            assert close or at_flat == tagged(
                raw[i : i + 1], without, ScoringOptions(threshold=flat)
            )


def tagged(
    raw: NDArray[np.float32], sets: Sequence[LabelSet], selection: ScoringOptions
) -> set[int]:
    """The numbers of the labels that are tags of the one image, by the rules of `scoring`."""
    found: set[int] = set()
    start = 0
    for each in sets:
        part = raw[:, start : start + len(each.labels)]
        chosen = scoring.tags(part, scoring.sigmoid(part), each, selection)
        found |= {start + int(j) for j in np.flatnonzero(chosen[0])}
        start += len(each.labels)
    return found


def test_a_page_keeps_few_of_many_labels() -> None:
    """Of a thousand labels an image keeps its best twenty, and every tag; its size stays bounded."""
    many = labels(*(f"label {i}" for i in range(1000)), threshold=0.9)
    raw = np.full((1, 1000), -3, np.float32)
    raw[0, 900:930] = 5
    (prediction,) = scored(raw, [many], report.widened(ScoringOptions(), [many]))
    page = written([prediction], label_sets=[many])
    ((_, kept, scores, marks),) = page.data("rows")
    assert sorted(kept) == list(range(900, 930))
    assert marks == "t" * 30
    assert page.data("about")["floor"] == pytest.approx(
        scoring.sigmoid(np.float32(-3)), abs=1e-5
    ) or (page.data("about")["floor"] == scores[19])


# --- thumbnails -----------------------------------------------------------------------------------


def opened(data: bytes | str | None) -> Image.Image:
    assert data
    raw = base64.b64decode(data) if isinstance(data, str) else data
    return Image.open(io.BytesIO(raw)).convert("RGB")


def thumb(source: Source, **limits: Any) -> bytes | None:
    load_options = LoadOptions(isolate=False, limits=Limits(**limits))
    with closing(thumbnails.Thumbnails(1, load_options)) as made:
        made.add(source)
        ((found,),) = made.chunks()
    return base64.b64decode(found) if found else None


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((800, 400), (200, 100)),
        ((300, 900), (67, 200)),
        ((90, 50), (90, 50)),
        ((3000, 10), (200, 24)),
    ],
)
def test_a_thumbnail_keeps_its_proportions(
    size: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    """The long side has at most 200 pixels, the other follows; small images are not blown up."""
    assert opened(thumb(Source(image(tmp_path / "a.png", *size)))).size == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_is_upright(orientation: int, tmp_path: Path) -> None:
    """An image that says which side is up is turned."""
    image = Image.new("RGB", (400, 200), "white")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    expected = (100, 200) if orientation >= 5 else (200, 100)
    assert opened(thumb(Source(str(tmp_path / "a.jpg")))).size == expected


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    """A see-through image lies on white, as it does for the model."""
    Image.new("RGBA", (50, 50), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert opened(thumb(Source(str(tmp_path / "a.png")))).getpixel((25, 25)) == (255, 255, 255)


def test_what_cannot_be_decoded_has_no_thumbnail(tmp_path: Path) -> None:
    """Damaged, missing, huge or foreign files cost their own thumbnail and nothing else."""
    (tmp_path / "cut.jpg").write_bytes(Path(HEART).read_bytes()[:900])
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    large = image(tmp_path / "large.png", 1000, 1000)
    assert thumb(Source(large), max_megapixels=0.5) is None
    assert thumb(Source(large), max_bytes=100) is None
    for name in ("cut.jpg", "a.eps", "gone.png", ""):
        assert thumb(Source(str(tmp_path / name))) is None
    assert thumb(Source("-", b"")) is None
    assert thumb(Source("-", Path(HEART).read_bytes())) is not None


def test_a_format_that_is_decoded_in_a_process_apart(tmp_path: Path) -> None:
    """WebP and TIFF have thumbnails like JPEG and PNG, wherever the run decodes them."""
    names = [image(tmp_path / name, 300, 150) for name in ("a.webp", "b.tiff", "c.gif")]
    page = written([Prediction(name, ()) for name in names], load_options=LoadOptions(workers=1))
    assert [opened(each).size for each in page.thumbs()] == [(200, 100)] * 3


@linux_only
def test_thumbnails_are_decoded_by_the_runs_own_processes(tmp_path: Path) -> None:
    """A report starts no worker process of its own: what the session has serves it, and outlives it."""
    image, before = tmp_path / "a.gif", children()
    Image.new("RGB", (40, 30), "red").save(image)
    with closing(DecoderPool(1)) as decoders:
        for _ in range(2):
            with closing(thumbnails.Thumbnails(1, LoadOptions(), decoders)) as made:
                made.add(Source(str(image)))
                assert [each is not None for chunk in made.chunks() for each in chunk] == [True]
        assert len(children() - before) == 1
    assert wait_until(lambda: children() <= before)


def test_a_decoder_that_dies_costs_one_thumbnail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the process apart is killed by an image, its place stays empty and the page is whole."""

    def crashed(self: Decoder, data: bytes, *_: Any, **__: Any) -> Any:
        raise ImageError("crashed", "The decoder was ended.")

    monkeypatch.setattr(Decoder, "decode", crashed)
    results = [Prediction(image(tmp_path / "a.png"), ())]
    assert written(results).thumbs() == [None]


def test_only_the_first_images_have_a_thumbnail(tmp_path: Path) -> None:
    """--report-thumbs 2: two thumbnails in the order of the run, and a line that says so."""
    colours = ["red", "lime", "blue", "white"]
    results = [Prediction(image(tmp_path / f"{c}.png", colour=c), ()) for c in colours]
    page = written([Failure("a", "missing", "Gone."), *results], thumbs=2)
    first, second = (opened(each).getpixel((20, 20)) for each in page.thumbs())
    assert first[0] > 200 > first[1]
    assert second[1] > 200 > second[0]
    assert "Only the first 2 images have a thumbnail." in page.text
    none = written(results, thumbs=0)
    assert none.thumbs() == []
    assert "There are no thumbnails" in none.text


def test_thumbnails_keep_their_order_in_many_threads(tmp_path: Path) -> None:
    """Whichever is ready first, the page has them in the order of the run."""
    names = [image(tmp_path / f"{i}.png", 20 + i, 20) for i in range(150)]
    page = written([Prediction(name, ()) for name in names], load_options=LoadOptions(workers=4))
    found = [opened(each).size[0] for each in page.thumbs()]
    assert found == [max(20 + i, 24) for i in range(150)]


# --- sections -------------------------------------------------------------------------------------


def test_sections_stand_before_the_images() -> None:
    """A section has a heading, a line and its body; text in it is escaped."""
    body = report.metrics([("acc1", 0.5, "<right>"), ("n", 1234, "images")])
    page = written([], sections=[report.Section("How <good>", body, "On a & b.")])
    assert "How <good>" in page.text
    assert "On a & b." in page.text
    assert "0.5000" in page.text
    assert "1,234" in page.text
    order = [each.get("id") for tag, each in page.elements if tag == "section"]
    assert order == ["section-1", "sheet"]


def test_a_confusion_matrix_is_a_table_for_readers() -> None:
    """Rows and columns have headings; the cells hold the counts."""
    html = report.confusion(["cat", "<dog>"], np.array([[8, 2], [0, 5]]))
    page = Page(html)
    heads = [each.get("scope") for tag, each in page.elements if tag == "th"]
    assert heads == ["col", "col", "row", "row"]
    cells = re.findall(r"<td[^>]*>(\d+)</td>", html)
    assert cells == ["8", "2", "0", "5"]
    assert "<dog>" in page.text
    assert "caption" in {tag for tag, _ in page.elements}


def test_a_large_confusion_matrix_shows_the_most_confused() -> None:
    """Of many labels those that are confused are shown, in their order, and the rest is counted."""
    counts = np.eye(60, dtype=int) * 9
    counts[50, 3] = 4
    counts[7, 50] = 2
    html = report.confusion([f"label {i}" for i in range(60)], counts, most=3)
    assert re.findall(r'scope="row"><bdi>([^<]*)', html) == ["label 3", "label 7", "label 50"]
    assert "57 are left out" in html


def test_a_drawing_is_named_and_its_ids_are_its_own() -> None:
    """An SVG loses what is not the drawing; two on a page do not share an id."""
    svg = (
        '<?xml version="1.0"?><!DOCTYPE svg><svg viewBox="0 0 1 1"><metadata>x</metadata>'
        '<defs><style>*{color:red}</style><path id="a" d="M0 0"/></defs>'
        '<use xlink:href="#a" clip-path="url(#b)"/><text>id="a"</text></svg>\n'
    )
    one = report.figure(svg, label='the "curve"', caption="Drawn <by> us.")
    other = report.figure(svg.replace("M0 0", "M1 1"))
    (first,) = re.findall(r'<path id="([^"]+)"', one)
    assert first not in other
    assert f'xlink:href="#{first}"' in one
    assert 'aria-label="the &#34;curve&#34;"' in one
    assert "Drawn &lt;by&gt; us." in one
    assert '>id="a"</text>' in one
    for gone in ("<?xml", "<!DOCTYPE", "metadata", "<style"):
        assert gone not in one
    with pytest.raises(ValueError, match="no <svg>"):
        report.figure("nothing")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> Path:
    """An empty folder to work in; no test sees this machine's settings, nor fetches a model."""
    for name in [name for name in os.environ if name.startswith("SIGLIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CACHE_DIR": str(cache), "RUNTIME": "torch", "DEVICE": "cpu", "OFFLINE": "1",
                        "PRECISION": "fp32"}.items():  # fmt: skip
        monkeypatch.setenv(f"SIGLIP_{name}", value)
    monkeypatch.setattr("siglipcli.encoders.openvino_library.is_installed", lambda: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    """Run `siglip classify ARGUMENTS --model demo`."""
    return CliRunner().invoke(
        app, ["classify", *map(str, arguments), "--model", "demo"], input=stdin
    )


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize("options", [["-k", "1"], ["--all"], ["-t", "0.9", "-k", "40"]])
def test_a_report_changes_no_answer(here: Path, form: str, options: list[str]) -> None:
    """The answers are the same byte for byte, with and without --report."""
    here.joinpath("negative.yaml").write_text(
        "labels: [red circle, {name: blue heart, negative: true}, {name: green star, threshold: 0.1}]"
    )
    words = [
        demo.IMAGES,
        "gone.png",
        "-l",
        demo.LABELS,
        "-l",
        "negative.yaml",
        "-f",
        form,
        *options,
    ]
    plain = run(*words)
    with_report = run(*words, "--report", "a.html")
    assert with_report.stdout_bytes == plain.stdout_bytes
    assert with_report.exit_code == plain.exit_code == 1
    page = read("a.html")
    assert len(page.data("rows")) == 8
    assert len(page.thumbs()) == 8
    assert "gone.png" in page.text
    assert "No such file or folder." in page.text


def test_a_report_goes_with_an_output_file(here: Path) -> None:
    """-o and --report write both files, and nothing goes to stdout."""
    result = run(HEART, *THREE, "-o", "a.csv", "--report", "a.html")
    assert result.stdout == ""
    assert "blue heart" in Path("a.csv").read_text()
    assert read("a.html").data("about")["labels"] == ["blue heart", "green star", "red circle"]


def test_a_image_on_stdin_has_a_thumbnail(here: Path) -> None:
    """`-` is shown like any other image."""
    run("-", *THREE, "--report", "a.html", stdin=Path(HEART).read_bytes())
    page = read("a.html")
    assert page.data("rows")[0][0] == "-"
    assert opened(page.thumbs()[0]).size[0] > 100


def test_saved_vectors_have_thumbnails_where_their_images_are(here: Path) -> None:
    """--from needs no images: those that are there are shown, the others have a placeholder."""
    for name in (HEART, STAR):
        Path(Path(name).name).write_bytes(Path(name).read_bytes())
    embed = ["embed", "blue-heart.jpg", "green-star.png", "-o", "v.npz", "--model", "demo"]
    assert CliRunner().invoke(app, embed).exit_code == 0
    Path("green-star.png").unlink()
    result = run("--from", "v.npz", *THREE, "--report", "a.html")
    assert result.exit_code == 0
    assert [each is None for each in read("a.html").thumbs()] == [False, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "--report", "a.png"], "should end in .html"),
        (["link.html", "--report", "list.html"], "is one of the inputs"),
        (["--files-from", "list.html", "--report", "list.html"], "is one of the inputs"),
        (["a.png", "-l", "list.html", "--report", "./list.html"], "is one of the inputs"),
        (["a.png", "-o", "b.html", "-f", "csv", "--report", "./b.html"], "--output are both"),
        (["a.png", "--report", "-"], "should end in .html"),
        (["a.png", "--report", "/dev/stdout"], "should end in .html"),
        (["a.png", "--report", "b.html", "--report-thumbs", "-1"], "--report-thumbs"),
    ],
)
def test_a_report_takes_the_place_of_no_input(here: Path, words: list[str], message: str) -> None:
    """A report that would overwrite what the run reads or writes is refused before any work."""
    content = Path(image(here / "a.png")).read_bytes()
    Path("link.html").symlink_to("list.html")
    Path("list.html").write_text("a.png\n")
    result = run(*words, *THREE)
    assert result.exit_code == 2
    assert message in result.stderr
    assert Path("a.png").read_bytes() == content
    assert Path("list.html").read_text() == "a.png\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [("folder.html", "is a folder"), ("nowhere/a.html", "its folder does not exist")],
)
def test_a_report_that_cannot_be_written_is_said_before_the_work(
    here: Path, target: str, message: str
) -> None:
    """A folder in its place, or none to put it in: status 3, one line, no answers."""
    Path("folder.html").mkdir()
    result = run(HEART, *THREE, "--report", target)
    assert result.exit_code == 3
    assert result.stderr.startswith("siglip: write error: ")
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_old_report_stays_until_the_new_one_is_whole(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """A run that is cut short leaves the old page and nothing else."""

    def stop(*_: Any) -> None:
        raise error

    old = '<!doctype html><meta content="require-trusted-types-for">'
    Path("a.html").write_text(old)
    monkeypatch.setattr(Tally, "add", stop)
    run(HEART, STAR, *THREE, "--report", "a.html")
    assert Path("a.html").read_text() == old
    assert [path.name for path in here.iterdir()] == ["a.html"]


def test_a_title_names_what_was_read(here: Path) -> None:
    """The heading has the first inputs' names."""
    run(HEART, STAR, HEART, STAR, *THREE, "--report", "a.html", "--report-thumbs", "1")
    text = read("a.html").text
    assert f"{HEART}, {STAR}, {HEART} and 1 more" in text
    assert "Only the first 1 image has a thumbnail." in text


def test_without_a_report_its_code_is_not_loaded(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that writes no page does not pay for one."""
    monkeypatch.setitem(sys.modules, "siglipcli.outputs.html", None)  # importing it would raise
    assert run(HEART, *THREE).exit_code == 0
    assert isinstance(run(HEART, *THREE, "--report", "a.html").exception, ImportError)


def test_the_stream_is_written_in_pieces(tmp_path: Path) -> None:
    """A page of many thumbnails goes out piece by piece, and into a file as any output does."""
    results = [Prediction(image(tmp_path / "a.png"), ())] * 200
    header = report.ReportHeader("demo", title="many", label_sets=[PETS], load_options=AS_IT_IS)
    with outputs.opened("html", tmp_path / "a.html", header) as sink:
        for result in results:
            sink.write(result)
    page = read(tmp_path / "a.html")
    assert len(page.thumbs()) == 200
    assert all(page.thumbs())


def test_a_page_of_many_rows_is_never_held_whole() -> None:
    """However many images there are, the page goes out in pieces no longer than its own script."""

    class Longest(io.StringIO):
        longest = 0

        def write(self, text: str, /) -> int:
            self.longest = max(self.longest, len(text))
            return super().write(text)

    def longest(count: int) -> int:
        stream = Longest()
        header = report.ReportHeader(
            "demo", title="", label_sets=[PETS], load_options=AS_IT_IS, thumbs=0
        )
        with closing(report.ReportSink(stream, header)) as sink:
            for i in range(count):
                sink.write(Prediction(f"{i}.png", ()))
        assert len(read_rows(stream.getvalue())) == count
        return stream.longest

    assert longest(4000) == longest(1)


def read_rows(text: str) -> list[Any]:
    rows: list[Any] = Page(text).data("rows")
    return rows


def test_a_report_takes_predictions_only(tmp_path: Path) -> None:
    """A match of a search is refused at once, by its name; of a run that failed there is no page."""
    header = report.ReportHeader("demo", title="", label_sets=[PETS], load_options=AS_IT_IS)
    opening = outputs.opened("html", tmp_path / "a.html", header)
    with pytest.raises(TypeError, match="not Match"), opening as sink:
        sink.write(Match("a.png", 1, 0.5, 0.1))
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_the_page_is_said(here: Path) -> None:
    """--report-limit 1: the page and stderr say that another image is not in it."""
    result = run(HEART, STAR, *THREE, "--report", "a.html", "--report-limit", "1")
    assert result.exit_code == 0
    assert "1 more are not in it (--report-limit)" in result.stderr
    page = read("a.html")
    assert [row[0] for row in page.data("rows")] == [HEART]
    assert "1 more are not." in page.text


def test_notes_stand_above_the_images() -> None:
    """What a reader must know of the run is said on the page, as text."""
    page = written([], notes=["Fitted for <another> model."])
    assert "Fitted for <another> model." in page.text


def test_names_lead_to_the_originals(here: Path) -> None:
    """The page knows the way to the images from where it lies, relative where the names are."""
    Path("out").mkdir()
    run(HEART, *THREE, "--report", "out/a.html")
    about = read("out/a.html").data("about")
    assert about["base"] == ".."
    assert (Path("out") / (about["root"] + HEART)).samefile(HEART)
