"""The HTML report in a browser: what it counts, how it is used, who can use it."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from browser import chromium, colours, console, requests, size, tree
from PIL import Image
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from siglipcli import outputs, scoring
from siglipcli.labels import Label, LabelSet
from siglipcli.outputs import html as report
from siglipcli.pipeline import LoadOptions
from siglipcli.results import Failure, Head, Prediction, Source
from siglipcli.scoring import LabelEmbeddings, ScoringOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

PETS = LabelSet(
    "pets",
    (
        Label("cat", ("cat",), 0.6),
        Label("dog", ("dog",)),
        Label("bird/owl", ("owl",), 0.05),
        Label("no animal", ("none",), negative=True),
    ),
    threshold=0.3,
)
PLACES = LabelSet(
    "places", (Label("indoors", ("in",)), Label("outdoors", ("out",))), exclusive=True
)
SETS = [PETS, PLACES]
COUNT = 230  # more than two pages
ODD = [
    "</script><script>document.title='run'</script>.png",
    "<img src=x onerror=\"document.title='run'\">.png",
    "a \"b\" 'c' & <i>d</i>.png",
    "\x1b[31mred\n\t.png",
    "right\u202eto\u2066left.png",
    "שלום עולם.png",
    os.fsdecode(b"not-utf8-\xff.png"),
]
PAGE = 96  # cards on one page


def logits(count: int, labels: int, seed: int = 7) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-6, 5, (count, labels)).astype(np.float32)


RAW = logits(COUNT, 6)
NAMES = [f"photos/{i % 7}/image {i}.png" for i in range(COUNT)]


def scored(
    raw: NDArray[np.float32], sets: Sequence[LabelSet], sources: Sequence[Source]
) -> Iterator[Prediction]:
    """Predictions whose logits are the columns of `raw`, set after set."""
    wide = report.widened(ScoringOptions(), sets)
    ranked, start = [], 0
    for each in sets:
        n = len(each.labels)
        label_embeddings = LabelEmbeddings(each, np.eye(n, dtype=np.float32), np.arange(n))
        ranked.append(
            scoring.rank(raw[:, start : start + n], label_embeddings, Head(1.0, 0.0), wide)
        )
        start += n
    for source, *scores in zip(sources, *ranked, strict=True):
        found = tuple(score for part in scores for score in part)
        yield Prediction(source.name, found, source=source)


def tags(threshold: float | None, raw: NDArray[np.float32] = RAW) -> NDArray[np.bool_]:
    """Which labels are tags, bool[n, n_labels], at the labels' own thresholds or at one for all."""
    found, start = [], 0
    for each in SETS:
        flat = each
        if threshold is not None:
            flat = replace(each, labels=tuple(replace(x, threshold=None) for x in each.labels))
        part = raw[:, start : start + len(each.labels)]
        found.append(
            scoring.tags(part, scoring.sigmoid(part), flat, ScoringOptions(threshold=threshold))
        )
        start += len(each.labels)
    return np.concatenate(found, axis=1)


def write(
    path: Path, results: Iterator[Prediction | Failure], sets: Sequence[LabelSet], **more: Any
) -> str:
    sections = more.pop("sections", ())
    header = report.ReportHeader(
        "demo", title="holiday", label_sets=sets, load_options=LoadOptions(isolate=False), **more
    )
    with outputs.opened("html", path, header) as sink:
        cast("report.ReportSink", sink).sections.extend(sections)
        for result in results:
            sink.write(result)
    return path.as_uri()


