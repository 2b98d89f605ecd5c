"""Probabilities of windows -> what a client reads.

A recording's probability of a class is the highest over its windows: one call in a night is a call. Classes are ranked
by probability, highest first; equal ones by class index, so that the same numbers always give the same text.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_LISTED = 200_000  # predictions in one answer, some 15 MB of JSON
MAX_ANSWER_CHARACTERS = 16_000_000  # each copy of it is one step that nothing else of the process can interrupt

_FEW = 40  # classes, up to which sorting a list is quicker than three calls of numpy
_WORTH_A_SELECTION = 8  # selecting the best is quicker than sorting all where these are so many times as many
_BY_PROBABILITY = operator.itemgetter(1)

Probabilities = npt.NDArray[np.float32]


def combine(windows: Sequence[Probabilities]) -> Probabilities:
    """Per class the highest probability over windows: `[classes]` from a list of `[classes]`, at least one."""
    if len(windows) == 1:
        return windows[0]
    combined: Probabilities = np.maximum.reduce(list(windows))
    return combined


def rank(probabilities: Probabilities, count: int) -> list[tuple[int, float]]:
    """The `count` likeliest classes (fewer when there are fewer) as (class index, probability)."""
    if len(probabilities) <= _FEW:
        return sorted(enumerate(probabilities.tolist()), key=_BY_PROBABILITY, reverse=True)[:count]
    chosen = np.arange(len(probabilities))
    if count < len(probabilities) // _WORTH_A_SELECTION:
        least = np.partition(probabilities, -count)[-count]
        chosen = np.flatnonzero(probabilities >= least)
    chosen = chosen[(-probabilities[chosen]).argsort(kind="stable")[:count]]
    return list(zip(chosen.tolist(), probabilities[chosen].tolist()))


class Wording:
    """Rankings in the optimized form as JSON text, for the labels of one model.

    What never changes about a class is encoded once: the generic encoder took a third of the time of a whole exchange.
    Probabilities are finite here, since the engine makes an error of any other answer; so `repr` is their JSON.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.names = [json.dumps(label) for label in labels]
        self._detailed = [f'{{"class_index":{k},"label":{name},"probability":' for k, name in enumerate(self.names)]

    def detailed(self, ranked: Sequence[tuple[int, float]], minimum: float = 0.0) -> str:
        """`ranked` without the classes under `minimum`."""
        starts = self._detailed
        parts = [f"{starts[index]}{probability!r}}}" for index, probability in ranked if probability >= minimum]
        return f"[{','.join(parts)}]"


def labelled(ranked: Sequence[tuple[int, float]], labels: Sequence[str]) -> list[dict[str, object]]:
    """The original form of a ranking."""
    return [{"label": labels[index], "probability": probability} for index, probability in ranked]
