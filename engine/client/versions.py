"""The versions of one deployment, as the supervisor last described them, and which of them takes new work."""

from __future__ import annotations

import threading
from typing import Any

from engine.client.attachment import Attachment
from engine.errors import DeploymentFailed, EngineClosed, EngineError, NotReady, UnknownDeployment

_GOING = ("closing", "gone")


class Versions:
    """`state`, `reason`, `active_version`: the supervisor's last word. `attachments`: what is mapped, by number.

    Changed by the methods alone, which work out anew what each request asks for: `active` and `ready`.
    """

    def __init__(self, deployment_id: str) -> None:
        self.deployment_id = deployment_id
        self.state = "gone"  # until the supervisor has spoken of it
        self.reason = ""
        self.active_version = 0  # 0: not told
        self.tuning: dict[str, Any] = {}  # what the supervisor last said of it; replaced whole
        self.waiting = ""  # why there is no lane for this process, if the supervisor said so
        self.attachments: dict[int, Attachment] = {}
        # The version that new work goes to: the serving one, else the newest that takes any.
        self.active: Attachment | None = None
        self.ready: Attachment | None = None  # the same while an instance serves, as far as this process knows
        self._lock = threading.Lock()  # around choosing: an older choice must not overwrite a newer one

    def told(self, *, state: str, reason: str, active_version: int) -> None:
        """The supervisor's word. In the reactor's thread."""
        self.state, self.reason, self.active_version = state, reason, active_version
        self._choose()

    def add(self, attachment: Attachment) -> None:
        """A version is mapped. In the reactor's thread."""
        self.attachments[attachment.version] = attachment
        self._choose()

    def remove(self, attachment: Attachment) -> None:
        """A version is let go of. In the reactor's thread."""
        self.attachments.pop(attachment.version, None)
        self._choose()

    def clear(self) -> None:
        """In a forked child: whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self.attachments.clear()
        self._choose()

    def stop_taking(self, attachment: Attachment) -> None:
        """A version has begun to close. By whoever sees it first, in any thread."""
        attachment.takes_work = False
        self._choose()

    def _choose(self) -> None:
        with self._lock:
            usable = [each for each in tuple(self.attachments.values()) if each.takes_work]
            newest = max(usable, key=lambda each: each.version, default=None)
            self.active = next((each for each in usable if each.version == self.active_version), newest)
            self.ready = self.active if self.state == "ready" else None

    @property
    def is_going(self) -> bool:
        """Whether nothing that serves is to be expected."""
        return self.state in _GOING or (self.state == "failed" and self.active is None)

    @property
    def refuses(self) -> bool:
        """Whether a request that has no slot yet will get none."""
        return self.state in (*_GOING, "failed")

    def serving(self) -> Attachment | None:
        """`active`, or what a caller is told raised unless an instance serves or will.

        None in the moment between two versions. While the first instance still warms up, work with a slot waits for
        it: sooner than the caller would try again.
        """
        if self.ready is not None:
            return self.ready
        if self.state not in ("ready", "starting") or (self.state == "starting" and not self.attachments):
            raise self.refusal()
        if not self.attachments:
            why = f": {self.waiting}" if self.waiting else " yet"
            raise NotReady(f"deployment {self.deployment_id} has no lane for this process{why}")
        return self.active

    def refusal(self) -> EngineError:
        """Why nothing serves just now."""
        name = self.deployment_id
        if self.state == "failed":
            return DeploymentFailed(f"deployment {name} could not be started: {self.reason}")
        if self.state == "gone":
            return UnknownDeployment(f"no deployment {name}")
        if self.state == "drained":
            return NotReady(f"deployment {name} is drained: it takes nothing new until somebody lets it")
        if self.state == "closing":
            return EngineClosed(f"deployment {name} is being taken out of service")
        return NotReady(f"deployment {name} is {self.state}")