def drawn(folder: Path) -> Path:
    """A small image, wider than high."""
    path = folder / "drawn.png"
    Image.new("RGB", (120, 80), "orange").save(path)
    return path


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of 230 images, two label sets, three errors and a section."""
    folder = tmp_path_factory.mktemp("report")
    image = drawn(folder)
    sources = [Source(name, image) for name in NAMES]

    def results() -> Iterator[Prediction | Failure]:
        yield from scored(RAW, SETS, sources)
        for i in range(3):
            yield Failure(f"broken-{i}.jpg", "truncated", "The file is cut short.")

    table = report.confusion(["cat", "dog"], np.array([[8, 1], [2, 9]]))
    svg = '<svg viewBox="0 0 20 10"><path d="M0 10L20 0" style="stroke: currentColor"/></svg>'
    sections = [
        report.Section("Measures", report.metrics([("acc1", 0.75, "the best label is right")])),
        report.Section("Confusion", table, "What was taken for what."),
        report.Section("Curves", report.figure(svg, label="A curve", caption="Drawn.")),
    ]
    return write(folder / "a.html", results(), SETS, sections=sections, thumbs=200)


@pytest.fixture
def page(chrome: Chrome, address: str) -> Iterator[Chrome]:
    """The page, freshly loaded on a desktop; whatever the test does, the console stays clean."""
    yield from visit(chrome, address)


def visit(chrome: Chrome, address: str) -> Iterator[Chrome]:
    size(chrome, 1280, 900)
    colours(chrome, "light")
    chrome.get(address)
    requests(chrome)
    console(chrome)
    yield chrome
    assert console(chrome) == []
    chrome.execute_script("localStorage.clear()")  # type: ignore[no-untyped-call]


def at(chrome: Chrome, css: str) -> WebElement:
    return chrome.find_element(By.CSS_SELECTOR, css)


def texts(chrome: Chrome, css: str) -> list[str]:
    """The text of every element that fits, as one call."""
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    return list(chrome.execute_script(script, css))


def names(chrome: Chrome) -> list[str]:
    """The names on the page's cards."""
    return texts(chrome, "#grid .name")


def counts(chrome: Chrome) -> dict[str, int]:
    """The label list: how many images have each tag."""
    labels = texts(chrome, "#labels .label")
    numbers = texts(chrome, "#labels .count")
    return {
        label.removesuffix(" pets").removesuffix(" places"): int(number.replace(",", ""))
        for label, number in zip(labels, numbers, strict=True)
    }


def expected(threshold: float | None) -> dict[str, int]:
    """What `counts` must be, by the program's own rules."""
    found = tags(threshold)
    paths = [label.path for each in SETS for label in each.labels]
    by_label = {path: int(n) for path, n in zip(paths, found.sum(axis=0), strict=True)}
    del by_label["no animal"]  # never a tag
    return {"all images": COUNT, "no tag": int((~found.any(axis=1)).sum())} | by_label


def wait(chrome: Chrome, condition: Any) -> None:
    WebDriverWait(chrome, 20, poll_frequency=0.05).until(lambda _: condition())


def type_threshold(chrome: Chrome, value: float) -> None:
    field = at(chrome, "#exact")
    field.clear()
    field.send_keys(str(value))


def focused(chrome: Chrome) -> WebElement:
    return chrome.switch_to.active_element


def press(chrome: Chrome, *keys: str) -> None:
    for key in keys:
        focused(chrome).send_keys(key)


# --- counts ---------------------------------------------------------------------------------------


def test_the_page_opens_with_the_tags_of_the_run(page: Chrome) -> None:
    """At first each label has its own threshold, and the counts are those of the run."""
    assert page.title == "holiday"
    assert at(page, "#summary").text == f"230 images, {int(tags(None).sum())} tags"
    assert counts(page) == expected(None)
    assert names(page) == NAMES[:PAGE]
    assert at(page, "#threshold-value").text == "labels’ own"
    assert "3 could not be read" in at(page, "header").text


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.91])
def test_one_threshold_for_all_labels(page: Chrome, threshold: float) -> None:
    """A typed threshold counts tags anew: negative labels and exclusive sets keep their rules."""
    type_threshold(page, threshold)
    assert counts(page) == expected(threshold)
    assert at(page, "#summary").text == f"230 images, {int(tags(threshold).sum())} tags"


def test_the_slider_moves_tags_and_counts(page: Chrome) -> None:
    """Keys on the slider move the threshold; each step counts anew, and the button goes back."""
    slider = at(page, "#threshold")
    seen = []
    for keys in (Keys.ARROW_RIGHT, Keys.PAGE_UP, Keys.HOME, Keys.END):
        before = at(page, "#threshold-value").text
        slider.send_keys(keys)
        wait(page, lambda before=before: at(page, "#threshold-value").text != before)
        value = float(at(page, "#threshold-value").text)
        wait(page, lambda value=value: sum(counts(page).values()) == sum(expected(value).values()))
        assert counts(page) == expected(value)
        assert slider.get_attribute("aria-valuetext") == f"threshold {value:g}"
        seen.append(value)
    assert seen[2:] == [0.001, 0.999]
    reset = at(page, "#own")
    reset.click()
    assert counts(page) == expected(None)
    assert not reset.is_enabled()
    assert focused(page) == slider


