"""What the transport refuses by itself: requests that no application sees to their end.

The application may have words of its own for them (see `RefusalWording`): who calls its routes should find the form of
their errors, the request's id, and what a browser wants to see before it shows an answer, whoever refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from engine.errors import CallerError
from frontend.server.message import HttpResponse, json_response
from frontend.server.wire import CLOSE, text_head

Fields = Sequence[tuple[bytes, bytes]]


class TransportRefusal(CallerError):
    """The request is not accepted; `status` is what its sender gets."""

    code = "BAD_REQUEST"
    status = 400
    come_again_s: float | None = None

    def __init__(self, text: str = "") -> None:
        super().__init__(text, retry_after_s=self.come_again_s)


class HeadersTooSlow(TransportRefusal):
    """The request headers took too long"""

    code = "REQUEST_TIMEOUT"
    status = 408


class BodyTooSlow(TransportRefusal):
    """The request body took too long"""

    code = "REQUEST_TIMEOUT"
    status = 408


class UpgradeRefused(TransportRefusal):
    """An upgrade of a request with a body is not supported"""

    code = "NOT_IMPLEMENTED"
    status = 501


class TooManyUploads(TransportRefusal):
    """Too many uploads at once"""

    code = "TOO_MANY_UPLOADS"
    status = 503
    come_again_s = 5.0  # arbitrary
    retryable = True


class TooManyConnections(TransportRefusal):
    """Too many connections"""

    code = "TOO_MANY_CONNECTIONS"
    status = 503
    come_again_s = 1.0
    retryable = True


class Leaving(TransportRefusal):
    """The server is shutting down"""

    code = "CLOSING"
    status = 503
    come_again_s = 1.0
    retryable = True


class RefusedRequest(NamedTuple):
    """What is known of one: `method` and `path` are empty where they are not; `fields` are those that have come."""

    method: str
    path: str
    fields: Fields
    client_address: str
    arrival_ns: int  # of the headers; of the refusal where they have not all come
    complete_ns: int  # when the body was there; of the refusal where it was not


@runtime_checkable
class RefusalWording(Protocol):
    """An application that says what a refusal looks like, and counts it."""

    def words_for(self, error: TransportRefusal, refused: RefusedRequest) -> HttpResponse:
        """The answer, which is sent."""


class PlainWording:
    """For an application that has no words of its own."""

    def words_for(self, error: TransportRefusal, refused: RefusedRequest) -> HttpResponse:
        response = json_response(error.status, {"error": str(error), "code": error.code})
        if error.retry_after_s is not None:
            response.headers.append(("Retry-After", str(round(error.retry_after_s))))
        return response


def wording_of(app: object) -> RefusalWording:
    """The words of an application, or the plain ones."""
    return app if isinstance(app, RefusalWording) else PlainWording()


def last_answer(response: HttpResponse) -> bytes:
    """`response` as bytes, after which the connection closes."""
    length = b"content-length: %d\r\n" % len(response.body)
    return text_head(response.status, response.headers, length, CLOSE) + response.body
