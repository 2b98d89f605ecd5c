"""Each rule of the protocol, dropped: where that goes wrong, and what then does."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.machine import Bounds, Rules


@dataclass(frozen=True, kw_only=True)
class Drop:
    """`damage` is a pattern for the violation that the shortest interleaving ends in."""

    rule: str
    rules: Rules
    bounds: Bounds
    damage: str


DROPS = {
    "withdraw-under-lease": Drop(
        rule="READY moves only under the lease: a cancel",
        rules=Rules(withdraw_under_lease=False),
        bounds=Bounds(cancels=1, requests=1),
        damage="leases slot 0, which is FREE by now",  # and no crash was needed
    ),
    "sweep-under-lease": Drop(
        rule="READY moves only under the lease: the sweep of a dead frontend's lane",
        rules=Rules(sweep_under_lease=False),
        bounds=Bounds(frontend_kills=1, requests=1),
        damage="leases slot 0, which is FREE by now",
    ),
    "one-word": Drop(
        rule="generation, lessee and state in one word",
        rules=Rules(one_word=False),
        bounds=Bounds(instance_kills=1, requests=1),
        damage="request 1 is never answered; slot 0 stays LEASED",
    ),
    "fresh-names": Drop(
        rule="names never used again",
        rules=Rules(fresh_names=False),
        bounds=Bounds(instance_kills=1, requests=1),
        damage="which it does not hold",
    ),
    "ready-before-ring": Drop(
        rule="READY before the doorbell",
        rules=Rules(ready_before_ring=False),
        bounds=Bounds(instances=1, requests=1),
        damage="request 1 is never answered; slot 0 stays READY",
    ),
    "ring-at-turn-end": Drop(
        rule="the doorbell at the latest when the turn of the event loop ends",
        rules=Rules(ring_at_turn_end=False),
        bounds=Bounds(instances=1, requests=1, turn_bell=True),
        damage="request 1 is never answered; slot 0 stays READY",
    ),
    "ring-on-death": Drop(
        rule="on a death every frontend rings",
        rules=Rules(ring_on_death=False),
        bounds=Bounds(instance_kills=1, requests=1),
        damage="request 1 is never answered; slot 0 stays READY",
    ),
    "wait-for-lease": Drop(
        rule="wait for a busy lease",
        rules=Rules(wait_for_lease=False),
        bounds=Bounds(),
        damage="sleeps beside slot 1, READY",
    ),
    "drain-before-look": Drop(
        rule="drain the doorbell before looking",
        rules=Rules(drain_before_look=False),
        bounds=Bounds(),
        damage="sleeps beside slot 1, READY",
    ),
    "drain-before-peek": Drop(
        rule="drain the doorbell before the look without the lease",
        rules=Rules(drain_before_peek=False),
        bounds=Bounds(instances=1, requests=1),
        damage="request 1 is never answered; slot 0 stays READY",
    ),
    "drain-to-look": Drop(
        rule="drain the doorbell only to look and take: not between the halves, with all batches in flight",
        rules=Rules(drain_to_look=False),
        bounds=Bounds(batch=1),
        damage="sleeps beside slot 1, READY",
    ),
    "ring-when-left": Drop(
        rule="ring when work is left",
        rules=Rules(ring_when_left=False),
        bounds=Bounds(batch=1),
        damage="sleeps beside slot 1, READY",
    ),
    "finish-before-sleep": Drop(
        rule="finish what is in flight before sleeping",
        rules=Rules(finish_before_sleep=False),
        bounds=Bounds(instances=1, requests=1, in_flight=2),
        damage="request 1 is never answered; slot 0 stays LEASED",
    ),
    "area-before-word": Drop(
        rule="the reply area before REPLIED",
        rules=Rules(area_before_word=False),
        bounds=Bounds(),
        damage="answers request 1 with the reply 0",
    ),
    "word-before-bell": Drop(
        rule="REPLIED before the reply bell",
        rules=Rules(word_before_bell=False),
        bounds=Bounds(requests=1),
        damage="request 1 is never answered; slot 0 stays REPLIED",
    ),
    "harvest-on-death": Drop(
        rule="a death look also harvests REPLIED",
        rules=Rules(harvest_on_death=False),
        bounds=Bounds(instance_kills=1, requests=1),
        damage="request 1 is never answered; slot 0 stays REPLIED",
    ),
    "hand-over-when-free": Drop(
        rule="hand over a lane only when all its slots are FREE",
        rules=Rules(hand_over_when_free=False),
        bounds=Bounds(frontend_kills=1, requests=1),
        damage="slot 0 started, which it does not hold",
    ),
    "hand-over-with-generation-check": Drop(
        rule="hand over a lane only when all its slots are FREE: checking the generation does not replace it",
        rules=Rules(hand_over_when_free=False, generation_check=True),
        bounds=Bounds(frontend_kills=1, requests=1),
        damage="slot 0 := REPLIED, which it does not hold",
    ),
    "act-on-pidfd-only": Drop(
        rule="act on pidfds only",
        rules=Rules(act_on_pidfd_only=False),
        bounds=Bounds(instance_kills=1, requests=1),
        damage="which it does not hold",
    ),
    "count-started-only": Drop(
        rule="`started` before an attempt counts",
        rules=Rules(count_started_only=False),
        bounds=Bounds(instances=1, instance_kills=2),
        damage="convicts request 1, started in [01] deaths",
    ),
    "ordered-is-innocent": Drop(
        rule="a death that was ordered does not count",
        rules=Rules(ordered_is_innocent=False),
        bounds=Bounds(instances=1, requests=1, instance_kills=1, orders=1),
        damage="convicts request 1, started in [01] deaths",
    ),
    "order-before-kill": Drop(
        rule="the order is written before the kill",
        rules=Rules(order_before_kill=False),
        bounds=Bounds(instances=1, requests=1, instance_kills=1, orders=1),
        damage="convicts request 1, started in [01] deaths",
    ),
    "start-at-launch": Drop(
        rule="`started` at the launch: what is only staged has not started",
        rules=Rules(start_at_launch=False),
        bounds=Bounds(instances=1, batch=1, in_flight=2, instance_kills=2),
        damage="convicts request [12], started in [01] deaths",
    ),
    "start-before-call": Drop(
        rule="`started` before the device call",
        rules=Rules(start_before_call=False),
        bounds=Bounds(instances=1, requests=1, instance_kills=2),
        damage="offers request 1 again after 2 deaths of it",
    ),
    "isolated-alone": Drop(
        rule="a suspect is a batch of its own",
        rules=Rules(isolated_alone=False),
        bounds=Bounds(instances=1, instance_kills=2),
        damage="convicts request 1, which died beside request 2",
    ),
    "isolated-after-others": Drop(
        rule="a suspect is launched only when nothing else of this instance is",
        rules=Rules(isolated_after_others=False),
        bounds=Bounds(instances=1, batch=1, in_flight=2, instance_kills=2),
        damage="convicts request [12], which died beside request [12]",
    ),
    "others-after-isolated": Drop(
        rule="nothing is launched beside a suspect",
        rules=Rules(others_after_isolated=False),
        bounds=Bounds(instances=1, batch=1, in_flight=2, instance_kills=2),
        damage="convicts request [12], which died beside request [12]",
    ),
    "refuse-when-closing": Drop(
        rule="closing and no instance left: refuse what is READY",
        rules=Rules(refuse_when_closing=False),
        bounds=Bounds(instances=1, requests=1, undeploy=True),
        damage="request 1 is never answered; slot 0 stays READY",
    ),
}
