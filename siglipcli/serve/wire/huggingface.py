"""Hugging Face's inference API: zero-shot and plain image classification, and embeddings of texts.

As `huggingface_hub.InferenceClient(base_url=…)` and `@huggingface/inference` send them; the older form with
`{"inputs": {"image": …, "candidateLabels": "cat,dog"}}` too.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.routing import Route

from siglipcli.images.formats import kind_of
from siglipcli.results import Failure
from siglipcli.scoring import ScoringOptions
from siglipcli.serve.body import content_type, read_body, read_json
from siglipcli.serve.errors import ApiError, from_failure
from siglipcli.serve.wire import labels
from siglipcli.serve.wire.embeddings import check_dimensions, floats
from siglipcli.serve.wire.fields import Fields
from siglipcli.serve.wire.models import check_model
from siglipcli.serve.wire.operations import HUGGINGFACE as OPERATIONS
from siglipcli.serve.wire.parts import Image, image_of, is_data_uri
from siglipcli.serve.wire.work import json_response, parsed

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from siglipcli.labels import LabelSet
    from siglipcli.results import Prediction, Score
    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["OPERATIONS", "ImageTask", "TextTask", "parse", "routes", "scores"]

_OUTPUTS = {"sigmoid": "score", "softmax": "softmax", "none": "logit"}
"""`function_to_apply` → the field of a score that it asks for."""
_OF_IMAGES = ("candidate_labels", "hypothesis_template", "top_k", "function_to_apply")
_SIGNATURE = 64  # characters of base64: enough for a signature, and no image is smaller


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image to score; without `labels`, against the server's own sets. `output` names a score's field."""

    image: Image | bytes
    labels: LabelSet | None = None
    output: str = "score"
    top: int | None = None


@dataclass(frozen=True, slots=True)
class TextTask:
    """Texts to embed; `dimensions` is what the client expects, where it says so."""

    texts: tuple[str, ...]
    dimensions: int | None = None


Task: TypeAlias = ImageTask | TextTask


def parse(body: object, settings: ServeSettings) -> Task:
    """Return the task of a JSON body. Raises ApiError."""
    fields = Fields(body)
    inputs = fields.need("inputs", "an image as base64, or texts to embed")
    parameters = fields.child("parameters") or Fields({}, "parameters")
    if _is_image(inputs, parameters):
        return _image_task(inputs, parameters, settings)
    return _text_task(fields)


def _is_image(inputs: object, parameters: Fields) -> bool:
    """Whether `inputs` is an image rather than a text: its options say so, or its own first bytes."""
    if isinstance(inputs, dict) or any(parameters.get(key) is not None for key in _OF_IMAGES):
        return True
    return isinstance(inputs, str) and (is_data_uri(inputs) or _has_signature(inputs))


def _has_signature(text: str) -> bool:
    if len(text) < _SIGNATURE:
        return False
    try:
        start = base64.b64decode(text[:_SIGNATURE], validate=True)
    except (binascii.Error, ValueError):  # not ASCII
        return False
    return kind_of(start) is not None


def _image_task(inputs: Any, parameters: Fields, settings: ServeSettings) -> ImageTask:
    place, said = "inputs", _labels(parameters, "candidate_labels")
    if isinstance(inputs, dict):
        fields, place = Fields(inputs, "inputs"), "inputs.image"
        said = said or _labels(fields, "candidate_labels", "candidateLabels")
        inputs = fields.need("image", "an image as base64")
    output = parameters.choice("function_to_apply", tuple(_OUTPUTS), "sigmoid")
    label_set = _label_set(said, parameters, settings)
    return ImageTask(
        image_of(inputs, place), label_set, _OUTPUTS[output], parameters.count("top_k")
    )


def _labels(fields: Fields, *keys: str) -> tuple[list[Any], str] | None:
    """Return the labels under one of these keys, and their place."""
    key = next((key for key in keys if fields.get(key) is not None), None)
    if key is None:
        return None
    return labels.comma_list(fields.get(key), fields.place(key)), fields.place(key)


def _label_set(
    said: tuple[list[Any], str] | None, parameters: Fields, settings: ServeSettings
) -> LabelSet | None:
    template, place = (
        parameters.text("hypothesis_template"),
        parameters.place("hypothesis_template"),
    )
    if template is not None and template.count("{}") != 1:
        raise ApiError(400, f"{place}: expected a text with {{}} for the label, once.", param=place)
    if said is None and template is not None:
        place = parameters.place("candidate_labels")
        raise ApiError(400, f"{place} is missing: a list of labels.", param=place)
    if said is None:
        return None
    names, place = said
    return labels.plain_set(names, place, settings, templates=[template] if template else None)


def _text_task(fields: Fields) -> TextTask:
    texts = fields.texts("inputs", "texts") or []
    if not fields.flag("normalize", default=True):
        raise ApiError(400, "normalize: embeddings have unit length here.", param="normalize")
    if fields.get("prompt_name") is not None:
        raise ApiError(400, "prompt_name: this model has no named prompts.", param="prompt_name")
    fields.choice("encoding_format", ("float",), "float")
    return TextTask(tuple(texts), fields.count("dimensions"))


def scores(prediction: Prediction, task: ImageTask) -> list[dict[str, Any]]:
    """Return what a client reads: labels with one number, the best first."""
    best_first = sorted(prediction.scores, key=_by_logit, reverse=True)
    rows = [score.to_dict() for score in best_first[: task.top]]
    return [{"label": row["label"], "score": row[task.output]} for row in rows]


def _by_logit(score: Score) -> float:
    return score.logit


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of this format, without `/v1`."""

    async def infer(http: Request) -> Response:
        check_model(http.path_params.get("id"), engine)
        task = await _task(http, settings)
        headers = {"x-model": engine.model}
        if isinstance(task, TextTask):
            vectors = await engine.embed_texts(task.texts)
            check_dimensions(task.dimensions, vectors.shape[1])
            return await json_response(lambda: floats(vectors), vectors.size, headers)
        prediction = await _scored(task, engine)
        values = len(prediction.scores)
        return await json_response(lambda: scores(prediction, task), values, headers)

    return [
        Route("/", infer, methods=["POST"]),
        # a base URL that ends in /v1 without a slash, and the hub's own path for embeddings
        Route("/v1", infer, methods=["POST"], include_in_schema=False),
        Route(
            "/models/{id:path}/pipeline/feature-extraction",
            infer,
            methods=["POST"],
            include_in_schema=False,
        ),
        Route("/models/{id:path}", infer, methods=["POST"]),
    ]


async def _task(http: Request, settings: ServeSettings) -> Task:
    """Read a request: JSON, or a body that is an image, whatever its type is called."""
    kind = content_type(http)
    if kind == "application/json":
        return await parsed(parse, await read_json(http, settings), settings)
    if kind.startswith("multipart/"):
        raise ApiError(
            415, "Send JSON or the image itself; /v1/classify takes forms.", code="content_type"
        )
    body = await read_body(http, settings, settings.max_image_bytes)
    if not body:
        raise ApiError(400, "The body is empty; send an image or JSON.", code="no_image")
    return ImageTask(body)


async def _scored(task: ImageTask, engine: Engine) -> Prediction:
    sets = labels.resolved([task.labels] if task.labels else [], engine)
    content: bytes | Failure
    if isinstance(task.image, Image):
        [content] = await engine.read_images([task.image.content])
    else:
        content = task.image
    [result] = await engine.classify([content], sets, ScoringOptions(top=None))
    if isinstance(result, Failure):
        raise from_failure(
            result, param=task.image.param if isinstance(task.image, Image) else None
        )
    return result
