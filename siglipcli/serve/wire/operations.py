"""What the OpenAPI document says of /classify and of Hugging Face's format: operations, schemas, examples that run."""

from __future__ import annotations

from typing import Any

from siglipcli.serve.openapi import IMAGE
from siglipcli.serve.wire.describe import (
    IMAGE_FIELD,
    LABEL,
    LABELS,
    MODEL,
    NUMBER,
    THRESHOLD,
    array,
    operation,
    ref,
    request,
    text,
)
from siglipcli.serve.wire.parts import usage

__all__ = ["CLASSIFY", "HUGGINGFACE", "SCHEMAS"]

_ERROR = {
    "type": "object",
    "required": ["kind", "message"],
    "properties": {"kind": text(), "message": text()},
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "LabelSet": {
        "type": "object",
        "description": "A label set with the keys of a label file.",
        "required": ["labels"],
        "properties": {
            "name": text("`labels` where there is none."),
            "description": text(),
            "templates": array(text(), "Texts with {} for the label, once."),
            "aggregate": {"enum": ["mean", "max"]},
            "threshold": THRESHOLD,
            "bias_shift": NUMBER,
            "exclusive": {"type": "boolean"},
            "calibrated": {"type": "object"},
            "labels": array(LABEL),
        },
        "additionalProperties": False,
    },
    "Score": {
        "type": "object",
        "required": ["label", "score", "softmax", "logit", "set", "tag"],
        "properties": {
            "label": text("With its parents before it: `bird/owl`."),
            "score": NUMBER | {"description": "sigmoid(logit), each label on its own, from 0 to 1."},
            "softmax": NUMBER | {"description": "Over the logits of its label set."},
            "logit": NUMBER,
            "set": text("The name of its label set."),
            "tag": {"type": "boolean", "description": "Whether the score reaches the label’s threshold."},
        },
    },
    "Classification": {
        "type": "object",
        "description": "One image: `error`, or everything else.",
        "required": ["object", "index"],
        "properties": {
            "object": {"const": "classification"},
            "index": {"type": "integer", "minimum": 0, "description": "The image’s place in the request."},
            "prediction": {"type": ["string", "null"], "description": "The label with the highest score."},
            "score": {"type": ["number", "null"], "description": "Its score."},
            "predictions": {
                "type": "array", "items": ref("Score"), "description": "Set by set, the best first.",
            },
            "error": _ERROR | {"description": "Why this image has no scores; `kind` is a stable word."},
        },
    },
    "Usage": {
        "type": "object",
        "description": "What was scored or embedded; tokens are always 0.",
        "properties": {key: {"type": "integer"} for key in usage()},
    },
}  # fmt: skip

_OPTIONS: dict[str, Any] = {
    "model": MODEL,
    "labels": {
        "description": "The labels: names, or a whole label set.",
        "anyOf": [text("With commas between them."), array(LABEL), ref("LabelSet")],
    },
    **LABELS,
    "top": {
        "type": "integer",
        "minimum": 1,
        "description": "How many labels of a set, beside all tags.",
    },
    "tags_only": {"type": "boolean", "description": "Only the labels that are tags."},
    "negatives": {"type": "boolean", "description": "Also the negative labels."},
}
_JSON = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": array(
            {"anyOf": [IMAGE_FIELD, {"type": "object", "required": ["image"], "properties": {"image": IMAGE_FIELD}}]},
            "The images.",
        ),
        **_OPTIONS,
    },
}  # fmt: skip
_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "contentMediaType": "image/*", "description": "A file; several are fine."},
        **_OPTIONS,
    },
}  # fmt: skip
_RESULT = {
    "type": "object",
    "required": ["object", "model", "data", "usage"],
    "properties": {
        "object": {"const": "list"},
        "model": text(),
        "data": {"type": "array", "items": ref("Classification")},
        "usage": ref("Usage"),
    },
}
_SET = {
    "name": "shapes",
    "templates": ["a {}.", "a drawing of a {}."],
    "threshold": 0.5,
    "labels": ["red circle", {"name": "heart", "prompts": ["a blue heart"]}],
}
_SHOWN = {
    "object": "list",
    "model": "demo",
    "data": [
        {
            "object": "classification", "index": 0, "prediction": "red circle", "score": 0.98,
            "predictions": [
                {"label": "red circle", "score": 0.98, "softmax": 0.99, "logit": 3.9, "set": "labels", "tag": True},
            ],
        }
    ],
    "usage": usage(images=1),
}  # fmt: skip

