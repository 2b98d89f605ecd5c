"""Reads an ONNX file, so that it is served like any other weights.

Its input says what an item is, its metadata what nobody has set. Every way in which a file does not fit is told when
it is read, before anything is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from engine.models.foreign import UndecodableWeights, blaming
from engine.models.mel import MelSettings
from engine.models.onnx_bytes import external_files, is_onnx, is_pointer
from engine.models.onnx_model import OnnxModel
from engine.models.onnx_notes import OnnxNotes
from engine.models.onnx_session import OnnxSession, told
from engine.models.onnx_shape import (
    DEFAULT_SAMPLE_RATE_HZ,
    DEFAULT_SEGMENT_S,
    Hearing,
    OnnxValue,
    declared_frames,
    image_shape,
    image_sizes,
    is_waveform,
    the_input,
    the_output,
    waveform_hearing,
)
from engine.models.pipeline import ImageClassifier
from engine.spec import ModelSpec

_READ_BYTES = 1 << 20


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
        model = OnnxModel(path, session, taken, output.name)
        self.mel = _mel(taken, spec, notes, where=str(path))
        self.output = output.name
        self.module: nn.Module = model if self.mel is None else ImageClassifier(model, self.mel)
        self.hearing = _hearing(taken, spec, notes, self.mel, where=str(path))


def _mel(taken: OnnxValue, spec: ModelSpec, notes: OnnxNotes, *, where: str) -> MelSettings | None:
    """The spectrogram that the file is given in place of a waveform, if it says what it was trained on."""
    own = notes.mel()
    if own is None:
        return None
    channels, *size = image_sizes(taken, where=where)
    rate_hz = notes.sample_rate_hz() if spec.sample_rate_hz is None else spec.sample_rate_hz
    set_so = {"sample_rate_hz": rate_hz, "resize_antialias": spec.resize_antialias, "channels": channels}
    known = {"image_size": size} if None not in size else {}
    given = {name: value for name, value in set_so.items() if value is not None}
    return MelSettings.from_mapping({**known, **own, **given})


def _hearing(
    taken: OnnxValue, spec: ModelSpec, notes: OnnxNotes, mel: MelSettings | None, *, where: str
) -> Hearing:
    rate_hz = notes.sample_rate_hz() if spec.sample_rate_hz is None else spec.sample_rate_hz
    segment_s = notes.segment_s() if spec.segment_s is None else spec.segment_s
    wanted = spec.input_shape
    if mel is not None:
        segment_s = DEFAULT_SEGMENT_S if segment_s is None else segment_s
        return Hearing(wanted or (round(mel.sample_rate_hz * segment_s),), mel.sample_rate_hz, segment_s)
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
