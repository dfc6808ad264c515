"""What the OpenAPI document says of OpenAI's formats: operations, and examples that run."""

from __future__ import annotations

from typing import Any

from siglipcli.serve.openapi import IMAGE
from siglipcli.serve.wire.describe import (
    IMAGE_FIELD,
    LABEL,
    LABELS,
    MODEL,
    NUMBER,
    array,
    operation,
    ref,
    request,
    text,
)

__all__ = ["CHAT", "EMBEDDINGS"]

_PART = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["text", "image_url"]},
        "text": text(),
        "image_url": {
            "anyOf": [
                text(),
                {"type": "object", "required": ["url"], "properties": {"url": IMAGE_FIELD}},
            ]
        },
    },
}
_MESSAGES = array(
    {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": text(),
            "content": {"anyOf": [text(), {"type": "null"}, array(_PART)]},
        },
    },
    "The last message with an image counts; texts are not read.",
)
_FORMAT = {
    "type": "object",
    "description": "OpenAI’s `json_schema`. A string with an enum becomes the best label, an array of these the tags.",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "json_schema": {
            "type": "object",
            "required": ["schema"],
            "properties": {
                "name": text(),
                "strict": {"type": ["boolean", "null"]},
                "schema": {"type": "object"},
            },
        },
        "value": {"type": "object", "description": "The schema, as huggingface_hub sends it."},
    },
}
_CHAT = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": MODEL,
        "messages": _MESSAGES,
        "response_format": _FORMAT,
        "candidate_labels": {
            "description": "Labels, where the schema has none.",
            "anyOf": [text("With commas between them."), array(LABEL), ref("LabelSet")],
        },
        **LABELS,
        "stream": {
            "type": "boolean",
            "description": "The completion as one chunk of server-sent events.",
        },
    },
}
_COMPLETION = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage", "classification"],
    "properties": {
        "id": text(),
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": text(),
        "choices": array(
            {
                "type": "object",
                "properties": {
                    "index": {"const": 0},
                    "message": {
                        "type": "object",
                        "properties": {
                            "role": {"const": "assistant"},
                            "content": text("JSON that fits the schema."),
                        },
                    },
                    "finish_reason": {"const": "stop"},
                },
            }
        ),
        "usage": ref("Usage"),
        "classification": {
            "type": "object",
            "description": "All scores.",
            "required": ["prediction", "score", "predictions"],
            "properties": {
                "prediction": text("The label with the highest score."),
                "score": NUMBER,
                "predictions": array(ref("Score")),
            },
        },
    },
}
_USER = {
    "role": "user",
    "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}],
}
_ENUM = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["red circle", "blue heart"]}},
    "required": ["label"],
}

CHAT: dict[str, dict[str, Any]] = {
    "POST /chat/completions": operation(
        "chat",
        "Label an image, for OpenAI’s clients",
        "Labels are the enums of the JSON schema in `response_format`, or stand beside the messages. Sampling"
        " options are ignored: nothing is sampled.",
        request(
            _CHAT,
            {
                "Labels in a schema": {
                    "messages": [_USER],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "result", "schema": _ENUM},
                    },
                },
                "Labels beside the messages": {
                    "messages": [_USER],
                    "candidate_labels": ["red circle", "blue heart"],
                },
            },
        ),
        {"application/json": {"schema": _COMPLETION}},
        tag="Classification",
    )
}

_EMBEDDINGS = {
    "type": "object",
    "properties": {
        "model": MODEL,
        "input": {
            "description": "Texts; data: URIs are images.",
            "anyOf": [
                text(),
                array(
                    {
                        "anyOf": [
                            text(),
                            {
                                "type": "object",
                                "properties": {"image": IMAGE_FIELD, "text": text()},
                            },
                        ]
                    }
                ),
            ],
        },
        "messages": _MESSAGES
        | {"description": "In place of `input`: one part, an image or a text."},
        "modality": {
            "enum": ["text", "image"],
            "description": "What plain strings of `input` are.",
        },
        "encoding_format": {"enum": ["float", "base64"], "default": "float"},
        "dimensions": {"type": "integer", "description": "The model’s own, where it is said."},
    },
    "anyOf": [{"required": ["input"]}, {"required": ["messages"]}],
}
_VECTORS = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"const": "list"},
        "data": array(
            {
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"const": "embedding"},
                    "index": {"type": "integer"},
                    "embedding": {
                        "description": "A unit vector: numbers, or base64 of little-endian float32.",
                        "anyOf": [array(NUMBER), text()],
                    },
                },
            }
        ),
        "model": text(),
        "usage": ref("Usage"),
    },
}

EMBEDDINGS: dict[str, dict[str, Any]] = {
    "POST /embeddings": operation(
        "embed",
        "Embed texts and images, for OpenAI’s clients",
        "Texts are embedded as they are, without a template. Their cosine with an image is what a score is made of.",
        request(
            _EMBEDDINGS,
            {
                "Texts": {"input": ["a red circle", "a blue heart"]},
                "An image": {"input": f"data:image/png;base64,{IMAGE}"},
            },
        ),
        {"application/json": {"schema": _VECTORS}},
        tag="Embeddings",
    )
}
