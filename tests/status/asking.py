"""A client of a status server's socket: one request a connection, or bytes as they are."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.spec import DEFAULT_DEPLOYMENT_ID

ANSWER_S = 20.0


@dataclass(frozen=True)
class Said:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = opened(self._path)


class Asking:
    """Of the engine in one runtime directory."""

    def __init__(self, runtime_dir: Path) -> None:
        self.runtime_dir = runtime_dir

    @property
    def path(self) -> Path:
        return self.runtime_dir / "status.sock"

    @property
    def token(self) -> str:
        return (self.runtime_dir / "admin.token").read_text().strip()

    @property
    def bearer(self) -> dict[str, str]:
        """The header of whoever has the token."""
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Said:
        return self.ask("GET", target, headers=headers)

    def order(self, target: str, **fields: object) -> Said:
        """With the token, as JSON."""
        headers = {**self.bearer, "Content-Type": "application/json"}
        return self.ask("POST", target, json.dumps(fields).encode(), headers)

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Said:
        connection = _OverSocket(self.path)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Said(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def raw(self, sent: bytes) -> Said:
        """What is answered to these bytes."""
        with opened(self.path) as connection:
            connection.sendall(sent)
            response = http.client.HTTPResponse(connection)
            response.begin()
            try:
                return Said(response.status, dict(response.headers), response.read())
            finally:
                response.close()

    def connect(self) -> socket.socket:
        return opened(self.path)


def opened(path: Path) -> socket.socket:
    """A connection that waits for at most `ANSWER_S`."""
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(str(path))  # waits where the backlog is full, as it does not with a time limit
    except OSError:
        connected.close()
        raise
    connected.settimeout(ANSWER_S)
    return connected


def deployment(asking: Asking) -> dict[str, Any]:
    """What is said of the configured one to who has the token; empty if there is none."""
    found: list[dict[str, Any]] = asking.get("/status", asking.bearer).json.get("deployments", [])
    return next((each for each in found if each["deployment"] == DEFAULT_DEPLOYMENT_ID), {})


def serves(asking: Asking, ready: int) -> bool:
    """Whether there is one version, with so many instances."""
    found = deployment(asking)
    return [each["ready"] for each in found.get("versions", [])] == [ready] and found["state"] == "ready"
