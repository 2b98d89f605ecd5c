"""The gate in front of the demo model: real forms of it, by torch and ONNX Runtime, good ones and broken ones.

What broken forms are like on other models: `python -m benchmarks.gate`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.broken_forms import RightOnlyAlone, SwappedClasses, noisy
from benchmarks.heard import ImagesOfWindows, probabilities_by
from engine.core.gate import FP32_MOST, Agreement, GatePolicy, verdict
from engine.forms import ModelForm, Precision, RuntimeName
from engine.models.catalogue import LoadedModel, load_model
from engine.models.outputs import probabilities_of
from engine.runtimes.contract import Runtime
from engine.runtimes.onnx_runtime import OnnxRuntime
from engine.runtimes.split import split
from engine.spec import ModelSpec
from engine.trials.agreement import Compute, Floats, compare, reference_of
from engine.trials.exporting import write_onnx
from engine.trials.quantising import write_int8
from engine.trials.sounds import make_sounds
from frontend.audio.decode import decode
from frontend.audio.segment import segment_recording
from tests.support.shared import COLLECTIONS, Night
from tests.trials.made_once import sounds_made_once

__all__ = ["sounds_made_once"]

MAX_BATCH = 8
POLICY = GatePolicy()
FP32, INT8 = Precision.FP32, Precision.INT8


@dataclasses.dataclass(frozen=True)
class Demo:
    """The demo model with all that its forms are compared by, and its network as ONNX."""

    loaded: LoadedModel
    front: nn.Module
    network: nn.Module
    windows: ImagesOfWindows
    calibration: Floats  # images
    reference: Floats
    folder: Path

    def by(self, compute: Runtime | nn.Module) -> Compute:
        return probabilities_by(compute, self.loaded.description.activation)

    def agreement(self, compute: Runtime | nn.Module) -> Agreement:
        return compare(self.by(compute), self.windows, self.reference, max_batch=MAX_BATCH, policy=POLICY)

    def refused(self, compute: Runtime | nn.Module, precision: Precision) -> str:
        return verdict(self.agreement(compute), POLICY, precision)

    def onnx(self, file: str, precision: Precision) -> OnnxRuntime:
        form = ModelForm(RuntimeName.ONNXRUNTIME, precision)
        return OnnxRuntime(form, None, self.network, self.folder / file, threads=1)

    def calibrated_on(self, images: Floats) -> OnnxRuntime:
        """The network in INT8 under ONNX Runtime."""
        batches: Iterator[Floats] = iter(np.split(images, len(images) // 4))
        write_int8(self.folder / "fp32.onnx", self.folder / "int8.onnx", batches, edges=False)
        return self.onnx("int8.onnx", INT8)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("gate")
    loaded = load_model(ModelSpec())
    front, network = split(loaded.module.eval(), loaded.description.input_shape)
    assert front is not None
    sounds = make_sounds(loaded.description, folder)
    windows = ImagesOfWindows(sounds.gate, front)
    reference = reference_of(probabilities_by(network, loaded.description.activation), windows, MAX_BATCH)
    with torch.inference_mode():
        calibration = front(torch.from_numpy(sounds.calibration.batch(range(16)))).numpy()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter uses what torch deprecates
        write_onnx(network, torch.from_numpy(windows.batch([0, 1])), folder / "fp32.onnx")
    return Demo(loaded, front, network, windows, calibration, reference, folder)


def test_the_windows_show_what_the_model_can_tell(demo: Demo) -> None:
    """Else the gate would compare answers that are all alike."""
    assert {int(row) for row in demo.reference.argmax(axis=1)} == set(range(6))
    assert demo.reference.std(axis=0).min() > 0.2


def test_the_exported_network_passes(demo: Demo) -> None:
    assert demo.refused(demo.onnx("fp32.onnx", FP32), FP32) == ""


def test_noise_of_one_percent_in_the_weights_is_refused(demo: Demo) -> None:
    figures = demo.agreement(noisy(demo.network, 0.01))
    assert verdict(figures, POLICY, FP32).startswith("largest difference: 0.0")
    assert verdict(figures, POLICY, INT8).startswith(("top-1 agreement: 99.", "close probabilities: 99."))


def test_calibration_on_silence_is_refused_by_the_classes_that_it_loses(demo: Demo) -> None:
    with torch.inference_mode():
        silence = demo.front(torch.zeros(4, *demo.loaded.description.input_shape)).numpy()
    assert demo.refused(demo.calibrated_on(silence), INT8).startswith("top-1 agreement: ")


def test_calibration_on_sound_comes_near(demo: Demo) -> None:
    """So that what was refused above was refused for its calibration."""
    figures = demo.agreement(demo.calibrated_on(demo.calibration))
    assert figures.top1 > 0.99 and figures.close > 0.99 and figures.largest < POLICY.most and figures.followed > 0.99


def test_two_classes_swapped_are_refused(demo: Demo) -> None:
    figures = demo.agreement(SwappedClasses(demo.network, 1, 3))
    assert verdict(figures, POLICY, INT8).startswith("top-1 agreement: ")
    assert verdict(figures, POLICY, FP32).startswith("largest difference: 0.9")


@pytest.mark.parametrize("precision", [FP32, INT8])
def test_a_form_that_is_right_only_alone_is_refused_by_its_batches(demo: Demo, precision: Precision) -> None:
    refused = demo.refused(RightOnlyAlone(demo.network), precision)
    assert refused.startswith("batch size: off by 0.9")


@pytest.mark.parametrize("nights", COLLECTIONS)
def test_recordings_get_the_same_answers_from_the_exported_network(demo: Demo, nights: list[Night]) -> None:
    model = demo.loaded.description
    windows = []
    for night in nights:
        recording = decode(night.content, max_duration_s=0, max_decoded_bytes=0)
        for window in segment_recording(
            recording, sample_rate_hz=model.sample_rate_hz, segment_s=model.segment_s, mode="fixed", min_window_s=1.0,
            peak_normalise=model.peak_normalise, max_segments=100,
        ):
            scale = window.gain / 32_768 if window.samples.dtype == np.int16 else window.gain
            waveform = np.zeros(model.input_shape, np.float32)
            waveform[:len(window.samples)] = window.samples * np.float32(scale)
            windows.append(waveform)
    exported = demo.onnx("fp32.onnx", FP32)
    with torch.inference_mode():
        waveforms = torch.from_numpy(np.stack(windows))
        eager = probabilities_of(demo.loaded.module(waveforms), model.activation)
        tuned = probabilities_of(exported(demo.front(waveforms)), model.activation)
    assert len(windows) >= len(nights)
    assert float((eager - tuned).abs().max()) <= FP32_MOST
