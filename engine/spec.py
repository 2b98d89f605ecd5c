"""What a deployment is made of, as plain values that cross processes: no torch here.

`ModelSpec` travels from whoever deploys to the instance that loads; `ModelDescription` is what the instance reports
once the model is loaded, and all that frontends ever know of a model.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from engine.errors import ConfigError, ProtocolError
from engine.forms import EAGER, ModelForm

DEFAULT_DEPLOYMENT_ID = "wildlife_detector_optimized"


class ModelSource(str, Enum):
    """Where an instance gets its model from."""

    DEMO = "demo"  # the small model we ship
    CHECKPOINT = "checkpoint"  # a state_dict, safetensors, TorchScript, torch.export or ONNX file at `location`
    FACTORY = "factory"  # `package.module:function` at `location`, imported in the instance
    PICKLE = "pickle"  # a cloudpickled callable, handed over in a sealed memfd


class Activation(str, Enum):
    """How a model's outputs become probabilities."""

    SOFTMAX = "softmax"  # one class of several: the probabilities of an item add up to 1
    SIGMOID = "sigmoid"  # each class by itself: several can be heard at once
    NONE = "none"  # they are probabilities already

    @classmethod
    def named(cls, name: str | None) -> Activation | None:
        """The one of this name; None for None and for an empty name. Raises ConfigError for any other."""
        try:
            return cls(name) if name else None
        except ValueError:
            choices = ", ".join(each.value for each in cls)
            raise ConfigError(f"activation={name!r}: must be one of {choices}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """How to make one model. A field that is None is taken from the model itself, or else from its default."""

    source: ModelSource = ModelSource.DEMO
    location: str = ""
    labels_path: str = ""  # JSON list, one label a line, or a NightScan train.csv
    labels: tuple[str, ...] | None = None
    input_shape: tuple[int, ...] | None = None  # of one item; None: (round(sample_rate_hz * segment_s),)
    sample_rate_hz: int | None = None
    segment_s: float | None = None
    peak_normalise: bool | None = None
    activation: Activation | None = None
    resize_antialias: bool | None = None  # of the spectrogram image; for NightScan checkpoints only
    onnx_output: str | None = None  # name of the output with the classes, of an ONNX file that has several
    import_paths: tuple[str, ...] = ()  # put on sys.path of the instance before a factory is imported

    def to_json(self) -> dict[str, Any]:
        activation = None if self.activation is None else self.activation.value
        return {**dataclasses.asdict(self), "source": self.source.value, "activation": activation}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ModelSpec:
        """Raises ProtocolError for fields that this version does not know."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
            made = cls(**fields)
            activation = Activation.named(made.activation)
            return dataclasses.replace(made, source=ModelSource(made.source), activation=activation)
        except (TypeError, ValueError, ConfigError) as error:
            raise ProtocolError(f"not a model spec: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A loaded model as its users see it."""

    model_version: str  # short hash of weights, preprocessing and activation; then `+` and the form, unless it is eager
    input_shape: tuple[int, ...]  # of one item, without the batch dimension
    classes: int
    labels: tuple[str, ...]  # len == classes
    sample_rate_hz: int
    segment_s: float
    peak_normalise: bool
    device: str
    activation: Activation = Activation.SOFTMAX
    form: str = EAGER.name  # in which its instances compute it
    tuning_key: str = ""  # name of the result of trials that the form is from

    def computed_in(self, form: ModelForm, tuning_key: str = "") -> ModelDescription:
        """The same model in another form, whose answers may differ: they have another version."""
        base = self.model_version.partition("+")[0]
        version = base if form == EAGER else f"{base}+{form.name}"
        return dataclasses.replace(self, model_version=version, form=form.name, tuning_key=tuning_key)

    @property
    def is_waveform(self) -> bool:
        """Whether an item is one waveform `[frames]`, so that int16 may be sent in place of float32."""
        return len(self.input_shape) == 1

    @property
    def payload_bytes(self) -> int:
        """Bytes of one float32 item, the largest payload of a slot."""
        return 4 * math.prod(self.input_shape)

    def to_bytes(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> ModelDescription:
        """Raises ProtocolError for anything that `to_bytes` of this version did not make."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(value).items()}
            made = cls(**fields)
            return dataclasses.replace(made, activation=Activation(made.activation))
        except (TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"not a model description: {error}") from error
