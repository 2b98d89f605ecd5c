"""Sends one recording and reads the answer."""

from __future__ import annotations

import http.client
import urllib.parse

from benchmarks.envelopes import ENVELOPES
from benchmarks.rivals.sizes import ANSWER_S


class Unreachable(Exception):
    """No answer came: nobody listens, or the connection broke."""


def ask(url: str, wav: bytes, envelope: str) -> tuple[int, bytes]:
    """Status and body, over a connection of its own. Raises Unreachable."""
    where = urllib.parse.urlsplit(url)
    sent = ENVELOPES[envelope](wav)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=ANSWER_S)
    try:
        connection.request("POST", f"{where.path}?{where.query}".rstrip("?"), sent.body, dict(sent.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(repr(error)) from error
    finally:
        connection.close()