def test_what_a_card_says_follows_the_threshold(page: Chrome) -> None:
    """A card lists its tags, best first; one without shows its best label, marked as no tag."""
    type_threshold(page, 0.97)
    found = tags(0.97)
    for i in range(PAGE):
        lines = texts(page, f"#grid li:nth-child({i + 1}) .score.tag .label")
        assert len(lines) == min(3, int(found[i].sum()))
    bare = int(np.flatnonzero(~found.any(axis=1))[0])
    (line,) = texts(page, f"#grid li:nth-child({bare + 1}) .score")
    assert "no tag" in line


def test_the_change_is_told(page: Chrome) -> None:
    """A screen reader hears the new counts once the slider rests."""
    type_threshold(page, 0.5)
    told = f"230 images, {int(tags(0.5).sum())} tags, threshold 0.5"
    wait(page, lambda: at(page, "#live").get_attribute("textContent") == told)
    assert at(page, "#live").get_attribute("aria-live") == "polite"


# --- choosing and sorting -------------------------------------------------------------------------


def test_a_label_chooses_its_images(page: Chrome) -> None:
    """A label shows the images that have the tag, at any threshold; once more, all of them."""
    button = next(
        b for b in page.find_elements(By.CSS_SELECTOR, "#labels button") if "dog" in b.text
    )
    button.click()
    assert names(page) == [NAMES[i] for i in np.flatnonzero(tags(None)[:, 1])][:PAGE]
    assert texts(page, "#grid .scores > :first-child .label") == ["dog"] * len(names(page))
    assert button.get_attribute("aria-pressed") == "true"
    assert focused(page) == button
    type_threshold(page, 0.98)
    assert names(page) == [NAMES[i] for i in np.flatnonzero(tags(0.98)[:, 1])][:PAGE]
    button.click()
    assert names(page) == NAMES[:PAGE]


def test_a_label_stays_under_the_pointer(page: Chrome) -> None:
    """A press on a label ends the typing of a threshold: the list is sorted anew after the click."""
    type_threshold(page, 0.98)
    before = texts(page, "#labels .label")
    button = page.find_elements(By.CSS_SELECTOR, "#labels button")[2]
    ActionChains(page).click_and_hold(button).pause(0.2).release().perform()
    wait(page, lambda: texts(page, "#labels .label") != before)
    assert button.get_attribute("aria-pressed") == "true"
    assert len(names(page)) == int(button.find_element(By.CSS_SELECTOR, ".count").text)


def test_images_without_a_tag_can_be_looked_at(page: Chrome) -> None:
    """`no tag` shows what no label fits."""
    type_threshold(page, 0.98)
    at(page, "#labels li:nth-child(2) button").click()
    assert names(page) == [NAMES[i] for i in np.flatnonzero(~tags(0.98).any(axis=1))][:PAGE]


def test_a_name_is_searched_for(page: Chrome) -> None:
    """Text in the name, in any case; what fits nothing is said."""
    at(page, "#name").send_keys("IMAGE 12")
    assert names(page) == [name for name in NAMES if "image 12" in name]
    assert at(page, "#summary").text.startswith("11 of 230 images")
    at(page, "#name").send_keys("xyz")
    assert names(page) == []
    assert "No image fits" in at(page, "#nothing").text


def test_sorting(page: Chrome) -> None:
    """By name as people count, by the best score, and by the score of the chosen label."""
    best = np.delete(RAW, 3, axis=1).max(axis=1)  # a negative label is no answer
    by = {
        "name": sorted(range(COUNT), key=lambda i: (i % 7, i)),
        "best": list(np.argsort(-best, kind="stable")),
        "worst": list(np.argsort(best, kind="stable")),
    }
    for value, order in by.items():
        at(page, f"#sort [value={value}]").click()
        assert names(page) == [NAMES[i] for i in order][:PAGE], value
    assert not at(page, "#sort [value=label]").is_enabled()
    next(
        b for b in page.find_elements(By.CSS_SELECTOR, "#labels button") if "owl" in b.text
    ).click()
    at(page, "#sort [value=label]").click()
    tagged = [i for i in np.argsort(-RAW[:, 2], kind="stable") if tags(None)[i, 2]]
    assert names(page) == [NAMES[i] for i in tagged][:PAGE]


