"""The server's page in a browser: what it shows is what the API says, and who can use it."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from browser import chromium, colours, console, requests, size, tree
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from serve_fixture import Server
from settings import with_engine

from siglipcli import demo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

KEY = "a key for tests 0123456789".replace(" ", "-")
HEART, STAR = demo.IMAGES / "blue-heart.jpg", demo.IMAGES / "green-star.png"
LABELS = ["red circle", "blue heart", "green star", "white cross"]
SHAPES = """
name: shapes
description: Drawn shapes
exclusive: true
labels: [heart, star, {name: circle, threshold: 0.9}, {name: nothing drawn, negative: true}]
"""
SHAPE_LABELS = ["heart", "star", "circle", "nothing drawn"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Server]:
    """A server with a key and a label set of its own."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "shapes.yaml").write_text(SHAPES)
    (folder / "keys").write_text(KEY)
    arguments = ("--labels", "shapes.yaml", "--api-key-file", "keys")
    with Server(folder, arguments, with_engine(prepared, folder / "cache")) as running:
        yield running


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(chrome: Chrome, server: Server) -> Iterator[Chrome]:
    """The page, freshly loaded on a desktop, with the key; whatever the test does, the console stays clean."""
    size(chrome, 1280, 900)
    colours(chrome, "light")
    chrome.get(f"{server.url}/docs")  # of the same origin
    chrome.execute_script("sessionStorage.setItem('siglip-key', arguments[0])", KEY)
    chrome.get(f"{server.url}/")
    begun(chrome)
    requests(chrome)
    console(chrome)
    yield chrome
    assert console(chrome) == []


def at(chrome: Chrome, css: str) -> WebElement:
    return chrome.find_element(By.CSS_SELECTOR, css)


def wait(chrome: Chrome, condition: Any) -> None:
    WebDriverWait(chrome, 20, poll_frequency=0.05).until(lambda _: condition())


