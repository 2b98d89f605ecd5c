"""How fast a form computes beside the eager one, at every batch size, on a machine that has other things to do.

The two take turns, so that what else the machine does falls on both. With one thread the processor's time of the
process is taken and not the clock's: what others computed meanwhile is not in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from engine.clock import NS_PER_S, now_ns, process_cpu_ns
from engine.core.batching import buckets

Floats = npt.NDArray[np.float32]
Compute = Callable[[Floats], object]

ROUNDS = 5  # of turns for each size; the median of them counts
LEAST_ROUNDS = 3
SIZE_LIMIT_S = 1.0  # no size is repeated past this
SHORTEST_NS = 4_000_000  # that is measured at a time; what takes less is repeated
HOPELESS = 3.0  # times as slow as the eager form at the smallest size: the larger ones are not waited for
LONGEST_BATCH_S = 1.0  # of the eager form: where a batch takes longer a larger one hardly brings more


def speeds(
    forms: Mapping[str, Compute],
    windows: Callable[[int], Floats],
    *,
    max_batch: int,
    threads: int,
    is_cuda: bool = False,
) -> dict[str, dict[int, float]]:
    """Items a second of each form by batch size. `windows(n)`: `[n, ...]`.

    The first of `forms` is the one that others are compared with. Raises whatever a form raises.
    """
    clock = process_cpu_ns if threads == 1 and not is_cuda else now_ns
    found: dict[str, dict[int, float]] = {name: {} for name in forms}
    for size in buckets(max_batch):
        took_ns = _take_turns(list(forms.values()), windows(size), clock)
        for name, each_ns in zip(forms, took_ns):
            found[name][size] = size * NS_PER_S / each_ns
        if max(took_ns) > HOPELESS * took_ns[0] or took_ns[0] > LONGEST_BATCH_S * NS_PER_S:
            break
    return found


def _take_turns(forms: list[Compute], batch: Floats, clock: Callable[[], int]) -> list[float]:
    """Nanoseconds a batch of each form: the median of the rounds."""
    for form in forms:
        form(batch)  # the first time is slower: libraries prepare for the size
    rounds = [[_timed(form, batch, 1, clock) for form in forms]]
    repeats = [max(1, round(SHORTEST_NS / took_ns)) for took_ns in rounds[0]]
    started_ns = now_ns()
    while len(rounds) < LEAST_ROUNDS or (len(rounds) < ROUNDS and now_ns() - started_ns < SIZE_LIMIT_S * NS_PER_S):
        rounds.append([_timed(form, batch, times, clock) for form, times in zip(forms, repeats)])
    return [statistics.median(turns) for turns in zip(*rounds)]


def _timed(form: Compute, batch: Floats, times: int, clock: Callable[[], int]) -> float:
    """Nanoseconds of one batch, over several."""
    start_ns = clock()
    for _ in range(times):
        form(batch)
    return max(1, clock() - start_ns) / times
