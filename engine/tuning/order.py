"""What the supervisor asks a trial process for, and what that says while it works.

The order is JSON on a descriptor, the pickled factory on another one; news are JSON lines on the standard output.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from engine.errors import ProtocolError
from engine.tuning.key import TuningKey
from engine.tuning.terms import TuningTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOrder:
    """Which model to try, for which instances, on which terms."""

    spec: dict[str, Any]  # ModelSpec.to_json()
    model_version: str  # of the model as it came, as its instances report it
    device: str  # `cpu`, `cuda:N`
    threads: int  # of an instance
    max_batch_size: int
    terms: TuningTerms

    def key(self) -> TuningKey:
        """Of what these trials find, on this machine. Counts the files of `calibration_dir`."""
        return TuningKey.here(
            self.terms,
            model_version=self.model_version,
            device=self.device,
            threads=self.threads,
            max_batch_size=self.max_batch_size,
        )

    def to_bytes(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> TrialOrder:
        """Raises ProtocolError for anything that `to_bytes` of this version did not make."""
        try:
            value = json.loads(content)
            return cls(**{**value, "terms": TuningTerms.from_json(value["terms"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ProtocolError(f"not an order of trials: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialNews:
    """One line of a trial process. Without a `candidate` it is about all of them."""

    state: str  # `waiting`, `trying`, `done`, `refused`; in the end `finished` or `failed`
    candidate: str = ""  # name of a form
    text: str = ""  # what there is to say of it, one line

    def to_line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> TrialNews | None:
        """None for anything else: what a model prints may end up in the same pipe."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None
