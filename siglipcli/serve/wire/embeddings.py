"""`POST /embeddings`: OpenAI's request for texts, and for images as infinity, Jina and vLLM write it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from siglipcli.digits import shortest
from siglipcli.results import Failure
from siglipcli.serve.body import read_json
from siglipcli.serve.errors import ApiError, from_failure
from siglipcli.serve.wire.fields import Fields, kind, text_of
from siglipcli.serve.wire.models import check_model
from siglipcli.serve.wire.openai_operations import EMBEDDINGS as OPERATIONS
from siglipcli.serve.wire.parts import Image, Text, image_of, is_data_uri, message_parts, usage
from siglipcli.serve.wire.work import json_response, parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from starlette.requests import Request
    from starlette.responses import Response

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["OPERATIONS", "EmbeddingsRequest", "embedded", "floats", "parse", "response", "routes"]


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """Texts and images to embed, in order. `is_base64`: vectors as base64 of little-endian float32."""

    items: tuple[Text | Image, ...]
    is_base64: bool = False
    dimensions: int | None = None
    model: str | None = None


def parse(body: object, settings: ServeSettings) -> EmbeddingsRequest:
    """Return the request in a JSON body. Raises ApiError."""
    fields = Fields(body)
    if fields.get("messages") is not None:
        items = [_one_part(message_parts(fields))]
    else:
        items = _inputs(fields, settings)
    encoding = fields.choice("encoding_format", ("float", "base64"), "float")
    return EmbeddingsRequest(
        tuple(items), encoding == "base64", fields.count("dimensions"), fields.text("model")
    )


def _inputs(fields: Fields, settings: ServeSettings) -> list[Text | Image]:
    modality = fields.choice("modality", ("text", "image"), "text")
    value = fields.need("input", "a text, or a list of texts and data: URIs")
    values = value if isinstance(value, list) else [value]
    most = settings.max_texts + settings.max_images
    if not values or len(values) > most:
        status, what = (413, f"at most {most:,}") if values else (400, "at least one")
        raise ApiError(status, f"input: expected {what} in one request.", param="input")
    places = [f"input[{at}]" if values is value else "input" for at in range(len(values))]
    return [_item(item, param, modality) for item, param in zip(values, places, strict=True)]


def _item(value: object, param: str, modality: str) -> Text | Image:
    if isinstance(value, dict):
        fields = Fields(value, param)
        if fields.get("text") is None:
            return image_of(fields.need("image", "an image or a text"), fields.place("image"))
        return Text(text_of(fields.get("text"), fields.place("text")), fields.place("text"))
    if isinstance(value, str) and (modality == "image" or is_data_uri(value)):
        return image_of(value, param)
    if not isinstance(value, str):
        raise ApiError(
            400, f"{param}: expected a text, or a data: URI of an image, found {kind(value)};"
            " tokens are not taken.", param=param,
        )  # fmt: skip
    return Text(text_of(value, param), param)


def _one_part(messages: list[list[Text | Image]]) -> Text | Image:
    """Return what a conversation is about: SigLIP embeds an image or a text, never both as one."""
    parts = [part for message in messages for part in message]
    if len(parts) != 1:
        raise ApiError(
            400, f"messages: expected one part, an image or a text, found {len(parts):,}.",
            param="messages",
        )  # fmt: skip
    return parts[0]


def response(
    vectors: Sequence[NDArray[np.float32]], request: EmbeddingsRequest, model: str
) -> dict[str, Any]:
    """Return the response for unit rows, float32[d], in the order of the request."""
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": _base64(vector) if request.is_base64 else floats(vector),
        }
        for at, vector in enumerate(vectors)
    ]
    images = sum(isinstance(item, Image) for item in request.items)
    counted = usage(images=images, texts=len(request.items) - images)
    return {"object": "list", "data": data, "model": model, "usage": counted}


def floats(vectors: NDArray[np.float32]) -> list[Any]:
    """Return one vector or several as numbers of the fewest digits that read back as the same float32."""
    numbers: list[Any] = shortest(vectors).tolist()
    return numbers


def _base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


async def embedded(items: Sequence[Text | Image], engine: Engine) -> list[NDArray[np.float32]]:
    """Embed texts and images, in order. Raises ApiError for the first image that cannot be read."""
    images = [item for item in items if isinstance(item, Image)]
    texts = [item.text for item in items if isinstance(item, Text)]
    rows = iter(await engine.embed_texts(texts)) if texts else iter(())
    results = iter(await _images(images, engine) if images else ())
    return [next(rows) if isinstance(item, Text) else next(results) for item in items]


async def _images(images: Sequence[Image], engine: Engine) -> list[NDArray[np.float32]]:
    contents = await engine.read_images([image.content for image in images])
    results = await engine.embed_images(contents)
    vectors: list[NDArray[np.float32]] = []
    for image, result in zip(images, results, strict=True):
        if isinstance(result, Failure):
            raise from_failure(result, param=image.param)
        vectors.append(result)
    return vectors


def check_dimensions(wanted: int | None, width: int) -> None:
    """Refuse another number of dimensions than the model's. Raises ApiError."""
    if wanted not in {None, width}:
        raise ApiError(
            400,
            f"dimensions: this model's embeddings have {width}, and are not cut.",
            param="dimensions",
        )


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of this format, without `/v1`."""

    async def embed(http: Request) -> Response:
        request = await parsed(parse, await read_json(http, settings), settings)
        check_model(request.model, engine)
        vectors = await embedded(request.items, engine)
        check_dimensions(request.dimensions, len(vectors[0]))
        values = len(vectors) * (1 if request.is_base64 else len(vectors[0]))
        return await json_response(lambda: response(vectors, request, engine.model), values)

    return [Route("/embeddings", embed, methods=["POST"])]
