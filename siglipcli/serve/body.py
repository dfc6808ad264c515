"""Request bodies: bounded in bytes and seconds, and JSON taken at its word.

JSON that readers disagree about is refused, not guessed at: keys twice, NaN and infinities, lone
surrogates, bytes that are not UTF-8. A body's structure is counted before it is parsed, as a list of
empty lists takes thirty times its bytes.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from siglipcli.serve.errors import ApiError
from siglipcli.serve.threads import BYTES, beside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request

    from siglipcli.serve.memory import RequestMemory
    from siglipcli.serve.settings import ServeSettings

__all__ = ["Pace", "Part", "content_type", "parse_json", "read_body", "read_form", "read_json"]

MAX_DEPTH = 64
MAX_ITEMS = 200_000  # commas, colons and brackets, of texts too
MAX_DIGITS = 64  # of a number
_SLOWEST = 250_000  # bytes a second, beyond the first seconds
_PIECE = 1 << 16  # bytes of a form that are parsed before other requests have their turn
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG_NUMBER = "a number with more than {} digits"


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `data` is str for a text, bytes for a file, which alone has a `filename`."""

    name: str
    data: str | bytes
    filename: str = ""


def content_type(request: Request) -> str:
    """Return the media type without its parameters, lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, settings: ServeSettings, limit: int | None = None) -> bytes:
    """Return the whole body. Raises ApiError: 413 over `limit` bytes, 408 after too long, 429 where busy."""
    limit = min(limit or settings.max_request_bytes, settings.max_request_bytes)
    limit = min(limit, settings.max_memory_bytes // 4)  # no one request keeps all others out
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "Compressed bodies are not taken.", code="content_encoding")
    return await _received(request, settings, limit)


async def _received(request: Request, settings: ServeSettings, limit: int) -> bytes:
    memory: RequestMemory = request.app.state.memory
    parts: list[bytes] = []
    size = 0
    pace = Pace(settings, anyio.current_time)
    with anyio.move_on_after(pace.left()) as scope:
        async for chunk in request.stream():
            pace.took(len(chunk))
            scope.deadline = anyio.current_time() + pace.left()
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            memory.add(len(chunk))
            parts.append(chunk)
        return b"".join(parts)
    raise _too_slow()


class Pace:
    """How long the next part of a body may take.

    Bytes that came fast earn no more than a stall's seconds: a client that has sent nearly all, and then
    waits, would keep its memory from others.
    """

    def __init__(self, settings: ServeSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stall = settings.stall_seconds
        self._last = clock()
        self._first_end = self._end = self._last + settings.body_seconds

    def left(self) -> float:
        """Return the seconds, 0 where they are over."""
        return max(min(self._end, self._last + self._stall) - self._clock(), 0)

    def took(self, count: int) -> None:
        """Take note of so many bytes that have come now."""
        if count:
            self._last = self._clock()
            most = max(self._first_end, self._last + self._stall)
            self._end = min(self._end + count / _SLOWEST, most)


def _too_slow() -> ApiError:
    words = "The body did not arrive in time."
    return ApiError(408, words, code="slow_body", headers={"Connection": "close"})


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"The body is larger than {limit:,} bytes.",
        code="body_too_large",
        headers={"Connection": "close"},
    )


async def read_json(request: Request, settings: ServeSettings) -> dict[str, Any]:
    """Return the body as a JSON object. Raises ApiError as `read_body` does; 415, and 400 for bad JSON."""
    kind = content_type(request)
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, "Send JSON, as application/json.", code="content_type")
    body = await read_body(request, settings)
    parsed = await beside(lambda: parse_json(body), len(body), BYTES)
    if not isinstance(parsed, dict):
        raise _bad("the body is not an object")
    return parsed


def parse_json(body: bytes) -> Any:
    """Return what JSON says. Raises ApiError (400) for what is no JSON, or not the same to everyone."""
    if sum(map(body.count, (b",", b"[", b"{", b":"))) > MAX_ITEMS:
        raise _bad("too many values")
    try:
        text = body.decode("utf-8")
        parsed = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
        _check_depth(parsed)
        if _LONE.search(body):
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise _bad("the bytes are not UTF-8") from None
    except UnicodeEncodeError:
        raise _bad("half a surrogate pair") from None
    except RecursionError:
        raise _bad(f"nested more than {MAX_DEPTH} levels deep") from None
    except json.JSONDecodeError as error:
        raise _bad(f"{error.msg} at character {error.pos}") from None
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _bad("a key that is there twice")
    return made


def _constant(word: str) -> NoReturn:
    raise _bad(f"{word} is no number of JSON")


def _float(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise _bad(_LONG_NUMBER.format(MAX_DIGITS))
    number = float(text)
    if not math.isfinite(number):
        raise _bad("a number that is too large")
    return number


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _bad(_LONG_NUMBER.format(MAX_DIGITS))
    return int(text)


def _check_depth(parsed: Any) -> None:
    level = [parsed]
    for _ in range(MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
        if not level:
            return
    raise _bad(f"nested more than {MAX_DEPTH} levels deep")


def _items(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, (dict, list))]


def _bad(why: str) -> ApiError:
    return ApiError(400, f"This is not the JSON that was expected: {why}.", code="bad_json")


async def read_form(request: Request, settings: ServeSettings) -> list[Part]:
    """Return the fields of multipart/form-data, in order. Raises ApiError as `read_body` does; 400."""
    from starlette.formparsers import MultiPartException, MultiPartParser

    if _charset(request) not in {"utf-8", "utf8"}:
        raise _bad_form()
    body = await read_body(request, settings)

    async def stream() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(body), _PIECE):
            yield body[at : at + _PIECE]
            await asyncio.sleep(0)

    parser = MultiPartParser(
        request.headers,
        stream(),
        max_files=settings.max_images,
        max_fields=settings.max_labels + 16,
        max_part_size=1 << 20,
    )
    parser.spool_max_size = settings.max_request_bytes  # nothing of a request is written to a disk
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError, UnicodeDecodeError):
        raise _bad_form() from None
    try:
        parts = [await _part(name, value) for name, value in form.multi_items()]
    finally:
        await form.close()
    if not parts:
        raise _bad_form()
    memory: RequestMemory = request.app.state.memory
    memory.add(sum(len(part.data) for part in parts if isinstance(part.data, bytes)))
    return parts


def _charset(request: Request) -> str:
    """Return the charset that the client names, lower case: Python has codecs that take minutes, or lie."""
    from python_multipart.multipart import parse_options_header

    _, options = parse_options_header(request.headers.get("content-type", ""))
    return options.get(b"charset", b"utf-8").decode("latin-1").strip().lower()


def _bad_form() -> ApiError:
    words = "The form cannot be read, or is empty; send multipart/form-data."
    return ApiError(400, words, code="bad_form")


async def _part(name: str, value: Any) -> Part:
    if isinstance(value, str):
        return Part(name, value)
    return Part(name, await value.read(), value.filename or "file")