def test_errors_are_listed(page: Chrome) -> None:
    """What could not be read has a section of its own, with the reason."""
    rows = page.find_elements(By.CSS_SELECTOR, "#errors tbody tr")
    assert [row.text.split()[0] for row in rows] == [f"broken-{i}.jpg" for i in range(3)]
    assert "The file is cut short." in rows[0].text


def test_pages_are_turned(page: Chrome) -> None:
    """96 images are shown at a time; the last page has the rest, and the keyboard's place stays."""
    following = at(page, ".results .bar .pager button:last-child")
    following.click()
    assert names(page) == NAMES[PAGE : 2 * PAGE]
    press(page, Keys.ENTER)
    assert names(page) == NAMES[2 * PAGE :]
    assert "Page 3 of 3" in at(page, ".pager").text
    assert focused(page).get_attribute("aria-label") == "Previous page"  # there is no next


def test_thumbnails_come_when_they_are_near(page: Chrome) -> None:
    """Images far below have none yet; those without one in the file have a word in its place."""
    shown = "return document.querySelectorAll('#grid img').length"
    page.execute_script("document.getElementById('sheet').scrollIntoView()")
    wait(page, lambda: page.execute_script(shown) > 0)
    assert page.execute_script(shown) < PAGE
    first = at(page, "#grid img")
    wait(page, lambda: first.get_property("naturalWidth") == 120)
    assert first.get_property("naturalHeight") == 80
    at(page, "#name").send_keys("image 22")
    wait(page, lambda: len(texts(page, "#grid .none")) == 10)  # 220 to 229: beyond --report-thumbs
    assert page.execute_script(shown) == 1


# --- keyboard -------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(page: Chrome) -> None:
    """Tab walks from the skip link to the images; arrows, Enter and Escape do the rest."""
    press(page, Keys.TAB)
    assert focused(page).text == "Skip to the images"
    assert focused(page).rect["x"] >= 0  # to be seen
    press(page, Keys.ENTER, Keys.TAB)
    walked = []
    for _ in range(30):
        here = focused(page)
        outline = here.value_of_css_property("outline-style")
        assert outline == "solid", here.get_attribute("outerHTML")
        walked.append(here.get_attribute("id") or here.get_attribute("class") or here.tag_name)
        if here.get_attribute("class") == "card":
            break
        press(page, Keys.TAB)
    assert walked[:4] == ["threshold", "exact", "name", "sort"]
    assert walked[-1] == "card"
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    columns = len(at(page, "#grid").value_of_css_property("grid-template-columns").split())
    assert focused(page).find_element(By.CSS_SELECTOR, ".name").text == NAMES[1 + columns]
    press(page, Keys.END)
    assert focused(page).find_element(By.CSS_SELECTOR, ".name").text == NAMES[-1]
    press(page, Keys.HOME)
    assert focused(page).find_element(By.CSS_SELECTOR, ".name").text == NAMES[0]


def test_a_larger_view_has_all_scores(page: Chrome) -> None:
    """Enter opens an image with every label; arrows go on; Escape closes, and the place is kept."""
    at(page, ".card").send_keys(Keys.ENTER)
    view = at(page, "#view")
    assert view.get_property("open")
    assert focused(page).text == NAMES[0]
    labels = texts(page, "#view tbody th")
    assert sorted(labels) == ["bird/owl", "cat", "dog", "indoors", "no animal", "outdoors"]
    order = np.argsort(-RAW[0, :4], kind="stable")
    assert labels[:4] == [["cat", "dog", "bird/owl", "no animal"][i] for i in order]
    scores = [float(each) for each in texts(page, "#view tbody td:nth-child(2)")][:4]
    assert scores == pytest.approx(scoring.sigmoid(RAW[0, order]), abs=6e-4)
    assert at(page, "#view img").get_attribute("alt") == f"thumbnail of {NAMES[0]}"
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_RIGHT)
    assert at(page, "#view-name").text == NAMES[2]
    assert at(page, "#view-place").text == "3 of 230"
    press(page, Keys.ESCAPE)
    assert not view.get_property("open")
    assert focused(page).find_element(By.CSS_SELECTOR, ".name").text == NAMES[2]


