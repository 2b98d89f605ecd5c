"""What lies on disk is complete or is not there; one process at a time makes it, and what the dead leave is gone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import TuningDamaged
from engine.tuning import folder as folders
from engine.tuning.folder import RESULT, TuningFolder, checksums, read, read_checked, touch
from engine.tuning.key import TuningKey
from engine.tuning.lock import TuningLock
from engine.tuning.result import TuningResult
from engine.tuning.terms import TuningTerms
from tests.tuning.conftest import key_of, result_of


def made(terms: TuningTerms, key: TuningKey) -> TuningFolder:
    """A folder with a result and one artefact in place."""
    folder = TuningFolder(terms, key)
    lock = folder.lock(limit_s=0.0)
    assert lock is not None
    folder.begin()
    (folder.work / "fp32.onnx").write_bytes(b"weights" * 1000)
    folder.finish(result_of(artefacts=checksums(folder.work, ["fp32.onnx"])))
    lock.release()
    return folder


def test_what_was_written_is_read(terms: TuningTerms, key: TuningKey) -> None:
    folder = made(terms, key)
    found = read(folder.path)
    assert found == result_of(artefacts=checksums(folder.path, ["fp32.onnx"]))
    assert found is not None and found.candidate("onnxruntime-int8") is not None
    assert not folder.work.exists()
    assert (folder.path.parent.stat().st_mode & 0o777, folder.path.stat().st_mode & 0o777) == (0o700, 0o700)


def test_nothing_there_is_nothing(terms: TuningTerms, key: TuningKey) -> None:
    assert read(TuningFolder(terms, key).path) is None


def test_whatever_is_cut_off_or_changed_is_not_used(terms: TuningTerms, key: TuningKey) -> None:
    folder = made(terms, key)
    content = (folder.path / RESULT).read_bytes()
    step = max(1, len(content) // 50)
    for cut in range(0, len(content), step):
        (folder.path / RESULT).write_bytes(content[:cut])
        with pytest.raises(TuningDamaged):
            read_checked(folder.path)
        (folder.path / RESULT).write_bytes(content[:cut] + bytes([content[cut] ^ 1]) + content[cut + 1:])
        with pytest.raises(TuningDamaged):
            read_checked(folder.path)
    (folder.path / RESULT).write_bytes(content)
    assert read(folder.path) is not None


def test_an_artefact_that_is_damaged_or_gone_is_named(
    terms: TuningTerms, key: TuningKey, caplog: pytest.LogCaptureFixture
) -> None:
    folder = made(terms, key)
    with open(folder.path / "fp32.onnx", "r+b") as file:
        file.seek(3000)
        file.write(b"X")
    assert read(folder.path) is None
    (folder.path / "fp32.onnx").unlink()
    assert read(folder.path) is None
    assert [line.partition("not used: ")[2] for line in caplog.messages] == [
        "the checksum of fp32.onnx is wrong", "fp32.onnx is not there",
    ]


@pytest.mark.parametrize("changed", [{"winner": "torch-bf16"}, {"speedup": "nan"}, {"candidates": 3}, {"more": 1}])
def test_a_result_that_makes_no_sense_is_not_used(changed: dict[str, object]) -> None:
    body = json.dumps({**result_of().to_json(), **changed})
    checksum = hashlib.sha256(body.encode()).hexdigest()
    with pytest.raises(TuningDamaged):
        TuningResult.from_bytes(json.dumps({"sha256": checksum, "result": body}).encode())


def test_a_damaged_result_is_replaced(terms: TuningTerms, key: TuningKey) -> None:
    folder = made(terms, key)
    (folder.path / RESULT).write_bytes(b"{")
    again = made(terms, key)
    assert again.path == folder.path and read(folder.path) is not None


def test_what_a_dead_one_left_is_gone(terms: TuningTerms, key: TuningKey) -> None:
    folder = TuningFolder(terms, key)
    lock = folder.lock(limit_s=0.0)
    assert lock is not None
    folder.work.mkdir(mode=0o700)
    (folder.work / "half").write_bytes(b"a")
    folder.begin()
    assert list(folder.work.iterdir()) == []
    folder.give_up()
    assert not folder.work.exists()
    lock.release()


def test_what_dead_ones_left_of_other_models_is_gone_and_what_is_made_now_is_not(terms: TuningTerms) -> None:
    dead, alive, mine = (TuningFolder(terms, key_of(terms, model_version=name)) for name in ("dead", "alive", "mine"))
    locks = [each.lock(limit_s=0.0) for each in (alive, mine)]
    for each in (dead, alive):
        each.work.mkdir(mode=0o700)
        (each.work / "half").write_bytes(b"a")
    mine.begin()
    assert [each.work.exists() for each in (dead, alive, mine)] == [False, True, True]
    for lock in locks:
        assert lock is not None
        lock.release()
    folders.remove_leftovers(terms.folder)
    assert not list(terms.folder.glob("*.work"))


def test_a_full_disk_leaves_what_was_there(terms: TuningTerms, key: TuningKey) -> None:
    folder = made(terms, key)
    lock = folder.lock(limit_s=0.0)
    assert lock is not None
    folder.begin()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError):
            folder.finish(result_of())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    folder.give_up()
    lock.release()
    assert read(folder.path) is not None


def test_one_at_a_time_over_processes_until_the_holder_is_dead(terms: TuningTerms, key: TuningKey) -> None:
    folder = TuningFolder(terms, key)
    first = folder.lock(limit_s=0.0)
    assert first is not None
    first.release()
    path = folder.path.with_name(f"{key.name}.lock")
    script = (
        "import sys, signal; from pathlib import Path; from engine.tuning.lock import TuningLock\n"
        "lock = TuningLock.take(Path(sys.argv[1]), limit_s=5); print(lock is not None, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        assert folder.lock(limit_s=0.0) is None
        holder.kill()
        holder.wait()
    mine = folder.lock(limit_s=10.0)
    assert mine is not None
    mine.release()


def test_a_lock_whose_file_is_removed_keeps_nobody_out(tmp_path: Path) -> None:
    first = TuningLock.take(tmp_path / "lock", limit_s=0.0)
    assert first is not None
    waits = os.open(tmp_path / "lock", os.O_RDWR)
    first.remove()
    second = TuningLock.take(tmp_path / "lock", limit_s=0.0)
    assert second is not None and not os.path.samestat(os.fstat(waits), os.stat(tmp_path / "lock"))
    os.close(waits)
    second.release()
    second.release()


def test_results_used_last_are_kept(
    terms: TuningTerms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "KEPT_RESULTS", 2)
    kept = [made(terms, key_of(terms, model_version=str(number))) for number in range(2)]
    for moment, each in enumerate(kept):
        os.utime(each.path / RESULT, (moment, moment))
    touch(kept[0].path)
    newest = made(terms, key_of(terms, model_version="newest"))
    assert [read(each.path) is not None for each in (*kept, newest)] == [True, False, True]
    assert not kept[1].path.with_name(f"{kept[1].path.name}.lock").exists()


def test_a_form_that_was_never_measured_has_no_speed() -> None:
    candidate = result_of().candidates[1]
    assert candidate.best_items_per_s == 112.0
    assert dataclasses.replace(candidate, items_per_s={}).best_items_per_s == 0.0
