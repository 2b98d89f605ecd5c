"""What the trial process asks one of its children for, and what that answers: JSON on descriptors. No torch here."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from engine.errors import ProtocolError
from engine.trials.priority import Share
from engine.tuning.order import TrialOrder


class StageKind(str, Enum):
    """One step of the trials, in a process of its own."""

    REFERENCE = "reference"  # sounds, the eager form's answers to them and its speed
    EXPORT = "export"  # the network as ONNX
    QUANTISE = "quantise"  # that as INT8
    MEASURE = "measure"  # a form beside the eager one: speed, then agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """Of one stage."""

    kind: StageKind
    order: TrialOrder
    work: str  # folder that artefacts and the reference lie in
    form: str = ""  # name of the form to measure, or to make the file for
    sounds: dict[str, Any] = field(default_factory=dict)  # as the reference stage has reported them
    worth_items_per_s: float = 0.0  # a form that is slower is not compared
    eager_items_per_s: dict[str, float] = field(default_factory=dict)  # by batch size, as text
    share: Share = Share.IDLE  # of the processor

    def to_bytes(self) -> bytes:
        value = dataclasses.asdict(self)
        return json.dumps({**value, "order": self.order.to_bytes().decode(), "share": self.share.value}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> StageRequest:
        """Raises ProtocolError for anything that `to_bytes` of this version did not make."""
        try:
            value = json.loads(content)
            order = TrialOrder.from_bytes(value["order"].encode())
            kinds = {"kind": StageKind(value["kind"]), "share": Share(value["share"])}
            return cls(**{**value, **kinds, "order": order})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProtocolError(f"not the request of a stage: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """How a stage ended. `values` are of its kind."""

    failed: str = ""  # why there are none, one line
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # from its start to its end, without those in which others had the processor

    @classmethod
    def from_bytes(cls, content: bytes, seconds: float) -> StageReport | None:
        """What a stage has written before its end; None for anything but one whole report."""
        try:
            value = json.loads(content)
            return cls(failed=str(value["failed"]), values=dict(value["values"]), seconds=seconds)
        except (ValueError, TypeError, KeyError):
            return None

    def to_bytes(self) -> bytes:
        return json.dumps({"failed": self.failed, "values": self.values}).encode() + b"\n"