def test_the_larger_view_keeps_the_focus_inside(page: Chrome) -> None:
    """Tab stays among its buttons; at the last image, what cannot go on cannot be pressed."""
    at(page, "#name").send_keys("image 229")
    at(page, ".card").send_keys(Keys.ENTER)
    assert not at(page, "#before").is_enabled()
    assert not at(page, "#after").is_enabled()
    press(page, Keys.TAB)
    assert focused(page) == at(page, "#close")
    press(page, Keys.ENTER)
    assert not at(page, "#view").get_property("open")
    assert focused(page).get_attribute("class") == "card"


# --- who can use it -------------------------------------------------------------------------------

CONTROLS = {
    *(
        "button",
        "link",
        "slider",
        "searchbox",
        "textbox",
        "spinbutton",
        "combobox",
        "image",
        "dialog",
    ),
    *(
        "table",
        "navigation",
        "search",
        "region",
        "checkbox",
        "option",
        "group",
        "DisclosureTriangle",
    ),
}


def test_a_screen_reader_is_told_what_everything_is(page: Chrome) -> None:
    """Every control, table, image and landmark has a name; the landmarks are there."""
    found = tree(page)
    nameless = [node for node in found if node["role"] in CONTROLS and not node["name"].strip()]
    assert nameless == []
    roles = {node["role"] for node in found}
    assert {"banner", "main", "contentinfo", "search", "navigation", "status"} <= roles
    by_role = {role: [n["name"] for n in found if n["role"] == role] for role in roles}
    assert by_role["slider"] == ["Threshold"]
    assert [n for n in by_role["heading"] if n] == [
        *("holiday", "Measures", "Confusion", "Curves", "Images", "Could not be read"),
    ]
    assert "A curve" in by_role["image"]
    assert any(name.startswith(NAMES[0]) for name in by_role["button"])


def test_the_larger_view_is_a_dialog_with_a_name(page: Chrome) -> None:
    """The dialog bears the image's name, its tables and buttons theirs."""
    at(page, ".card").click()
    found = tree(page)
    assert [n["name"] for n in found if n["role"] == "dialog"] == [NAMES[0]]
    assert [n for n in found if n["role"] in CONTROLS and not n["name"].strip()] == []
    assert {"pets", "places"} <= {n["name"] for n in found if n["role"] == "table"}


def image(chrome: Chrome) -> Image.Image:
    return Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("L")


def test_light_and_dark(page: Chrome) -> None:
    """The page takes the reader's colours, and is blank in neither."""
    light = image(page)
    colours(page, "dark")
    dark = image(page)
    for shot in (light, dark):
        low, high = shot.getextrema()
        assert high - low > 150
    assert np.median(np.asarray(light)) > 200
    assert np.median(np.asarray(dark)) < 60


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 has it."""

    def luminance(colour: str) -> float:
        parts = [float(each) / 255 for each in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Chrome, scheme: str) -> None:
    """Every kind of text stands out from the paper by 4.5 to 1 at least."""
    colours(page, scheme)
    script = "return getComputedStyle(document.querySelector(arguments[0])).color"
    paper = page.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    kinds = [
        "h1",
        ".top p",
        ".help",
        "#own",
        ".name",
        ".score.tag .value",
        "#errors td",
        "a[href]",
        "#low",
    ]
    for css in kinds:
        assert contrast(page.execute_script(script, css), paper) >= 4.5, css


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_screen_is_too_narrow(page: Chrome, width: int) -> None:
    """Nothing sticks out to the side, of the page or of the larger view."""
    size(page, width, 800)
    page.refresh()
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    page.execute_script("document.querySelector('.card').click()")
    assert page.execute_script("return document.getElementById('view').scrollWidth") <= width
    assert page.execute_script("return document.getElementById('labels').checkVisibility()") == (
        width > 800
    )


def test_nothing_moves(page: Chrome) -> None:
    """There is no animation, for those who asked for less motion and for all others."""
    durations = page.execute_script(
        "return [...document.querySelectorAll('*')].flatMap((each) => {"
        " const style = getComputedStyle(each);"
        " return [style.transitionDuration, style.animationName, style.scrollBehavior]; })"
    )
    assert set(durations) == {"0s", "none", "auto"}


def test_on_paper(page: Chrome) -> None:
    """Printed, there are images, all of them drawn, and no controls."""
    media = "Emulation.setEmulatedMedia"
    page.execute_cdp_cmd(media, {"media": "print"})
    assert not at(page, "#threshold").is_displayed()
    assert at(page, ".card").is_displayed()
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('#grid img').length") == PAGE
    page.execute_cdp_cmd(media, {"media": ""})


# --- what it must never do ------------------------------------------------------------------------


def test_nothing_is_fetched(chrome: Chrome, address: str) -> None:
    """Loading and using the page asks for the file itself and nothing else."""
    requests(chrome)
    chrome.get(address)
    at(chrome, ".card").click()
    assert at(chrome, "#view").get_property("open")
    assert set(requests(chrome)) == {address}
    assert console(chrome) == []


def test_the_policy_holds(page: Chrome) -> None:
    """Were a script to get in, it could neither fetch, nor add markup, nor run more script."""
    blocked = page.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const seen = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          seen.push(event.effectiveDirective);
          if (seen.length === 3) done(seen.sort());
        });
        new Image().src = "https://images.invalid/a.png";
        fetch("https://images.invalid/a.json").catch(() => {});
        const script = document.createElement("style");
        script.textContent = "body { display: none }";
        document.head.append(script);
        """
    )
    assert blocked == ["connect-src", "img-src", "style-src-elem"]
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.execute_script("document.body.innerHTML = '<b>x</b>'")
    assert len(console(page)) >= 3
    assert requests(page) == []


