"""A message as it arrived on a connection of the control socket, with the descriptors that came with it."""

from __future__ import annotations

import os
from typing import Any

from engine.errors import ProtocolError

_Kind = type  # `Parcel.type` hides the builtin inside that class


class Parcel:
    """A received message and its descriptors; those not taken are closed after it was handled."""

    def __init__(self, fields: dict[str, Any], fds: list[int]) -> None:
        self.fields = fields
        self._fds = fds
        self.is_whole = True  # whether it can be handled once more

    @property
    def type(self) -> str:
        return str(self.fields["type"])

    def take_fds(self, count: int) -> list[int]:
        """The next `count` descriptors, which the caller owns from here on. Raises ProtocolError for too few."""
        if len(self._fds) < count:
            raise ProtocolError(f"{self.type!r} came with too few descriptors")
        self.is_whole = self.is_whole and not count
        taken, self._fds = self._fds[:count], self._fds[count:]
        return taken

    def first_fd(self) -> int:
        """The next descriptor, which stays the parcel's. Raises ProtocolError if there is none."""
        if not self._fds:
            raise ProtocolError(f"{self.type!r} came with too few descriptors")
        return self._fds[0]

    @property
    def fds_left(self) -> int:
        return len(self._fds)

    def text(self, name: str) -> str:
        """A text field. Raises ProtocolError."""
        return str(self._typed(name, str))

    def number(self, name: str) -> int:
        """A whole number. Raises ProtocolError."""
        return int(self._typed(name, int))

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty if it is not there. Raises ProtocolError."""
        return dict(self._typed(name, dict, {}))

    def sequence(self, name: str) -> list[Any]:
        """A list; empty if it is not there. Raises ProtocolError."""
        return list(self._typed(name, list, []))

    def close(self) -> None:
        for fd in self.take_fds(len(self._fds)):
            os.close(fd)

    def _typed(self, name: str, kind: _Kind, default: object = None) -> Any:
        value = self.fields.get(name, default)
        if not isinstance(value, kind):
            raise ProtocolError(f"{self.type!r}: {name} must be {kind.__name__}, not {value!r:.80}")
        return value
