"""What trials of one model have found: every candidate with its figures, and which form is to serve."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import TuningDamaged


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """One form that was tried, or why it was not. Figures of agreement hold where `windows` is not 0."""

    form: str  # ModelForm.name; the eager form is among them
    items_per_s: Mapping[int, float] = field(default_factory=dict)  # by batch size; empty: never measured
    windows: int = 0  # of sound that its answers were compared on
    top1: float = 0.0  # share of windows whose most probable class stayed the same
    close: float = 0.0  # share of probabilities within gate_within
    largest: float = 0.0  # largest difference of a probability
    refused: str = ""  # why it may not serve, one line; empty: it may
    needs: str = ""  # the value of `precision` that would let it serve, where that is all that is against it
    seconds: float = 0.0  # that its trial took

    @property
    def best_items_per_s(self) -> float:
        """At its best batch size; 0.0 where it was never measured."""
        return max(self.items_per_s.values(), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningResult:
    """Of one set of trials."""

    winner: str  # name of the form that is to serve; empty where the precision asked for cannot be had
    speedup: float  # of the winner over the eager form, each at its best batch size
    candidates: tuple[CandidateResult, ...]
    device: str
    processor: str  # for people
    versions: Mapping[str, str]  # of what the forms were made and measured with
    finished_at_s: float  # seconds since 1970
    seconds: float  # that all trials took
    reason: str = ""  # why the eager form stays, or why there is no winner
    sounds: str = ""  # what answers were compared on
    artefacts: Mapping[str, str] = field(default_factory=dict)  # file beside the result -> its SHA-256

    def candidate(self, form: str) -> CandidateResult | None:
        """What was found of the form of this name."""
        return next((each for each in self.candidates if each.form == form), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for status too."""
        value = dataclasses.asdict(self)
        for candidate in value["candidates"]:
            candidate["items_per_s"] = {str(size): speed for size, speed in candidate["items_per_s"].items()}
        return value

    def to_bytes(self) -> bytes:
        """With a checksum of itself."""
        body = json.dumps(self.to_json(), sort_keys=True, allow_nan=False)
        return json.dumps({"sha256": _sha256(body), "result": body}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> TuningResult:
        """Raises TuningDamaged for anything that `to_bytes` of this version did not make."""
        try:
            outer = json.loads(content)
            body = outer["result"]
            if outer["sha256"] != _sha256(body):
                raise TuningDamaged("the checksum of the result is wrong")
            return _result(json.loads(body))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise TuningDamaged(f"not a result of trials ({type(error).__name__}: {error})") from error


def _result(value: dict[str, Any]) -> TuningResult:
    candidates = tuple(map(_candidate, value.pop("candidates")))
    made = TuningResult(**value, candidates=candidates)
    if (made.winner and made.candidate(made.winner) is None) or not math.isfinite(made.speedup):
        raise TuningDamaged(f"the result names {made.winner!r}, {made.speedup} times as fast, which was not tried")
    return made


def _candidate(value: dict[str, Any]) -> CandidateResult:
    speeds = {int(size): float(speed) for size, speed in value.pop("items_per_s").items()}
    return CandidateResult(**value, items_per_s=speeds)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
