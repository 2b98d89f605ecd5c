"""The machines that are explored with every rule in force."""

from __future__ import annotations

from tests.model.machine import Bounds

# Together a quarter of a million states, ten seconds.
SMALL = (
    Bounds(batch=1),
    Bounds(cancels=1),
    Bounds(cancels=2, requests=1, instances=1),
    Bounds(instance_kills=1),
    Bounds(instance_kills=1, requests=1, cancels=1),
    Bounds(instance_kills=2, instances=1),
    Bounds(instance_kills=3, instances=1, requests=1),
    Bounds(orders=1, requests=1, instance_kills=1, supervisor_kills=1),
    Bounds(orders=2, instances=1, requests=1, instance_kills=1),
    Bounds(frontend_kills=1),
    Bounds(frontend_kills=1, supervisor_kills=1, requests=1),
    Bounds(frontends=2, slots=1, requests=1),
    Bounds(undeploy=True, requests=1, instance_kills=1),
)

# Together four million states: some minutes, half a GB.
LARGE = (
    Bounds(instance_kills=2),
    Bounds(instance_kills=1, cancels=1),
    Bounds(instance_kills=2, instances=1, batch=1, cancels=1),
    Bounds(instance_kills=1, requests=3, batch=1),
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
)
