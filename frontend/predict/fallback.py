"""The original API, asked over HTTP while the engine cannot serve.

One pool of connections a process, made on the first use after a fork. A request that was itself such a call is never
sent on, so that two servers which name each other do not pass one request round for ever.
"""

from __future__ import annotations

import logging
import os
from typing import Any
from urllib.parse import urlsplit

import urllib3

from engine.config import Settings
from frontend.predict.parameters import deadline_of
from frontend.server.message import HttpRequest, HttpResponse

SERVED_BY_ORIGINAL = ("X-Served-By", "original")
MARK = "x-nightscan-fallback"

_LOG = logging.getLogger(__name__)
_DEFAULT_PATH = "/api/predict"
_SENT_ON = ("authorization", "accept", "x-request-id", "x-api-key")
_HANDED_BACK = ("Content-Type", "Retry-After", "Content-Encoding")
_MIN_READ_S = 1.0


class OriginalApi:
    """Callable: a request -> the original API's response, or None when it cannot be had."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        given = settings.original_api_url
        self._url = given if urlsplit(given).path.strip("/") else given.rstrip("/") + _DEFAULT_PATH
        self._connect_s = settings.http_connection_timeout
        self._connections = settings.http_max_connections
        self._pool: urllib3.PoolManager | None = None
        self._pid = 0

    def __call__(self, request: HttpRequest) -> HttpResponse | None:
        if MARK in request.headers:
            return None
        headers = {name: request.headers[name] for name in _SENT_ON if name in request.headers}
        body, headers["content-type"] = _body_of(request)
        read_s = max(_MIN_READ_S, deadline_of(request, self._settings).remaining_s())
        try:
            answer = self._opened_pool().request(
                "POST",
                self._url,
                body=body,
                headers={**headers, MARK: "1"},
                timeout=urllib3.Timeout(connect=self._connect_s, read=read_s),
                redirect=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            _LOG.warning("original API %s: %s", self._url, error)
            return None
        kept = [(name, answer.headers[name]) for name in _HANDED_BACK if name in answer.headers]
        return HttpResponse(answer.status, [*kept, SERVED_BY_ORIGINAL], answer.data)

    def statistics(self) -> dict[str, int | bool]:
        """Whether the pool is open in this process, and its bound."""
        return {"initialized": self._pid == os.getpid(), "max_connections": self._connections}

    def close(self) -> None:
        """Closes the idle connections of this process."""
        if self._pool is not None and self._pid == os.getpid():
            self._pool.clear()
        self._pool = None

    def _opened_pool(self) -> urllib3.PoolManager:
        # A connection shared with the parent process would mix up two processes' answers.
        if self._pool is None or self._pid != os.getpid():
            self._pool = urllib3.PoolManager(num_pools=1, maxsize=self._connections, block=False, retries=False)
            self._pid = os.getpid()
        return self._pool


def _body_of(request: HttpRequest) -> tuple[Any, str]:
    """The body and its type; put together again where a check of the host application has taken the form apart."""
    upload = request.upload
    if len(request.body) or upload is None:
        return request.body, request.headers.get("content-type", "application/octet-stream")
    file = (upload.filename, bytes(upload.data), upload.content_type or "application/octet-stream")
    return urllib3.encode_multipart_formdata({**upload.fields, "file": file})
