"""Warm every batch size before the first request, and check that the model means the same at each.

A model is ready when, for every bucket, its output is finite, has the right shape, and agrees within its tolerance with
one item through the model as it was given; anything else is a failed start, never a logged warning. One thing is tried
and may fail: another layout of the weights. Each bucket runs once, because a start is waited for; what the choice of a
form has run is not run again. What else there is to run of a model is run when nobody waits (`leisure.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from engine.clock import NS_PER_MS, now_ns
from engine.core.batch_size import BatchSize
from engine.core.batching import buckets
from engine.errors import BrokenError, ConfigError
from engine.instance.faults import Failure, Fault, failure_of, result_of
from engine.instance.runner import ModelRunner
from engine.models.foreign import blaming
from engine.shm.batch import Payloads

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """The warm-up item and its answer, by which an instance shows later that it still computes."""

    item: Payloads  # one
    answer: npt.NDArray[np.float32]  # [1, classes]

    def why_not(self, runner: ModelRunner) -> str:
        """Why the model does not answer as it did at warm-up; empty if it does."""
        found = result_of(runner.run, self.item)
        if isinstance(found, Failure):
            return found.text
        if not np.isfinite(found).all():
            return "its answer is not finite"
        if same(found, self.answer, runner.tolerance):
            return ""
        return f"its answer is off by {np.abs(found - self.answer).max():.2g}"


@dataclass(frozen=True)
class WarmUp:
    """What warming up found."""

    bucket_ms: dict[int, float]  # milliseconds of the first pass by batch size, of those that fit into memory
    probe: Probe
    size: BatchSize  # what was learnt of batch sizes
    warnings: tuple[str, ...] = ()  # what works and is probably not meant


def warm_up(
    runner: ModelRunner, size: BatchSize | None = None, met_ms: Mapping[int, float] = MappingProxyType({})
) -> WarmUp:
    """Runs every bucket once. Raises BrokenError or ConfigError when a check fails or the model raises anything.

    `size`: what is known of batch sizes already; nothing larger is tried than what fits. `met_ms`: what those took that
    have been run already, and were right (`forming.py`); they are run again only in another layout.
    """
    size = size or BatchSize(runner.max_batch)
    sound = made_up_sound(runner.description.input_shape)
    probe = Probe(_batch_of(sound, 1), checked(runner, _batch_of(sound, 1)))
    doubt = runner.doubt([_batch_of(sound, 1, factor) for factor in (1.0, 4.0, 0.05)])  # loud and quiet
    if runner.try_channels_last():
        try:
            return _warm_buckets(runner, probe, size, doubt, {})
        except (ConfigError, BrokenError) as error:
            _LOG.info("the model keeps its channels first: %s", error)
            runner.channels_first()
    return _warm_buckets(runner, probe, size, doubt, met_ms)


def _warm_buckets(
    runner: ModelRunner, probe: Probe, size: BatchSize, doubt: str, met_ms: Mapping[int, float]
) -> WarmUp:
    measured_ms: dict[int, float] = {}
    too_large = 0
    # The largest first: smaller ones find room in what it leaves. The other way round memory grew by a sixth.
    for items in reversed(buckets(size.ceiling.limit)):
        took_ms = met_ms.get(items) or _took_ms(runner, probe, items)
        if took_ms is None:
            too_large = items
            size.sink(items, now_ns())
        else:
            measured_ms[items] = took_ms
            size.curve.meet(items)
    warnings = [doubt] if doubt else []
    if too_large:
        warnings.append(f"batches of {too_large} do not fit into the memory of {runner.device}: smaller ones are made")
    return WarmUp(dict(sorted(measured_ms.items())), probe, size, tuple(warnings))


def _took_ms(runner: ModelRunner, probe: Probe, items: int) -> float | None:
    took_ns = run_probe(runner, probe, items)
    return None if took_ns is None else took_ns / NS_PER_MS


def run_probe(runner: ModelRunner, probe: Probe, items: int) -> int | None:
    """One batch of so many probes, checked: its nanoseconds; None if more than one do not fit into memory.

    Raises BrokenError or ConfigError where the model answers otherwise than it did alone, or fails.
    """
    start_ns = now_ns()
    try:
        probabilities = checked(runner, probe.item.part([0] * items))
    except ConfigError as error:
        if items == 1 or failure_of(error).fault is not Fault.MEMORY:
            raise
        runner.release_memory()
        return None
    took_ns = now_ns() - start_ns
    if not same(probabilities, probe.answer, runner.tolerance):
        difference = float(np.abs(probabilities - probe.answer).max())
        raise BrokenError(_changing(runner, probe, items, difference))
    return took_ns


def _changing(runner: ModelRunner, probe: Probe, size: int, difference: float) -> str:
    """What to say of a model whose answer in a batch of `size` is another than alone."""
    off = f"by {difference:.2g} > {runner.tolerance:g}"
    again = [checked(runner, probe.item) for _ in range(4)]
    if not all(same(found, again[0], runner.tolerance) for found in again):
        return (
            f"the model answers the same item differently each time: {off}; it draws random"
            " numbers when it predicts, by a dropout that stays on in evaluation mode for instance"
        )
    return (
        f"the model answers differently in a batch of {size}: {off}; an item's answer must"
        " not depend on the others (a batch normalisation that stays in training mode, a mean over the batch)"
    )


def same(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], tolerance: float) -> bool:
    """Whether probabilities are as near to others; not if anything of them is no number."""
    # Absolute for probabilities; outputs that are used as they are may be larger, and float32 is as exact as they are.
    return bool((np.abs(found - wanted) <= tolerance * np.maximum(1.0, np.abs(wanted))).all())


def checked(runner: ModelRunner, batch: Payloads) -> npt.NDArray[np.float32]:
    """Raises ConfigError for what the model raises, BrokenError for an answer that is not finite."""
    items = len(batch.samples)
    with blaming(lambda what: f"the model failed on a batch of {items} at warm-up: {what}"):
        probabilities = runner.run(batch)
    if not np.isfinite(probabilities).all():
        raise BrokenError(f"the model's answer to a batch of {items} is not finite")
    return probabilities


def _batch_of(sound: npt.NDArray[np.float32], items: int, factor: float = 1.0) -> Payloads:
    return Payloads([sound] * items, np.full(items, factor, dtype=np.float32))


def made_up_sound(input_shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A tone over noise, since silence makes some models divide by zero."""
    size = int(np.prod(input_shape))
    noise = np.random.default_rng(0).standard_normal(size)
    signal = 0.3 * np.sin(np.arange(size) * 0.2) + 0.05 * noise
    sound: npt.NDArray[np.float32] = signal.astype(np.float32)
    return sound
