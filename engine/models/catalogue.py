"""From a ModelSpec to a model that is ready to run, whatever it was made from.

Invariant: what `load_model` returns has run once, on zeros; its description's classes and labels are those of that run.
Every failure is a ConfigError whose text says what to change.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.models.factories import call_factory, import_factory, source_of
from engine.models.fingerprint import model_version
from engine.models.foreign import UndecodableWeights, blaming
from engine.models.labels import PUBLISHED_LABELS, check_labels, read_labels
from engine.models.outputs import check_activation, checked_logits
from engine.models.pipeline import SoundClassifier
from engine.models.resnet18 import ResNet18
from engine.models.mel import MelSettings
from engine.models.weights import Checkpoint, FileKind, kind_of, read_checkpoint, read_program
from engine.spec import Activation, ModelDescription, ModelSource, ModelSpec

DEMO_PATH = Path(__file__).with_name("demo.pt")
DEFAULT_SAMPLE_RATE_HZ = 22_050
DEFAULT_SEGMENT_S = 8.0
PROBE_ITEMS = 2  # one would not show a module that drops the batch dimension, or was exported for a single item


@dataclass
class LoadedModel:
    """A model on the CPU in evaluation mode, and what its users need to know of it."""

    module: nn.Module  # float32 [B, *input_shape] -> logits [B, classes]
    description: ModelDescription
    activation_chosen: bool = False  # by the spec or the model itself; otherwise it is the default


@dataclass(frozen=True, slots=True)
class _Made:
    """A module with what came along with it, before the spec has its say."""

    module: nn.Module
    shape: tuple[int, ...]
    sample_rate_hz: int
    segment_s: float
    peak_normalise: bool
    labels: tuple[str, ...] | None
    activation: Activation | None = None
    preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # beyond the fields above
    code: bytes = b""


def load_model(
    spec: ModelSpec, factory: Callable[[], object] | None = None, *, fingerprint: bytes = b""
) -> LoadedModel:
    """Makes the model that `spec` describes and runs it once.

    `factory` is the callable of a PICKLE spec. `fingerprint` tells apart models of the same class and weights whose
    code differs (the pickled bytes, or their hash); it goes into the model version. Raises ConfigError, and its kind
    UndecodableWeights for a file that is no model.
    """
    made = _make(spec, factory)
    with blaming(lambda what: f"the model cannot be put into evaluation mode on the CPU: {what}"):
        module = made.module.to("cpu").eval()
        for parameter in module.parameters():  # one by one: TorchScript modules refuse module.requires_grad_()
            parameter.requires_grad_(False)
    classes = _count_classes(module, made.shape)
    activation = made.activation or Activation.SOFTMAX
    check_activation(activation, classes)
    labels = _labels(spec, made, classes)
    preprocessing = {
        **made.preprocessing, "input_shape": made.shape, "sample_rate_hz": made.sample_rate_hz,
        "segment_s": made.segment_s, "peak_normalise": made.peak_normalise, "activation": activation.value,
        "labels": labels,  # an answer names them, and whoever keeps answers by version would give the others' names
    }
    description = ModelDescription(
        model_version=model_version(module, preprocessing, code=made.code + fingerprint),
        input_shape=made.shape, classes=classes, labels=labels,
        sample_rate_hz=made.sample_rate_hz, segment_s=made.segment_s, peak_normalise=made.peak_normalise, device="cpu",
        activation=activation,
    )
    return LoadedModel(module, description, activation_chosen=made.activation is not None)


def _make(spec: ModelSpec, factory: Callable[[], object] | None) -> _Made:
    if spec.source is ModelSource.DEMO:
        return _from_checkpoint(spec, read_checkpoint(DEMO_PATH), where="the demo model")
    if spec.source is ModelSource.CHECKPOINT:
        return _from_file(spec, Path(spec.location))
    if spec.source is ModelSource.FACTORY:
        module = call_factory(import_factory(spec.location, spec.import_paths), spec.location)
        return _from_module(spec, module, code=spec.location.encode() + source_of(spec.location))
    if factory is None:
        raise ConfigError("a model that travels as a pickle needs its callable")
    return _from_module(spec, call_factory(factory, getattr(factory, "__qualname__", repr(factory))), code=b"")


def _from_file(spec: ModelSpec, path: Path) -> _Made:
    kind = kind_of(path)
    if kind is FileKind.ONNX:
        return _from_onnx(spec, path)
    if kind in (FileKind.TORCHSCRIPT, FileKind.EXPORTED):
        return _from_module(spec, read_program(path), code=path.read_bytes())
    return _from_checkpoint(spec, read_checkpoint(path), where=str(path))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _from_checkpoint(spec: ModelSpec, checkpoint: Checkpoint, *, where: str) -> _Made:
    own = checkpoint.preprocessing
    own_mel = own.get("mel", {})
    rate_hz = _first(spec.sample_rate_hz, own.get("sample_rate_hz"), own_mel.get("sample_rate_hz"))
    wanted = {} if spec.resize_antialias is None else {"resize_antialias": spec.resize_antialias}
    mel = MelSettings.from_mapping({**own_mel, **wanted, "sample_rate_hz": rate_hz or DEFAULT_SAMPLE_RATE_HZ})
    network = _resnet18(checkpoint.state, where)
    segment_s = float(_first(spec.segment_s, own.get("segment_s"), DEFAULT_SEGMENT_S))
    classes = network.fc.out_features
    return _Made(
        module=SoundClassifier(network, mel),
        shape=_first(spec.input_shape, (round(mel.sample_rate_hz * segment_s),)),
        sample_rate_hz=mel.sample_rate_hz, segment_s=segment_s,
        peak_normalise=bool(_first(spec.peak_normalise, own.get("peak_normalise"), True)),
        labels=_first(checkpoint.labels, PUBLISHED_LABELS if classes == len(PUBLISHED_LABELS) else None),
        activation=_first(spec.activation, Activation.named(own.get("activation"))),
        preprocessing={"mel": dataclasses.asdict(mel)},
    )


def _from_module(spec: ModelSpec, module: nn.Module, *, code: bytes) -> _Made:
    """A module may carry what the spec leaves open as attributes of the same names."""
    _refuse_antialias(spec)
    with blaming(lambda what: (
        "an attribute of the module is not of its kind (sample_rate_hz and segment_s are numbers, input_shape and"
        f" labels are tuples): {what}"
    )):
        rate_hz = int(_first(spec.sample_rate_hz, getattr(module, "sample_rate_hz", None), DEFAULT_SAMPLE_RATE_HZ))
        segment_s = float(_first(spec.segment_s, getattr(module, "segment_s", None), DEFAULT_SEGMENT_S))
        shape = _first(spec.input_shape, getattr(module, "input_shape", None), (round(rate_hz * segment_s),))
        labels = getattr(module, "labels", None)
        return _Made(
            module=module,
            shape=tuple(map(operator.index, shape)),
            sample_rate_hz=rate_hz, segment_s=segment_s,
            peak_normalise=bool(_first(spec.peak_normalise, getattr(module, "peak_normalise", None), True)),
            labels=None if labels is None else tuple(map(str, labels)),
            activation=_first(spec.activation, _own_activation(module)), code=code,
        )


def _refuse_antialias(spec: ModelSpec) -> None:
    if spec.resize_antialias is not None:
        raise ConfigError("resize_antialias concerns the spectrogram of a NightScan checkpoint; leave it out here")


def _from_onnx(spec: ModelSpec, path: Path) -> _Made:
    """What the spec leaves open is what the file's input and its metadata say."""
    try:
        from engine.models.onnx_file import OnnxFile  # only who serves such a file pays for ONNX Runtime
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path} needs {error.name}, which is not installed: pip install {error.name}") from error
    given = _given_labels(spec)
    with blaming(lambda what: f"cannot read {path}: {what}", UndecodableWeights):
        read = OnnxFile(path, spec, named=None if given is None else len(given))
    if read.mel is None:
        _refuse_antialias(spec)
    return _Made(
        module=read.module,
        shape=read.hearing.shape, sample_rate_hz=read.hearing.sample_rate_hz, segment_s=read.hearing.segment_s,
        peak_normalise=bool(_first(spec.peak_normalise, read.peak_normalise, True)),
        labels=read.labels,
        activation=_first(spec.activation, read.activation),
        preprocessing={"onnx_output": read.output, "mel": read.mel and dataclasses.asdict(read.mel)},
        code=read.digest,
    )


