"""`POST /chat/completions`: an image and labels as an OpenAI client sends them; the content is JSON.

Labels are the enums of `response_format`'s JSON schema, or `candidate_labels` / `label_sets` beside
OpenAI's own fields (`extra_body` of its client). Sampling options are ignored: nothing is sampled.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from siglipcli.results import Failure
from siglipcli.scoring import ScoringOptions
from siglipcli.serve.body import read_json
from siglipcli.serve.errors import ApiError, from_failure
from siglipcli.serve.wire import labels, schema
from siglipcli.serve.wire.classify import element
from siglipcli.serve.wire.fields import Fields
from siglipcli.serve.wire.models import check_model
from siglipcli.serve.wire.openai_operations import CHAT as OPERATIONS
from siglipcli.serve.wire.parts import Image, message_parts, usage
from siglipcli.serve.wire.work import json_response, parsed

if TYPE_CHECKING:
    from starlette.requests import Request

    from siglipcli.results import Prediction
    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings
    from siglipcli.serve.wire.labels import LabelChoice

__all__ = ["OPERATIONS", "ChatRequest", "parse", "response", "routes", "stream"]

_NO_LABELS = (
    "There are no labels. Give them as an enum in response_format's JSON schema, or send candidate_labels"
    ' or label_sets beside messages, as in extra_body={"candidate_labels": ["cat", "dog"]}.'
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """An image, what it is scored against, and the form of the content.

    `labels` are those that the request has beside the schema.
    """

    image: Image
    plan: schema.Plan
    labels: tuple[LabelChoice, ...]
    options: ScoringOptions
    stream: bool = False
    model: str | None = None


def parse(body: object, settings: ServeSettings) -> ChatRequest:
    """Return the request in a JSON body. Raises ApiError."""
    fields = Fields(body)
    count = fields.count("n")
    if count is not None and count > 1:
        raise ApiError(400, "n: there is one result for an image.", param="n")
    image = _image(fields)
    plan = _plan(fields, settings)
    choices = labels.read(fields, settings, key="candidate_labels")
    if not choices and plan.needs_labels:
        raise ApiError(400, _NO_LABELS, code="no_labels", param="response_format")
    options = ScoringOptions(top=None, threshold=fields.score("threshold"))
    return ChatRequest(image, plan, choices, options, fields.flag("stream"), fields.text("model"))


def _image(fields: Fields) -> Image:
    """Return the image of the last message that has one; a conversation sends its earlier ones again."""
    for parts in reversed(message_parts(fields)):
        images = [part for part in parts if isinstance(part, Image)]
        if len(images) > 1:
            raise ApiError(
                400, f"{images[1].param}: send one image in a message; /v1/classify takes several.",
                param=images[1].param, code="too_many_images",
            )  # fmt: skip
        if images:
            return images[0]
    raise ApiError(
        400, "messages: no message has an image. Send a part of type image_url with a data: URI.",
        param="messages", code="no_image",
    )  # fmt: skip


def _plan(fields: Fields, settings: ServeSettings) -> schema.Plan:
    """Return the plan for `response_format`: OpenAI's json_schema, or huggingface_hub's json_object."""
    wanted = fields.child("response_format")
    if wanted is None:
        return schema.DEFAULT
    sort = wanted.choice("type", ("text", "json_object", "json_schema"), "text")
    if sort == "json_schema":
        inner = Fields(
            wanted.need("json_schema", "an object with `schema`"), wanted.place("json_schema")
        )
        return schema.plan(inner.need("schema", "a JSON schema"), inner.place("schema"), settings)
    if sort == "json_object" and wanted.get("value") is not None:
        return schema.plan(wanted.get("value"), wanted.place("value"), settings)
    return schema.DEFAULT


def response(prediction: Prediction, request: ChatRequest, model: str) -> dict[str, Any]:
    """Return the completion; all scores are in `classification`. Raises ApiError."""
    message = {
        "role": "assistant",
        "content": request.plan.content(prediction.scores),
        "refusal": None,
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": {"completion_tokens": 0} | usage(images=1),
        "classification": element(prediction),
    }


def stream(completion: dict[str, Any]) -> str:
    """Return a completion as server-sent events: one chunk, and the end."""
    [choice] = completion["choices"]
    delta = {"index": 0, "delta": choice["message"], "logprobs": None, "finish_reason": "stop"}
    chunk = completion | {"object": "chat.completion.chunk", "choices": [delta]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\ndata: [DONE]\n\n"


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of this format, without `/v1`."""

    async def complete(http: Request) -> Response:
        request = await parsed(parse, await read_json(http, settings), settings)
        check_model(request.model, engine)
        check_model(http.path_params.get("id"), engine)
        own = request.plan.labels
        sets = labels.resolved((*own, *request.labels), engine)
        [content] = await engine.read_images([request.image.content])
        [result] = await engine.classify([content], sets, request.options)
        if isinstance(result, Failure):
            raise from_failure(result, param=request.image.param)
        completion = response(result, request, engine.model)
        if request.stream:
            return Response(stream(completion), media_type="text/event-stream")
        return await json_response(lambda: completion, len(result.scores))

    # the last: what huggingface_hub makes of a base URL that ends in a model's path
    return [
        Route("/chat/completions", complete, methods=["POST"]),
        Route(
            "/models/{id:path}/v1/chat/completions",
            complete,
            methods=["POST"],
            include_in_schema=False,
        ),
    ]
