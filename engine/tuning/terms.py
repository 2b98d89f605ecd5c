"""On which terms a model is tuned: what its deployment's settings say of it, as plain values that cross processes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config import Settings
from engine.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningTerms:
    """Where results are kept, which answers are near enough, and what trials may take of the machine."""

    state_dir: str
    precision: str
    calibration_dir: str
    gate_top1: float
    gate_close: float
    gate_within: float
    gate_most: float
    trial_memory_mb: int
    trial_limit_s: int

    @classmethod
    def of(cls, settings: Settings, **changed: Any) -> TuningTerms:
        """Those of `settings`; `changed`: what a deployment says for itself."""
        own = cls(
            state_dir=settings.state_dir, precision=settings.precision, calibration_dir=settings.calibration_dir,
            gate_top1=settings.gate_top1, gate_close=settings.gate_close, gate_within=settings.gate_within,
            gate_most=settings.gate_most, trial_memory_mb=settings.trial_memory_mb,
            trial_limit_s=settings.trial_limit_s,
        )
        return dataclasses.replace(own, **changed)

    @property
    def folder(self) -> Path:
        """Where all results lie."""
        return Path(self.state_dir) / "tuning"

    def deciding(self) -> dict[str, Any]:
        """What of them decides on a result, so that another value asks for new trials.

        Limits do: where one has ended a trial, whoever raises it wants another.
        """
        return {name: value for name, value in self.to_json().items() if name != "state_dir"}

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TuningTerms:
        """Raises ProtocolError for fields that this version does not know."""
        try:
            return cls(**value)
        except TypeError as error:
            raise ProtocolError(f"not the terms of tuning: {error}") from error
