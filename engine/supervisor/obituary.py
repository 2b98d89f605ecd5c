"""What the end of an instance says."""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.lifecycle import InstanceState
from engine.core.restart import Death, classify
from engine.supervisor.children import describe_exit, reap
from engine.supervisor.instance import Instance
from engine.supervisor.seats import Seat


@dataclass(frozen=True)
class Obituary:
    """Kept while a death is being dealt with. `seat`: None for one that was on its way out."""

    seat: Seat | None
    death: Death
    reason: str
    ran_s: float

    @classmethod
    def of(cls, instance: Instance, seat: Seat | None) -> Obituary:
        """Before the instance is DEAD by our account. Takes its exit status, so that no zombie stays."""
        death = Death.CHANGED if instance.turned_away else classify(instance.state)
        status = reap(instance.pidfd)
        reason = instance.error or f"instance {describe_exit(status)} {_where(instance.state)}"
        return cls(seat, death, reason, instance.ran_s)


def _where(state: InstanceState) -> str:
    """In which part of its life an instance died in silence, and whose code runs in that part."""
    if state is InstanceState.LOADING:
        return "while its model was loaded: the model's code ended the process or crashed it, see the log"
    if state is InstanceState.WARMING:
        return "while its model warmed up: the model's code ended the process or crashed it, see the log"
    return "while it worked" if state is InstanceState.READY else "before it was ready"