def texts(chrome: Chrome, css: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    return list(chrome.execute_script(script, css))


def begun(chrome: Chrome) -> None:
    """Wait until the page knows the sets and the model: as it learns them it scores a chosen image anew."""
    wait(chrome, lambda: at(chrome, "#model").text == "demo")
    assert chrome.find_elements(By.CSS_SELECTOR, "#set option:nth-child(2)")


def choose(chrome: Chrome, *images: Path) -> None:
    at(chrome, "#file").send_keys("\n".join(map(str, images)))


def labelled(chrome: Chrome, labels: list[str]) -> None:
    """Wait until these labels are shown and no other, in any order, and no request is under way."""
    wait(
        chrome,
        lambda: (
            sorted(texts(chrome, "#tables tbody th bdi")) == sorted(labels)
            and at(chrome, "#scores").get_attribute("aria-busy") == "false"
        ),
    )


def shown(chrome: Chrome) -> list[tuple[str, str, str, bool]]:
    """The rows of the tables: label, score, softmax, whether it is marked as a tag."""
    rows = zip(
        texts(chrome, "#tables tbody th bdi"),
        texts(chrome, "#tables tbody .value:not(.softmax)"),
        texts(chrome, "#tables tbody .softmax"),
        texts(chrome, "#tables tbody .is"),
        strict=True,
    )
    return [(label, score, softmax, mark == "✓ tag") for label, score, softmax, mark in rows]


def classified(server: Server, image: Path, **fields: Any) -> list[dict[str, Any]]:
    """What the API says of an image."""
    content = base64.b64encode(image.read_bytes()).decode()
    body = {"input": [{"image": content}], **fields}
    reply = server.post("/v1/classify", body, {"Authorization": f"Bearer {KEY}"})
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["data"][0]["predictions"]
    return found


def number(score: float) -> str:
    """A score as pages write it."""
    if 0.9995 <= score < 1:
        return ">0.999"
    if score == 0 or score >= 0.001:
        return f"{score:.3f}"
    digits, exponent = f"{score:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def expected(predictions: list[dict[str, Any]]) -> list[tuple[str, str, str, bool]]:
    return [
        (each["label"], number(each["score"]), number(each["softmax"]), each["tag"])
        for each in predictions
    ]


def type_labels(chrome: Chrome, text: str) -> None:
    """Put the text there at once: a stall between two keys would score what is typed so far."""
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    chrome.execute_script(script, at(chrome, "#labels"), text)


def scored(chrome: Chrome, image: Path = HEART, labels: list[str] = LABELS) -> None:
    choose(chrome, image)
    type_labels(chrome, "\n".join(labels))
    labelled(chrome, labels)


# --- scores ---------------------------------------------------------------------------------------


def test_a_chosen_image_has_the_scores_of_the_api(page: Chrome, server: Server) -> None:
    """Labels on lines or between commas are scored, the best first, with the numbers and tags of the API."""
    choose(page, HEART)
    type_labels(page, "red circle, blue heart\n\n green star ,\nwhite cross\nblue heart")
    labelled(page, LABELS)
    assert shown(page) == expected(classified(server, HEART, labels=LABELS))
    assert shown(page)[0][0] == "blue heart"
    assert shown(page)[0][3]
    assert at(page, "#model").text == "demo"
    assert at(page, "#name").text == "blue-heart.jpg"
    assert at(page, "#image").get_property("naturalWidth") > 0
    wait(page, lambda: "Best: blue heart" in at(page, "#live").get_attribute("textContent"))


def test_bars_are_as_long_as_scores(page: Chrome, server: Server) -> None:
    """A bar's part of its line is the sigmoid score."""
    scored(page)
    script = "return [...document.querySelectorAll('#tables .drawn')].map((bar) => +bar.style.getPropertyValue('--part'))"
    scores = [each["score"] for each in classified(server, HEART, labels=LABELS)]
    assert page.execute_script(script) == pytest.approx(scores)


def test_labels_are_scored_while_they_are_typed(page: Chrome) -> None:
    """Each pause in the typing scores what is there; taking all labels away takes the scores away."""
    choose(page, HEART)
    field = at(page, "#labels")
    for count, label in enumerate(LABELS, 1):
        field.send_keys(f"{label}\n")
        labelled(page, LABELS[:count])
    field.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    labelled(page, [])
    assert "Type labels" in at(page, "#waiting").text


def test_a_late_reply_is_dropped(page: Chrome) -> None:
    """A reply to an older question that arrives after a newer one is not shown."""
    choose(page, HEART)
    page.execute_script("""
        const real = window.fetch;
        const held = new Promise((go) => { window.release = go; });
        let calls = 0;
        window.fetch = async (path, options) => {
          const isLate = path.includes("classify") && (calls += 1) === 1;
          if (!isLate) return real(path, options);
          await held;
          const reply = await real(path, { ...options, signal: null });
          const json = reply.json.bind(reply);
          reply.json = async () => {
            const content = await json();
            setTimeout(() => { window.late = true; }); // a task: what the page does with the reply comes first
            return content;
          };
          return reply;
        };
    """)
    type_labels(page, "green star")
    wait(page, lambda: at(page, "#scores").get_attribute("aria-busy") == "true")
    type_labels(page, "green star\nblue heart\nred circle")
    labelled(page, LABELS[:3])
    page.execute_script("window.release()")
    wait(page, lambda: page.execute_script("return window.late"))
    labelled(page, LABELS[:3])
    assert shown(page)[0][0] == "blue heart"


def test_an_image_is_encoded_once(page: Chrome, server: Server) -> None:
    """New labels for an image that is there cost no second encoding."""
    scored(page, STAR)
    before = encoded(server)
    for count in (3, 2, 1):
        type_labels(page, "\n".join(LABELS[:count]))
        labelled(page, LABELS[:count])
    assert encoded(server) == before


def encoded(server: Server) -> float:
    text = server.get("/metrics", Authorization=f"Bearer {KEY}").body.decode()
    (line,) = [each for each in text.splitlines() if each.startswith("siglip_images_encoded_total")]
    return float(line.split()[-1])


def test_a_label_set_is_picked(page: Chrome, server: Server) -> None:
    """The server's own sets come first, then the built-in ones; a long one shows its best labels, then all."""
    choose(page, HEART)
    sets = texts(page, "#set option")
    assert sets[:2] == ["labels that I type", "shapes"]
    assert {"animals", "everyday"} <= set(sets)
    at(page, "#set option[value=shapes]").click()
    labelled(page, SHAPE_LABELS)
    assert shown(page) == expected(shapes(server, "shapes"))
    assert at(page, "#about-set").text == "Drawn shapes: 4 labels."
    assert not at(page, "#labels").is_displayed()
    at(page, "#set option[value=animals]").click()
    animals = expected(classified(server, HEART, label_sets=["animals"], negatives=True))
    labelled(page, [label for label, *_ in animals[:12]])
    assert shown(page) == animals[:12]
    at(page, "#all").click()
    assert shown(page) == animals
    at(page, "#set option:first-child").click()
    assert at(page, "#labels").is_displayed()


@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.999])
def test_one_threshold_for_all_labels(page: Chrome, server: Server, threshold: float) -> None:
    """A moved threshold marks the tags that it would give, by the set's rules, whatever labels' own are."""
    choose(page, HEART)
    at(page, "#set option[value=shapes]").click()
    labelled(page, SHAPE_LABELS)
    at(page, "#exact").send_keys(str(threshold))
    flat = {"name": "shapes", "exclusive": True, "threshold": threshold}
    flat["labels"] = ["heart", "star", "circle", {"name": "nothing drawn", "negative": True}]
    rows = expected(shapes(server, flat))
    wait(page, lambda: shown(page) == rows)
    assert at(page, "#threshold-value").text == str(threshold)
    reset = at(page, "#own")
    reset.click()
    assert shown(page) == expected(shapes(server, "shapes"))
    assert not reset.is_displayed()


