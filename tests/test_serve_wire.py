"""Requests become records or errors that name a field, whatever is sent; scores become JSON that fits."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from siglipcli.results import Failure, Prediction, Score
from siglipcli.scoring import ScoringOptions
from siglipcli.serve.body import Part
from siglipcli.serve.errors import ApiError
from siglipcli.serve.settings import ServeSettings
from siglipcli.serve.wire import chat, classify, embeddings, huggingface
from siglipcli.serve.wire.parts import Image, Text

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = ServeSettings(max_images=3, max_labels=5, max_texts=4)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()
DATA_URI = f"data:image/png;base64,{PNG}"
PARSERS: dict[str, Callable[[object], object]] = {
    "huggingface": lambda body: huggingface.parse(body, LIMITS),
    "classify": lambda body: classify.parse(body, LIMITS),
    "chat": lambda body: chat.parse(body, LIMITS),
    "embeddings": lambda body: embeddings.parse(body, LIMITS),
}

SHORT = st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | SHORT
WORDS = [
    "inputs",
    "parameters",
    "candidate_labels",
    "candidateLabels",
    "hypothesis_template",
    "top_k",
    "function_to_apply",
    "image",
    "input",
    "text",
    "labels",
    "label_sets",
    "templates",
    "threshold",
    "top",
    "negatives",
    "name",
    "prompts",
    "children",
    "model",
    "messages",
    "role",
    "content",
    "type",
    "image_url",
    "url",
    "response_format",
    "json_schema",
    "schema",
    "value",
    "properties",
    "enum",
    "items",
    "anyOf",
    "$ref",
    "$defs",
    "required",
    "const",
    "minItems",
    "maxItems",
    "stream",
    "n",
    "modality",
    "encoding_format",
    "dimensions",
    "score",
    "label",
]
KEYS = st.sampled_from(WORDS) | SHORT
LEAVES = SCALARS | st.sampled_from(
    ["cat", "cat,dog", DATA_URI, PNG, "http://127.0.0.1/x", "animals", "object", "array", "string", "user",
     "image_url", "json_schema", "json_object", "#/$defs/label", "#", "sigmoid", "image", "base64", "{} here"]
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)  # fmt: skip
MESSAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA_URI}}]}
VALID: dict[str, dict[str, Any]] = {
    "huggingface": {"inputs": PNG, "parameters": {"candidate_labels": ["cat", "dog"]}},
    "classify": {"input": [{"image": PNG}], "labels": ["cat", "dog"]},
    "chat": {"messages": [MESSAGE], "candidate_labels": ["cat", "dog"]},
    "embeddings": {"input": ["a cat", DATA_URI]},
}


def refusal(parse: Callable[[object], object], body: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse(body)
    return caught.value


def with_schema(wanted: object, **more: object) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}}
    return {"messages": [MESSAGE], "response_format": form, **more}


def is_taken(parse: Callable[[Any], object], body: Any) -> bool:
    """Whether a request is a record; it may only be refused as an ApiError of a client's mistake."""
    try:
        parse(body)
    except ApiError as error:
        if error.status in {400, 413, 422} and str(error):
            return False
        raise
    return True


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_json_is_a_request_or_an_error(name: str, data: st.DataObject) -> None:
    """Whatever JSON arrives, and whatever is put into a good request, nothing but an ApiError is raised."""
    is_taken(PARSERS[name], data.draw(JSON | st.dictionaries(KEYS, JSON, max_size=6)))
    is_taken(PARSERS[name], VALID[name] | data.draw(st.dictionaries(KEYS, JSON, max_size=3)))
    assert is_taken(PARSERS[name], VALID[name])


FORM_KEYS = st.sampled_from(
    ["image", "labels", "label_sets", "templates", "top", "threshold", "tags_only", "model", "x"]
)
FORM_TEXTS = SHORT | st.sampled_from(
    ["cat,dog", "1", "0.5", "nan", "true", '["cat"]', '{"labels": ["a"]}', "[", DATA_URI]
)
PARTS = st.builds(Part, FORM_KEYS, FORM_TEXTS | st.binary(max_size=9), st.just(""))


@given(parts=st.lists(PARTS, max_size=6))
@example(parts=[Part("image", b"x", "a.jpg"), Part("labels", "cat,dog")])
@settings(max_examples=100, deadline=None)
def test_any_form_is_a_request_or_an_error(parts: list[Part]) -> None:
    """Whatever a form holds, it is a request with at least one image, or an ApiError."""
    if is_taken(lambda sent: classify.parse_form(sent, LIMITS), parts):
        assert classify.parse_form(parts, LIMITS).images


