"""Whether a faster form of a model may answer in its place: by how far its probabilities are from the eager ones.

A form that computes in fp32 has no excuse but rounding: it has to be within 1e-3 of every probability, whatever the
operator allows. Forms of less precision have to pass the operator's thresholds.

Shares alone do not tell a form that is right from one that has gone deaf. Where a model says nearly the same of every
window, or is sure of nothing among thousands of classes, a form that answered the mean of all windows would keep every
probability within 0.02: so the form must also follow how the answers vary from window to window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.forms import Precision

LEAST_WINDOWS = 512  # of sound: 99.5 % of fewer is a matter of one or two of them
FP32_MOST = 1e-3  # how far rounding may move a probability
_FAR_FROM_ALONE = 20.0  # arbitrary: a form that is merely inexact is off by a third as much in the few windows alone
LEAST_FOLLOWED = 0.9  # of the variance over windows; arbitrary: INT8 follows 0.97 and more, a deaf form 0


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """How far the answers of a form of less precision than fp32 may be off: the settings `gate_*`."""

    top1: float = 0.995  # least share of windows with the same most probable class
    close: float = 0.999  # least share of probabilities within `within`
    within: float = 0.02
    most: float = 0.1  # how far no probability may be off


@dataclass(frozen=True, slots=True)
class Agreement:
    """A form's probabilities beside the eager ones, over windows in batches of several sizes."""

    windows: int  # different ones that were compared
    top1: float  # share of comparisons with the same most probable class
    close: float  # share of probabilities within the policy's `within`
    largest: float  # difference of a probability
    alone: float  # the largest where a window was computed alone
    batch_size: int  # where the largest difference was met
    followed: float  # 1 - variance of the differences / variance of the eager answers over windows; 1: all of it
    unusable: str = ""  # why there is nothing to compare: not finite, of another shape


def verdict(agreement: Agreement, policy: GatePolicy, precision: Precision) -> str:
    """Empty: the form may serve; else the measure that refused it, with its figure and threshold.

    `precision`: what the form computes in.
    """
    reason = next(_refusals(agreement, policy, precision), "")
    if reason and agreement.alone * _FAR_FROM_ALONE < agreement.largest:
        return (
            f"batch size: off by {agreement.largest:.3g} in a batch of {agreement.batch_size}, alone by"
            f" {agreement.alone:.2g}; {reason}"
        )
    return reason


def _refusals(agreement: Agreement, policy: GatePolicy, precision: Precision) -> Iterator[str]:
    most = FP32_MOST if precision is Precision.FP32 else policy.most
    if agreement.unusable:
        yield f"unusable answers: {agreement.unusable}"
    if agreement.windows < LEAST_WINDOWS:
        yield f"windows: {agreement.windows} compared, at least {LEAST_WINDOWS} are needed"
    if precision is not Precision.FP32:
        yield from _refusals_by_share(agreement, policy)
    if not agreement.largest <= most:
        yield f"largest difference: {agreement.largest:.3g}, at most {most:g}"


def _refusals_by_share(agreement: Agreement, policy: GatePolicy) -> Iterator[str]:
    if not agreement.top1 >= policy.top1:
        yield f"top-1 agreement: {_percent(agreement.top1)}, at least {_percent(policy.top1)}"
    if not agreement.close >= policy.close:
        yield (
            f"close probabilities: {_percent(agreement.close)} within {policy.within:g}, at least"
            f" {_percent(policy.close)}"
        )
    if not agreement.followed >= LEAST_FOLLOWED:
        yield (
            f"variation: {_percent(agreement.followed)} of how answers differ from window to window, at least"
            f" {_percent(LEAST_FOLLOWED)}"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
