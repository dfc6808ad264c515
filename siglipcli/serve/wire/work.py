"""Work of a request that would hold up all others is done beside the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import JSONResponse

from siglipcli.serve.wire.fields import is_larger

if TYPE_CHECKING:
    from collections.abc import Callable

    from siglipcli.serve.settings import ServeSettings

__all__ = ["json_response", "parsed"]

T = TypeVar("T")

_VALUES = 500
"""Values of JSON that take about a millisecond to read or to write."""


async def parsed(
    parse: Callable[[object, ServeSettings], T], body: object, settings: ServeSettings
) -> T:
    """Do `parse(body, settings)`, on a thread where there is much to read."""
    if is_larger(body, _VALUES):
        return await asyncio.to_thread(parse, body, settings)
    return parse(body, settings)


async def json_response(
    make: Callable[[], object], values: int, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return the response with what `make` makes, about `values` values, on a thread where they are many."""
    if values > _VALUES:
        return await asyncio.to_thread(lambda: JSONResponse(make(), headers=headers))
    return JSONResponse(make(), headers=headers)