NAMES = st.sampled_from(["label", "tags", "score"])
ODDITIES = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["object", "string", "array", "number", "null", ["string", "null"], 7]),
                  "pattern": st.just("x"), "required": st.lists(NAMES, max_size=2), "enum": st.lists(SCALARS, max_size=2), "const": SCALARS,
                  "$ref": st.sampled_from(["#", "#/$defs/a", 3]), "minItems": st.integers(-1, 3)},
)  # fmt: skip
LABELS = st.lists(
    st.sampled_from(["cat", " dog", "a/b", None]), min_size=1, max_size=4, unique=True
)
STRINGS = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["string", ["null", "string"]]), "title": SHORT}
).flatmap(
    lambda node: st.one_of(
        LABELS.map(lambda v: node | {"enum": v}), st.just(node | {"const": "cat"}), st.just(node)
    )
)
SIZES = {"minItems": st.integers(0, 3), "maxItems": st.integers(0, 3), "uniqueItems": st.booleans()}
ARRAYS = st.fixed_dictionaries({"type": st.just("array"), "items": STRINGS}, optional=SIZES)
NUMBERS = st.fixed_dictionaries(
    {"type": st.just("number")}, optional={"minimum": st.sampled_from([0, 1])}
)
PLAIN = st.one_of(STRINGS, ARRAYS, NUMBERS, ODDITIES, SCALARS)
CHOICES = st.one_of(
    PLAIN, PLAIN.map(lambda one: {"anyOf": [one, {"type": "null"}]}), PLAIN.map(lambda one: {"allOf": [one]}),
    st.just({"$ref": "#/$defs/a"}),
)  # fmt: skip
OBJECTS = st.fixed_dictionaries(
    {"properties": st.dictionaries(NAMES, CHOICES, min_size=1, max_size=3)},
    optional={"type": st.just("object"), "required": st.lists(NAMES, max_size=2), "$defs": st.fixed_dictionaries({"a": PLAIN})},
)  # fmt: skip
SCHEMAS = st.one_of(OBJECTS, CHOICES, st.tuples(OBJECTS, ODDITIES).map(lambda two: two[0] | two[1]))
ENUM = {"type": "string", "enum": ["cat", " dog"]}


