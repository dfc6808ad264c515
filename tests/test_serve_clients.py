"""Clients that exist already, unchanged, against a running server: labels and scores are those of `siglip classify`."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pydantic
import pytest
from huggingface_hub import InferenceClient
from jsonschema import Draft202012Validator
from serve_fixture import Server
from settings import with_engine

from siglipcli.demo import IMAGES, LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator

HEART, CIRCLE = IMAGES / "blue-heart.jpg", IMAGES / "red-circle.jpg"
WORDS = ["red circle", "blue heart", "a green star"]
ENCODED = base64.b64encode(HEART.read_bytes()).decode()
URI = f"data:image/jpeg;base64,{ENCODED}"
IMAGE_PART = {"type": "image_url", "image_url": {"url": URI, "detail": "low"}}
MESSAGES: Any = [
    {"role": "system", "content": "You classify."},
    {"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE_PART]},
]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> dict[str, str]:
    """The environment of the server, and of the command that it is compared with."""
    return with_engine(prepared, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[Server]:
    """One server for this module, started with the demo's own label set."""
    arguments = ("--labels", str(LABELS))
    with Server(tmp_path_factory.mktemp("served"), arguments, environment) as running:
        yield running


@pytest.fixture(params=["", "/v1"], ids=["bare", "v1"])
def prefix(request: pytest.FixtureRequest) -> str:
    """The start of each path: routes are there without and with it."""
    return str(request.param)


@pytest.fixture
def base(server: Server, prefix: str) -> str:
    """The server's address as clients have it."""
    return server.url + prefix


MINE: Row = {
    "name": "mine", "templates": ["a {}.", "a drawing of a {}."], "threshold": 0.3,
    "labels": ["red circle", {"name": "heart", "prompts": ["a blue heart"], "threshold": 0.01,
                              "children": ["pink heart"]}, {"name": "nothing", "negative": True}],
}  # fmt: skip
Rows = dict[str, dict[tuple[str, str], Row]]


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Rows:
    """What `siglip classify` says of both images and three label sets: image → (set, label) → row."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "mine.json").write_text(json.dumps(MINE))
    labels = [part for word in WORDS for part in ("--label", word)]
    labels += ["--labels", str(LABELS), "--labels", str(folder / "mine.json")]
    run = subprocess.run(
        [sys.executable, "-m", "siglipcli", "classify", HEART, CIRCLE, *labels, "--format", "json", "--all"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {
        Path(row["file"]).stem: {(each["set"], each["label"]): each for each in row["labels"]}
        for row in json.loads(run.stdout)
    }


@pytest.fixture(scope="module")
def web(server: Server) -> Iterator[httpx.Client]:
    """A client of HTTP."""
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


def plain_scores(by_command: Rows, name: str) -> dict[str, float]:
    return {word: by_command[name]["labels", word]["score"] for word in WORDS}


def assert_same(rows: list[Row], wanted: dict[tuple[str, str], Row]) -> None:
    """Rows have the keys of the command's JSON, and its numbers to 1e-6."""
    for row in rows:
        want = wanted[row["set"], row["label"]]
        assert set(row) == set(want)
        assert row["tag"] is want["tag"]
        for key in ("score", "softmax", "logit"):
            assert row[key] == pytest.approx(want[key], rel=0, abs=1e-6)


def error_of(reply: httpx.Response) -> Row:
    error: Row = reply.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return error


# --- huggingface_hub ------------------------------------------------------------------------------


def test_huggingface_zero_shot(base: str, by_command: Rows) -> None:
    """`InferenceClient(base_url=…).zero_shot_image_classification` works unchanged, at / and /models/{id}."""
    wanted = plain_scores(by_command, "blue-heart")
    for url in (base, f"{base}/", f"{base}/models/demo"):
        client = InferenceClient(base_url=url)
        found = client.zero_shot_image_classification(HEART, candidate_labels=WORDS)
        assert [each.label for each in found] == sorted(wanted, key=wanted.__getitem__)[::-1]
        assert {each.label: each.score for each in found} == pytest.approx(wanted, rel=0, abs=1e-6)


