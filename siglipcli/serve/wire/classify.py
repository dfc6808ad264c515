"""`POST /classify`: images against labels, in the shape of Jina's classifier, as JSON or as a form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from siglipcli.results import Failure, Prediction
from siglipcli.scoring import ScoringOptions
from siglipcli.serve.body import Part, content_type, parse_json, read_form, read_json
from siglipcli.serve.errors import ApiError, failure_dict
from siglipcli.serve.wire import labels
from siglipcli.serve.wire.fields import Fields
from siglipcli.serve.wire.models import check_model
from siglipcli.serve.wire.operations import CLASSIFY as OPERATIONS
from siglipcli.serve.wire.operations import SCHEMAS
from siglipcli.serve.wire.parts import Image, image_of, usage
from siglipcli.serve.wire.work import json_response, parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings
    from siglipcli.serve.wire.labels import LabelChoice

__all__ = [
    "OPERATIONS",
    "SCHEMAS",
    "ClassifyRequest",
    "element",
    "parse",
    "parse_form",
    "response",
    "routes",
]

_IMAGE_FIELDS = ("image", "images", "file", "files")
_JSON = re.compile(r"""\s*(\[\s*["\[{\]]|\{\s*"|[\[{].*[\]}]\s*\Z)""", re.DOTALL)
"""What a field of a form begins with, or ends with too, where it is JSON; "[sic] a label" is none."""

_LISTS = ("labels", "label_sets", "templates")


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """Images to score, as references or (of a form) as bytes; without `labels`, against the server's own sets."""

    images: tuple[Image | bytes, ...]
    labels: tuple[LabelChoice, ...]
    options: ScoringOptions
    model: str | None = None


def parse(body: object, settings: ServeSettings) -> ClassifyRequest:
    """Return the request in a JSON body. Raises ApiError."""
    fields = Fields(body)
    value = fields.need("input", 'a list of images, [{"image": "<base64>"}, …]')
    items = value if isinstance(value, list) else [value]
    _check_count(len(items), "input", settings)
    places = [f"input[{at}]" if items is value else "input" for at in range(len(items))]
    images = [_image(item, param) for item, param in zip(items, places, strict=True)]
    return _request(fields, images, settings)


def _image(item: object, param: str) -> Image:
    if not isinstance(item, dict):
        return image_of(item, param)
    fields = Fields(item, param)
    return image_of(fields.need("image", "base64, or a data: URI"), fields.place("image"))


def _check_count(count: int, param: str, settings: ServeSettings) -> None:
    if not count:
        raise ApiError(400, f"{param}: expected at least one image.", param=param, code="no_image")
    if count > settings.max_images:
        raise ApiError(
            413, f"{count:,} images in one request; send at most {settings.max_images:,}.",
            param=param, code="too_many_images",
        )  # fmt: skip


def _request(
    fields: Fields, images: Sequence[Image | bytes], settings: ServeSettings
) -> ClassifyRequest:
    options = ScoringOptions(
        top=fields.count("top"),
        threshold=fields.score("threshold"),
        tags_only=fields.flag("tags_only"),
        negatives=fields.flag("negatives"),
    )
    choices = labels.read(fields, settings)
    return ClassifyRequest(tuple(images), choices, options, fields.text("model"))


# --- forms ----------------------------------------------------------------------------------------


def parse_form(parts: Sequence[Part], settings: ServeSettings) -> ClassifyRequest:
    """Return the request in a form: files called `image`, and the fields of the JSON form. Raises ApiError.

    Labels are one text with commas, the field several times, or JSON.
    """
    images = [_form_image(part) for part in parts if part.name in _IMAGE_FIELDS]
    _check_count(len(images), "image", settings)
    values: dict[str, list[str]] = {}
    for part in parts:
        if part.name in _IMAGE_FIELDS:
            continue
        if isinstance(part.data, bytes):
            name = part.name[:40]
            raise ApiError(
                400, f"{name}: a file in this field is not read; images are `image`.", param=name
            )
        values.setdefault(part.name, []).append(part.data)
    body = {key: _form_value(key, texts) for key, texts in values.items()}
    return _request(Fields(body), images, settings)


def _form_image(part: Part) -> Image | bytes:
    return image_of(part.data, part.name) if isinstance(part.data, str) else part.data


def _form_value(key: str, texts: list[str]) -> object:
    """Return the JSON value that a field stands for: lists, numbers and flags are texts in a form."""
    if key in _LISTS:
        if len(texts) > 1:
            return texts
        is_json = key != "templates" and _JSON.match(texts[0])
        return parse_json(texts[0].encode()) if is_json else texts[0]
    if len(texts) > 1:
        raise ApiError(400, f"{key[:40]}: the field is there {len(texts)} times.", param=key[:40])
    if key in {"top", "threshold"}:
        return _number(texts[0])
    return {"true": True, "false": False}.get(texts[0], texts[0])


def _number(text: str) -> object:
    """Return the number that a text stands for, or the text, which is then refused by its field's name."""
    for kind in (int, float):
        try:
            return kind(text[:40])
        except ValueError:
            continue
    return text


# --- responses ------------------------------------------------------------------------------------


def response(results: Sequence[Prediction | Failure], model: str) -> dict[str, Any]:
    """Return the response for results in the order of the request's images."""
    data = [
        {"object": "classification", "index": at, **element(result)}
        for at, result in enumerate(results)
    ]
    return {"object": "list", "model": model, "data": data, "usage": usage(images=len(results))}


def element(result: Prediction | Failure) -> dict[str, Any]:
    """Return one image's part: its best label and all scores as JSON rows have them, or its error."""
    if isinstance(result, Failure):
        return {"error": failure_dict(result)}
    best = result.best.to_dict() if result.best else {"label": None, "score": None}
    predictions = [score.to_dict() for score in result.scores]
    return {"prediction": best["label"], "score": best["score"], "predictions": predictions}


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of this format, without `/v1`."""

    async def classify(http: Request) -> Response:
        if content_type(http) == "multipart/form-data":
            wanted = parse_form(await read_form(http, settings), settings)
        else:
            wanted = await parsed(parse, await read_json(http, settings), settings)
        check_model(wanted.model, engine)
        sets = labels.resolved(wanted.labels, engine)
        contents = await _contents(wanted.images, engine)
        results = await engine.classify(contents, sets, wanted.options)
        values = sum(len(result.scores) for result in results if isinstance(result, Prediction))
        return await json_response(lambda: response(results, engine.model), values)

    return [Route("/classify", classify, methods=["POST"])]


async def _contents(images: Sequence[Image | bytes], engine: Engine) -> list[bytes | Failure]:
    references = [image.content for image in images if isinstance(image, Image)]
    read = iter(await engine.read_images(references) if references else ())
    return [next(read) if isinstance(image, Image) else image for image in images]
