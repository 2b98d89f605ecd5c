"""Which of a file's inputs and outputs are the model's, and what an item is: decided from what the file declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.models.outputs import UnusableOutput

DEFAULT_SAMPLE_RATE_HZ = 22_050
DEFAULT_SEGMENT_S = 8.0
INPUT_KINDS = ("float", "float16", "double")


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or output as a file declares it."""

    name: str
    kind: str  # of its numbers: `float`, `float16`, `double`, `int64`, ...; of what is no tensor ONNX's whole word
    shape: tuple[int | None, ...]  # None: left open; () also where nothing is said

    def __str__(self) -> str:
        return f"{self.name} {self.kind}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, slots=True)
class Hearing:
    """What one item is."""

    shape: tuple[int, ...]
    sample_rate_hz: int
    segment_s: float


def the_input(inputs: Sequence[OnnxValue], *, where: str) -> OnnxValue:
    """The one input. Raises ConfigError for several, for other numbers than floats, and for one without a batch."""
    if len(inputs) != 1:
        raise ConfigError(
            f"{where} has {len(inputs)} inputs ({_listed(inputs)}), and one is filled here, with sound: export it with"
            " the others as constants, or serve it through a model_factory that fills them"
        )
    (found,) = inputs
    if found.kind not in INPUT_KINDS:
        raise ConfigError(
            f"the input of {where}, {found}, takes no floats: export it for float32 within -1 and 1, with the"
            " conversion inside, or serve it through a model_factory that converts"
        )
    if len(found.shape) < 2:
        raise ConfigError(
            f"the input of {where}, {found}, has no batch: export it for [batch, frames], with the first dimension"
            " free, or 1"
        )
    return found


def is_waveform(declared: OnnxValue) -> bool:
    """Whether an item is one waveform, though its shape may have further dimensions of 1, such as [B, 1, frames]."""
    return sum(size != 1 for size in declared.shape[1:]) == 1


def declared_frames(declared: OnnxValue) -> int | None:
    """How many frames an item has, of an input that is a waveform; None where that is left open."""
    return next(size for size in declared.shape[1:] if size != 1)


def waveform_hearing(
    declared: OnnxValue, frames: int | None, rate_hz: int | None, segment_s: float | None, *, where: str
) -> Hearing:
    """Frames, rate and length of a waveform from as many of them as are known. Raises ConfigError for too few."""
    if frames is None and (rate_hz is None or segment_s is None):
        raise ConfigError(
            f"the input of {where}, {declared}, leaves the number of frames open: set sample_rate_hz and segment_s, in"
            " the settings or in the file's metadata"
        )
    known = frames or 0
    if rate_hz is None and segment_s is None and known != round(DEFAULT_SAMPLE_RATE_HZ * DEFAULT_SEGMENT_S):
        raise ConfigError(
            f"{where} hears {known} frames and nothing says at what rate: set sample_rate_hz, in the settings or in the"
            f" file's metadata (48000 for {known / 48_000:g} s, 32000 for {known / 32_000:g} s)"
        )
    if rate_hz is None:
        rate_hz = DEFAULT_SAMPLE_RATE_HZ if segment_s is None else round(known / segment_s)
    if segment_s is None:
        segment_s = known / rate_hz
    made = round(rate_hz * segment_s)
    if frames not in (None, made):
        raise ConfigError(
            f"{where} hears {frames} frames, and sample_rate_hz={rate_hz} with segment_s={segment_s:g} makes {made}:"
            " leave one of the two out, or serve the file that fits"
        )
    return Hearing((made,), rate_hz, segment_s)


def image_shape(declared: OnnxValue, shape: tuple[int, ...] | None, *, where: str) -> tuple[int, ...]:
    """The shape of an item that is no waveform. Raises ConfigError where the file leaves it open."""
    sizes = tuple(size for size in shape or declared.shape[1:] if size is not None)
    if not shape and len(sizes) < len(declared.shape) - 1:
        raise ConfigError(
            f"the input of {where}, {declared}, leaves sizes of an item open: set input_shape in the ModelSpec"
        )
    return sizes


def image_sizes(declared: OnnxValue, *, where: str) -> tuple[int | None, int | None, int | None]:
    """Channels, height and width of the spectrogram that the file is given. Raises ConfigError where it takes none."""
    if len(declared.shape) != 4:
        raise ConfigError(
            f"{where} names mel settings in its metadata, and its input, {declared}, takes no spectrogram"
            " [batch, channels, height, width]: take them out, or export the network that they are for"
        )
    _, channels, height, width = declared.shape
    return channels, height, width


def the_output(outputs: Sequence[OnnxValue], wanted: str | None, named: int | None, *, where: str) -> OnnxValue:
    """The output with the classes: `wanted`, else the only one that can be, by its width if `named` labels are given.

    Raises ConfigError, which names them all.
    """
    possible = [value for value in outputs if value.kind in INPUT_KINDS and len(value.shape) in (0, 2)]
    if wanted:
        found = [value for value in outputs if value.name == wanted]
        if not found:
            raise ConfigError(f"{where} has no output {wanted}; its outputs are {_listed(outputs)}")
        if not set(found) <= set(possible):
            raise UnusableOutput(f"output {found[0]} of {where} is not {_the_classes(outputs)}")
        return found[0]
    fitting = [value for value in possible if value.shape[-1:] == (named,)]
    if len(possible) > 1 and len(fitting) == 1:
        return fitting[0]
    if len(possible) > 1:
        raise ConfigError(
            f"several outputs of {where} can be the one with the classes: set onnx_output to its name; they are"
            f" {_listed(outputs)}"
        )
    if not possible:
        raise UnusableOutput(f"no output of {where} ({_listed(outputs)}) can be {_the_classes(outputs)}")
    return possible[0]


def _the_classes(outputs: Sequence[OnnxValue]) -> str:
    """What is looked for among these outputs, and how they are made to have it."""
    text = "the one with the classes, which is float[batch, classes]"
    if any(value.kind.startswith("seq(") for value in outputs):
        return text + ": convert scikit-learn's models with zipmap=False"
    if any(len(value.shape) == 1 for value in outputs):
        return text + ": keep the dimension of the batch, and of a single class too (batch, 1)"
    if any(len(value.shape) > 2 for value in outputs):
        return text + ": take the mean or the maximum over time before the export"
    return text


def _listed(values: Sequence[OnnxValue]) -> str:
    return ", ".join(map(str, values)) or "none"