def test_huggingface_template(server: Server, by_command: Rows) -> None:
    """A hypothesis template is filled with each label: the default one gives the default scores."""
    client = InferenceClient(base_url=server.url)
    labels = WORDS[:2]
    same, other = (
        client.zero_shot_image_classification(HEART, labels, hypothesis_template=template)
        for template in ("a photo of a {}.", "{} on a wall")
    )
    scores = {each.label: each.score for each in same}
    wanted = {label: plain_scores(by_command, "blue-heart")[label] for label in labels}
    assert scores == pytest.approx(wanted, rel=0, abs=1e-6)
    assert {each.label: each.score for each in other} != scores


def test_huggingface_image_classification(server: Server, by_command: Rows) -> None:
    """A bare image is scored against the server's own label sets; `top_k` and `function_to_apply` hold."""
    client = InferenceClient(base_url=server.url)
    every = client.image_classification(HEART)
    wanted = {
        label: row for (name, label), row in by_command["blue-heart"].items() if name == "shapes"
    }
    assert len(every) == len(wanted)
    assert every[0].label == "blue heart"
    best = client.image_classification(HEART, top_k=2, function_to_apply="softmax")
    assert [each.label for each in best] == [each.label for each in every[:2]]
    for each, key in (*((each, "score") for each in every), *((each, "softmax") for each in best)):
        assert each.score == pytest.approx(wanted[each.label][key], rel=0, abs=1e-6)


def test_huggingface_features(server: Server) -> None:
    """`feature_extraction` gives a row of unit length for each text."""
    client = InferenceClient(base_url=server.url)
    one = client.feature_extraction("a cat")
    two = client.feature_extraction(["a cat", "a dog"])  # type: ignore[arg-type]
    assert one.shape[0] == 1
    assert two.shape == (2, one.shape[1])
    assert np.array_equal(two[:1], one)
    assert np.linalg.norm(two, axis=1) == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"image": ENCODED, "candidateLabels": ",".join(WORDS)}},
        {"inputs": {"image": ENCODED}, "parameters": {"candidate_labels": WORDS}},
        {"inputs": URI, "parameters": {"candidate_labels": ", ".join(WORDS)}},
    ],
    ids=["python-2023", "javascript", "comma string"],
)
def test_huggingface_older_requests(web: httpx.Client, by_command: Rows, body: Row) -> None:
    """What older clients send has the same scores; the response's header names the model."""
    reply = web.post("/", json=body)
    scores = {each["label"]: each["score"] for each in reply.json()}
    assert scores == pytest.approx(plain_scores(by_command, "blue-heart"), rel=0, abs=1e-6)
    assert reply.headers["x-model"] == "demo"


def test_huggingface_chat(base: str) -> None:
    """Its chat client, whose JSON schema arrives in another place than OpenAI's, has labels back."""
    client = InferenceClient(base_url=base)
    found = client.chat_completion(
        MESSAGES, response_format=schema_format({"label": {"enum": WORDS}})
    )
    assert json.loads(found.choices[0].message.content or "") == {"label": "blue heart"}
    assert found.model == "demo"
    [chunk] = client.chat_completion(
        MESSAGES, response_format=schema_format({"label": {"enum": WORDS}}), stream=True
    )
    assert json.loads(chunk.choices[0].delta.content or "") == {"label": "blue heart"}


def test_huggingface_chat_at_the_models_path(server: Server) -> None:
    """A base URL that ends in the model's path is right for its chat client too."""
    client = InferenceClient(base_url=f"{server.url}/models/demo")
    form = schema_format({"label": {"enum": WORDS}})
    found = client.chat_completion(MESSAGES, response_format=form)
    assert json.loads(found.choices[0].message.content or "") == {"label": "blue heart"}


# --- /classify ------------------------------------------------------------------------------------


