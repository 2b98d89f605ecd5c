"""What the tuner asks of a version that serves: what to try of it, what was found of it, what its instances say."""

from __future__ import annotations

import functools
from collections.abc import Callable

from engine.core.tuning import Finding
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.serving_version import ServingVersion
from engine.tuning.folder import read
from engine.tuning.order import TrialOrder
from engine.tuning.result import TuningResult


def order_of(options: SupervisorOptions, version: ServingVersion) -> TrialOrder:
    """What trials of `version` are asked for. It serves."""
    assert version.plane is not None
    description = version.plane.description
    return TrialOrder(
        spec=version.plan.spec,
        model_version=description.model_version.partition("+")[0],
        device=description.device,
        threads=options.threads,
        max_batch_size=version.plan.options.max_batch_size,
        terms=options.terms(version.plan.options),
    )


def lookup(options: SupervisorOptions, version: ServingVersion) -> Callable[[], TuningResult | None]:
    """Reads what was found of `version`, None for nothing that could be used. For the slow work: it reads disks."""
    assert version.plane is not None
    return functools.partial(_read, order_of(options, version), version.plane.description.tuning_key)


def _read(order: TrialOrder, key: str) -> TuningResult | None:
    """`key`: name of the result that the version has its form from, if it has one."""
    return read(order.terms.folder / (key or order.key().name))


def finding_of(result: TuningResult, precision: str) -> Finding:
    """What of it decides."""
    if result.winner:
        return Finding(result.winner, reason=result.reason)
    return Finding("", reason=f"precision={precision} cannot be had: {result.reason}")


def warnings_of(version: ServingVersion) -> str:
    """What an instance of it says of itself, in one line."""
    told = [each for instance in version.pool.instances() for each in instance.warnings]
    return told[0] if told else ""