@given(wanted=SCHEMAS, logits=st.lists(st.floats(-9, 9, width=32), min_size=40, max_size=40))
@example(
    wanted={"type": "object", "properties": {"label": ENUM, "score": {"type": "number"}}},
    logits=[0.0] * 40,
)
@example(wanted={"type": "array", "items": ENUM, "minItems": 2}, logits=[-5.0] * 40)
@example(
    wanted={"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}], "$defs": {"a": ENUM}},
    logits=[-5.0] * 40,
)
@settings(max_examples=150, deadline=None)
def test_what_is_sent_back_fits_the_schema(wanted: Any, logits: list[float]) -> None:
    """Whichever schema is taken, the content validates against it, whatever the scores."""
    try:
        request = chat.parse(with_schema(wanted, candidate_labels=["bird", "fish"]), LIMITS)
    except ApiError:
        return
    rows = iter(logits)
    scores: list[Score] = []
    for labels in (*request.plan.labels, *request.labels):
        assert not isinstance(labels, str)
        of_set = sorted(((next(rows), label.path) for label in labels.labels), reverse=True)
        scores += [Score(labels.name, path, 0.5, 0.5, logit, logit > 0) for logit, path in of_set]
    try:
        content = request.plan.content(scores)
    except ApiError:
        return
    Draft202012Validator(wanted).validate(json.loads(content))


def test_labels_keep_the_spelling_of_the_enum() -> None:
    """A label set drops blanks around a name, the content has the enum's own."""
    request = chat.parse(with_schema({"enum": [" cat ", "a/b"]}), LIMITS)
    scores = (
        Score("content", "cat", 0.9, 0.9, 2.0, True),
        Score("content", "a/b", 0.1, 0.1, -2.0, False),
    )
    assert json.loads(request.plan.content(scores)) == " cat "
    found = chat.response(Prediction("image 0", scores), request, "demo")
    assert found["classification"]["prediction"] == "cat"


@pytest.mark.parametrize(
    "wanted",
    [
        {
            "properties": {"label": {"enum": ["cat"]}, "reason": {"type": "string"}},
            "required": ["reason"],
        },
        {
            "type": "object",
            "properties": {"label": {"type": "string", "pattern": "c.*"}},
            "required": ["label"],
        },
        {"properties": {"label": {"$ref": "#/$defs/gone"}}, "required": ["label"]},
        {"properties": {"label": {"$ref": "#/properties/label"}}, "required": ["label"]},
        {"type": "array", "items": {"enum": ["cat"]}, "minItems": 2},
        {"properties": {"score": {"type": "number"}}},
        {"type": "integer"},
        True,
    ],
)
def test_a_schema_that_scores_cannot_fill_is_refused(wanted: object) -> None:
    """What no score can promise is a 400 that names the place, never content that does not fit."""
    error = refusal(PARSERS["chat"], with_schema(wanted))
    assert (error.status, str(error.param).split(".")[0]) == (400, "response_format")


def test_a_field_that_need_not_be_there_is_left_out() -> None:
    """An optional reason is no obstacle, and is not made up."""
    properties = {
        "label": {"enum": ["cat"]},
        "reason": {"type": "object"},
        "score": {"type": "number", "maximum": 1},
    }
    request = chat.parse(with_schema({"properties": properties, "required": ["label"]}), LIMITS)
    content = request.plan.content([Score("label", "cat", 0.25, 1.0, -1.0, False)])
    assert json.loads(content) == {"label": "cat", "score": 0.25}


def test_the_last_message_with_an_image_counts() -> None:
    """A conversation that sends its earlier images again is about its last one; two in one message are refused."""
    later = {"role": "user", "content": [{"type": "image_url", "image_url": PNG}]}
    said = {"role": "assistant", "content": '{"label": "cat"}'}
    body = VALID["chat"] | {
        "messages": [MESSAGE, said, later, {"role": "user", "content": "Sure?"}]
    }
    assert chat.parse(body, LIMITS).image == Image(PNG, "messages[2].content[0].image_url")
    both = {"role": "user", "content": MESSAGE["content"] * 2}
    assert refusal(PARSERS["chat"], VALID["chat"] | {"messages": [both]}).code == "too_many_images"


@pytest.mark.parametrize(
    ("body", "is_image"),
    [
        ({"inputs": "a cat"}, False),
        ({"inputs": ["a cat", "a dog"]}, False),
        ({"inputs": "Y" * 80}, False),  # base64 of no image: a word
        ({"inputs": "a cat", "normalize": True, "truncate": True}, False),
        ({"inputs": PNG}, True),
        ({"inputs": DATA_URI}, True),
        ({"inputs": "YQ==", "parameters": {"top_k": 2}}, True),
        ({"inputs": {"image": "YQ=="}}, True),
    ],
)
def test_huggingface_tasks_are_told_apart(body: Any, is_image: bool) -> None:
    """Words are embedded, images scored: the options say which it is, or the first bytes of the image."""
    task = huggingface.parse(body, LIMITS)
    assert isinstance(task, huggingface.ImageTask) is is_image


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("huggingface", {}, "inputs"),
        ("huggingface", {"inputs": PNG, "parameters": {"candidate_labels": " , "}}, "parameters.candidate_labels"),
        ("huggingface", {"inputs": PNG, "parameters": {"candidate_labels": ["a"], "hypothesis_template": "x"}},
         "parameters.hypothesis_template"),
        ("huggingface", {"inputs": PNG, "parameters": {"hypothesis_template": "{}"}}, "parameters.candidate_labels"),
        ("huggingface", {"inputs": "a", "parameters": []}, "parameters"),
        ("huggingface", {"inputs": "a", "normalize": False}, "normalize"),
        ("classify", {"input": [{"text": "a"}]}, "input[0].image"),
        ("classify", VALID["classify"] | {"templates": ["no place"]}, "labels"),
        ("classify", {"input": [PNG], "label_sets": ["animals"], "templates": "a {}"}, "templates"),
        ("chat", VALID["chat"] | {"n": 2}, "n"),
        ("chat", VALID["chat"] | {"messages": "hello"}, "messages"),
        ("chat", VALID["chat"] | {"messages": [{"role": "user", "content": [{"type": "file"}]}]},
         "messages[0].content[0].type"),
        ("chat", {"messages": [MESSAGE]}, "response_format"),
        ("embeddings", {"input": [1, 2]}, "input[0]"),
        ("embeddings", {"input": [""]}, "input[0]"),
        ("embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("embeddings", {"messages": [{"role": "user", "content": [*MESSAGE["content"], {"type": "text", "text": "a"}]}]},
         "messages"),
    ],
)  # fmt: skip
def test_errors_name_their_field(name: str, body: Any, param: str) -> None:
    """A missing, empty or wrong value is a 400 whose `param` is the place of it."""
    error = refusal(PARSERS[name], body)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("classify", {"input": [PNG] * 4, "labels": ["a"]}),
        ("classify", {"input": [PNG], "labels": ["a", "b", "c", "d", "e", "f"]}),
        (
            "classify",
            {"input": [PNG], "labels": {"labels": [{"name": str(n)} for n in range(99_999)]}},
        ),
        ("chat", with_schema({"enum": ["a", "b", "c", "d", "e", "f"]})),
        ("embeddings", {"input": ["a"] * 9}),
    ],
)
def test_too_many_are_refused_before_they_are_read(name: str, body: Any) -> None:
    """More images, labels or texts than the settings allow are a 413."""
    assert refusal(PARSERS[name], body).status == 413


