"""Warm every batch size before the first request, and check that the model means the same at each.

A model is ready when, for every bucket, its output is finite, has the right shape, and agrees within `TOLERANCE` with
one item through the model as it was given; anything else is a failed start, never a logged warning. The one thing that
is tried and may fail is another layout of the weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.clock import NS_PER_MS, NS_PER_S, now_ns
from engine.core.batching import buckets
from engine.errors import BrokenError
from engine.instance.runner import ModelRunner

TOLERANCE = 1e-4  # largest difference of a probability between batch sizes: float32 sums in another order stay below
BUCKET_LIMIT_S = 1.0  # no bucket is repeated past this, so that a slow model still starts

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmupItem:
    """A made-up payload: a tone over noise, since silence makes some models divide by zero."""

    payload: npt.NDArray[np.uint8]
    int16: bool = False
    gain: float = 1.0


def warm_up(runner: ModelRunner, *, repeats: int) -> dict[int, float]:
    """Milliseconds of the fastest pass by batch size. Raises BrokenError when a check fails."""
    item = _made_up_item(runner.description.input_shape)
    reference = _checked(runner, [item])
    if runner.try_channels_last():
        try:
            return _warm_buckets(runner, item, reference, repeats)
        except (RuntimeError, BrokenError) as error:
            _LOG.info("the model keeps its channels first: %s", error)
            runner.channels_first()
    return _warm_buckets(runner, item, reference, repeats)


def _warm_buckets(
    runner: ModelRunner, item: WarmupItem, reference: npt.NDArray[np.float32], repeats: int
) -> dict[int, float]:
    # The largest first: smaller ones find room in what it leaves. The other way round memory grew by a sixth.
    sizes = reversed(buckets(runner.max_batch))
    measured_ms = {size: _warm_bucket(runner, [item] * size, reference, repeats) for size in sizes}
    return dict(sorted(measured_ms.items()))


def _warm_bucket(
    runner: ModelRunner, batch: list[WarmupItem], reference: npt.NDArray[np.float32], repeats: int
) -> float:
    give_up_ns = now_ns() + int(BUCKET_LIMIT_S * NS_PER_S)
    fastest_ns = None
    for _ in range(max(1, repeats)):
        start_ns = now_ns()
        probabilities = _checked(runner, batch)
        took_ns = now_ns() - start_ns
        fastest_ns = took_ns if fastest_ns is None else min(fastest_ns, took_ns)
        if now_ns() > give_up_ns:
            break
    difference = float(np.abs(probabilities - reference).max())
    if difference > TOLERANCE:
        size = len(batch)
        raise BrokenError(f"the model answers differently in a batch of {size}: by {difference:.2g} > {TOLERANCE}")
    return (fastest_ns or 0) / NS_PER_MS


def _checked(runner: ModelRunner, batch: list[WarmupItem]) -> npt.NDArray[np.float32]:
    probabilities = runner.run(batch)
    if not np.isfinite(probabilities).all():
        raise BrokenError(f"the model's answer to a batch of {len(batch)} is not finite")
    return probabilities


def _made_up_item(input_shape: tuple[int, ...]) -> WarmupItem:
    size = int(np.prod(input_shape))
    noise = np.random.default_rng(0).standard_normal(size)
    signal = 0.3 * np.sin(np.arange(size) * 0.2) + 0.05 * noise
    return WarmupItem(signal.astype(np.float32).view(np.uint8))