def test_names_are_text(chrome: Chrome, tmp_path: Path) -> None:
    """Markup, quotes, control characters, other scripts: each name is shown, none is obeyed."""
    image = drawn(tmp_path)
    sources = [Source(name, image) for name in ODD]
    odd = LabelSet("<i>set</i>", (Label("<b>cat</b>", ("c",)), Label("כלב", ("d",))))

    def results() -> Iterator[Prediction | Failure]:
        yield from scored(logits(len(ODD), 2), [odd], sources)
        yield from (Failure(name, "missing", f"Gone: {name}") for name in ODD)

    for shown in visit(chrome, write(tmp_path / "odd.html", results(), [odd])):
        assert shown.title == "holiday"
        assert names(shown) == [visible(name) for name in ODD]
        assert texts(shown, "#errors tbody th") == [visible(name) for name in ODD]
        assert "<b>cat</b>" in counts(shown)
        assert shown.find_elements(By.CSS_SELECTOR, "#sheet b, #sheet i, #errors img") == []
        at(shown, ".card").click()
        for name in ODD:
            assert at(shown, "#view-name").get_attribute("textContent") == visible(name)
            press(shown, Keys.ARROW_RIGHT)


# --- many -----------------------------------------------------------------------------------------


def test_five_thousand_images(chrome: Chrome, tmp_path: Path) -> None:
    """The document stays small however many images there are and wherever one looks; so does the file."""
    count = 5000
    large = LabelSet("large", tuple(Label(f"label {i}", ("x",)) for i in range(60)), threshold=0.8)
    raw = logits(count, 60) * 1.5 - 3
    image = drawn(tmp_path)
    sources = [Source(f"photos/{i}.png", image) for i in range(count)]
    failures = (Failure(f"bad/{i}.png", "missing", "Gone.") for i in range(1000))

    def results() -> Iterator[Prediction | Failure]:
        yield from scored(raw, [large], sources)
        yield from failures

    path = tmp_path / "many.html"
    address = write(path, results(), [large], thumbs=400)
    assert path.stat().st_size < 5_000_000

    def elements() -> int:
        return int(chrome.execute_script("return document.querySelectorAll('*').length"))

    most = 96 * 20 + 500 * 6 + 800  # cards, errors listed, the rest
    for shown in visit(chrome, address):
        assert "5,000 images" in at(shown, "#summary").text
        assert len(names(shown)) == PAGE
        assert elements() < most
        for value, is_whole in ((0.01, False), (0.95, True)):
            type_threshold(shown, value)
            assert at(shown, "#low").is_displayed() != is_whole
            found = int((scoring.sigmoid(raw) >= value).sum())
            assert (f"{found:,} tags" in at(shown, "#summary").text) == is_whole
            assert len(names(shown)) == PAGE
            assert elements() < most
        at(shown, "#sort [value=best]").click()
        at(shown, ".card").send_keys(Keys.END)
        assert len(names(shown)) == count % PAGE
        assert elements() < most
        at(shown, "#find").send_keys("label 3")
        assert len(counts(shown)) == 2 + 11
        assert elements() < most


# --- review ---------------------------------------------------------------------------------------