def test_embeddings_as_floats_and_base64() -> None:
    """Both encodings read back as the very float32."""
    vector = np.array([0.1, -1e-9, 1 / 3], np.float32)
    items = (Text("a", "input[0]"), Image(PNG, "input[1]"))
    for is_base64 in (False, True):
        request = embeddings.EmbeddingsRequest(items, is_base64)
        row = embeddings.response([vector, vector], request, "demo")["data"][1]["embedding"]
        read = (
            np.frombuffer(base64.b64decode(row), "<f4") if is_base64 else np.array(row, np.float32)
        )
        assert np.array_equal(read, vector)
        assert len(json.dumps(row)) < 60


def test_elements_have_scores_or_an_error() -> None:
    """A failed image's element has the error alone; the rest have the rows that JSON output has."""
    score = Score("labels", "cat", 0.9, 1.0, 2.0, True)
    results = [Failure("image 0", "truncated", "It ends early."), Prediction("image 1", (score,))]
    failed, scored = classify.response(results, "demo")["data"]
    assert failed == {
        "object": "classification", "index": 0, "error": {"kind": "truncated", "message": "It ends early."}
    }  # fmt: skip
    assert scored["predictions"] == [score.to_dict()]
    assert ScoringOptions(top=None) == classify.parse(VALID["classify"], LIMITS).options


@pytest.mark.parametrize(
    "body",
    [
        {"labels": ["a", "b", "c"], "templates": ["a {}.", "b {}.", "c {}.", "d {}."]},
        {"labels": {"labels": ["a", "b", "c"], "templates": ["a {}.", "b {}.", "c {}.", "d {}."]}},
        {"labels": [{"name": "a", "prompts": ["a", "b"], "children": [{"name": "c", "prompts": ["e"] * 9}]}]},
        {"label_sets": [{"name": n, "labels": ["a", "b"], "templates": ["a {}.", "b {}.", "c {}."]} for n in "xy"]},
    ],
    ids=["plain", "schema", "long form", "several sets"],
)  # fmt: skip
def test_prompts_are_counted_before_they_are_written_out(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of templates for thousands of labels are a 413, and no label set is made of them."""
    for name in ("of", "from_dict"):
        monkeypatch.setattr(f"siglipcli.labels.LabelSet.{name}", lambda *_, **_more: 1 / 0)
    with pytest.raises(ApiError) as refused:
        classify.parse({"input": [PNG]} | body, ServeSettings(max_prompts=10))
    assert (refused.value.status, refused.value.code) == (413, "too_many_prompts")


def test_a_score_without_a_label_is_refused() -> None:
    """Where all labels are negative no label is left whose score could be told."""
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}},
            "confidence": {"type": "number"},
        },
    }
    wanted = chat.schema.plan(schema, "schema", LIMITS)
    with pytest.raises(ApiError) as refused:
        wanted.content([])
    assert (refused.value.status, refused.value.code) == (400, "unsupported_schema")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[sic] a cat,dog", ["[sic] a cat", "dog"]),
        ("{} and more,dog", ["{} and more", "dog"]),
        ('[ "cat", "dog" ]', ["cat", "dog"]),
        ('{"labels": ["cat", "dog"]}', ["cat", "dog"]),
    ],
)
def test_a_label_may_begin_with_a_bracket(text: str, names: list[str]) -> None:
    """A form's labels are JSON only where they look like it to the end."""
    parts = [Part("image", b"x", "a.png"), Part("labels", text)]
    [labels] = classify.parse_form(parts, LIMITS).labels
    assert [label.path for label in labels.labels] == names
    with pytest.raises(ApiError):
        classify.parse_form([parts[0], Part("labels", '["cat", "dog"')], LIMITS)
