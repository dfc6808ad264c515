"""Images and messages as requests have them: a reference is base64, a `data:` URI or a URL, not read yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from siglipcli.serve.errors import ApiError
from siglipcli.serve.wire.fields import Fields, kind, text_of

__all__ = ["Image", "Text", "image_of", "is_data_uri", "message_parts", "usage"]

_MOST_OF_HEAD = 200  # characters of a data: URI before its comma
_MOST_MESSAGES, _MOST_PARTS = 1_000, 1_000


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a request, as a reference that is still to be read; `param` is its field."""

    content: str
    param: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a request, and its field."""

    text: str
    param: str


def image_of(value: object, param: str) -> Image:
    """Return the image in a JSON value: a text, or an object with `url` as OpenAI's `image_url` has it.

    Raises ApiError for any other value.
    """
    if isinstance(value, dict):
        fields = Fields(value, param)
        return image_of(fields.need("url", "an image's data: URI"), fields.place("url"))
    if not isinstance(value, str) or not value or value.isspace():
        raise ApiError(
            400,
            f"{param}: expected an image as base64 or data: URI, found {kind(value)}.",
            param=param,
        )
    return Image(value, param)


def is_data_uri(text: str) -> bool:
    """Whether a text is a `data:` URI rather than words."""
    return text[:5].lower() == "data:" and "," in text[:_MOST_OF_HEAD]


def message_parts(fields: Fields) -> list[list[Image | Text]]:
    """Return the texts and images of `messages`, message by message. Raises ApiError."""
    items = fields.items("messages", "messages")
    if items is None or len(items) > _MOST_MESSAGES:
        raise ApiError(
            400, "messages: expected a list of messages, one of them with an image_url part.",
            param="messages",
        )  # fmt: skip
    return [_parts(Fields(item, f"messages[{at}]")) for at, item in enumerate(items)]


def _parts(message: Fields) -> list[Image | Text]:
    content, place = message.get("content"), message.place("content")
    text_of(message.need("role", "user, system or assistant"), message.place("role"), most=100)
    if content is None or isinstance(content, str):  # an assistant's message may be empty
        return [Text(text_of(content, place), place)] if content and content.strip() else []
    items = message.items("content", "parts") or []
    if len(items) > _MOST_PARTS:
        raise ApiError(400, f"{place}: more than {_MOST_PARTS:,} parts.", param=place)
    return [_part(Fields(item, f"{place}[{at}]")) for at, item in enumerate(items)]


def _part(part: Fields) -> Image | Text:
    sort: Any = part.need("type", "text or image_url")
    if sort in ("image_url", "input_image"):
        value = part.need("image_url", "an object with `url`, a data: URI")
        return image_of(value, part.place("image_url"))
    if sort in ("text", "input_text"):
        text = part.need("text", "a text")
        if text == "":
            return Text("", part.place("text"))
        return Text(text_of(text, part.place("text")), part.place("text"))
    raise ApiError(
        400, f"{part.place('type')}: expected text or image_url; other parts are not read.",
        param=part.place("type"),
    )  # fmt: skip


def usage(*, images: int = 0, texts: int = 0) -> dict[str, int]:
    """Return what OpenAI's clients expect, and what was really counted: nothing here is paid by the token."""
    return {"prompt_tokens": 0, "total_tokens": 0, "images": images, "texts": texts}
