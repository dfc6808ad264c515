"""Work of a request that would hold up all others is done beside the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from starlette.responses import JSONResponse

from siglipcli.serve.threads import VALUES, beside
from siglipcli.serve.wire.fields import is_larger

if TYPE_CHECKING:
    from collections.abc import Callable

    from siglipcli.serve.settings import ServeSettings

__all__ = ["json_response", "parsed"]

T = TypeVar("T")


async def parsed(
    parse: Callable[[object, ServeSettings], T], body: object, settings: ServeSettings
) -> T:
    """Do `parse(body, settings)`, on a thread where there is much to read."""
    size = VALUES + 1 if is_larger(body, VALUES) else 0
    return await beside(lambda: parse(body, settings), size, VALUES)


async def json_response(
    make: Callable[[], object], values: int, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return the response with what `make` makes, about `values` values, on a thread where they are many."""
    return await beside(lambda: JSONResponse(make(), headers=headers), values, VALUES)
