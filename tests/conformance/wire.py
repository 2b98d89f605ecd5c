"""Exactly these bytes to a server, and its answer: what a client really sends, without a client's help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.http import Connection, Response, request_bytes


class Answer(Response):
    """One response, for comparing."""

    @property
    def value(self) -> Any:
        """The body, which must be JSON."""
        return self.json()

    @property
    def pair(self) -> tuple[int, Any]:
        """Status and JSON, for comparing both at once."""
        return self.status, self.value


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that is closed after the block."""
        with Connection((self.host, self.port)) as connection:
            yield connection

    def send(self, *pieces: bytes) -> Answer:
        """Sends the pieces over a connection of their own and reads one response."""
        with self.connection() as connection:
            for piece in pieces:
                connection.send(piece)
            return answer_on(connection)

    def get(self, path: str) -> Answer:
        return self.send(request_bytes("GET", path))

    def post(self, path: str, body: bytes, content_type: str, **headers: str) -> Answer:
        """A POST with Content-Length; underscores in header names stand for hyphens."""
        fields = {"Content-Type": content_type, **{name.replace("_", "-"): text for name, text in headers.items()}}
        return self.send(request_bytes("POST", path, body, fields))

    def upload(self, path: str, content: bytes, filename: str = "night.wav", **form: str) -> Answer:
        """The usual multipart upload, with `form` as fields beside the file."""
        body, content_type = multipart(content, filename, "audio/wav", form)
        return self.post(path, body, content_type)


def answer_on(connection: Connection) -> Answer:
    """The next response on a connection."""
    response = connection.read_response()
    return Answer(response.status, response.headers, response.body)


def head(method: str, path: str, fields: dict[str, str]) -> bytes:
    """A request's head alone, with exactly these fields and a Host."""
    lines = [f"{method} {path} HTTP/1.1", "Host: prediction.example"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


BOUNDARY = "----------------------------8f3a1b7c2d"


def multipart(
    content: bytes, filename: str, part_type: str | None, form: dict[str, str] | None = None, *, end: bool = True
) -> tuple[bytes, str]:
    """(body, content type). `part_type` None: the part has no type; `end` False: no closing boundary."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (form or {}).items()
    ]
    type_line = "" if part_type is None else f"Content-Type: {part_type}\r\n"
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n'
    parts.append(f"--{BOUNDARY}\r\n{disposition}{type_line}\r\n".encode() + content)
    if end:
        parts.append(f"\r\n--{BOUNDARY}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={BOUNDARY}"
