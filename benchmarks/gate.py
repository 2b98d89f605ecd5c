"""How near faster forms of a model come to its eager form, and what the gate says of broken ones.

    python -m benchmarks.gate [--model demo] [--model resnet] [--recordings DIR]

The network of each model is exported, quantised and computed by every runtime that is installed, over the windows that
trials compare forms on; then forms that are broken in one way each. Nothing is timed.
"""

from __future__ import annotations

import argparse
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.broken_forms import RightOnlyAlone, SwappedClasses, noisy
from benchmarks.heard import ImagesOfWindows, probabilities_by
from engine.core.gate import GatePolicy, verdict
from engine.errors import EngineError
from engine.forms import ModelForm, Precision, RuntimeName
from engine.models.catalogue import LoadedModel, load_model
from engine.runtimes.onnx_runtime import OnnxRuntime
from engine.runtimes.openvino_runtime import OpenVinoRuntime
from engine.runtimes.split import split
from engine.runtimes.torch_runtime import TorchRuntime
from engine.spec import ModelSource, ModelSpec
from engine.trials.agreement import Compute, Floats, compare, reference_of
from engine.trials.exporting import write_onnx
from engine.trials.quantising import write_int8
from engine.trials.sounds import make_sounds

MAX_BATCH = 8
_MODELS = {"demo": ModelSpec(), "resnet": ModelSpec(source=ModelSource.FACTORY, location="benchmarks.models:resnet")}
_CALIBRATION_ITEMS, _CALIBRATION_BATCHES = 4, 8
_POLICY = GatePolicy()
_HISS = 0.1  # deviation
Making = Callable[[], Compute]


class GateBench:
    """One model, its windows and its eager answers."""

    def __init__(self, loaded: LoadedModel, folder: Path, recordings: str) -> None:
        self._loaded, self._folder = loaded, folder
        front, self.network = split(loaded.module.eval(), loaded.description.input_shape)
        assert front is not None, "the models of this benchmark have a spectrogram front"
        self._front = front
        sounds = make_sounds(loaded.description, folder, calibration_dir=recordings)
        self.note = sounds.note
        self._windows = ImagesOfWindows(sounds.gate, front)
        self._calibration = ImagesOfWindows(sounds.calibration, front)
        self.reference = reference_of(self.by(self.network), self._windows, MAX_BATCH)
        self._export(self.network, "fp32")

    def by(self, compute: nn.Module | TorchRuntime | OnnxRuntime | OpenVinoRuntime) -> Compute:
        return probabilities_by(compute, self._loaded.description.activation)

    def _export(self, network: nn.Module, name: str) -> Path:
        path = self._folder / f"{name}.onnx"
        with torch.no_grad():
            write_onnx(network, torch.from_numpy(self._windows.batch([0, 1])), path)
        return path

    def _int8(self, name: str, exported: str, batches: Iterator[Floats], *, edges: bool = False) -> Path:
        path = self._folder / f"{name}.onnx"
        write_int8(self._folder / f"{exported}.onnx", path, batches, edges=edges)
        return path

    def _images_of(self, waveforms: Floats) -> Iterator[Floats]:
        with torch.inference_mode():
            yield self._front(torch.from_numpy(waveforms)).numpy()

    def made(self) -> Iterator[tuple[str, Making]]:
        """The forms that trials would try."""
        yield "onnxruntime-fp32", lambda: self._onnx("fp32", Precision.FP32)
        yield "openvino-fp32", lambda: self._openvino("fp32", Precision.FP32)
        half = ModelForm(precision=Precision.BF16)
        yield "torch-bf16", lambda: self.by(TorchRuntime.of(half, nn.Identity(), self.network))
        yield "openvino-bf16", lambda: self._openvino("fp32", Precision.BF16)
        for name, edges in (("int8", False), ("int8-edges_fp32", True)):
            batches = self._calibration.batches(_CALIBRATION_ITEMS, _CALIBRATION_BATCHES)
            self._int8(name, "fp32", batches, edges=edges)
            yield f"onnxruntime-{name}", lambda: self._onnx(name, Precision.INT8)
            yield f"openvino-{name}", lambda: self._openvino(name, Precision.INT8)

    def broken(self) -> Iterator[tuple[str, Making]]:
        """Forms that no one wants; each is judged as one of fp32 and as one of INT8 where it could be either."""
        for seed in (0, 1):
            yield f"1 % noise in weights ({seed})", lambda: self.by(noisy(self.network, 0.01, seed=seed))
        yield "10 % noise in weights", lambda: self.by(noisy(self.network, 0.1))
        yield "two classes swapped", lambda: self.by(SwappedClasses(self.network, 1, 3))
        yield "right only alone", lambda: self.by(RightOnlyAlone(self.network))
        hiss = np.random.default_rng(0).normal(0.0, _HISS, (4, *self._loaded.description.input_shape))
        for name, sound in (("silence", np.zeros_like(hiss)), ("hiss", hiss)):
            self._int8(name, "fp32", self._images_of(sound.astype(np.float32)))
            yield f"int8 calibrated on {name}", lambda: self._onnx(name, Precision.INT8)
        mean = self.reference.mean(axis=0, keepdims=True)
        yield "int8 that hears nothing", lambda: lambda images: np.repeat(mean, len(images), axis=0)

    def _onnx(self, file: str, precision: Precision) -> Compute:
        form = ModelForm(RuntimeName.ONNXRUNTIME, precision)
        return self.by(OnnxRuntime(form, None, self.network, self._folder / f"{file}.onnx", threads=1))

    def _openvino(self, file: str, precision: Precision) -> Compute:
        form = ModelForm(RuntimeName.OPENVINO, precision)
        return self.by(OpenVinoRuntime(form, None, self.network, self._folder / f"{file}.onnx", threads=1))

    def lines(self, name: str, make: Making) -> Iterator[str]:
        """Figures of one form, and the verdict for each precision that it may claim to be of."""
        words = re.split("[- ]", name)
        claimed = [each for each in Precision if each.value in words] or [Precision.FP32, Precision.INT8]
        try:
            figures = compare(make(), self._windows, self.reference, max_batch=MAX_BATCH, policy=_POLICY)
        except (EngineError, ImportError) as error:
            yield f"{name:32} {str(error).splitlines()[0]}"
            return
        shares = f"{figures.top1:8.2%} {figures.close:8.2%} {figures.largest:9.2g} {figures.alone:9.2g}"
        for precision in claimed:
            judged = name if len(claimed) == 1 else f"{precision.value}, {name}"
            refused = verdict(figures, _POLICY, precision)
            yield f"{judged:32} {shares} {figures.followed:9.2%}  {refused or 'passes'}"


def _show(name: str, recordings: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = GateBench(load_model(_MODELS[name]), Path(folder), recordings)
        spread = bench.reference.std(axis=0)
        print(f"\n{name}: {bench.note}")
        print(f"eager probabilities differ from window to window by {spread.min():.2g} to {spread.max():.2g}\n")
        print(f"{'form':32} {'top-1':>8} {'close':>8} {'largest':>9} {'alone':>9} {'followed':>9}  verdict")
        for forms in (bench.made, bench.broken):
            for form, make in forms():
                print(*bench.lines(form, make), sep="\n", flush=True)


def main() -> None:
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", choices=sorted(_MODELS))
    parser.add_argument("--recordings", default="", help="what calibration_dir would name")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # what exporters remark on a model
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for name in options.model or _MODELS:
        _show(name, options.recordings)


if __name__ == "__main__":
    main()