def asked(chrome: Chrome) -> tuple[str, str]:
    """The label and the image that the page proposes."""
    label = at(chrome, "#judge-question bdi").text
    return label, at(chrome, "#judge-name").text


@pytest.mark.full
def test_tags_are_reviewed_by_keyboard_and_saved(page: Chrome, tmp_path: Path) -> None:
    """✓ and ✗ by Y and N, U takes one back; the saved file has verdicts, reasons and weights."""
    page.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    assert not at(page, "#save-review").is_enabled()
    at(page, "#review").click()
    judged: dict[tuple[str, str], bool] = {}
    for i in range(60):
        judged[asked(page)] = i % 3 != 0
        press(page, "y" if i % 3 else "n")
    assert len(judged) == 60
    last = asked(page)
    press(page, "s")
    assert asked(page) != last
    press(page, "y", "u")
    assert at(page, "#judge-count").text == "60 verdicts"
    press(page, Keys.ESCAPE)
    at(page, "#save-review").click()
    wait(page, (tmp_path / "review.json").exists)
    saved = json.loads((tmp_path / "review.json").read_text())
    assert (saved["version"], saved["model"], saved["label_sets"]) == (
        1,
        "demo",
        ["pets", "places"],
    )
    assert {(x["label"], x["file"]): x["verdict"] for x in saved["items"]} == judged
    check_sampling(saved["items"])


def check_sampling(items: list[dict[str, Any]]) -> None:
    """Near a label's threshold first, a random share beside; a weight is what a verdict stands for."""
    assert {x["label"] for x in items} == {"cat", "dog", "bird/owl", "indoors", "outdoors"}
    assert 0.2 < sum(x["reason"] == "random" for x in items) / len(items) < 0.5
    columns = ["cat", "dog", "bird/owl", "no animal", "indoors", "outdoors"]
    limits = {"cat": 0.6, "bird/owl": 0.05, "indoors": 0.2, "outdoors": 0.2}
    strata: dict[tuple[str, str], list[float]] = {}
    for x in items:
        limit = limits.get(x["label"], 0.3)
        value = RAW[NAMES.index(x["file"]), columns.index(x["label"])]
        assert (abs(value - np.log(limit / (1 - limit))) <= 1.5 + 1e-4) == (x["reason"] == "near")
        strata.setdefault((x["label"], x["reason"]), []).append(x["weight"])
    for label in limits:
        kept = sum(sum(strata.get((label, reason), [])) for reason in ("near", "random"))
        assert kept == pytest.approx(COUNT)  # all pairs of the label that the page lists


def test_a_review_goes_on_after_a_reload(page: Chrome) -> None:
    """Verdicts are kept in the page, and none is asked for twice."""
    at(page, "#review").click()
    first = asked(page)
    press(page, "y", Keys.ESCAPE)
    page.refresh()
    assert at(page, "#reviewed").text == "· 1"
    at(page, "#review").click()
    assert asked(page) != first


def test_a_chosen_label_alone_is_reviewed(page: Chrome) -> None:
    """With a label chosen, only that one is asked about."""
    page.find_elements(By.CSS_SELECTOR, "#labels li button")[2].click()
    label = page.find_elements(By.CSS_SELECTOR, "#labels li button .label")[2].text
    at(page, "#review").click()
    for _ in range(5):
        assert asked(page)[0] in label
        press(page, "n")


def test_the_filtered_names_are_copied(page: Chrome) -> None:
    """What is shown can be pasted elsewhere, one name per line."""
    page.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    names = [name for name in NAMES if "image 22" in name]
    # the button says so for two seconds only, which a slow machine may miss: it is written down
    page.execute_script("""
        const button = document.getElementById("copy");
        window.texts = [];
        new MutationObserver(() => window.texts.push(button.textContent)).observe(button, { childList: true });
    """)
    at(page, "#name").send_keys("image 22")
    wait(page, lambda: live(page).startswith(f"{len(names)} of "))  # else it would replace "copied"
    at(page, "#copy").click()
    wait(page, lambda: live(page) == f"{len(names)} names copied")
    wait(page, lambda: page.execute_script("return window.texts[0]") == "Copied")
    text = page.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert text.splitlines() == names


def live(chrome: Chrome) -> str:
    """What a screen reader was told last."""
    return str(at(chrome, "#live").get_attribute("textContent"))