def test_classify(web: httpx.Client, prefix: str, by_command: Rows) -> None:
    """Several images in one request: rows as in the command's JSON, an element for each, in order."""
    images = [{"image": base64.b64encode(path.read_bytes()).decode()} for path in (HEART, CIRCLE)]
    body = {"model": "demo", "input": images, "labels": WORDS}
    reply = web.post(f"{prefix}/classify", json=body).json()
    assert reply["model"] == "demo"
    assert reply["usage"]["images"] == 2
    for at, (element, name) in enumerate(
        zip(reply["data"], ("blue-heart", "red-circle"), strict=True)
    ):
        assert (element["object"], element["index"]) == ("classification", at)
        assert element["prediction"] == name.replace("-", " ")
        assert element["score"] == element["predictions"][0]["score"]
        assert len(element["predictions"]) == len(WORDS)
        assert_same(element["predictions"], by_command[name])


def test_classify_with_named_sets(web: httpx.Client, by_command: Rows) -> None:
    """`label_sets` name the server's sets and built-in ones; without labels the server's own are used."""
    for more in ({"label_sets": ["shapes"]}, {"label_sets": "shapes"}, {}):
        reply = web.post("/classify", json={"input": [URI], **more})
        [element] = reply.json()["data"]
        assert element["prediction"] == "blue heart"
        assert_same(element["predictions"], by_command["blue-heart"])
    both = {"input": URI, "label_sets": ["shapes", "photo-quality"], "top": 2}
    [element] = web.post("/classify", json=both).json()["data"]
    assert {row["set"] for row in element["predictions"]} == {"shapes", "photo-quality"}


def test_classify_with_a_whole_set(web: httpx.Client, by_command: Rows) -> None:
    """A set in the YAML schema, with templates, prompts, thresholds, children and negatives, is the command's."""
    wanted = {key: row for key, row in by_command["blue-heart"].items() if key[0] == "mine"}
    for more in ({"labels": MINE}, {"label_sets": [MINE]}):
        body = {"input": [{"image": ENCODED}], "negatives": True, **more}
        [element] = web.post("/classify", json=body).json()["data"]
        assert len(element["predictions"]) == len(wanted) == 4
        assert_same(element["predictions"], wanted)


def test_classify_by_curl(base: str, by_command: Rows) -> None:
    """`curl -F image=@photo.jpg -F labels=cat,dog` works, with several files and with numbers as text too."""
    fields = [f"image=@{HEART}", f"image=@{CIRCLE}", f"labels={','.join(WORDS)}", "threshold=0.9"]
    command = [
        "curl",
        "-sS",
        *(part for field in fields for part in ("-F", field)),
        f"{base}/classify",
    ]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    data = json.loads(run.stdout)["data"]
    assert [element["prediction"] for element in data] == ["blue heart", "red circle"]
    wanted = plain_scores(by_command, "red-circle")
    scores = {row["label"]: row["score"] for row in data[1]["predictions"]}
    assert scores == pytest.approx(wanted, rel=0, abs=1e-6)
    assert all(row["tag"] == (row["score"] >= 0.9) for row in data[1]["predictions"])


def test_an_image_that_fails_fails_alone(web: httpx.Client) -> None:
    """Damaged images and bad base64 are elements with an error, beside those that have scores."""
    images = [
        {"image": ENCODED[:400]},
        {"image": "?!"},
        {"image": ENCODED},
        {"image": "http://127.0.0.1/a"},
    ]
    reply = web.post("/classify", json={"input": images, "labels": WORDS})
    assert reply.status_code == 200
    *_, scored, _refused = data = reply.json()["data"]
    assert scored["prediction"] == "blue heart"
    assert ["error" in element for element in data] == [True, True, False, True]
    for element in (each for each in data if "error" in each):
        assert element["error"]["kind"]
        assert element["error"]["message"]


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"labels": []}, 400, "labels"),
        ({"labels": ["cat", "cat"]}, 400, "labels"),
        ({"labels": ["cat", 3]}, 400, "labels[1]"),
        ({"labels": {"labels": ["cat"], "treshold": 1}}, 400, "labels"),
        ({"labels": ["cat"], "label_sets": ["animals"]}, 400, "label_sets"),
        ({"label_sets": ["/etc/passwd"]}, 400, "label_sets"),
        ({"labels": [f"label {n}" for n in range(1_001)]}, 413, "labels"),
        ({"labels": ["cat"], "threshold": 2}, 400, "threshold"),
        ({"labels": ["cat"], "top": 0}, 400, "top"),
        ({"labels": ["cat"], "model": "gpt-9"}, 404, "model"),
        ({"labels": ["cat"], "input": [{"image": 7}]}, 400, "input[0].image"),
        ({"labels": ["cat"], "input": []}, 400, "input"),
        ({"labels": ["cat"], "input": None}, 400, "input"),
        ({"labels": ["cat"], "input": [URI] * 33}, 413, "input"),
    ],
)
def test_classify_refuses(web: httpx.Client, more: Row, status: int, param: str) -> None:
    """What is wrong with a request is said by the field's name, in OpenAI's shape of errors."""
    reply = web.post("/classify", json={"input": [URI], **more})
    error = error_of(reply)
    assert (reply.status_code, error["param"]) == (status, param)


