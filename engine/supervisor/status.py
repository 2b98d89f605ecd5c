"""What the supervisor knows, as plain values for `status`: every figure is read at the moment of asking."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.config import Settings, ineffective_settings
from engine.observe.metrics import INSTANCE_COUNTERS
from engine.observe.store_health import stores_seen
from engine.observe.store_stats import Totals
from engine.shm.board import instance_rows
from engine.supervisor.deployment import Deployment
from engine.supervisor.frontend import Frontend
from engine.supervisor.instance import Instance
from engine.supervisor.version import Version

LONGEST_REASON = 20_000  # characters; a traceback, not a book


def describe(
    deployments: Iterable[Deployment],
    frontends: Iterable[Frontend],
    *,
    began_at_ns: int,
    restarted: bool,
    health: dict[str, Any],
    totals: Totals | None,
    settings: Settings,
    tuning: Callable[[str], dict[str, Any]],
    status_server: dict[str, Any],
) -> dict[str, Any]:
    """The whole machine. `health`: whether the supervisor itself is well, and what it cannot do just now.

    `totals`: of all processes, None while unknown. `tuning`: what is to be said of that of a deployment.
    `status_server`: where it listens, and why not at its port.
    """
    everybody = list(frontends)
    return {
        "supervisor": {
            "pid": os.getpid(),
            "uptime_s": round((now_ns() - began_at_ns) / NS_PER_S, 3),
            "adopted": restarted,
        },
        "health": health,
        "stores": stores_seen(totals, settings),
        "status_server": status_server,
        "ignored": ineffective_settings(settings),
        "frontends": [
            {"pid": each.identity.pid, "connected": each.connected, "welcomed": each.welcomed} for each in everybody
        ],
        "deployments": [{**describe_deployment(each), "tuning": tuning(each.id)} for each in deployments],
    }


def describe_deployment(deployment: Deployment) -> dict[str, Any]:
    """One deployment with all its versions, the serving one first."""
    versions = sorted(deployment.versions, key=lambda each: each is not deployment.versions.serving)
    return {
        "deployment": deployment.id,
        "state": deployment.versions.state.value,
        "version": deployment.versions.number_serving,
        "reason": deployment.versions.reason[-LONGEST_REASON:],
        "configured": deployment.versions.configured,
        "drained": deployment.versions.drained,
        "versions": [_version(each) for each in versions],
    }


def _version(version: Version) -> dict[str, Any]:
    options, counters = version.plan.options, _counters(version)
    return {
        "version": version.plan.number,
        "state": version.state.public,
        "reason": version.pool.seats.reason[-LONGEST_REASON:],
        "spec": {**version.plan.spec, "labels": None},  # the description has them
        "pool_size": len(version.pool.seats),
        "pool_size_wanted": options.pool_size,
        "pool_size_reason": version.pool.short,
        "max_batch_size": options.max_batch_size,
        "warmup_requests": options.warmup_requests,
        "ready": version.pool.seats.working,
        "restarts": version.pool.seats.restarts,
        "last_death": version.pool.last_death[-LONGEST_REASON:],
        "instances": [_instance(each, counters) for each in version.pool.instances()],
        **_plane(version),
    }


def _counters(version: Version) -> dict[int, dict[str, int]]:
    """What each instance counts of itself, by its name."""
    rows = [] if version.plane is None else instance_rows(version.plane.segment)
    return {row["name"]: {name: row[name] for name in INSTANCE_COUNTERS} for row in rows}


def _instance(instance: Instance, counters: dict[int, dict[str, int]]) -> dict[str, Any]:
    return {
        "name": instance.name,
        "pid": instance.identity.pid,
        "state": instance.state.value,
        "device": instance.device,
        "seat": instance.seat,
        "connected": instance.peer is not None and instance.peer.open,
        "uptime_s": round(instance.uptime_s, 3),
        "warmup_ms": instance.warmup_ms,
        "weights_bytes": instance.weights_bytes,
        "max_batch_size": instance.max_batch or None,  # what fits; None: it has not said
        "counters": counters.get(instance.name, {}),
        "warnings": list(instance.warnings),
        "error": instance.error[-LONGEST_REASON:],
    }


def _plane(version: Version) -> dict[str, Any]:
    plane = version.plane
    if plane is None:
        return {"model": None, "lanes": None, "slots": None, "segment_bytes": 0}
    counts = plane.steward.counts()
    return {
        "model": {
            "model_version": plane.description.model_version,
            "input_shape": list(plane.description.input_shape),
            "classes": plane.description.classes,
            "sample_rate_hz": plane.description.sample_rate_hz,
            "segment_s": plane.description.segment_s,
            "activation": plane.description.activation.value,
        },
        "lanes": {
            "total": plane.segment.geometry.lanes,
            "free": plane.lanes.free,
            "swept": plane.lanes.being_swept,
            "waiting": len(version.waiting_pids),
            "waiting_pids": version.waiting_pids,
            "owners": {str(lane): owner.identity.pid for lane, owner in sorted(plane.lanes.owners.items())},
        },
        "slots": {
            "free": counts.free,
            "writing": counts.writing,
            "ready": counts.ready,
            "leased": counts.leased,
            "replied": counts.replied,
            "total": counts.total,
        },
        "segment_bytes": os.fstat(plane.segment.fd).st_blocks * 512,
    }
