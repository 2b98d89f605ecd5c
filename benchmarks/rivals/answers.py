"""Whether a server says what the plain model says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from benchmarks.rivals.sizes import TOP

Probabilities = Mapping[str, float]  # by label


class WrongAnswer(Exception):
    """An answer that differs from the model's by more than it may, or none at all."""


def scores(body: bytes) -> dict[str, float]:
    """The probabilities in an answer, by label, in whatever JSON they are wrapped. Raises WrongAnswer."""
    try:
        found = dict(_labelled(json.loads(body)))
    except (ValueError, TypeError, KeyError) as error:
        raise WrongAnswer(f"no JSON of labels and numbers: {body[:100]!r}") from error
    if not found:
        raise WrongAnswer(f"no labels in {body[:100]!r}")
    return found


def difference(found: Probabilities, model: Probabilities, tolerance: float) -> float:
    """The largest difference of a probability. Raises WrongAnswer beyond `tolerance`, or if others are likeliest."""
    if len(found) != TOP or not found.keys() <= model.keys():
        raise WrongAnswer(f"labels {sorted(found)} in place of the {TOP} likeliest")
    differences = [abs(score - model[label]) for label, score in found.items()]
    largest = max(differences)
    if not all(each <= tolerance for each in differences):  # nor is a NaN
        raise WrongAnswer(f"a probability is off by {largest:.4f}, which may be {tolerance:g}")
    unlisted = max((score for label, score in model.items() if label not in found), default=0.0)
    if unlisted > min(model[label] for label in found) + 2 * tolerance:  # less is a tie that either may win
        raise WrongAnswer(f"labels {sorted(found)} are not the {TOP} likeliest")
    return largest


def _labelled(value: object) -> Iterator[tuple[str, float]]:
    """Every label with its number, however deep; texts inside are looked into where they are lists of their own."""
    if isinstance(value, dict):
        if "label" in value:
            yield str(value["label"]), float(value["score"] if "score" in value else value["probability"])
            return
        value = list(value.values())
    if isinstance(value, str) and value.startswith("["):
        value = json.loads(value)
    if isinstance(value, list):
        for item in value:
            yield from _labelled(item)