CLASSIFY: dict[str, dict[str, Any]] = {
    "POST /classify": operation(
        "classify",
        "Score images against labels",
        "Labels come with the request, as names or as a whole label set, or are named sets; without any the"
        " server’s own sets are used. An image that cannot be read is an element with `error`.",
        request(
            _JSON,
            {
                "Labels by name": {"input": [{"image": IMAGE}], "labels": ["red circle", "blue heart"]},
                "A whole label set": {"input": [{"image": IMAGE}], "labels": _SET},
                "A built-in label set": {"input": [{"image": IMAGE}], "label_sets": ["photo-quality"], "top": 3},
            },
        )
        | request(_FORM, {"A form": {"image": IMAGE, "labels": "red circle,blue heart"}}, "multipart/form-data"),
        {"application/json": {"schema": _RESULT, "example": _SHOWN}},
        tag="Classification",
    )
}  # fmt: skip


# --- Hugging Face ---------------------------------------------------------------------------------

_LIST = {
    "anyOf": [
        {
            "type": "array",
            "description": "Of an image: labels, the best first.",
            "items": {
                "type": "object",
                "required": ["label", "score"],
                "properties": {"label": text(), "score": NUMBER},
            },
        },
        array(array(NUMBER), "Of texts: a unit vector for each."),
    ]
}
_PARAMETERS = {
    "type": "object",
    "properties": {
        "candidate_labels": {
            "description": "Without them the server’s own label sets are used.",
            "anyOf": [text("With commas between them."), array(text())],
        },
        "hypothesis_template": text(
            "A prompt with {} for the label; “a photo of a {}.” without it."
        ),
        "top_k": {"type": "integer", "minimum": 1},
        "function_to_apply": {"enum": ["sigmoid", "softmax", "none"], "default": "sigmoid"},
    },
}
_INPUTS = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "inputs": {
            "description": "An image as base64 or data: URI, or texts to embed.",
            "anyOf": [
                text(),
                array(text()),
                {"type": "object", "required": ["image"], "properties": {"image": IMAGE_FIELD}},
            ],
        },
        "parameters": _PARAMETERS,
        "normalize": {"const": True},
        "dimensions": {"type": "integer", "description": "The model’s own, where it is said."},
    },
}
_ZERO_SHOT = {"inputs": IMAGE, "parameters": {"candidate_labels": ["red circle", "blue heart"]}}


def _inference(name: str, summary: str) -> dict[str, Any]:
    return operation(
        name,
        summary,
        "What `huggingface_hub.InferenceClient` sends for zero-shot image classification, image classification"
        " and feature extraction. The header `X-Model` names the model.",
        request(_INPUTS, {"Labels": _ZERO_SHOT, "Texts to embed": {"inputs": ["a red circle"]}})
        | request(text(contentMediaType="image/*"), {"The image itself": IMAGE}, "image/*"),
        {
            "application/json": {
                "schema": _LIST,
                "example": [
                    {"label": "red circle", "score": 0.98},
                    {"label": "blue heart", "score": 0.01},
                ],
            }
        },
        tag="Classification",
    )


HUGGINGFACE: dict[str, dict[str, Any]] = {
    "POST /": _inference("infer", "Score an image or embed texts, for Hugging Face’s clients"),
    "POST /models/{id}": _inference("inferByModel", "The same, at the model’s own path")
    | {
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": text(), "example": "demo"}
        ]
    },
}
