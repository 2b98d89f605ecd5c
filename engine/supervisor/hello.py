"""What a peer says of itself when it connects: who it is, by its own pidfd, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.errors import ProtocolError
from engine.launch.identity import Identity, pid_of
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer


@dataclass(frozen=True, slots=True)
class Hold:
    """One version that the peer has mapped: a frontend with its lane, an instance with its name."""

    deployment: str
    version: int
    lane: int = 0
    name: int = 0
    record: dict[str, Any] | None = None  # what an instance was given of its deployment, as the state file has it


def introduced(peer: Peer, parcel: Parcel) -> tuple[Identity, list[Hold]]:
    """Who the peer is, and what it holds; its pidfd is the parcel's first descriptor, and still there.

    Raises ProtocolError unless the socket's credentials, the message and the pidfd name the same process: a death
    notice for another one would give its lane away while it lives.
    """
    identity = Identity(parcel.number("pid"), parcel.number("start_ticks"))
    holds = [_hold(value) for value in parcel.sequence("holds")]
    named = (pid_of(parcel.first_fd()), peer.pid)
    if named != (identity.pid, identity.pid) or identity.start_ticks <= 0:
        raise ProtocolError(f"hello of pid {identity.pid} came with a pidfd of {named[0]} from pid {named[1]}")
    return identity, holds


def _hold(value: Any) -> Hold:
    try:
        hold = Hold(**value)
    except TypeError as error:
        raise ProtocolError(f"not something a peer can hold: {value!r:.200}") from error
    numbers = (hold.version, hold.lane, hold.name)
    is_sound = isinstance(hold.deployment, str) and isinstance(hold.record, dict | None)
    if not is_sound or not all(isinstance(each, int) and each >= 0 for each in numbers):
        raise ProtocolError(f"not something a peer can hold: {value!r:.200}")
    return hold