def _own_activation(module: nn.Module) -> Activation | None:
    """What a module's attribute `activation` says. Many modules have a layer of that name, which says nothing."""
    own = getattr(module, "activation", None)
    return Activation.named(own) if isinstance(own, str) else None


def _resnet18(state: dict[str, Tensor], where: str) -> ResNet18:
    """The network that a state_dict fits, its width and classes read off the weights."""
    stem, head = state.get("conv1.weight"), state.get("fc.weight")
    if stem is None or head is None or stem.dim() != 4 or head.dim() != 2:
        raise UndecodableWeights(
            f"{where} is no ResNet18 with torchvision's names: it needs conv1.weight and fc.weight, and has"
            f" {', '.join(list(state)[:4])}, …; serve another architecture through a model_factory"
        )
    network = ResNet18(classes=head.shape[0], width=stem.shape[0])
    expected = network.state_dict()
    wrong = [f"no {name}" for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    wrong += [f"unknown {name}" for name in state if name not in expected]
    wrong += [f"{name} has shape {tuple(value.shape)}, not {tuple(expected[name].shape)}"
              for name, value in state.items() if name in expected and value.shape != expected[name].shape]
    if wrong:
        raise UndecodableWeights(f"{where} does not fit ResNet18: {'; '.join(wrong[:3])} ({len(wrong)} differences)")
    network.load_state_dict(state)
    return network


@torch.inference_mode()
def _count_classes(module: nn.Module, shape: tuple[int, ...]) -> int:
    """The width of the logits for a batch of zeros."""
    zeros = torch.zeros(PROBE_ITEMS, *shape, dtype=torch.float32, device="cpu")
    with blaming(lambda what: (
        f"the model failed on a batch of zeros of shape {list(zeros.shape)}: {what}. If its items have another shape,"
        " set input_shape in the spec or as an attribute of the module, or sample_rate_hz and segment_s; the first"
        " dimension is the batch and must be free"
    )):
        output = module(zeros)
    return checked_logits(output, items=PROBE_ITEMS).shape[1]


def _given_labels(spec: ModelSpec) -> tuple[str, ...] | None:
    """What the deployment names the classes, if it does; that goes before what the model says."""
    if spec.labels is not None:
        return spec.labels
    return read_labels(spec.labels_path) if spec.labels_path else None


def _labels(spec: ModelSpec, made: _Made, classes: int) -> tuple[str, ...]:
    given = _given_labels(spec)
    if given is not None:
        return check_labels(given, classes, where="the deployment" if spec.labels is not None else spec.labels_path)
    if made.labels is not None:
        return check_labels(made.labels, classes, where="the model itself")
    if spec.source is ModelSource.CHECKPOINT and isinstance(made.module, SoundClassifier):
        raise ConfigError(
            f"the model has {classes} classes, not the published {len(PUBLISHED_LABELS)}, and nothing names them: set"
            " model_labels to a JSON list, a file with one label a line, or the train.csv of its training"
        )
    return tuple(f"class_{index}" for index in range(classes))
