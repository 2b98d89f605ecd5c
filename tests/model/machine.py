"""What is explored: how large a machine, and which rules it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.model.state import Budget, Fate, Frontend, Instance, Slot, State, Supervisor


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How large a machine is explored, and what may befall it."""

    frontends: int = 1
    instances: int = 2
    slots: int = 2  # per lane
    batch: int = 2
    in_flight: int = 1  # batches of one instance between staging and reply
    requests: int = 2  # per frontend
    successor_requests: int = 1  # of a frontend that inherits a lane
    instance_kills: int = 0
    frontend_kills: int = 0
    supervisor_kills: int = 0
    cancels: int = 0
    orders: int = 0  # instances that the supervisor kills
    undeploy: bool = False
    turn_bell: bool = False  # frontends ring when a turn of their event loop ends, not at once

    @property
    def lane_requests(self) -> int:
        """Request numbers of one lane over all its owners."""
        return self.requests + self.successor_requests * self.frontend_kills

    @classmethod
    def parse(cls, words: Sequence[str]) -> Bounds:
        """From what `str` prints. Raises TypeError for a name that does not exist, ValueError for what is no number."""
        pairs = (word.partition("=") for word in words if word != "default")
        values: dict[str, Any] = {name: value == "True" or int(value) for name, _, value in pairs}
        return cls(**values)

    def __str__(self) -> str:
        told = (f"{name}={value}" for name, value in vars(self).items() if value != getattr(Bounds, name))
        return " ".join(told) or "default"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of the protocol; each one may be dropped to see what it is good for."""

    withdraw_under_lease: bool = True
    sweep_under_lease: bool = True
    one_word: bool = True
    fresh_names: bool = True
    ready_before_ring: bool = True
    ring_at_turn_end: bool = True
    ring_on_death: bool = True
    wait_for_lease: bool = True
    drain_before_look: bool = True
    drain_before_peek: bool = True
    drain_to_look: bool = True
    ring_when_left: bool = True
    finish_before_sleep: bool = True
    area_before_word: bool = True
    word_before_bell: bool = True
    harvest_on_death: bool = True
    hand_over_when_free: bool = True
    act_on_pidfd_only: bool = True
    count_started_only: bool = True
    ordered_is_innocent: bool = True
    order_before_kill: bool = True
    start_at_launch: bool = True
    start_before_call: bool = True
    isolated_alone: bool = True
    isolated_after_others: bool = True
    others_after_isolated: bool = True
    refuse_when_closing: bool = True
    generation_check: bool = False  # not a rule: a substitute for hand_over_when_free that does not suffice


class Machine:
    """Bounds and rules together, and the arithmetic that follows from them."""

    def __init__(self, bounds: Bounds, rules: Rules) -> None:
        self.bounds, self.rules = bounds, rules
        self.supervisor_number = bounds.frontends + bounds.instances + 1

    def frontend_number(self, lane: int) -> int:
        return 1 + lane

    def instance_number(self, index: int) -> int:
        return 1 + self.bounds.frontends + index

    def lane_of(self, slot: int) -> int:
        return slot // self.bounds.slots

    def lane_slots(self, lane: int) -> range:
        return range(lane * self.bounds.slots, (lane + 1) * self.bounds.slots)

    def new_frontend(self, unsent: int, sent: int) -> Frontend:
        nothing = (0,) * self.bounds.slots
        return Frontend(True, "idle", nothing, nothing, unsent, sent)

    def new_instance(self, name: int) -> Instance:
        """It looks before it sleeps for the first time."""
        return Instance(True, "peek", name)

    def initial(self) -> State:
        """Everybody alive, every slot free, nobody asleep yet."""
        b = self.bounds
        requests = 1 + b.frontends * b.lane_requests
        return State(
            lease=0,
            doorbell=False,
            reply_bells=(False,) * b.frontends,
            closing=False,
            detaching=False,
            names=b.instances,
            ordered=frozenset(),
            slots=(Slot(),) * (b.frontends * b.slots),
            frontends=tuple(self.new_frontend(b.requests, 0) for _ in range(b.frontends)),
            instances=tuple(self.new_instance(1 + j) for j in range(b.instances)),
            supervisor=Supervisor(),
            fates=(Fate.UNBORN,) * requests,
            deaths=(0,) * requests,
            beside=(0,) * requests,
            budget=Budget(b.instance_kills, b.frontend_kills, b.supervisor_kills, b.cancels, b.orders),
        )
