"""The sounds that forms of a model are calibrated and compared with: an operator's own, else made by our rules.

Invariant: no window is in both sets, nor any stretch of sound that windows are made of: they are from other recordings,
or from other stretches where there is one recording alone, or synthesised from other seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.clock import Deadline
from engine.core.gate import LEAST_WINDOWS
from engine.models.sound_rules import RULES
from engine.spec import ModelDescription
from engine.trials.base_sounds import Floats, SoundWriter
from engine.trials.made_sounds import FIRST_SEED, made_sounds
from engine.trials.recordings import MOST_READ_S, Recordings, recordings_in
from engine.trials.sound_windows import SoundWindows, is_waveform

CALIBRATION_WINDOWS = 64
GATE_WINDOWS = LEAST_WINDOWS
_CALIBRATION_EACH, _GATE_EACH = 2, 4  # sounds of each of six labels, where they are made: 70 ms of computing a sound
_MOST_BYTES = 384 << 20  # of the sounds of a set on disk; what does not fit is made up for by varying the others more
_IMAGE_S = 10.0  # of sound for an image, at most


@dataclass(frozen=True, slots=True)
class TrialSounds:
    """Two sets of windows."""

    calibration: SoundWindows
    gate: SoundWindows
    note: str  # what they are made of, and what could not be had, in one line


def make_sounds(model: ModelDescription, folder: Path, *, calibration_dir: str = "") -> TrialSounds:
    """Windows for a model's input, the same for the same recordings; their sounds are written to `folder`.

    What is wrong with `calibration_dir` is in the note, and sounds are made up in its place. Takes a few seconds.
    Raises OSError where `folder` cannot be written.
    """
    known: set[bytes] = set()
    frames = _frames_of(model)
    with (
        SoundWriter(folder / "calibration.sounds", frames=frames, known=known) as calibration,
        SoundWriter(folder / "gate.sounds", frames=frames, known=known) as gate,
    ):
        note = _Maker(model, frames, calibration, gate).make(calibration_dir)
        return TrialSounds(
            SoundWindows(calibration.written(), model.input_shape, CALIBRATION_WINDOWS, seed=1),
            SoundWindows(gate.written(), model.input_shape, GATE_WINDOWS, seed=2),
            note,
        )


class _Maker:
    """Fills the files of both sets."""

    def __init__(self, model: ModelDescription, frames: int, calibration: SoundWriter, gate: SoundWriter) -> None:
        self._model, self._frames = model, frames
        self._calibration, self._gate = calibration, gate
        self._most = min(GATE_WINDOWS, max(1, _MOST_BYTES // (2 * frames)))  # sounds of a set

    def make(self, calibration_dir: str) -> str:
        """Fills both; what they are made of, in one line."""
        notes = []
        if not is_waveform(self._model.input_shape):
            notes.append("inputs are no waveforms: spectrograms of sounds stand for them")
        if calibration_dir:
            notes.append(self._add_recorded(calibration_dir))
        notes.append(self._filled(self._gate, _GATE_EACH, FIRST_SEED, "compare"))
        notes.append(self._filled(self._calibration, _CALIBRATION_EACH, FIRST_SEED + _GATE_EACH, "calibrate"))
        return "; ".join(filter(None, notes))

    def _filled(self, writer: SoundWriter, each: int, first_seed: int, purpose: str) -> str:
        """Adds made sounds to a set of few: one sound varied 500 times shows less than 25, and most classes of a model
        may not be among them. What is to be said of that."""
        recorded = len(writer)
        if recorded >= each * len(RULES):
            return ""
        self._add_made(writer, each, first_seed)
        among = "some windows" if recorded else "windows"
        return f"{among} to {purpose} with made by rules"

    def _add_made(self, writer: SoundWriter, each: int, first_seed: int) -> None:
        rate_hz = self._model.sample_rate_hz
        self._add(writer, made_sounds(each, first_seed=first_seed, rate_hz=rate_hz, frames=self._frames), self._most)

    def _add_recorded(self, calibration_dir: str) -> str:
        try:
            paths = recordings_in(calibration_dir)
        except OSError as error:
            return f"calibration_dir {calibration_dir}: {error.strerror or error}"
        model = self._model
        recordings = Recordings(paths, model.sample_rate_hz, self._frames, model.peak_normalise)
        self._share_out(recordings, len(paths))
        heard = f"{len(self._gate)} windows to compare with, {len(self._calibration)} to calibrate with"
        return f"calibration_dir {calibration_dir}: {recordings.report}, {heard}"

    def _share_out(self, recordings: Recordings, count: int) -> None:
        most = self._most
        wanted = most + CALIBRATION_WINDOWS
        for windows in recordings.windows(-(-wanted // max(1, count)), Deadline.after_s(MOST_READ_S)):
            if count == 1:  # its beginning for calibration
                first = len(windows) // 3
                self._add(self._calibration, windows[:first], CALIBRATION_WINDOWS)
                self._add(self._gate, windows[first:], most)
            elif 2 * len(self._calibration) < len(self._gate) and len(self._calibration) < CALIBRATION_WINDOWS:
                self._add(self._calibration, windows, CALIBRATION_WINDOWS)
            else:
                self._add(self._gate, windows, most)
            if len(self._gate) >= most and len(self._calibration) >= CALIBRATION_WINDOWS:
                return

    def _add(self, writer: SoundWriter, sounds: Iterable[Floats], most: int) -> None:
        """Adds sounds until there are `most`; no more of them are made."""
        if len(writer) < most:
            for sound in sounds:
                writer.add(sound)
                if len(writer) >= most:
                    return


def _frames_of(model: ModelDescription) -> int:
    if is_waveform(model.input_shape):
        return max(model.input_shape)
    return round(min(model.segment_s, _IMAGE_S) * model.sample_rate_hz)
