"""Who may ask, and how the API says no: one line in `detail`, whatever went wrong.

Reading is open on the loopback address the server binds; every request that changes something
carries `Authorization: Bearer <operator.token>`, which no page of another origin can send. A
request by another host's name is refused: a name that resolves to 127.0.0.1 would make the pages of
its owner same-origin with ours (DNS rebinding).
"""

from __future__ import annotations

import secrets
import sys
import traceback

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import (
    ClientException,
    HTTPException,
    NotAuthorizedException,
    ValidationException,
)
from litestar.handlers import BaseRouteHandler
from litestar.types import ExceptionHandlersMap, Scope
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .errors import FleetError, UnknownError

Refusal = Response[dict[str, object]]

LOOPBACK_NAMES = ("127.0.0.1", "localhost")
HEADERS = {
    # Nothing is loaded from elsewhere and no script stands in the page: what a device says of
    # itself could not run even if it were not escaped.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def operator(connection: ASGIConnection, _: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Guard of every route that changes something."""
    wanted = f"Bearer {connection.app.state.services.token}"
    given = connection.headers.get("Authorization", "")
    if not secrets.compare_digest(given.encode(), wanted.encode()):
        raise NotAuthorizedException(
            "this needs the operator's token (operator.token)",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def only_loopback(request: Request) -> None:  # type: ignore[type-arg]
    """Runs before every handler."""
    name = request.headers.get("Host", "").partition(":")[0]
    if name.lower() not in LOOPBACK_NAMES:  # whatever the port: it may be forwarded
        raise ClientException("the Host header does not name this machine; use 127.0.0.1")


async def tell(error: Exception, _: Scope) -> None:
    """A fault of ours: where it happened goes to stderr, the caller sees only a 500."""
    if not isinstance(error, HTTPException | FleetError | SQLAlchemyError):
        traceback.print_exception(error, file=sys.stderr)


def one_line(error: BaseException) -> str:
    """An error's text without line breaks, and of the database's without its statement."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(told).split())


def _problem(_: Request, error: FleetError) -> Refusal:  # type: ignore[type-arg]
    return _refuse(404 if isinstance(error, UnknownError) else 409, one_line(error))


def _invalid(_: Request, error: ValidationException) -> Refusal:  # type: ignore[type-arg]
    found = error.extra if isinstance(error.extra, list) else []
    texts = (f"{item.get('key', 'data')}: {item.get('message')}" for item in found)
    named = "; ".join(text.removeprefix("data: ") for text in texts)
    return _refuse(400, named or error.detail)


def _unavailable(_: Request, error: SQLAlchemyError) -> Refusal:  # type: ignore[type-arg]
    return _refuse(503, f"the fleet's database cannot be used: {one_line(error)}")


def _refuse(status: int, text: str) -> Refusal:
    return Response({"status_code": status, "detail": text}, status_code=status)


HANDLERS: ExceptionHandlersMap = {
    FleetError: _problem,
    ValidationException: _invalid,
    SQLAlchemyError: _unavailable,
}
