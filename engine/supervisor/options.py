"""What the supervisor needs of the settings, as plain values, and what one deployment may say for itself."""

from __future__ import annotations

import glob
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import (
    Settings,
    cores_of,
    declared,
    effective_devices,
    effective_max_batch_size,
    spec_from_settings,
    wanted_pool_size,
)
from engine.core.control_groups import Cores
from engine.core.leaving import LeavePolicy
from engine.core.restart import RestartPolicy
from engine.errors import InvalidField
from engine.forms import Precision
from engine.launch.starting import module_command
from engine.observe.metrics import LENT_POOLS
from engine.shm.machine_layout import MachineGeometry
from engine.spec import ModelSpec
from engine.tuning.candidates import unavailable
from engine.tuning.terms import TuningTerms

_CHOICES = {each.name: each.rule.choices for each in declared() if each.name in ("tuning", "precision")}

ROWS_PER_WORKER = 2  # in the machine segment: at a reload the old workers and the new ones count for a while
SPARE_ROWS = 8  # the supervisor, the status server, the command line, managers in other programs
LANES_PER_WORKER = 2  # a worker that restarts must not wait for the batch in which its predecessor's work still is
SPARE_LANES = 4  # the status server, the command line, managers in other programs


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How the instances of one version run."""

    pool_size: int  # wanted; on cpu bounded by the cores
    max_batch_size: int
    warmup_requests: int
    devices: tuple[str, ...]  # given to instances in turn
    tuning: str = "off"  # on: faster forms of the model are looked for
    precision: str = "fp32"  # which forms may serve, as the setting of that name says

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "devices": list(self.devices)}


@dataclass(frozen=True, kw_only=True)
class SupervisorOptions:
    """Everything a supervisor is started with."""

    runtime_dir: Path
    lanes: int
    slots: int
    threads: int
    aging_ms: int
    request_timeout_s: float
    drain_s: float
    cores: Cores
    pool: PoolOptions  # what a deployment gets that says nothing
    machine: MachineGeometry  # of a machine segment that has to be made
    lent: Mapping[str, int]  # connections of each pool of LENT_POOLS, over all processes together
    settings: Settings  # all of them: what is shown of stores follows from many
    default_spec: ModelSpec | None  # None: nothing is deployed at the start
    instance_command: tuple[str, ...] = field(default_factory=lambda: tuple(module_command("engine.instance")))
    trial_command: tuple[str, ...] = field(default_factory=lambda: tuple(module_command("engine.trials")))
    # Within how many times `trial_limit_s` trials end. They bound their own time themselves, which leaves out that in
    # which others had the processor: up to six sevenths of it on a machine that is never idle.
    trial_patience: float = 10.0
    unavailable: Mapping[tuple[str, str], str] = field(default_factory=dict)  # kind of device, precision -> why not
    stores: Settings | None = None  # of the stores that the supervisor writes; None: it keeps no journal
    restarts: RestartPolicy = RestartPolicy()
    leaving: LeavePolicy = LeavePolicy()

    @classmethod
    def from_settings(cls, settings: Settings, runtime_dir: Path) -> SupervisorOptions:
        """The settings, applied to this machine."""
        devices = effective_devices(settings, cuda_device_count())
        return cls(
            runtime_dir=runtime_dir,
            lanes=LANES_PER_WORKER * settings.workers + SPARE_LANES,
            slots=settings.lane_slots,
            threads=settings.instance_threads,
            aging_ms=settings.aging_ms,
            request_timeout_s=settings.request_timeout_ms / 1000,
            drain_s=settings.drain_s,
            cores=cores_of(),
            pool=PoolOptions(
                pool_size=wanted_pool_size(settings),
                max_batch_size=effective_max_batch_size(settings),
                warmup_requests=settings.model_warmup_requests,
                devices=devices,
                tuning=settings.tuning,
                precision=settings.precision,
            ),
            machine=MachineGeometry(
                rows=ROWS_PER_WORKER * settings.workers + SPARE_ROWS,
                l1_bytes=settings.cache_l1_mb * 1024 * 1024,
                l1_writers=settings.workers,
            ),
            lent=dict(zip(LENT_POOLS, (settings.redis_max_connections, settings.http_max_connections), strict=True)),
            settings=settings,
            default_spec=spec_from_settings(settings) if settings.enabled else None,
            stores=settings if settings.journal == "on" else None,
            unavailable={
                (kind, each.value): why
                for kind in ("cpu", "cuda")
                for each in Precision
                if (why := unavailable(each, kind))
            },
        )

    def pool_options(self, wished: dict[str, Any]) -> PoolOptions:
        """The options of one deployment: ours, with what it wishes. Raises InvalidField."""
        unknown = wished.keys() - self.pool.__dict__.keys()
        if unknown:
            name = sorted(unknown)[0]
            raise InvalidField(f"unknown option {name!r} of a deployment", field=name)
        given = {name: value for name, value in wished.items() if value is not None}
        values = {**self.pool.__dict__, **given}
        for name in ("pool_size", "max_batch_size", "warmup_requests"):
            least = 0 if name == "warmup_requests" else 1
            if not isinstance(values[name], int) or not least <= values[name] <= 1024:
                raise InvalidField(f"{name}={values[name]!r}: a whole number from {least} to 1024", field=name)
        for name, choices in _CHOICES.items():
            if values[name] not in choices:
                raise InvalidField(f"{name}={values[name]!r}: one of {', '.join(choices)}", field=name)
        wanted = PoolOptions(**{**values, "devices": _device_names(values["devices"])})
        if refusal := self.refusal(wanted):
            raise InvalidField(refusal, field="precision")
        return wanted

    def refusal(self, pool: PoolOptions) -> str:
        """Why nothing can be deployed with `pool` on this machine, as far as it is known before trials; else empty."""
        if pool.precision in ("fp32", "auto"):
            return ""
        if pool.tuning != "on":
            return f"precision={pool.precision} cannot be had: tuning={pool.tuning}"
        kinds = (device.partition(":")[0] for device in pool.devices)
        return next((why for kind in kinds if (why := self.unavailable.get((kind, pool.precision), ""))), "")

    def terms(self, pool: PoolOptions) -> TuningTerms:
        """On which a model is tuned that is deployed with `pool`."""
        return TuningTerms.of(self.settings, precision=pool.precision)


def cuda_device_count() -> int:
    """CUDA devices that torch will be able to use, found out without torch.

    0 for a torch built for the cpu, whatever devices there are.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    nodes = len(glob.glob("/dev/nvidia[0-9]*"))
    if not nodes or importlib.metadata.version("torch").endswith("+cpu"):
        return 0
    return nodes if visible is None else min(nodes, len([part for part in visible.split(",") if part.strip("- ")]))


def _device_names(value: object) -> tuple[str, ...]:
    names: Sequence[Any] = ()
    if isinstance(value, str):
        names = value.split(",")
    elif isinstance(value, (list, tuple)):
        names = value
    found = tuple(name.strip() for name in names if isinstance(name, str))
    if not found or any(name != "cpu" and not _is_cuda(name) for name in found):
        raise InvalidField(f"devices={value!r}: cpu and cuda:N are possible", field="devices")
    return found


def _is_cuda(name: str) -> bool:
    return name.startswith("cuda:") and name[5:].isdigit()
