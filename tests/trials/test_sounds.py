"""Windows to calibrate with and to compare on: enough of them, never one in both, whatever the folder holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.clock import Deadline
from engine.errors import BrokenError
from engine.spec import ModelDescription
from engine.trials.base_sounds import BaseSounds, SoundWriter
from engine.trials.recordings import Recordings, recordings_in
from engine.trials.sound_windows import SoundWindows
from engine.trials.sounds import TrialSounds, make_sounds
from tests.trials.made_once import sounds_made_once

__all__ = ["sounds_made_once"]

RATE_HZ = 8000
FRAMES = 4000
SECOND = 24_000


def model(shape: tuple[int, ...] = (FRAMES,), *, peak_normalise: bool = True) -> ModelDescription:
    return ModelDescription(
        model_version="x", input_shape=shape, classes=2, labels=("a", "b"), sample_rate_hz=RATE_HZ, segment_s=0.5,
        peak_normalise=peak_normalise, device="cpu",
    )


def record(path: Path, seed: int, *, seconds: float = 0.5, rate_hz: int = 24_000, level: float = 0.5) -> None:
    """A recording of noise, each seed another."""
    samples = np.random.default_rng(seed).uniform(-level, level, round(seconds * rate_hz))
    soundfile.write(path, samples, rate_hz)


def rows(sounds: BaseSounds) -> set[bytes]:
    return {sounds.read(index).tobytes() for index in range(len(sounds))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TrialSounds:
    """Made by rules."""
    return make_sounds(model(), tmp_path_factory.mktemp("made"))


def test_made_windows_are_many_and_no_two_alike(made: TrialSounds) -> None:
    assert len(made.gate) == 512 and len(made.calibration) == 64
    windows = np.concatenate([made.gate.batch(range(512)), made.calibration.batch(range(64))])
    assert windows.shape == (576, FRAMES) and windows.dtype == np.float32
    assert len(np.unique(windows, axis=0)) == 576
    assert np.isfinite(windows).all() and np.abs(windows).max() <= 1.0 and windows.std(axis=1).min() > 0


def test_made_windows_are_of_many_levels(made: TrialSounds) -> None:
    levels_db = 20 * np.log10(np.abs(made.gate.batch(range(512))).max(axis=1))
    assert levels_db.max() > -0.1 and np.percentile(levels_db, 10) < -20


def test_nothing_that_forms_are_calibrated_with_is_compared_on(made: TrialSounds) -> None:
    assert not rows(made.calibration.sounds) & rows(made.gate.sounds)


def test_a_window_is_the_same_whoever_asks_for_it(made: TrialSounds) -> None:
    alone, among_others = made.gate.batch([300]), made.gate.batch(np.array([2, 300, 511]))
    assert np.array_equal(alone[0], among_others[1])
    windows = made.gate
    code = (
        "import sys, numpy; from engine.trials.base_sounds import BaseSounds;"
        "from engine.trials.sound_windows import SoundWindows;"
        f"w = SoundWindows({windows.sounds!r}, {windows.input_shape}, {windows.count}, {windows.seed});"
        "sys.stdout.buffer.write(w.batch([300]).tobytes())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert other.stdout == alone.tobytes()


@pytest.mark.parametrize("shape", [(3, 24, 32), (24, 32)])
def test_inputs_that_are_no_waveforms_get_images_and_say_so(made: TrialSounds, shape: tuple[int, ...]) -> None:
    images = SoundWindows(made.gate.sounds, shape, 512, seed=1).batch(range(40))
    assert images.shape == (40, *shape) and images.dtype == np.float32 and np.isfinite(images).all()
    assert images.reshape(40, -1).std(axis=1).min() > 0.05
    assert len(np.unique(images.reshape(40, -1), axis=0)) == 40


def test_a_waveform_keeps_the_dimensions_that_its_model_wants(made: TrialSounds) -> None:
    windows = SoundWindows(made.gate.sounds, (1, FRAMES), 512, seed=1)
    assert windows.batch([0]).shape == (1, 1, FRAMES)


def test_recordings_of_any_kind_are_heard_each_for_one_purpose(tmp_path: Path, runtime_dir: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for number in range(12):
        record(tmp_path / ("deeper" if number % 2 else "") / f"{number}.{('wav', 'flac', 'ogg')[number % 3]}", number)
    sounds = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path))
    assert sounds.note == (
        f"calibration_dir {tmp_path}: 12 recordings, 8 windows to compare with, 4 to calibrate with;"
        " some windows to compare with made by rules; some windows to calibrate with made by rules"
    )
    assert len(sounds.gate.sounds) > 24 and len(sounds.calibration.sounds) > 12
    assert not rows(sounds.gate.sounds) & rows(sounds.calibration.sounds)
    assert sounds.gate.batch(range(500, 512)).shape == (12, FRAMES)
    assert np.abs(sounds.gate.sounds.read(3)).max() == pytest.approx(1.0, abs=0.05)


def test_copies_of_a_recording_are_one(tmp_path: Path, runtime_dir: Path) -> None:
    record(tmp_path / "a.wav", 1)
    record(tmp_path / "b.wav", 2)
    for name in "cdefgh":
        shutil.copy(tmp_path / "a.wav", tmp_path / f"{name}.wav")
    sounds = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path))
    assert re.search(r": 8 recordings, [12] windows to compare with, [01] to calibrate with", sounds.note)
    assert not rows(sounds.gate.sounds) & rows(sounds.calibration.sounds)


def test_one_long_recording_is_heard_from_end_to_end_and_split_by_time(tmp_path: Path, runtime_dir: Path) -> None:
    level = np.repeat(np.linspace(0.1, 1.0, 60), RATE_HZ)
    samples = np.random.default_rng(0).uniform(-1, 1, len(level)) * level
    soundfile.write(tmp_path / "night.wav", samples, RATE_HZ)
    sounds = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path))
    assert len(sounds.calibration.sounds) == 40 and len(sounds.gate.sounds) == 80
    peaks = [[np.abs(one.read(index)).max() for index in range(len(one))]
             for one in (sounds.calibration.sounds, sounds.gate.sounds)]
    assert max(peaks[0]) < min(peaks[1]) + 0.05  # the beginning, then the rest
    assert max(peaks[1]) == pytest.approx(1.0, abs=0.01)


def test_levels_of_recordings_stay_where_the_model_wants_them(tmp_path: Path, runtime_dir: Path) -> None:
    record(tmp_path / "a.wav", 1, rate_hz=RATE_HZ, level=0.01)
    record(tmp_path / "b.wav", 2, rate_hz=RATE_HZ, level=0.01)
    sounds = make_sounds(model(peak_normalise=False), runtime_dir, calibration_dir=str(tmp_path))
    assert np.abs(sounds.gate.sounds.read(0)).max() == pytest.approx(0.01, abs=1e-4)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    read = [one.read(0) for one in (sounds.gate.sounds, sounds.calibration.sounds)]  # made ones come after it
    assert any(np.allclose(each, samples, atol=1e-6) for each in read)


def test_what_cannot_be_read_is_counted_and_named_and_costs_nothing_else(tmp_path: Path, runtime_dir: Path) -> None:
    record(tmp_path / "good.wav", 1)
    record(tmp_path / "good2.wav", 2)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.flac").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "gone.ogg").symlink_to(tmp_path / "nowhere.ogg")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "notes.csv").write_text("not meant to be one")
    soundfile.write(tmp_path / "nan.wav", np.full(FRAMES, np.nan), RATE_HZ, "FLOAT")
    soundfile.write(tmp_path / "none.wav", np.empty(0), RATE_HZ)
    note = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path)).note
    assert "2 recordings, 6 that could not be read (" in note and note.count(": ") >= 4
    assert "1 windows to compare with, 1 to calibrate with" in note


@pytest.mark.parametrize("folder", ["empty", "missing", "silent"])
def test_a_folder_without_sound_is_made_up_for_and_that_is_said(tmp_path: Path, runtime_dir: Path, folder: str) -> None:
    if folder != "missing":
        (tmp_path / folder).mkdir()
    if folder == "silent":
        soundfile.write(tmp_path / folder / "a.wav", np.zeros(FRAMES), RATE_HZ)
    sounds = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path / folder))
    assert sounds.note.startswith(f"calibration_dir {tmp_path / folder}: ")
    assert sounds.note.endswith("windows to compare with made by rules; windows to calibrate with made by rules")
    assert len(sounds.gate.sounds) > 24


def test_thousands_of_recordings_are_opened_only_until_there_are_enough(tmp_path: Path, runtime_dir: Path) -> None:
    record(tmp_path / "0.wav", 0, seconds=0.05, rate_hz=RATE_HZ)
    content = (tmp_path / "0.wav").read_bytes()
    for number in range(1, 3000):
        (tmp_path / f"{number}.wav").write_bytes(content[:-4] + number.to_bytes(4, "little"))
    sounds = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path))
    assert ": 576 recordings, 512 windows to compare with, 64 to calibrate with" in sounds.note


def test_of_ten_hours_stretches_from_end_to_end_are_read(tmp_path: Path, runtime_dir: Path) -> None:
    """A file of 1.1 GB, of which the disk has only what is written here: 90 s of sound every hour."""
    hours, hour_bytes = 10, 2 * 16_000 * 3600
    with soundfile.SoundFile(tmp_path / "night.wav", "w", 16_000, 1, "PCM_16") as file:
        file.write(np.zeros(1))
    header = bytearray((tmp_path / "night.wav").read_bytes()[:44])
    header[4:8], header[40:44] = ((size + hours * hour_bytes).to_bytes(4, "little") for size in (36, 0))
    with open(tmp_path / "night.wav", "wb") as raw:
        raw.write(header)
        raw.truncate(44 + hours * hour_bytes)
        for hour in range(hours):
            raw.seek(44 + hour * hour_bytes)
            raw.write(np.random.default_rng(hour).integers(-9000, 9000, 90 * 16_000, np.int16).tobytes())
    sounds = make_sounds(model(), runtime_dir, calibration_dir=str(tmp_path))
    assert ": 1 recordings, " in sounds.note
    assert re.search(r", (7|8|9|1\d) windows to compare with, [3-8] to calibrate with", sounds.note)


def test_a_recording_that_takes_too_long_is_heard_as_far_as_time_allows(tmp_path: Path) -> None:
    record(tmp_path / "slow.wav", 1, seconds=5, rate_hz=RATE_HZ)
    recordings = Recordings([str(tmp_path / "slow.wav")] * 2, RATE_HZ, FRAMES, True)
    assert list(recordings.windows(10, Deadline.after_s(0.0))) == []
    assert recordings.report.ran_out_of_time and "no more than" in str(recordings.report)


def test_windows_of_minutes_take_no_more_of_the_disk(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.trials.sounds._MOST_BYTES", 10 * 2 * FRAMES)
    for number in range(40):
        record(tmp_path / f"{number}.wav", number)
    for folder in ("", str(tmp_path)):
        sounds = make_sounds(model(), runtime_dir, calibration_dir=folder)
        assert [os.stat(each.sounds.path).st_size for each in (sounds.gate, sounds.calibration)] == [
            10 * 2 * FRAMES, 10 * 2 * FRAMES
        ]
        assert len(sounds.gate) == 512


def test_the_order_of_recordings_is_chance_but_always_the_same(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.wav").touch()
    order = recordings_in(str(tmp_path))
    assert order == recordings_in(str(tmp_path)) and sorted(order) != order and len(order) == 30


def test_windows_of_a_recording_do_not_overlap(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 10 * FRAMES)
    soundfile.write(tmp_path / "ramp.wav", samples, RATE_HZ, "FLOAT")
    recordings = Recordings([str(tmp_path / "ramp.wav")], RATE_HZ, FRAMES, False)
    (windows,) = recordings.windows(100, Deadline.after_s(60))
    assert len(windows) == 10
    assert all(one.max() < other.min() for one, other in zip(windows, windows[1:]))


def test_a_disk_without_room_is_an_error_and_no_half_set(tmp_path: Path) -> None:
    (tmp_path / "full.sounds").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        with SoundWriter(tmp_path / "full.sounds", frames=FRAMES, known=set()) as writer:
            writer.add(np.linspace(-1, 1, FRAMES, dtype=np.float32))
            writer.written()


def test_a_file_that_somebody_cut_short_is_noticed(tmp_path: Path) -> None:
    with SoundWriter(tmp_path / "cut.sounds", frames=FRAMES, known=set()) as writer:
        writer.add(np.linspace(-1, 1, FRAMES, dtype=np.float32))
        sounds = writer.written()
    os.truncate(sounds.path, 2 * FRAMES - 1)
    with pytest.raises(BrokenError, match="has lost sound 0: 7999 of 8000 bytes"):
        sounds.read(0)
