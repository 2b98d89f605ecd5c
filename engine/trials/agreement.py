"""A form's probabilities beside the eager ones: the figures that `core.gate` judges by. numpy only.

What is compared is what callers get, probabilities after the activation. Windows are shuffled and computed once each,
most in the largest batches, some alone, some in batches of the sizes between: a form may be right for one size and one
neighbourhood only, through a shape that was frozen at export or a scale that is shared by a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.core.gate import Agreement, GatePolicy

Floats: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]
Compute: TypeAlias = Callable[[Floats], Floats]  # [B, *input_shape] -> probabilities [B, classes]

WINDOWS_ALONE = 48  # at most an eighth: a fault that is only there adds to the shares by that much, 25 times the 0.5 %
WINDOWS_MIXED = 96  # at most a quarter: each size up to 8 comes more than twice
FOUND = 0.5  # above it a class of several that can be heard at once counts as heard
_FAINT = 0.1  # of several that can be heard at once: below it, which one is most probable means nothing
_TIE = 1e-6
_ROUNDING = 1e-5  # deviation over windows below which a model's answers are one and the same
_ONE_OF_SEVERAL = 1e-3  # how far the sum of a softmax may be from 1


class Windows(Protocol):
    """Sounds by number."""

    def __len__(self) -> int:
        ...

    def batch(self, indices: Sequence[int] | Indices) -> Floats:
        """float32 `[len(indices), *input_shape]`."""


def arranged(windows: int, max_batch: int, *, seed: int = 0) -> Iterator[Indices]:
    """The batches of one comparison, every window in one of them."""
    order = np.random.default_rng(seed).permutation(windows)
    if max_batch > 1:
        alone, mixed = min(WINDOWS_ALONE, windows // 8), min(WINDOWS_MIXED, windows // 4)
        yield from order[:alone, np.newaxis]
        yield from _in_growing_batches(order[alone:alone + mixed], max_batch)
        order = order[alone + mixed:]
    for start in range(0, len(order), max_batch):
        yield order[start:start + max_batch]


def _in_growing_batches(order: Indices, max_batch: int) -> Iterator[Indices]:
    start, size = 0, 2
    while start < len(order):
        yield order[start:start + size]
        start, size = start + size, size + 1 if size < max_batch else 2


def reference_of(eager: Compute, windows: Windows, max_batch: int) -> Floats:
    """Probabilities of the eager form, `[len(windows), classes]`."""
    starts = range(0, len(windows), max_batch)
    ends = [min(start + max_batch, len(windows)) for start in starts]
    return np.concatenate([eager(windows.batch(range(start, end))) for start, end in zip(starts, ends)])


def compare(
    form: Compute, windows: Windows, reference: Floats, *, max_batch: int, policy: GatePolicy
) -> Agreement:
    """A form's answers to these windows beside `reference`, the eager ones `[len(windows), classes]`.

    Windows of which the eager form says nothing finite are left out: they get an error, not an answer. Raises whatever
    the form raises.
    """
    usable = np.flatnonzero(np.isfinite(reference).all(axis=1))
    if not len(usable):
        return _nothing(0, "the eager form itself gives nothing finite")
    comparison = Comparison(reference, usable, policy)
    for chosen in arranged(len(usable), max_batch):
        comparison.add(usable[chosen], form(windows.batch(usable[chosen])))
        if comparison.unusable:
            break
    return comparison.agreement()


class Comparison:
    """Adds up what batches of one form's answers show: at least one, until some are unusable."""

    def __init__(self, reference: Floats, usable: Indices, policy: GatePolicy) -> None:
        self.unusable = ""
        self._reference, self._policy, self._windows = reference, policy, len(usable)
        self._mean = reference[usable].mean(axis=0, dtype=np.float64)
        self._is_one_of_several = _sums_to_one(reference[usable])
        self._compared = self._same = self._probabilities = self._close = 0
        self._largest, self._alone, self._batch_size = 0.0, 0.0, 0
        self._off, self._varied = 0.0, 0.0  # sums of squares

    def add(self, indices: Indices, answers: Floats) -> None:
        """The answers `[len(indices), classes]` to one batch."""
        wanted = self._reference[indices]
        self.unusable = self.unusable or _problem(wanted, answers)
        if self.unusable:
            return
        differences = np.abs(answers.astype(np.float64) - wanted)
        self._compared += len(indices)
        self._same += int(self._agree(wanted, answers).sum())
        self._probabilities += differences.size
        self._close += int((differences <= self._policy.within).sum())
        self._off += float(np.square(differences).sum())
        self._varied += float(np.square(wanted - self._mean).sum())
        self._note_largest(float(differences.max()), len(indices))

    def _note_largest(self, difference: float, batch_size: int) -> None:
        if batch_size == 1:
            self._alone = max(self._alone, difference)
        if difference > self._largest:
            self._largest, self._batch_size = difference, batch_size

    def _agree(self, wanted: Floats, answers: Floats) -> npt.NDArray[np.bool_]:
        """Whether a window's most probable class stays; where several can be heard at once also which are heard."""
        rows = np.arange(len(wanted))
        first, second = wanted.argmax(axis=1), answers.argmax(axis=1)
        same = (wanted[rows, first] - wanted[rows, second] <= _TIE) | (
            answers[rows, second] - answers[rows, first] <= _TIE
        )
        if self._is_one_of_several:
            return np.asarray(same)
        faint = np.maximum(wanted.max(axis=1), answers.max(axis=1)) < _FAINT
        moved = np.abs(wanted - answers) > self._policy.within
        lost_or_gained = (((wanted >= FOUND) != (answers >= FOUND)) & moved).any(axis=1)
        return np.asarray((same | faint) & ~lost_or_gained)

    def agreement(self) -> Agreement:
        """The figures over all that was added."""
        if self.unusable:
            return _nothing(self._windows, self.unusable)
        constant = self._probabilities * _ROUNDING**2
        return Agreement(
            windows=self._windows,
            top1=self._same / self._compared,
            close=self._close / self._probabilities,
            largest=self._largest,
            alone=self._alone,
            batch_size=self._batch_size,
            followed=1.0 - self._off / max(self._varied, constant),
        )


def _nothing(windows: int, why: str) -> Agreement:
    return Agreement(windows, 0.0, 0.0, 1.0, 1.0, 0, 0.0, why)


def _sums_to_one(probabilities: Floats) -> bool:
    """Whether one class excludes the others, as after a softmax, wherever it was applied."""
    sums = probabilities.sum(axis=1, dtype=np.float64)
    return probabilities.shape[1] > 1 and bool((np.abs(sums - 1.0) <= _ONE_OF_SEVERAL).all())


def _problem(wanted: Floats, answers: Floats) -> str:
    if answers.shape != wanted.shape:
        return f"shape {answers.shape} for a batch of {len(wanted)}, not {wanted.shape}"
    if not np.isfinite(answers).all():
        return f"not finite (NaN or infinity) in a batch of {len(wanted)}"
    return ""
