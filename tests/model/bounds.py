"""The machines that are explored with every rule in force."""

from __future__ import annotations

from tests.model.machine import Bounds

# Together half a million states, a quarter of a minute.
SMALL: tuple[Bounds, ...] = (
    Bounds(),
    Bounds(batch=1),
    Bounds(instances=1, requests=1),
    Bounds(requests=1),
    Bounds(cancels=1, requests=1),
    Bounds(cancels=2, requests=1, instances=1),
    Bounds(instance_kills=1),
    Bounds(instance_kills=1, requests=1),
    Bounds(instance_kills=1, requests=1, cancels=1),
    Bounds(instance_kills=2, instances=1),
    Bounds(instance_kills=2, instances=1, requests=1),
    Bounds(instance_kills=3, instances=1, requests=1),
    Bounds(orders=1, instances=1, requests=1, instance_kills=1),
    Bounds(orders=1, instances=1, requests=1, instance_kills=1, supervisor_kills=1),
    Bounds(orders=2, instances=1, requests=1, instance_kills=1),
    Bounds(frontend_kills=1),
    Bounds(frontend_kills=1, requests=1),
    Bounds(frontend_kills=1, supervisor_kills=1, requests=1),
    Bounds(undeploy=True, instances=1, requests=1),
    Bounds(undeploy=True, requests=1, instance_kills=1),
    # Two batches of one instance in flight.
    Bounds(in_flight=2, instances=1, requests=1),
    Bounds(in_flight=2, batch=1),
    Bounds(in_flight=2, batch=1, instances=1, cancels=1),
    Bounds(in_flight=2, batch=1, instances=1, instance_kills=2),
    Bounds(in_flight=2, batch=1, instances=1, frontend_kills=1),
    Bounds(in_flight=2, batch=1, instances=1, undeploy=True),
    Bounds(in_flight=2, batch=2, instances=1, slots=3, requests=3),
    Bounds(in_flight=2, batch=1, instances=1, instance_kills=1, turn_bell=True),
    # A doorbell that rings when the turn of an event loop ends.
    Bounds(turn_bell=True, instances=1, requests=1),
    Bounds(turn_bell=True, instances=1, cancels=1),
    Bounds(turn_bell=True, requests=1, instance_kills=1),
    Bounds(turn_bell=True, requests=1, frontend_kills=1),
    Bounds(turn_bell=True, frontends=2, slots=1, requests=1),
    Bounds(turn_bell=True, undeploy=True, instances=1, requests=1, instance_kills=1),
)

# Together some millions of states: a quarter of an hour, some GB.
LARGE: tuple[Bounds, ...] = (
    Bounds(cancels=1),
    Bounds(instance_kills=2),
    Bounds(instance_kills=1, cancels=1),
    Bounds(instance_kills=2, instances=1, batch=1, cancels=1),
    Bounds(instance_kills=1, requests=3, batch=1),
    Bounds(orders=1, requests=1, instance_kills=1, supervisor_kills=1),
    Bounds(orders=1, instance_kills=2, instances=1, supervisor_kills=1),
    Bounds(orders=1, instance_kills=1, cancels=1, supervisor_kills=1, requests=1),
    Bounds(instance_kills=1, frontend_kills=1, supervisor_kills=1, requests=1, cancels=1),
    Bounds(instance_kills=1, frontend_kills=1, supervisor_kills=1),
    Bounds(frontends=2, slots=1, requests=1, cancels=1),
    Bounds(frontends=2, slots=1, requests=1, instance_kills=1),
    Bounds(frontends=2, slots=1, requests=1, frontend_kills=1),
    Bounds(frontends=2, slots=1, requests=1, instances=1, instance_kills=1, frontend_kills=1),
    Bounds(undeploy=True, requests=1, instance_kills=1, cancels=1),
    Bounds(undeploy=True, requests=1, frontend_kills=1, cancels=1),
    Bounds(undeploy=True, requests=1, instances=1, instance_kills=1, frontend_kills=1, supervisor_kills=1),
    Bounds(in_flight=2, batch=1, instance_kills=1),
    Bounds(in_flight=2, batch=1, instances=1, instance_kills=2, cancels=1),
    Bounds(in_flight=2, batch=1, instances=1, instance_kills=1, orders=1),
    Bounds(in_flight=2, batch=1, instances=1, instance_kills=1, undeploy=True),
    Bounds(in_flight=2, batch=1, instances=1, instance_kills=1, frontend_kills=1),
    Bounds(in_flight=2, batch=1, instances=1, frontends=2, slots=1, requests=1, frontend_kills=1),
    Bounds(in_flight=2, batch=1, instances=1, slots=3, requests=3, instance_kills=2),
    Bounds(in_flight=2, batch=2, instances=1, slots=3, requests=3, instance_kills=2),
    Bounds(turn_bell=True, frontend_kills=1),
    Bounds(turn_bell=True, requests=1, instance_kills=1, cancels=1),
    Bounds(turn_bell=True, requests=1, instance_kills=1, frontend_kills=1, supervisor_kills=1),
    Bounds(turn_bell=True, frontends=2, slots=1, requests=1, instances=1, instance_kills=1, frontend_kills=1),
    Bounds(turn_bell=True, undeploy=True, requests=1, instance_kills=1),
)
