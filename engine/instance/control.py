"""What the supervisor says to an instance that starts: one order after the other, each waited for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from engine.control.link import ControlLink
from engine.errors import ProtocolError


@dataclass(frozen=True)
class Message:
    """One control message with its descriptors, which now belong to the receiver."""

    fields: dict[str, Any]
    fds: list[int]


def expect(link: ControlLink, type_: str) -> Message:
    """Waits for one message of this type; a welcome may come before it. Raises PeerGone, ProtocolError for others."""
    while (message := Message(*link.next_message())).fields["type"] == "welcome":
        pass  # the link has kept what it offers
    if message.fields["type"] != type_:
        for fd in message.fds:
            os.close(fd)
        raise ProtocolError(f"expected {type_!r} from the supervisor, got {message.fields['type']!r}")
    return message
