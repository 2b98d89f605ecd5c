"""Which instances the frontends of one version know: every frontend has a name's pidfd before that name takes work."""

from __future__ import annotations

from engine.supervisor.frontend import Frontend
from engine.supervisor.instance import Instance
from engine.supervisor.plan import Plan


class Announcements:
    """The only one that sends pidfds of instances to the frontends of its version."""

    def __init__(self, plan: Plan) -> None:
        self._label = plan.label
        self._known: dict[Frontend, set[int]] = {}  # names that each has been sent, for as long as it has a lane

    def send_living(self, frontend: Frontend, named: list[Instance], counter: int) -> None:
        """To a frontend with a lane: all that live. A name up to `counter` that is not among them is a dead one's."""
        self._known[frontend] = {each.name for each in named}
        message = {"type": "live", **self._label, "counter": counter, "names": [each.name for each in named]}
        frontend.send(message, [each.pidfd for each in named])

    def announce(self, instance: Instance) -> None:
        """To every frontend that has not been sent it yet. May be repeated."""
        message = {"type": "instance_up", **self._label, "name": instance.name}
        for frontend, names in self._known.items():
            if instance.name not in names:
                frontend.send(message, [instance.pidfd])
                names.add(instance.name)

    def forget(self, frontend: Frontend) -> None:
        """It has no lane of this version any more, or has come anew."""
        self._known.pop(frontend, None)