def shapes(server: Server, label_set: Any) -> list[dict[str, Any]]:
    """What the API says of the heart, labels that are never tags too."""
    return classified(server, HEART, label_sets=[label_set], negatives=True)


def test_the_slider_moves_the_threshold(page: Chrome) -> None:
    """Keys on the slider move it, a line on the bars follows, and a screen reader hears the value."""
    scored(page)
    slider = at(page, "#threshold")
    seen = []
    for key in (Keys.ARROW_RIGHT, Keys.HOME, Keys.END):
        slider.send_keys(key)
        value = float(at(page, "#threshold-value").text)
        assert slider.get_attribute("aria-valuetext") == f"threshold {value:g}"
        line = page.execute_script(
            "return document.querySelector('#tables table').style.getPropertyValue('--limit')"
        )
        assert math.isclose(float(line), value)
        seen.append(value)
    assert seen[1:] == [0.001, 0.999]


# --- images ---------------------------------------------------------------------------------------

GIVE = """
const [event, name, content] = arguments;
const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name, { type: name.endsWith("png") ? "image/png" : "text/plain" }));
const made = event === "paste"
  ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
  : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
document.querySelector("#drop").dispatchEvent(made);
return made.defaultPrevented;
"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(page: Chrome, event: str) -> None:
    """An image that is dropped or pasted on the page is scored, and the browser does not go to it."""
    type_labels(page, "\n".join(LABELS))
    content = base64.b64encode(STAR.read_bytes()).decode()
    assert page.execute_script(GIVE, event, "star.png", content)
    labelled(page, LABELS)
    assert shown(page)[0][0] == "green star"
    assert at(page, "#name").text == "star.png"


def test_what_is_no_image_is_said_softly(page: Chrome) -> None:
    """A dropped text file brings a sentence, and the page goes on."""
    page.execute_script(GIVE, "drop", "notes.txt", base64.b64encode(b"words").decode())
    assert at(page, "#error").text == "That is no image."
    scored(page)
    assert not at(page, "#error").is_displayed()


def test_several_images_are_kept(page: Chrome, server: Server) -> None:
    """Images that were chosen together stay at hand, labels stay as they are, and one click shows another."""
    choose(page, HEART, STAR)
    type_labels(page, "\n".join(LABELS))
    labelled(page, LABELS)
    buttons = page.find_elements(By.CSS_SELECTOR, "#strip button")
    assert [each.get_attribute("aria-label") for each in buttons] == [HEART.name, STAR.name]
    assert [each.get_attribute("aria-pressed") for each in buttons] == ["true", "false"]
    wait(page, lambda: len(texts(page, "#strip canvas")) == 2)
    buttons[1].click()
    wait(page, lambda: shown(page) == expected(classified(server, STAR, labels=LABELS)))
    assert [each.get_attribute("aria-pressed") for each in buttons] == ["false", "true"]


def test_a_broken_image_is_said_softly(page: Chrome, tmp_path: Path) -> None:
    """An image that cannot be decoded brings the server's sentence in place of scores."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(HEART.read_bytes()[:900])
    type_labels(page, "\n".join(LABELS))
    choose(page, broken)
    wait(page, lambda: at(page, "#error").is_displayed())
    assert at(page, "#error").get_attribute("role") == "alert"
    assert at(page, "#error").text
    assert shown(page) == []
    choose(page, HEART)
    labelled(page, LABELS)
    assert not at(page, "#error").is_displayed()


# --- keys -----------------------------------------------------------------------------------------


