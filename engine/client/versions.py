"""The versions of one deployment, as the supervisor last described them, and which of them takes new work."""

from __future__ import annotations

from engine.client.attachment import Attachment
from engine.errors import DeploymentFailed, EngineClosed, EngineError, NotReady, UnknownDeployment

_GOING = ("closing", "gone")


class Versions:
    """`state`, `reason`, `active_version`: the supervisor's last word. Changed in the reactor's thread only."""

    def __init__(self, deployment_id: str) -> None:
        self.deployment_id = deployment_id
        self.state = "gone"  # until the supervisor has spoken of it
        self.reason = ""
        self.active_version = 0  # 0: not told
        self.waiting = ""  # why there is no lane for this process, if the supervisor said so
        self.attachments: dict[int, Attachment] = {}

    def active(self) -> Attachment | None:
        """The version that new work goes to: the serving one, else the newest that is not closing."""
        attachments = self.attachments
        found = attachments.get(self.active_version)
        if found is not None and not found.closing:
            return found
        usable = [attachment for attachment in tuple(attachments.values()) if not attachment.closing]
        return max(usable, key=lambda attachment: attachment.version, default=None)

    @property
    def is_going(self) -> bool:
        """Whether nothing that serves is to be expected."""
        return self.state in _GOING or (self.state == "failed" and self.active() is None)

    @property
    def refuses(self) -> bool:
        """Whether a request that has no slot yet will get none."""
        return self.state in (*_GOING, "failed")

    @property
    def is_serving(self) -> bool:
        """Whether a request sent now is computed, as far as this process knows."""
        return self.state == "ready" and self.active() is not None

    def serving(self) -> Attachment | None:
        """`active`, or what a caller is told raised unless an instance serves or will.

        None in the moment between two versions. While the first instance still warms up, work with a slot waits for
        it: sooner than the caller would try again.
        """
        if self.state == "ready" and (found := self.active()) is not None:
            return found
        if self.state not in ("ready", "starting") or (self.state == "starting" and not self.attachments):
            raise self.refusal()
        if not self.attachments:
            why = f": {self.waiting}" if self.waiting else " yet"
            raise NotReady(f"deployment {self.deployment_id} has no lane for this process{why}")
        return self.active()

    def refusal(self) -> EngineError:
        """Why nothing serves just now."""
        name = self.deployment_id
        if self.state == "failed":
            return DeploymentFailed(f"deployment {name} could not be started: {self.reason}")
        if self.state == "gone":
            return UnknownDeployment(f"no deployment {name}")
        if self.state == "closing":
            return EngineClosed(f"deployment {name} is being taken out of service")
        return NotReady(f"deployment {name} is {self.state}")
