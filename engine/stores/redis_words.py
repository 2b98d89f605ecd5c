"""What is said to a Redis server, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from engine.clock import Deadline


class RedisRefusal(NamedTuple):
    """An error that the server answered with: the command had no effect, the connection is good."""

    text: str
    is_elsewhere: bool = False  # the key is not served there, or not now: what we know of the cluster is old


Command: TypeAlias = tuple[bytes, ...]
Answer: TypeAlias = "bytes | int | list[Answer] | RedisRefusal | None"


class Link(Protocol):
    """One open connection, whoever made it; `RedisLink` says what each does."""

    broken: bool
    owed: int

    def greet(self, deadline: Deadline) -> None:
        """Credentials, database, a sign of life."""

    def ask(self, commands: Sequence[Command], deadline: Deadline) -> list[Answer]:
        """The answer to each."""

    def send(self, commands: Sequence[Command], deadline: Deadline) -> None:
        """Sends all."""

    def receive(self, deadline: Deadline) -> list[Answer]:
        """What is owed."""

    def fileno(self) -> int:
        """For poll."""

    def leave(self, deadline: Deadline) -> None:
        """Closes it, and waits until the server has."""

    def close(self) -> None:
        """Closes it at once."""