def test_the_key_is_asked_for_and_kept_in_the_tab(page: Chrome, server: Server) -> None:
    """Without a key the page asks; a wrong one is refused; the right one is in this tab's storage alone."""
    page.execute_script("sessionStorage.clear()")
    page.get(f"{server.url}/")
    wait(page, lambda: at(page, "#ask").get_property("open"))
    field = at(page, "#key")
    assert page.switch_to.active_element == field
    assert not at(page, "#refused").is_displayed()
    field.send_keys("not this one", Keys.ENTER)
    wait(page, lambda: at(page, "#refused").is_displayed())
    at(page, "#key").send_keys(KEY, Keys.ENTER)
    wait(page, lambda: not at(page, "#ask").get_property("open"))
    begun(page)
    scored(page)
    stored = (
        "return [JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]"
    )
    assert page.execute_script(stored) == [
        json.dumps({"siglip-key": KEY}, separators=(",", ":")),
        "{}",
        "",
    ]
    at(page, "#forget").click()
    wait(page, lambda: at(page, "#ask").get_property("open"))
    refused = [line for line in console(page) if "401" not in line]
    assert refused == []


# --- who can use it -------------------------------------------------------------------------------


def test_nothing_leaves_the_server(page: Chrome, server: Server) -> None:
    """All that the page asks for comes from its own server, and its policy lets in nothing else."""
    page.get(f"{server.url}/")
    begun(page)
    scored(page)
    asked = [address for address in requests(page) if not address.startswith("blob:")]
    assert asked
    assert all(address.startswith(server.url + "/") for address in asked)
    policy = server.get("/", Accept="text/html").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    blocked = page.execute_async_script(
        "fetch('http://127.0.0.1:9/').then(() => 0, () => 1).then(arguments[0])"
    )
    assert blocked
    lines = console(page)  # the browser says that the policy has stopped it
    assert lines
    assert all("Content Security Policy" in line for line in lines)


def test_dark_and_light(page: Chrome) -> None:
    """The page follows the reader's preference, and text stays readable: a contrast of 4.5 at least."""
    scored(page)
    papers = set()
    for scheme in ("light", "dark"):
        colours(page, scheme)
        paper = channels(page, "html", "background-color")
        papers.add(paper)
        for css in (".help", "#tables tbody tr.tag th", "#tables .softmax", "label"):
            assert contrast(channels(page, css, "color"), paper) >= 4.5, (scheme, css)
    assert len(papers) == 2


def channels(chrome: Chrome, css: str, name: str) -> tuple[int, ...]:
    value = at(chrome, css).value_of_css_property(name)
    return tuple(int(part) for part in value.partition("(")[2].rstrip(")").split(",")[:3])


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """The contrast of two sRGB colours, as WCAG defines it."""

    def luminance(colour: tuple[int, ...]) -> float:
        parts = [part / 255 for part in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_keyboard_is_enough(page: Chrome) -> None:
    """Tab goes from the skip link through every control in reading order, each with a visible focus."""
    press(page, Keys.TAB)
    first = page.switch_to.active_element
    assert first.text == "Skip to the scores"
    assert first.rect["x"] >= 0
    walked = []
    for _ in range(9):
        press(page, Keys.TAB)
        here = page.switch_to.active_element
        walked.append(here.get_attribute("id") or here.text)
    order = ["HTTP API", "forget", "file", "set", "labels", "threshold", "exact"]
    assert [each for each in walked if each in order] == order
    page.execute_script("document.querySelector('#set').focus()")
    ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert page.switch_to.active_element == at(page, "#file")
    assert at(page, "label[for=file]").value_of_css_property("outline-style") == "solid"


def press(chrome: Chrome, key: str) -> None:
    ActionChains(chrome).send_keys(key).perform()


def test_a_screen_reader_is_told_everything(page: Chrome) -> None:
    """Controls have names, the table has headers, and the image is called by its file's name."""
    scored(page)
    nodes = {(node["role"], node["name"]) for node in tree(page)}
    for role, name in (
        ("textbox", "Labels, one per line"),
        ("combobox", "Score against"),
        ("slider", "Threshold"),
        ("spinbutton", "Exact threshold"),
        ("image", "blue-heart.jpg"),
        ("rowheader", "blue heart"),
        ("columnheader", "score"),
        ("region", "Scores"),
    ):
        assert (role, name) in nodes, (role, name)


def test_a_phone_shows_all_of_it(page: Chrome) -> None:
    """At 320 pixels nothing is cut off or scrolls sideways, and the scores follow the labels."""
    scored(page)
    size(page, 320, 800)
    width = "return document.documentElement.scrollWidth"
    assert page.execute_script(width) <= 320
    assert at(page, "#scores").rect["y"] > at(page, "#labels").rect["y"]
    assert at(page, "#tables tbody .value").is_displayed()
