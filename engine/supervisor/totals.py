"""What versions and deployments that are gone have counted, and which are drained, in memory that outlives the
supervisor and its state file.

Every process that is welcomed holds the file; whoever says hello to a successor brings it back.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any

from engine.clock import now_ns
from engine.control.process_holds import TOTALS, ProcessHold, ProcessHolds
from engine.errors import ProtocolError
from engine.shm.layout import LAYOUT_VERSION
from engine.supervisor.counting import Carrier
from engine.supervisor.loop import Loop
from engine.supervisor.memory_document import MemoryDocument

_log = logging.getLogger(__name__)


class Totals:
    """A carrier for each deployment id, the latest used ones. The only writer of the document."""

    MOST = 256  # ids that come and go, as in somebody's tests, must not add up

    def __init__(self, loop: Loop, holds: ProcessHolds, drained: Callable[[], list[str]] = list) -> None:
        """`drained` says which deployments take nothing new."""
        self._loop = loop
        self._holds = holds
        self._drained = drained
        self._carriers: dict[str, Carrier] = {}
        self._begun = False  # whether everybody is back who may bring the document
        self._read: ProcessHold | None = None  # the one whose text has been recalled
        self._written = b""  # what stands in it

    @property
    def carriers(self) -> dict[str, Carrier]:
        """Of all that have ever counted, by id; a copy."""
        return dict(self._carriers)

    def carrier(self, deployment_id: str) -> Carrier:
        """For a deployment that begins; made when its id is new."""
        found = self._carrier(deployment_id)
        found.begin()
        self.changed()
        return found

    def begin(self) -> None:
        """Everybody is back: goes on with what was brought, or begins a document. Raises OSError; may be repeated."""
        self._begun = True
        self.write()

    def had_drained(self, deployment_id: str) -> bool:
        """Whether the document says so, as far as anybody has brought one that can be read."""
        hold = self._holds.get(TOTALS)
        if hold is None:
            return False
        with contextlib.suppress(ProtocolError):  # told by whoever goes on with it
            drained = _document(MemoryDocument(hold.fds[0]).read()).get("drained")
            return isinstance(drained, list) and deployment_id in drained
        return False

    def changed(self) -> None:
        """More is known than the document says. Written at once, or later where it cannot be just now."""
        self._loop.attempt(self.write)

    def write(self) -> None:
        """Raises OSError where memory is short. For the loop, which repeats it."""
        if not self._begun:
            return
        document = MemoryDocument(self._hold().fds[0])
        carried = {name: carrier.to_json() for name, carrier in self._carriers.items() if carrier.knows}
        found = {"layout": LAYOUT_VERSION, "deployments": carried, "drained": self._drained()}
        text = json.dumps(found, separators=(",", ":")).encode()
        if text != self._written:
            document.write(text)
            self._written = text

    def _hold(self) -> ProcessHold:
        """The file that everybody holds. What a predecessor wrote is taken over, what nobody can read replaced."""
        hold = self._holds.get(TOTALS)
        if hold is None or (hold is not self._read and not self._recall(hold)):
            # The number is the moment: newer than whatever a predecessor has made.
            number = now_ns() if hold is None else max(now_ns(), hold.number + 1)
            hold = ProcessHold(TOTALS, number, (MemoryDocument.new_file(TOTALS),))
            self._holds.keep(hold)
        if hold is not self._read:
            self._read, self._written = hold, b""
        return hold

    def _carrier(self, deployment_id: str) -> Carrier:
        found = self._carriers.pop(deployment_id, None) or Carrier()
        self._carriers[deployment_id] = found
        if len(self._carriers) > self.MOST:
            del self._carriers[next(iter(self._carriers))]
        return found

    def _recall(self, hold: ProcessHold) -> bool:
        """Whether it could be read."""
        try:
            carried = _document(MemoryDocument(hold.fds[0]).read()).get("deployments")
            for name, value in carried.items() if isinstance(carried, dict) else ():
                self._carrier(name).recall(value)
        except ProtocolError as error:
            _log.warning("what was counted before is lost: %s", error)
            return False
        return True


def _document(text: bytes) -> dict[str, Any]:
    """What stands in a document; nothing in an empty one. Raises ProtocolError."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not what deployments have counted: {error}") from error
    if not isinstance(found, dict) or found.get("layout") != LAYOUT_VERSION:
        raise ProtocolError("what deployments have counted was written by another version")
    return found
