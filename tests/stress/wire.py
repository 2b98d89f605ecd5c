"""Messages between the parent of the stress test and its children, and what a request and its answer look like."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BYTES = 2048
CLASSES = 4
HEADER_BYTES = 16
MAX_FDS = 64


def send(sock: socket.socket, message: Mapping[str, Any], fds: list[int] | None = None) -> None:
    """One message, whole or not at all; a peer that is gone is the caller's to learn from its pidfd."""
    try:
        socket.send_fds(sock, [json.dumps(message).encode()], fds or [])
    except (BrokenPipeError, ConnectionResetError):
        return


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """One message and its descriptors; None if the other end is gone."""
    try:
        data, fds, _, _ = socket.recv_fds(sock, 65536, MAX_FDS)
    except ConnectionResetError:
        return None
    return (json.loads(data), list(fds)) if data else None


def seal(producer: int, number: int, body: bytes) -> tuple[bytes, int]:
    """The payload of request `number`, which ends with the checksum of all before it, and that checksum.

    It is a whole number of int16 samples: a zero follows a body that is none.
    """
    head = producer.to_bytes(8, "little") + number.to_bytes(8, "little") + body + bytes(len(body) % 2)
    checksum = zlib.crc32(head)
    return head + checksum.to_bytes(4, "little"), checksum


def checksum_if_whole(payload: NDArray[np.uint8]) -> int | None:
    """The checksum of a payload that `seal` made; None for a payload that was overwritten, wholly or in part."""
    checksum = zlib.crc32(payload[:-4].data)
    return checksum if checksum == int.from_bytes(payload[-4:].tobytes(), "little") else None


def answer_to(checksum: int, size_bytes: int) -> tuple[float, float, float, float]:
    """What a consumer answers: exact in float32, and different for every request."""
    return (float(checksum & 0xFFFF), float(checksum >> 16), float(size_bytes), 1.0)
