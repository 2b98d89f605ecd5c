"""An ONNX file as a module, so that it is served like any other weights.

Its input says what an item is, its metadata what nobody has set. Every way in which a file does not fit is told when
it is read, before anything is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.models.foreign import UndecodableWeights, blaming
from engine.models.onnx_bytes import external_files, is_onnx, is_pointer
from engine.models.onnx_notes import OnnxNotes
from engine.models.onnx_session import OnnxSession, told
from engine.models.onnx_shape import (
    DEFAULT_SAMPLE_RATE_HZ,
    DEFAULT_SEGMENT_S,
    Hearing,
    OnnxValue,
    declared_frames,
    image_shape,
    is_waveform,
    the_input,
    the_output,
    waveform_hearing,
)
from engine.models.outputs import UnusableOutput
from engine.spec import ModelSpec

_NUMBERS: Mapping[str, Any] = MappingProxyType({"float": np.float32, "float16": np.float16, "double": np.float64})
_READ_BYTES = 1 << 20


class OnnxModel(nn.Module):
    """float32 [B, *item] -> one output of an ONNX file, float32 [B, classes], computed by ONNX Runtime on the CPU.

    `onnx_path` is where another runtime finds the file, `output` the name of the output, `batch_size` the number of
    items that the file is made for: any number is run in as many pieces as it takes, the last one filled up. None: any.
    """

    def __init__(self, path: Path, session: OnnxSession, taken: OnnxValue, output: str) -> None:
        super().__init__()
        self.onnx_path = path
        self.output = output
        self.batch_size = taken.shape[0]
        self._session = session
        self._numbers = _NUMBERS[taken.kind]
        # Where an item is a waveform its file may want further dimensions of 1 around it.
        self._item = tuple(-1 if size != 1 else 1 for size in taken.shape[1:]) if is_waveform(taken) else None

    def forward(self, x: Tensor) -> Tensor:
        batch = x.detach().cpu().numpy().astype(self._numbers, order="C", copy=False)
        if self._item is not None:
            batch = batch.reshape(len(batch), *self._item)
        size = self.batch_size or len(batch)
        rows = [self._run(batch[start:start + size], size) for start in range(0, len(batch), size)]
        return torch.from_numpy(rows[0] if len(rows) == 1 else np.concatenate(rows)).float().to(x.device)

    def _run(self, batch: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
        """At most `size` items, filled up with the last of them, whose answer is left out again."""
        items = len(batch)
        if items < size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - items, axis=0)])
        found = self._session.run(self.output, batch)
        if found.ndim != 2 or len(found) != size:
            raise UnusableOutput(
                f"output {self.output} of {self.onnx_path} has shape {found.shape} for {size} items, not"
                " [items, classes]"
            )
        return found[:items]


class OnnxFile:
    """A file that has been read: the model in it, and what its users need to know of it."""

    def __init__(self, path: Path, spec: ModelSpec, *, named: int | None = None) -> None:
        """`named`: how many labels are given. Raises ConfigError, and its kind UndecodableWeights."""
        parts = _parts(path)
        before = [_stamp(part) for part in parts]
        self.digest = _digest(parts)
        session = _open(path)
        if [_stamp(part) for part in parts] != before:
            raise UndecodableWeights(f"{path} was written to while it was read: deploy it again once it is whole")
        notes = OnnxNotes(session.notes, where=str(path))
        self.labels = notes.labels() if named is None else None
        self.activation = notes.activation() if spec.activation is None else None
        self.peak_normalise = notes.peak_normalise() if spec.peak_normalise is None else None
        taken = the_input(session.inputs, where=str(path))
        named = len(self.labels) if self.labels else named
        output = the_output(session.outputs, spec.onnx_output, named, where=str(path))
        self.hearing = _hearing(taken, spec, notes, where=str(path))
        self.model = OnnxModel(path, session, taken, output.name)


def _hearing(taken: OnnxValue, spec: ModelSpec, notes: OnnxNotes, *, where: str) -> Hearing:
    rate_hz = notes.sample_rate_hz() if spec.sample_rate_hz is None else spec.sample_rate_hz
    segment_s = notes.segment_s() if spec.segment_s is None else spec.segment_s
    wanted = spec.input_shape
    if is_waveform(taken) and (wanted is None or len(wanted) == 1):
        frames = wanted[0] if wanted else declared_frames(taken)
        return waveform_hearing(taken, frames, rate_hz, segment_s, where=where)
    shape = image_shape(taken, wanted, where=where)
    return Hearing(shape, rate_hz or DEFAULT_SAMPLE_RATE_HZ, segment_s or DEFAULT_SEGMENT_S)


def _open(path: Path) -> OnnxSession:
    with blaming(lambda what: f"ONNX Runtime does not take {path}: {told(what)}", UndecodableWeights):
        return OnnxSession(path, threads=torch.get_num_threads())


def _parts(path: Path) -> list[Path]:
    """The file and those that weights of it lie in. Raises UndecodableWeights where one is missing or damaged."""
    if path.stat().st_size == 0:
        raise UndecodableWeights(f"{path} is empty: copy it again")
    if is_pointer(path):
        raise UndecodableWeights(f"{path} is a pointer of git-lfs and not the model: run git lfs pull in its folder")
    if not is_onnx(path):
        raise UndecodableWeights(f"{path} is no whole ONNX file, cut short or damaged: copy or export it again")
    with blaming(lambda what: f"{path} is damaged ({what}): copy or export it again", UndecodableWeights):
        names = external_files(path)
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UndecodableWeights(f"{path} keeps weights at {name}, outside its folder: export it again")
        if not (path.parent / name).is_file():
            raise UndecodableWeights(f"{path} keeps weights in {name}, which is not beside it: copy that too")
    return [path, *(path.parent / name for name in names)]


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when somebody writes to a file or puts another in its place."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _digest(parts: Sequence[Path]) -> bytes:
    """SHA-256 over the files one after the other, which together may be larger than memory."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.stat().st_size.to_bytes(8, "little"))
        with part.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    return digest.digest()