# --- openai ---------------------------------------------------------------------------------------


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    """OpenAI's client, as it is installed."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def schema_format(properties: Row) -> Any:
    wanted = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "result", "strict": True, "schema": wanted},
    }


TAGS = {"type": "array", "items": {"type": "string", "enum": WORDS}}


@pytest.mark.parametrize(
    ("properties", "content"),
    [
        ({"label": {"type": "string", "enum": WORDS}}, {"label": "blue heart"}),
        ({"tags": TAGS}, {"tags": ["blue heart"]}),
        ({"tags": TAGS | {"minItems": 2, "maxItems": 2}}, None),
        ({"kind": {"enum": WORDS}, "colour": {"enum": ["red", "blue"]}}, None),
        ({"is": {"anyOf": [{"enum": ["white cross"]}, {"type": "null"}]}}, {"is": None}),
    ],
)
def test_openai_chat(
    client: openai.OpenAI, by_command: Rows, properties: Row, content: Row | None
) -> None:
    """Labels from the schema's enums: the content is JSON that fits it, all scores are in `classification`."""
    form = schema_format(properties)
    found = client.chat.completions.create(
        model="demo", messages=MESSAGES, response_format=form, temperature=0
    )
    value = json.loads(found.choices[0].message.content or "")
    Draft202012Validator(form["json_schema"]["schema"]).validate(value)
    assert content is None or value == content
    assert (found.model, found.choices[0].finish_reason) == ("demo", "stop")
    rows = found.classification["predictions"]  # type: ignore[attr-defined]
    scores = {row["label"]: row["score"] for row in rows if row["label"] in WORDS}
    wanted = plain_scores(by_command, "blue-heart")
    assert scores == pytest.approx({label: wanted[label] for label in scores}, rel=0, abs=1e-6)


class Shape(str, Enum):
    """Labels as a program has them."""

    CIRCLE = "red circle"
    HEART = "blue heart"


class Found(pydantic.BaseModel):
    """A result as a program has it."""

    shape: Shape
    others: list[Shape]


def test_openai_parse(client: openai.OpenAI) -> None:
    """`parse` with a pydantic model, whose enum is a reference in the schema, gives the model's object."""
    found = client.chat.completions.parse(model="demo", messages=MESSAGES, response_format=Found)
    assert found.choices[0].message.parsed == Found(shape=Shape.HEART, others=[Shape.HEART])


@pytest.mark.parametrize(
    "more",
    [
        {"candidate_labels": WORDS},
        {"label_sets": ["shapes"]},
        {"candidate_labels": ",".join(WORDS)},
    ],
)
def test_openai_labels_beside_the_messages(client: openai.OpenAI, more: Row) -> None:
    """Labels in `extra_body` need no schema."""
    found = client.chat.completions.create(model="demo", messages=MESSAGES, extra_body=more)
    content = json.loads(found.choices[0].message.content or "")
    assert content == {"label": "blue heart", "tags": ["blue heart"]}


