"""The original API, asked over HTTP while the engine cannot serve.

A request that was itself such a call is never sent on, so that two servers which name each other do not pass one
request round for ever. An answer is read to its end before its first byte goes on: one begun cannot become a 503.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from engine.clock import Deadline
from engine.config import Settings
from engine.errors import EngineError
from engine.stores.http_calls import HttpCall
from engine.stores.http_line import AnswerTooLarge, HttpOrigin, HttpQuestion
from frontend.attach import current_stores
from frontend.predict.context import Inquiry
from frontend.predict.parameters import deadline_of
from frontend.server.message import HttpRequest, HttpResponse

SERVED_BY_ORIGINAL = ("X-Served-By", "original")
MARK = "x-nightscan-fallback"

_LOG = logging.getLogger(__name__)
_MOST_ID_CHARACTERS = 128
_DEFAULT_PATH = "/api/predict"
_SENT_ON = ("authorization", "accept", "x-request-id", "x-api-key")
_HANDED_BACK = ("Content-Type", "Retry-After", "Content-Encoding")
# Of the time that is left, for a refusal that has to be with the caller within it; both are arbitrary.
_MARGIN = 0.1
_LONGEST_MARGIN_S = 0.5


class OriginalApi:
    """An `Original`: asks without waiting, in threads of the pool's own."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for an address that is none."""
        HttpOrigin.of(settings.original_api_url)
        self._settings = settings
        url = urlsplit(settings.original_api_url)
        account = urllib3.util.parse_url(settings.original_api_url).auth
        self._own = urllib3.util.make_headers(basic_auth=unquote(account)) if account else {}
        self._target = (url.path if url.path.strip("/") else _DEFAULT_PATH) + (f"?{url.query}" if url.query else "")

    def __call__(self, request: HttpRequest) -> Inquiry:
        if MARK in request.headers:
            return _Nobody()
        left_s = deadline_of(request, self._settings).remaining_s()
        deadline = Deadline.after_s(left_s - min(_LONGEST_MARGIN_S, left_s * _MARGIN))
        headers = {**self._own, **{name: request.headers[name] for name in _SENT_ON if name in request.headers}}
        body, headers["content-type"] = _body_of(request)
        try:
            pool = current_stores(self._settings).original_api(self._settings)
            call = pool.ask(HttpQuestion(self._target, {**headers, MARK: "1"}, body), deadline)
        except EngineError as error:
            told = {"request_id": request.headers.get("x-request-id", "")[:_MOST_ID_CHARACTERS]}
            _LOG.info("the original API is not asked: %s", error, extra=told)
            return _Nobody()
        return _AskedApi(call)


class _AskedApi:
    """An `Inquiry` with the original API."""

    def __init__(self, call: HttpCall) -> None:
        self._call = call

    @property
    def is_done(self) -> bool:
        return self._call.is_done

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        self._call.add_done_callback(callback)

    @property
    def outcome(self) -> str:
        if not self._call.was_asked:
            return "refused"
        return "answered" if self._call.is_answered else "failed"

    def response(self) -> HttpResponse | None:
        try:
            answer = self._call.result()
        except EngineError as error:
            _LOG.log(logging.WARNING if isinstance(error, AnswerTooLarge) else logging.INFO, "original API: %s", error)
            return None
        kept = [(name, answer.headers[name]) for name in _HANDED_BACK if name in answer.headers]
        return HttpResponse(answer.status, [*kept, SERVED_BY_ORIGINAL], answer.body)

    def cancel(self) -> None:
        self._call.cancel()


class _Nobody:
    """An `Inquiry` that nobody answers."""

    is_done = True
    outcome = "refused"

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        callback()

    def response(self) -> None:
        return None

    def cancel(self) -> None:
        """Nothing is held."""


def _body_of(request: HttpRequest) -> tuple[Any, str]:
    """The body and its type; put together again where a check of the host application has taken the form apart."""
    upload = request.upload
    if len(request.body) or upload is None:
        return request.body, request.headers.get("content-type", "application/octet-stream")
    file = (upload.filename, bytes(upload.data), upload.content_type or "application/octet-stream")
    return urllib3.encode_multipart_formdata({**upload.fields, "file": file})