def test_openai_stream(client: openai.OpenAI) -> None:
    """A stream is one chunk with the whole content, and ends."""
    [chunk] = client.chat.completions.create(
        model="demo", messages=MESSAGES, stream=True, extra_body={"candidate_labels": WORDS}
    )
    assert json.loads(chunk.choices[0].delta.content or "")["label"] == "blue heart"
    assert (chunk.model, chunk.choices[0].finish_reason) == ("demo", "stop")


def test_openai_stream_helper(client: openai.OpenAI) -> None:
    """Its `stream` helper, which parses a pydantic model on the way, ends with the model's object."""
    with client.chat.completions.stream(
        model="demo", messages=MESSAGES, response_format=Found
    ) as stream:
        assert [event.type for event in stream][-1] == "content.done"
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert parsed == Found(shape=Shape.HEART, others=[Shape.HEART])


def test_openai_errors(client: openai.OpenAI) -> None:
    """Its exceptions have the code and the field; without labels the message says how to give them."""
    with pytest.raises(openai.BadRequestError, match="candidate_labels") as caught:
        client.chat.completions.create(model="demo", messages=MESSAGES)
    assert caught.value.code == "no_labels"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="gpt-9", input="a cat")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="image_url"):
        client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "a cat?"}],
            extra_body={"candidate_labels": WORDS},
        )
    with pytest.raises(openai.UnprocessableEntityError) as damaged:
        client.embeddings.create(
            model="demo", input=["a cat", f"data:image/jpeg;base64,{ENCODED[:400]}"]
        )
    assert damaged.value.param == "input[1]"


def test_openai_embeddings(client: openai.OpenAI) -> None:
    """Base64, which the client asks for by itself, and floats are the same unit vectors; texts and images mix."""
    packed = client.embeddings.create(model="demo", input=["a blue heart", URI, "a red circle"])
    plain = client.embeddings.create(
        model="demo", input=["a blue heart", URI, "a red circle"], encoding_format="float"
    )
    vectors = np.array([each.embedding for each in packed.data])
    assert np.array_equal(
        vectors.astype(np.float32), np.array([e.embedding for e in plain.data], np.float32)
    )
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1] * 3, abs=1e-6)
    assert vectors[0] @ vectors[1] > vectors[2] @ vectors[1]
    assert (packed.model, [each.index for each in packed.data]) == ("demo", [0, 1, 2])


def test_many_embeddings_are_those_of_one_each(client: openai.OpenAI) -> None:
    """Forty texts in one request have the vectors that they have alone, in their order."""
    texts = [f"a {word} number {at}" for at in range(10) for word in ("cat", "dog", "bird", "fish")]
    many = client.embeddings.create(model="demo", input=texts, encoding_format="float").data
    for at in (0, 17, 39):
        alone = client.embeddings.create(
            model="demo", input=texts[at], encoding_format="float"
        ).data
        assert many[at].embedding == alone[0].embedding


@pytest.mark.parametrize(
    "body",
    [
        {"input": [ENCODED], "modality": "image"},
        {"input": [{"image": ENCODED}]},
        {"messages": [{"role": "user", "content": [IMAGE_PART]}]},
    ],
    ids=["infinity", "jina", "vllm"],
)
def test_embeddings_of_images(web: httpx.Client, prefix: str, body: Row) -> None:
    """Images as other servers take them give the embedding of their data: URI."""
    found, wanted = (
        web.post(f"{prefix}/embeddings", json=each).json()["data"][0]["embedding"]
        for each in (body, {"input": URI})
    )
    assert found == wanted


def test_models(client: openai.OpenAI, web: httpx.Client, prefix: str) -> None:
    """The one model is listed and found by its name; other names and tricks with paths are not found."""
    assert [each.id for each in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
    for name in (
        "gpt-9",
        "..%2F..%2Fetc%2Fpasswd",
        "demo%00",
        "demo%2F..",
        "%2e%2e",
        "demo/",
        "DEMO",
    ):
        for method in ("GET", "POST"):
            reply = web.request(
                method,
                f"{prefix}/models/{name}",
                json={"inputs": "a"} if method == "POST" else None,
            )
            assert reply.status_code in {404, 405}, (method, name)
            assert error_of(reply)["message"]
